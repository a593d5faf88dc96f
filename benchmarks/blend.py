"""Putting a generated face into a 1080p picture, on one core: `python -m benchmarks.blend [PICTURES]`.

Beside it, in the same run, MuseTalk's own way with Pillow over the same pictures, faces and masks; the pixels that both
give must be equal. CPU time, so that other work on the machine counts little; a process of its own, bound to one core.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.figures import Figure
from benchmarks.scenario import Plan
from benchmarks.server import ROOT

WIDTH, HEIGHT, SIDE = 1920, 1080, 256
FRAMES = 8
WARM_UP = 16
BAR_MS = 1.0
Pictures = Sequence[NDArray[np.uint8]]


@dataclasses.dataclass(frozen=True)
class Clip:
    """As much of an avatar as blending needs."""

    frames: Pictures
    directory: Path
    width: int = WIDTH
    height: int = HEIGHT

    @property
    def count(self) -> int:
        return len(self.frames)

    def frame(self, index: int) -> NDArray[np.uint8]:
        return self.frames[self.stored(index)]

    def stored(self, index: int) -> int:
        return index % len(self.frames)

    def engine_file(self, engine: str, part: str) -> Path:
        return self.directory / {"places": "places.npz", "masks": "masks.zip"}[part]


def presenter(directory: Path) -> tuple[Clip, Pictures, float]:
    """The project's avatar scaled to 1080 lines: the clip, its pictures in RGB, CPU ms a frame to place the face."""
    from avatar import Avatar
    from engines.musetalk.place import PlacesWriter

    avatar = Avatar.load(ROOT / "data" / "avatars" / "mira")
    with np.load(avatar.directory / "track.npz") as track:
        landmarks = track["landmarks"]
    scale = HEIGHT / avatar.height
    left = (WIDTH - round(avatar.width * scale)) // 2
    frames, pictures = [], []
    writer = PlacesWriter(directory)
    spent = 0.0
    for index in range(FRAMES):
        rgb = cv2.cvtColor(avatar.frame(index * 8), cv2.COLOR_YUV2RGB_I420)
        large = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
        large[:, left : WIDTH - left] = cv2.resize(rgb, (WIDTH - 2 * left, HEIGHT))
        frames.append(np.asarray(cv2.cvtColor(large, cv2.COLOR_RGB2YUV_I420), np.uint8))
        pictures.append(np.asarray(cv2.cvtColor(frames[-1], cv2.COLOR_YUV2RGB_I420), np.uint8))
        began = time.thread_time()
        writer.add(landmarks[index * 8] * scale + (left, 0), pictures[-1])
        spent += time.thread_time() - began
    writer.finish()
    return Clip(frames, directory), pictures, spent / FRAMES * 1000


def pillows(frame: NDArray[np.uint8], face: NDArray[np.uint8], place: Any, mask: NDArray[np.uint8]) -> Any:
    """MuseTalk's `get_image_blending`."""
    from PIL import Image

    box, crop = place.box, place.crop
    scaled = cv2.resize(face, (box[2] - box[0], box[3] - box[1]))
    body = Image.fromarray(frame)
    large = body.crop(crop)
    inner = (box[0] - crop[0], box[1] - crop[1], box[2] - crop[0], box[3] - crop[1])
    large.paste(Image.fromarray(np.asarray(scaled, np.uint8)), inner)
    body.paste(large, crop[:2], Image.fromarray(mask).convert("L"))
    return np.array(body)


def cpu_ms(work: Callable[[int], Any], pictures: int) -> list[float]:
    """CPU milliseconds of this thread for each of so many calls."""
    times = []
    for number in range(WARM_UP + pictures):
        began = time.thread_time()
        work(number)
        times.append((time.thread_time() - began) * 1000)
    return times[WARM_UP:]


