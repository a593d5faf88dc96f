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
    warped = cv2.warpAffine(mask, affine, (width, height), flags=cv2.INTER_LINEAR)
    whole = np.rint(warped * OPAQUE).astype(np.int16)
    ys, xs = np.nonzero(whole.any(1))[0], np.nonzero(whole.any(0))[0]
    if not len(ys):
        ys = xs = np.zeros(1, np.intp)
    rows, columns = slice(int(ys[0]), int(ys[-1]) + 1), slice(int(xs[0]), int(xs[-1]) + 1)
    matrix = affine.copy()
    matrix[:, 2] -= (columns.start, rows.start)
    return _Plane(rows, columns, matrix, np.ascontiguousarray(whole[rows, columns]))


class Paster:
    """Warps patches into an avatar's idle pictures. Stateless after construction, so any thread may call it.

    The masks of all idle frames are warped once: about 6 MB and 0.1 s for 125 frames.
    """

    def __init__(self, avatar: Avatar) -> None:
        self._avatar = avatar
        height, width = avatar.height, avatar.width
        mask = avatar.mask
        size = (mask.shape[1] // 2, mask.shape[0] // 2)
        half = np.asarray(cv2.resize(mask, size, interpolation=cv2.INTER_AREA), np.float32)
        self._planes: list[tuple[_Plane, _Plane]] = []
        for index in range(avatar.count):
            affine = avatar.affine(index).astype(np.float64)
            self._planes.append(
                (_plane(affine, mask, width, height), _plane(half_scale(affine), half, width // 2, height // 2))
            )

    def paste(self, index: int, y_patch: NDArray[np.uint8], uv_patch: NDArray[np.uint8], blend: float) -> I420:
        """The idle picture at `index` of the endless motion with the patch over it; a new array.

        `y_patch` uint8 [H,W], `uv_patch` uint8 [2,H/2,W/2]; `blend` 0..1 fades the patch in, 0 gives the idle picture.
        """
        picture = self._avatar.frame(index).copy()
        opacity = round(min(max(blend, 0.0), 1.0) * OPAQUE)
        if opacity == 0:
            return picture
        luma, chroma = self._planes[self._avatar.stored(index)]
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
