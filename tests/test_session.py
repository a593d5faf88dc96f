"""A session's promises, on a virtual clock: order, completeness, holds, interruption at every stage."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncGenerator, Awaitable, Callable

import numpy as np
import pytest

from basereal import JOBS_MAX
from errors import Busy
from media import Event, SpeechFrame
from speech import frames_of
from tests.fakes.session import FakeEngine, FakeVoice, Stage
from tests.virtual_time import run_virtual


def on_stage(
    play: Callable[[Stage], Awaitable[None]], voice: FakeVoice | None = None, engine: FakeEngine | None = None
) -> Stage:
    """Run `play` on a fresh stage and return the stage with what it showed."""

    async def main() -> Stage:
        stage = Stage(voice, engine)
        try:
            await play(stage)
        finally:
            await stage.close()
        return stage

    return run_virtual(main())


def words(n: int) -> str:
    return "x" * n


def test_idle_shows_every_picture_of_the_loop_in_order() -> None:
    stage = on_stage(lambda s: asyncio.sleep(1.0))
    places = [int(s.unit.picture[0, 0]) for s in stage.shown if s.unit]
    assert places == [i % 10 for i in range(len(places))]
    assert stage.spoken == []
    assert stage.engine.batches == []


def test_speech_is_played_whole_and_in_order() -> None:
    async def play(s: Stage) -> None:
        await s.real.say(words(75))
        assert s.real.speaking
        await asyncio.sleep(3.0)
        assert not s.real.speaking

    stage = on_stage(play)
    assert stage.spoken == list(range(1, 76))
    assert stage.names() == ["speech.started", "speech.ended"]


def test_two_texts_follow_each_other() -> None:
    async def play(s: Stage) -> None:
        await s.real.say(words(21))
        await s.real.say(words(30))
        await asyncio.sleep(3.0)

    stage = on_stage(play)
    assert stage.spoken == [*range(1, 22), *range(1, 31)]
    assert stage.names() == ["speech.started", "speech.ended"] * 2


def test_the_head_never_jumps_when_speech_starts_and_ends() -> None:
    async def play(s: Stage) -> None:
        for n in (20, 33, 7):
            await s.real.say(words(n))
            await asyncio.sleep(1.7)

    stage = on_stage(play, engine=FakeEngine(ms_per_picture=9))
    places = [int(s.unit.picture[0, 0]) for s in stage.shown if s.unit]
    assert all((b - a) % 10 == 1 for a, b in zip(places, places[1:], strict=False))


def test_the_mouth_fades_in_and_out() -> None:
    async def play(s: Stage) -> None:
        await s.real.say(words(40))
        await asyncio.sleep(3.0)

    blends = [s.blend for s in on_stage(play).shown if not s.held]
    first = next(i for i, b in enumerate(blends) if b)
    assert blends[first : first + 4] == [33, 67, 100, 100]
    last = max(i for i, b in enumerate(blends) if b)
    assert blends[last - 3 : last + 1] == [100, 75, 50, 25]


def test_a_late_voice_holds_and_loses_no_sound() -> None:
    voice = FakeVoice(rate=1.2, stalls={3: 0.6})

    async def play(s: Stage) -> None:
        await s.real.say(words(60))
        await asyncio.sleep(4.0)

    stage = on_stage(play, voice=voice)
    assert stage.spoken == list(range(1, 61))
    speaking = [s for s in stage.shown if any(s.numbers)]
    first, last = stage.shown.index(speaking[0]), stage.shown.index(speaking[-1])
    held = [s for s in stage.shown[first:last] if s.held]
    assert held, "the stall must be held"
    inside = [s for s in stage.shown[first:last] if not s.held]
    assert all(all(s.numbers) for s in inside), "silence was put inside speech"


def test_a_voice_slower_than_life_pauses_seldom_instead_of_stuttering() -> None:
    async def play(s: Stage) -> None:
        await s.real.say(words(60))
        await asyncio.sleep(5.0)

    stage = on_stage(play, voice=FakeVoice(rate=0.5, chunk_frames=2))
    assert stage.spoken == list(range(1, 61))
    units = 30
    assert len(stage.holds()) <= units / 2


def test_a_voice_that_ends_without_saying_so_is_heard_to_its_end() -> None:
    async def play(s: Stage) -> None:
        await s.real.say(words(33))
        await asyncio.sleep(2.0)
        assert not s.real.speaking

    assert on_stage(play, voice=FakeVoice(marks_final=False)).spoken == list(range(1, 34))


def test_the_mouth_moves_again_after_a_voice_that_ended_without_saying_so() -> None:
    tone, quiet = np.full(320 * 40, 0.1, np.float32), np.zeros(320 * 20, np.float32)

    async def play(s: Stage) -> None:
        await s.real.play(np.concatenate([tone, quiet]))
        await asyncio.sleep(2.0)
        s.shown.clear()
        await s.real.play(np.concatenate([quiet, tone]))
        await asyncio.sleep(3.0)

    async def unmarked(sound: object, turn: int) -> AsyncGenerator[list[SpeechFrame], None]:
        async for burst in frames_of(sound, turn):  # type: ignore[arg-type]
            yield [dataclasses.replace(frame, final=False) for frame in burst]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("basereal.frames_of", unmarked)
        stage = on_stage(play)
    loud = [s.blend for s in stage.shown if all(s.numbers)]
    assert loud == [100] * 20, "a voice without lips"


def test_speech_starts_with_a_reserve_that_survives_the_engines_jitter() -> None:
    async def play(s: Stage) -> None:
        await s.real.say(words(60))
        await asyncio.sleep(3.0)
        s.shown.clear()  # the engine's jitter is known from here on
        await s.real.say(words(60))
        await asyncio.sleep(3.0)

    stage = on_stage(play, engine=FakeEngine([15, 115, 15, 15, 15, 15], max_batch=1))
    assert stage.spoken == list(range(1, 61))
    assert stage.holds() == []


def test_idle_motion_goes_on_while_a_slow_engine_draws_its_first_batch() -> None:
    async def play(s: Stage) -> None:
        await s.real.say(words(60))
        await asyncio.sleep(6.0)
        s.shown.clear()  # the engine's latency is known from here on
        await s.real.say(words(60))
        await asyncio.sleep(6.0)

    stage = on_stage(play, engine=FakeEngine(ms_per_picture=35))
    first = next(i for i, s in enumerate(stage.shown) if any(s.numbers))
    assert sum(s.held for s in stage.shown[:first]) <= 2


def test_a_slow_engine_holds_pictures_but_keeps_sound_and_picture_together() -> None:
    async def play(s: Stage) -> None:
        await s.real.say(words(50))
        await asyncio.sleep(6.0)

    stage = on_stage(play, engine=FakeEngine(ms_per_picture=60))
    assert stage.spoken == list(range(1, 51))


def test_an_engine_failure_costs_lips_and_not_speech() -> None:
    engine = FakeEngine()
    engine.fail_batches = {1, 2}

    async def play(s: Stage) -> None:
        await s.real.say(words(50))
        await asyncio.sleep(3.0)

    stage = on_stage(play, engine=engine)
    assert stage.spoken == list(range(1, 51))
    assert stage.scheduler.failures == 2


@pytest.mark.parametrize("after_s", [0.0, 0.05, 0.105, 0.12, 0.15, 0.2, 0.33, 0.5, 0.77, 1.05, 1.2, 2.0])
def test_interrupt_at_every_stage_ends_sound_within_a_tick(after_s: float) -> None:
    stopped: list[float] = []

    async def play(s: Stage) -> None:
        await s.real.say(words(50))
        await asyncio.sleep(after_s)
        s.real.interrupt()
        assert not s.real.speaking
        stopped.append(s.loop.time())
        await asyncio.sleep(1.0)

    stage = on_stage(play)
    loud = [s.at for s in stage.shown if any(s.numbers) and s.at > stopped[0]]
    assert not loud
    still_open = [s.at for s in stage.shown if s.blend and s.at > stopped[0] + 0.2]
    assert not still_open, "the mouth must be closed 200 ms after the interruption"


@pytest.mark.parametrize("gap_s", [0.0, 0.01, 0.08, 0.3])
@pytest.mark.parametrize("after_s", [0.0, 0.15, 0.4, 1.1])
def test_speak_interrupt_speak_says_only_the_second(after_s: float, gap_s: float) -> None:
    async def play(s: Stage) -> None:
        await s.real.say(words(50))
        await asyncio.sleep(after_s)
        turn = s.real.interrupt()
        await asyncio.sleep(gap_s)
        s.shown.clear()
        await s.real.say(words(25))
        assert s.real.turn == turn
        await asyncio.sleep(2.0)

    stage = on_stage(play)
    assert stage.spoken == list(range(1, 26))
    started = [e for _, e in stage.heard if e.name == "speech.started" and e.turn == 1]
    assert len(started) == 1


def test_text_of_an_interrupted_reply_is_dropped() -> None:
    async def play(s: Stage) -> None:
        old = s.real.turn
        s.real.interrupt()
        await s.real.say(words(30), turn=old)
        assert not s.real.speaking
        await asyncio.sleep(1.0)

    assert on_stage(play).spoken == []


def test_interrupting_silence_says_nothing_to_clients() -> None:
    async def play(s: Stage) -> None:
        s.real.interrupt()
        await asyncio.sleep(0.2)

    assert on_stage(play).names() == []


def test_events_come_when_their_frame_is_played() -> None:
    async def play(s: Stage) -> None:
        await s.real.say(words(50))
        await asyncio.sleep(3.0)

    stage = on_stage(play)
    first = next(s.at for s in stage.shown if any(s.numbers))
    assert stage.heard[0][0] == pytest.approx(first)
    assert stage.heard[1][0] - stage.heard[0][0] == pytest.approx(49 * 0.02)


def test_a_full_job_queue_is_refused_and_nothing_is_lost() -> None:
    async def play(s: Stage) -> None:
        await s.real.say(words(5))
        await asyncio.sleep(0)  # the worker takes the first text
        for _ in range(JOBS_MAX):
            await s.real.say("x")
        with pytest.raises(Busy, match=str(JOBS_MAX)):
            await s.real.say("x")
        s.real.interrupt()

    on_stage(play)


def test_a_failing_voice_tells_the_client_and_the_session_lives_on() -> None:
    class Broken(FakeVoice):
        async def speak(self, text, **_):  # type: ignore[no-untyped-def]
            if text == "bad":
                raise RuntimeError("scripted voice failure")
            async for burst in FakeVoice.speak(self, text, turn=0):
                yield burst

    async def play(s: Stage) -> None:
        await s.real.say("bad")
        await s.real.say(words(20))
        await asyncio.sleep(2.0)

    stage = on_stage(play, voice=Broken())
    assert stage.names() == ["error", "speech.started", "speech.ended"]
    assert stage.spoken == list(range(1, 21))


def test_closing_in_mid_speech_leaves_no_task_behind() -> None:
    async def play(s: Stage) -> None:
        await s.real.say(words(500))
        await asyncio.sleep(0.4)

    on_stage(play)  # run_virtual fails on tasks left behind


def test_recorded_sound_is_played_in_exact_frames() -> None:
    pcm = (np.arange(1, 320 * 30 + 100) % 977 / 1000).astype(np.float32)
    played: list[np.ndarray] = []

    async def play(s: Stage) -> None:
        await s.real.play(pcm)
        await asyncio.sleep(2.0)
        for shown in s.shown:
            if shown.unit is not None:
                played.extend(f.pcm for f in shown.unit.speech)

    stage = on_stage(play)
    sound = np.concatenate(played)
    start = int(np.flatnonzero(sound)[0])
    np.testing.assert_array_equal(sound[start : start + len(pcm)], pcm)
    assert stage.names() == ["speech.started", "speech.ended"]


@pytest.mark.parametrize("samples", [0, 1, 319, 320, 321, 640, 16000, 16001])
def test_framing_keeps_every_sample(samples: int) -> None:
    pcm = np.linspace(0.1, 0.9, samples, dtype=np.float32) if samples else np.zeros(0, np.float32)

    async def collect() -> list[object]:
        return [frame async for burst in frames_of(pcm, 3) for frame in burst]

    frames = run_virtual(collect())
    assert len(frames) == -(-samples // 320)
    if samples:
        sound = np.concatenate([f.pcm for f in frames])  # type: ignore[attr-defined]
        np.testing.assert_array_equal(sound[:samples], pcm)
        assert not sound[samples:].any()
        assert [f.final for f in frames] == [False] * (len(frames) - 1) + [True]  # type: ignore[attr-defined]
        assert [e.name for f in frames for e in f.events] == ["speech.started", "speech.ended"]  # type: ignore[attr-defined]


def test_one_listener_that_raises_does_not_silence_the_others() -> None:
    async def play(s: Stage) -> None:
        def broken(event: Event, at: float) -> None:
            raise ValueError("scripted listener failure")

        s.real.events.subscribe(broken)
        s.real.events.subscribe(lambda event, at: s.heard.append((at, event)))
        await s.real.say(words(10))
        await asyncio.sleep(1.0)

    assert on_stage(play).names().count("speech.ended") == 2


def test_sessions_share_batches_and_the_most_urgent_goes_first() -> None:
    async def main() -> FakeEngine:
        first = Stage(engine=FakeEngine(max_batch=4))
        second = Stage(engine=first.engine)
        second.scheduler.remove(second.real)
        second.real._scheduler = first.scheduler
        first.scheduler.add(second.real)
        await asyncio.gather(first.real.say(words(40)), second.real.say(words(40)))
        await asyncio.sleep(3.0)
        await asyncio.gather(first.close(), second.close())
        assert first.spoken == second.spoken == list(range(1, 41))
        return first.engine

    engine = run_virtual(main())
    assert max(engine.batches) == 4
