"""Priorities are the calling thread's own, and nothing that it starts has them by accident."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import TypeVar

import pytest

from priority import give_way, serve_first

T = TypeVar("T")
linux = pytest.mark.skipif(sys.platform != "linux", reason="threads have a priority each on Linux only")


def in_thread(work: Callable[[], T]) -> T:
    found: list[T] = []
    thread = threading.Thread(target=lambda: found.append(work()))
    thread.start()
    thread.join()
    return found[0]


def niceness() -> int:
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


@linux
def test_a_short_slice_is_the_threads_alone_and_keeps_its_niceness() -> None:
    def served() -> tuple[bool, int, int]:
        give_way(3)
        return serve_first(0.001), niceness(), os.sched_getscheduler(0) & os.SCHED_RESET_ON_FORK

    before = niceness()
    taken, nice, resets = in_thread(served)
    assert taken and nice == before + 3 and resets == os.SCHED_RESET_ON_FORK
    assert niceness() == before and not os.sched_getscheduler(0) & os.SCHED_RESET_ON_FORK


@linux
def test_a_process_started_by_such_a_thread_is_as_usual() -> None:
    code = "import os; print(os.sched_getscheduler(0) & os.SCHED_RESET_ON_FORK)"

    def started() -> str:
        serve_first()
        return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert in_thread(started).strip() == "0"


@linux
def test_threads_of_one_that_gives_way_give_way_too() -> None:
    def outer() -> int:
        give_way(2)
        return in_thread(niceness)

    assert in_thread(outer) == niceness() + 2


def test_a_system_that_refuses_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("priority._NUMBERS", {platform.machine(): 100_000})
    assert in_thread(serve_first) is False


def test_elsewhere_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("priority.sys.platform", "darwin")
    assert serve_first() is False
    give_way(5)
