"""A tracked face without a network of its own: does its mouth do what it is told, and nothing else move?"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import cv2
import hibari
import numpy as np
import pytest
import soxr
from numpy.typing import NDArray

from avatar import Avatar
from avatarbuild.facemodel import FaceModel
from avatarbuild.faces import FaceFinder
from avatarbuild.lite import _lips, _skull, prepare_lite
from avatarbuild.litepatch import find_patch
from avatarbuild.points import landmarks68
from avatarbuild.track import Track
from engines.base import LipRequest
from engines.lite.ears import WINDOW_SAMPLES
from engines.lite.face import FaceMouth
from engines.lite.innermouth import Light
from engines.lite.mouth import Mouth
from engines.lite.paste import Paster
from errors import EngineError
from litereal import LiteEngine
from media import I420, SAMPLE_RATE_HZ
from reels import WholeReel

MIRA = Path(__file__).parent.parent / "data" / "avatars" / "mira"
JAW_OPEN = 0
Rgb = NDArray[np.uint8]


def rgb(picture: I420) -> Rgb:
    return np.asarray(cv2.cvtColor(np.ascontiguousarray(picture), cv2.COLOR_YUV2RGB_I420), np.uint8)


def i420(picture: Rgb) -> I420:
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2YUV_I420), np.uint8)


def scaled(picture: Rgb, side: int) -> Rgb:
    return np.asarray(cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA), np.uint8)


def mesh(picture: Rgb) -> NDArray[np.float32]:
    found = FINDER.find(picture)
    assert found, "the picture must still show a face"
    return found[0].mesh


def aperture(picture: I420) -> tuple[float, float]:
    """Height between the lips and width of the mouth, over the distance between the eyes, as the finder sees them."""
    points = mesh(rgb(picture))
    unit = float(np.linalg.norm(points[33] - points[263]))
    return float(points[14, 1] - points[13, 1]) / unit, float(np.linalg.norm(points[61] - points[291])) / unit


def track(meshes: list[NDArray[np.float32]], picture: Rgb) -> Track:
    points = np.array(meshes, np.float32)
    zeros = np.zeros(points.shape[:2], np.float32)
    height, width, _ = picture.shape
    return Track(landmarks68(points), points, zeros, np.ones(len(points), np.bool_), width, height)


def make(directory: Path, pictures: list[Rgb], followed: Track) -> Avatar:
    """An avatar of these pictures, as `prepare_lite` makes it."""
    files = prepare_lite(followed, lambda: iter(pictures), directory)
    with np.load(directory / files["coords"]) as coords:
        pose, affine, mask = (coords[name] for name in ("pose", "affine", "mask"))
    info = MIRA_AVATAR.info.model_copy(
        update={
            "id": directory.name,
            "width": followed.width,
            "height": followed.height,
            "count": len(pictures),
            "engines": {"lite": {"face": files["face"]}},
            "files": {name: hashlib.sha256((directory / name).read_bytes()).hexdigest() for name in files.values()},
        }
    )
    return Avatar(info, directory, WholeReel(i420(p) for p in pictures), pose, affine, mask)


@dataclasses.dataclass(frozen=True)
class Driven:
    """An avatar with what draws it."""

    avatar: Avatar
    mouth: FaceMouth
    paster: Paster

    @classmethod
    def of(cls, avatar: Avatar) -> Driven:
        return cls(avatar, FaceMouth(avatar), Paster(avatar))

    def say(self, weights: NDArray[np.float32], index: int = 0) -> I420:
        luma, chroma = self.mouth.draw(weights[None], [index])
        return self.paster.paste(index, luma[0], chroma[0], 1.0)


FINDER = FaceFinder()
MIRA_AVATAR = Avatar.load(MIRA)


def visemes() -> dict[str, NDArray[np.float32]]:
    table = json.loads(MIRA_AVATAR.engine_file("lite", "visemes").read_text())
    return {name: np.array(w, np.float32) for name, w in table["visemes"].items()}


VISEMES = visemes()


def trained(viseme: str) -> I420:
    """The same face as the network that was trained on it draws it."""
    mouth = Mouth(MIRA_AVATAR.engine_file("lite", "mouth"))
    luma, chroma = mouth.draw(VISEMES[viseme][None], MIRA_AVATAR.pose(0)[None])
    return Paster(MIRA_AVATAR).paste(0, luma[0], chroma[0], 1.0)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Driven:
    """Five moments of a face at rest."""
    pictures = [rgb(MIRA_AVATAR.frame(k)) for k in (0, 25, 50, 75, 100)]
    return Driven.of(make(tmp_path_factory.mktemp("clip"), pictures, track([mesh(p) for p in pictures], pictures[0])))


@pytest.fixture(scope="module")
def talking(tmp_path_factory: pytest.TempPathFactory) -> Driven:
    """A photo of someone caught with an open mouth."""
    picture = rgb(trained("E"))
    return Driven.of(make(tmp_path_factory.mktemp("talking"), [picture], track([mesh(picture)], picture)))


def jaw(amount: float) -> NDArray[np.float32]:
    weights = np.zeros(16, np.float32)
    weights[JAW_OPEN] = amount
    return weights


def test_the_mouth_opens_with_the_jaw(clip: Driven) -> None:
    heights = [aperture(clip.say(jaw(amount)))[0] for amount in (0.0, 0.1, 0.2, 0.35, 0.5, 0.7)]
    assert heights[0] < 0.012 and heights[-1] > 0.2
    assert all(b > a + 0.015 for a, b in zip(heights, heights[1:], strict=False)), heights


def test_the_chin_goes_with_the_jaw(clip: Driven) -> None:
    before, after = (mesh(rgb(clip.say(jaw(amount)))) for amount in (0.0, 0.5))
    unit = float(np.linalg.norm(before[33] - before[263]))
    assert 0.06 < (after[152, 1] - before[152, 1]) / unit < 0.2
    assert np.abs(after[[1, 133, 362]] - before[[1, 133, 362]]).max() / unit < 0.02, "nose and eyes stay"


@pytest.mark.parametrize("viseme", ["sil", "PP"])
def test_closed_sounds_close_the_mouth(clip: Driven, talking: Driven, viseme: str) -> None:
    assert aperture(clip.say(VISEMES[viseme], 1))[0] < 0.012
    assert aperture(talking.avatar.frame(0))[0] > 0.1
    assert aperture(talking.say(VISEMES[viseme]))[0] < 0.02


def test_visemes_are_those_of_the_trained_mouth(clip: Driven) -> None:
    drawn = np.array([aperture(clip.say(weights)) for weights in VISEMES.values()])
    wanted = np.array([aperture(trained(name)) for name in VISEMES])
    for k, worst in ((0, 0.035), (1, 0.035)):
        assert np.corrcoef(drawn[:, k], wanted[:, k])[0, 1] > 0.96
        assert np.abs(drawn[:, k] - wanted[:, k]).max() < worst


def test_nothing_outside_the_mask_changes(clip: Driven) -> None:
    for index in range(clip.avatar.count):
        affine = clip.avatar.affine(index)
        size = (clip.avatar.width, clip.avatar.height)
        mask = cv2.warpAffine(clip.avatar.mask, affine, size)
        changed = clip.say(VISEMES["aa"], index) != clip.avatar.frame(index)
        assert changed[: clip.avatar.height][mask > 0.9].mean() > 0.3
        assert not changed[: clip.avatar.height][mask == 0].any()


def test_a_photo_at_rest_is_the_photo(tmp_path: Path) -> None:
    picture = rgb(MIRA_AVATAR.frame(0))
    photo = Driven.of(make(tmp_path, [picture], track([mesh(picture)], picture)))
    assert np.array_equal(photo.say(jaw(0.0)), photo.avatar.frame(0)), "no pixel may be resampled for nothing"


def test_a_mouth_open_at_rest_stays_as_it_is_while_nothing_is_blended(talking: Driven) -> None:
    luma, chroma = talking.mouth.draw(VISEMES["aa"][None], [0], [0.0])
    assert np.array_equal(talking.paster.paste(0, luma[0], chroma[0], 1.0), talking.avatar.frame(0))


def test_a_batch_draws_what_single_requests_draw(clip: Driven) -> None:
    weights = np.stack([VISEMES[name] for name in ("aa", "O", "TH", "PP")])
    luma, chroma = clip.mouth.draw(weights, [0, 1, 2, 7], [1.0, 0.5, 1.0, 1.0])
    for k, (index, blend) in enumerate(((0, 1.0), (1, 0.5), (2, 1.0), (7, 1.0))):
        y, uv = clip.mouth.draw(weights[k : k + 1], [index], [blend])
        assert np.array_equal(y[0], luma[k]) and np.array_equal(uv[0], chroma[k])


@pytest.mark.parametrize("shape", [(0, 16), (5, 16), (1, 15)])
def test_other_shapes_are_refused(clip: Driven, shape: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="allowed"):
        clip.mouth.draw(np.zeros(shape, np.float32), [0] * shape[0])


def test_the_inside_is_seen_between_the_lips_alone(clip: Driven, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is drawn inside, skin and lips are the same picture."""
    opened = clip.say(VISEMES["aa"])

    def bright(box: tuple[int, int, int, int], *_: object) -> NDArray[np.float32]:
        return np.full((box[3] - box[1], box[2] - box[0], 3), 235, np.float32)

    monkeypatch.setattr(clip.mouth._inner, "draw", bright)
    changed = np.nonzero(cv2.absdiff(clip.say(VISEMES["aa"]), opened)[: clip.avatar.height] > 2)
    lips = mesh(rgb(opened))
    outer = lips[[61, 40, 37, 0, 267, 270, 291, 321, 314, 17, 84, 91]]
    inside = [cv2.pointPolygonTest(outer, (float(x), float(y)), True) for y, x in zip(*changed, strict=True)]
    assert len(inside) > 300 and min(inside) > 1.0


