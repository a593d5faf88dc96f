"""A thread of an engine's own, so that synthesis never blocks the event loop and yields to the picture."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from priority import give_way

T = TypeVar("T")


class Worker:
    """Runs one job after the other in one thread.

    Args:
        name: of the thread.
        nice: added to the thread's niceness where the system has one per thread (Linux); threads it starts inherit it.
    """

    def __init__(self, name: str, nice: int = 0) -> None:
        self._nice = nice
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=name, initializer=self._give_way)

    async def run(self, job: Callable[[], T]) -> T:
        """The job's result. Cancelled before it began, it never runs; later, it ends by itself and is dropped."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, job)

    async def aclose(self) -> None:
        """Drop jobs that wait and wait for the one that runs, off the loop."""
        await asyncio.to_thread(self._pool.shutdown, wait=True, cancel_futures=True)

    def _give_way(self) -> None:
        if self._nice:
            give_way(self._nice)
