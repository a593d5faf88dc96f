"""Reads clips: any container and codec that FFmpeg knows, resampled to 25 pictures a second by their time stamps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import TypeVar, cast

import av
import numpy as np
from av.error import FFmpegError
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace, Interpolation

from avatarbuild.detector import Rgb
from avatarbuild.hdr import CURVES, Grader
from avatarbuild.source import Rgba, SourceOptions, check_size, fitted, shaped
from errors import Unprocessable
from media import FPS

T = TypeVar("T")

THREADS = 2
HD_HEIGHT = 720
"""From this height on a clip that does not state its colours is taken for BT.709, below for BT.601, as players do."""
UNSPECIFIED = 2
"""FFmpeg's AVCOL_SPC_UNSPECIFIED."""
ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
"""FFmpeg's own decoders of these leave opacity out."""
MISSING_S = 1.0
MISSING_SHARE = 0.1
"""A clip that ends this much sooner than it states, by both measures, is cut off."""


class Clip:
    """A video file, as a `Source`."""

    is_still = False

    def __init__(self, path: Path, options: SourceOptions) -> None:
        """Raises Unprocessable when it is no video or is damaged at its start."""
        self.notes: list[str] = []
        self._path = path
        self._name = options.name_of(path)
        self._options = options
        self._turn = 0
        self._grader: Grader | None = None
        self._stated_s: float | None = None
        self._read_s = 0.0
        first = next(self._decoded(only_first=True), None)
        if first is None:
            raise Unprocessable(f"{self._name} holds no picture that can be decoded")
        _, frame = first
        self._shape = frame.width, frame.height
        self._turn = round(frame.rotation / 90) % 4
        width, height = frame.width, frame.height
        aspect = self._aspect
        if aspect > 1:
            width = round(width * aspect)
        elif aspect < 1:
            height = round(height / aspect)
        self._upright = self.width, self.height = fitted(
            *((height, width) if self._turn % 2 else (width, height)), options.max_side
        )
        self.expected = max(1, round((self._stated_s or 0) * FPS))
        self.expected = min(self.expected, round(options.max_seconds * FPS))
        self._remark(frame)

    def pictures(self) -> Iterator[Rgb]:
        """uint8 [H,W,3] each, 25 a second."""
        last: VideoFrame | None = None
        picture: Rgb | None = None
        for count, frame in enumerate(resample(self._decoded(), 1 / FPS)):
            if count >= round(self._options.max_seconds * FPS):
                self.notes.append(f"only the first {self._options.max_seconds:g} s of {self._name} are used")
                return
            if picture is None or frame is not last:
                picture = self._convert(frame)
                last = frame
            yield picture
        if self._stated_s and self._read_s < self._stated_s - max(MISSING_S, MISSING_SHARE * self._stated_s):
            raise Unprocessable(
                f"{self._name} is damaged: it states {self._stated_s:.2f} s, "
                f"but its pictures end after {self._read_s:.2f} s"
            )

    def _decoded(self, *, only_first: bool = False) -> Iterator[tuple[tuple[float, float], VideoFrame]]:
        """((time, duration) in seconds, frame), in order of display."""
        try:
            with av.open(str(self._path)) as container:
                if not container.streams.video:
                    raise Unprocessable(f"{self._name} holds no video")
                stream = container.streams.video[0]
                self._judge(container, stream)
                rate = stream.average_rate or Fraction(FPS)
                for number, frame in enumerate(_frames(container, stream)):
                    at = frame.time if frame.time is not None else float(number / rate)
                    lasts = float((frame.duration or 0) * (frame.time_base or 0)) or float(1 / rate)
                    if not only_first and (frame.width, frame.height) != self._shape:
                        found = f"{frame.width} x {frame.height}"
                        size = f"from {self._shape[0]} x {self._shape[1]} to {found}"
                        raise Unprocessable(f"the picture size of {self._name} changes {size} at {at:.2f} s")
                    self._read_s = max(self._read_s, at + lasts - float(stream.start_time or 0) * _base(stream))
                    yield (at, lasts), frame
                    if only_first:
                        return
        except (FFmpegError, OSError, ValueError, UnicodeDecodeError) as error:
            where = f"damaged after {self._read_s:.2f} s" if self._read_s else "not a video that can be read"
            reason = getattr(error, "strerror", None) or error
            raise Unprocessable(f"{self._name} is {where}: {reason}") from error

    def _judge(self, container: av.container.InputContainer, stream: av.VideoStream) -> None:
        context = stream.codec_context
        check_size(self._name, context.width, context.height)
        context.thread_type = "AUTO"
        context.thread_count = THREADS
        # A picture of which a part is lost is an error, not a grey smear that would become the avatar.
        context.options = {"err_detect": "explode"}
        self._aspect = float(stream.sample_aspect_ratio or 1) or 1.0
        if stream.duration is not None and stream.time_base is not None:
            self._stated_s = float(stream.duration * stream.time_base)
        elif container.duration is not None and len(container.streams) == 1:
            self._stated_s = container.duration / 1e6

    def _convert(self, frame: VideoFrame) -> Rgb:
        width, height = self._upright[::-1] if self._turn % 2 else self._upright
        if frame.width - width <= 1 and frame.height - height <= 1:
            width, height = frame.width, frame.height  # what is odd is cut, not scaled
        interpolation = Interpolation.AREA if width < frame.width else Interpolation.BICUBIC
        if int(frame.color_trc) in CURVES:
            self._grader = self._grader or Grader(int(frame.color_trc), width, height)
            return self._finished(self._grader.grade(frame, interpolation))
        has_alpha = any(component.is_alpha for component in frame.format.components) or frame.format.name == "pal8"
        space, full = _colours(frame)
        converted = frame.reformat(
            width,
            height,
            "rgba" if has_alpha else "rgb24",
            src_colorspace=space,
            src_color_range=ColorRange.JPEG if full else ColorRange.MPEG,
            interpolation=interpolation,
            threads=THREADS,
        )
        return self._finished(converted)

    def _finished(self, converted: VideoFrame) -> Rgb:
        """Turned, flattened and of the size that comes out."""
        picture: Rgba = np.rot90(converted.to_ndarray(), self._turn)
        return shaped(np.ascontiguousarray(picture), self.width, self.height, self._options.background)

    def _remark(self, frame: VideoFrame) -> None:
        curve = CURVES.get(int(frame.color_trc))
        if curve:
            self.notes.append(f"{self._name} is an HDR clip ({curve}); its colours are brought to a standard screen's")
        if frame.interlaced_frame:
            self.notes.append(f"{self._name} is interlaced; its lines are kept as they are")


