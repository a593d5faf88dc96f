"""Where a face's canonical patch lies: one similarity per frame, made of what the skull carries."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from avatarbuild.facemodel import NOSE_BASE, STABLE, FaceModel, Float64, apply, inverse, pose_degrees, similarity
from avatarbuild.litefields import Rest
from avatarbuild.track import Track

GRID = 16
"""The patch's sides are multiples of this, pixels."""
FINE_STEP, COARSE_STEP = 4, 8
"""Pixels between the nodes of displacement fields, in patches up to FINE_WIDTH and in wider ones."""
FINE_WIDTH = 256
MAX_WIDTH = 512
MAX_HEIGHT = 512
"""A larger face is drawn at this size and enlarged: what draws must keep up with every picture."""
MIN_SIDE = 48
LEVEL_DEGREES = 12.0
"""A head leaning further than this is turned upright: lips are followed column by column."""
SMOOTH_FRAMES = 1.0
"""Standard deviation of the smoothing of the patch's motion. Texture comes from the same picture through the same
affine, so a lag moves nothing that is seen."""
STILL_PX = 0.1
"""A patch that moves less than this does not move at all: a photo then stays sharp, pixel on pixel."""
SAMPLED = 200
"""Frames that the shape at rest is the mean of."""
MARGIN_UNITS = 0.1
ABOVE_NOSE_UNITS = 0.27


@dataclasses.dataclass(frozen=True, slots=True)
class Patch:
    """The canonical patch of a track."""

    width: int
    height: int
    affine: Float64
    """[N,2,3]: patch -> picture, pixel centres."""
    pose: Float64
    """[N,3]: pitch, yaw and roll, degrees."""
    points: Float64
    """[478,2]: the mean mesh, in the patch."""
    view: Float64
    """[2,3]: of the face model, in the patch."""

    @property
    def step(self) -> int:
        """Pixels between grid nodes."""
        return FINE_STEP if self.width <= FINE_WIDTH else COARSE_STEP

    def nodes(self) -> Float64:
        """[h,w,2]: grid nodes, one beyond each side; node k lies at pixel k step - (step + 1) / 2.

        That is where `cv2.resize` by `step` puts them once a margin of `step` is cut off.
        """
        x, y = (np.arange(n // self.step + 2) * self.step - (self.step + 1) / 2 for n in (self.width, self.height))
        return np.stack(np.meshgrid(x, y), -1)


def smooth(values: Float64, sigma: float) -> Float64:
    """Gaussian along the first axis, ends held; `sigma` in rows, 0 does nothing."""
    reach = min(math.ceil(3 * sigma), len(values) - 1)
    if reach < 1:
        return values
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    padded = np.concatenate([values[:1].repeat(reach, 0), values, values[-1:].repeat(reach, 0)])
    flat = padded.reshape(len(padded), -1)
    columns = [np.convolve(flat[:, k], kernel / kernel.sum(), "valid") for k in range(flat.shape[1])]
    return np.stack(columns, 1).reshape(values.shape)


def find_patch(track: Track, model: FaceModel) -> Patch:
    """Lay the patch over the lower face of a track of at least one frame."""
    views = np.stack([model.view(mesh) for mesh in track.mesh])
    pose = np.array([pose_degrees(view) for view in views])
    trusted = track.found if track.found.any() else np.ones(len(track), np.bool_)
    away = np.linalg.norm(pose - np.median(pose[trusted], 0), axis=1)
    reference = int(np.argmin(np.where(trusted, away, np.inf)))

    stable = list(STABLE)
    mesh = track.mesh.astype(np.float64)
    turns = np.stack([similarity(mesh[reference, stable], points[stable]) for points in mesh])
    turns = smooth(turns, SMOOTH_FRAMES)
    roll = float(pose[reference, 2])
    upright = _rotation(-roll if abs(roll) > LEVEL_DEGREES else 0.0)
    chosen = np.nonzero(trusted)[0]
    chosen = chosen[np.linspace(0, len(chosen) - 1, min(SAMPLED, len(chosen))).astype(int)]
    points = np.mean([apply(inverse(turns[i]), mesh[i]) for i in chosen], 0) @ upright.T
    view = upright @ views[reference]

    left, top, right, bottom = _bounds(Rest(points, view, np.zeros((2, 11, 2))))
    shrink = max((right - left) / MAX_WIDTH, (bottom - top) / MAX_HEIGHT, 1.0)
    width, height = (_side(length / shrink) for length in (right - left, bottom - top))
    # Even, so that chroma samples fall on chroma samples too.
    origin = 2 * np.floor([(left + right - width * shrink) / 4, (top + bottom - height * shrink) / 4])
    if shrink > 1 or abs(roll) > LEVEL_DEGREES:
        origin += (shrink - 1) / 2  # the middle of a pixel that covers several
    canonical = np.column_stack([upright.T * shrink, upright.T @ origin])
    corners = np.array([[0, 0], [width, 0], [0, height], [width, height]], np.float64)
    affine = np.stack([_compose(turn, canonical) for turn in turns])
    for i in range(len(affine)):
        if np.abs(apply(affine[i], corners) - apply(canonical, corners)).max() < STILL_PX:
            affine[i] = canonical
    return Patch(width, height, affine, pose, (points - origin) / shrink, view / shrink)


def _rotation(degrees: float) -> Float64:
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return np.array([[c, -s], [s, c]])


def _compose(outer: Float64, inner: Float64) -> Float64:
    return np.column_stack([outer[:, :2] @ inner[:, :2], outer[:, :2] @ inner[:, 2] + outer[:, 2]])


def _side(length: float) -> int:
    """Even in luma and in chroma, and a whole number of grid cells in both."""
    return max(MIN_SIDE, math.ceil(length / GRID) * GRID)


def _bounds(rest: Rest) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of what may move, with a margin."""
    ring = rest.ring()
    margin = MARGIN_UNITS * rest.unit
    (left, _), (right, bottom) = ring.min(0), ring.max(0)
    top = rest.points[NOSE_BASE, 1] - ABOVE_NOSE_UNITS * rest.unit
    return float(left), float(top), float(right), float(bottom + margin)
