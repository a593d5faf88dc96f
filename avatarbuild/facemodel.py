"""A face that every tracked face is compared with: where MediaPipe's 478 points lie on it, and what moves them.

`face_model.npz` comes from `training/face/`: the points of MediaPipe's mesh on the CC0 head of the default avatar, and
how far each of the 16 mouth channels at 1 moves them.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
Float64 = NDArray[np.float64]

UPPER_LIP = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308)
"""Inner edge of the upper lip, from the corner that is left in the picture to the right one."""
LOWER_LIP = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308)
"""Inner edge of the lower lip, the same way; the corners are shared."""
CORNERS = (61, 291)
NOSE_BASE, CHIN = 2, 152
EYES = (33, 263)
"""Outer corners; their distance is the model's unit of length."""
STABLE = (33, 133, 362, 263, 168, 6, 197, 195, 5, 4, 1, 98, 327, 48, 278, 129, 358, 117, 346, 143, 372)
"""What the skull carries: eye corners, nose, under the eyes. Lids, brows, cheeks and jaw have motions of their own."""
JAW = (234, 93, 132, 58, 172, 136, 150, 149, 176, 148, 152, 377, 400, 378, 379, 365, 397, 288, 361, 323, 454)
"""The lower outline of the face, from ear to ear."""
IRISES = 468
"""Where the irises' points begin."""


@dataclasses.dataclass(frozen=True, slots=True)
class FaceModel:
    """Unit: the distance between the outer eye corners; origin between them; x right, y down in the picture, z away."""

    points: Float64
    """[478,3]."""
    channels: Float64
    """[16,478,3]: displacement with that channel at 1."""

    @classmethod
    def load(cls) -> FaceModel:
        """Read the file beside this module."""
        with np.load(Path(__file__).with_name("face_model.npz"), allow_pickle=False) as arrays:
            return cls(arrays["points"].astype(np.float64), arrays["channels"].astype(np.float64))

    def view(self, mesh: FloatArray) -> Float64:
        """How the model is seen in a picture: [2,3], pixels per unit, of a scaled orthographic camera.

        Least squares over the stable points, then the nearest matrix with rows orthogonal and of one length.
        `mesh` [478,2], pixels.
        """
        ids = list(STABLE)
        model = self.points[ids] - self.points[ids].mean(0)
        seen = mesh[ids].astype(np.float64)
        # A little of "seen from the front" keeps depth from being guessed out of noise.
        matrix = np.linalg.lstsq(model, seen - seen.mean(0), rcond=None)[0].T
        u, s, vt = np.linalg.svd(matrix, full_matrices=False)
        scale = float(s.mean())
        view: Float64 = u @ vt * max(scale, 1e-3)
        return view


def pose_degrees(view: Float64) -> tuple[float, float, float]:
    """Pitch (chin down), yaw (nose to the picture's right) and roll (clockwise), degrees, of a `FaceModel.view`."""
    scale = float(np.linalg.norm(view[0]))
    first, second = view / max(scale, 1e-9)
    third = np.cross(first, second)
    # The nose points along -z of the model: where that goes in the picture says yaw and pitch.
    yaw = np.degrees(np.arcsin(np.clip(-first[2], -1, 1)))
    pitch = np.degrees(np.arctan2(-second[2], third[2]))
    roll = np.degrees(np.arctan2(second[0], first[0]))
    return float(pitch), float(yaw), float(roll)


def similarity(source: Float64, target: Float64) -> Float64:
    """The least-squares similarity [2,3] that takes points [n,2] to points [n,2] (Umeyama 1991, without reflection)."""
    a, b = source.mean(0), target.mean(0)
    p, q = (source - a) @ [1, 1j], (target - b) @ [1, 1j]
    turn = np.vdot(p, q) / max(float(np.vdot(p, p).real), 1e-12)
    if abs(turn) < 1e-6:
        turn = 1.0 + 0j
    linear = np.array([[turn.real, -turn.imag], [turn.imag, turn.real]])
    return np.column_stack([linear, b - linear @ a])


def apply(affine: Float64, points: Float64) -> Float64:
    """`affine` [2,3] on points [...,2]."""
    moved: Float64 = points @ affine[:, :2].T + affine[:, 2]
    return moved


def inverse(affine: Float64) -> Float64:
    """The affine [2,3] that undoes `affine`."""
    linear = np.linalg.inv(affine[:, :2])
    return np.column_stack([linear, -linear @ affine[:, 2]])
