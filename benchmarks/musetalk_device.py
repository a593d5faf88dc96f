"""The blend on the device, as `benchmarks.musetalk` measures it: generated faces into idle pictures of 1080p."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from engines.musetalk.blend_gpu import GpuBlender
from engines.musetalk.box import Blending
from engines.musetalk.place import Places, place
from reels import WholeReel

WIDTH, HEIGHT = 1920, 1080
BOX, CROP = (760, 300, 1160, 700), (560, 150, 1360, 950)
"""Of the face, pixels: 400 of 1080 lines."""
FRAMES = 8


class Idle:
    """As much of an avatar as blending needs: pictures of noise."""

    id = "noise"
    width, height, count = WIDTH, HEIGHT, FRAMES
    directory = Path()

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self.reel = WholeReel(rng.integers(16, 236, (HEIGHT * 3 // 2, WIDTH), np.uint8) for _ in range(FRAMES))

    def stored(self, index: int) -> int:
        return index % FRAMES

    def frame(self, index: int) -> Any:
        return self.reel.at(self.stored(index), 0)


def blending(device: torch.device, side: int, batch: int) -> Callable[[], Any]:
    """Blends a batch of faces that lie on the device; the rectangles of the idle pictures are there already."""
    mask = np.zeros((CROP[3] - CROP[1], CROP[2] - CROP[0]), np.uint8)
    mask[350:560, 220:580] = 255
    places = Places.of([place(BOX, CROP, mask, WIDTH, HEIGHT)] * FRAMES, Blending())
    blender = GpuBlender(cast(Any, Idle()), places, side, str(device))
    faces = torch.randint(0, 256, (batch, side, side, 3), dtype=torch.uint8, device=device)
    return lambda: blender.blend([k % FRAMES for k in range(batch)], faces, [1.0] * batch)
