"""Uploaded recordings: received within bounds, judged before they are accepted, decoded while they are spoken.

Everything that touches a file or a codec runs on the decoder threads, one block at a time, so that a long recording
holds no thread while it waits to be spoken.
"""

from __future__ import annotations

import asyncio
import dataclasses
import io
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Executor
from fractions import Fraction
from typing import IO

import av
import av.error
import numpy as np
import soxr
from aiohttp import BodyPartReader, web
from av.stream import Discard
from numpy.typing import NDArray

from config import Settings
from errors import BadRequest, TooLarge, Unprocessable
from media import SAMPLE_RATE_HZ, Pcm
from server.reading import BODY_TIMEOUT_S

FORMATS = "wav,w64,aiff,au,mp3,aac,flac,ogg,mov,matroska,amr,caf"
"""FFmpeg demuxers an upload may choose. Playlists (hls, concat, dash) are not among them: they open other files."""
EXACT_FORMATS = frozenset({"wav", "w64", "aiff", "flac", "mov"})
"""Containers whose header gives the exact length, so that a missing end is known."""
TRUNCATED_S = 0.25
MEMORY_BYTES_MAX = 1 << 20
FIELD_BYTES_MAX = 4_096
PARTS_MAX = 16
RATE_MIN_HZ, RATE_MAX_HZ = 4_000, 384_000
CHANNELS_MAX = 32
FIRST_BLOCK_S = 0.1
BLOCK_S = 0.5
DURATION_MIN_S = 0.02


async def receive(
    request: web.Request, settings: Settings, decoders: Executor
) -> tuple[dict[str, str], Recording | None]:
    """Read a multipart form: its text fields, and field `file` as a recording.

    Raises:
        BadRequest: not a multipart form, or one that is broken off.
        TooLarge: more bytes than `max_upload_mb`.
    """
    bytes_max = settings.max_upload_mb << 20
    if not request.content_type.startswith("multipart/"):
        raise BadRequest(f"Content-Type was {request.content_type}; it must be multipart/form-data with field `file`")
    if (request.content_length or 0) > bytes_max + PARTS_MAX * FIELD_BYTES_MAX:
        raise TooLarge(f"the upload has {request.content_length} bytes; at most {settings.max_upload_mb} MiB are taken")
    fields: dict[str, str] = {}
    recording: Recording | None = None
    try:
        parts = await request.multipart()
        for _ in range(PARTS_MAX):
            async with asyncio.timeout(BODY_TIMEOUT_S):
                part = await parts.next()
            if part is None:
                return fields, recording
            if not isinstance(part, BodyPartReader):
                raise BadRequest("the form holds a form; fields must be plain")
            if part.name == "file" and recording is None:
                recording = Recording(await _spool(part, bytes_max, decoders), decoders, settings.max_audio_s)
            else:
                fields[part.name or ""] = await _text(part)
        raise BadRequest(f"the form has more than {PARTS_MAX} fields")
    except (ValueError, AssertionError, RuntimeError) as error:
        _drop(recording)
        raise BadRequest(f"the multipart form is broken: {error}") from error
    except TimeoutError as error:
        _drop(recording)
        raise BadRequest(f"the upload stood still for {BODY_TIMEOUT_S:.0f} s") from error
    except BaseException:
        _drop(recording)
        raise


def _drop(recording: Recording | None) -> None:
    if recording is not None:
        recording.close()


async def _text(part: BodyPartReader) -> str:
    body = bytearray()
    while chunk := await part.read_chunk():
        body += chunk
        if len(body) > FIELD_BYTES_MAX:
            raise TooLarge(f"{part.name} has more than {FIELD_BYTES_MAX} bytes")
    return body.decode("utf-8", "replace")


