"""The inside of a mouth, drawn: dark, teeth, tongue, for a face whose own inside nobody has seen.

Everything is laid out in millimetres of an average adult around the middle of the closed lips, scaled by the distance
between the eyes, and lit as the face is: white is what the whites of the eyes are.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]

EYES_MM = 82.0
"""Between the outer corners of the eyes, on the head whose teeth these are (`training/face/`)."""
JAW_OPEN, TONGUE_OUT, TONGUE_UP = 0, 14, 15
"""Channels."""
MOUTH_MM = 52.0
"""Width of the mouth on that head."""
FINER = 3
"""Pixels drawn per pixel kept, each way."""


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """A row of teeth, mm; crowns from the midline outwards. The measures are those of the default avatar's teeth."""

    widths: tuple[float, ...]
    heights: tuple[float, ...]
    steps: tuple[float, ...]
    """How far each edge stands back from the row's."""
    arch: tuple[float, float]
    """Half width and depth of the ellipse that the row follows."""
    edge: float
    """Where the incisors end with the jaw shut, below the line of the closed lips."""
    up: int
    """1: crowns hang down; -1: they stand."""
    bright: float
    """0..1: how much of the light reaches them."""


UPPER = Row(
    widths=(8.6, 6.7, 7.7, 7.0, 6.8, 9.8),
    heights=(10.2, 8.9, 9.9, 8.4, 7.8, 7.2),
    steps=(0.0, 0.7, 0.1, 0.5, 0.8, 1.0),
    arch=(28.5, 43.0),
    edge=4.4,
    up=1,
    bright=1.0,
)
LOWER = Row(
    widths=(5.5, 6.0, 6.9, 7.0, 7.0, 10.2),
    heights=(8.6, 8.8, 9.6, 8.4, 7.8, 7.2),
    steps=(0.0, 0.0, -0.2, 0.3, 0.5, 0.6),
    arch=(27.2, 41.0),
    edge=4.8,
    up=-1,
    bright=0.82,
)


@dataclasses.dataclass(frozen=True, slots=True)
class Anatomy:
    """Where a mouth is in its patch; lengths in pixels."""

    x: float
    y: float
    """Middle of the closed lips."""
    unit: float
    """Between the outer eye corners."""
    width: float
    """Corner to corner."""
    lean: float
    """Radians, clockwise."""
    drop: float
    """How far the lower incisors go down at jawOpen 1."""


@dataclasses.dataclass(frozen=True, slots=True)
class Light:
    """Y, U and V (BT.601 limited) of black and of the parts, over black and grey: float32 [3] each."""

    tooth: FloatArray
    gum: FloatArray
    tongue: FloatArray
    dark: FloatArray

    @classmethod
    def of(cls, tone: FloatArray) -> Light:
        """From the tone of the skin and of something white, [2,3] Y, U, V."""
        skin, white = tone.astype(np.float64) - [16, 128, 128]
        # Eyes in shadow or half shut say too little; teeth are hardly ever darker than the skin around them.
        level = float(np.clip(max(white[0], 1.15 * skin[0]), 40, 205))
        warmth = float(np.clip(np.hypot(*skin[1:]) / 24, 0, 1.2))  # 0 in a picture without colour
        # Fitted to twelve photographs that show skin, eyes and teeth; off by 5 on average.
        cast = 0.52 * skin[1] + 0.44 * white[1], 0.59 * skin[2]

        def mix(share: float, u: float, v: float) -> FloatArray:
            return np.array([level * share, cast[0] * share + u * warmth, cast[1] * share + v * warmth], np.float32)

        return cls(mix(1.0, 0, 0), mix(0.55, -3, 20), mix(0.60, -2, 22), mix(0.12, -1, 7))


