"""The blend of `blend.py` on a device, for faces that are already there: a batch in, only what changed comes back.

Every step is the integer arithmetic that OpenCV does on the CPU, so both give the same bytes.
"""

from __future__ import annotations

import collections
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from avatar import Avatar
from engines.musetalk.blend import FIXED, chroma_weights, cut, opacity_level, planes
from engines.musetalk.place import Placement, Places
from media import I420

BUDGET_MIB = 1024
"""Of device memory for one avatar's idle rectangles and masks; what does not fit is brought again when it is needed."""
SHIFT = 20
"""Bits after the point in the weights of OpenCV's colour conversion (`color_yuv.simd.hpp`)."""
TO_RGB = {"y": 1_220_542, "vr": 1_673_527, "vg": -852_492, "ug": -409_993, "ub": 2_116_026}
TO_LUMA = (269_484, 528_482, 102_760)
LUMA_BLACK = 16
RESIZE_BITS = 11
"""Bits after the point in the weights of OpenCV's bilinear scaling (`resize.cpp`)."""


class GpuBlender:
    """Blends batches of faces into one avatar's idle pictures; called from one thread at a time.

    All frames share one canvas as large as the largest rectangle of all masks, so a batch is one set of kernels.
    """

    def __init__(self, avatar: Avatar, places: Places, side: int, device: str, budget_mib: int = BUDGET_MIB) -> None:
        """Reserve device memory.

        Args:
            avatar: whose idle pictures.
            places: of all its stored frames.
            side: of the model's pictures, pixels.
            device: torch's name of it.
            budget_mib: MiB of device memory at most, but room for one batch of 1 is always taken.
        """
        self._avatar, self._places, self._side = avatar, places, side
        self._height, self._width = (max(2, side) for side in places.largest)
        pixels = self._height * self._width
        self._bytes, self._numbers = pixels * 5 // 2, 3 * (self._height + self._width)
        room = (budget_mib << 20) // (self._bytes + 4 * self._numbers)
        self._slots = max(1, min(len(places), room))
        self._pictures = torch.empty((self._slots, self._bytes), dtype=torch.uint8, device=device)
        self._tables = torch.empty((self._slots, self._numbers), dtype=torch.int32, device=device)
        self._used: collections.OrderedDict[int, int] = collections.OrderedDict()
        self._device = device

    def blend(self, indices: Sequence[int], faces: Any, opacities: Sequence[float]) -> list[I420]:
        """The idle pictures at `indices` with the faces over them, as `Blender.blend` gives them; new arrays.

        Args:
            indices: positions in the endless motion.
            faces: Tensor uint8 [B,side,side,3] RGB on the device.
            opacities: 0..1 each.
        """
        pictures = []
        for start in range(0, len(indices), self._slots):
            part = slice(start, start + self._slots)
            levels = [opacity_level(opacity) for opacity in opacities[part]]
            changed = self._draw(indices[part], faces[part], levels).cpu().numpy()
            for index, rectangle in zip(indices[part], changed, strict=True):
                pictures.append(self._finish(index, rectangle))
        return pictures

    def _finish(self, index: int, rectangle: NDArray[np.uint8]) -> I420:
        """The idle picture with its rectangle replaced, whose hidden pixels are the idle picture's anyway."""
        picture = self._avatar.frame(index).copy()
        x1, y1, x2, y2 = self._places[self._avatar.stored(index)].region
        for into, plane, scale in zip(planes(picture), planes(rectangle), (1, 2, 2), strict=True):
            height, width = (y2 - y1) // scale, (x2 - x1) // scale
            into[y1 // scale : y2 // scale, x1 // scale : x2 // scale] = plane[:height, :width]
        return picture

    def _draw(self, indices: Sequence[int], faces: Any, levels: list[int]) -> Any:
        """uint8 [B, height*3/2, width]: the canvases as I420."""
        slots = self._bring(indices)
        count, height, width = len(indices), self._height, self._width
        luma, chroma, mask = self._pictures[slots].split([height * width, height * width // 2, height * width], 1)
        luma, mask = luma.view(count, height, width), mask.view(count, height, width)
        chroma = chroma.view(count, 2, height // 2, width // 2)
        alpha = _over_255(mask.int() * torch.tensor(levels, dtype=torch.int32, device=self._device).view(-1, 1, 1))
        under = to_rgb(luma, chroma)
        over = _scale(faces, self._tables[slots], height, width)
        weight = alpha[:, None]
        rgb = _over_255(under * (255 - weight) + over * weight)
        shown = alpha > 0
        blocks = _blocks(shown).any(-1)[:, None]
        new_luma, new_chroma = to_i420(rgb)
        luma = torch.where(shown, new_luma, luma)
        chroma = torch.where(blocks, new_chroma, chroma)
        flat = torch.cat([luma.reshape(count, -1), chroma.reshape(count, -1)], 1)
        return flat.view(count, height * 3 // 2, width)

    def _bring(self, indices: Sequence[int]) -> Any:
        """Where on the device these frames lie; those that are not there replace the ones used longest ago."""
        wanted = {self._avatar.stored(index): index for index in indices}
        for frame in wanted:
            if frame in self._used:
                self._used.move_to_end(frame)
        for frame, index in wanted.items():
            if frame not in self._used:
                full = len(self._used) == self._slots
                slot = self._used.popitem(last=False)[1] if full else len(self._used)
                picture, table = self._packed(index)
                self._pictures[slot] = torch.from_numpy(picture).to(self._device)
                self._tables[slot] = torch.from_numpy(table).to(self._device)
                self._used[frame] = slot
        return torch.tensor([self._used[self._avatar.stored(index)] for index in indices], device=self._device)

    def _packed(self, index: int) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
        """One frame on its canvas: Y, U, V and mask; and how the face is scaled onto it."""
        place = self._places[self._avatar.stored(index)]
        height, width = self._height, self._width
        canvas = np.zeros((height * 3 // 2, width), np.uint8)
        mask = np.zeros((height, width), np.uint8)
        if place.mask.size:
            part = cut(self._avatar.frame(index), place.region)
            for into, plane in zip(planes(canvas), planes(part), strict=True):
                into[: plane.shape[0], : plane.shape[1]] = plane
            mask[: place.mask.shape[0], : place.mask.shape[1]] = place.mask
        return np.concatenate([canvas.reshape(-1), mask.reshape(-1)]), _table(place, self._side, height, width)


def _table(place: Placement, side: int, height: int, width: int) -> NDArray[np.int32]:
    """Per row, then per column of the canvas: the first source pixel, the second, and the second's weight."""
    parts = []
    for axis, length in ((1, height), (0, width)):
        start, size = place.box[axis], place.box[axis + 2] - place.box[axis]
        at = np.arange(length) + place.region[axis] - start
        source = ((np.clip(at, 0, size - 1) + 0.5) * (side / size) - 0.5).astype(np.float32)
        first = np.floor(source)
        weight = np.rint((source - first) * np.float32(1 << RESIZE_BITS))
        if axis == 0:  # Beyond the edge OpenCV repeats rows, which rounds twice, but takes columns whole.
            weight[(first < 0) | (first >= side - 1)] = 0
        parts += [np.clip(first, 0, side - 1), np.clip(first + 1, 0, side - 1), weight]
    return np.concatenate(parts).astype(np.int32)


def _scale(faces: Any, table: Any, height: int, width: int) -> Any:
    """OpenCV's bilinear scaling: uint8 [B,side,side,3] -> int32 [B,3,height,width]."""
    y0, y1, down, x0, x1, right = table.split([height] * 3 + [width] * 3, 1)
    batch = torch.arange(len(faces), device=faces.device).view(-1, 1, 1)
    whole = 1 << RESIZE_BITS
    rows = []
    for y in (y0, y1):
        left, far = (faces[batch, y[:, :, None], x[:, None, :]].int() for x in (x0, x1))
        weight = right[:, None, :, None]
        rows.append((left * (whole - weight) + far * weight) >> 4)
    down = down[:, :, None, None]
    scaled = ((((whole - down) * rows[0]) >> 16) + ((down * rows[1]) >> 16) + 2) >> 2
    return scaled.permute(0, 3, 1, 2)


def to_rgb(luma: Any, chroma: Any) -> Any:
    """BT.601 limited range: uint8 [B,h,w] and [B,2,h/2,w/2] -> int32 [B,3,h,w] 0..255, as OpenCV's YUV2RGB_I420."""
    y = (luma.int() - LUMA_BLACK).clamp(0) * TO_RGB["y"]
    u, v = (_doubled(chroma[:, k].int() - 128) for k in (0, 1))
    half = 1 << (SHIFT - 1)
    red = y + half + v * TO_RGB["vr"]
    green = y + half + v * TO_RGB["vg"] + u * TO_RGB["ug"]
    blue = y + half + u * TO_RGB["ub"]
    return (torch.stack([red, green, blue], 1) >> SHIFT).clamp(0, 255)


def to_i420(rgb: Any) -> tuple[Any, Any]:
    """int32 [B,3,h,w] -> uint8 luma [B,h,w] and chroma [B,2,h/2,w/2], as `blend.split`."""
    luma = sum(rgb[:, k] * TO_LUMA[k] for k in range(3)) + (1 << (SHIFT - 1)) + (LUMA_BLACK << SHIFT)
    mean = (_blocks(rgb).sum(-1, dtype=torch.int32) + 2) >> 2
    rows = (chroma_weights() * np.float32(FIXED)).astype(np.int64).tolist()
    bits = FIXED.bit_length() - 1
    chroma = []
    for row in rows:
        total = sum(mean[:, k] * row[k] for k in range(3)) + row[3]
        # Halves go to the even neighbour, as OpenCV rounds them.
        chroma.append((total + (FIXED >> 1) - 1 + ((total >> bits) & 1)) >> bits)
    return (luma >> SHIFT).to(torch.uint8), torch.stack(chroma, 1).to(torch.uint8)


def _doubled(plane: Any) -> Any:
    return plane.repeat_interleave(2, -1).repeat_interleave(2, -2)


def _blocks(plane: Any) -> Any:
    """[...,h,w] -> [...,h/2,w/2,4]: the four pixels that share a chroma sample."""
    return torch.stack([plane[..., y::2, x::2] for y in (0, 1) for x in (0, 1)], -1)


def _over_255(total: Any) -> Any:
    """round(total / 255), as in `blend.composite`."""
    total = total + 128
    return ((total >> 8) + total) >> 8
