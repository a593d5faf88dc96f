"""A face followed through a clip: where its points are in every frame."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from avatarbuild.points import landmarks68
from media import FPS

FloatArray = NDArray[np.float32]
POINTS = 68
"""Landmarks of the iBUG-300W scheme: jaw 0-16, brows 17-26, nose 27-35, eyes 36-47, outer lips 48-59, inner 60-67."""
MESH_POINTS = 478
"""Points of MediaPipe's face mesh: 468 of the face, 10 of the irises."""

SMOOTHING_FRAMES = 1.5
"""Standard deviation of the weights around a frame."""
REACH_FRAMES = 5
FILLED_WEIGHT = 0.1
"""Of a frame whose points are interpolated, against 1 for one that the detector is sure of."""
STORED_STEPS = np.float32(64)
"""Of a pixel: what is finer is noise, and would not pack."""
_RIDGE = 1e-3
"""Keeps the ends of a clip, where all neighbours lie to one side, from swinging."""


@dataclasses.dataclass(frozen=True, slots=True)
class Track:
    """Where a face is in each of N frames. Immutable; missing frames are filled in, `found` says which were seen."""

    landmarks68: FloatArray
    """float32 [N,68,2]: x and y, pixels, integers are pixel centres; iBUG-68 order."""
    mesh: FloatArray
    """float32 [N,478,2]: x and y, pixels; MediaPipe's order."""
    depth: FloatArray
    """float32 [N,478]: distance behind the head's middle, about in pixels; what is nearer to the camera is negative."""
    found: NDArray[np.bool_]
    """bool [N]: the detector saw the face; False where the points are interpolated."""
    width: int
    height: int
    """Of the pictures, pixels."""

    def __len__(self) -> int:
        return len(self.found)

    @classmethod
    def from_mesh(cls, mesh: FloatArray, depth: FloatArray, found: NDArray[np.bool_], width: int, height: int) -> Track:
        """A track whose landmarks are taken from its mesh."""
        return cls(landmarks68(mesh), mesh, depth, found, width, height)

    @property
    def gaps(self) -> list[tuple[int, int]]:
        """First and last frame of every run without a face."""
        edges = np.flatnonzero(np.diff(np.concatenate([[True], self.found, [True]]).astype(np.int8)))
        return [(int(first), int(last) - 1) for first, last in zip(edges[::2], edges[1::2], strict=True)]

    def save(self, path: Path) -> None:
        """Write `landmarks`, `mesh`, `depth` and `found` as an avatar's `track.npz`."""
        landmarks, mesh, depth = (_rounded(array) for array in (self.landmarks68, self.mesh, self.depth))
        np.savez_compressed(path, landmarks=landmarks, mesh=mesh, depth=depth, found=self.found)


def _rounded(points: FloatArray) -> FloatArray:
    return np.asarray(np.round(points * STORED_STEPS) / STORED_STEPS, np.float32)


def seconds(first: int, last: int | None = None) -> str:
    """`frame 7 (0.28 s)` or `frames 7-9 (0.28-0.36 s)`."""
    if last is None or last == first:
        return f"frame {first} ({first / FPS:.2f} s)"
    return f"frames {first}-{last} ({first / FPS:.2f}-{last / FPS:.2f} s)"


def fill(values: FloatArray, found: NDArray[np.bool_]) -> FloatArray:
    """Values [N,...] with the rows that were not found drawn straight between their neighbours; the ends are held.

    Raises:
        ValueError: no row was found.
    """
    known = np.flatnonzero(found)
    if not len(known):
        raise ValueError("no frame has values")
    after = np.searchsorted(known, np.arange(len(values)))
    left, right = known[np.maximum(after - 1, 0)], known[np.minimum(after, len(known) - 1)]
    share = np.where(right > left, (np.arange(len(values)) - left) / np.maximum(right - left, 1), 0)
    share = np.clip(share, 0, 1).astype(np.float32).reshape(-1, *[1] * (values.ndim - 1))
    filled: FloatArray = (values[left] * (1 - share) + values[right] * share).astype(np.float32)
    return filled


def smooth(values: FloatArray, weight: FloatArray) -> FloatArray:
    """Values [N,...] of a clip, smoothed without lag: at each frame a parabola is fitted to the frames around it.

    Frames count by a Gaussian of their distance times `weight` [N] (0..1). This is a Savitzky-Golay filter (Savitzky
    and Golay, 1964) whose weights are not all equal, that is, locally weighted regression (Cleveland, 1979).
    """
    count = len(values)
    flat = values.reshape(count, -1)
    smoothed = np.empty_like(flat)
    for at in range(count):
        first, last = max(0, at - REACH_FRAMES), min(count, at + REACH_FRAMES + 1)
        near = np.arange(first, last) - at
        share = np.exp(-0.5 * (near / SMOOTHING_FRAMES) ** 2) * weight[first:last]
        powers = (near / SMOOTHING_FRAMES)[:, None] ** np.arange(3)
        normal = powers.T @ (powers * share[:, None]) + np.diag([0, _RIDGE, _RIDGE]) * share.sum()
        kernel = np.linalg.solve(normal, (powers * share[:, None]).T)[0]
        smoothed[at] = kernel.astype(np.float32) @ flat[first:last]
    return smoothed.reshape(values.shape)
