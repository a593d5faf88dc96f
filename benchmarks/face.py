"""A tracked face without a network: `python -m benchmarks.face BATCHES` prints what a picture costs on one core.

The default avatar's own pictures serve as a clip of someone; enlarged, as one in 1080p. A process of its own, so that
it can be bound to one core and nothing else runs in its interpreter.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.figures import Figure
from benchmarks.scenario import Plan
from benchmarks.server import ROOT

if TYPE_CHECKING:
    from avatar import Avatar

BATCH = 4
WARM_UP = 5
FRAMES = 8
SIDES = {"small": 512, "1080p": 1080}
"""Sides of the pictures: the face fills a patch of about 220 x 190 and one of 512 x 450 pixels."""
BARS_MS = {"small": 4.0, "1080p": 8.0}
"""Drawing alone, CPU time a picture."""


def tracked(side: int, directory: Path) -> Avatar:
    """An avatar of the default one's pictures, `side` pixels high and wide, that is driven by its mesh."""
    import cv2

    from avatar import Avatar
    from avatarbuild.faces import FaceFinder
    from avatarbuild.lite import prepare_lite
    from avatarbuild.points import landmarks68
    from avatarbuild.track import Track
    from reels import WholeReel

    mira = Avatar.load(ROOT / "data" / "avatars" / "mira")
    pictures: list[NDArray[np.uint8]] = []
    for k in range(FRAMES):
        rgb = cv2.cvtColor(mira.frame(12 * k).copy(), cv2.COLOR_YUV2RGB_I420)
        pictures.append(np.asarray(cv2.resize(rgb, (side, side), interpolation=cv2.INTER_CUBIC), np.uint8))
    finder = FaceFinder()
    faces = [finder.find(picture)[0] for picture in pictures]
    mesh, depth = np.stack([f.mesh for f in faces]), np.stack([f.depth for f in faces])
    track = Track(landmarks68(mesh), mesh, depth, np.ones(FRAMES, np.bool_), side, side)
    started = time.process_time()
    files = prepare_lite(track, lambda: iter(pictures), directory)
    print(f"prepare_lite, {FRAMES} frames: {time.process_time() - started:.2f} s CPU", file=sys.stderr)
    with np.load(directory / files["coords"]) as coords:
        pose, affine, mask = (coords[name] for name in ("pose", "affine", "mask"))
    changes: dict[str, Any] = {
        "id": directory.name,
        "width": side,
        "height": side,
        "count": FRAMES,
        "engines": {"lite": {"face": files["face"]}},
        "files": {name: hashlib.sha256((directory / name).read_bytes()).hexdigest() for name in files.values()},
    }
    frames = [np.asarray(cv2.cvtColor(p, cv2.COLOR_RGB2YUV_I420), np.uint8) for p in pictures]
    return Avatar(mira.info.model_copy(update=changes), directory, WholeReel(frames), pose, affine, mask)


def measure(batches: int) -> dict[str, dict[str, list[float]]]:
    """CPU milliseconds a picture, of each batch of `BATCH`: drawing and pasting of the 15 visemes in turn."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})  # before OpenCV counts its cores
    from engines.lite.face import FaceMouth
    from engines.lite.paste import Paster

    table = json.loads((ROOT / "data" / "avatars" / "mira" / "visemes.json").read_text())["visemes"]
    weights = np.array(list(table.values()), np.float32)
    result: dict[str, dict[str, list[float]]] = {}
    for name, side in SIDES.items():
        with tempfile.TemporaryDirectory() as directory:
            avatar = tracked(side, Path(directory))
            mouth, paster = FaceMouth(avatar), Paster(avatar)
            spent: dict[str, list[float]] = {"draw": [], "paste": []}
            for number in range(WARM_UP + batches):
                rows = [(number * BATCH + k) % len(weights) for k in range(BATCH)]
                started = time.process_time()
                luma, chroma = mouth.draw(weights[rows], rows)
                drawn = time.process_time()
                for k, index in enumerate(rows):
                    paster.paste(index, luma[k], chroma[k], 1.0)
                if number >= WARM_UP:
                    spent["draw"].append((drawn - started) / BATCH * 1000)
                    spent["paste"].append((time.process_time() - drawn) / BATCH * 1000)
            result[name] = spent
    return result


async def face(plan: Plan) -> list[Figure]:
    """Mouth channels to finished picture of a tracked face."""
    batches = 30 if plan.quick else 200
    command = (sys.executable, "-m", "benchmarks.face", str(batches))
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=pipe, stderr=pipe)
    out, said = await process.communicate()
    if process.returncode != 0:
        raise RuntimeError(f"the tracked face failed: {said.decode(errors='replace')[-1000:]}")
    figures = []
    for name, spent in json.loads(out).items():
        title = f"tracked face, {name}, one core, CPU time a picture"
        figures.append(Figure("face", f"{title}: draw", "ms", spent["draw"], BARS_MS[name]))
        figures.append(Figure("face", f"{title}: paste", "ms", spent["paste"]))
    return figures


if __name__ == "__main__":
    print(json.dumps(measure(int(sys.argv[1]))))
