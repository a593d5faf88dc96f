"""The scheduler's thread: it draws what sessions want, survives failures and ends when told."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import pytest

from benchmarks.scheduler import WatchedReal, noise
from engines.base import LipRequest
from engines.capacity import OVERLOAD_SHARE, Capacity, exceeded
from engines.scheduler import COMPLAINT_INTERVAL_S, SPEAKING_MEMORY_S, Scheduler
from errors import EngineError, Unavailable
from media import FPS, I420
from tests.fakes.session import Crowd, FakeAvatar, FakeEngine, FakeVoice, fake_real
from tests.virtual_time import run_virtual


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


def test_of_two_that_are_due_at_once_the_one_that_waited_longer_goes_first() -> None:
    scheduler = Scheduler(FakeEngine(max_batch=1))
    clients = [Queue(1.0, 100) for _ in range(3)]
    for client in clients:
        scheduler.add(client)
    order = [clients.index(cast(Queue, scheduler.begin()[0][0])) for _ in range(9)]
    assert order == [0, 1, 2] * 3


def speak(sessions: int, seconds: float, batch_s: float, lanes: int = 2) -> Crowd:
    """Have that many sessions speak without a pause, on a virtual clock."""

    async def main() -> Crowd:
        crowd = Crowd(sessions, batch_s, lanes=lanes, real=WatchedReal)
        for real in crowd.reals:
            await real.play(noise(seconds + 2))
        await asyncio.sleep(1)
        for shown, real in zip(crowd.shown, crowd.reals, strict=True):
            shown.clear()
            cast(WatchedReal, real).waits_s.clear()  # all began to speak at the same moment
        await asyncio.sleep(seconds)
        crowd.shown = [list(shown) for shown in crowd.shown]
        await crowd.close()
        return crowd

    return run_virtual(main())


def test_twenty_sessions_on_an_engine_of_8_ms_a_batch_of_16_are_never_late() -> None:
    seconds = 12
    crowd = speak(20, seconds, 0.008)
    assert all(all(shown) for shown in crowd.shown), "a picture was late"
    assert min(len(shown) for shown in crowd.shown) >= 24.5 * seconds
    waits = np.concatenate([cast(WatchedReal, real).waits_s for real in crowd.reals])
    assert len(waits) > 19 * FPS * seconds
    assert np.percentile(waits, 99) < 0.060


def test_too_many_sessions_are_all_served_alike() -> None:
    seconds = 5
    crowd = speak(100, seconds, 0.008)
    pace = [sum(shown) / seconds for shown in crowd.shown]
    assert 16 / 0.008 / 100 * 0.95 < float(np.mean(pace)) < 25 * 0.85, "it must be an overload"
    assert min(pace) > 0.95 * max(pace)


def test_a_second_lane_keeps_the_device_at_work() -> None:
    crowd = speak(100, 2, 0.008)
    assert crowd.scheduler.busy_s / crowd.loop.time() > 0.95
    assert crowd.scheduler.stats()["pictures_per_s"] == pytest.approx(2000, rel=0.02)


def test_a_failing_engine_complains_once_in_a_while_and_its_time_teaches_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Broken(FakeEngine):
        def render(self, requests: Sequence[LipRequest]) -> list[I420]:
            raise EngineError("lips", "scripted failure")

    now = [0.0]
    scheduler = Scheduler(Broken(), clock=lambda: now[0])
    scheduler.add(Queue(0.0, 1000))
    with caplog.at_level(logging.ERROR):
        for _ in range(30):
            batch = scheduler.begin()
            scheduler.finish(batch, scheduler._draw(batch), 1.0)
            now[0] += 1.0
    assert len(caplog.records) == 30 / COMPLAINT_INTERVAL_S
    assert scheduler.failures == 30 and scheduler.latency_s == 0.0
    assert scheduler.stats()["pictures_per_s"] is None


class Measured(FakeEngine):
    """Knows its pace."""

    def __init__(self, pictures_per_s: float | None) -> None:
        super().__init__()
        self._pictures_per_s = pictures_per_s

    def warm_up(self) -> float | None:
        return self._pictures_per_s


def test_one_session_more_than_the_engine_carries_is_refused_with_the_figures() -> None:
    now = [0.0]
    scheduler = Scheduler(Measured(120), clock=lambda: now[0])
    assert scheduler.warm_up() == 120
    clients = [Queue(0.0, 10_000) for _ in range(4)]
    for client in clients:
        scheduler.admit()
        scheduler.add(client)
        now[0] += 0.1
        scheduler.begin()
    with pytest.raises(
        Unavailable,
        match="draws 120 pictures a second, enough for 4 speaking sessions at 25 fps; 4 are open and 4 of them speak",
    ):
        scheduler.admit()
    scheduler.remove(clients[0])
    scheduler.admit()


def test_the_first_session_is_taken_by_any_engine_and_the_second_is_not() -> None:
    scheduler = Scheduler(Measured(3))
    scheduler.warm_up()
    scheduler.admit()
    scheduler.add(Queue(0.0, 1))
    with pytest.raises(Unavailable, match="draws 3 pictures a second, enough for 0 speaking"):
        scheduler.admit()


def test_an_engine_of_unknown_pace_refuses_no_one() -> None:
    scheduler = Scheduler(Measured(None))
    assert scheduler.warm_up() is None
    for _ in range(30):
        scheduler.admit()
        scheduler.add(Queue(0.0, 1))


def test_what_full_batches_took_counts_more_than_the_warm_up() -> None:
    now = [0.0]
    scheduler = Scheduler(Measured(1000), clock=lambda: now[0])
    scheduler.warm_up()
    scheduler.add(Queue(0.0, 1000))
    for _ in range(6):
        batch = scheduler.begin()
        now[0] += 0.1
        scheduler.finish(batch, scheduler._draw(batch), 0.1)
    assert scheduler.stats()["pictures_per_s"] == pytest.approx(40)


def test_small_batches_do_not_tell_the_pace() -> None:
    capacity = Capacity(0.0)
    for _ in range(100):
        capacity.drawn(3, 16, 0.008)
    assert capacity.pictures_per_s is None
    for _ in range(10):
        capacity.drawn(14, 16, 0.008)
    assert capacity.pictures_per_s == pytest.approx(1750)


def test_sessions_that_are_silent_make_room_for_more() -> None:
    def admitted(speaking_share: float) -> int:
        """How many sessions that speak for that share of the time are taken over an hour."""
        capacity = Capacity(0.0)
        capacity.warmed_up(340)
        count, now = 1, 0.0
        for _ in range(120):
            now += 30.0
            capacity.drawn(round(count * 30 * FPS * speaking_share), 16, 0.0)
            capacity.pass_time(count, now)
            try:
                capacity.check(count, round(count * speaking_share))
            except Unavailable:
                continue
            count += 1
        return count

    always, half, seldom = admitted(1.0), admitted(0.5), admitted(0.1)
    assert always == 12, "0.9 x 340 / 25 speakers"
    assert 14 <= half <= 17, "15 sessions that speak half of the time are 12 speakers at most, 99 % of the time"
    assert seldom > 40
    assert exceeded(15, 0.5, 12) < OVERLOAD_SHARE < exceeded(18, 0.5, 12)


def test_an_engine_in_trouble_is_not_ready() -> None:
    engine = FakeEngine()
    assert Scheduler(engine).why_not() is None
    engine.why_not = lambda: "its process died"  # type: ignore[attr-defined]
    assert Scheduler(engine).why_not() == "its process died"


def test_who_speaks_is_seen_from_what_is_drawn() -> None:
    now = [10.0]
    scheduler = Scheduler(FakeEngine(), clock=lambda: now[0])
    speaker, silent = Queue(0.0, 4), Queue(0.0, 0)
    scheduler.add(speaker)
    scheduler.add(silent)
    assert scheduler.stats()["speaking"] == 0
    scheduler.begin()
    assert scheduler.stats()["speaking"] == 1 and scheduler.stats()["sessions"] == 2
    now[0] += SPEAKING_MEMORY_S + 0.1
    assert scheduler.stats()["speaking"] == 0
