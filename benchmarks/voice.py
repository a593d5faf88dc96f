"""How quickly each speech engine speaks: `python -m benchmarks.voice [engine ...]`; JSON on standard output.

Through `BaseTTS`, so with clause cutting, resampling and framing, as a session hears it. `cpu_rtf` is seconds of
processor for a second of sound, which a loaded machine changes less than the clock.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import sys
import time
from statistics import median
from typing import Any

import psutil  # type: ignore[import-untyped]

from media import SPEECH_FRAME_S
from ttsreal import BaseTTS, Chain, build_chain

TEXTS = {
    "en": "Good morning everyone, shall we walk around the old town?",
    "zh": "我们明天一起去北京看长城吧。",
}
ROUNDS = 5


@dataclasses.dataclass
class Choice:
    tts: str
    REF_FILE: str | None = None


def cpu_s() -> float:
    """Of this process, of those the engines work in, and of the programs they all ran."""
    me = psutil.Process()
    return float(sum(sum(process.cpu_times()[:4]) for process in (me, *me.children(recursive=True))))


async def one(chain: Chain, text: str) -> tuple[float, float, float, float]:
    """Seconds to the first frame, seconds in all, processor seconds, seconds of sound."""
    began, cpu_began = time.monotonic(), cpu_s()
    first_s, frames = 0.0, 0
    async for burst in BaseTTS(chain).speak(text, turn=1):
        first_s = first_s or time.monotonic() - began
        frames += len(burst)
    return first_s, time.monotonic() - began, cpu_s() - cpu_began, frames * SPEECH_FRAME_S


async def measure(name: str) -> list[dict[str, Any]]:
    chain = build_chain(Choice(name))
    began = time.monotonic()
    await chain.warm_up()
    warm_up_s = time.monotonic() - began
    results = []
    for language, text in TEXTS.items():
        candidates = chain.candidates(language, None)
        if not candidates:
            continue
        runs = [await one(chain, text) for _ in range(ROUNDS)]
        first, total, cpu, sound = (median(column) for column in zip(*runs, strict=True))
        results.append(
            {
                "engine": name,
                "voice": candidates[0][1].id,
                "language": language,
                "warm_up_s": round(warm_up_s, 2),
                "first_sound_s": round(first, 3),
                "wall_rtf": round(total / sound, 3),
                "cpu_rtf": round(cpu / sound, 3),
                "sound_s": round(sound, 2),
            }
        )
    await chain.aclose()
    return results


def main() -> None:
    names = sys.argv[1:] or ["hibari", "kokoro", "espeak"]
    results = [result for name in names for result in asyncio.run(measure(name))]
    print(json.dumps({"load_average": os.getloadavg()[0], "cores": os.cpu_count(), "results": results}, indent=2))


if __name__ == "__main__":
    main()
