"""`Upkeep`: keeps an eye on the event loop and gives back the memory of ended sessions."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import ctypes
import gc
import os
import time
from collections.abc import Callable
from pathlib import Path

LAG_INTERVAL_S = 0.05
LAG_MEMORY_S = 10
TIDY_INTERVAL_S = 3.0
MALLOC_ARENAS_MAX = 2
SCHEDSTAT = Path("/proc/thread-self/schedstat")  # ns on a core, ns ready without one, slices
_M_ARENA_MAX = -8  # mallopt(3)


def limit_arenas() -> None:
    """Let all threads share `MALLOC_ARENAS_MAX` heaps of the C library; call before the first thread.

    glibc gives each new thread a heap of its own and keeps it when the thread ends, so a server whose sessions come and
    go with their threads would seem to leak. Elsewhere than on glibc this does nothing.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, MALLOC_ARENAS_MAX)


def limit_blas() -> None:
    """Have numpy multiply in the thread that asks; call before numpy is imported.

    OpenBLAS shares a product out over threads that spin while they wait for each other: where other work has the
    cores, 50 ms of products take more than a second. What `OPENBLAS_NUM_THREADS` says already stays.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def settle_heap() -> None:
    """Take what is loaded out of the collector's sight, and let it work; call when all is loaded.

    A full collection walks every object it knows and holds all threads meanwhile: 50 ms and more over what the
    libraries brought, a few over what sessions make afterwards. Nothing is collected first: that would take as long,
    and the imports leave some two thousand objects of garbage among ninety thousand.
    """
    gc.freeze()
    gc.enable()


class _Worst:
    """The largest of the values noted in the last LAG_MEMORY_S."""

    def __init__(self) -> None:
        self._seconds: collections.deque[tuple[int, float]] = collections.deque(maxlen=LAG_MEMORY_S)
        """Monotonic second, largest value in it."""

    def note(self, value: float) -> None:
        second = int(time.monotonic())
        if self._seconds and self._seconds[-1][0] == second:
            value = max(value, self._seconds.pop()[1])
        self._seconds.append((second, value))

    def worst(self) -> float:
        since = int(time.monotonic()) - LAG_MEMORY_S
        return max((value for second, value in self._seconds if second >= since), default=0.0)


class Upkeep:
    """One task on the event loop, from `start` on.

    Args:
        ended: how many sessions have ended so far.
    """

    def __init__(self, ended: Callable[[], int]) -> None:
        self._ended = ended
        self._lags, self._holds = _Worst(), _Worst()
        self._tidied = 0
        self._tidied_at = time.monotonic()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin, when nothing is left to do before somebody can be served."""
        self._task = asyncio.create_task(self._run(), name="upkeep")

    def lag_s(self) -> float:
        """Seconds that something ready to run had to wait for the event loop at worst, in the last ten seconds."""
        return self._lags.worst()

    def held_s(self) -> float:
        """The same less what the loop's thread meanwhile waited for a core (Linux): what it does to itself."""
        return self._holds.worst()

    async def aclose(self) -> None:
        """End the task."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        due, starved_s = time.monotonic() + LAG_INTERVAL_S, _starved_s()
        while True:
            await asyncio.sleep(due - time.monotonic())
            now, before_s = time.monotonic(), starved_s
            starved_s = _starved_s()
            self._lags.note(now - due)
            self._holds.note(max(0.0, now - due - (starved_s - before_s)))
            if self._ended() != self._tidied and now - self._tidied_at > TIDY_INTERVAL_S:
                held_s = self._collect()
                self._lags.note(held_s)
                self._holds.note(held_s)
                await asyncio.to_thread(_trim)  # the pages go back to the system
            due = time.monotonic() + LAG_INTERVAL_S

    def _collect(self) -> float:
        """Free what ended sessions left in reference cycles; the seconds it took."""
        self._tidied, self._tidied_at = self._ended(), time.monotonic()
        gc.collect()
        return time.monotonic() - self._tidied_at


def _trim() -> None:
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def _starved_s() -> float:
    """How long this thread was ready to run and had no core since it began; 0 where the kernel does not say."""
    try:
        return int(SCHEDSTAT.read_bytes().split()[1]) / 1e9
    except (OSError, IndexError, ValueError):
        return 0.0
