"""Avatars of MuseTalk and LiveTalking come in as they are; what does not fit is named; pickles run nothing."""

import io
import json
import pickle
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from avatar import Avatar
from avatarbuild import cli
from avatarbuild.assemble import Progress
from avatarbuild.boxpickle import read_boxes
from avatarbuild.encode import read_video
from avatarbuild.legacy import Legacy, take_over
from engines.musetalk.place import Places
from errors import NotFound, Unprocessable, VisageError
from tests.avatar_clips import mira, wall, write_picture

COUNT = 26


def mask_of(number: int, crop: Sequence[int]) -> np.ndarray:
    """A mask that tells its number."""
    mask = np.zeros((crop[3] - crop[1], crop[2] - crop[0]), np.uint8)
    mask[150:190, 120:180] = 100 + number
    return mask


def write_legacy(
    directory: Path,
    *,
    there_and_back: bool = False,
    number: Callable[[int], Any] = int,
    protocol: int = pickle.DEFAULT_PROTOCOL,
    pictures: Sequence[np.ndarray] | None = None,
) -> Path:
    """An avatar as MuseTalk (there and back) or LiveTalking writes it, with numbers of a kind."""
    pictures = pictures or mira(COUNT)
    order = list(range(COUNT)) + (list(range(COUNT))[::-1] if there_and_back else [])
    (directory / "full_imgs").mkdir(parents=True)
    (directory / "mask").mkdir()
    coords, mask_coords = [], []
    for entry, k in enumerate(order):
        box = [78 + k % 3, 70, 180, 180 + k % 2]
        crop = [129 - 150, 125 - 150, 129 + 150, 125 + 150]  # leaves the picture on all sides
        write_picture(directory / "full_imgs" / f"{entry:08d}.png", pictures[k])
        assert cv2.imwrite(str(directory / "mask" / f"{entry:08d}.png"), mask_of(k, crop))
        coords.append([number(value) for value in box])
        mask_coords.append(tuple(number(value) for value in crop))
    (directory / "coords.pkl").write_bytes(pickle.dumps(coords, protocol))
    (directory / "mask_coords.pkl").write_bytes(pickle.dumps(mask_coords, protocol))
    return directory


def rewrite(path: Path, change: Callable[[list[Any]], object]) -> None:
    held = pickle.loads(path.read_bytes())
    change(held)
    path.write_bytes(pickle.dumps(held))


# ---- whole avatars


@pytest.mark.parametrize("there_and_back", [False, True])
def test_boxes_and_masks_stay_as_they_are(tmp_path: Path, there_and_back: bool) -> None:
    source = write_legacy(tmp_path / "old", there_and_back=there_and_back)
    told: list[Progress] = []
    info = take_over(source, "new", tmp_path / "avatars", None, told.append)
    avatar = Avatar.load(tmp_path / "avatars" / "new")
    places = Places.load(avatar)
    assert avatar.count == len(places) == COUNT
    assert info.mask_origin == "parser"
    assert set(info.engines) == {"lite", "musetalk"}
    for k in (0, 1, 5, COUNT - 1):
        assert places[k].box == (78 + k % 3, 70, 180, 180 + k % 2)
        assert places[k].crop == (-21, -25, 279, 275)
        assert places[k].mask.max() == 100 + k
    picture = next(read_video(tmp_path / "avatars" / "new" / "idle.mp4"))
    assert np.abs(picture.astype(int) - mira(COUNT)[0]).mean() < 4
    notes = [progress.note for progress in told if progress.note]
    assert notes == (["the second 26 of 52 pictures are the way back and are left out"] if there_and_back else [])


def save_latents(directory: Path, count: int, change: Callable[[list[Any]], object] = lambda _: None) -> None:
    """As both programs do; each latent tells its number."""
    torch = pytest.importorskip("torch")
    latents = [torch.full((1, 8, 4, 4), k / 8, dtype=torch.float16) for k in range(count)]
    change(latents)
    torch.save(latents, directory / "latents.pt")


