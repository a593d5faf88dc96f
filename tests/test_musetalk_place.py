"""Boxes, masks and their files: MuseTalk's numbers, and what is refused."""

from __future__ import annotations

import dataclasses
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from avatar import Avatar
from engines.musetalk.box import (
    PRESETS,
    V10,
    V15_OFFLINE,
    V15_REALTIME,
    Blending,
    Box,
    crop,
    crop_box,
    crop_face,
    face_box,
    shift_range,
)
from engines.musetalk.masks import (
    MOUTH,
    NECK,
    NOSE,
    SKIN,
    UPPER_LIP,
    blur_kernel,
    finish_mask,
    jaw_kernel,
    labels_of_landmarks,
    mask_of_labels,
)
from engines.musetalk.place import MASKS, PLACES, Placement, Places, PlacesWriter, place
from engines.musetalk.placefile import PlaceFile
from errors import Unprocessable

WIDTH, HEIGHT = 320, 240


def face(x: float = 160, y: float = 110, size: float = 60) -> NDArray[np.float32]:
    """68 points of a plain frontal face: jaw an ellipse around (x, y), half as wide as `size` times two."""
    angle = np.linspace(np.pi, 0, 17)
    jaw = np.stack([np.cos(angle) * size, np.sin(angle) * size * 1.2], 1)
    brows = np.stack([np.linspace(-0.7, 0.7, 10) * size, np.full(10, -0.45 * size)], 1)
    bridge = np.stack([np.zeros(4), np.linspace(-0.2, 0.25, 4) * size], 1)
    base = np.stack([np.linspace(-0.15, 0.15, 5) * size, np.full(5, 0.35 * size)], 1)
    eyes = np.concatenate([ring(6, 0.15, 0.06, side * 0.4, -0.2) for side in (-1, 1)]) * size
    lips = np.concatenate([ring(12, 0.35, 0.15, 0, 0.7), ring(8, 0.25, 0.05, 0, 0.7)]) * size
    return (np.concatenate([jaw, brows, bridge, base, eyes, lips]) + (x, y)).astype(np.float32)


def ring(count: int, width: float, height: float, x: float, y: float) -> NDArray[np.float64]:
    """Points from the left corner over the top and back below, as the scheme orders eyes and lips."""
    angle = np.pi + np.arange(count) * 2 * np.pi / count
    return np.stack([np.cos(angle) * width + x, np.sin(angle) * height + y], 1)


def points(*given_: tuple[int, float, float]) -> NDArray[np.float64]:
    """68 points at (100, 100), but the given ones (index, x, y)."""
    array = np.full((68, 2), 100.0)
    for index, x, y in given_:
        array[index] = x, y
    return array


# Boxes


def test_the_box_is_centred_on_the_nose_and_ends_at_the_chin() -> None:
    landmarks = points((0, 60.9, 90), (16, 140.7, 90), (8, 100, 160.9), (29, 101.5, 100.8))
    assert face_box(landmarks, WIDTH, HEIGHT, V10) == (60, 40, 140, 160)
    assert face_box(landmarks, WIDTH, HEIGHT, V15_REALTIME) == (60, 40, 140, 170), "10 px below the chin"
    assert face_box(landmarks, WIDTH, HEIGHT, Blending(extra_margin=0, bbox_shift=7)) == (60, 54, 140, 160)
    assert face_box(landmarks, WIDTH, HEIGHT, Blending(extra_margin=0, bbox_shift=-40)) == (60, 0, 140, 160)


def test_the_margin_ends_with_the_picture() -> None:
    landmarks = points((0, 60, 90), (16, 140, 90), (8, 100, 160), (29, 101, 100))
    assert face_box(landmarks, WIDTH, 165, V15_REALTIME)[3] == 165
    assert face_box(landmarks, 130, 155, V15_REALTIME) == (60, 40, 130, 155)


