"""Moves the mouth of any tracked face, a photo's or a clip's, as the mouth channels say.

The texture is the idle picture's own. What the channels do to the skin is known from a face model (`avatarbuild`): two
smooth displacement fields per channel, for what goes with the upper lip and what goes with the lower. They part along
the line where the lips meet in that very picture; between them the inside of the mouth is drawn.

Limits, because one picture does not hold what another mouth shape would show:

* Skin is moved, never shaded anew: no new folds at the corners, no light on stretched lips. Cries and wide yawns look
  stretched; speech at conversational loudness does not get there.
* Teeth and tongue are drawn, the same for everyone, as bright as the eyes' whites (or the teeth that show at rest) and
  of the colour that the light gives the skin.
* A mouth that is open at rest is closed by pulling the lips together: lips that a broad smile has thinned stay thin,
  most of the smile stays, and the dark corners of a laughing mouth go with the corners. A clip of someone who speaks
  all the time serves, but its jaw and cheeks keep moving beneath the new words; someone who listens is better.
* Depth is the face model's. Heads turned by 35 degrees still pass for what they are; in profile the mouth opens flat.
* Beards move with the skin. So do glasses, microphones or hands below the nose, and the background right beside the
  chin; that shows where it has straight lines.
* A patch that moves by parts of a pixel is resampled twice: 3 to 16 % less fine detail in it than around it. A still
  photo is not resampled where nothing moves.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from avatar import Avatar
from engines.lite.facefile import WEIGHTS, read_face
from engines.lite.innermouth import Anatomy, InnerMouth, Light

FloatArray = NDArray[np.float32]
ByteArray = NDArray[np.uint8]

MAX_BATCH = 4
ROUNDS = 6
"""Fixed-point steps that turn "where does this go" into "where does this come from"; each takes off more than half of
what is left of at most a few dozen pixels."""
APART_PX = 0.05
"""Lips closer than this show nothing between them, pixels."""
EDGE_POINTS = 65
"""Points that an edge of 11 is drawn through."""
SEAM_PX = 0.7
"""Half of the width over which closed lips meet, so that the line between them has no steps."""
SEAM_UNITS, SEAM_DEPTH = 0.010, 0.35
"""Of the shadow between lips that had to be closed: width over the distance between the eyes, and how dark it is."""
SOFT_PX, SOFT_UNITS = 0.6, 0.006
"""Half of the width over which a lip's edge fades into the inside: pixels, and of the distance between the eyes."""