@pytest.mark.parametrize("there_and_back", [False, True])
def test_latents_are_taken_along(tmp_path: Path, there_and_back: bool) -> None:
    source = write_legacy(tmp_path / "old", there_and_back=there_and_back)
    rewrite(source / "coords.pkl", lambda boxes: boxes.__setitem__(3, (0.0, 0.0, 0.0, 0.0)))
    if there_and_back:
        rewrite(source / "coords.pkl", lambda boxes: boxes.__setitem__(2 * COUNT - 4, (0.0, 0.0, 0.0, 0.0)))
    save_latents(source, COUNT * (2 if there_and_back else 1))
    info = take_over(source, "new", tmp_path / "avatars")
    assert info.engines["musetalk"]["latents"] == "latents.npy" and "latents.npy" in info.files
    latents = np.load(tmp_path / "avatars" / "new" / "latents.npy")
    assert latents.shape == (COUNT, 8, 4, 4) and latents.dtype == np.float16
    taken = [round(8 * float(latent.mean())) for latent in latents]
    assert taken == [2 if k == 3 else k for k in range(COUNT)], "a picture without a face takes the nearest one's"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda latents: latents.pop(), "it holds 25 latents for 26 pictures"),
        (lambda latents: latents.__setitem__(4, latents[4][:, :4]), r"entry 4 is \[1, 4, 4, 4\], entry 0 is"),
        (lambda latents: latents.__setitem__(4, "eight"), r"entry 4 is \[\]"),
        (lambda latents: latents.__setitem__(slice(None), [t[0, 0] for t in latents]), r"entry 0 is \[4, 4\]"),
        (lambda latents: latents[7].fill_(float("nan")), "not finite"),
        (lambda latents: latents.clear(), "a list of latents is needed"),
    ],
)
def test_latents_that_do_not_fit_are_made_anew_and_that_is_said(
    tmp_path: Path, change: Callable[[list[Any]], object], says: str
) -> None:
    source = write_legacy(tmp_path / "old")
    save_latents(source, COUNT, change)
    legacy = Legacy.open(source)
    assert legacy.latents is None
    (note,) = legacy.notes
    assert re.search(rf"latents\.pt is not used: .*{says}.*; the engine computes latents anew", note)


@pytest.mark.parametrize("content", [b"\x80\x04anything", b"", pickle.dumps([print]), pickle.dumps({"a": 1})])
def test_latents_that_are_something_else_run_nothing(tmp_path: Path, content: bytes) -> None:
    pytest.importorskip("torch")
    source = write_legacy(tmp_path / "old")
    (source / "latents.pt").write_bytes(content)
    legacy = Legacy.open(source)
    assert legacy.latents is None and "the engine computes latents anew" in legacy.notes[0]


def test_a_box_without_a_face_takes_the_nearest(tmp_path: Path) -> None:
    source = write_legacy(tmp_path / "old")
    rewrite(source / "coords.pkl", lambda boxes: boxes.__setitem__(3, (0.0, 0.0, 0.0, 0.0)))
    legacy = Legacy.open(source)
    assert legacy.boxes[3] == legacy.boxes[2]
    assert legacy.masks[3] == legacy.masks[2]
    assert legacy.notes == ["coords.pkl has no face in frame 3 (0.12 s); it takes the place of frame 2 (0.08 s)"]


def test_a_face_that_cannot_be_followed_leaves_lite_out(tmp_path: Path) -> None:
    blank = [np.roll(wall(), k, 1) for k in range(COUNT)]
    source = write_legacy(tmp_path / "old", pictures=blank)
    told: list[Progress] = []
    info = take_over(source, "new", tmp_path / "avatars", None, told.append)
    assert set(info.engines) == {"musetalk"}
    assert info.track is None
    assert len(Places.load(Avatar.load(tmp_path / "avatars" / "new"))) == COUNT
    assert any("only musetalk can draw this avatar" in progress.note for progress in told)