def test_a_box_that_cannot_be_takes_the_detectors_or_the_points() -> None:
    left = points((0, -5, 90), (16, 140, 90), (8, 100, 160))
    assert face_box(left, WIDTH, HEIGHT, V10, (10, 20, 90, 120)) == (10, 20, 90, 120)
    assert face_box(left, WIDTH, HEIGHT, V10) == (0, 90, 140, 160)
    upside_down = points((0, 60, 90), (16, 140, 40), (29, 100, 100), (8, 100, 90))
    upside_down[30:] = 70
    upside_down[:29, 1] = np.minimum(upside_down[:29, 1], 90)
    assert face_box(upside_down, WIDTH, HEIGHT, Blending(extra_margin=0, bbox_shift=30)) == (60, 40, 140, 100)


@pytest.mark.parametrize(
    ("landmarks", "says"),
    [
        (points(), "at least 8 x 8"),
        (points((0, 400, 90), (16, 500, 90)) + (400, 0), "at least 8 x 8"),
        (np.full((68, 2), np.nan), "not finite"),
        (np.zeros((5, 2)), "shape \\[5, 2\\]"),
    ],
)
def test_no_box_at_all(landmarks: NDArray[np.float64], says: str) -> None:
    with pytest.raises(Unprocessable, match=says):
        face_box(landmarks, WIDTH, HEIGHT, V10)


def test_the_shift_that_is_advised() -> None:
    clip = np.stack(
        [points((28, 0, 80.9), (29, 0, 92.9), (30, 0, 104)), points((28, 0, 80), (29, 0, 93), (30, 0, 106))]
    )
    assert shift_range(clip) == (-12, 12)


@pytest.mark.parametrize(
    ("box", "expand", "wanted"),
    [
        ((60, 40, 140, 160), 1.5, (10, 10, 190, 190)),
        ((60, 40, 140, 160), 1.2, (28, 28, 172, 172)),
        ((61, 41, 140, 160), 1.2, (30, 30, 170, 170)),
        ((0, 0, 101, 51), 1.5, (-25, -50, 125, 100)),
    ],
)
def test_the_crop_box(box: Box, expand: float, wanted: Box) -> None:
    assert crop_box(box, expand) == wanted


def test_a_crop_that_leaves_the_picture_is_black_there() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    for box in [(-25, -50, 125, 100), (300, 200, 340, 260), (10, 20, 50, 60), (-90, -90, -10, -10), (400, 10, 440, 50)]:
        wanted = np.asarray(Image.fromarray(picture).crop(box))
        assert np.array_equal(crop(picture, box), wanted), box


def test_the_models_view() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    wanted = cv2.resize(picture[40:160, 60:140], (64, 64), interpolation=cv2.INTER_LANCZOS4)
    assert np.array_equal(crop_face(picture, (60, 40, 140, 160), 64), wanted)
    edge = crop_face(np.full((HEIGHT, WIDTH, 3), 200, np.uint8), (-30, 200, 50, 280), 64)
    assert edge.shape == (64, 64, 3) and (edge == 200).all()
    with pytest.raises(Unprocessable, match="outside the picture"):
        crop_face(picture, (400, 10, 440, 50), 64)


def test_the_presets() -> None:
    assert (V15_REALTIME.mode, V15_REALTIME.extra_margin, V15_REALTIME.expand, V15_REALTIME.blur) == (
        "jaw",
        10,
        1.5,
        0.1,
    )
    assert (V15_REALTIME.left_cheek_width, V15_REALTIME.bbox_shift) == (90, 0)
    assert V15_REALTIME.model_copy(update={"blur": 0.05}) == V15_OFFLINE
    assert (V10.mode, V10.extra_margin, V10.expand, V10.blur, V10.right_cheek_width) == ("raw", 0, 1.2, 0.1, 80)
    assert set(PRESETS) == {"v1", "v15", "v15-offline"}


# Masks


def test_the_jaw_kernel_grows_16_up_6_down_10_sideways() -> None:
    kernel = jaw_kernel()
    assert kernel.shape == (33, 33) and kernel.sum() == sum(range(1, 22, 2)) + 12 * 21
    dot = np.zeros((101, 101), np.uint8)
    dot[50, 50] = 1
    ys, xs = np.nonzero(cv2.dilate(dot, kernel))
    assert (ys.min() - 50, ys.max() - 50, xs.min() - 50, xs.max() - 50) == (-16, 6, -10, 10)


