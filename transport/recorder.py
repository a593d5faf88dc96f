"""`Recorder`: writes what a session sends to a file, without encoding it again.

H.264 and Opus go into MP4, VP8 and Opus into WebM. It works in a thread of its own behind a bounded queue: a slow disk
or a full one costs the recording, never the session.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import dataclasses
import io
import logging
import queue
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av

from errors import Unavailable
from media import FPS, SAMPLE_RATE_HZ
from transport.clock import TICK_S, Batch
from transport.encoder import (
    AUDIO_CLOCK_HZ,
    AUDIO_TICKS_PER_FRAME,
    AUDIO_TIME_BASE,
    VIDEO_CLOCK_HZ,
    VIDEO_TICKS_PER_PICTURE,
    VIDEO_TIME_BASE,
    Packet,
)

QUEUE_BATCHES = round(5 / TICK_S)  # 5 s of disk hiccup
SUFFIXES = {"h264": ".mp4", "vp8": ".webm"}
PART_SUFFIX = ".part"
FRAGMENT_US = 2_000_000  # an MP4 cut off by a crash is readable up to its last two seconds

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True)
class RecordLimits:
    """Where a recording ends by itself."""

    seconds: float = 3600.0
    size_bytes: int = 2 * 1024**3


class Recorder:
    """One recording: constructed running, ended by `finish`, a limit or an error."""

    def __init__(
        self,
        path: Path,
        codec_name: str,
        width: int,
        height: int,
        request_keyframe: Callable[[], None],
        limits: RecordLimits | None = None,
    ) -> None:
        """Start the recording's thread.

        Args:
            path: the finished file; it appears, or takes an older one's place, when the recording is complete.
            codec_name: `h264` or `vp8`.
            request_keyframe: asks the encoder for a key frame, with which every recording begins.
        """
        self.path = path
        self.dropped_batches = 0
        self.done: concurrent.futures.Future[Path] = concurrent.futures.Future()
        """The finished file, or the error that ended the recording."""
        self._codec_name = codec_name
        self._size = width, height
        self._request_keyframe = request_keyframe
        self._limits = limits or RecordLimits()
        self._queue: queue.Queue[Batch | None] = queue.Queue(QUEUE_BATCHES)
        self._gap = True
        self._closed = threading.Event()
        threading.Thread(target=self._run, name=f"record {path.stem}", daemon=True).start()
        request_keyframe()

    def put(self, batch: Batch) -> None:
        """Queue a batch, from a pacer's thread; never blocks.

        After a batch had to be dropped nothing is taken until the next key frame: pictures that refer to a lost one
        would be garbage.
        """
        if self._closed.is_set() or self.done.done():
            return
        if self._gap and not (batch.video is not None and batch.video.keyframe):
            return
        try:
            self._queue.put_nowait(batch)
            self._gap = False
        except queue.Full:
            self.dropped_batches += 1
            self._gap = True
            self._request_keyframe()

    def finish(self) -> concurrent.futures.Future[Path]:
        """End the recording; the future is done when the file is complete."""
        self._closed.set()
        return self.done

    async def stop(self) -> Path:
        """End the recording; returns the complete file.

        Raises:
            Unavailable: the recording failed, for example on a full disk, or no picture came.
        """
        return await asyncio.shield(asyncio.wrap_future(self.finish()))  # nobody who waits can cancel the recording

    def _run(self) -> None:
        try:
            self._write()
            self.done.set_result(self.path)
        except Exception as exc:
            log.exception("recording %s failed", self.path.name)
            self.done.set_exception(Unavailable(f"recording {self.path.name} failed: {exc}"))

    def _write(self) -> None:
        part = self.path.with_name(self.path.name + PART_SUFFIX)
        writer: _Writer | None = None
        try:
            for batch in iter(self._next, None):
                writer = writer or _Writer(part, self._codec_name, self._size, batch)
                writer.write(batch)
                if writer.seconds >= self._limits.seconds or part.stat().st_size >= self._limits.size_bytes:
                    log.info("recording %s reached its limit", self.path.name)
                    break
        finally:
            self._closed.set()
            if writer is not None:
                writer.close()
                part.rename(self.path)
        if writer is None:
            raise ValueError("it ended before a picture came")

    def _next(self) -> Batch | None:
        """The next batch, None at the end of the recording."""
        while True:
            try:
                return self._queue.get(timeout=0.1)
            except queue.Empty:
                if self._closed.is_set():
                    return None


class _Writer:
    """An open file whose time 0 is the key frame it starts with."""

    def __init__(self, part: Path, codec_name: str, size: tuple[int, int], first: Batch) -> None:
        assert first.video is not None
        options = {"movflags": "hybrid_fragmented", "frag_duration": str(FRAGMENT_US)} if codec_name == "h264" else {}
        part.parent.mkdir(parents=True, exist_ok=True)
        self._file = av.open(str(part), "w", format="mp4" if codec_name == "h264" else "webm", options=options)
        self._video = self._video_stream(codec_name, size, first.video.packet)
        self._audio: Any = self._file.add_stream("libopus", rate=SAMPLE_RATE_HZ, layout="mono")  # for its OpusHead
        self._start_s = (first.video.packet.pts or 0) / VIDEO_CLOCK_HZ
        self.seconds = 0.0

    def write(self, batch: Batch) -> None:
        if batch.audio is not None:
            shift = round(self._start_s * AUDIO_CLOCK_HZ)
            self._mux(batch.audio, self._audio, AUDIO_TIME_BASE, shift, AUDIO_TICKS_PER_FRAME)
        if batch.video is not None:
            shift = round(self._start_s * VIDEO_CLOCK_HZ)
            self._mux(batch.video.packet, self._video, VIDEO_TIME_BASE, shift, VIDEO_TICKS_PER_PICTURE)
            self.seconds = ((batch.video.packet.pts or 0) - shift) / VIDEO_CLOCK_HZ

    def close(self) -> None:
        self._file.close()

    def _video_stream(self, codec_name: str, size: tuple[int, int], first: Packet) -> Any:
        if codec_name == "vp8":
            return self._file.add_mux_stream("vp8", rate=FPS, width=size[0], height=size[1])
        with av.open(io.BytesIO(bytes(first)), format="h264") as annex_b:
            # The parameter sets in the key frame become the header of the MP4.
            return self._file.add_stream_from_template(annex_b.streams.video[0])

    def _mux(self, packet: Packet, stream: Any, time_base: Any, shift: int, duration: int) -> None:
        """Write a copy: the original is being sent at the same time."""
        pts = (packet.pts or 0) - shift
        if pts < 0:
            return  # sound before the first picture
        copy: Any = av.Packet(bytes(packet))
        copy.pts = copy.dts = pts
        copy.duration = duration
        copy.time_base = time_base
        copy.stream = stream
        copy.is_keyframe = packet.is_keyframe
        self._file.mux(copy)
