"""`Upkeep`: keeps an eye on the event loop and gives back the memory of ended sessions."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import ctypes
import gc
import time
from collections.abc import Callable

LAG_INTERVAL_S = 0.05
LAG_MEMORY_S = 10
TIDY_INTERVAL_S = 3.0
MALLOC_ARENAS_MAX = 2
_M_ARENA_MAX = -8  # mallopt(3)


def limit_arenas() -> None:
    """Let all threads share `MALLOC_ARENAS_MAX` heaps of the C library; call before the first thread.

    glibc gives each new thread a heap of its own and keeps it when the thread ends, so a server whose sessions come and
    go with their threads would seem to leak. Elsewhere than on glibc this does nothing.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, MALLOC_ARENAS_MAX)


def settle_heap() -> None:
    """Take what is loaded out of the collector's sight, and let it work; call when all is loaded.

    A full collection walks every object it knows and holds all threads meanwhile: 50 ms and more over what the
    libraries brought, a few over what sessions make afterwards. Nothing is collected first: that would take as long,
    and the imports leave some two thousand objects of garbage among ninety thousand.
    """
    gc.freeze()
    gc.enable()


class Upkeep:
    """One task on the event loop.

    Args:
        ended: how many sessions have ended so far.
    """

    def __init__(self, ended: Callable[[], int]) -> None:
        self._ended = ended
        self._lags: collections.deque[tuple[int, float]] = collections.deque(maxlen=LAG_MEMORY_S)  # (second, worst)
        self._tidied = 0
        self._tidied_at = time.monotonic()
        self._task = asyncio.create_task(self._run(), name="upkeep")

    def lag_s(self) -> float:
        """Seconds that something ready to run had to wait for the event loop at worst, in the last ten seconds."""
        since = int(time.monotonic()) - LAG_MEMORY_S
        return max((lag for second, lag in self._lags if second >= since), default=0.0)

    async def aclose(self) -> None:
        """End the task."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        due = time.monotonic() + LAG_INTERVAL_S
        while True:
            await asyncio.sleep(due - time.monotonic())
            now = time.monotonic()
            self._note(now, now - due)
            if self._ended() != self._tidied and now - self._tidied_at > TIDY_INTERVAL_S:
                await self._tidy()
            due = time.monotonic() + LAG_INTERVAL_S

    def _note(self, now: float, lag_s: float) -> None:
        second = int(now)
        if self._lags and self._lags[-1][0] == second:
            self._lags[-1] = (second, max(lag_s, self._lags[-1][1]))
        else:
            self._lags.append((second, lag_s))

    async def _tidy(self) -> None:
        """Free what ended sessions left in reference cycles, then return the pages to the system."""
        self._tidied, self._tidied_at = self._ended(), time.monotonic()
        gc.collect()
        await asyncio.to_thread(_trim)


def _trim() -> None:
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
