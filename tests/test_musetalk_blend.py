"""The blend against Pillow, bit for bit, and what it leaves alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, cast

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from avatar import Avatar
from engines.musetalk.blend import Blender, chroma_weights, composite, cut, fade, planes, split
from engines.musetalk.box import Blending, Box, crop_box
from engines.musetalk.masks import finish_mask
from engines.musetalk.place import Placement, Places, place

WIDTH, HEIGHT = 160, 120
SIDE = 64
INSIDE: Box = (50, 30, 101, 91)
LEAVING: list[Box] = [(3, 30, 64, 91), (95, 61, 158, 120), (0, 0, 61, 57), (99, 20, 160, 77), (40, 70, 90, 120)]
"""Face boxes whose crop boxes leave the picture on the left, right and bottom, top left, right, bottom."""


@dataclasses.dataclass(frozen=True)
class Still:
    """As much of an avatar as blending needs."""

    frames: Sequence[NDArray[np.uint8]]
    width: int = WIDTH
    height: int = HEIGHT

    @property
    def count(self) -> int:
        return len(self.frames)

    def frame(self, index: int) -> NDArray[np.uint8]:
        return self.frames[self.stored(index)]

    def stored(self, index: int) -> int:
        return index % len(self.frames)


def noise(*shape: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def idle(seed: int = 0) -> NDArray[np.uint8]:
    """A picture whose colours are all inside RGB."""
    smooth = cv2.GaussianBlur(noise(HEIGHT, WIDTH, 3, seed=seed), (0, 0), 3)
    stretched = np.clip((smooth.astype(np.float32) - 128) * 4 + 128, 0, 255).astype(np.uint8)
    return np.asarray(cv2.cvtColor(stretched, cv2.COLOR_RGB2YUV_I420), np.uint8)


def mask_for(box: Box, blending: Blending) -> tuple[Box, NDArray[np.uint8]]:
    crop = crop_box(box, blending.expand)
    oval = cv2.ellipse(np.zeros((512, 512), np.uint8), (256, 256), (150, 180), 0, 0, 360, 255, -1)
    return crop, finish_mask(np.asarray(oval, np.uint8), box, crop, blending)


def made(box: Box, blending: Blending | None = None) -> tuple[Blender, Still, Placement, NDArray[np.uint8]]:
    """A blender for one frame, and the whole mask of its crop box."""
    blending = blending or Blending()
    crop, mask = mask_for(box, blending)
    still = Still([idle()])
    placement = place(box, crop, mask, WIDTH, HEIGHT)
    return Blender(cast(Avatar, still), Places.of([placement], blending)), still, placement, mask


def upstream(frame: NDArray[np.uint8], face: NDArray[np.uint8], box: Box, mask: NDArray[np.uint8], crop: Box) -> Any:
    """MuseTalk's way with Pillow: scale, paste into the crop, lay the crop over the picture through the mask."""
    body = Image.fromarray(frame)
    scaled = Image.fromarray(np.asarray(cv2.resize(face, (box[2] - box[0], box[3] - box[1])), np.uint8))
    large = body.crop(crop)
    large.paste(scaled, (box[0] - crop[0], box[1] - crop[1], box[2] - crop[0], box[3] - crop[1]))
    body.paste(large, crop[:2], Image.fromarray(mask))
    return np.asarray(body)


def to_rgb(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_YUV2RGB_I420), np.uint8)


def test_every_pair_of_values_through_every_alpha_is_pillows() -> None:
    values = np.arange(256, dtype=np.uint8)
    under = np.repeat(values[:, None, None], 256, 1).repeat(3, 2)
    over = np.repeat(values[None, :, None], 256, 0).repeat(3, 2)
    for alpha in range(256):
        whole = np.full((256, 256), alpha, np.uint8)
        reference = Image.fromarray(under)
        reference.paste(Image.fromarray(over), (0, 0), Image.fromarray(whole))
        assert np.array_equal(composite(under, over, whole), np.asarray(reference)), alpha


