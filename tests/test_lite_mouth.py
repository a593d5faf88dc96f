"""The drawing network of the default avatar: does it draw a mouth that does what it is told?"""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from avatar import Avatar
from engines.lite.mouth import MAX_BATCH, Mouth
from errors import EngineError

MIRA = Path(__file__).parent.parent / "data" / "avatars" / "mira"
BOX = (slice(50, 110), slice(50, 142))


@pytest.fixture(scope="module")
def avatar() -> Avatar:
    return Avatar.load(MIRA)


@pytest.fixture(scope="module")
def mouth(avatar: Avatar) -> Mouth:
    return Mouth(avatar.engine_file("lite", "mouth"))


@pytest.fixture(scope="module")
def visemes(avatar: Avatar) -> dict[str, NDArray[np.float32]]:
    table = json.loads(avatar.engine_file("lite", "visemes").read_text())
    assert tuple(table["channels"]) == avatar.channels
    return {name: np.array([w], np.float32) for name, w in table["visemes"].items()}


def dark(y: NDArray[np.uint8]) -> int:
    """Pixels of the open mouth's inside: darker than any skin, lip or tooth."""
    return int((y[BOX] < 70).sum())


@pytest.mark.parametrize("batch", range(1, MAX_BATCH + 1))
def test_shapes_and_types(mouth: Mouth, batch: int) -> None:
    y, uv = mouth.draw(np.zeros((batch, 16), np.float32), np.zeros((batch, 3), np.float32))
    assert y.shape == (batch, 160, 192) and y.dtype == np.uint8
    assert uv.shape == (batch, 2, 80, 96) and uv.dtype == np.uint8


def test_a_row_does_not_depend_on_its_batch(mouth: Mouth, visemes: dict[str, NDArray[np.float32]]) -> None:
    w = np.concatenate([visemes[name] for name in ("aa", "PP", "O", "SS")])
    pose = np.array([[0, 0, 0], [1, -1, 0.3], [-1, 1, -0.3], [0.5, 0.5, 0]], np.float32)
    y, uv = mouth.draw(w, pose)
    for i in range(4):
        y1, uv1 = mouth.draw(w[i : i + 1], pose[i : i + 1])
        assert np.abs(y1[0].astype(int) - y[i]).max() <= 1
        assert np.abs(uv1[0].astype(int) - uv[i]).max() <= 1


def test_at_rest_it_is_the_idle_mouth(mouth: Mouth, avatar: Avatar) -> None:
    for index in range(0, avatar.count, 12):
        y, _ = mouth.draw(np.zeros((1, 16), np.float32), avatar.pose(index)[None])
        luma = avatar.frame(index)[: avatar.height]
        idle = cv2.warpAffine(luma, avatar.affine(index), (192, 160), flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP)
        error = np.abs(y[0].astype(int) - idle)[avatar.mask > 0.5]
        assert error.mean() < 1.5


def test_visemes_open_close_and_round(mouth: Mouth, visemes: dict[str, NDArray[np.float32]]) -> None:
    drawn = {name: mouth.draw(w, np.zeros((1, 3), np.float32))[0][0] for name, w in visemes.items()}
    assert dark(drawn["aa"]) > 150
    assert dark(drawn["PP"]) < 40 and dark(drawn["sil"]) < 40
    for name in ("E", "O", "kk"):
        assert dark(drawn[name]) > 3 * max(dark(drawn["PP"]), 10)
    widths = {name: np.ptp(np.nonzero((drawn[name][BOX] < 70).any(0))[0]) for name in ("aa", "O", "U")}
    assert widths["U"] < widths["aa"] and widths["O"] < widths["aa"]


def test_opening_is_gradual(mouth: Mouth, visemes: dict[str, NDArray[np.float32]]) -> None:
    areas = [dark(mouth.draw(visemes["aa"] * k, np.zeros((1, 3), np.float32))[0][0]) for k in np.linspace(0, 1, 9)]
    assert all(b >= a - 15 for a, b in zip(areas, areas[1:], strict=False))
    assert areas[-1] > areas[0] + 100


@pytest.mark.parametrize("shape", [(0, 16), (5, 16), (1, 15), (16,)])
def test_weights_of_another_shape(mouth: Mouth, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"allowed \[1\.\.4,16\]"):
        mouth.draw(np.zeros(shape, np.float32), np.zeros((shape[0], 3), np.float32))


def test_files_that_are_no_mouth(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="cannot be loaded"):
        Mouth(tmp_path / "missing.onnx")
    (tmp_path / "junk.onnx").write_bytes(b"junk")
    with pytest.raises(EngineError, match="cannot be loaded"):
        Mouth(tmp_path / "junk.onnx")