@pytest.mark.parametrize("face", ["tiny", "profile", "leaning", "cut off", "huge"])
def test_an_awkward_face_is_drawn(tmp_path: Path, face: str) -> None:
    picture = rgb(MIRA_AVATAR.frame(0))
    points = mesh(picture)
    if face == "tiny":
        picture, points = scaled(picture, 64), points / np.float32(8)
    elif face == "profile":
        middle = points[:, 0].mean()
        points[:, 0] = middle + (points[:, 0] - middle) * 0.2
        points[280:, 0] = points[280:, 0].min() + 3
    elif face == "leaning":
        turn = cv2.getRotationMatrix2D((256, 256), 40, 0.8)
        picture = np.asarray(cv2.warpAffine(picture, turn, (512, 512), borderMode=cv2.BORDER_REPLICATE), np.uint8)
        points = (points @ turn[:, :2].T + turn[:, 2]).astype(np.float32)
    elif face == "cut off":
        picture = picture[:320]
    else:
        picture, points = scaled(picture, 1536), points * 3
    picture = np.ascontiguousarray(picture)
    driven = Driven.of(make(tmp_path, [picture], track([points], picture)))
    assert driven.mouth.width <= 512 and driven.mouth.height <= 512
    assert np.isfinite(driven.avatar.mask).all() and np.isfinite(driven.avatar.affine(0)).all()
    for weights in VISEMES.values():
        driven.say(weights)
    assert not np.array_equal(driven.say(VISEMES["aa"]), driven.avatar.frame(0))
    if face in ("leaning", "huge"):
        assert aperture(driven.say(VISEMES["PP"]))[0] < 0.012


