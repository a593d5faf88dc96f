"""Finds faces in a picture: MediaPipe's BlazeFace (short range), run with onnxruntime.

Anchors, decoding and weighted suppression follow MediaPipe's face detection graph (Bazarevsky et al., "BlazeFace",
2019, and `face_detection_short_range_common.pbtxt`); the numbers here are its numbers.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
Rgb = NDArray[np.uint8]
"""uint8 [H,W,3]."""
Box = tuple[float, float, float, float]
"""Left, top, right and bottom, pixels."""

WEIGHTS = Path(__file__).parent / "weights"
SIDE = 128
"""Of the network's input, pixels."""
SCORE_MIN = 0.5
OVERLAP_MAX = 0.3
"""Intersection over union from which two candidates are one face."""
TILE_SHARES = (1.0, 0.5, 0.25)
"""Sides of the search squares, as shares of the picture's shorter side, when the whole picture shows no face."""


@dataclasses.dataclass(frozen=True, slots=True)
class Detection:
    """A face that was found."""

    box: Box
    eyes: FloatArray
    """float32 [2,2]: x and y of the eye that is left in the picture and of the one that is right, pixels."""
    score: float
    """0..1."""

    @property
    def area(self) -> float:
        """Of the box, square pixels."""
        left, top, right, bottom = self.box
        return max(0.0, right - left) * max(0.0, bottom - top)


def open_network(path: Path) -> onnxruntime.InferenceSession:
    """A network for one caller on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


class Detector:
    """Pictures to detections; for one caller at a time."""

    def __init__(self, weights: Path = WEIGHTS) -> None:
        self._network = open_network(weights / "face_detector.onnx")
        self._anchors = _anchors()

    def detect(self, picture: Rgb, square: float | None = None) -> list[Detection]:
        """Faces that fill at least about a tenth of the picture, largest first.

        With `square`, also those that fill as much of a square of that side (pixels) anywhere in the picture.
        """
        found = self._in_square(picture, 0, 0, max(picture.shape[:2]))
        if square is not None and square < max(picture.shape[:2]):
            found = _merge(found + self._in_squares(picture, max(SIDE, round(square))))
        return found

    def search(self, picture: Rgb) -> list[Detection]:
        """As `detect`; where that finds none, look closer, in overlapping squares, for smaller faces.

        The finest squares are a quarter of the picture's shorter side.
        """
        found = self.detect(picture)
        for share in TILE_SHARES:
            if found:
                break
            found = _merge(self._in_squares(picture, max(SIDE, round(min(picture.shape[:2]) * share))))
        return found

    def _in_squares(self, picture: Rgb, side: int) -> list[Detection]:
        height, width = picture.shape[:2]
        corners = [(left, top) for top in _starts(height, side) for left in _starts(width, side)]
        return [found for left, top in corners for found in self._in_square(picture, left, top, side)]

    def _in_square(self, picture: Rgb, left: int, top: int, side: int) -> list[Detection]:
        """Look at a square, which is filled up with black to the right and below."""
        part = picture[top : top + side, left : left + side]
        scale = SIDE / side
        width, height = (max(1, round(n * scale)) for n in (part.shape[1], part.shape[0]))
        canvas = np.zeros((1, SIDE, SIDE, 3), np.float32)
        canvas[0, :height, :width] = cv2.resize(part, (width, height), interpolation=cv2.INTER_AREA)
        regressors, scores = self._network.run(None, {"input": canvas / 127.5 - 1})
        points, score = self._decode(regressors[0], scores[0, :, 0])
        points = points / scale + np.array([left, top], np.float32)
        return _merge(
            [
                Detection((float(p[0, 0]), float(p[0, 1]), float(p[1, 0]), float(p[1, 1])), p[2:4].copy(), float(s))
                for p, s in zip(points, score, strict=True)
            ]
        )

    def _decode(self, regressors: FloatArray, logits: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Corners and six key points [M,8,2] in input pixels, and scores [M], of candidates above SCORE_MIN."""
        score = 1 / (1 + np.exp(-np.clip(logits.astype(np.float64), -80, 80)))
        kept = score >= SCORE_MIN
        offsets = regressors[kept].reshape(-1, 8, 2)
        centre = self._anchors[kept][:, None]
        middle, size = offsets[:, :1] + centre, offsets[:, 1:2]
        points = np.concatenate([middle - size / 2, middle + size / 2, offsets[:, 2:] + centre], 1)
        return points.astype(np.float32), score[kept].astype(np.float32)


def _anchors() -> FloatArray:
    """float32 [896,2]: centres of the anchors, input pixels: 2 in each cell of 8 pixels, then 6 in each of 16."""
    grids = []
    for stride, repeats in ((8, 2), (16, 6)):
        centres = (np.arange(SIDE // stride, dtype=np.float32) + 0.5) * stride
        x, y = np.meshgrid(centres, centres)
        grids.append(np.repeat(np.stack([x.ravel(), y.ravel()], 1), repeats, 0))
    return np.concatenate(grids)


def _starts(length: int, side: int) -> list[int]:
    """Where squares start that cover `length` with at least half of a square in common."""
    if length <= side:
        return [0]
    steps = -(-(length - side) * 2 // side)
    return [round(i * (length - side) / steps) for i in range(steps + 1)]


def overlap(a: Box, b: Box) -> float:
    """Intersection over union, 0..1."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    both = width * height
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


def _merge(candidates: list[Detection]) -> list[Detection]:
    """One detection for each face, the mean of its candidates weighted by score; largest first."""
    rest = sorted(candidates, key=lambda d: -d.score)
    merged = []
    while rest:
        best = rest[0]
        same = [d for d in rest if d is best or overlap(best.box, d.box) > OVERLAP_MAX]
        rest = [d for d in rest if not any(d is s for s in same)]
        weights = np.array([d.score for d in same])
        box = np.average([d.box for d in same], axis=0, weights=weights)
        eyes = np.average([d.eyes for d in same], axis=0, weights=weights).astype(np.float32)
        merged.append(Detection((float(box[0]), float(box[1]), float(box[2]), float(box[3])), eyes, best.score))
    return sorted(merged, key=lambda d: -d.area)
