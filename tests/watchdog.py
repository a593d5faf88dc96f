"""Watches an event loop: how long was the longest time it did not come round?

A loop that runs one callback for 30 ms delays every packet of every session by as much. What the machine took is not
the loop's doing: on Linux the kernel says how long a thread was ready and had no core, and that is subtracted.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import time
from collections.abc import AsyncIterator
from pathlib import Path

TICK_S = 0.002
LIMIT_S = 0.020
SCHEDSTAT = Path("/proc/thread-self/schedstat")  # ns on a core, ns ready without one, slices


@dataclasses.dataclass
class Watchdog:
    """The gaps between two rounds of a loop, in seconds, less what the thread waited for a core."""

    gaps_s: list[float] = dataclasses.field(default_factory=list)

    def blocks(self, limit_s: float = LIMIT_S) -> list[float]:
        """The gaps over `limit_s`, longest first."""
        return sorted((gap for gap in self.gaps_s if gap > limit_s), reverse=True)


def waited_s() -> float:
    """How long this thread was ready to run and had no core, since it began; 0 where the kernel does not say."""
    try:
        return int(SCHEDSTAT.read_text().split()[1]) / 1e9
    except (OSError, IndexError, ValueError):
        return 0.0


@contextlib.asynccontextmanager
async def watched() -> AsyncIterator[Watchdog]:
    """Watch the running loop while the block runs."""
    watchdog = Watchdog()

    async def tick() -> None:
        last, waited = time.perf_counter(), waited_s()
        while True:
            await asyncio.sleep(TICK_S)
            now, waited_now = time.perf_counter(), waited_s()
            watchdog.gaps_s.append(now - last - TICK_S - (waited_now - waited))
            last, waited = now, waited_now

    task = asyncio.create_task(tick())
    await asyncio.sleep(0)
    try:
        yield watchdog
    finally:
        await asyncio.sleep(2 * TICK_S)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
