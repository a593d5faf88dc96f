"""Writes and reads back the videos of an avatar: H.264, yuv420p, BT.601 limited range, 25 pictures a second."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace

from avatarbuild.detector import Rgb
from media import FPS

IDLE_CRF = 12
"""What engines cut faces from: the coding noise stays under that of a camera."""
PREVIEW_CRF = 26
PIECE = 10
"""Pictures from one that is coded for itself to the next: a long idle motion is decoded in such pieces, also backwards.
What a session shows, what is drawn ahead of that and what comes next then never lie in more than three."""
THREADS = 2
SMPTE170M = 6
"""FFmpeg's AVCOL_SPC_SMPTE170M: BT.601's matrix."""


class VideoWriter:
    """An .mp4 that grows picture by picture; as a context manager it is completed where the block ends well.

    Pictures are coded on a thread of its own, which ends with the block.
    """

    def __init__(self, path: Path, width: int, height: int, *, crf: int, preset: str = "veryfast") -> None:
        self._container = av.open(str(path), "w", format="mp4", options={"fflags": "+bitexact"})
        try:
            stream = self._container.add_stream("libx264", FPS)
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            stream.time_base = stream.codec_context.time_base = Fraction(1, FPS)
            stream.gop_size = PIECE
            context = stream.codec_context
            context.thread_count = THREADS
            context.colorspace, context.color_range = SMPTE170M, int(ColorRange.MPEG)
            context.options = {"crf": str(crf), "preset": preset, "tune": "fastdecode"}
        except BaseException:
            self._container.close()
            raise
        self._stream = stream
        self._thread = ThreadPoolExecutor(1, "encoder")
        self._coding: Future[None] | None = None
        self.count = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._thread.shutdown()
            if error is None:
                self._wait()
                self._container.mux(self._stream.encode(None))
        finally:
            self._container.close()

    def add(self, picture: Rgb) -> None:
        """Take the next picture, uint8 [H,W,3], not to be changed from then on."""
        self._wait()
        self._coding = self._thread.submit(self._code, picture, self.count)
        self.count += 1

    def _wait(self) -> None:
        if self._coding is not None:
            self._coding.result()

    def _code(self, picture: Rgb, number: int) -> None:
        frame = av.VideoFrame.from_ndarray(picture, "rgb24").reformat(
            format="yuv420p", dst_colorspace=Colorspace.ITU601, dst_color_range=ColorRange.MPEG, threads=THREADS
        )
        frame.pts, frame.time_base = number, Fraction(1, FPS)
        self._container.mux(self._stream.encode(frame))


def read_video(path: Path) -> Iterator[Rgb]:
    """The pictures of a video that `VideoWriter` wrote, uint8 [H,W,3]."""
    with av.open(str(path)) as container:
        context = container.streams.video[0].codec_context
        context.thread_type, context.thread_count = "AUTO", THREADS
        for frame in container.decode(video=0):
            picture = frame.reformat(
                format="rgb24", src_colorspace=Colorspace.ITU601, src_color_range=ColorRange.MPEG, threads=THREADS
            )
            yield np.ascontiguousarray(picture.to_ndarray())
