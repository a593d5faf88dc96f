"""The face networks find faces where they are, and the mesh lies where the head was rendered."""

import cv2
import numpy as np
import pytest

from avatarbuild.detector import Detector, overlap
from avatarbuild.faces import FaceFinder, find_landmarks
from avatarbuild.mesh import Square
from avatarbuild.points import MESH_OF_68, landmarks68
from tests.avatar_clips import MIRA, beside, mira, wall


@pytest.fixture(scope="module")
def finder() -> FaceFinder:
    return FaceFinder()


def rendered(side: int) -> np.ndarray:
    """[68,2]: where the renderer put the landmarks of the first picture."""
    with np.load(MIRA / "coords.npz") as arrays:
        return (arrays["landmarks"][0] + 0.5) * (side / 512) - 0.5


CLEAR = [8, 27, 28, 29, 30, 33, 36, 39, 42, 45, 48, 51, 54, 57]
"""Landmarks whose place everybody agrees on: chin, nose, corners of eyes and mouth."""


def test_landmarks_lie_where_the_head_was_rendered(finder: FaceFinder) -> None:
    found = find_landmarks(mira(1, 512)[0], finder)
    assert found is not None
    landmarks, mesh = found
    assert landmarks.shape == (68, 2)
    assert mesh.shape == (478, 2)
    away = np.linalg.norm(landmarks - rendered(512), axis=1)[CLEAR]
    eyes = np.linalg.norm(landmarks[45] - landmarks[36])
    assert away.mean() < 0.025 * eyes
    assert away.max() < 0.08 * eyes


@pytest.mark.parametrize("degrees", [-60, -25, 25, 60])
def test_a_leaning_head_is_found_at_its_angle(finder: FaceFinder, degrees: int) -> None:
    straight = find_landmarks(mira(1)[0], finder)
    matrix = cv2.getRotationMatrix2D((128, 115), degrees, 1)
    leaning = find_landmarks(np.asarray(cv2.warpAffine(mira(1)[0], matrix, (256, 256)), np.uint8), finder)
    assert straight is not None
    assert leaning is not None
    expected = straight[0] @ matrix[:, :2].T + matrix[:, 2]
    assert np.linalg.norm(leaning[0] - expected, axis=1).mean() < 2.5


def test_two_faces_are_two(finder: FaceFinder) -> None:
    faces = finder.find(beside(mira(1)[0], mira(2)[1][:, ::-1]))
    assert len(faces) == 2
    assert sorted(face.box[0] > 256 for face in faces) == [False, True]


def test_the_largest_comes_first(finder: FaceFinder) -> None:
    small = np.zeros((256, 180, 3), np.uint8)
    small[40:220] = cv2.resize(mira(1)[0], (180, 180))
    faces = finder.find(beside(small, mira(1)[0]))
    assert len(faces) == 2
    assert faces[0].box[0] > 180


def test_a_small_face_in_a_large_picture_is_found(finder: FaceFinder) -> None:
    picture = np.full((1080, 1920, 3), 90, np.uint8)
    picture[700:860, 1500:1660] = cv2.resize(mira(1, 512)[0], (160, 160), interpolation=cv2.INTER_AREA)
    assert finder.find(picture, thorough=False) == []
    (face,) = finder.find(picture)
    left, top, right, bottom = face.box
    assert 1500 < left < right < 1660
    assert 700 < top < bottom < 860


@pytest.mark.parametrize(
    "picture", [wall(), wall(640, 200), np.zeros((64, 64, 3), np.uint8), np.full((300, 90, 3), 255, np.uint8)]
)
def test_pictures_without_a_face(finder: FaceFinder, picture: np.ndarray) -> None:
    assert finder.find(picture) == []
    assert find_landmarks(picture, finder) is None


def test_following_finds_the_next_picture_and_notices_an_empty_one(finder: FaceFinder) -> None:
    pictures = mira(25)
    (face,) = finder.find(pictures[0])
    moved = finder.follow(pictures[10], face)
    (anew,) = finder.find(pictures[10])
    assert moved is not None
    assert np.abs(moved.mesh - anew.mesh).mean() < 0.5
    assert finder.follow(wall(), face) is None


def test_a_face_partly_outside_is_followed(finder: FaceFinder) -> None:
    cut = np.ascontiguousarray(mira(1)[0][:, 100:])
    faces = finder.find(cut)
    assert len(faces) == 1
    assert np.isfinite(faces[0].mesh).all()


def test_detections_do_not_depend_on_padding() -> None:
    detector = Detector()
    picture = mira(1)[0]
    (alone,) = detector.detect(picture)
    padded = np.zeros((256, 320, 3), np.uint8)
    padded[:, :256] = picture
    (found,) = detector.detect(padded)
    assert overlap(alone.box, found.box) > 0.85


def test_a_square_maps_its_corners_to_the_picture() -> None:
    square = Square(100, 50, 64, 0.0)
    matrix = square.to_picture()
    assert np.allclose(matrix @ [127.5, 127.5, 1], [100, 50], atol=1e-4)
    turned = Square(100, 50, 64, np.pi / 2).to_picture()
    assert np.allclose(turned @ [255, 127.5, 1], [100, 50 + 0.25 * 127.5], atol=1e-4)


def test_every_landmark_has_its_points() -> None:
    assert len(MESH_OF_68) == 68
    mesh = np.random.default_rng(0).random((5, 478, 2), np.float32)
    points = landmarks68(mesh)
    assert points.shape == (5, 68, 2)
    for number, sources in enumerate(MESH_OF_68):
        assert np.allclose(points[:, number], mesh[:, list(sources)].mean(1), atol=1e-6)
