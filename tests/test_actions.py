"""Custom actions: loading, playing, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import soundfile

from actions import Action, load_actions
from errors import Unprocessable
from media import I420, SAMPLES_PER_UNIT
from reels import LongReel, WholeReel
from reelstore import ReelStore


@pytest.fixture
def store() -> Iterator[ReelStore]:
    store = ReelStore()
    yield store
    store.close()


@pytest.fixture
def wave(tmp_path: Path) -> Path:
    """A folder `wave/` with three pictures and a sound of 0.1 s at 8 kHz."""
    (tmp_path / "wave").mkdir()
    for i in range(3):
        cv2.imwrite(str(tmp_path / "wave" / f"{i:08d}.png"), np.full((20, 30, 3), 80 * i, np.uint8))
    soundfile.write(tmp_path / "wave.wav", np.full((800, 2), 0.5), 8000)
    return tmp_path


def test_an_action_plays_once_with_its_sound(wave: Path, store: ReelStore) -> None:
    action = load_actions([{"audiotype": 2, "imgpath": "wave", "audiopath": "wave.wav"}], wave, 16, 8, store)[2]
    units = []
    while (unit := action.take(turn=5)) is not None:
        units.append(unit)
    assert len(units) == -(-1600 // SAMPLES_PER_UNIT)
    assert {u.turn for u in units} == {5}
    assert units[0].picture.shape == (12, 16)
    assert units[0].speech[1].pcm.mean() == pytest.approx(0.5, abs=0.05)
    assert action.fresh().take(0) is not None


def test_without_sound_it_plays_once_through_its_pictures(wave: Path, store: ReelStore) -> None:
    action = load_actions([{"audiotype": 3, "imgpath": "wave"}], wave, 16, 8, store)[3]
    assert [action.take(0) is not None for _ in range(4)] == [True, True, True, False]


def test_audiotype_1_goes_on() -> None:
    idle = Action(1, WholeReel([np.zeros((12, 16), np.uint8)]))
    assert all(idle.take(0) is not None for _ in range(1000))


@pytest.mark.parametrize(
    ("item", "says"),
    [
        ({"imgpath": "wave"}, "audiotype"),
        ({"audiotype": "x", "imgpath": "wave"}, "audiotype"),
        ({"audiotype": 2}, "imgpath"),
        ({"audiotype": 2, "imgpath": "../.."}, "leaves"),
        ({"audiotype": 2, "imgpath": "/etc"}, "leaves"),
        ({"audiotype": 2, "imgpath": "nothing"}, "no .png"),
        ({"audiotype": 2, "imgpath": "wave", "audiopath": "missing.wav"}, "missing.wav"),
        ({"audiotype": 2, "imgpath": "damaged"}, "1.png in damaged cannot be read"),
        ({"audiotype": 2, "imgpath": "foreign"}, "1.png in foreign cannot be read"),
    ],
)
def test_bad_items_are_refused_by_name(wave: Path, store: ReelStore, item: dict[str, object], says: str) -> None:
    whole = (wave / "wave" / "00000001.png").read_bytes()
    for name, content in (("damaged", whole[:40]), ("foreign", b"no picture")):
        (wave / name).mkdir()
        (wave / name / "1.png").write_bytes(content)
    with pytest.raises(Unprocessable, match=says):
        load_actions([item], wave, 16, 8, store)


def test_a_long_action_is_decoded_where_it_is_shown(wave: Path) -> None:
    store = ReelStore(budget_mib=1)
    try:
        for i in range(40):
            cv2.imwrite(str(wave / "wave" / f"{i:08d}.png"), np.full((20, 30, 3), 6 * i, np.uint8))
        action = load_actions([{"audiotype": 2, "imgpath": "wave"}], wave, 160, 120, store)[2]
        assert isinstance(action.reel, LongReel) and action.units == 40

        def shown() -> I420:
            action.reel.at(action._position, action._position)  # as if 40 ms had gone by
            unit = action.take(0)
            assert unit is not None
            return unit.picture

        levels = [float(shown()[:120].mean()) for _ in range(40)]
        assert levels == pytest.approx([16 + 6 * i * 219 / 255 for i in range(40)], abs=1.5)
        assert action.take(0) is None
        figures = store.figures()
        assert figures["reel_bytes"] <= 1 << 20 and figures["reel_late_pictures_total"] == 0
    finally:
        store.close()
