"""The next clause is asked for while this one is being made, where the engine takes more than one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from errors import EngineError
from media import SpeechFrame
from tests.fakes.voice import FakeEngine
from tests.virtual_time import run_virtual
from tts.chain import Chain
from ttsreal import BaseTTS

TEXT = "This is the first sentence. And this is the second one. A third one follows. The fourth is last."


async def spoken(engine: FakeEngine, *more: FakeEngine) -> tuple[list[SpeechFrame], float]:
    frames = []
    async for burst in BaseTTS(Chain([engine, *more])).speak(TEXT, turn=1):
        frames += burst
    return frames, asyncio.get_running_loop().time()


def texts(frames: list[SpeechFrame]) -> list[str]:
    return [event.data["text"] for frame in frames for event in frame.events if event.name == "clause.started"]


def test_a_slow_start_is_paid_once_for_two_clauses() -> None:
    one_by_one, at_once = FakeEngine(first_sound_s=2), FakeEngine(first_sound_s=2, at_once=2)
    in_order, slow_s = run_virtual(spoken(one_by_one))
    together, quick_s = run_virtual(spoken(at_once))
    assert at_once.most_at_work == 2 and one_by_one.most_at_work == 1
    assert texts(together) == texts(in_order) and len(together) == len(in_order)
    assert quick_s < slow_s - 3


def test_clauses_stay_in_order_when_the_second_is_ready_first() -> None:
    class Uneven(FakeEngine):
        async def speak(self, clause, voice, language, speed=1.0):  # type: ignore[no-untyped-def]
            await asyncio.sleep(5 if "first" in clause else 0)
            async for sound in super().speak(clause, voice, language, speed):
                yield sound

    frames, _ = run_virtual(spoken(Uneven(at_once=2)))
    assert [text.split()[-2] for text in texts(frames)] == ["first", "second", "one", "is"] or len(texts(frames)) == 4
    assert "".join(texts(frames)).index("first") < "".join(texts(frames)).index("second")


def test_stopping_ends_both() -> None:
    async def run() -> None:
        engine = FakeEngine(first_sound_s=0.1, chunk_s=1, at_once=2)
        stream = BaseTTS(Chain([engine])).speak(TEXT, turn=1)
        await anext(stream)
        await asyncio.sleep(1)
        assert engine.at_work == 2
        await stream.aclose()
        assert engine.at_work == 0

    run_virtual(run())


@pytest.mark.parametrize("at_once", [1, 2])
def test_a_clause_that_fails_never_silences_the_next(at_once: int) -> None:
    class Fails(FakeEngine):
        async def speak(self, clause, voice, language, speed=1.0):  # type: ignore[no-untyped-def]
            if "second" in clause:
                raise EngineError(self.name, "not that one", retry_after_s=0)
            async for sound in super().speak(clause, voice, language, speed):
                yield sound

    async def run() -> list[SpeechFrame]:
        frames: list[SpeechFrame] = []
        with pytest.raises(EngineError, match="not that one"):
            async for burst in BaseTTS(Chain([Fails(at_once=at_once)])).speak(TEXT, turn=1):
                frames += burst
        return frames

    frames = run_virtual(run())
    assert len(texts(frames)) == 3 and "fourth" in texts(frames)[-1]
    errors = [event for frame in frames for event in frame.events if event.name == "error"]
    assert len(errors) == 1 and frames[-1].events[-1].name == "speech.ended"


def test_what_is_prepared_is_one_clause_and_is_there_when_it_is_wanted() -> None:
    async def run() -> None:
        engine, loop = FakeEngine(first_sound_s=1), asyncio.get_running_loop()
        speech = BaseTTS(Chain([engine])).prepare(TEXT)
        await asyncio.sleep(60)
        assert len(engine.asked) == 1 and engine.at_work == 0, "what is thrown away costs one clause"
        wanted = loop.time()
        bursts = speech.frames(7)
        frames = list(await anext(bursts))
        assert loop.time() == wanted
        frames += [frame for burst in [burst async for burst in bursts] for frame in burst]
        assert {frame.turn for frame in frames} == {7} == {event.turn for frame in frames for event in frame.events}
        assert texts(frames) == texts((await spoken(FakeEngine()))[0])

    run_virtual(run())


def test_what_is_dropped_is_not_made_and_never_heard() -> None:
    async def run() -> None:
        engine = FakeEngine(first_sound_s=1)
        speech = BaseTTS(Chain([engine])).prepare(TEXT)
        await asyncio.sleep(0.5)
        assert engine.at_work == 1
        speech.drop()
        assert [burst async for burst in speech.frames(1)] == []
        assert engine.at_work == 0 and len(engine.asked) == 1

    run_virtual(run())


def test_a_text_that_breaks_off_is_told_to_who_hears_it_only() -> None:
    async def broken() -> AsyncIterator[str]:
        yield "This is the first sentence. "
        raise EngineError("llm", "gone")

    async def run() -> None:
        unheard, heard = (BaseTTS(Chain([FakeEngine()])).prepare(broken()) for _ in range(2))
        await asyncio.sleep(60)
        unheard.drop()
        frames = []
        with pytest.raises(EngineError, match="gone"):
            async for burst in heard.frames(1):
                frames += burst
        assert texts(frames) == ["This is the first sentence."]

    run_virtual(run())
