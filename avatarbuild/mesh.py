"""Fits a mesh of 478 points to a face: MediaPipe's face landmark network, run with onnxruntime.

The square that the network looks at is turned so that the eyes are level and is half as large again as the face, as in
MediaPipe's graphs (`face_detection_front_detection_to_roi.pbtxt`, `face_landmark_landmarks_to_roi.pbtxt`).
"""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import cv2
import numpy as np

from avatarbuild.detector import WEIGHTS, Box, Detection, FloatArray, Rgb, open_network

SIDE = 256
"""Of the network's input, pixels."""
MARGIN = 1.5
"""Side of the square over the longer side of the face's box."""
LEFT_EYE, RIGHT_EYE = 33, 263
"""Outer corners of the eye that is left in the picture and of the one that is right."""
PRESENCE_MIN = 0.5


@dataclasses.dataclass(frozen=True, slots=True)
class Square:
    """A turned square of a picture."""

    x: float
    y: float
    """Its middle, pixels."""
    side: float
    """Pixels."""
    angle: float
    """Radians, clockwise as seen."""

    @classmethod
    def around(cls, box: Box, left_eye: FloatArray, right_eye: FloatArray) -> Square:
        """The square for a face with that box and those eyes (x, y each)."""
        dx, dy = (float(v) for v in right_eye - left_eye)
        side = MARGIN * max(box[2] - box[0], box[3] - box[1])
        return cls((box[0] + box[2]) / 2, (box[1] + box[3]) / 2, side, math.atan2(dy, dx))

    def is_near(self, other: Square) -> bool:
        """True when looking at `other` instead would not change what is found."""
        moved = math.hypot(self.x - other.x, self.y - other.y) / other.side
        return moved < 0.05 and abs(math.log(self.side / other.side)) < 0.1 and abs(self.angle - other.angle) < 0.1

    def to_picture(self) -> FloatArray:
        """float32 [2,3]: points of the network's input -> points of the picture; integers are pixel centres in both."""
        scale = self.side / SIDE
        a, b = scale * math.cos(self.angle), scale * math.sin(self.angle)
        middle = (SIDE - 1) / 2
        return np.array(
            [[a, -b, self.x - (a - b) * middle], [b, a, self.y - (a + b) * middle]],
            np.float32,
        )


@dataclasses.dataclass(frozen=True, slots=True)
class Face:
    """A face with its mesh."""

    mesh: FloatArray
    """float32 [478,2]: x and y, pixels, integers are pixel centres."""
    depth: FloatArray
    """float32 [478]: as in `Track.depth`."""
    presence: float
    """0..1: how sure the network is that this is a face."""

    @property
    def box(self) -> Box:
        """Of the mesh, pixels."""
        (left, top), (right, bottom) = self.mesh.min(0), self.mesh.max(0)
        return float(left), float(top), float(right), float(bottom)

    @property
    def square(self) -> Square:
        """Where to look for this face in the next picture."""
        return Square.around(self.box, self.mesh[LEFT_EYE], self.mesh[RIGHT_EYE])


class Mesher:
    """Squares of pictures to faces; for one caller at a time."""

    def __init__(self, weights: Path = WEIGHTS) -> None:
        self._network = open_network(weights / "face_landmarks.onnx")

    def from_detection(self, picture: Rgb, detection: Detection) -> Face | None:
        """Fit to a detection; None when it proves to be no face."""
        return self.fit(picture, Square.around(detection.box, detection.eyes[0], detection.eyes[1]))

    def follow(self, picture: Rgb, last: Face) -> Face | None:
        """Fit near where the face was in the picture before; None when it is not there."""
        return self.fit(picture, last.square)

    def fit(self, picture: Rgb, square: Square) -> Face | None:
        """Fit in a square, and once more in the square that this gives if that is another."""
        face = self._look(picture, square)
        if face.presence >= PRESENCE_MIN and not face.square.is_near(square):
            face = self._look(picture, face.square)
        return face if face.presence >= PRESENCE_MIN else None

    def _look(self, picture: Rgb, square: Square) -> Face:
        to_picture = square.to_picture()
        crop = _cut(picture, to_picture, square)
        points, presence, _ = self._network.run(None, {"input": crop[None] * np.float32(1 / 255)})
        xyz = points.reshape(-1, 3)
        # The network counts from the corner of its input; pixel centres lie half a pixel further in.
        mesh = (xyz[:, :2] - 0.5) @ to_picture[:, :2].T + to_picture[:, 2]
        depth = xyz[:, 2] * np.float32(square.side / SIDE)
        return Face(mesh.astype(np.float32), depth.astype(np.float32), 1 / (1 + math.exp(-float(presence.ravel()[0]))))


def _cut(picture: Rgb, to_picture: FloatArray, square: Square) -> Rgb:
    """The square as uint8 [SIDE,SIDE,3]; what is to shrink much is averaged first, so that nothing flickers."""
    shrink = int(square.side // SIDE)
    matrix = to_picture.astype(np.float64)
    if shrink >= 2:
        reach = square.side * 0.75  # more than half the diagonal
        left, top = max(0, int(square.x - reach)), max(0, int(square.y - reach))
        part = picture[top : max(top + 1, int(square.y + reach)), left : max(left + 1, int(square.x + reach))]
        if min(part.shape[:2]) >= shrink:
            width, height = part.shape[1] // shrink, part.shape[0] // shrink
            part = part[: height * shrink, : width * shrink]
            picture = np.asarray(cv2.resize(part, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
            matrix[:, 2] = (matrix[:, 2] - [left, top] + 0.5) / shrink - 0.5
            matrix[:, :2] /= shrink
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    crop = cv2.warpAffine(picture, matrix, (SIDE, SIDE), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(crop, np.uint8)
