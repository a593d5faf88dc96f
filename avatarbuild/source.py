"""What an avatar is made from, whatever it is: pictures one after the other, upright, in RGB, of one even size."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from avatarbuild.detector import Rgb
from errors import Unprocessable

Rgba = NDArray[np.uint8]
"""uint8 [H,W,3] or, with opacity, [H,W,4]."""

SIDE_MIN = 64
"""Of a source's picture, pixels."""
PIXELS_MAX = 64_000_000
"""Of one picture of a source."""


@dataclasses.dataclass(frozen=True, slots=True)
class SourceOptions:
    """How a source is read."""

    max_side: int = 1920
    """Larger pictures are shrunk until their longer side has this many pixels."""
    max_seconds: float = 180.0
    """What comes later is left out."""
    background: tuple[int, int, int] = (128, 128, 128)
    """RGB 0..255, behind pictures that are transparent."""
    name: str = ""
    """What messages call the source; its file name if empty (an upload's is made up)."""

    def name_of(self, path: Path) -> str:
        """What messages call the source at `path`."""
        return self.name or path.name


class Source(Protocol):
    """Pictures to make an avatar from."""

    @property
    def width(self) -> int:
        """Of the pictures that come out, pixels, even."""

    @property
    def height(self) -> int:
        """Of the pictures that come out, pixels, even."""

    @property
    def expected(self) -> int:
        """About how many come out, at 25 a second; the end may come sooner or later."""

    @property
    def is_still(self) -> bool:
        """True for a single picture."""

    @property
    def notes(self) -> list[str]:
        """What the user should know, in plain words; more may be added while pictures are read."""

    def pictures(self) -> Iterator[Rgb]:
        """uint8 [H,W,3] each; reads from the start.

        Raises:
            Unprocessable: it cannot be decoded from some point on.
        """
        ...


def check_size(name: str, width: int, height: int) -> None:
    """Raise Unprocessable for pictures that are too small to show a face, or too large to hold."""
    if min(width, height) < SIDE_MIN or width * height > PIXELS_MAX:
        allowed = f"{SIDE_MIN} pixels a side to {PIXELS_MAX // 1_000_000} million pixels"
        raise Unprocessable(f"{name} is {width} x {height} pixels; allowed: {allowed}")


def fitted(width: int, height: int, max_side: int) -> tuple[int, int]:
    """The largest even size of that shape whose longer side is at most `max_side`, and at most the size given."""
    scale = min(1.0, max_side / max(width, height))
    return max(2, int(width * scale + 1e-6) // 2 * 2), max(2, int(height * scale + 1e-6) // 2 * 2)


def shaped(picture: Rgba, width: int, height: int, background: tuple[int, int, int]) -> Rgb:
    """RGB or RGBA uint8 [h,w,3|4] -> RGB uint8 [height,width,3]: flattened, then cut by one pixel or shrunk."""
    if picture.shape[2] == 4:
        picture = flattened(picture, background)
    rows, columns = picture.shape[:2]
    if 0 <= rows - height <= 1 and 0 <= columns - width <= 1:
        return np.ascontiguousarray(picture[:height, :width])
    method = cv2.INTER_AREA if rows > height else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(picture, (width, height), interpolation=method), np.uint8)


def flattened(picture: Rgba, background: tuple[int, int, int]) -> Rgb:
    """RGBA uint8 [H,W,4] over a colour."""
    opacity = picture[..., 3:].astype(np.uint16)
    below = np.array(background, np.uint16)
    mixed = picture[..., :3] * opacity + below * (255 - opacity)
    return ((mixed + 127) // 255).astype(np.uint8)


def parse_colour(text: str) -> tuple[int, int, int]:
    """`#rrggbb` to RGB; raises ValueError for anything else."""
    match = re.fullmatch(r"#?([0-9a-fA-F]{2})([0-9a-fA-F]{2})([0-9a-fA-F]{2})", text)
    if match is None:
        raise ValueError(f"{text!r} is no colour; #rrggbb is needed")
    red, green, blue = (int(part, 16) for part in match.groups())
    return red, green, blue