def resample(frames: Iterable[tuple[tuple[float, float], T]], step_s: float) -> Iterator[T]:
    """The frame nearest to each of 0, `step_s`, 2 `step_s` ... after the first one, until the last has lasted its time.

    `frames` are ((time, duration) in seconds, anything); one whose time does not advance is left out.
    """
    start: float | None = None
    held: tuple[float, float, T] | None = None
    count = 0
    for (time_s, lasts_s), frame in frames:
        start = time_s if start is None else start
        at = time_s - start
        if held is not None:
            if at <= held[0]:
                continue
            while count * step_s < (held[0] + at) / 2:
                yield held[2]
                count += 1
        held = at, lasts_s, frame
    if held is not None:
        while count * step_s < held[0] + held[1] - step_s / 2 or count == 0:
            yield held[2]
            count += 1


def _frames(container: av.container.InputContainer, stream: av.VideoStream) -> Iterator[VideoFrame]:
    """Frames of a stream; through a decoder that knows opacity where the container says that there is some."""
    name = stream.codec_context.name.removeprefix("lib").removeprefix("vpx-")
    other = ALPHA_DECODERS.get(name) if stream.metadata.get("alpha_mode") == "1" else None
    if other is None:
        yield from container.decode(stream)
        return
    context = av.CodecContext.create(other, "r")
    for packet in container.demux(stream):
        for frame in cast(av.VideoCodecContext, context).decode(packet if packet.size else None):
            frame.time_base = packet.time_base
            yield frame


def _base(stream: av.VideoStream) -> float:
    return float(stream.time_base or 0)


def _colours(frame: VideoFrame) -> tuple[Colorspace, bool]:
    """The matrix of a frame's colours and whether they take the full range."""
    full = int(frame.color_range) == int(ColorRange.JPEG) or frame.format.name.startswith("yuvj")
    space = int(frame.colorspace)
    if space == UNSPECIFIED:
        return (Colorspace.ITU709 if min(frame.width, frame.height) >= HD_HEIGHT else Colorspace.ITU601), full
    known = {int(c): c for c in Colorspace}
    return known.get(space, Colorspace.ITU601), full
