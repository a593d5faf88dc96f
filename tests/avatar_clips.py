"""Small clips for the tests of avatar building: made here, of the committed avatar's idle loop or of plain colours."""

from __future__ import annotations

import functools
import struct
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

Rgb = NDArray[np.uint8]
MIRA = Path(__file__).parent.parent / "data" / "avatars" / "mira"
SIDE = 256


@functools.cache
def mira(count: int = 25, side: int = SIDE) -> tuple[Rgb, ...]:
    """The first pictures of the committed avatar, uint8 [side,side,3] RGB; her face is 0.4 of it."""
    pictures = []
    with av.open(str(MIRA / "idle.mp4")) as container:
        for frame in container.decode(video=0):
            whole = np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)
            small = np.asarray(cv2.resize(whole, (side, side), interpolation=cv2.INTER_AREA), np.uint8)
            small.setflags(write=False)
            pictures.append(small)
            if len(pictures) == count:
                break
    return tuple(pictures)


def plain(level: int, width: int = 64, height: int = 64) -> Rgb:
    """A grey picture."""
    return np.full((height, width, 3), level, np.uint8)


def wall(width: int = SIDE, height: int = SIDE) -> Rgb:
    """A picture without a face."""
    y, x = np.indices((height, width))
    return np.stack([x * 255 // width, y * 255 // height, (x + y) % 256], -1).astype(np.uint8)


def beside(left: Rgb, right: Rgb) -> Rgb:
    """Two pictures as one."""
    return np.ascontiguousarray(np.concatenate([left, right], 1))


def write_clip(
    path: Path,
    pictures: Sequence[NDArray[np.uint8]],
    *,
    rate: int | Fraction = 25,
    times_s: Iterable[float] | None = None,
    codec: str = "libx264",
    pixels: str = "yuv420p",
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
) -> Path:
    """Write RGB or RGBA pictures; at `times_s` if given, else at a constant rate."""
    height, width = pictures[0].shape[:2]
    kind = "rgba" if pictures[0].shape[2] == 4 else "rgb24"
    times = list(times_s) if times_s is not None else [k / rate for k in range(len(pictures))]
    with av.open(str(path), "w", options=container_options or {}) as container:
        stream: Any = container.add_stream(codec, Fraction(rate))
        stream.width, stream.height, stream.pix_fmt = width, height, pixels
        stream.codec_context.time_base = stream.time_base = Fraction(1, 12_800)
        stream.codec_context.options = options or ({"preset": "ultrafast", "crf": "10"} if codec == "libx264" else {})
        for picture, time_s in zip(pictures, times, strict=True):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), kind)
            frame.pts, frame.time_base = round(time_s * 12_800), Fraction(1, 12_800)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def turn_by_metadata(path: Path, degrees: int) -> Path:
    """Have an .mp4 state that its pictures are to be shown turned clockwise by 90, 180 or 270 degrees."""
    one = 1 << 16
    matrix = {90: (0, one, -one, 0), 180: (-one, 0, 0, -one), 270: (0, -one, one, 0)}[degrees]
    a, b, c, d = matrix
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4
    at += 4 + (32 if data[at] == 1 else 20) + 16  # version and flags; times, id, duration; layer, volume, reserved
    struct.pack_into(">9i", data, at, a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    return path


def write_picture(path: Path, picture: NDArray[np.uint8]) -> Path:
    """Write RGB or RGBA as the suffix says."""
    code = cv2.COLOR_RGBA2BGRA if picture.shape[2] == 4 else cv2.COLOR_RGB2BGR
    assert cv2.imwrite(str(path), cv2.cvtColor(picture, code))
    return path