async def _spool(part: BodyPartReader, bytes_max: int, decoders: Executor) -> IO[bytes]:
    """The part's bytes, in memory while few, else in a temporary file written on a decoder thread."""
    loop = asyncio.get_running_loop()
    file: IO[bytes] = io.BytesIO()
    size = 0
    try:
        while True:
            async with asyncio.timeout(BODY_TIMEOUT_S):
                chunk = await part.read_chunk(1 << 16)
            if not chunk:
                break
            size += len(chunk)
            if size > bytes_max:
                raise TooLarge(f"file has more than the {bytes_max >> 20} MiB that are taken")
            if isinstance(file, io.BytesIO) and size > MEMORY_BYTES_MAX:
                file = await loop.run_in_executor(decoders, _to_disk, file)
            if isinstance(file, io.BytesIO):
                file.write(chunk)
            else:
                await loop.run_in_executor(decoders, file.write, chunk)
        file.seek(0)
    except BaseException:
        file.close()
        raise
    return file


def _to_disk(memory: io.BytesIO) -> IO[bytes]:
    file = tempfile.TemporaryFile(prefix="visage-upload-")  # noqa: SIM115 (the recording owns and closes it)
    file.write(memory.getbuffer())
    memory.close()
    return file


@dataclasses.dataclass(frozen=True, slots=True)
class Facts:
    """What the container says."""

    format: str
    codec: str
    rate_hz: int
    channels: int
    duration_s: float


class Recording:
    """An uploaded recording: `open` judges it, iterating yields its sound once, `close` frees it at any time."""

    def __init__(self, file: IO[bytes], decoders: Executor, max_s: float) -> None:
        self._file = file
        self._decoders = decoders
        self._max_s = max_s
        self._lock = threading.Lock()
        self._closed = False
        self._blocks: Iterator[Pcm] | None = None
        self._first: Pcm | None = None
        self.facts: Facts | None = None

    async def open(self) -> None:
        """Read the container and the first block.

        Raises:
            TooLarge: longer than the limit.
            Unprocessable: empty, not audio, cut off, or of a rate or channel count that cannot be.
        """
        await self._run(self._judge)

    def __aiter__(self) -> AsyncIterator[Pcm]:
        return self._play()

    async def _play(self) -> AsyncIterator[Pcm]:
        try:
            if self._first is not None:
                yield self._first
            while (block := await self._run(self._next)) is not None:
                yield block
        finally:
            self.close()

    def close(self) -> None:
        """Free the file; a block being decoded is finished first, on its thread."""
        if not self._closed:
            self._closed = True
            self._decoders.submit(self._release)

    async def _run(self, work: object) -> Pcm | None:
        assert callable(work)
        result: Pcm | None = await asyncio.get_running_loop().run_in_executor(self._decoders, work)
        return result

    # ---- on a decoder thread

    def _judge(self) -> None:
        with self._lock:
            try:
                self.facts = inspect(self._file, self._max_s)
                self._blocks = decode(self._file, self._max_s)
                self._first = next(self._blocks, None)
            except av.error.FFmpegError as error:
                raise Unprocessable(f"file cannot be decoded as audio: {error.strerror}") from error
        if self._first is None:
            raise Unprocessable("file holds no sound")

    def _next(self) -> Pcm | None:
        with self._lock:
            if self._closed or self._blocks is None:
                return None
            try:
                return next(self._blocks, None)
            except av.error.FFmpegError:
                return None  # judged playable; a damaged end is silence, not a failure

    def _release(self) -> None:
        with self._lock:
            blocks, self._blocks = self._blocks, None
            if blocks is not None:
                blocks.close()  # type: ignore[attr-defined]
            self._file.close()


