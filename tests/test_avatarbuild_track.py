"""A track is smooth without lag, whole where frames are missing, and says what is wrong with a clip."""

import numpy as np
import pytest

from avatarbuild.detector import Rgb
from avatarbuild.faces import FaceFinder
from avatarbuild.mesh import Face
from avatarbuild.track import Track, fill, seconds, smooth
from avatarbuild.tracker import FACE_MIN_PX, Tracker, TrackOptions
from errors import Unprocessable
from tests.avatar_clips import mira

PICTURE = np.zeros((480, 640, 3), np.uint8)


def face_at(x: float, y: float = 200.0, width: float = 100.0) -> Face:
    """A face whose box starts at x, y and is as tall as wide."""
    mesh = np.full((478, 2), (x + width / 2, y + width / 2), np.float32)
    mesh[0], mesh[1] = (x, y), (x + width, y + width)
    mesh[33], mesh[263] = (x + 0.2 * width, y + 0.4 * width), (x + 0.8 * width, y + 0.4 * width)
    return Face(mesh, np.zeros(478, np.float32), 1.0)


class Script(FaceFinder):
    """Shows what it is told, frame by frame; following finds only the first of them."""

    def __init__(self, *shown: list[Face]) -> None:
        self._shown = shown
        self.at = 0

    def find(self, picture: Rgb, *, thorough: bool = True, square: float | None = None) -> list[Face]:
        return self._shown[self.at]

    def follow(self, picture: Rgb, last: Face) -> Face | None:
        return next(iter(self._shown[self.at]), None)


def followed(*shown: list[Face], options: TrackOptions | None = None, still: bool = False) -> Track:
    script = Script(*shown)
    tracker = Tracker("clip.mp4", options, script)
    for script.at in range(len(shown)):
        tracker.add(PICTURE)
    return tracker.finish(still=still)


# ---- numbers


def test_smoothing_keeps_a_parabola_so_nothing_lags() -> None:
    at = np.arange(40, dtype=np.float32)
    motion = np.stack([0.02 * at**2 - at, 3 * at], 1)[:, None]
    assert np.abs(smooth(motion, np.ones(40, np.float32)) - motion)[8:-8].max() < 0.02


def test_smoothing_takes_noise_away() -> None:
    noise = np.random.default_rng(0).normal(size=(400, 2)).astype(np.float32)
    left = smooth(noise, np.ones(400, np.float32))
    assert left.std() < 0.65 * noise.std()


def test_what_is_doubtful_counts_less() -> None:
    values = np.zeros((31, 1), np.float32)
    values[15] = 100
    weight = np.ones(31, np.float32)
    sure = smooth(values, weight)[15, 0]
    weight[15] = 0.01
    assert smooth(values, weight)[15, 0] < 0.05 * sure


def test_a_short_clip_is_smoothed_too() -> None:
    values = np.arange(3, dtype=np.float32)[:, None]
    assert np.isfinite(smooth(values, np.ones(3, np.float32))).all()
    assert smooth(values[:1], np.ones(1, np.float32)).tolist() == [[0.0]]


def test_gaps_are_drawn_straight_and_ends_are_held() -> None:
    values = np.array([9, 2, 0, 0, 8, 0], np.float32)[:, None]
    found = np.array([False, True, False, False, True, False])
    assert fill(values, found)[:, 0].tolist() == [2, 2, 4, 6, 8, 8]
    with pytest.raises(ValueError, match="no frame"):
        fill(values, np.zeros(6, bool))


def test_gaps_are_named() -> None:
    found = np.array([False, True, True, False, False, True, False])
    zeros = np.zeros((7, 478, 2), np.float32)
    track = Track.from_mesh(zeros, zeros[..., 0], found, 64, 64)
    assert track.gaps == [(0, 0), (3, 4), (6, 6)]
    assert [seconds(*gap) for gap in track.gaps[:2]] == ["frame 0 (0.00 s)", "frames 3-4 (0.12-0.16 s)"]
    assert Track.from_mesh(zeros, zeros[..., 0], np.ones(7, bool), 64, 64).gaps == []


# ---- clips


def test_a_steady_face() -> None:
    track = followed(*[[face_at(100 + k)] for k in range(30)])
    assert len(track) == 30
    assert (track.width, track.height) == (640, 480)
    assert track.found.all()
    assert np.abs(track.mesh[:, 0, 0] - (100 + np.arange(30))).max() < 0.05