def test_extremes_stay_pictures(clip: Driven) -> None:
    """Weights that no ears give: the patch is filled, and the forehead of the nose is not turned inside out."""
    for value in (-1.0, 2.0, 10.0):
        luma, chroma = clip.mouth.draw(np.full((1, 16), value, np.float32), [0])
        assert luma[0].std() > 1 and chroma.shape[1] == 2


def test_too_few_pictures_are_an_error(tmp_path: Path) -> None:
    picture = rgb(MIRA_AVATAR.frame(0))
    followed = track([mesh(picture)] * 3, picture)

    def short() -> Iterator[Rgb]:
        yield picture

    with pytest.raises(ValueError, match="1 pictures for a track of 3"):
        prepare_lite(followed, short, tmp_path)


def test_teeth_stay_in_the_skull_when_a_smile_lifts_the_corners() -> None:
    picture = rgb(MIRA_AVATAR.frame(0))
    neutral = mesh(picture)
    unit = float(np.linalg.norm(neutral[33] - neutral[263]))
    smiling = neutral.copy()
    smiling[[61, 291, 78, 308], 1] -= 0.08 * unit
    followed = track([neutral] * 30 + [smiling] * 30, picture)
    model = FaceModel.load()
    patch = find_patch(followed, model)
    _, shift = _lips(followed, patch)
    assert np.ptp(shift[:, 1]) / unit > 0.07
    assert np.abs(_skull(followed, patch, model)).max() / unit < 0.005


