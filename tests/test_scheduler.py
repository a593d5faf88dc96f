"""The scheduler's thread: it draws what sessions want, survives failures and ends when told."""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import Any, cast

import pytest

from engines.base import LipRequest
from engines.scheduler import Scheduler
from media import I420
from tests.fakes.session import FakeAvatar, FakeEngine, FakeVoice, fake_real


class Queue:
    """A client that wants `count` pictures with one deadline."""

    def __init__(self, deadline: float, count: int) -> None:
        self.deadline, self.left = deadline, count
        self.pictures: list[I420 | None] = []
        self.done = threading.Event()

    def due(self) -> float | None:
        return self.deadline if self.left else None

    def next_request(self) -> LipRequest | None:
        self.left -= 1
        return LipRequest(cast(Any, None), cast(Any, FakeAvatar()), self.left, 1.0, self.deadline)

    def accept(self, request: LipRequest, picture: I420 | None) -> None:
        self.pictures.append(picture)
        if not self.left:
            self.done.set()


def test_earliest_deadline_first() -> None:
    scheduler = Scheduler(FakeEngine(max_batch=3))
    late, soon = Queue(2.0, 2), Queue(1.0, 2)
    scheduler.add(late)
    scheduler.add(soon)
    assert [client for client, _ in scheduler.begin()] == [soon, soon, late]


def test_a_removed_session_is_not_asked() -> None:
    scheduler = Scheduler(FakeEngine())
    client = Queue(1.0, 1)
    scheduler.add(client)
    scheduler.remove(client)
    assert scheduler.begin() == []


def test_the_thread_draws_on_wake_and_ends_on_close(caplog: pytest.LogCaptureFixture) -> None:
    engine = FakeEngine()
    engine.fail_batches = {0}
    scheduler = Scheduler(engine)
    scheduler.start()
    client = Queue(1.0, 10)
    scheduler.add(client)
    with caplog.at_level(logging.CRITICAL):
        scheduler.wake()
        assert client.done.wait(10)
    scheduler.close()
    assert client.pictures[:4] == [None] * 4
    assert all(p is not None for p in client.pictures[4:])
    assert scheduler.stats()["failures"] == 1
    assert "lip-scheduler" not in {t.name for t in threading.enumerate()}


async def test_a_real_session_speaks_through_the_thread() -> None:
    scheduler = Scheduler(FakeEngine())
    scheduler.start()
    real = fake_real("7", scheduler, FakeVoice(first_s=0.0, rate=1000))
    spoken: list[float] = []
    try:
        await real.say("x" * 30)
        for _ in range(2000):
            unit = real.take()
            if unit is not None:
                spoken += [f.pcm[0] for f in unit.speech if f.pcm[0]]
            if len(spoken) == 30:
                break
            await asyncio.sleep(0.001)
    finally:
        await real.aclose()
        await asyncio.to_thread(scheduler.close)
    assert [round(float(x) * 1000) for x in spoken] == list(range(1, 31))
