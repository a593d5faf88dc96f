"""Gives a photo some life: she breathes, sways a little and blinks, and the track moves with her exactly.

The motion is a sum of cosines that stand still at both ends, so that the loop, which is played there and back, never
jerks. Nothing is invented: pixels of the photo are moved, by fractions of a hundredth of the face's height.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from avatarbuild.detector import Rgb
from avatarbuild.eyelids import Eyelids
from avatarbuild.track import FloatArray, Track
from media import FPS

SWAY = 0.010
NOD = 0.005
BREATH = 0.007
"""Largest displacements, in heights of the face."""
ROLL = math.radians(0.45)
HEAD = (0.85, 0.80)
"""Half axes of what moves as the head, in widths and heights of the mesh; it ends softly at twice these."""
BLINKS_S = (1.9, 5.7)
"""When the lids are closed, of every 8 s."""
BLINK = (0.35, 0.9, 1.0, 0.85, 0.45, 0.15)
"""How far closed the eyes are, frame by frame."""
PERIOD_S = 8.0


class Still:
    """A photo and its face, in motion."""

    def __init__(self, picture: Rgb, track: Track, seconds: float) -> None:
        """`track` holds the photo's one frame."""
        self.count = max(2, round(seconds * FPS))
        self._picture = picture
        self._track = track
        self._lids = Eyelids(picture, track.mesh[0])
        left, top = track.mesh[0].min(0)
        right, bottom = track.mesh[0].max(0)
        self._tall = float(bottom - top)
        self._neck = np.array([(left + right) / 2, bottom + 0.25 * self._tall], np.float32)
        size = np.array([right - left, bottom - top], np.float32)
        self._middle = np.array([(left + right) / 2, (top + bottom) / 2 - 0.1 * self._tall], np.float32)
        self._axes = size * np.array(HEAD, np.float32)
        y, x = np.indices(picture.shape[:2], np.float32)
        self._grid = np.stack([x, y], -1)
        self._head, self._body = self._weights(self._grid)

    def pictures(self) -> Iterator[Rgb]:
        """uint8 [H,W,3], `count` of them."""
        for number in range(self.count):
            source = self._grid - self._moved(self._grid, self._head, self._body, number)
            face = self._lids.closed(self._closure(number))
            flags, border = cv2.INTER_CUBIC, cv2.BORDER_REPLICATE
            yield np.asarray(cv2.remap(face, source[..., 0], source[..., 1], flags, borderMode=border), np.uint8)

    def track(self) -> Track:
        """Where the face is in each of the pictures."""
        still = self._track.mesh[0]
        meshes = []
        for number in range(self.count):
            mesh = still
            for _ in range(3):  # pictures are made by asking where a pixel came from; here it is the other way round
                mesh = still + self._moved(mesh, *self._weights(mesh), number)
            meshes.append(mesh)
        mesh = np.stack(meshes).astype(np.float32)
        depth = np.repeat(self._track.depth, self.count, 0)
        return Track.from_mesh(mesh, depth, np.ones(self.count, bool), self._track.width, self._track.height)

    def _weights(self, points: FloatArray) -> tuple[FloatArray, FloatArray]:
        """How much of the head's and of the breath's motion points [...,2] take part in, 0..1 each, [...]."""
        distance = np.linalg.norm((points - self._middle) / self._axes, axis=-1)
        head = 1 - _soft((distance - 1) / 1.2)
        height, width = self._picture.shape[:2]
        margin = 0.08 * min(width, height)
        inside = np.minimum(points[..., 0], width - 1 - points[..., 0]) / margin
        head = head * _soft(np.minimum(inside, points[..., 1] / margin))
        body = _soft((points[..., 1] - self._neck[1] + 0.4 * self._tall) / (0.9 * self._tall)) * _soft(inside)
        return head.astype(np.float32), body.astype(np.float32)

    def _moved(self, points: FloatArray, head: FloatArray, body: FloatArray, number: int) -> FloatArray:
        """By how much points [...,2] are displaced in a frame, pixels."""
        sway, nod, roll, breath = _motion(number / (self.count - 1), self.count / FPS)
        away = points - self._neck
        x = head * (sway * SWAY * self._tall - roll * ROLL * away[..., 1])
        y = head * (nod * NOD * self._tall + roll * ROLL * away[..., 0]) - body * breath * BREATH * self._tall
        return np.stack([x, y], -1).astype(np.float32)

    @staticmethod
    def _closure(number: int) -> float:
        for at in BLINKS_S:
            step = number % round(PERIOD_S * FPS) - round(at * FPS)
            if 0 <= step < len(BLINK):
                return BLINK[step]
        return 0.0


def _motion(phase: float, seconds: float) -> tuple[float, float, float, float]:
    """Sway, nod, roll (-1..1) and breath (0..1) at a phase 0..1 of a loop; all at rest at both ends."""

    def wave(period_s: float) -> float:
        return math.cos(math.pi * max(1, round(2 * seconds / period_s)) * phase)

    sway = 0.65 * wave(5.4) + 0.35 * wave(3.2)
    nod = 0.6 * wave(4.6) + 0.4 * wave(2.7)
    roll = 0.6 * wave(7.0) + 0.4 * wave(3.7)
    return sway, nod, roll, 0.5 - 0.5 * wave(4.0)


def _soft(value: FloatArray) -> NDArray[np.floating]:
    """0 below 0, 1 above 1, smooth between."""
    held = np.clip(value, 0, 1)
    return held * held * (3 - 2 * held)