def measure(pictures: int) -> dict[str, list[float]]:
    """CPU milliseconds a picture, by stage and in all; and Pillow's."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as directory:
        return _measure(Path(directory), pictures)


def _measure(directory: Path, pictures: int) -> dict[str, list[float]]:
    import zipfile

    from avatar import Avatar
    from engines.musetalk import blend
    from engines.musetalk.place import Places

    clip, rgb, place_ms = presenter(directory)
    avatar = cast(Avatar, clip)
    places = Places.load(avatar)
    with zipfile.ZipFile(directory / "masks.zip") as archive:
        read = [np.frombuffer(archive.read(name), np.uint8) for name in archive.namelist()]
    masks = [np.asarray(cv2.imdecode(data, cv2.IMREAD_GRAYSCALE), np.uint8) for data in read]
    face = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    blender = blend.Blender(avatar, places)
    out = np.empty_like(clip.frame(0))
    under, over, alpha, regions = [], [], [], [places[k].region for k in range(FRAMES)]
    for k in range(FRAMES):
        place = places[k]
        (x1, y1, x2, y2), (left, top) = place.region, place.box[:2]
        inner = slice(max(y1 - top, 0), y2 - top), slice(max(x1 - left, 0), x2 - left)
        part = blend.scale_face(face, place.box)[inner]
        rows, columns = slice(max(top - y1, 0), None), slice(max(left - x1, 0), None)
        cut = np.asarray(cv2.cvtColor(blend.cut(clip.frame(k), place.region), cv2.COLOR_YUV2RGB_I420), np.uint8)
        size = slice(0, part.shape[0]), slice(0, part.shape[1])
        under.append(cut[rows, columns][size])
        over.append(part)
        alpha.append(place.mask[rows, columns][size])
        wanted = pillows(rgb[k], face, place, masks[k])[y1:y2, x1:x2][rows, columns][size]
        if not np.array_equal(blend.composite(under[k], over[k], alpha[k]), wanted):
            raise ValueError(f"picture {k} differs from Pillow's")
    whole = [cv2.cvtColor(blend.cut(clip.frame(k), regions[k]), cv2.COLOR_YUV2RGB_I420) for k in range(FRAMES)]
    colours = [np.asarray(picture, np.uint8) for picture in whole]
    stages: dict[str, Callable[[int], Any]] = {
        "copy of the idle picture": lambda n: np.copyto(out, clip.frame(n)),
        "its rectangle to RGB": lambda n: cv2.cvtColor(
            blend.cut(clip.frame(n), regions[n % FRAMES]), cv2.COLOR_YUV2RGB_I420
        ),
        "face scaled to its box": lambda n: blend.scale_face(face, places[n % FRAMES].box),
        "blend": lambda n: blend.composite(under[n % FRAMES], over[n % FRAMES], alpha[n % FRAMES]),
        "back to I420": lambda n: blend.put(out, colours[n % FRAMES], places[n % FRAMES].mask, regions[n % FRAMES]),
        "all of it": lambda n: blender.blend(n, face, 1.0, out),
        "all of it, fading": lambda n: blender.blend(n, face, 0.5, out),
        "Pillow's way": lambda n: pillows(rgb[n % FRAMES], face, places[n % FRAMES], masks[n % FRAMES]),
    }
    return {name: cpu_ms(work, pictures) for name, work in stages.items()} | {"placing a face": [place_ms]}


async def blend(plan: Plan) -> list[Figure]:
    """A face into a 1080p picture, and each of its stages."""
    pictures = 50 if plan.quick else 400
    command = (sys.executable, "-m", "benchmarks.blend", str(pictures))
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=pipe, stderr=pipe)
    out, said = await process.communicate()
    if process.returncode != 0:
        raise RuntimeError(f"blending failed: {said.decode(errors='replace')[-1000:]}")
    bars = {"blend": BAR_MS, "all of it": BAR_MS}
    return [
        Figure("blend", f"1080p, one core, {name}, CPU time a picture", "ms", values, bars.get(name), "p50")
        for name, values in json.loads(out).items()
    ]


if __name__ == "__main__":
    result = measure(int(sys.argv[1]) if len(sys.argv) > 1 else 400)
    for name, values in result.items():
        print(f"{name:28} median {np.median(values):6.3f} ms  best {min(values):6.3f} ms", file=sys.stderr)
    print(json.dumps(result))