def test_drawn_teeth_have_the_colour_of_the_light() -> None:
    """Under a warm lamp they are warm, in a picture without colour they have none."""
    warm = Light.of(np.array([[140, 100, 160], [150, 112, 140]], np.float32)).tooth
    grey = Light.of(np.array([[140, 128, 128], [150, 128, 128]], np.float32)).tooth
    assert warm[1] < -15 and warm[2] > 12
    assert np.abs(grey[1:]).max() < 1e-3
    assert warm[0] == pytest.approx(grey[0]) and warm[0] > 120


@pytest.mark.parametrize("damage", ["cut", "other", "count"])
def test_a_damaged_file_is_named(tmp_path: Path, clip: Driven, damage: str) -> None:
    source = clip.avatar.engine_file("lite", "face")
    path = tmp_path / "face.npz"
    if damage == "cut":
        path.write_bytes(source.read_bytes()[:1000])
    else:
        with np.load(source) as arrays:
            kept = dict(arrays)
        kept["version" if damage == "other" else "closing"] = np.zeros(() if damage == "other" else 3, np.float32)
        np.savez(path, **kept)
    avatar = clip.avatar
    broken = Avatar(avatar.info, tmp_path, WholeReel([avatar.frame(0).copy()] * 5), *_coordinates(avatar))
    with pytest.raises(EngineError, match=r"face\.npz"):
        FaceMouth(broken)


def _coordinates(avatar: Avatar) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    count = range(avatar.count)
    return np.stack([avatar.pose(k) for k in count]), np.stack([avatar.affine(k) for k in count]), avatar.mask.copy()


def test_the_engine_draws_a_tracked_face(clip: Driven) -> None:
    engine = LiteEngine()
    engine.prepare(clip.avatar)
    wav = soxr.resample(hibari.Hibari()("Father's car is far.", seed=1), hibari.SAMPLE_RATE, SAMPLE_RATE_HZ)
    starts = np.linspace(0, len(wav) - WINDOW_SAMPLES, 8).astype(int)
    windows = [np.asarray(wav[i : i + WINDOW_SAMPLES], np.float32) for i in starts]
    spoken = [engine.render([LipRequest(w, clip.avatar, 1, 1.0, 0.0)])[0] for w in windows]
    silence = np.zeros(WINDOW_SAMPLES, np.float32)
    requests = [LipRequest(w, clip.avatar, 1, blend, 0.0) for w, blend in ((silence, 1.0), (windows[3], 0.0))]
    quiet, faded = engine.render(requests)
    assert np.array_equal(faded, clip.avatar.frame(1))
    assert aperture(quiet)[0] < 0.015
    assert max(aperture(picture)[0] for picture in spoken) > 0.08