class FaceMouth:
    """Mouth weights to a picture of the lower face; one per avatar. For one caller at a time."""

    def __init__(self, avatar: Avatar) -> None:
        """Raises Unprocessable when the avatar has no face file, EngineError when that is not one."""
        path = avatar.engine_file("lite", "face")
        arrays = read_face(path, avatar.count)
        self._avatar = avatar
        self.width, self.height = (int(n) for n in arrays["size"])
        self._step = int(arrays["step"])
        field = arrays["field"].astype(np.float32)
        self._field_shape = field.shape[:-1]
        self._field = np.ascontiguousarray(field.reshape(-1, WEIGHTS + 1).T)
        self._closed = np.ascontiguousarray(field[..., WEIGHTS])
        """[2,h,w,2]: of the field, what closes the mouth."""
        self._lips, self._shift, self._closing = (arrays[k] for k in ("lips", "shift", "closing"))
        self._skull = arrays.get("skull", self._shift)  # an avatar of before: teeth go with the corners of the mouth
        anatomy = Anatomy(*(float(v) for v in arrays["mouth"]))
        self._soft = SOFT_PX + SOFT_UNITS * anatomy.unit
        self._inner = InnerMouth(anatomy, Light.of(arrays["tone"]), (self.width, self.height))
        self._seam_width = np.float32(SEAM_PX + SEAM_UNITS * anatomy.unit)
        grid_h, grid_w = self._field_shape[1:3]
        columns, rows = np.meshgrid(np.arange(grid_w), np.arange(grid_h))
        self._nodes: FloatArray = np.stack([columns, rows], -1).astype(np.float32)
        self._curve = _curve(self._lips.shape[2])

    def draw(
        self, weights: FloatArray, indices: Sequence[int], blends: Sequence[float] | None = None
    ) -> tuple[ByteArray, ByteArray]:
        """Draw a batch.

        Args:
            weights: [B,16] mouth channels (about -0.4..1.1, 0 is the closed mouth), B 1..MAX_BATCH.
            indices: frames of the endless idle motion, whose pictures are moved.
            blends: 0..1: how far an open mouth at rest is closed, and how much of the motion is made; 1 if None.

        Returns:
            Y uint8 [B,height,width] and UV uint8 [B,2,height/2,width/2], BT.601 limited range, 4:2:0.
        """
        batch = len(weights)
        if not 1 <= batch <= MAX_BATCH or weights.shape[1:] != (WEIGHTS,) or len(indices) != batch:
            raise ValueError(
                f"weights {weights.shape}, {len(indices)} indices; allowed [1..{MAX_BATCH},16] and one each"
            )
        luma = np.empty((batch, self.height, self.width), np.uint8)
        chroma = np.empty((batch, 2, self.height // 2, self.width // 2), np.uint8)
        for i in range(batch):
            blend = 1.0 if blends is None else float(np.clip(blends[i], 0, 1))
            self._draw(np.asarray(weights[i], np.float32), indices[i], blend, luma[i], chroma[i])
        return luma, chroma

    def _draw(self, weights: FloatArray, index: int, blend: float, luma: ByteArray, chroma: ByteArray) -> None:
        stored = self._avatar.stored(index)
        given = np.append(weights, self._closing[stored]).astype(np.float32) * np.float32(blend)
        fields: FloatArray = np.asarray(given @ self._field, np.float32).reshape(self._field_shape)
        upper, lower, ends = self._edges(fields, stored, blend)
        self._move(fields, index, (upper, lower), luma, chroma)
        middle = np.asarray((upper + lower) / 2, np.float32)
        self._seam(blend * float(self._closing[stored]), middle, ends, luma)
        self._open(weights * np.float32(blend), stored, upper, lower, luma, chroma)

    def _edges(
        self, fields: FloatArray, stored: int, blend: float
    ) -> tuple[FloatArray, FloatArray, tuple[float, float]]:
        """Where the lips' edges go: y of the upper and of the lower one in every column, and x of the corners.

        Beside the mouth both edges are equal.
        """
        columns = np.arange(self.width, dtype=np.float32)
        lips = self._lips[stored]
        at = ((lips - self._shift[stored] + (self._step + 1) / 2) / self._step).astype(np.float32)
        edges = np.stack([lip + _sample(field, a[None])[0] for field, lip, a in zip(fields, lips, at, strict=True)])
        # What is still between the lips when they should rest on each other is no opening.
        amount = self._closing[stored] * np.float32(blend)
        rest = [
            lip[:, 1] + amount * _sample(f, a[None])[0, :, 1] for f, lip, a in zip(self._closed, lips, at, strict=True)
        ]
        left_over = (rest[1] - rest[0]) / 2
        edges[0, :, 1] += left_over
        edges[1, :, 1] -= left_over
        # At the corners both fields are one skin: their mean is where it is.
        edges[:, [0, -1]] = edges[:, [0, -1]].mean(0)
        result = []
        for edge in edges:
            smooth = self._curve @ edge
            x = np.maximum.accumulate(smooth[:, 0]) + np.arange(len(smooth)) * 1e-4
            result.append(np.interp(columns, x, smooth[:, 1]).astype(np.float32))
        return result[0], result[1], (float(edges[0, 0, 0]), float(edges[0, -1, 0]))

    def _move(
        self,
        fields: FloatArray,
        index: int,
        edges: tuple[FloatArray, FloatArray],
        luma: ByteArray,
        chroma: ByteArray,
    ) -> None:
        """Fill the patch with skin: above the mouth as the upper lip's field says, below it as the lower's."""
        middle = (edges[0] + edges[1]) / 2
        first = int(np.clip(middle.min() - 2, 0, self.height)) & ~1
        last = min(int(np.clip(middle.max() + 3, 0, self.height) + 1) & ~1, self.height)
        rows = np.arange(self.height, dtype=np.float32)[:, None]
        affine = self._avatar.affine(index)
        shift = self._shift[self._avatar.stored(index)] / self._step
        above, below = (self._sources(field, shift, affine) for field in fields)
        # Nothing of one lip may be seen beyond its own edge: past it the edge itself is looked at.
        down = affine[:, 1]
        above[first:last] -= np.maximum(rows[first:last] - edges[0] - SEAM_PX, 0)[..., None] * down
        below[first:last] += np.maximum(edges[1] - rows[first:last] - SEAM_PX, 0)[..., None] * down
        share = np.clip((rows[first:last] - middle) / (2 * SEAM_PX) + 0.5, 0, 1).astype(np.float32)
        height, width = self._avatar.height, self._avatar.width
        picture = self._avatar.frame(index)
        _join(picture[:height], above[:last], below[first:], share, luma, cv2.INTER_CUBIC)
        planes = picture[height:].reshape(2, height // 2, width // 2)
        above, below = _half(above[:last]), _half(below[first:])
        if last > first:
            share = np.asarray(cv2.resize(share, (self.width // 2, (last - first) // 2), interpolation=cv2.INTER_AREA))
        for k in range(2):
            _join(planes[k], above, below, share, chroma[k], cv2.INTER_LINEAR)

    def _sources(self, field: FloatArray, shift: FloatArray, affine: FloatArray) -> FloatArray:
        """[height,width,2]: where in the picture each pixel of the patch comes from."""
        step = self._step
        back = _invert(field / np.float32(step), self._nodes - shift) * np.float32(step)
        back += self._nodes * np.float32(step) - np.float32((step + 1) / 2)
        source = back @ affine[:, :2].T + affine[:, 2]
        size = (source.shape[1] * step, source.shape[0] * step)
        full = cv2.resize(source, size, interpolation=cv2.INTER_LINEAR)
        return np.asarray(full[step:-step, step:-step], np.float32)

    def _seam(self, closing: float, line: FloatArray, ends: tuple[float, float], luma: ByteArray) -> None:
        """Darken where lips meet that were apart in the picture: it shows none of the shadow between them."""
        if closing <= 0:
            return
        reach = 3 * self._seam_width
        first = int(np.clip(line.min() - reach, 0, self.height))
        last = int(np.clip(line.max() + reach, first, self.height))
        away = (np.arange(first, last, dtype=np.float32)[:, None] - line) / self._seam_width
        columns = np.arange(self.width, dtype=np.float32)
        inwards = np.minimum(columns - ends[0], ends[1] - columns) / max(0.15 * (ends[1] - ends[0]), 1.0)
        depth = np.float32(SEAM_DEPTH * min(closing, 1.0)) * np.clip(inwards, 0, 1)
        view = luma[first:last]
        view[...] = (view - np.float32(16)) * (1 - depth * np.exp(-(away * away))) + np.float32(16.5)

    def _open(
        self,
        weights: FloatArray,
        stored: int,
        upper: FloatArray,
        lower: FloatArray,
        luma: ByteArray,
        chroma: ByteArray,
    ) -> None:
        """Draw the inside where the lips are apart."""
        inner, soft = self._inner, self._soft
        apart = np.nonzero(lower - upper > APART_PX)[0]
        if not len(apart):
            return
        left, right = max(inner.left, int(apart[0]) & ~1), min(inner.right, int(apart[-1]) // 2 * 2 + 2)
        top = max(inner.top, int(upper[apart].min() - soft - 1) & ~1)
        bottom = min(inner.bottom, int(lower[apart].max() + soft + 1) // 2 * 2 + 2)
        if left >= right or top >= bottom:
            return
        lips = upper[left:right], lower[left:right]
        rows = np.arange(top, bottom, dtype=np.float32)[:, None]
        # How much of a column's window around each pixel lies between the edges: 0 everywhere when they touch.
        seen = np.minimum(rows - lips[0], soft) + np.minimum(lips[1] - rows, soft)
        seen = np.clip(seen / np.float32(2 * soft), 0, 1)
        inside = inner.draw((left, top, right, bottom), weights, lips, self._skull[stored])
        view = luma[top:bottom, left:right]
        view[...] = view + (inside[..., 0] - view) * seen + np.float32(0.5)
        size = ((right - left) // 2, (bottom - top) // 2)
        colour = np.ascontiguousarray(inside[..., 1:]) * seen[..., None]
        colour = np.asarray(cv2.resize(colour, size, interpolation=cv2.INTER_AREA), np.float32)
        share = np.asarray(cv2.resize(seen, size, interpolation=cv2.INTER_AREA), np.float32)
        for k in range(2):
            view = chroma[k, top // 2 : bottom // 2, left // 2 : right // 2]
            view[...] = view * (1 - share) + colour[..., k] + np.float32(0.5)


def _sample(field: FloatArray, at: FloatArray) -> FloatArray:
    """`field` [h,w,2] at node coordinates `at` [m,n,2]."""
    no_second_map: Any = None
    return np.asarray(
        cv2.remap(field, at, no_second_map, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.float32
    )


def _invert(field: FloatArray, nodes: FloatArray) -> FloatArray:
    """The field b with b(y) = -field(y + b(y)), in node coordinates."""
    back = -_sample(field, nodes)
    for _ in range(ROUNDS - 1):
        back = -_sample(field, nodes + back)
    return back


def _half(places: FloatArray) -> FloatArray:
    """Places of luma to places of chroma, whose samples sit between theirs, in the picture and in the patch."""
    return (places[::2, ::2] + places[1::2, 1::2]) * np.float32(0.25) - np.float32(0.25)


def _join(plane: ByteArray, above: FloatArray, below: FloatArray, share: FloatArray, out: ByteArray, how: int) -> None:
    """Look `above` up for the first rows of `out` and `below` for the last; where both do, mix by `share` of below."""
    no_second_map: Any = None
    both = slice(len(out) - len(below), len(above))
    cv2.remap(plane, below, no_second_map, how, dst=out[both.start :], borderMode=cv2.BORDER_REPLICATE)
    kept = out[both].astype(np.float32)
    cv2.remap(plane, above, no_second_map, how, dst=out[: len(above)], borderMode=cv2.BORDER_REPLICATE)
    under = out[both]
    under[...] = under + (kept - under) * share + np.float32(0.5)


def _curve(points: int) -> FloatArray:
    """[EDGE_POINTS,points]: a Catmull-Rom spline through points, as a matrix."""
    matrix = np.zeros((EDGE_POINTS, points), np.float32)
    for row, t in enumerate(np.linspace(0, points - 1, EDGE_POINTS)):
        k = min(int(t), points - 2)
        f = t - k
        basis = (-f + 2 * f**2 - f**3, 2 - 5 * f**2 + 3 * f**3, f + 4 * f**2 - 3 * f**3, -(f**2) + f**3)
        for offset, value in zip((-1, 0, 1, 2), basis, strict=True):
            matrix[row, min(max(k + offset, 0), points - 1)] += value / 2
    return matrix