@pytest.mark.parametrize("box", [INSIDE, *LEAVING])
@pytest.mark.parametrize("blending", [Blending(), Blending(blur=0.05), Blending(expand=1.2), Blending(expand=2.5)])
def test_equal_to_pillow_wherever_the_mask_shows(box: Box, blending: Blending) -> None:
    blender, still, placement, mask = made(box, blending)
    face = noise(SIDE, SIDE, 3, seed=1)
    frame = still.frame(0)
    wanted = upstream(to_rgb(frame), face, box, mask, placement.crop)
    x1, y1, x2, y2 = placement.region
    outside = np.ones((HEIGHT, WIDTH), bool)
    outside[y1:y2, x1:x2] = False
    assert np.array_equal(wanted[outside], to_rgb(frame)[outside]), "the rectangle holds all that changes"

    picture = blender.blend(0, face, 1.0)
    found, reference = planes(cut(picture, placement.region)), split(np.ascontiguousarray(wanted[y1:y2, x1:x2]))
    shown = placement.mask > 0
    blocks = shown.reshape(shown.shape[0] // 2, 2, -1, 2).any((1, 3))
    assert shown.any() and not shown.all()
    for plane, other, where in zip(found, reference, (shown, blocks, blocks), strict=True):
        assert np.array_equal(plane[where], other[where])


@pytest.mark.parametrize("box", [INSIDE, *LEAVING])
@pytest.mark.parametrize("opacity", [0.3, 1.0])
def test_bytes_outside_the_mask_stay(box: Box, opacity: float) -> None:
    blender, still, placement, _ = made(box)
    picture = blender.blend(0, noise(SIDE, SIDE, 3, seed=2), opacity)
    shown = np.zeros((HEIGHT, WIDTH), bool)
    x1, y1, x2, y2 = placement.region
    shown[y1:y2, x1:x2] = placement.mask > 0
    blocks = shown.reshape(HEIGHT // 2, 2, WIDTH // 2, 2).any((1, 3))
    for plane, before, where in zip(planes(picture), planes(still.frame(0)), (shown, blocks, blocks), strict=True):
        assert np.array_equal(plane[~where], before[~where])
        assert (plane[where] != before[where]).mean() > 0.3


def test_opacity() -> None:
    blender, still, placement, _ = made(INSIDE)
    face = noise(SIDE, SIDE, 3, seed=3)
    for nothing in (0.0, -1.0, 0.001):
        assert np.array_equal(blender.blend(0, face, nothing), still.frame(0))
    assert np.array_equal(blender.blend(0, face, 7.0), blender.blend(0, face, 1.0))
    whole, half = (blender.blend(0, face, o).astype(int) - still.frame(0) for o in (1.0, 0.5))
    assert np.abs(whole / 2 - half).max() <= 4
    assert np.array_equal(fade(placement.mask, 1.0), placement.mask)
    assert np.array_equal(fade(np.arange(256, dtype=np.uint8), 0.5), np.rint(np.arange(256) * 128 / 255))


def test_a_new_picture_or_the_one_that_is_given() -> None:
    blender, still, _, _ = made(INSIDE)
    face = noise(SIDE, SIDE, 3, seed=4)
    before = still.frame(0).copy()
    picture = blender.blend(0, face, 1.0)
    assert np.array_equal(still.frame(0), before) and not np.shares_memory(picture, still.frame(0))
    given_ = np.zeros_like(before)
    assert blender.blend(0, face, 1.0, given_) is given_
    assert np.array_equal(given_, picture)
    assert np.array_equal(blender.blend(0, face, 0.0, given_), before)


def test_a_mask_that_shows_nothing() -> None:
    crop = crop_box(INSIDE, 1.5)
    empty = place(INSIDE, crop, np.zeros((crop[3] - crop[1], crop[2] - crop[0]), np.uint8), WIDTH, HEIGHT)
    assert empty.mask.size == 0
    still = Still([idle()])
    blender = Blender(cast(Avatar, still), Places.of([empty], Blending()))
    assert np.array_equal(blender.blend(0, noise(SIDE, SIDE, 3), 1.0), still.frame(0))


def test_each_stored_frame_has_its_own_place() -> None:
    blending = Blending()
    boxes = [INSIDE, LEAVING[0]]
    placements = [place(box, *mask_for(box, blending), WIDTH, HEIGHT) for box in boxes]
    still = Still([idle(5), idle(6)])
    blender = Blender(cast(Avatar, still), Places.of(placements, blending))
    for index in range(4):
        changed = np.nonzero(blender.blend(index, noise(SIDE, SIDE, 3), 1.0)[:HEIGHT] != still.frame(index)[:HEIGHT])
        x1, y1, x2, y2 = placements[index % 2].region
        assert x1 <= changed[1].min() and changed[1].max() < x2
        assert y1 <= changed[0].min() and changed[0].max() < y2


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1), st.integers(0, 150), st.integers(0, 110), st.integers(8, 90), st.integers(8, 90))
def test_any_box_and_mask(seed: int, x: int, y: int, width: int, height: int) -> None:
    """Whatever lies in an avatar made elsewhere: crops and boxes may leave the picture, the mask may be anything."""
    rng = np.random.default_rng(seed)
    box = (x, y, x + width, y + height)
    crop = crop_box(box, 1.5)
    mask = rng.integers(0, 256, (crop[3] - crop[1], crop[2] - crop[0]), dtype=np.uint8)
    placement = place(box, crop, mask, WIDTH, HEIGHT)
    still = Still([idle()])
    face = rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    picture = Blender(cast(Avatar, still), Places.of([placement], Blending())).blend(0, face, 1.0)
    wanted = upstream(to_rgb(still.frame(0)), face, box, mask, crop)
    x1, y1, x2, y2 = placement.region
    luma = split(np.ascontiguousarray(wanted[y1:y2, x1:x2]))[0] if x2 > x1 else np.zeros((0, 0), np.uint8)
    shown = placement.mask > 0
    assert np.array_equal(picture[y1:y2, x1:x2][shown], luma[shown])


def test_chroma_is_that_of_the_mean_colour() -> None:
    rgb = noise(64, 64, 3, seed=9)
    _, u, v = split(rgb)
    mean = (rgb.reshape(32, 2, 32, 2, 3).sum((1, 3), dtype=np.int64) + 2) // 4
    weights = chroma_weights().astype(np.float64)
    for row, plane in zip(weights, (u, v), strict=True):
        assert np.array_equal(plane, np.rint(mean @ row[:3] + row[3]))
    reference = 128 + 224 / 255 * np.array([-0.168736, -0.331264, 0.5])
    assert np.abs(weights[0, :3] - (reference - 128)).max() < 2e-5


def test_a_face_of_the_picture_itself_is_invisible() -> None:
    """Cut, scaled to the box's own size and put back: no more than rounding changes."""
    blender, still, placement, _ = made(INSIDE)
    x1, y1, x2, y2 = placement.box
    face = np.ascontiguousarray(to_rgb(still.frame(0))[y1:y2, x1:x2])
    difference = np.abs(blender.blend(0, face, 1.0).astype(int) - still.frame(0))
    assert difference.max() <= 3
