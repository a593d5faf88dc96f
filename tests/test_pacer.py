"""The pacer's threads: every clock is stepped when it is due, by one thread at a time, whoever comes and goes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from transport.pacer import Pacer

PATIENCE_S = 10.0
PERIOD_S = 0.01


@pytest.fixture
def pacer() -> Iterator[Pacer]:
    made = Pacer(2)
    yield made
    made.close()


class Clock:
    """Steps `count` times, PERIOD_S apart, and notes when and whether two threads were in it at once."""

    def __init__(self, count: int, work: Callable[[], object] = lambda: None) -> None:
        self.count = count
        self.work = work
        self.began = time.monotonic()
        self.steps: list[float] = []
        self.threads: set[str] = set()
        self.overlaps = 0
        self.ended = threading.Event()
        self._inside = threading.Lock()

    def step(self) -> float | None:
        if not self._inside.acquire(blocking=False):
            self.overlaps += 1
            return None
        with_lock = time.monotonic()
        try:
            self.steps.append(with_lock)
            self.threads.add(threading.current_thread().name)
            self.work()
        finally:
            self._inside.release()
        if len(self.steps) == self.count:
            self.ended.set()
            return None
        return self.began + len(self.steps) * PERIOD_S


def test_clocks_are_stepped_when_they_are_due_and_never_before(pacer: Pacer) -> None:
    clocks = [Clock(20) for _ in range(5)]
    for clock in clocks:
        pacer.add(clock)
    for clock in clocks:
        assert clock.ended.wait(PATIENCE_S)
        assert len(clock.steps) == 20
        assert clock.overlaps == 0
        assert all(at >= clock.began + k * PERIOD_S for k, at in enumerate(clock.steps))
        assert clock.threads <= {"playout-0", "playout-1"}


def test_one_that_takes_long_does_not_hold_the_others_up(pacer: Pacer) -> None:
    go_on = threading.Event()
    slow, quick = Clock(1, lambda: go_on.wait(PATIENCE_S)), Clock(30)
    pacer.add(slow)
    pacer.add(quick)
    assert quick.ended.wait(PATIENCE_S), "the other thread serves it"
    assert not slow.ended.is_set()
    go_on.set()
    assert slow.ended.wait(PATIENCE_S)


def test_one_that_comes_later_and_is_due_earlier_goes_first(pacer: Pacer) -> None:
    class Patient:
        def __init__(self) -> None:
            self.steps = 0

        def step(self) -> float | None:
            self.steps += 1
            return time.monotonic() + PATIENCE_S

    patient, quick = Patient(), Clock(5)
    pacer.add(patient)
    while not patient.steps:
        time.sleep(0.001)
    pacer.add(quick)
    assert quick.ended.wait(PATIENCE_S / 2)
    assert patient.steps == 1


def test_there_are_no_more_threads_than_clocks_or_cores() -> None:
    pacer = Pacer(3)
    clocks = [Clock(2) for _ in range(8)]
    counts = []
    for clock in clocks:
        pacer.add(clock)
        counts.append(len(pacer._threads))
    assert counts[0] == 1 and max(counts) <= 3
    assert all(clock.ended.wait(PATIENCE_S) for clock in clocks)
    pacer.close()
    assert not any(thread.is_alive() for thread in pacer._threads)


def test_a_closed_pacer_lets_clocks_stand_and_takes_no_more() -> None:
    pacer, clock = Pacer(1), Clock(1_000_000)
    pacer.add(clock)
    while not clock.steps:
        time.sleep(0.001)
    pacer.close()
    steps = len(clock.steps)
    with pytest.raises(RuntimeError, match="closed"):
        pacer.add(Clock(1))
    assert len(clock.steps) == steps


def test_without_any_thread_nothing_is_driven(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    pacer, clock = Pacer(2), Clock(1)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="can't start"):
            pacer.add(clock)
    pacer.add(clock)
    assert clock.ended.wait(PATIENCE_S)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        more = [Clock(2), Clock(2)]
        for one in more:
            pacer.add(one)
    assert all(one.ended.wait(PATIENCE_S) for one in more), "the thread there is drives them all"
    pacer.close()
