"""The CPU engine alone, on one core: `python -m benchmarks.engine BATCHES` prints what each batch cost.

A process of its own, so that it can be bound to one core and nothing else runs in its interpreter.
"""

from __future__ import annotations

import asyncio
import io
import itertools
import json
import os
import sys
import time
import wave

import numpy as np
from numpy.typing import NDArray

from benchmarks.figures import Figure
from benchmarks.scenario import Plan
from benchmarks.server import ROOT

BATCH = 4
WARM_UP = 10
BAR_MS = 4.0


def windows(samples: int) -> list[NDArray[np.float32]]:
    """What the engine hears of a recording, one window of `samples` a video frame."""
    from benchmarks.scenes import recording
    from media import SAMPLES_PER_UNIT

    with wave.open(io.BytesIO(recording())) as file:
        pcm = np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float32) / np.float32(32768)
    return [pcm[at : at + samples] for at in range(0, len(pcm) - samples, SAMPLES_PER_UNIT)]


def measure(batches: int) -> dict[str, list[float]]:
    """CPU and wall-clock milliseconds per picture, of each batch of `BATCH` pictures."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})  # before the engine counts its cores
    from avatar import Avatar
    from engines.base import LipRequest
    from engines.lite.ears import WINDOW_SAMPLES
    from litereal import LiteEngine

    avatar = Avatar.load(sorted((ROOT / "data" / "avatars").glob("*/avatar.json"))[0].parent)
    engine = LiteEngine(BATCH)
    engine.prepare(avatar)
    heard, index = itertools.cycle(windows(WINDOW_SAMPLES)), itertools.count()
    result: dict[str, list[float]] = {"cpu_ms": [], "wall_ms": []}
    for number in range(WARM_UP + batches):
        requests = [LipRequest(next(heard), avatar, next(index), 1.0, 0.0) for _ in range(BATCH)]
        wall, cpu = time.perf_counter(), time.process_time()
        engine.render(requests)
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        if number >= WARM_UP:
            result["cpu_ms"].append(cpu / BATCH * 1000)
            result["wall_ms"].append(wall / BATCH * 1000)
    return result


async def engine(plan: Plan) -> list[Figure]:
    """Sound to finished picture, paste included."""
    batches = 50 if plan.quick else 400
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "benchmarks.engine",
        str(batches),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, said = await process.communicate()
    if process.returncode != 0:
        raise RuntimeError(f"the engine failed: {said.decode(errors='replace')[-1000:]}")
    result = json.loads(out)
    name = f"CPU engine with paste, batch of {BATCH}, one core"
    return [
        Figure("engine", f"{name}, CPU time a picture", "ms", result["cpu_ms"], BAR_MS),
        Figure("engine", f"{name}, wall clock a picture", "ms", result["wall_ms"], note="with waits for the core"),
    ]


if __name__ == "__main__":
    print(json.dumps(measure(int(sys.argv[1]))))