class InnerMouth:
    """One mouth's inside. Immutable after construction, so that any thread may draw with it."""

    def __init__(self, anatomy: Anatomy, light: Light, size: tuple[int, int]) -> None:
        """`size`: width and height of the patch, pixels."""
        self._anatomy = anatomy
        reach_x, up, down = 0.72 * anatomy.width + 4, 0.30 * anatomy.unit, 0.62 * anatomy.unit
        self.left, self.right = _even(anatomy.x - reach_x, size[0]), _even(anatomy.x + reach_x, size[0])
        self.top, self.bottom = _even(anatomy.y - up, size[1]), _even(anatomy.y + down, size[1])
        mm = anatomy.unit / EYES_MM
        # A wide mouth has a wider row, but teeth vary less than lips do.
        self._mm = (mm * float(np.clip(anatomy.width / (MOUTH_MM * mm), 0.85, 1.15)) ** 0.5, mm)
        x, y = self._grid()
        self._upper, self._lower = (self._keep(_teeth(x, y, row, light)) for row in (UPPER, LOWER))
        self._tongue = self._keep(_tongue(x, y, light))
        self._dark = self._keep(_cavity(x, y, light))

    def _grid(self) -> tuple[FloatArray, FloatArray]:
        """Millimetres right of and below the middle, of every drawn pixel."""
        a = self._anatomy
        columns = self.left + (np.arange((self.right - self.left) * FINER) + 0.5) / FINER - 0.5 - a.x
        rows = self.top + (np.arange((self.bottom - self.top) * FINER) + 0.5) / FINER - 0.5 - a.y
        dx, dy = np.meshgrid(columns, rows)
        c, s = np.cos(a.lean), np.sin(a.lean)
        x, y = (c * dx + s * dy) / self._mm[0], (c * dy - s * dx) / self._mm[1]
        return x.astype(np.float32), y.astype(np.float32)

    def _keep(self, drawn: FloatArray) -> FloatArray:
        size = (self.right - self.left, self.bottom - self.top)
        return np.ascontiguousarray(cv2.resize(drawn, size, interpolation=cv2.INTER_AREA), np.float32)

    def draw(
        self,
        box: tuple[int, int, int, int],
        weights: FloatArray,
        lips: tuple[FloatArray, FloatArray],
        shift: FloatArray,
    ) -> FloatArray:
        """The inside within `box` (left, top, right, bottom in the patch; inside this mouth's own): [h,w,3] Y, U, V.

        `weights` [16]; `lips`: [w] each, where the edges of the upper and the lower lip are in the box's columns;
        `shift` [2]: how far the mouth is from where it is on average, pixels all.
        """
        unit, drop = self._anatomy.unit, self._anatomy.drop
        jaw = float(np.clip(weights[JAW_OPEN], -0.2, 1.2)) * drop
        raised, out = (float(np.clip(weights[k], 0, 1)) for k in (TONGUE_UP, TONGUE_OUT))
        picture = np.ascontiguousarray(self._seen(self._dark, box, shift, 0)[..., :3])
        tongue = self._seen(self._tongue, box, shift, 0.8 * jaw - (0.085 * raised + 0.075 * out) * unit)
        _over(picture, tongue)
        _over(picture, self._seen(self._lower, box, shift, jaw))
        if out > 0:  # the tip comes over the lower teeth
            tongue *= min(1.0, 2 * out)
            _over(picture, tongue)
        _over(picture, self._seen(self._upper, box, shift, 0))
        picture *= _shade(np.arange(box[1], box[3], dtype=np.float32)[:, None], *lips, unit)[..., None]
        picture += np.array([16, 128, 128], np.float32)
        return picture

    def _seen(self, layer: FloatArray, box: tuple[int, int, int, int], shift: FloatArray, down: float) -> FloatArray:
        """What `box` shows of a layer that is moved by `shift` and down along the face, pixels."""
        dx = float(shift[0]) - np.sin(self._anatomy.lean) * down
        dy = float(shift[1]) + np.cos(self._anatomy.lean) * down
        left, top, right, bottom = box
        matrix = np.array([[1, 0, left - self.left - dx], [0, 1, top - self.top - dy]])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        size = (right - left, bottom - top)
        return np.asarray(cv2.warpAffine(layer, matrix, size, flags=flags, borderMode=cv2.BORDER_REPLICATE), np.float32)


def _even(value: float, limit: int) -> int:
    return int(np.clip(2 * round(value / 2), 0, limit))


def _over(picture: FloatArray, layer: FloatArray) -> None:
    """Put a layer [h,w,4] (colour times opacity, opacity) on a picture [h,w,3]."""
    picture *= 1 - layer[..., 3:]
    picture += layer[..., :3]


def _shade(y: FloatArray, upper: FloatArray, lower: FloatArray, unit: float) -> FloatArray:
    """[h,w] 0..1: the lips keep light out, above all the upper one, and all the more the less they are open."""
    below, above = np.maximum(y - upper, 0) / unit, np.maximum(lower - y, 0) / unit
    open_ = np.clip((lower - upper) / (0.16 * unit), 0, 1)
    shade = (1 - 0.26 * np.exp(-below / 0.02)) * (1 - 0.25 * np.exp(-above / 0.02)) * (0.82 + 0.18 * open_)
    return np.asarray(shade, np.float32)


