"""Showing a long avatar of 1080p: `python -m benchmarks.long_avatar [SECONDS [SHOWN_S]]` prints what it cost.

The avatar is made here, 3 minutes of the default one before a moving background, without going through a build. Ten
sessions show it as playout clocks and the renderer do: every 40 ms the picture that is due, and the one nine pictures
later that speech is drawn into. Once where sessions of a long avatar really are: at one place; and once all of them
at places of their own, drawn by lot, half of them going backwards. A process of its own: its memory is its own.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import random
import resource
import sys
import tempfile
import threading
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks.avatar_build import HEIGHT, WIDTH, person, repeated
from benchmarks.figures import Figure
from benchmarks.scenario import Plan
from benchmarks.server import ROOT
from media import FPS, UNIT_S

SESSIONS = 10
SECONDS, QUICK_SECONDS = 180, 30
SHOWN_S, QUICK_SHOWN_S = 60.0, 10.0
PIECE_S = 10
DRAWN_AHEAD = 9
SETTLE_S = 0.5
"""In which each session waits for its first pictures."""
BOX = (760, 300, 1160, 700)
"""Of the face."""
BAR_LOAD_S, BAR_GIB, BAR_CALL_MS = 2.0, 1.5, 40.0


def write_avatar(directory: Path, seconds: int) -> None:
    """An avatar as the build leaves it, as far as showing it needs it."""
    from avatar import AvatarInfo, LocalName
    from avatarbuild.encode import IDLE_CRF, VideoWriter
    from engines.musetalk.box import Blending
    from engines.musetalk.place import PlacesWriter

    piece = directory / "piece.mp4"
    with VideoWriter(piece, WIDTH, HEIGHT, crf=IDLE_CRF) as video:
        for picture in person(PIECE_S * FPS, FPS):
            video.add(np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), np.uint8))
    repeated(piece, directory / "idle.mp4", max(1, seconds // PIECE_S), Fraction(PIECE_S))
    piece.unlink()
    count = max(1, seconds // PIECE_S) * PIECE_S * FPS
    affine = np.repeat(np.eye(2, 3, dtype=np.float32)[None], count, 0)
    mask = np.zeros((160, 192), np.float32)
    np.savez_compressed(directory / "coords.npz", pose=np.zeros((count, 3), np.float32), affine=affine, mask=mask)
    soft = np.asarray(cv2.GaussianBlur(np.pad(np.full((200, 300), 255, np.uint8), 150), (61, 61), 0), np.uint8)
    crop = (BOX[0] - 50, BOX[1] - 50, BOX[0] - 50 + soft.shape[1], BOX[1] - 50 + soft.shape[0])
    with PlacesWriter(directory, Blending()) as places:
        for _ in range(count):
            places.put(BOX, crop, soft)
        parts, origin = places.finish()
    info = AvatarInfo(
        version=1,
        id=directory.name,
        name=LocalName(en="Long", zh="长"),
        width=WIDTH,
        height=HEIGHT,
        fps=FPS,
        count=count,
        channels=(),
        mask_origin=origin,
        engines={"musetalk": parts},
        licence="none",
        provenance=LocalName(en="Made by a benchmark.", zh="由基准测试生成。"),
        files={path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in directory.iterdir()},
    )
    (directory / "avatar.json").write_text(info.model_dump_json(), "utf-8")


def measure(directory: Path, shown_s: float) -> dict[str, dict[str, Any]]:
    """Load it and show it, in this process."""
    from avatar import Avatar
    from engines.musetalk.place import Places
    from reelstore import ReelStore

    before_gib = _peak_gib()
    store = ReelStore()
    began = time.perf_counter()
    avatar = Avatar.load(directory, store)
    places = Places.load(avatar)
    load_s = time.perf_counter() - began
    pictures_gib = avatar.count * WIDTH * HEIGHT * 1.5 / (1 << 30)
    result: dict[str, dict[str, Any]] = {"load": {"seconds": load_s, "whole_gib": pictures_gib}}
    period = 2 * avatar.count - 2
    lots = random.Random(0)
    apart = [lots.randrange(period) for _ in range(SESSIONS)]
    together = [int(time.monotonic() * FPS)] * SESSIONS
    for name, starts in (("together", together), ("apart", apart)):
        avatar.ready(starts[0])
        result[name] = _show(avatar, places, starts, shown_s)
        result[name] |= {"late": store.late, "gib": _peak_gib() - before_gib}
    store.close()
    return result


def _show(avatar: Any, places: Any, starts: list[int], shown_s: float) -> dict[str, Any]:
    """All sessions at once: the longest wait for a picture, ms, and processor time over time, cores."""
    calls: list[list[float]] = [[] for _ in starts]
    begin = time.monotonic() + SETTLE_S

    def session(number: int) -> None:
        avatar.ready(starts[number])
        offset = number * UNIT_S / len(starts)
        for tick in range(int(shown_s * FPS)):
            time.sleep(max(0.0, begin + offset + tick * UNIT_S - time.monotonic()))
            asked = time.perf_counter()
            picture = avatar.frame_now(starts[number] + tick)
            calls[number].append(time.perf_counter() - asked)
            assert picture.shape == (HEIGHT * 3 // 2, WIDTH)
            index = starts[number] + tick + DRAWN_AHEAD
            avatar.frame(index)
            assert places[avatar.stored(index)].mask.any()

    threads = [threading.Thread(target=session, args=(k,)) for k in range(len(starts))]
    used, began = time.process_time(), time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    cores = (time.process_time() - used) / (time.perf_counter() - began)
    return {"calls_ms": [max(each) * 1000 for each in calls], "cores": cores}


def _peak_gib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20)


async def long_avatar(plan: Plan) -> list[Figure]:
    """Ten sessions of a long avatar of 1080p."""
    seconds, shown_s = (QUICK_SECONDS, QUICK_SHOWN_S) if plan.quick else (SECONDS, SHOWN_S)
    command = (sys.executable, "-m", "benchmarks.long_avatar", str(seconds), str(shown_s))
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=pipe, stderr=pipe)
    out, said = await process.communicate()
    if process.returncode != 0:
        raise RuntimeError(f"the long avatar failed: {said.decode(errors='replace')[-1000:]}")
    result = json.loads(out)
    what = f"{seconds} s of 1080p"
    whole = f"held whole its pictures would take {result['load']['whole_gib']:.1f} GiB"
    figures = [Figure("long_avatar", f"{what}: load", "s", [result["load"]["seconds"]], BAR_LOAD_S, "worst")]
    for name, words in (("together", "at one place, as sessions are"), ("apart", "at random places")):
        found, title = result[name], f"{what}, {SESSIONS} sessions {words}"
        figures += [
            Figure("long_avatar", f"{title}: late pictures", "", [found["late"]], 0, "worst"),
            Figure("long_avatar", f"{title}: longest wait for one", "ms", found["calls_ms"], BAR_CALL_MS, "worst"),
            Figure("long_avatar", f"{title}: decoding and reading", "cores", [found["cores"]]),
            Figure("long_avatar", f"{title}: memory", "GiB", [found["gib"]], BAR_GIB, "worst", note=whole),
        ]
    return figures


def main() -> None:
    """Make the avatar in a process that is gone when it is shown."""
    seconds = int(sys.argv[1]) if len(sys.argv) > 1 else SECONDS
    shown_s = float(sys.argv[2]) if len(sys.argv) > 2 else SHOWN_S
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch) / "long"
        directory.mkdir()
        child = os.fork()
        if child == 0:
            try:
                write_avatar(directory, seconds)
                os._exit(0)
            finally:
                os._exit(1)
        if os.waitpid(child, 0)[1] != 0:
            raise SystemExit("the avatar could not be made")
        print(json.dumps(measure(directory, shown_s)))


if __name__ == "__main__":
    main()
