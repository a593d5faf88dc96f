"""Follows the one face of a clip, picture by picture, and says what is wrong with a clip that has none or two."""

from __future__ import annotations

import dataclasses

import numpy as np

from avatarbuild.detector import OVERLAP_MAX, Box, Rgb, overlap
from avatarbuild.faces import FaceFinder
from avatarbuild.mesh import Face
from avatarbuild.track import FILLED_WEIGHT, MESH_POINTS, Track, fill, seconds, smooth
from errors import Unprocessable
from media import FPS

FACE_MIN_PX = 64
"""Width of the smallest face that is taken: its mouth is then about 24 pixels wide."""
MISSING_MAX = 1 / 3
"""Share of the frames that may lack a face."""
CHECK_EVERY = 5
"""Frames between looks for another face."""
SEARCH_EVERY = 25
"""Frames between looks for small faces, which take long."""
OTHER_MIN = 0.3
"""Width of a second face that matters, in widths of the first."""
SIGHTINGS = 2
"""Looks at which a second face must be there; a single one may be a mistake."""


@dataclasses.dataclass(frozen=True, slots=True)
class TrackOptions:
    """Which face is followed."""

    largest: bool = False
    """Take the largest of several faces instead of refusing."""


class Tracker:
    """Takes the pictures of one clip in order; for one caller."""

    def __init__(self, name: str, options: TrackOptions | None = None, finder: FaceFinder | None = None) -> None:
        """`name` is what messages call the clip."""
        self._name = name
        self._options = options or TrackOptions()
        self._finder = finder or FaceFinder()
        self._faces: list[Face | None] = []
        self._shape = (0, 0)
        self._last: Face | None = None
        self._other: tuple[int, Face, Face] | None = None
        self._sightings = 0

    def add(self, picture: Rgb) -> Face | None:
        """The face in the next picture.

        Raises:
            Unprocessable: there are two.
        """
        number = len(self._faces)
        self._shape = picture.shape[1], picture.shape[0]
        followed = self._faces[-1] if self._faces else None
        face = self._finder.follow(picture, followed) if followed else None
        if face is None:
            face = self._look(picture, number)
        self._faces.append(face)
        self._last = face or self._last
        if face is not None and number % CHECK_EVERY == 0 and not self._options.largest:
            self._look_for_another(picture, number, face)
        return face

    def finish(self, *, still: bool = False) -> Track:
        """The track of all pictures, filled and smoothed.

        Raises:
            Unprocessable: there is no face, it is too small, it is missing too often, or there are two in a `still`.
        """
        found = np.array([face is not None for face in self._faces], bool)
        if not found.any():
            where = "it" if still else f"any of its {len(found)} frames ({len(found) / FPS:.2f} s)"
            raise Unprocessable(f"{self._name}: no face was found in {where}; a face seen from the front is needed")
        if still and self._other is not None:
            raise self._two()
        self._check_size()
        track = self._track(found)
        if (~found).mean() > MISSING_MAX:
            gaps = ", ".join(seconds(*gap) for gap in track.gaps[:8]) + (", ..." if len(track.gaps) > 8 else "")
            missing = f"no face in {int((~found).sum())} of {len(found)} frames: {gaps}"
            raise Unprocessable(f"{self._name}: {missing}; at most a third may lack it")
        return track

    # ---- one picture

    def _look(self, picture: Rgb, number: int) -> Face | None:
        """Find the face anew: the one nearest to where it was, at first the largest."""
        faces = self._finder.find(picture, thorough=number % SEARCH_EVERY == 0)
        if self._last is None:
            return faces[0] if faces else None
        again = self._finder.follow(picture, self._last)
        if again is not None:
            return again
        x, y = self._last.square.x, self._last.square.y
        return min(faces, key=lambda face: (face.square.x - x) ** 2 + (face.square.y - y) ** 2, default=None)

    def _look_for_another(self, picture: Rgb, number: int, face: Face) -> None:
        near = _width(face.box) * 6 if number % SEARCH_EVERY == 0 else None
        others = [
            other
            for other in self._finder.find(picture, thorough=False, square=near)
            if overlap(face.box, other.box) <= OVERLAP_MAX and _width(other.box) >= OTHER_MIN * _width(face.box)
        ]
        if not others:
            return
        self._other = self._other or (number, face, others[0])
        self._sightings += 1
        if self._sightings >= SIGHTINGS:
            raise self._two()

    def _two(self) -> Unprocessable:
        assert self._other is not None
        number, first, second = self._other
        return Unprocessable(
            f"{self._name}: {seconds(number)} shows two faces, {_named(first.box)} and {_named(second.box)}; "
            "one is needed, or ask for the largest"
        )

    # ---- all of them

    def _check_size(self) -> None:
        width = float(np.median([_width(face.box) for face in self._faces if face is not None]))
        if width < FACE_MIN_PX:
            where = f"a picture of {self._shape[0]} x {self._shape[1]}"
            raise Unprocessable(
                f"{self._name}: the face is {width:.0f} pixels wide in {where}; at least {FACE_MIN_PX} are needed"
            )

    def _track(self, found: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> Track:
        points = np.zeros((len(found), MESH_POINTS, 3), np.float32)
        weight = np.full(len(found), FILLED_WEIGHT, np.float32)
        for number, face in enumerate(self._faces):
            if face is not None:
                points[number, :, :2], points[number, :, 2] = face.mesh, face.depth
                weight[number] = face.presence
        points = smooth(fill(points, found), weight)
        mesh, depth = np.ascontiguousarray(points[..., :2]), np.ascontiguousarray(points[..., 2])
        return Track.from_mesh(mesh, depth, found, *self._shape)


def _width(box: Box) -> float:
    return box[2] - box[0]


def _named(box: Box) -> str:
    left, top, right, bottom = box
    return f"{right - left:.0f} x {bottom - top:.0f} at x {left:.0f}, y {top:.0f}"
