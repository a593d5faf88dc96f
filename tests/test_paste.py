"""Pasting in 4:2:0 against the same paste in RGB."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from avatar import Avatar
from engines.lite.paste import Paster, half_scale
from training.mouth import colour

MIRA = Path(__file__).parent.parent / "data" / "avatars" / "mira"
MEAN_TOLERANCE = 0.5
WORST_TOLERANCE = 4.0


@pytest.fixture(scope="module")
def avatar() -> Avatar:
    return Avatar.load(MIRA)


@pytest.fixture(scope="module")
def paster(avatar: Avatar) -> Paster:
    return Paster(avatar)


def smooth_patch() -> NDArray[np.uint8]:
    """A colourful picture without detail finer than chroma can hold."""
    y, x = np.mgrid[:160, :192]
    rgb = np.stack([110 + 60 * np.sin(x / 17), 120 + 50 * np.cos(y / 13), 130 + 40 * np.sin((x + y) / 19)], -1)
    return np.asarray(np.rint(rgb), np.uint8)


def to_rgb(picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    width = picture.shape[1]
    height = picture.shape[0] * 2 // 3
    return colour.join(picture[:height], picture[height:].reshape(2, height // 2, width // 2))


def patch_planes(rgb: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    y, uv = colour.split(rgb)
    return np.rint(y).astype(np.uint8), np.rint(uv).astype(np.uint8)


def reference(avatar: Avatar, index: int, patch: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The paste as the avatar was made for it: in RGB, in floating point."""
    affine, size = avatar.affine(index), (avatar.width, avatar.height)
    over = cv2.warpAffine(patch, affine, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    mask = cv2.warpAffine(avatar.mask, affine, size, flags=cv2.INTER_LINEAR)[..., None]
    blended: NDArray[np.float32] = np.asarray(mask * over + (1 - mask) * to_rgb(avatar.frame(index)), np.float32)
    return blended


@pytest.mark.parametrize("index", [0, 12, 37, 87, 113, 200])
def test_agrees_with_the_paste_in_rgb(avatar: Avatar, paster: Paster, index: int) -> None:
    patch = smooth_patch()
    error = np.abs(to_rgb(paster.paste(index, *patch_planes(patch), 1.0)) - reference(avatar, index, patch))
    mask = cv2.warpAffine(avatar.mask, avatar.affine(index), (avatar.width, avatar.height))
    assert error[mask > 0].mean() < MEAN_TOLERANCE * 2
    assert error[mask > 0.99].max() < WORST_TOLERANCE
    assert error[mask == 0].mean() < 0.05


def test_blend_of_nothing_is_the_idle_picture(avatar: Avatar, paster: Paster) -> None:
    picture = paster.paste(5, *patch_planes(smooth_patch()), 0.0)
    assert np.array_equal(picture, avatar.frame(5))
    assert picture.flags.writeable and not np.shares_memory(picture, avatar.frame(5))


def test_nothing_outside_the_mask_changes(avatar: Avatar, paster: Paster) -> None:
    changed = paster.paste(40, *patch_planes(smooth_patch()), 1.0) != avatar.frame(40)
    rows, columns = np.nonzero(changed[: avatar.height])
    assert rows.min() > 225 and rows.max() < 400
    assert columns.min() > 150 and columns.max() < 365


@settings(max_examples=25, deadline=None)
@given(st.floats(0, 1), st.integers(0, 247))
def test_blend_is_between_its_ends(blend: float, index: int) -> None:
    avatar, paster = SHARED
    planes = patch_planes(smooth_patch())
    idle, full = avatar.frame(index).astype(int), paster.paste(index, *planes, 1.0).astype(int)
    picture = paster.paste(index, *planes, blend).astype(int)
    assert (np.minimum(idle, full) - 1 <= picture).all() and (picture <= np.maximum(idle, full) + 1).all()
    assert np.abs(picture - (idle + (full - idle) * blend)).max() <= 4


_AVATAR = Avatar.load(MIRA)
SHARED = (_AVATAR, Paster(_AVATAR))


def test_half_scale_moves_chroma_with_luma() -> None:
    affine = np.array([[0.98, -0.02, 161.3], [0.03, 1.01, 230.7]])
    half = half_scale(affine)
    chroma = np.array([13.0, 40.0])
    luma = affine[:, :2] @ (2 * chroma + 0.5) + affine[:, 2]
    assert np.allclose(half[:, :2] @ chroma + half[:, 2], (luma - 0.5) / 2)


def test_extremes_of_difference_do_not_wrap(avatar: Avatar, paster: Paster) -> None:
    for value in (0, 255):
        planes = np.full((160, 192), value, np.uint8), np.full((2, 80, 96), value, np.uint8)
        luma = paster.paste(0, *planes, 1.0)[: avatar.height]
        assert (luma[300:320, 220:290] == value).all()
