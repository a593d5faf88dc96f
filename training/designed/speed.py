"""How long a designed voice takes, with Kokoro in its process as in the server, and how long the event loop is held.

python -m training.designed.speed CLIP.wav ... --count 40
"""

from __future__ import annotations

import argparse
import asyncio
import time
from pathlib import Path

import numpy as np
import psutil  # type: ignore[import-untyped]

from media import SAMPLE_RATE_HZ
from training.designed.evaluate import read
from voices.cloning.base import Clip
from voices.cloning.designed import MODEL, designed_maker

CLIP_S = 10.0
SAMPLES = {"en": "Hello, it is a pleasure to speak for you.", "zh": "你好，很高兴认识你。"}
TICK_S = 0.002


async def held(away: list[float], worked: list[float]) -> None:
    """Note how long the event loop was away, and how long of it its thread worked, until cancelled."""
    before, spent = time.perf_counter(), time.thread_time()
    while True:
        await asyncio.sleep(TICK_S)
        now, so_far = time.perf_counter(), time.thread_time()
        away.append(now - before - TICK_S)
        worked.append(so_far - spent)
        before, spent = now, so_far


def cores_s() -> float:
    """Processor time of this process and of Kokoro's."""
    own = psutil.Process()
    return sum(sum(process.cpu_times()[:2]) for process in (own, *own.children()))


async def run(paths: list[Path], count: int) -> None:
    maker = designed_maker(None)
    clips = [read(path)[: round(CLIP_S * SAMPLE_RATE_HZ)] for path in paths]
    seconds: list[float] = []
    stages: dict[str, list[float]] = {}
    spent: list[float] = []
    away: list[float] = []
    worked: list[float] = []
    for number in range(count + 2):
        language = ("en", "zh")[number % 2]
        pcm = clips[number % len(clips)]
        began, before = time.monotonic(), cores_s()

        def reached(stage: str, share: float, began: float = began) -> None:
            stages.setdefault(stage, []).append(time.monotonic() - began)

        await maker.make(Clip(Path("none"), pcm, "", "", language), MODEL, SAMPLES[language], reached)
        seconds.append(time.monotonic() - began)
        spent.append(cores_s() - before)
        if number == 1:  # Both languages are loaded.
            seconds.clear()
            spent.clear()
            stages.clear()
            watch = asyncio.create_task(held(away, worked))
    watch.cancel()
    print(f"{len(seconds)} voices of {CLIP_S:.0f} s with a preview: median {np.median(seconds):.2f} s", end="")
    print(f", p95 {np.quantile(seconds, 0.95):.2f} s, max {max(seconds):.2f} s")
    for stage, times in stages.items():
        print(f"  {stage} begins after {np.median(times):.2f} s")
    print(
        f"processor time: median {np.median(spent):.2f} s, p95 {np.quantile(spent, 0.95):.2f} s, max {max(spent):.2f} s"
    )
    print(f"event loop away at most {1000 * max(away):.1f} ms, at work at most {1000 * max(worked):.1f} ms")
    await maker.aclose()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clips", nargs="+", type=Path)
    parser.add_argument("--count", type=int, default=40)
    given = parser.parse_args()
    asyncio.run(run(given.clips, given.count))


if __name__ == "__main__":
    main()
