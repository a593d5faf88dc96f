"""An avatar on disk: what loads, and what is refused with which words."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from avatar import CARD, Avatar, avatar_directory, list_avatars, read_card
from errors import BadRequest, NotFound, Unprocessable, VisageError

AVATARS = Path(__file__).parent.parent / "data" / "avatars"


@pytest.fixture(scope="module")
def mira() -> Avatar:
    return Avatar.load(AVATARS / "mira")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(AVATARS / "mira", tmp_path / "mira"))


def edit(directory: Path, **changes: Any) -> None:
    card = json.loads((directory / CARD).read_text())
    (directory / CARD).write_text(json.dumps(card | changes))


def relist(directory: Path, name: str) -> None:
    """Make the card agree with a file that a test rewrote."""
    files = json.loads((directory / CARD).read_text())["files"]
    edit(directory, files=files | {name: hashlib.sha256((directory / name).read_bytes()).hexdigest()})


def test_what_it_is(mira: Avatar) -> None:
    assert (mira.id, mira.width, mira.height, mira.fps, mira.count) == ("mira", 512, 512, 25, 125)
    assert len(mira.channels) == 16 and mira.channels[0] == "jawOpen"
    assert mira.mask.shape == (160, 192)
    assert mira.info.name.en == "Mira"
    assert mira.engine_file("lite", "mouth").is_file()


def test_frames_are_shared_read_only_and_play_there_and_back(mira: Avatar) -> None:
    picture = mira.frame(0)
    assert picture.shape == (768, 512) and picture.dtype == np.uint8
    assert mira.frame(126) is mira.frame(122)
    assert mira.frame(248) is picture
    assert np.array_equal(mira.pose(126), mira.pose(122)) and mira.pose(0).shape == (3,)
    assert np.array_equal(mira.affine(126), mira.affine(122)) and mira.affine(0).shape == (2, 3)
    for array in (picture, mira.pose(3), mira.affine(3), mira.mask):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0


def test_frames_are_a_face_in_limited_range(mira: Avatar) -> None:
    luma = mira.frame(0)[:512]
    assert luma.min() >= 14 and luma.max() <= 235
    left, right = luma[250:330, 180:256].mean(), luma[250:330, 256:332].mean()
    assert 100 < left < 220 and 100 < right < 220
    step = np.abs(mira.frame(60).astype(int) - mira.frame(61)).mean()
    assert 0 < step < 3


def test_loads_in_under_two_seconds_of_processor_time() -> None:
    began = time.process_time()
    Avatar.load(AVATARS / "mira")
    assert time.process_time() - began < 2


def test_the_committed_avatar_is_small() -> None:
    assert sum(p.stat().st_size for p in (AVATARS / "mira").iterdir()) < 12e6


def test_listing_leaves_damaged_ones_out(copy: Path, caplog: pytest.LogCaptureFixture) -> None:
    (copy.parent / "broken").mkdir()
    (copy.parent / "broken" / CARD).write_text("{")
    (copy.parent / "empty").mkdir()
    assert [info.id for info in list_avatars(copy.parent)] == ["mira"]
    assert "broken" in caplog.text
    assert list_avatars(copy.parent / "nowhere") == []


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../mira", "mira/", "/etc", "a" * 65, "mi ra", "mira\n", "mira\0", "米拉"]
)
def test_ids_that_are_none(name: str) -> None:
    with pytest.raises(BadRequest, match="no avatar id"):
        avatar_directory(AVATARS, name)


@given(st.text(max_size=80))
def test_an_id_never_leaves_the_root(name: str) -> None:
    try:
        directory = avatar_directory(AVATARS, name)
    except (BadRequest, NotFound):
        return
    assert directory.parent == AVATARS


def test_unknown_id_says_which_there_are() -> None:
    assert avatar_directory(AVATARS, "mira") == AVATARS / "mira"
    with pytest.raises(NotFound, match=r"nobody does not exist; there are: .*mira"):
        avatar_directory(AVATARS, "nobody")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"version": 2}, "version"),
        ({"width": 511}, "width"),
        ({"fps": 30}, "fps"),
        ({"count": 0}, "count"),
        ({"colour": "blue"}, "colour"),
        ({"idle": "../idle.mp4"}, "idle"),
        ({"files": {"/etc/passwd": "0" * 64}}, "files"),
        ({"id": "other"}, "directory is named 'mira'"),
        ({"idle": "other.mp4"}, "other.mp4 is used, but not listed"),
        ({"count": 124}, "more than 124 frames"),
        ({"width": 256}, r"256, 512, 'yuv420p'"),
    ],
)
def test_a_card_that_is_wrong(copy: Path, changes: dict[str, Any], words: str) -> None:
    edit(copy, **changes)
    if changes.get("count") == 124:
        coords = dict(np.load(copy / "coords.npz"))
        np.savez(copy / "coords.npz", **coords | {"pose": coords["pose"][1:], "affine": coords["affine"][1:]})
        relist(copy, "coords.npz")
    with pytest.raises(Unprocessable, match=words):
        Avatar.load(copy)


def test_more_frames_promised_than_stored(copy: Path) -> None:
    coords = dict(np.load(copy / "coords.npz"))
    more = {k: np.concatenate([coords[k], coords[k][:1]]) for k in ("pose", "affine")}
    np.savez(copy / "coords.npz", **coords | more)
    relist(copy, "coords.npz")
    edit(copy, count=126)
    with pytest.raises(Unprocessable, match="holds 125 frames, avatar.json says 126"):
        Avatar.load(copy)


def test_a_directory_without_a_card(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=CARD):
        Avatar.load(tmp_path)


@pytest.mark.parametrize("name", ["idle.mp4", "coords.npz", "poster.jpg", "mouth.onnx"])
def test_files_missing_truncated_or_foreign(copy: Path, name: str) -> None:
    whole = (copy / name).read_bytes()
    (copy / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(Unprocessable, match=f"{name} is damaged"):
        Avatar.load(copy)
    (copy / name).unlink()
    with pytest.raises(NotFound, match=name):
        Avatar.load(copy)


@pytest.mark.parametrize("content", [b"", b"not a video, not an archive", b"PK\x03\x04 half an archive"])
@pytest.mark.parametrize("name", ["idle.mp4", "coords.npz"])
def test_files_that_are_something_else(copy: Path, name: str, content: bytes) -> None:
    (copy / name).write_bytes(content)
    relist(copy, name)
    with pytest.raises(Unprocessable, match=name):
        Avatar.load(copy)


def test_coords_that_make_no_sense(copy: Path) -> None:
    coords = dict(np.load(copy / "coords.npz"))
    for changes, words in (
        ({"pose": coords["pose"][:-1]}, "pose has shape"),
        ({"affine": coords["affine"] * np.nan}, "not finite"),
        ({"mask": coords["mask"] * 2}, "mask has shape"),
    ):
        np.savez(copy / "coords.npz", **coords | changes)
        relist(copy, "coords.npz")
        with pytest.raises(Unprocessable, match=words):
            Avatar.load(copy)


def test_pickled_arrays_are_refused(copy: Path) -> None:
    coords = dict(np.load(copy / "coords.npz"))
    np.savez(copy / "coords.npz", **coords | {"pose": np.array([{}], object)})
    relist(copy, "coords.npz")
    with pytest.raises(Unprocessable, match="pickle"):
        Avatar.load(copy)


def test_an_engine_it_has_no_files_for(mira: Avatar) -> None:
    with pytest.raises(Unprocessable, match="no unet for engine musetalk; engines with files: lite"):
        mira.engine_file("musetalk", "unet")


@given(st.binary(max_size=200))
def test_no_card_breaks_the_reader(text: bytes) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as root:
        (Path(root) / CARD).write_bytes(text)
        with pytest.raises(VisageError):
            read_card(Path(root))
