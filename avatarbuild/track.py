"""A face followed through a clip: where its points are in every frame."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
POINTS = 68
"""Landmarks of the iBUG-300W scheme: jaw 0-16, brows 17-26, nose 27-35, eyes 36-47, outer lips 48-59, inner 60-67."""
MESH_POINTS = 478
"""Points of MediaPipe's face mesh: 468 of the face, 10 of the irises."""


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

    def save(self, path: Path) -> None:
        """Write `landmarks`, `mesh`, `depth` and `found` as an avatar's `track.npz`."""
        np.savez_compressed(path, landmarks=self.landmarks68, mesh=self.mesh, depth=self.depth, found=self.found)
