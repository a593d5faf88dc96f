"""BT.601 limited-range 4:2:0, chroma sited in the middle of each 2x2 block (the mean of its pixels)."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
KR, KB = 0.299, 0.114
"""Luma coefficients of ITU-R BT.601."""


def rgb_to_ycc(rgb: NDArray[np.uint8] | FloatArray) -> FloatArray:
    """RGB [...,3] 0..255 -> Y, Cb, Cr [...,3], limited range (Y 16..235, chroma 16..240), not rounded."""
    r, g, b = np.moveaxis(np.asarray(rgb, np.float32), -1, 0)
    y = KR * r + (1 - KR - KB) * g + KB * b
    return np.stack(
        [16 + y * 219 / 255, 128 + (b - y) / (1 - KB) * 112 / 255, 128 + (r - y) / (1 - KR) * 112 / 255], -1
    ).astype(np.float32)


def ycc_to_rgb(ycc: FloatArray) -> FloatArray:
    """The inverse, clipped to 0..255."""
    y, cb, cr = np.moveaxis(ycc, -1, 0)
    y = (y - 16) * 255 / 219
    b = y + (cb - 128) * (1 - KB) * 255 / 112
    r = y + (cr - 128) * (1 - KR) * 255 / 112
    g = (y - KR * r - KB * b) / (1 - KR - KB)
    rgb: FloatArray = np.clip(np.stack([r, g, b], -1), 0, 255)
    return rgb


def split(rgb: NDArray[np.uint8]) -> tuple[FloatArray, FloatArray]:
    """RGB [H,W,3] -> Y [H,W] and UV [2,H/2,W/2]."""
    ycc = rgb_to_ycc(rgb)
    h, w, _ = ycc.shape
    return ycc[..., 0], ycc[..., 1:].reshape(h // 2, 2, w // 2, 2, 2).mean((1, 3)).transpose(2, 0, 1)


def join(y: NDArray[np.uint8] | FloatArray, uv: NDArray[np.uint8] | FloatArray) -> FloatArray:
    """Y [H,W] and UV [2,H/2,W/2] -> RGB [H,W,3] 0..255, chroma interpolated linearly."""
    h, w = y.shape
    full = [cv2.resize(np.asarray(c, np.float32), (w, h), interpolation=cv2.INTER_LINEAR) for c in uv]
    return ycc_to_rgb(np.stack([np.asarray(y, np.float32), *full], -1))
