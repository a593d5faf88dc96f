"""Closes the eyes of a photo: the skin above the lid is drawn down over the eye, lashes and all."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np

from avatarbuild.detector import Rgb
from avatarbuild.track import FloatArray

LEFT_UPPER = (33, 246, 161, 160, 159, 158, 157, 173, 133)
LEFT_LOWER = (33, 7, 163, 144, 145, 153, 154, 155, 133)
RIGHT_UPPER = (362, 398, 384, 385, 386, 387, 388, 466, 263)
RIGHT_LOWER = (362, 382, 381, 380, 374, 373, 390, 249, 263)
"""The lids' edges, from left to right in the picture."""
LEFT_BROW, RIGHT_BROW = (46, 53, 52, 65, 55), (285, 295, 282, 283, 276)
"""The brows' lower edges, the same way."""
FOLD = 0.55
"""How far above the lid's edge the skin gives way, in widths of the eye, where the brow is not nearer."""
FOLD_MIN = 0.18
BELOW_BROW = 0.08
"""Of the skin under the brow that rests with it."""
LASHES = -0.04
"""Where the upper lid's edge is, as a share of the opening: a little above the mesh, which runs below the lashes."""
LASH_STRIP, LASH_SHARE = 0.10, 0.4
"""Lashes and the lid's edge, in widths of the eye and of the way to the fold at most: moved as they are, since
stretched lashes are streaks."""
MEETING = 1.18
"""Where the lids meet, as a share of the opening: below the mesh, which leaves a line of white."""
EYE_MIN_PX = 10
"""A smaller eye is left open: its lid has too few pixels."""
OPEN_MIN = 0.12
"""Height over width of an eye that is open enough to be closed."""
STEPS = 20
"""Closures that are told apart."""


@dataclasses.dataclass(frozen=True, slots=True)
class _Eye:
    corner: FloatArray
    """[2]: the left corner, pixels."""
    along: FloatArray
    """[2]: from the left corner to the right one, length 1."""
    width: float
    upper: FloatArray
    lower: FloatArray
    """[9,2]: the lids' edges as (along, down), pixels."""
    brow: FloatArray
    """[5,2]: the brow's lower edge, the same way."""


class Eyelids:
    """One photo's eyes."""

    def __init__(self, picture: Rgb, mesh: FloatArray) -> None:
        self._picture = picture
        sides = ((LEFT_UPPER, LEFT_LOWER, LEFT_BROW), (RIGHT_UPPER, RIGHT_LOWER, RIGHT_BROW))
        eyes = [_eye(*(mesh[list(part)] for part in side)) for side in sides]
        self._eyes = [eye for eye in eyes if eye.width >= EYE_MIN_PX and _opening(eye) >= OPEN_MIN]
        self._made: dict[int, Rgb] = {0: picture}

    def closed(self, share: float) -> Rgb:
        """The photo with its eyes closed by `share` (0 is as they are, 1 is shut); shared, not to be written to."""
        step = round(share * STEPS)
        if step not in self._made:
            picture = self._picture.copy()
            for eye in self._eyes:
                _close(picture, eye, step / STEPS)
            self._made[step] = picture
        return self._made[step]


def _eye(upper: FloatArray, lower: FloatArray, brow: FloatArray) -> _Eye:
    corner = upper[0]
    width = float(np.linalg.norm(upper[-1] - corner))
    along = (upper[-1] - corner) / max(width, 1e-6)
    frame = np.stack([along, [-along[1], along[0]]], 1)
    return _Eye(corner, along, width, *((part - corner) @ frame for part in (upper, lower, brow)))


def _opening(eye: _Eye) -> float:
    return float((eye.lower[:, 1] - eye.upper[:, 1]).max()) / eye.width


def _close(picture: Rgb, eye: _Eye, share: float) -> None:
    """Draw one eye's lid down, in place."""
    reach = (FOLD + 0.6) * eye.width
    middle = eye.corner + eye.along * eye.width / 2
    low = np.maximum(np.floor(middle - reach), 0).astype(int)
    high = np.minimum(np.ceil(middle + reach) + 1, picture.shape[1::-1]).astype(int)
    if (high - low < 2).any():
        return
    part = picture[low[1] : high[1], low[0] : high[0]]
    y, x = np.indices(part.shape[:2], np.float32)
    away = np.stack([x + low[0] - eye.corner[0], y + low[1] - eye.corner[1]], -1)
    down_axis = np.array([-eye.along[1], eye.along[0]], np.float32)
    along, down = away @ eye.along, away @ down_axis

    upper = np.interp(along, eye.upper[:, 0], eye.upper[:, 1])
    lower = np.interp(along, eye.lower[:, 0], eye.lower[:, 1])
    gap = np.maximum(lower - upper, 0)
    brow = np.interp(along, eye.brow[:, 0], eye.brow[:, 1]) + BELOW_BROW * eye.width
    fold = upper - np.clip(upper - brow, FOLD_MIN * eye.width, FOLD * eye.width)
    edge = upper + LASHES * gap
    shut = edge + share * (MEETING - LASHES) * gap
    # From the fold to the lashes the skin is stretched.
    strip = np.minimum(LASH_STRIP * eye.width, LASH_SHARE * (upper - fold))
    place = np.clip((down - fold) / np.maximum(shut - strip - fold, 1e-3), 0, 1)
    lift = (shut - edge) * place
    lift = np.where(down <= shut, lift, 0).astype(np.float32)
    source_x = (x - lift * down_axis[0]).astype(np.float32)
    source_y = (y - lift * down_axis[1]).astype(np.float32)
    drawn = np.asarray(cv2.remap(part, source_x, source_y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE), np.uint8)
    # The lid's edge is one pixel soft.
    mix = np.clip(shut - down + 0.5, 0, 1)[..., None]
    part[:] = np.rint(drawn * mix + part * (1 - mix)).astype(np.uint8)
