"""What the pictures of a face say that its mesh does not: where exactly the lips meet, and how the face is lit."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from avatarbuild.facemodel import Float64, apply
from avatarbuild.litepatch import Patch, smooth

LUMA = np.array([65.481, 128.553, 24.966]) / 255
BLUE = np.array([-37.797, -74.203, 112.0]) / 255
RED = np.array([112.0, -93.786, -18.214]) / 255
"""ITU-R BT.601, limited range."""
TONE_FRAMES = 12
"""Pictures that the tone is measured in; more say no more."""
EYES = ((33, 160, 158, 133, 153, 144), (362, 385, 387, 263, 373, 380))
"""Outlines of the eyes."""
CHEEKS = (50, 280, 205, 425, 199, 18)
"""Skin of cheeks and chin."""
TEETH_UNITS = 0.05
"""Lips this far apart, in distances between the eyes, may show teeth, the best white there is."""
REACH_WIDTHS = 0.035
"""How far from the tracked line the lips may meet, in widths of the mouth."""
SAMPLES = 41
"""Columns that the line is looked for in."""
LINE_SMOOTH_FRAMES = 3.0


class LipLine:
    """Finds the dark line between closed lips: the cheapest path through the columns (Viterbi)."""

    def __init__(self, mouth_width: float) -> None:
        self._reach = max(1.0, REACH_WIDTHS * mouth_width)
        self._offsets = np.linspace(-self._reach, self._reach, 15)

    def offset(self, luma: NDArray[np.uint8], affine: Float64, line: Float64) -> Float64:
        """How far below the tracked `line` [11,2] (patch) the lips meet at each of its points: [11] pixels.

        `luma` [H,W] is the picture, `affine` [2,3] goes from the patch to it.
        """
        x = np.linspace(line[0, 0], line[-1, 0], SAMPLES)
        y = np.interp(x, line[:, 0], line[:, 1])
        places = np.stack(np.broadcast_arrays(x[None], y[None] + self._offsets[:, None]), -1)
        at = apply(affine, places).astype(np.float32)
        no_second_map: Any = None
        shade = cv2.remap(luma, at, no_second_map, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE).astype(np.float64)
        shade = np.asarray(cv2.GaussianBlur(shade, (0, 0), 0.8), np.float64)
        contrast = max(float(np.ptp(shade, axis=0).mean()), 8.0)
        cost = (shade - shade.min(0)) / contrast + 0.15 * (self._offsets[:, None] / self._reach) ** 2
        path = self._offsets[_cheapest(cost)]
        t = np.linspace(-1, 1, SAMPLES)
        curve = np.polynomial.Polynomial.fit(t, path, 5)
        found = curve(np.interp(line[:, 0], x, t))
        # At the corners the line ends in a shadow that says nothing; the mesh knows them.
        fade = np.clip(np.minimum(np.arange(11), np.arange(11)[::-1]) / 2, 0, 1)
        return np.asarray(np.clip(found, -self._reach, self._reach) * fade, np.float64)


def _cheapest(cost: Float64) -> NDArray[np.intp]:
    """Row of the cheapest path through [rows, columns] that jumps little."""
    rows, columns = cost.shape
    jump = 0.08 * (np.arange(rows)[:, None] - np.arange(rows)[None]) ** 2
    total, back = cost[:, 0], np.zeros((rows, columns), np.intp)
    for k in range(1, columns):
        ways = total[None] + jump
        back[:, k] = ways.argmin(1)
        total = ways.min(1) + cost[:, k]
    path = np.empty(columns, np.intp)
    path[-1] = total.argmin()
    for k in range(columns - 1, 0, -1):
        path[k - 1] = back[path[k], k]
    return path


class Look:
    """Gathers from the pictures, one at a time, in order."""

    def __init__(self, patch: Patch, line: LipLine) -> None:
        self._line = line
        self._every = max(1, len(patch.affine) // TONE_FRAMES)
        self._offsets: list[Float64] = []
        self._tones: list[Float64] = []

    def add(self, picture: NDArray[np.uint8], affine: Float64, mesh: NDArray[np.float32], lips: Float64) -> None:
        """The next picture, uint8 [H,W,3] RGB, with its mesh [478,2] and its lips [2,11,2] in the patch."""
        luma = np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), np.uint8)
        if len(self._offsets) % self._every == 0:
            self._tones.append(_tone(picture, mesh, lips, affine))
        self._offsets.append(self._line.offset(luma, affine, lips.mean(0)))

    def settle(self, lips: Float64, unit: float) -> Float64:
        """Move the contours [N,2,11,2] of closed lips onto the line between them; open ones stay as they are."""
        offsets = smooth(np.stack(self._offsets), LINE_SMOOTH_FRAMES)
        gap = np.diff(lips[..., 1], axis=1)[:, 0].max(1, keepdims=True)
        closed = np.clip(1 - gap / (0.03 * unit), 0, 1)
        moved = lips.copy()
        moved[..., 1] += (offsets * closed)[:, None]
        return moved

    def tone(self) -> NDArray[np.float32]:
        """float32 [2,3]: Y, U and V (BT.601, limited) of the skin, and of something white in the same light."""
        return np.median(self._tones, 0).astype(np.float32)


def _tone(picture: NDArray[np.uint8], mesh: NDArray[np.float32], lips: Float64, affine: Float64) -> Float64:
    height, width, _ = picture.shape
    limits = [width - 1, height - 1]
    unit = float(np.linalg.norm(mesh[33] - mesh[263]))
    reach = max(1, round(0.06 * unit))
    skin = []
    for x, y in np.clip(np.rint(mesh[list(CHEEKS)]), 0, limits).astype(int):
        skin.append(picture[max(y - reach, 0) : y + reach + 1, max(x - reach, 0) : x + reach + 1].reshape(-1, 3))
    white = []
    outlines = [mesh[list(eye)] for eye in EYES]
    if (lips[1, 5, 1] - lips[0, 5, 1]) > TEETH_UNITS * unit:
        outlines.append(apply(affine, np.concatenate([lips[0, 2:9], lips[1, 2:9][::-1]])).astype(np.float32))
    for points in outlines:
        outline = np.rint(points).astype(np.int32)
        x, y, w, h = cv2.boundingRect(outline)
        part = picture[max(y, 0) : y + h, max(x, 0) : x + w]
        inside = np.zeros(part.shape[:2], np.uint8)
        cv2.fillPoly(inside, [(outline - [max(x, 0), max(y, 0)]).astype(np.int32)], 1)
        white.append(part[inside > 0])
    tones = [_yuv(np.median(np.concatenate(skin), 0))]
    whites = np.concatenate(white)
    if len(whites) < 8:
        return np.stack([tones[0], tones[0]])
    brightness = whites @ LUMA
    bright = whites[brightness >= np.quantile(brightness, 0.8)]
    return np.stack([tones[0], _yuv(bright.mean(0))])


def _yuv(rgb: Float64) -> Float64:
    return np.array([16 + rgb @ LUMA, 128 + rgb @ BLUE, 128 + rgb @ RED])
