"""The event loop serves a crowd in portions, everybody in turn."""

from __future__ import annotations

import asyncio
import contextlib
import selectors
import socket
from collections import Counter
from collections.abc import Iterator

import pytest

from house.loop import EVENTS_MOST, FairSelector, fair_loop

CROWD = 50


@pytest.fixture
def crowd() -> Iterator[list[socket.socket]]:
    """Sockets with something to read."""
    with contextlib.ExitStack() as stack:
        ends = []
        for _ in range(CROWD):
            near, far = socket.socketpair()
            stack.enter_context(far)
            ends.append(stack.enter_context(near))
            near.setblocking(False)
            far.send(b"x")
        yield ends


def test_everybody_of_a_crowd_has_a_turn_before_anybody_has_two(crowd: list[socket.socket]) -> None:
    with FairSelector() as selector:
        for end in crowd:
            selector.register(end, selectors.EVENT_READ)
        served: Counter[object] = Counter()
        while sum(served.values()) < CROWD:
            told = selector.select(0)
            assert 0 < len(told) <= EVENTS_MOST
            served.update(key.fileobj for key, _ in told)
    assert len(served) >= CROWD - EVENTS_MOST  # the last portion may begin the next turn
    assert max(served.values()) <= 2


def test_a_few_are_told_of_at_once(crowd: list[socket.socket]) -> None:
    with FairSelector() as selector:
        for end in crowd[:EVENTS_MOST]:
            selector.register(end, selectors.EVENT_READ)
        assert len(selector.select(0)) == EVENTS_MOST


def test_what_is_due_waits_for_one_portion_only(crowd: list[socket.socket]) -> None:
    async def served_before_the_timer() -> int:
        loop = asyncio.get_running_loop()
        served: list[bytes] = []
        due: asyncio.Future[int] = loop.create_future()

        def serve(end: socket.socket) -> None:
            served.append(end.recv(1))
            loop.remove_reader(end)

        for end in crowd:
            loop.add_reader(end, serve, end)
        loop.call_later(0, lambda: due.set_result(len(served)))
        return await due

    with asyncio.Runner(loop_factory=fair_loop) as runner:
        assert runner.run(served_before_the_timer()) <= 2 * EVENTS_MOST