def test_odd_pictures_lose_a_column(tmp_path: Path) -> None:
    odd = [np.ascontiguousarray(picture[:, :255]) for picture in mira(COUNT)]
    info = take_over(write_legacy(tmp_path / "old", pictures=odd), "new", tmp_path / "avatars")
    assert (info.width, info.height) == (254, 256)


def test_the_command_takes_one_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_legacy(tmp_path / "old")
    words = ["import", str(source), "--avatar_id", "new", "--avatars", str(tmp_path / "avatars"), "--json"]
    assert cli.main(words) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == {"avatar": "new"}


# ---- what does not fit


def refused(source: Path, root: Path) -> str:
    with pytest.raises(VisageError) as caught:
        take_over(source, "new", root)
    assert not root.exists() or list(root.iterdir()) == []
    return str(caught.value)


def test_a_missing_mask_is_named(tmp_path: Path) -> None:
    source = write_legacy(tmp_path / "old")
    (source / "mask" / "00000007.png").unlink()
    message = refused(source, tmp_path / "avatars")
    assert "full_imgs 26, mask 25, coords.pkl 26, mask_coords.pkl 26; mask/00000007.png is missing" in message


def test_a_mask_of_another_size_is_named(tmp_path: Path) -> None:
    source = write_legacy(tmp_path / "old")
    assert cv2.imwrite(str(source / "mask" / "00000007.png"), np.zeros((20, 30), np.uint8))
    message = refused(source, tmp_path / "avatars")
    assert "00000007.png is 30 x 20 pixels, entry 7 of mask_coords.pkl is [-21, -25, 279, 275]: 300 x 300" in message


def test_a_damaged_mask_is_named(tmp_path: Path) -> None:
    source = write_legacy(tmp_path / "old")
    (source / "mask" / "00000007.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    assert "00000007.png is no picture" in refused(source, tmp_path / "avatars")


def test_a_picture_of_another_size_is_named(tmp_path: Path) -> None:
    source = write_legacy(tmp_path / "old")
    write_picture(source / "full_imgs" / "00000004.png", mira(1, 128)[0])
    assert "00000004.png is 128 x 128 pixels, the first one is 256 x 256" in refused(source, tmp_path / "avatars")


@pytest.mark.parametrize("name", ["full_imgs", "coords.pkl", "mask_coords.pkl", "mask"])
def test_a_missing_part_is_named(tmp_path: Path, name: str) -> None:
    source = write_legacy(tmp_path / "old")
    (source / name).rename(tmp_path / "gone")
    message = refused(source, tmp_path / "avatars")
    assert f"{name} is missing" in message


def test_lists_of_other_lengths_are_named(tmp_path: Path) -> None:
    source = write_legacy(tmp_path / "old")
    rewrite(source / "coords.pkl", lambda boxes: boxes.pop())
    assert "coords.pkl 25" in refused(source, tmp_path / "avatars")


def test_a_wav2lip_avatar_is_known_by_its_parts(tmp_path: Path) -> None:
    source = write_legacy(tmp_path / "old")
    (source / "mask_coords.pkl").unlink()
    (source / "face_imgs").mkdir()
    message = refused(source, tmp_path / "avatars")
    assert "wav2lip" in message
    assert "avatar build" in message


def test_no_box_holds_a_face(tmp_path: Path) -> None:
    source = write_legacy(tmp_path / "old")
    rewrite(source / "coords.pkl", lambda boxes: boxes.__setitem__(slice(None), [(0, 0, 0, 0)] * COUNT))
    assert "none of 26 boxes holds a face" in refused(source, tmp_path / "avatars")


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="is no folder"):
        take_over(tmp_path / "gone", "new", tmp_path / "avatars")


# ---- pickles


def pickled(path: Path, held: object, protocol: int = pickle.DEFAULT_PROTOCOL) -> Path:
    path.write_bytes(pickle.dumps(held, protocol))
    return path


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("number", [int, float, np.int64, np.int32, np.float32, np.float64, np.uint16])
def test_numbers_of_all_kinds_are_read(tmp_path: Path, number: Callable[[int], Any], protocol: int) -> None:
    held = [[number(1), number(2), number(300), number(4)], tuple(number(k) for k in (5, 6, 7, 8))]
    assert read_boxes(pickled(tmp_path / "coords.pkl", held, protocol)) == [(1, 2, 300, 4), (5, 6, 7, 8)]


