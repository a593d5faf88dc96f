"""Who is next at a recogniser: what is final before captions, each in the order in which they came."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
from collections.abc import AsyncIterator


class Precedence:
    """A lock that is handed to the most urgent of those who wait; hold it for as little as can be done at once."""

    def __init__(self) -> None:
        self._held = False
        self._numbers = itertools.count()
        self._waiting: list[tuple[bool, int, asyncio.Future[None]]] = []

    @contextlib.asynccontextmanager
    async def turn(self, *, final: bool) -> AsyncIterator[None]:
        """Within it nobody else is; who is cancelled while it waits leaves the queue."""
        if self._held:
            future = asyncio.get_running_loop().create_future()
            heapq.heappush(self._waiting, (not final, next(self._numbers), future))
            try:
                await future
            except asyncio.CancelledError:
                if future.done() and not future.cancelled():
                    self._hand_on()
                raise
        self._held = True
        try:
            yield
        finally:
            self._hand_on()

    def _hand_on(self) -> None:
        """To the next; `_held` stays set until they have it, so that nobody comes between."""
        while self._waiting:
            future = heapq.heappop(self._waiting)[2]
            if not future.done():
                future.set_result(None)
                return
        self._held = False
