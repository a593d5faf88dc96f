"""Puts a drawn mouth into an idle picture, in 4:2:0 throughout."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
from numpy.typing import NDArray

from avatar import Avatar
from media import I420

OPAQUE = 128
"""Mask value that shows the patch alone. With 7 bits, mask times difference fits int16."""
SHIFT = 7
KEPT_BYTES = 64 << 20
"""Of warped masks, per avatar."""


@dataclasses.dataclass(frozen=True, slots=True)
class _Plane:
    """Where and how one plane of the patch lands in one plane of the picture."""

    rows: slice
    columns: slice
    matrix: NDArray[np.float64]
    """[2,3] patch -> rectangle."""
    mask: NDArray[np.int16]
    """[h,w] 0..OPAQUE."""


def half_scale(affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """The same motion between chroma planes.

    A chroma sample (i, j) sits in the middle of its four luma samples, at (2i + 0.5, 2j + 0.5).
    """
    linear, shift = affine[:, :2], affine[:, 2]
    return np.column_stack([linear, (linear.sum(1) * 0.5 + shift - 0.5) / 2])


def _plane(affine: NDArray[np.float64], mask: NDArray[np.float32], width: int, height: int) -> _Plane:
    """Warp the mask; the rectangle is the smallest that holds all of it."""
    # Only what the patch can reach is warped: a picture may be many times larger.
    corners = np.array([[-1, -1], [mask.shape[1], -1], [-1, mask.shape[0]], [mask.shape[1], mask.shape[0]]], np.float64)
    reach = corners @ affine[:, :2].T + affine[:, 2]
    left, top = (int(v) for v in np.clip(np.floor(reach.min(0)), 0, (width - 1, height - 1)))
    right, bottom = (int(v) for v in np.clip(np.ceil(reach.max(0)) + 1, (left + 1, top + 1), (width, height)))
    matrix = affine.copy()
    matrix[:, 2] -= (left, top)
    warped = cv2.warpAffine(mask, matrix, (right - left, bottom - top), flags=cv2.INTER_LINEAR)
    whole = np.rint(warped * OPAQUE).astype(np.int16)
    ys, xs = np.nonzero(whole.any(1))[0], np.nonzero(whole.any(0))[0]
    if not len(ys):
        ys = xs = np.zeros(1, np.intp)
    x, y = int(xs[0]), int(ys[0])
    kept = np.ascontiguousarray(whole[y : int(ys[-1]) + 1, x : int(xs[-1]) + 1])
    matrix[:, 2] -= (x, y)
    rows, columns = slice(top + y, top + y + kept.shape[0]), slice(left + x, left + x + kept.shape[1])
    return _Plane(rows, columns, matrix, kept)


class Paster:
    """Warps patches into an avatar's idle pictures. Any thread may call it.

    Masks are warped when a frame is first shown, and kept up to KEPT_BYTES for all frames together; what is beyond that
    is warped each time (0.5 ms for a face of 500 pixels).
    """

    def __init__(self, avatar: Avatar) -> None:
        self._avatar = avatar
        mask = avatar.mask
        size = (mask.shape[1] // 2, mask.shape[0] // 2)
        self._half = np.asarray(cv2.resize(mask, size, interpolation=cv2.INTER_AREA), np.float32)
        self._kept: dict[int, tuple[_Plane, _Plane]] = {}
        self._room = KEPT_BYTES

    def _planes(self, stored: int) -> tuple[_Plane, _Plane]:
        """Luma and chroma of a stored frame. Two threads may both make them; they make the same."""
        planes = self._kept.get(stored)
        if planes is None:
            height, width = self._avatar.height, self._avatar.width
            affine = self._avatar.affine(stored).astype(np.float64)
            planes = (
                _plane(affine, self._avatar.mask, width, height),
                _plane(half_scale(affine), self._half, width // 2, height // 2),
            )
            size = sum(plane.mask.nbytes for plane in planes)
            if size <= self._room:
                self._room -= size
                self._kept[stored] = planes
        return planes

    def paste(self, index: int, y_patch: NDArray[np.uint8], uv_patch: NDArray[np.uint8], blend: float) -> I420:
        """The idle picture at `index` of the endless motion with the patch over it; a new array.

        `y_patch` uint8 [H,W], `uv_patch` uint8 [2,H/2,W/2]; `blend` 0..1 fades the patch in, 0 gives the idle picture.
        """
        picture = self._avatar.frame(index).copy()
        opacity = round(min(max(blend, 0.0), 1.0) * OPAQUE)
        if opacity == 0:
            return picture
        luma, chroma = self._planes(self._avatar.stored(index))
        height, width = self._avatar.height, self._avatar.width
        quarter = height * width // 4
        flat = picture.reshape(-1)
        _blend(picture[:height], y_patch, luma, opacity, cv2.INTER_CUBIC)
        for k in range(2):
            start = height * width + k * quarter
            plane = flat[start : start + quarter].reshape(height // 2, width // 2)
            _blend(plane, uv_patch[k], chroma, opacity, cv2.INTER_LINEAR)
        return picture


def _blend(into: NDArray[np.uint8], patch: NDArray[np.uint8], plane: _Plane, opacity: int, how: int) -> None:
    under = into[plane.rows, plane.columns]
    height, width = under.shape
    over = cv2.warpAffine(patch, plane.matrix, (width, height), flags=how, borderMode=cv2.BORDER_REPLICATE)
    mask = plane.mask
    if opacity < OPAQUE:
        mask = (mask * np.int16(opacity)) >> SHIFT
    difference = np.subtract(over, under, dtype=np.int16)
    difference *= mask
    difference += OPAQUE // 2
    difference >>= SHIFT
    difference += under
    under[...] = difference
