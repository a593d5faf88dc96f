"""How far a drawn mouth is open, read off the pixels, and how that follows the sound."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np

from training.ears.targets import aperture
from training.musetalk.pictures import Floats, Pictures, Teacher

ROWS, COLUMNS = slice(66, 124), slice(26, 102)
"""Of a crop: lips and chin, wherever the mouth moves them."""
SHRINK = 2
SOFTEST_PX = 1.2
"""Widest blur, standard deviation, that calibration pictures are given: softness is no aperture."""
PICTURES = 1500
RIDGE = 1e-3
MOST_LAG = 8


def wanted_aperture(mouth: Floats) -> Floats:
    """[n] from channels [n,16]: `targets.aperture`, where lips that are pressed together are as shut as shut ones."""
    return np.maximum(aperture(mouth), 0).astype(np.float32)


def _features(pictures: Pictures, idle: Pictures) -> Floats:
    """What changed from the idle crop, [n, k]: brightness around the mouth, at half resolution."""
    found = []
    for picture, rest in zip(pictures, idle, strict=True):
        grey, before = (cv2.cvtColor(p[ROWS, COLUMNS], cv2.COLOR_RGB2GRAY).astype(np.float32) for p in (picture, rest))
        change = cv2.blur(grey - before, (SHRINK, SHRINK))[::SHRINK, ::SHRINK]
        found.append(change.ravel() / 255)
    return np.stack(found)


def _softened(picture: Pictures, sigma_px: float) -> Pictures:
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), sigma_px + 1e-3), np.uint8)


@dataclasses.dataclass(frozen=True, slots=True)
class ApertureReader:
    """Linear in the change of the pixels; calibrated on the teacher's pictures, never on the judged network's."""

    weights: Floats
    offset: float

    @classmethod
    def calibrate(cls, teacher: Teacher, mouths: Floats, seed: int = 3, count: int = PICTURES) -> ApertureReader:
        """From `count` pictures with mouths drawn from [n,16] in random idle frames."""
        rng = np.random.default_rng(seed)
        mouth = mouths[rng.integers(len(mouths), size=count)]
        index = rng.integers(teacher.avatar.count, size=count)
        idle = [teacher.idle(i) for i in range(teacher.avatar.count)]
        drawn = [_softened(picture, rng.uniform(0, SOFTEST_PX)) for picture in teacher.draw(mouth, index)]
        features = _features(np.stack(drawn), np.stack([idle[i] for i in index]))
        wanted = wanted_aperture(mouth)
        products = features.T @ features
        products += RIDGE * np.trace(products) / len(products) * np.eye(len(products), dtype=np.float32)
        centre = features.mean(0)
        weights = np.linalg.solve(products, features.T @ (wanted - wanted.mean())).astype(np.float32)
        return cls(weights, float(wanted.mean() - centre @ weights))

    def read(self, pictures: Pictures, idle: Pictures) -> Floats:
        """[n] from crops [n,SIDE,SIDE,3] and the idle crops of the same frames; 0 is shut, an open a has about 1."""
        read: Floats = _features(pictures, idle) @ self.weights + np.float32(self.offset)
        return read


def correlation(found: Floats, wanted: Floats) -> float:
    """Pearson's, of two curves of one length."""
    return float(np.corrcoef(found, wanted)[0, 1])


def lag_frames(found: Floats, wanted: Floats) -> int:
    """By how many frames `found` is late (negative: early): where the two correlate best."""
    scores = {}
    for lag in range(-MOST_LAG, MOST_LAG + 1):
        late, early = (found[lag:], wanted[: len(wanted) - lag]) if lag >= 0 else (found[:lag], wanted[-lag:])
        scores[lag] = correlation(late, early)
    return max(scores, key=lambda lag: scores[lag])
