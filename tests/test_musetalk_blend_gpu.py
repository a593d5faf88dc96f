"""The blend on a device gives the bytes of the blend on the CPU."""

from __future__ import annotations

from typing import cast

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

torch = pytest.importorskip("torch")

from avatar import Avatar  # noqa: E402
from engines.musetalk.blend import Blender, split  # noqa: E402
from engines.musetalk.blend_gpu import GpuBlender, _scale, _table, to_i420, to_rgb  # noqa: E402
from engines.musetalk.box import Blending, Box  # noqa: E402
from engines.musetalk.place import Placement, Places, place  # noqa: E402
from tests.test_musetalk_blend import HEIGHT, INSIDE, LEAVING, SIDE, WIDTH, Still, idle, mask_for, noise  # noqa: E402

BOXES = [INSIDE, *LEAVING]


@pytest.fixture
def scene() -> tuple[Avatar, Places]:
    """One stored frame for every box, then one that shows nothing."""
    placements = [place(box, *mask_for(box, Blending()), WIDTH, HEIGHT) for box in BOXES]
    placements.append(Placement(INSIDE, INSIDE, (0, 0, 0, 0), np.zeros((0, 0), np.uint8)))
    still = Still([idle(seed) for seed in range(len(placements))])
    return cast(Avatar, still), Places.of(placements, Blending())


@pytest.mark.parametrize("budget_mib", [0, 1024])
@pytest.mark.parametrize("opacity", [0.0, 0.2, 1.0])
def test_the_bytes_of_the_blend_on_the_cpu(scene: tuple[Avatar, Places], budget_mib: int, opacity: float) -> None:
    avatar, places = scene
    device = GpuBlender(avatar, places, SIDE, "cpu", budget_mib)
    indices = [*range(len(places)), 0, 0]
    faces = noise(len(indices), SIDE, SIDE, 3, seed=5)
    opacities = [opacity if k % 2 else 1.0 for k in range(len(indices))]
    for _ in range(2):
        pictures = device.blend(indices, torch.from_numpy(faces), opacities)
        for k, index in enumerate(indices):
            assert np.array_equal(pictures[k], Blender(avatar, places).blend(index, faces[k], opacities[k])), k


def test_memory_stays_within_its_budget() -> None:
    count, budget_mib = 200, 1
    crop, mask = mask_for(INSIDE, Blending())
    places = Places.of([place(INSIDE, crop, mask, WIDTH, HEIGHT)] * count, Blending())
    avatar = cast(Avatar, Still([idle(k % 5) for k in range(count)]))
    device = GpuBlender(avatar, places, SIDE, "cpu", budget_mib)
    held = device._pictures.nbytes + device._tables.nbytes
    assert 0.9 * (budget_mib << 20) < held <= budget_mib << 20
    face = noise(1, SIDE, SIDE, 3)
    for index in range(0, count, 3):
        wanted = Blender(avatar, places).blend(index, face[0], 1.0)
        assert np.array_equal(device.blend([index], torch.from_numpy(face), [1.0])[0], wanted)


@pytest.mark.parametrize("side", [64, 256])
def test_scaling_is_opencvs(side: int) -> None:
    face = noise(side, side, 3, seed=6)
    for width, height in [(64, 64), (32, 32), (33, 70), (128, 128), (211, 259), (420, 520), (9, 8), (256, 256)]:
        box: Box = (0, 0, width, height)
        table = torch.from_numpy(_table(Placement(box, box, box, np.zeros((0, 0), np.uint8)), side, height, width))
        found = _scale(torch.from_numpy(face)[None], table[None], height, width)[0].permute(1, 2, 0).numpy()
        assert np.array_equal(found, cv2.resize(face, (width, height))), (width, height)


def test_colours_are_opencvs() -> None:
    i420 = noise(256 * 3 // 2, 256, seed=7)
    luma, chroma = torch.from_numpy(i420[:256]), torch.from_numpy(i420[256:].reshape(2, 128, 128))
    rgb = to_rgb(luma[None], chroma[None])
    wanted: NDArray[np.uint8] = np.asarray(cv2.cvtColor(i420, cv2.COLOR_YUV2RGB_I420), np.uint8)
    assert np.array_equal(rgb[0].permute(1, 2, 0).numpy(), wanted)
    every = noise(256, 256, 3, seed=8)
    found = to_i420(torch.from_numpy(every).permute(2, 0, 1)[None].int())
    planes = [found[0][0], found[1][0, 0], found[1][0, 1]]
    for plane, other in zip(planes, split(every), strict=True):
        assert np.array_equal(plane.numpy(), other)
