"""Connect and disconnect again and again: threads, tasks, file descriptors and memory must not grow.

    python -m benchmarks.leaks [--cycles 200] [--warmup 50]

Client and server run in this process, so what either of them leaks is seen. Prints one JSON object; exit status 1 when
something grew.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import ctypes
import gc
import json
import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]

from engines.testcard import TestcardReal
from tests.fakes.viewer import Viewer
from webrtc import PeerSession

MEMORY_GROWTH_MAX = 0.05
SETTLE_S = 10.0


async def cycle(number: int) -> None:
    """One client: connects, sees three pictures, leaves."""
    real = TestcardReal(str(number), 256, 256)
    closed = asyncio.Event()
    session = PeerSession(real, on_closed=lambda _: closed.set())
    viewer = Viewer(microphone=number % 2 == 1)
    await viewer.watch(session)
    for _ in range(3):
        await viewer.picture()
    if number % 3 == 0:
        await session.aclose()
    await viewer.close()
    await asyncio.wait_for(closed.wait(), 15)
    await real.aclose()


async def count() -> dict[str, Any]:
    """What the process holds once everything that ends by itself has ended."""
    gc.collect()
    process = psutil.Process()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    if others:
        await asyncio.wait(others, timeout=SETTLE_S)
    await asyncio.sleep(0.2)  # threads that have said their last word
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # pages that glibc keeps for later are not held by anyone
    objects = collections.Counter(type(o).__name__ for o in gc.get_objects())
    return {
        "threads": threading.active_count(),
        "tasks": len(asyncio.all_tasks()),
        "fds": process.num_fds(),
        "rss_mb": round(process.memory_info().rss / 2**20, 1),
        "objects": sum(objects.values()),
        "sessions": objects["PeerSession"],
        "peer_connections": objects["RTCPeerConnection"],
    }


async def run(cycles: int, warmup: int) -> dict[str, Any]:
    """Counts after the warm-up, after half of the cycles and after all, and what grew."""
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))  # the client's; it would grow to its limit
    for number in range(warmup):
        await cycle(number)
    first = await count()
    begun = time.monotonic()
    for number in range(cycles // 2):
        await cycle(number)
    middle = await count()
    for number in range(cycles - cycles // 2):
        await cycle(number)
    last = await count()
    exact = ("threads", "tasks", "fds", "sessions", "peer_connections")
    grown = [key for key in exact if last[key] > first[key]]
    growth = last["rss_mb"] / first["rss_mb"] - 1
    if growth > MEMORY_GROWTH_MAX:
        grown.append("rss_mb")
    return {
        "cycles": cycles,
        "seconds_per_cycle": round((time.monotonic() - begun) / cycles, 3),
        "first": first,
        "middle": middle,
        "last": last,
        "memory_growth": round(growth, 4),
        "grown": grown,
        "ok": not grown,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--cycles", type=int, default=200)
    parser.add_argument("--warmup", type=int, default=50)
    parser.add_argument("--out", type=Path, help="also write the result here")
    options = parser.parse_args()
    result = asyncio.run(run(options.cycles, options.warmup))
    text = json.dumps(result, indent=1)
    print(text)
    if options.out:
        options.out.write_text(text + os.linesep)
    return 0 if result["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
