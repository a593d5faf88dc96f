"""An event loop whose clock jumps to the next timer instead of waiting for it.

A test on it is deterministic and instant: an hour of sleeping costs nothing. Only for coroutines that do not wait
for sockets or threads.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")


class _JumpingSelector(selectors.SelectSelector):
    """Instead of waiting for `timeout` seconds, moves the loop's clock by them."""

    loop: VirtualTimeLoop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready:
            return ready
        if timeout is None:
            raise RuntimeError("virtual time: every task waits for something that no timer will bring")
        self.loop.now += timeout
        return []


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """`time()` starts at 0 s and moves only when all tasks sleep."""

    def __init__(self) -> None:
        self.now = 0.0
        selector = _JumpingSelector()
        selector.loop = self
        super().__init__(selector)

    def time(self) -> float:
        return self.now


@contextmanager
def virtual_loop() -> Iterator[VirtualTimeLoop]:
    loop = VirtualTimeLoop()
    try:
        yield loop
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


def run_virtual(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end on virtual time; tasks it left behind are an error."""
    with virtual_loop() as loop:
        asyncio.set_event_loop(loop)
        try:
            result = loop.run_until_complete(coroutine)
            left = [t for t in asyncio.all_tasks(loop) if not t.done()]
            assert not left, f"tasks left behind: {left}"
            return result
        finally:
            asyncio.set_event_loop(None)