def test_missing_frames_are_interpolated_and_known() -> None:
    shown = [[face_at(100 + 2 * k)] if k not in (10, 11, 12) else [] for k in range(30)]
    track = followed(*shown)
    assert track.gaps == [(10, 12)]
    assert np.abs(track.mesh[:, 0, 0] - (100 + 2 * np.arange(30))).max() < 0.1


def test_no_face_at_all() -> None:
    with pytest.raises(Unprocessable, match=r"clip\.mp4: no face was found in any of its 50 frames \(2\.00 s\)"):
        followed(*[[] for _ in range(50)])


def test_a_photo_without_a_face() -> None:
    with pytest.raises(Unprocessable, match=r"no face was found in it"):
        followed([], still=True)


def test_missing_too_often_names_the_frames() -> None:
    shown = [[face_at(100)] if not 20 <= k < 31 else [] for k in range(31)]
    with pytest.raises(Unprocessable, match=r"no face in 11 of 31 frames: frames 20-30 \(0\.80-1\.20 s\).*a third"):
        followed(*shown)


def test_two_faces_are_named_with_their_boxes() -> None:
    both = [face_at(40, width=150), face_at(400)]
    says = r"frame 0 \(0\.00 s\) shows two faces, 150 x 150 at x 40, y 200 and 100 x 100 at x 400, y 200"
    with pytest.raises(Unprocessable, match=says):
        followed(*[both] * 10)
    with pytest.raises(Unprocessable, match=says):
        followed(both, still=True)


def test_the_largest_can_be_asked_for() -> None:
    track = followed(*[[face_at(40, width=150), face_at(400)]] * 10, options=TrackOptions(largest=True))
    assert np.abs(track.mesh[:, 0, 0] - 40).max() < 0.01


def test_a_second_face_seen_once_may_be_a_mistake() -> None:
    shown = [[face_at(40)] for _ in range(30)]
    shown[5] = [face_at(40), face_at(400)]
    assert followed(*shown).found.all()


def test_a_tiny_face_in_the_background_is_no_second_one() -> None:
    assert followed(*[[face_at(40, width=200), face_at(400, width=40)]] * 10).found.all()


def test_too_small_a_face() -> None:
    with pytest.raises(Unprocessable, match=rf"50 pixels wide in a picture of 640 x 480; at least {FACE_MIN_PX}"):
        followed(*[[face_at(40, width=50)]] * 30)


def test_a_face_that_comes_back_is_the_one_nearest_to_where_it_was() -> None:
    shown = [[face_at(40)]] * 10 + [[]] * 3 + [[face_at(500, width=180), face_at(44)]] * 10

    class Lost(Script):
        def follow(self, picture: Rgb, last: Face) -> Face | None:
            near = [face for face in self._shown[self.at] if abs(face.box[0] - last.box[0]) < 20]
            return near[0] if near and self.at != 13 else None

    script = Lost(*shown)
    tracker = Tracker("clip.mp4", TrackOptions(largest=True), script)
    for script.at in range(len(shown)):
        tracker.add(PICTURE)
    assert tracker.finish().mesh[-1, 0, 0] == pytest.approx(44, abs=0.1)


def test_a_rendered_head_is_followed_without_trembling() -> None:
    tracker = Tracker("mira", None, FaceFinder())
    raw = [tracker.add(picture) for picture in mira(25)]
    track = tracker.finish()
    assert track.found.all()
    meshes = np.stack([face.mesh for face in raw if face is not None])
    trembling = np.diff(track.mesh, 2, axis=0).std()
    assert trembling < 0.7 * np.diff(meshes, 2, axis=0).std()
    assert np.abs(track.mesh - meshes).mean() < 0.3


def test_a_track_is_saved(tmp_path) -> None:  # type: ignore[no-untyped-def]
    track = followed(*[[face_at(100 + k)] for k in range(5)])
    track.save(tmp_path / "track.npz")
    with np.load(tmp_path / "track.npz", allow_pickle=False) as arrays:
        assert arrays["landmarks"].shape == (5, 68, 2)
        assert arrays["found"].all()
        assert np.abs(arrays["mesh"] - track.mesh).max() <= 1 / 128