@pytest.mark.parametrize(
    ("side", "blur", "wanted"), [(750, 0.1, 75), (750, 0.05, 37), (384, 0.1, 39), (4, 0.1, 1), (780, 0.0, 1)]
)
def test_the_blur_kernel(side: int, blur: float, wanted: int) -> None:
    assert blur_kernel(side, blur) == wanted


def head() -> NDArray[np.uint8]:
    """Labels of a face: skin, a nose in it, a mouth, a neck below."""
    labels = np.zeros((512, 512), np.uint8)
    labels[400:, 160:352] = NECK
    cv2.ellipse(labels, (256, 256), (150, 180), 0, 0, 360, SKIN, -1)
    labels[220:300, 226:286] = NOSE
    labels[340:380, 200:312] = UPPER_LIP
    labels[355:365, 220:292] = MOUTH
    return labels


def reference_jaw(labels: NDArray[np.uint8], cheek: int) -> NDArray[np.uint8]:
    """Step by step as the reference tells it, cheeks as whole rectangles."""
    grown = np.asarray(cv2.dilate((labels == 1).astype(np.uint8) * 255, jaw_kernel()), np.uint8)
    narrow = np.asarray(cv2.erode(grown, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (35, 3)), iterations=2), np.uint8)
    cheeks = np.zeros((512, 512), np.uint8)
    cv2.rectangle(cheeks, (0, 0), (256 - cheek, 512), 255, -1)
    cv2.rectangle(cheeks, (256 + cheek, 0), (512, 512), 255, -1)
    region = cv2.bitwise_or(cv2.bitwise_and(narrow, cheeks), cv2.bitwise_and(grown, cv2.bitwise_not(cheeks)))
    chosen = (np.asarray(region) == 255) & (labels != 10) | np.isin(labels, (11, 12, 13))
    return np.asarray(chosen, np.uint8) * np.uint8(255)


@pytest.mark.parametrize("cheek", [0, 80, 90, 256])
def test_mode_jaw(cheek: int) -> None:
    settings = Blending(left_cheek_width=cheek, right_cheek_width=cheek)
    assert np.array_equal(mask_of_labels(head(), settings), reference_jaw(head(), cheek))


def test_modes_raw_and_neck() -> None:
    labels = head()
    assert np.array_equal(mask_of_labels(labels, V10) == 255, np.isin(labels, (1, 11, 12, 13)))
    assert np.array_equal(mask_of_labels(labels, Blending(mode="neck")) == 255, np.isin(labels, (1, 11, 12, 13, 14)))


