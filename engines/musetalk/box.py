"""Where the generated square belongs in a picture: the face box, the crop box around it, and the settings of both.

The rules are MuseTalk's (github.com/TMElyralab/MuseTalk: `musetalk/utils/preprocessing.py`, `blending.py`), so that
avatars made here and avatars made there look alike. A box is (x1, y1, x2, y2), whole pixels, x2 and y2 excluded.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from errors import Unprocessable

Box = tuple[int, int, int, int]
"""x1, y1, x2, y2; x2 and y2 are the first column and row outside."""
LANDMARKS = 68
BRIDGE, CENTRE, TIP = 28, 29, 30
"""Points along the nose; the box is centred on the middle one."""
SMALLEST_SIDE_PX = 8
"""Of a face box: less shows no mouth."""


class Blending(BaseModel):
    """How a face is cut out and how its lower half is put back."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mode: Literal["raw", "neck", "jaw"] = "jaw"
    """What is replaced: skin and mouth, these and the neck, or the skin down to the jaw and a little over it."""
    bbox_shift: Annotated[int, Field(ge=-200, le=200)] = 0
    """Pixels by which the box's centre moves down; more opens the mouth further (v1.0; v1.5 knows 0 only)."""
    extra_margin: Annotated[int, Field(ge=0, le=200)] = 10
    """Pixels below the chin that belong to the box."""
    expand: Annotated[float, Field(ge=1, le=4)] = 1.5
    """Side of the crop box in sides of the face box."""
    left_cheek_width: Annotated[int, Field(ge=0, le=256)] = 90
    """Pixels of 512 left of the middle from which the mask is narrowed (mode `jaw`)."""
    right_cheek_width: Annotated[int, Field(ge=0, le=256)] = 90
    """The same to the right."""
    blur: Annotated[float, Field(ge=0, le=0.5)] = 0.1
    """Width of the soft edge in widths of the crop box."""
    upper_boundary_ratio: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Part of the crop box, from its top, in which nothing is replaced."""


V15_REALTIME = Blending()
V15_OFFLINE = Blending(blur=0.05)
V10 = Blending(mode="raw", extra_margin=0, expand=1.2, left_cheek_width=80, right_cheek_width=80)
PRESETS = {"v15": V15_REALTIME, "v15-offline": V15_OFFLINE, "v1": V10}
"""What each published model was shown with."""


def face_box(landmarks: NDArray[Any], width: int, height: int, settings: Blending, fallback: Box | None = None) -> Box:
    """The square-ish box that the model sees.

    Its middle is landmark 29 (plus `bbox_shift`), its lower edge the lowest landmark, its upper edge as far above the
    middle as the lower one is below; coordinates are truncated to whole pixels first. Where that has no area or begins
    left of the picture, `fallback` (a detector's box) takes its place, else what the landmarks span. The margin below
    the chin is added last, and the box ends where the picture ends.

    Args:
        landmarks: [68,2] x and y, pixels.
        width: of the picture, pixels.
        height: of the picture, pixels.
        settings: `bbox_shift` and `extra_margin` count.
        fallback: another idea of where the face is.

    Raises:
        Unprocessable: no box of at least 8 x 8 pixels lies in the picture.
    """
    points = _whole(landmarks)
    x1, y1 = (int(v) for v in points.min(0))
    x2, y2 = (int(v) for v in points.max(0))
    centre = int(points[CENTRE, 1]) + settings.bbox_shift
    top = max(0, 2 * centre - y2)
    box = (x1, top, x2, y2)
    if x2 <= x1 or y2 <= top or x1 < 0:
        box = fallback or (x1, y1, x2, y2)
    left, upper, right, lower = box
    box = (max(left, 0), max(upper, 0), min(right, width), min(lower + settings.extra_margin, height))
    if min(box[2] - box[0], box[3] - box[1]) < SMALLEST_SIDE_PX:
        raise Unprocessable(
            f"face box {list(box)} in a picture of {width} x {height}: "
            f"at least {SMALLEST_SIDE_PX} x {SMALLEST_SIDE_PX} pixels are needed"
        )
    return box


def shift_range(landmarks: NDArray[Any]) -> tuple[int, int]:
    """The `bbox_shift` that MuseTalk advises for a clip: from minus the nose tip's drop to the bridge's rise, pixels.

    `landmarks` [N,68,2].
    """
    y = np.trunc(np.asarray(landmarks, np.float64))[:, :, 1]
    return -int((y[:, TIP] - y[:, CENTRE]).mean()), int((y[:, CENTRE] - y[:, BRIDGE]).mean())


def crop_box(box: Box, expand: float) -> Box:
    """The square around the face box's middle in which the mask is made; it may leave the picture on any side."""
    x1, y1, x2, y2 = box
    x, y = (x1 + x2) // 2, (y1 + y2) // 2
    half = int(max(x2 - x1, y2 - y1) // 2 * expand)
    return x - half, y - half, x + half, y + half


def crop(picture: NDArray[np.uint8], box: Box) -> NDArray[np.uint8]:
    """The part of a picture [H,W] or [H,W,C] inside the box; black where the box leaves the picture."""
    x1, y1, x2, y2 = box
    height, width = picture.shape[:2]
    inner = picture[max(y1, 0) : max(y2, 0), max(x1, 0) : max(x2, 0)]
    if inner.shape[:2] == (y2 - y1, x2 - x1):
        return inner
    whole = np.zeros((y2 - y1, x2 - x1, *picture.shape[2:]), np.uint8)
    top, left = min(max(-y1, 0), y2 - y1), min(max(-x1, 0), x2 - x1)
    whole[top : top + inner.shape[0], left : left + inner.shape[1]] = inner
    return whole


def crop_face(frame_rgb: NDArray[np.uint8], box: Box, side: int) -> NDArray[np.uint8]:
    """What the model sees: the box scaled to a square by Lanczos interpolation over 8 x 8 pixels.

    Args:
        frame_rgb: uint8 [H,W,3].
        box: the face; beyond the picture's edge its last pixels are repeated.
        side: pixels, 256 for the published models.

    Returns:
        uint8 [side,side,3].

    Raises:
        Unprocessable: the box does not touch the picture.
    """
    x1, y1, x2, y2 = box
    height, width = frame_rgb.shape[:2]
    inner = frame_rgb[max(y1, 0) : max(y2, 0), max(x1, 0) : max(x2, 0)]
    if not inner.size:
        raise Unprocessable(f"face box {list(box)} lies outside the picture of {width} x {height}")
    if inner.shape[:2] != (y2 - y1, x2 - x1):
        sides = (max(-y1, 0), max(y2 - height, 0), max(-x1, 0), max(x2 - width, 0))
        inner = np.asarray(cv2.copyMakeBorder(inner, *sides, cv2.BORDER_REPLICATE), np.uint8)
    return np.asarray(cv2.resize(inner, (side, side), interpolation=cv2.INTER_LANCZOS4), np.uint8)


def _whole(landmarks: NDArray[Any]) -> NDArray[np.int64]:
    """Landmarks as MuseTalk takes them, cut to whole pixels."""
    points = np.asarray(landmarks, np.float64)
    if points.shape != (LANDMARKS, 2) or not np.isfinite(points).all():
        found = "a value that is not finite" if points.shape == (LANDMARKS, 2) else f"shape {list(points.shape)}"
        raise Unprocessable(f"landmarks have {found}; {LANDMARKS} finite points of x and y are needed")
    return np.trunc(points).astype(np.int64)
