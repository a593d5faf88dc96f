"""Finds faces and follows them from picture to picture."""

from __future__ import annotations

from pathlib import Path

from avatarbuild.detector import OVERLAP_MAX, WEIGHTS, Detector, FloatArray, Rgb, overlap
from avatarbuild.mesh import Face, Mesher
from avatarbuild.points import landmarks68


class FaceFinder:
    """Detector and mesh together; for one caller at a time."""

    def __init__(self, weights: Path = WEIGHTS) -> None:
        self._detector = Detector(weights)
        self._mesher = Mesher(weights)

    def find(self, picture: Rgb, *, thorough: bool = True, square: float | None = None) -> list[Face]:
        """All faces of a picture, largest first.

        `thorough` also looks for small ones where there is none; `square` looks for those that fill about a sixth of a
        square of that side, pixels, as well.
        """
        detections = self._detector.search(picture) if thorough else self._detector.detect(picture, square)
        faces: list[Face] = []
        for detection in detections:
            face = self._mesher.from_detection(picture, detection)
            if face is not None and all(overlap(face.box, other.box) <= OVERLAP_MAX for other in faces):
                faces.append(face)
        return sorted(faces, key=lambda face: -_area(face))

    def follow(self, picture: Rgb, last: Face) -> Face | None:
        """The face of the picture before in this one; None when it is not there."""
        return self._mesher.follow(picture, last)


def find_landmarks(picture: Rgb, finder: FaceFinder | None = None) -> tuple[FloatArray, FloatArray] | None:
    """Landmarks [68,2] and mesh [478,2] of the largest face of one picture, pixels; None where there is none."""
    faces = (finder or FaceFinder()).find(picture)
    return (landmarks68(faces[0].mesh), faces[0].mesh) if faces else None


def _area(face: Face) -> float:
    left, top, right, bottom = face.box
    return (right - left) * (bottom - top)