def test_numbers_as_older_and_other_machines_wrote_them(tmp_path: Path) -> None:
    data = pickle.dumps([[np.int64(-1), 2, 3, np.dtype(">i4").type(4)]], 2)
    older = data.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    (tmp_path / "coords.pkl").write_bytes(older)
    assert read_boxes(tmp_path / "coords.pkl") == [(-1, 2, 3, 4)]


class Runs:
    """Would run a command if it were unpickled."""

    def __init__(self, target: Path) -> None:
        self._target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self._target,)


def test_code_in_a_pickle_is_not_run_and_is_named(tmp_path: Path) -> None:
    path = pickled(tmp_path / "coords.pkl", [[1, 2, 3, Runs(tmp_path / "ran")]])
    with pytest.raises(Unprocessable, match=r"coords\.pkl holds .*; only lists, tuples and numbers are read"):
        read_boxes(path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"cos\nsystem\n(S'true'\ntR.", r"holds os\.system"),
        (b"cbuiltins\neval\n(S'1'\ntR.", r"holds builtins\.eval"),
        (b"cnumpy.core.multiarray\n_reconstruct\n(tR.", r"holds numpy\.core\.multiarray\._reconstruct"),
        (b"cnumpy\ndtype\n(S'O'\ntR.", r"holds numpy values of type 'O'"),
        (b"cnumpy.core.multiarray\nscalar\n(cnumpy\ndtype\n(S'i8'\ntRS'1234'\ntR.", "4 bytes where 8"),
        (b"cnumpy.core.multiarray\nscalar\n(I1\nS'1'\ntR.", "no number"),
        (b"Pname\n.", "persistent"),
        (b"", "no pickle that can be read"),
        (b"\x80\x04\x95", "no pickle that can be read"),
        (b"no pickle", "no pickle that can be read"),
        (b"K\x01\x94r\xff\xff\xff\x7f.", "holds a int"),
    ],
)
def test_anything_else_is_refused_by_name(tmp_path: Path, data: bytes, says: str) -> None:
    path = tmp_path / "coords.pkl"
    path.write_bytes(data)
    with pytest.raises(Unprocessable, match=says):
        read_boxes(path)


@pytest.mark.parametrize(
    ("held", "says"),
    [
        ({"a": 1}, "holds a dict"),
        ([1], "entry 0 is a int"),
        ([[1, 2, 3]], "entry 0 is 3 values"),
        ([[1, 2, 3, 4], [1, 2, 3, "x"]], "entry 1 holds x"),
        ([[1, 2, 3, float("nan")]], "entry 0 holds nan"),
        ([[1, 2, 3, 10**30]], "entry 0 holds 10000"),
        ([[1, 2, 3, True]], "entry 0 holds True"),
    ],
)
def test_what_are_no_boxes(tmp_path: Path, held: object, says: str) -> None:
    with pytest.raises(Unprocessable, match=says):
        read_boxes(pickled(tmp_path / "coords.pkl", held))


def test_a_pickle_that_is_too_large(tmp_path: Path) -> None:
    path = tmp_path / "coords.pkl"
    with path.open("wb") as file:
        file.truncate(1 << 30)
    with pytest.raises(Unprocessable, match="at most"):
        read_boxes(path)


def test_damaged_pickles_never_raise_anything_else(tmp_path: Path) -> None:
    whole = io.BytesIO(pickle.dumps([[np.int64(k), 2, 3.5, k] for k in range(5)])).getvalue()
    random = np.random.default_rng(0)
    path = tmp_path / "coords.pkl"
    for _ in range(300):
        damaged = bytearray(whole)
        for at in random.integers(0, len(whole), 3):
            damaged[at] = random.integers(0, 256)
        path.write_bytes(damaged)
        try:
            read_boxes(path)
        except Unprocessable as error:
            assert "coords.pkl" in str(error)