@pytest.mark.parametrize("box", [(60, 40, 140, 160), (400, 100, 1100, 880), (3, 5, 44, 47)])
@pytest.mark.parametrize("settings", [V15_REALTIME, V15_OFFLINE, V10])
def test_confined_cut_and_softened_as_with_pillow(box: Box, settings: Blending) -> None:
    chosen = mask_of_labels(head(), settings)
    area = crop_box(box, settings.expand)
    size, (x, y, x1, y1) = area[2] - area[0], (box[k] - area[k % 2] for k in range(4))
    small = Image.fromarray(chosen).resize((size, size)).crop((x, y, x1, y1))
    whole = Image.new("L", (size, size), 0)
    whole.paste(small, (x, y, x1, y1))
    top = int(size * 0.5)
    lower = Image.new("L", (size, size), 0)
    lower.paste(whole.crop((0, top, size, size)), (0, top))
    kernel = int(settings.blur * size // 2 * 2) + 1
    wanted = cv2.GaussianBlur(np.array(lower), (kernel, kernel), 0).astype(int)
    found = finish_mask(chosen, box, area, settings)
    assert found.shape == wanted.shape
    # Pillow's cubic is another than OpenCV's, which a narrow blur of a small box lets through.
    assert np.abs(found - wanted).mean() < 0.3 and np.abs(found - wanted).max() <= (3 if size > 200 else 48)


def seen(landmarks: NDArray[Any], settings: Blending) -> tuple[NDArray[np.uint8], Box]:
    box = face_box(landmarks, WIDTH, HEIGHT, settings)
    area = crop_box(box, settings.expand)
    mask = finish_mask(mask_of_labels(labels_of_landmarks(landmarks, area), settings), box, area, settings)
    whole = np.zeros((HEIGHT, WIDTH), np.uint8)
    placed = place(box, area, mask, WIDTH, HEIGHT)
    whole[placed.region[1] : placed.region[3], placed.region[0] : placed.region[2]] = placed.mask
    return whole, box


@pytest.mark.parametrize("settings", [V15_REALTIME, V15_OFFLINE, V10, Blending(mode="neck")])
def test_landmarks_give_a_mask_of_mouth_and_chin_but_neither_eyes_nor_nose(settings: Blending) -> None:
    landmarks = face()
    mask, _ = seen(landmarks, settings)
    at = np.rint(landmarks).astype(int)
    for point in range(48, 68):
        assert mask[at[point, 1], at[point, 0]] > 230, point
    assert mask[at[57, 1] + 8, at[57, 0]] > 230, "chin"
    for point in [*range(17, 31), *range(36, 48)]:
        assert mask[at[point, 1], at[point, 0]] < 128, point
    assert (mask[:, : at[0, 0] - 12] == 0).all() and (mask[:, at[16, 0] + 12 :] == 0).all()


def test_the_neck_is_only_replaced_in_its_mode() -> None:
    landmarks = face()
    below = int(landmarks[8, 1]) + 4, int(landmarks[8, 0]) + 18
    assert seen(landmarks, Blending(mode="neck", blur=0.02))[0][below] > 200
    assert seen(landmarks, Blending(mode="raw", blur=0.02))[0][below] < 60


def test_landmarks_stand_in_for_the_parser() -> None:
    """Of a face whose labels and landmarks are both known, both masks are nearly the same."""
    landmarks = face()
    area = crop_box(face_box(landmarks, WIDTH, HEIGHT, V15_REALTIME), V15_REALTIME.expand)
    scale = 512 / (area[2] - area[0])
    scaled = (landmarks - area[:2]) * scale
    labels = np.zeros((512, 512), np.uint8)
    middle = tuple(int(v) for v in (np.array([160, 110]) - area[:2]) * scale)
    cv2.ellipse(labels, middle, (int(60 * scale), int(72 * scale)), 0, 0, 360, SKIN, -1)
    cv2.fillConvexPoly(labels, cv2.convexHull(scaled[[27, 31, 33, 35]].astype(np.int32)), NOSE)
    cv2.fillPoly(labels, [scaled[48:60].astype(np.int32)], UPPER_LIP)
    box = face_box(landmarks, WIDTH, HEIGHT, V15_REALTIME)
    parsed, drawn = (
        finish_mask(mask_of_labels(one, V15_REALTIME), box, area, V15_REALTIME) > 127
        for one in (labels, labels_of_landmarks(landmarks, area))
    )
    assert (parsed & drawn).sum() / (parsed | drawn).sum() > 0.93


@given(st.floats(-80, 400), st.floats(-80, 320), st.floats(12, 200))
def test_a_face_anywhere_is_placed_inside_the_picture_or_refused(x: float, y: float, size: float) -> None:
    try:
        mask, box = seen(face(x, y, size), V15_REALTIME)
    except Unprocessable:
        return
    assert 0 <= box[0] < box[2] <= WIDTH and 0 <= box[1] < box[3] <= HEIGHT
    outside = np.ones((HEIGHT, WIDTH), bool)
    outside[box[1] : box[3], box[0] : box[2]] = False
    assert (mask[outside] == 0).all()


# Files


@dataclasses.dataclass(frozen=True)
class Card:
    """As much of an avatar as `Places.load` asks."""

    directory: Path
    count: int
    width: int = WIDTH
    height: int = HEIGHT

    def engine_file(self, engine: str, part: str) -> Path:
        return self.directory / {"places": PLACES, "masks": MASKS}[part]


FRAME = np.zeros((HEIGHT, WIDTH, 3), np.uint8)


def written(directory: Path, settings: Blending | None = None, count: int = 3) -> Avatar:
    with PlacesWriter(directory, settings) as writer:
        for index in range(count):
            writer.add(face(x=150 + index), FRAME)
        assert writer.finish() == ({"places": "places.npz", "masks": "masks.zip"}, "landmarks")
    return cast(Avatar, Card(directory, count))


def test_what_is_written_is_read(tmp_path: Path) -> None:
    settings = Blending(mode="neck", bbox_shift=3, expand=1.3)
    places = Places.load(written(tmp_path, settings))
    assert len(places) == 3 and places.settings == settings
    for index in range(3):
        landmarks = face(x=150 + index)
        box = face_box(landmarks, WIDTH, HEIGHT, settings)
        placement = places[index]
        assert placement.box == box and placement.crop == crop_box(box, 1.3)
        x1, y1, x2, y2 = placement.region
        assert placement.mask.shape == (y2 - y1, x2 - x1) and not any(v % 2 for v in placement.region)
        whole, _ = seen(landmarks, settings)
        assert np.array_equal(whole[y1:y2, x1:x2], placement.mask)
        assert whole.sum(dtype=np.int64) == placement.mask.sum(dtype=np.int64) > 0
        assert placement.mask[:2].any() and placement.mask[-2:].any() and placement.mask[:, :2].any()
        with pytest.raises(ValueError, match="read-only"):
            placement.mask[0, 0] = 1


def test_equal_clips_give_equal_files(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        written(tmp_path / name)
    for name in (PLACES, MASKS):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_masks_are_on_disk_as_soon_as_they_are_made(tmp_path: Path) -> None:
    with PlacesWriter(tmp_path) as writer:
        sizes = []
        for index in range(4):
            writer.add(face(x=150 + index), FRAME)
            sizes.append((tmp_path / MASKS).stat().st_size)
        assert sizes[0] < sizes[1] < sizes[2] < sizes[3]


def test_a_frame_without_a_box_takes_the_one_before(tmp_path: Path) -> None:
    with PlacesWriter(tmp_path) as writer:
        writer.add(face(), FRAME)
        assert writer.add(np.full((68, 2), np.nan), FRAME) == face_box(face(), WIDTH, HEIGHT, V15_REALTIME)
        assert writer.held == 1
        writer.finish()
    places = Places.load(cast(Avatar, Card(tmp_path, 2)))
    assert places[0].region == places[1].region and np.array_equal(places[0].mask, places[1].mask)


def test_nothing_stays_of_what_was_not_finished(tmp_path: Path) -> None:
    with pytest.raises(Unprocessable, match="not finite"), PlacesWriter(tmp_path) as writer:
        writer.add(np.full((68, 2), np.nan), FRAME)
    with pytest.raises(Unprocessable, match="no frame"), PlacesWriter(tmp_path) as writer:
        writer.finish()
    with pytest.raises(Unprocessable, match="has shape"), PlacesWriter(tmp_path) as writer:
        writer.put((0, 0, 50, 50), (-10, -10, 60, 60), np.zeros((50, 50), np.uint8))
    assert list(tmp_path.iterdir()) == []


def test_a_parser_is_asked_about_the_crop(tmp_path: Path) -> None:
    asked = []

    def parser(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
        asked.append(rgb)
        return head()

    frame = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    with PlacesWriter(tmp_path, V10, parser) as writer:
        box = writer.add(face(), frame)
        assert writer.finish()[1] == "parser"
    area = crop_box(box, V10.expand)
    assert np.array_equal(asked[0], np.asarray(Image.fromarray(frame).crop(area)))
    wanted = place(box, area, finish_mask(mask_of_labels(head(), V10), box, area, V10), WIDTH, HEIGHT)
    assert np.array_equal(Places.load(cast(Avatar, Card(tmp_path, 1)))[0].mask, wanted.mask)


def rewrite(directory: Path, **changes: Any) -> None:
    with np.load(directory / PLACES) as arrays:
        content = dict(arrays) | changes
    np.savez_compressed(directory / PLACES, **{name: array for name, array in content.items() if array is not None})


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"boxes": np.zeros((2, 4), np.int32)}, "boxes is int32 \\[2, 4\\], int32 \\[3, 4\\] is needed"),
        ({"boxes": np.zeros((3, 4), np.float32)}, "float32"),
        ({"boxes": np.zeros((3, 4), np.int32)}, "boxes\\[0\\] is \\[0, 0, 0, 0\\]"),
        ({"crops": np.full((3, 4), [-(2**31), 0, 2**31 - 1, 9], np.int32)}, "crops\\[0\\]"),
        ({"crops": None}, "crops"),
        ({"version": np.int32(9)}, "format 9; this version reads 1"),
        ({"settings": np.asarray(json.dumps({"mode": "ears"}))}, "settings"),
        ({"settings": np.asarray("{")}, "settings"),
    ],
)
def test_places_that_do_not_fit_are_refused(tmp_path: Path, changes: dict[str, Any], says: str) -> None:
    avatar = written(tmp_path)
    rewrite(tmp_path, **changes)
    with pytest.raises(Unprocessable, match=says) as raised:
        Places.load(avatar)
    assert PLACES in str(raised.value)


