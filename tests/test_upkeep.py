"""Upkeep: the loop's lag is seen, and ended sessions' cycles are freed."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import time
import weakref
from pathlib import Path

import pytest

from house.upkeep import LAG_MEMORY_S, Upkeep, _Worst


async def test_a_blocked_loop_is_noticed() -> None:
    upkeep = Upkeep(lambda: 0)
    upkeep.start()
    try:
        await asyncio.sleep(0.06)
        time.sleep(0.2)  # noqa: ASYNC251
        await asyncio.sleep(0.06)
        assert upkeep.lag_s() >= 0.1
        assert 0.0 < upkeep.held_s() <= upkeep.lag_s()
    finally:
        await upkeep.aclose()


async def test_waiting_for_a_core_is_lag_but_no_holding(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the kernel tells it: the thread was ready for all the time that was lost."""
    monkeypatch.setattr("house.upkeep._starved_s", time.monotonic)
    upkeep = Upkeep(lambda: 0)
    upkeep.start()
    try:
        await asyncio.sleep(0.06)
        time.sleep(0.2)  # noqa: ASYNC251
        await asyncio.sleep(0.06)
        assert upkeep.lag_s() >= 0.1
        assert upkeep.held_s() == 0.0
    finally:
        await upkeep.aclose()


def test_the_worst_of_the_last_seconds_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("house.upkeep.time.monotonic", lambda: now)
    worst = _Worst()
    for value in (0.1, 0.3, 0.2):
        worst.note(value)
    now += LAG_MEMORY_S
    worst.note(0.05)
    assert worst.worst() == 0.3
    now += 1
    assert worst.worst() == 0.05


class Cycle:
    """Something that only the cycle collector can free."""

    def __init__(self) -> None:
        self.me = self


async def test_what_an_ended_session_leaves_is_freed() -> None:
    ended = 0
    gc.disable()
    upkeep = Upkeep(lambda: ended)
    upkeep.start()
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


async def test_a_collection_holds_the_loop_like_anything_else(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = 0
    monkeypatch.setattr("house.upkeep.gc.collect", lambda: time.sleep(0.2))
    upkeep = Upkeep(lambda: ended)
    upkeep.start()
    upkeep._tidied_at -= 1000
    try:
        ended = 1
        await asyncio.sleep(0.4)
        assert upkeep.held_s() >= 0.2
        assert upkeep.lag_s() >= 0.2
    finally:
        await upkeep.aclose()


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="only Linux lists a process's threads")
def test_numpy_multiplies_in_the_thread_that_asks() -> None:
    script = (
        "import os, sys, app, house.upkeep\n"
        "assert 'numpy' not in sys.modules, 'it would have its threads by now'\n"
        "house.upkeep.limit_blas()\n"
        "import numpy\n"
        "numpy.ones((512, 512)) @ numpy.ones((512, 512))\n"
        "print(len(os.listdir('/proc/self/task')), os.environ['OPENBLAS_NUM_THREADS'])"
    )

    def threads(**environment: str) -> str:
        command = [sys.executable, "-c", script]
        clean = {name: value for name, value in os.environ.items() if name != "OPENBLAS_NUM_THREADS"}
        return subprocess.run(command, env=clean | environment, capture_output=True, text=True, check=True).stdout

    assert threads().split() == ["1", "1"]
    assert threads(OPENBLAS_NUM_THREADS="2").split()[1] == "2", "what somebody wants stays"