def _soft(value: NDArray[Any]) -> FloatArray:
    t = np.clip(value, 0, 1)
    return np.asarray(t * t * (3 - 2 * t), np.float32)


def _boundaries(row: Row) -> tuple[FloatArray, FloatArray]:
    """Where crowns end as seen from the front, mm from the midline, and how much they face the front (cosine)."""
    half, depth = row.arch
    t = np.linspace(0, 1.5, 600)
    x = half * np.sin(t)
    length = np.concatenate([[0], np.cumsum(np.hypot(np.diff(x), np.diff(depth * (1 - np.cos(t)))))])
    ends = np.concatenate([[0], np.cumsum(row.widths)])
    middle = np.interp((ends[:-1] + ends[1:]) / 2, length, t)
    facing = half * np.cos(middle) / np.hypot(depth * np.sin(middle), half * np.cos(middle))
    return np.interp(ends, length, x).astype(np.float32), facing.astype(np.float32)


def _teeth(x: FloatArray, y: FloatArray, row: Row, light: Light) -> FloatArray:
    """A row of teeth with its gum, [h,w,4]."""
    ends, facing = _boundaries(row)
    side = np.abs(x)
    k = np.clip(np.searchsorted(ends, side, "right") - 1, 0, len(row.widths) - 1)
    across = np.clip((side - ends[k]) / np.maximum(ends[k + 1] - ends[k], 1e-3), 0, 1) * 2 - 1  # -1..1 over a crown
    step, height = np.array(row.steps, np.float32)[k], np.array(row.heights, np.float32)[k]
    # mm from the edge towards the root; edges are round, and the whole row rises towards its ends.
    root = row.up * (row.edge - y) - step - 0.5 * np.abs(across) ** 3 - 0.002 * side**2
    present = _soft((ends[-1] - side) / 2)
    crown = _soft(root / 0.35) * _soft((height - 2.2 * across**4 - root) / 0.8) * present
    gum = _soft((root - 0.5 * height) / 1.0) * present * (1 - crown)
    # Crowns stand apart most at their edges.
    between = _soft((1 - 0.06 - 0.10 * np.clip(1 - root / 2.5, 0, 1) - np.abs(across)) / 0.16 + 0.75)
    lit = 0.42 + 0.58 * facing[k] ** 0.9 * np.exp(-((side / 27.0) ** 4))
    lit *= (1 - 0.16 * across**2) * (0.93 + 0.07 * _soft(root / 2.0)) * (1 - 0.10 * _soft((root - 4) / 6))
    lit *= (0.70 + 0.30 * between) * row.bright
    gum_lit = (0.35 + 0.65 * facing[k]) * (1 - 0.25 * _soft((root - height) / 8))
    colour = light.gum * (gum_lit * gum)[..., None] + light.tooth * (crown * lit)[..., None]
    return np.concatenate([colour, (crown + gum)[..., None]], -1).astype(np.float32)


def _tongue(x: FloatArray, y: FloatArray, light: Light) -> FloatArray:
    """A tongue that lies behind the lower teeth, [h,w,4]."""
    top = 3.2 + 0.010 * x**2 + 0.8 * np.exp(-((x / 1.6) ** 2))
    depth = y - top
    opacity = _soft(depth / 2.2 + 0.5) * _soft((21 - np.abs(x)) / 4)
    lit = (
        (0.62 + 0.38 * _soft(depth / 5))
        * (1 - 0.35 * (np.clip(np.abs(x) / 20, 0, 1) ** 2))
        * (1 - 0.3 * _soft((depth - 9) / 12))
    )
    return np.concatenate([light.tongue * (opacity * lit)[..., None], opacity[..., None]], -1).astype(np.float32)


def _cavity(x: FloatArray, y: FloatArray, light: Light) -> FloatArray:
    """What is behind all, darkest in the middle and at the corners: [h,w,4]."""
    lit = 0.7 + 0.5 * _soft((y - 6) / 14) - 0.3 * _soft((np.abs(x) - 14) / 10)
    return np.concatenate([light.dark * lit[..., None], np.ones_like(x)[..., None]], -1).astype(np.float32)