def png(height: int, width: int) -> bytes:
    return bytes(cv2.imencode(".png", np.zeros((height, width), np.uint8))[1].tobytes())


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (None, "mask 00000001.png of frame 1 is missing"),
        (b"GIF89a", "00000001.png is no PNG"),
        (png(7, 9), "00000001.png is 9 x 7, its crop box is"),
    ],
)
def test_a_missing_or_misshapen_mask_is_named(tmp_path: Path, data: bytes | None, says: str) -> None:
    avatar = written(tmp_path)
    replace_mask(tmp_path / MASKS, lambda _: data)
    with pytest.raises(Unprocessable, match=says) as raised:
        Places.load(avatar)
    assert MASKS in str(raised.value)


def test_a_damaged_mask_is_named_where_it_is_used(tmp_path: Path) -> None:
    avatar = written(tmp_path)
    replace_mask(tmp_path / MASKS, lambda whole: whole[:40])
    places = Places.load(avatar)
    with pytest.raises(Unprocessable, match=r"00000001\.png cannot be decoded"):
        places[1]
    with (tmp_path / MASKS).open("r+b") as file:
        file.seek(200)
        file.write(bytes(50))
    with pytest.raises(Unprocessable, match=r"00000000\.png cannot be read: Bad CRC"):
        places[0]


