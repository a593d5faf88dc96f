"""A small video that shows what was found: the face's box and its 68 landmarks over the pictures."""

from __future__ import annotations

import cv2
import numpy as np

from avatarbuild.detector import Rgb
from avatarbuild.source import fitted
from avatarbuild.track import Track

MAX_SIDE = 640
"""Pixels."""
FOUND, FILLED = (64, 220, 120), (255, 96, 64)
"""RGB of what was seen and of what is interpolated."""
_SHIFT = 4
"""Binary places behind the point, for drawing between pixels."""


def preview_size(width: int, height: int) -> tuple[int, int]:
    """Of the preview of such pictures."""
    return fitted(width, height, MAX_SIDE)


def annotated(picture: Rgb, track: Track | None, number: int) -> Rgb:
    """The small picture of a frame, uint8 [h,w,3]; with nothing drawn where there is no track."""
    width, height = preview_size(picture.shape[1], picture.shape[0])
    small = np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
    if track is None:
        return small
    scale = np.array([width / track.width, height / track.height], np.float32)
    colour = FOUND if track.found[number] else FILLED
    mesh = (track.mesh[number] + 0.5) * scale - 0.5
    cv2.rectangle(small, _fixed(mesh.min(0)), _fixed(mesh.max(0)), colour, 1, cv2.LINE_AA, _SHIFT)
    for point in (track.landmarks68[number] + 0.5) * scale - 0.5:
        cv2.circle(small, _fixed(point), 1 << _SHIFT, colour, -1, cv2.LINE_AA, _SHIFT)
    if not track.found[number]:
        cv2.putText(small, "no face", (8, height - 8), cv2.FONT_HERSHEY_SIMPLEX, 0.5, colour, 1, cv2.LINE_AA)
    return small


def _fixed(point: np.ndarray[tuple[int], np.dtype[np.float32]]) -> tuple[int, int]:
    return round(float(point[0]) * (1 << _SHIFT)), round(float(point[1]) * (1 << _SHIFT))
