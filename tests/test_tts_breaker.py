"""The breaker of the chain: when an engine is asked again, and by how many at once."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from errors import EngineError
from tests.fakes.voice import FakeEngine
from tests.virtual_time import run_virtual
from tts.breaker import BACKOFF_FIRST_S, BACKOFF_MAX_S, REFUSALS, RETRY_AFTER_MAX_S, Breaker
from tts.chain import Chain
from ttsreal import BaseTTS


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def failure(retry_after_s: float | None = None) -> EngineError:
    return EngineError("e", "scripted", retry_after_s=retry_after_s)


def test_each_failure_in_a_row_rests_it_for_twice_as_long() -> None:
    clock = Clock()
    breaker = Breaker(clock)
    waits = []
    for _ in range(9):
        clock.now += breaker.open_for_s
        waits.append(breaker.failed(failure()))
    assert waits[:3] == [BACKOFF_FIRST_S, 2 * BACKOFF_FIRST_S, 4 * BACKOFF_FIRST_S] and waits[-1] == BACKOFF_MAX_S
    assert breaker.is_open and breaker.open_for_s == BACKOFF_MAX_S
    clock.now += BACKOFF_MAX_S
    assert not breaker.is_open
    breaker.succeeded()
    assert (breaker.failures, breaker.reason, breaker.open_for_s) == (0, "", 0.0)


@pytest.mark.parametrize(("asked_s", "waits_s"), [(7, 7), (0.5, 0.5), (1e9, RETRY_AFTER_MAX_S)])
def test_it_waits_as_long_as_the_server_asked_for(asked_s: float, waits_s: float) -> None:
    breaker = Breaker(Clock())
    assert breaker.failed(failure(asked_s)) == waits_s


def test_a_clause_that_was_refused_says_little_about_the_next() -> None:
    breaker = Breaker(Clock())
    for _ in range(REFUSALS - 1):
        assert breaker.failed(failure(0)) == 0 and not breaker.is_open
    assert breaker.failed(failure(0)) > 0 and breaker.is_open


def test_clauses_that_fail_together_count_once() -> None:
    clock = Clock()
    breaker = Breaker(clock)
    assert [breaker.failed(failure()) for _ in range(3)] == [BACKOFF_FIRST_S] * 3 and breaker.failures == 1
    assert breaker.failed(failure(60)) == 60, "one of them was told when"
    assert breaker.failed(failure()) == 60


def test_half_open_one_clause_tries_it_and_the_others_go_on() -> None:
    clock = Clock()
    breaker = Breaker(clock)
    breaker.failed(failure())
    clock.now = BACKOFF_FIRST_S
    with breaker.asked():
        assert breaker.is_open
        with breaker.asked():  # someone who has nobody else
            pass
        assert breaker.is_open
    assert not breaker.is_open, "the trial ended without a verdict: the next clause tries it"
    with breaker.asked():
        breaker.failed(failure())
    assert breaker.is_open and breaker.open_for_s == 2 * BACKOFF_FIRST_S
    breaker.succeeded()
    with breaker.asked():
        assert not breaker.is_open


def test_after_its_rest_only_one_session_waits_for_a_dead_engine() -> None:
    async def run() -> None:
        loop = asyncio.get_running_loop()
        dead = FakeEngine("dead", first_sound_s=1e5)
        good = FakeEngine("good", first_sound_s=0.1, chunk_s=0)
        chain = Chain([dead, good], now=loop.time)
        first_s: list[float] = []

        async def one() -> None:
            began = loop.time()
            async with contextlib.aclosing(BaseTTS(chain).speak("Hello there.", turn=1)) as bursts:
                await anext(bursts)
                first_s.append(loop.time() - began)

        await one()
        await asyncio.sleep(BACKOFF_FIRST_S)
        await asyncio.gather(*(one() for _ in range(8)))
        assert [round(s) for s in sorted(first_s[1:])] == [0] * 7 + [3]
        assert len(dead.asked) == 2

    run_virtual(run())


def test_retry_after_is_remembered_by_the_chain() -> None:
    async def run() -> None:
        loop = asyncio.get_running_loop()
        busy, good = FakeEngine("busy", fail_after=0, retry_after_s=40), FakeEngine("good")
        chain = Chain([busy, good], now=loop.time)
        for _ in range(3):
            async for _ in BaseTTS(chain).speak("Hello there.", turn=1):
                pass
        assert len(busy.asked) == 1 and 0 < chain.describe()[0]["blocked_for_s"] <= 40
        told = chain.figures()
        assert (told['speech_failures_total{engine="busy"}'], told['speech_resting{engine="busy"}']) == (1, 1)
        assert (told['speech_clauses_total{engine="good"}'], told['speech_resting{engine="good"}']) == (3, 0)
        busy.fail_after = None
        await asyncio.sleep(40)
        async for _ in BaseTTS(chain).speak("Hello there.", turn=1):
            pass
        assert len(busy.asked) == 2 and chain.describe()[0]["failures"] == 0
        told = chain.figures()
        assert (told['speech_failures_total{engine="busy"}'], told['speech_clauses_total{engine="busy"}']) == (1, 1)

    run_virtual(run())


def test_the_last_engine_is_given_its_own_patience() -> None:
    async def run(alone: bool) -> tuple[str, float]:
        slow = FakeEngine("slow", first_sound_s=6)
        others = [] if alone else [FakeEngine("good", first_sound_s=0)]
        chain = Chain([slow, *others], first_sound_s=2)
        async with contextlib.aclosing(chain.speak("Hello.", "en")) as pieces:
            return (await anext(pieces)).voice.engine, asyncio.get_running_loop().time()

    assert run_virtual(run(True)) == ("slow", 6.0)
    assert run_virtual(run(False)) == ("good", 2.0)