def replace_mask(path: Path, change: Callable[[bytes], bytes | None]) -> None:
    """Write the archive anew with another second mask, or none."""
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    changed = change(content.pop("00000001.png"))
    if changed is not None:
        content["00000001.png"] = changed
    with zipfile.ZipFile(path, "w") as archive:
        for name, piece in content.items():
            archive.writestr(name, piece)


def test_files_that_are_something_else(tmp_path: Path) -> None:
    avatar = written(tmp_path)
    (tmp_path / MASKS).write_bytes(b"PK" + bytes(100))
    with pytest.raises(Unprocessable, match="no archive of masks"):
        Places.load(avatar)
    (tmp_path / PLACES).write_bytes(b"no zip")
    with pytest.raises(Unprocessable, match="no file of boxes"):
        Places.load(avatar)


def test_masks_are_kept_within_their_room(tmp_path: Path) -> None:
    made: list[int] = []
    with_masks = [place((0, 0, 8, 8), (0, 0, 8, 8), np.full((8, 8), k + 1, np.uint8), 16, 16) for k in range(6)]

    def make(stored: int) -> Placement:
        made.append(stored)
        return with_masks[stored]

    places = Places(np.zeros((6, 4), np.int32), Blending(), (8, 8), make, kept_bytes=3 * 64)
    for stored in (0, 1, 2, 0, 3, 0, 1):
        assert places[stored] is with_masks[stored]
    assert made == [0, 1, 2, 3, 1]


def test_an_avatar_of_before_has_its_masks_measured(tmp_path: Path) -> None:
    avatar = written(tmp_path)
    now = Places.load(avatar)
    file = PlaceFile.read(tmp_path / PLACES, avatar.count)
    assert file.shown is not None
    dataclasses.replace(file, shown=None).write(tmp_path / PLACES)
    before = Places.load(avatar)
    regions = [before[k].region for k in range(len(before))]
    assert before.largest == (max(r[3] - r[1] for r in regions), max(r[2] - r[0] for r in regions))
    assert all(a <= b for a, b in zip(before.largest, now.largest, strict=True))
    assert np.array_equal(before.boxes, now.boxes)
