"""Upkeep: the loop's lag is seen, and ended sessions' cycles are freed."""

from __future__ import annotations

import asyncio
import gc
import time
import weakref

from upkeep import Upkeep


async def test_a_blocked_loop_is_noticed() -> None:
    upkeep = Upkeep(lambda: 0)
    try:
        await asyncio.sleep(0.06)
        time.sleep(0.2)  # noqa: ASYNC251
        await asyncio.sleep(0.06)
        assert upkeep.lag_s() >= 0.1
    finally:
        await upkeep.aclose()


class Cycle:
    """Something that only the cycle collector can free."""

    def __init__(self) -> None:
        self.me = self


async def test_what_an_ended_session_leaves_is_freed() -> None:
    ended = 0
    gc.disable()
    upkeep = Upkeep(lambda: ended)
    upkeep._tidied_at -= 1000
    try:
        left = weakref.ref(Cycle())
        await asyncio.sleep(0.1)
        assert left() is not None
        ended = 1
        for _ in range(100):
            await asyncio.sleep(0.02)
            if left() is None:
                break
        assert left() is None
    finally:
        gc.enable()
        await upkeep.aclose()