def inspect(file: IO[bytes], max_s: float) -> Facts:
    """Walk the packets without decoding them: exact length, and whether the end is missing.

    Raises:
        TooLarge: longer than `max_s`.
        Unprocessable: empty, not audio, or cut off.
    """
    file.seek(0)
    if not file.read(1):
        raise Unprocessable("file is empty; send a recording (WAV, MP3, M4A, OGG, FLAC or WebM)")
    file.seek(0)
    with _container(file) as container:
        stream = _stream(container)
        rate_hz, channels = stream.codec_context.sample_rate, stream.codec_context.channels
        if not RATE_MIN_HZ <= rate_hz <= RATE_MAX_HZ or not 1 <= channels <= CHANNELS_MAX:
            raise Unprocessable(
                f"file has {channels} channels at {rate_hz} Hz; allowed are 1 to {CHANNELS_MAX} "
                f"at {RATE_MIN_HZ} to {RATE_MAX_HZ} Hz"
            )
        name = container.format.name.split(",")[0]
        told_s = float(stream.duration * stream.time_base) if stream.duration and stream.time_base else 0.0
        if told_s > max_s and name in EXACT_FORMATS:
            raise TooLarge(f"file lasts {told_s:.0f} s; at most {max_s:.0f} s are taken")
        found_s, cut = _length(container, stream, max_s)
    if cut or (name in EXACT_FORMATS and told_s - found_s > TRUNCATED_S):
        raise Unprocessable(f"file is cut off: it should last {told_s:.1f} s and ends after {found_s:.1f} s")
    if found_s < DURATION_MIN_S:
        raise Unprocessable(f"file holds {found_s * 1000:.0f} ms of sound; at least 20 ms are needed")
    return Facts(name, stream.codec_context.name, rate_hz, channels, found_s)


def _container(file: IO[bytes]) -> av.container.InputContainer:
    try:
        return av.open(file, "r", options={"format_whitelist": FORMATS}, metadata_errors="replace")
    except av.error.FFmpegError as error:
        raise Unprocessable("file is not audio that can be read; send WAV, MP3, M4A, OGG, FLAC or WebM") from error


def _stream(container: av.container.InputContainer) -> av.AudioStream:
    if not container.streams.audio:
        raise Unprocessable("file has no audio in it")
    stream = container.streams.audio[0]
    for other in container.streams:
        other.discard = Discard.default if other is stream else Discard.all
    return stream


def _length(container: av.container.InputContainer, stream: av.AudioStream, max_s: float) -> tuple[float, bool]:
    """Seconds of packets, and whether one of them is broken off."""
    base = stream.time_base or Fraction(1, 1000)
    start, end, summed = None, 0.0, 0.0
    cut = False
    for packet in container.demux(stream):
        if not packet.size:
            continue
        cut = cut or packet.is_corrupt
        length_s = float((packet.duration or 0) * base)
        summed += length_s
        if packet.pts is not None:
            start = float(packet.pts * base) if start is None else start
            end = max(end, float(packet.pts * base) + length_s - start)
        if max(end, summed) > max_s:
            raise TooLarge(f"file lasts more than the {max_s:.0f} s that are taken")
    return max(end, summed), cut


def decode(file: IO[bytes], max_s: float) -> Iterator[Pcm]:
    """The file's sound as 16 kHz mono blocks: a short one first, so that it starts soon, then `BLOCK_S` each."""
    file.seek(0)
    with _container(file) as container:
        stream = _stream(container)
        rate_hz = stream.codec_context.sample_rate
        to_float = av.AudioResampler(format="fltp")
        resampler = soxr.ResampleStream(rate_hz, SAMPLE_RATE_HZ, 1, dtype="float32")
        held: list[NDArray[np.float32]] = []
        count, total = 0, 0
        wanted = int(FIRST_BLOCK_S * rate_hz)
        for frame in container.decode(stream):
            for part in to_float.resample(frame):
                mono = _mono(np.asarray(part.to_ndarray(), np.float32))
                held.append(mono)
                count += len(mono)
            total += frame.samples
            if count >= wanted:
                yield resampler.resample_chunk(np.concatenate(held))
                held, count, wanted = [], 0, int(BLOCK_S * rate_hz)
            if total > max_s * rate_hz:
                break
        last = np.concatenate(held) if held else np.zeros(0, np.float32)
        yield resampler.resample_chunk(last, last=True)


def _mono(samples: NDArray[np.float32]) -> Pcm:
    """[channels, samples] -> their mean, [samples], within -1..1; what is not a number is silence."""
    mono = np.nan_to_num(samples.mean(axis=0, dtype=np.float32), nan=0.0, posinf=1.0, neginf=-1.0)
    return np.asarray(np.clip(mono, -1.0, 1.0), np.float32)
