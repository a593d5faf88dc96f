"""The chain of recognisers, captions over it, who goes first, and a recogniser in a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest

import asr.chain
from asr.base import Transcript
from asr.chain import BACKOFF_MAX_S, RecogniserChain
from asr.partials import Agreement
from asr.precedence import Precedence
from asr.remote import RemoteRecogniser
from errors import BadRequest, EngineError
from media import SAMPLE_RATE_HZ, Pcm
from tests.virtual_time import run_virtual
from tts.remote import SpeechProcess

SOUND = np.full(SAMPLE_RATE_HZ, 0.1, np.float32)


class Scripted:
    """Answers with its name, or `text`, after `takes_s`; `fails` are the failures before that."""

    def __init__(
        self,
        name: str,
        *fails: Exception,
        takes_s: float = 0.0,
        takes_partials: bool = True,
        missing: str | None = None,
        text: str | None = None,
    ) -> None:
        self.name, self.fails, self.takes_s, self.takes_partials = name, list(fails), takes_s, takes_partials
        self.missing, self.text = missing, text
        self.asked: list[tuple[float, str | None, bool]] = []
        self.at_once = self.most_at_once = self.warmed = 0
        self.closed = False

    def why_not(self) -> str | None:
        return self.missing

    async def warm_up(self) -> None:
        self.warmed += 1
        if self.fails:
            raise self.fails.pop(0)

    async def transcribe(self, pcm: Pcm, *, language: str | None = None, final: bool = True) -> Transcript:
        seconds = pcm.size / SAMPLE_RATE_HZ
        self.asked.append((seconds, language, final))
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await asyncio.sleep(self.takes_s)
        finally:
            self.at_once -= 1
        if self.fails:
            raise self.fails.pop(0)
        return Transcript(self.name if self.text is None else self.text, language or "en", 0.9, 0.1, seconds)

    async def aclose(self) -> None:
        self.closed = True


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def refused(engine: str = "a", *, retryable: bool = True) -> EngineError:
    return EngineError(engine, "scripted", retryable=retryable)


# the chain


async def test_the_next_engine_transcribes_what_the_first_could_not() -> None:
    clock = Clock()
    first, second = Scripted("a", refused(), refused()), Scripted("b")
    chain = RecogniserChain([first, second], now=clock)
    assert (await chain.transcribe(SOUND, language="zh")).text == "b"
    assert first.asked == second.asked == [(1.0, "zh", True)]
    assert (await chain.transcribe(SOUND)).text == "b" and len(first.asked) == 1, "it is left alone for a while"
    clock.now += 5.1
    assert (await chain.transcribe(SOUND)).text == "b" and len(first.asked) == 2
    clock.now += 5.1
    assert (await chain.transcribe(SOUND)).text == "b" and len(first.asked) == 2, "for twice as long the second time"
    clock.now += 5.1
    assert (await chain.transcribe(SOUND)).text == "a"
    assert chain.describe()[0]["failures"] == 0
    assert chain.figures() == {
        'recognition_answers_total{engine="a"}': 1,
        'recognition_failures_total{engine="a"}': 2,
        'recognition_answers_total{engine="b"}': 4,
        'recognition_failures_total{engine="b"}': 0,
    }


async def test_a_refusal_that_waiting_does_not_heal_still_lets_the_next_engine_try() -> None:
    clock = Clock()
    chain = RecogniserChain([Scripted("a", refused(retryable=False)), Scripted("b")], now=clock)
    assert (await chain.transcribe(SOUND)).text == "b"
    facts = chain.describe()[0]
    assert facts["blocked_for_s"] == BACKOFF_MAX_S and facts["last_failure"] == "a: scripted"


async def test_when_all_fail_the_error_names_them_and_blocked_ones_are_asked_all_the_same() -> None:
    chain = RecogniserChain([Scripted("a", refused()), Scripted("b", ValueError("odd"))])
    with pytest.raises(EngineError, match="^recognition: a: scripted; b: ValueError: odd$"):
        await chain.transcribe(SOUND)
    assert (await chain.transcribe(SOUND)).text == "a"


async def test_missing_engines_are_passed_over_and_named_when_there_is_no_other() -> None:
    missing = Scripted("a", missing="a: no weights")
    chain = RecogniserChain([missing, Scripted("b", takes_partials=False)])
    assert (await chain.transcribe(SOUND)).text == "b" and not missing.asked and chain.why_not() is None
    assert not chain.takes_partials and not chain.foresees
    await chain.warm_up()
    assert not missing.warmed
    alone = RecogniserChain([missing])
    with pytest.raises(EngineError, match="recognition: a: no weights"):
        await alone.transcribe(SOUND)
    assert alone.why_not() == "a: no weights" and RecogniserChain([]).why_not() == "no recogniser is configured"
    await chain.aclose()
    assert missing.closed


async def test_captions_ask_one_engine_that_makes_them() -> None:
    dear, cheap, last = Scripted("a", takes_partials=False), Scripted("b", refused("b")), Scripted("c")
    chain = RecogniserChain([dear, cheap, last])
    assert chain.takes_partials and not chain.foresees and RecogniserChain([cheap, dear]).foresees
    with pytest.raises(EngineError, match="b: scripted"):
        await chain.transcribe(SOUND, final=False)
    assert not dear.asked and not last.asked, "the next caption comes soon"
    assert (await chain.transcribe(SOUND, final=False)).text == "c"
    assert (await chain.transcribe(SOUND)).text == "a"


async def test_a_request_nobody_can_meet_blocks_nobody() -> None:
    chain = RecogniserChain([Scripted("a", BadRequest("scripted"))])
    with pytest.raises(BadRequest, match="^scripted$"):
        await chain.transcribe(SOUND)
    assert not chain.describe()[0]["failures"]


async def test_warming_up_remembers_what_failed() -> None:
    chain = RecogniserChain([Scripted("a", refused()), Scripted("b")])
    await chain.warm_up()
    assert chain.describe()[0]["failures"] == 1 and (await chain.transcribe(SOUND)).text == "b"


def test_an_engine_that_hangs_is_left_for_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    async def hang() -> tuple[str, float]:
        loop = asyncio.get_running_loop()
        slow = Scripted("a")
        chain = RecogniserChain([slow, Scripted("b")], now=loop.time)
        assert (await chain.transcribe(SOUND)).text == "a"
        slow.takes_s = 1e5
        began = loop.time()
        return (await chain.transcribe(SOUND)).text, loop.time() - began

    text, took_s = run_virtual(hang())
    assert text == "b" and took_s == pytest.approx(asr.chain.ANSWER_TIMEOUT_S + asr.chain.TIMEOUT_PER_S)


# captions


def test_what_two_transcriptions_begin_with_alike_stands() -> None:
    agreement = Agreement()
    heard = ["Good.", "Good morning, could", "good morning could you", "Good mourning, could you tell me?", "Good"]
    found = [agreement.add(text) for text in heard]
    assert found == [
        ("", "Good."),
        ("Good", "Good morning, could"),
        ("good morning could", "good morning could you"),
        ("good morning could", "good morning could you tell me?"),
        ("good morning could", "good morning could"),
    ]
    agreement = Agreement()
    found = [agreement.add(text) for text in ("我想。", "我想，买两张", "我想买两张门票")]
    assert found == [("", "我想。"), ("我想", "我想，买两张"), ("我想买两张", "我想买两张门票")]


# who goes first


async def test_finals_go_first_and_who_gives_up_holds_nobody_up() -> None:
    precedence, order = Precedence(), list[str]()

    async def work(name: str, final: bool) -> None:
        async with precedence.turn(final=final):
            order.append(name)
            await asyncio.sleep(0)

    async with precedence.turn(final=False):
        names = (("c1", False), ("f1", True), ("c2", False), ("f2", True), ("f3", True))
        tasks = [asyncio.create_task(work(name, final)) for name, final in names]
        await asyncio.sleep(0)
        tasks[3].cancel()
    tasks[1].cancel()  # it has just been handed the turn
    await asyncio.gather(*tasks, return_exceptions=True)
    assert order == ["f3", "c1", "c2"]
    async with asyncio.timeout(1), precedence.turn(final=True):
        pass


# in a process of its own


class Hosted:
    """Made in both processes; a first sample below zero is an order."""

    takes_partials = True

    def __init__(self, name: str = "hosted") -> None:
        self.name = name
        self.warmed = self.at_work = 0

    def why_not(self) -> str | None:
        return None

    async def warm_up(self) -> None:
        self.warmed += 1

    async def transcribe(self, pcm: Pcm, *, language: str | None = None, final: bool = True) -> Transcript:
        match round(float(pcm[0])):
            case -1:
                raise EngineError(self.name, "scripted", retryable=False)
            case -2:
                raise ValueError("scripted")
            case -3:
                self.at_work += 1
                try:
                    await asyncio.sleep(1e6)
                finally:
                    self.at_work -= 1
            case -4:
                time.sleep(1e6)  # noqa: ASYNC251
        facts = f"pid={os.getpid()} warmed={self.warmed} at_work={self.at_work}"
        return Transcript(f"{facts} 你好 {float(pcm.sum()):.3f}", f"{language}", float(final), 0.25, pcm.size / 16_000)

    async def aclose(self) -> None:
        pass


@contextlib.asynccontextmanager
async def hosted(**options: Any) -> AsyncIterator[RemoteRecogniser]:
    engine = RemoteRecogniser(SpeechProcess(rest_s=0.01), "tests.test_asr_chain:Hosted", options)
    try:
        yield engine
    finally:
        await engine.aclose()


def order(number: int) -> Pcm:
    return np.full(3, -number, np.float32)


async def facts(engine: RemoteRecogniser) -> dict[str, int]:
    text = (await engine.transcribe(SOUND)).text
    return {name: int(value) for name, value in (word.split("=") for word in text.split(" ")[:3])}


async def test_a_hosted_recogniser_hears_what_is_sent_and_answers_in_full() -> None:
    async with hosted(name="there") as engine:
        assert engine.name == "there" and engine.takes_partials and engine.why_not() is None
        rng = np.random.default_rng(0)
        pcm = rng.standard_normal(30 * 16_000)  # neither float32 nor short
        found = await engine.transcribe(pcm, language="zh", final=False)  # type: ignore[arg-type]
        assert found.text.endswith(f"你好 {pcm.astype(np.float32).sum():.3f}")
        assert (found.language, found.confidence, found.no_speech, found.seconds) == ("zh", 0.0, 0.25, 30.0)
        assert (await facts(engine))["pid"] != os.getpid()


async def test_a_hosted_recognisers_errors_come_across() -> None:
    async with hosted() as engine:
        with pytest.raises(EngineError, match="^hosted: scripted$") as failure:
            await engine.transcribe(order(1))
        assert not failure.value.retryable
        with pytest.raises(EngineError, match="^hosted: ValueError: scripted$"):
            await engine.transcribe(order(2))


async def test_cancelling_reaches_the_hosted_recogniser() -> None:
    async with hosted() as engine:
        asking = asyncio.create_task(engine.transcribe(order(3)))
        await asyncio.sleep(0)
        while not (await facts(engine))["at_work"]:
            pass
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert not (await facts(engine))["at_work"]


async def test_when_its_process_dies_the_next_recogniser_answers_and_it_comes_back_loaded() -> None:
    async with hosted() as engine:
        chain = RecogniserChain([engine, Scripted("b")])
        await chain.warm_up()
        before = await facts(engine)
        assert before["warmed"] == 1
        asking = asyncio.create_task(chain.transcribe(order(4)))
        await asyncio.sleep(0.01)
        os.kill(before["pid"], signal.SIGKILL)
        assert (await asking).text == "b"
        assert "its process ended" in chain.describe()[0]["last_failure"]
        while True:
            with contextlib.suppress(EngineError):
                after = await facts(engine)
                if after["pid"] != before["pid"] and after["warmed"]:
                    break
            await asyncio.sleep(0.01)
