"""From microphone to turns, on virtual time: scripted ears and judges, real logic."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from errors import EngineError
from listening.frames import MicFrame
from listening.listener import Listener
from listening.settings import ListeningSettings
from listening.turns import TurnDetector
from listening.turntext import Verdict
from listening.utterance import PAUSE_KEPT_S
from listening.vad import SileroVad
from media import SAMPLE_RATE_HZ, SAMPLES_PER_FRAME
from tests.fakes.listening import (
    FRAME_JITTER_S,
    LoudnessVad,
    Mouth,
    ScriptedEnd,
    ScriptedRecogniser,
    Told,
    click,
    cough,
    inline,
)
from tests.virtual_time import run_virtual

SETTINGS = ListeningSettings()
DONE = "That is all."
OPEN = "I would like a"


class Room:
    """A listener, who speaks to it, and what it told."""

    def __init__(self, listener: Listener, told: Told, recogniser: ScriptedRecogniser, vad: LoudnessVad) -> None:
        self.listener, self.told, self.recogniser, self.vad = listener, told, recogniser, vad
        self.mouth = Mouth(listener)


@asynccontextmanager
async def room(
    *texts: str | Exception,
    ends: tuple[float | Exception, ...] = (0.95,),
    settings: ListeningSettings = SETTINGS,
    **how: Any,
) -> AsyncIterator[Room]:
    now = asyncio.get_running_loop().time
    told, vad, recogniser = Told(now), LoudnessVad(), ScriptedRecogniser(*(texts or (DONE,)), **how)
    turns = TurnDetector(settings, ScriptedEnd(*ends), run=inline)
    listener = Listener(vad, turns, recogniser, settings, told, now=now)
    try:
        yield Room(listener, told, recogniser, vad)
    finally:
        await listener.aclose()


Test = Callable[..., Coroutine[Any, Any, None]]


def virtual(test: Test) -> Callable[..., None]:
    """Runs a test on virtual time; tasks it leaves behind fail it."""

    def on_virtual_time(**given: Any) -> None:
        run_virtual(test(**given))

    on_virtual_time.__name__ = test.__name__
    on_virtual_time.__signature__ = inspect.signature(test)  # type: ignore[attr-defined]
    return on_virtual_time


@virtual
async def test_a_sentence_becomes_a_turn() -> None:
    async with room() as it:
        await it.mouth.keep_silent(1)
        await it.mouth.speak(1.5)
        await it.mouth.keep_silent(3)
        assert it.told.names == ["started", "pause", "likely", "ended"]
        (turn,) = it.told.turns
        assert turn.transcript.text == DONE and turn.reason == "finished"
        assert turn.began == pytest.approx(1.0, abs=FRAME_JITTER_S)
        assert turn.ended == pytest.approx(2.5, abs=FRAME_JITTER_S)
        assert turn.wait_s == pytest.approx(SETTINGS.sure_s, abs=FRAME_JITTER_S)
        before_s = len(turn.pcm) / SAMPLE_RATE_HZ - 1.5 - SETTINGS.pause_s
        assert before_s == pytest.approx(SETTINGS.prefix_s - SETTINGS.start_s, abs=FRAME_JITTER_S)
        assert not it.listener.is_speaking


@virtual
async def test_the_beginning_is_kept_although_speech_is_noticed_later() -> None:
    async with room() as it:
        await it.mouth.keep_silent(1)
        await it.mouth.speak(1)
        await it.mouth.keep_silent(2)
        loud = np.flatnonzero(it.told.turns[0].pcm)
        assert len(loud) == SAMPLE_RATE_HZ, "every sample of the speech is there"
        assert loud[0] >= 0.1 * SAMPLE_RATE_HZ, "and some of what was before"


@virtual
async def test_a_pause_in_an_open_sentence_does_not_end_it() -> None:
    async with room(OPEN, "I would like a red one.", ends=(0.2, 0.95)) as it:
        await it.mouth.speak(1)
        await it.mouth.keep_silent(1.2)
        await it.mouth.speak(1)
        await it.mouth.keep_silent(2)
        assert it.told.names == ["started", "pause", "resumed", "pause", "likely", "ended"]
        (turn,) = it.told.turns
        assert turn.transcript.text == "I would like a red one."
        assert len(turn.pcm) / SAMPLE_RATE_HZ == pytest.approx(3.2 + SETTINGS.pause_s, abs=2 * FRAME_JITTER_S)
        assert it.recogniser.finals[1] > it.recogniser.finals[0] + 2, "the whole was recognised, not its rest"
        assert it.told.voiced_s[-1] == pytest.approx(2.0, abs=0.15)


@virtual
async def test_the_same_pause_after_a_whole_sentence_ends_it() -> None:
    async with room() as it:
        await it.mouth.speak(1)
        await it.mouth.keep_silent(1.2)
        await it.mouth.speak(1)
        await it.mouth.keep_silent(2)
        assert [turn.reason for turn in it.told.turns] == ["finished", "finished"]


@virtual
async def test_an_open_sentence_ends_when_nothing_follows() -> None:
    async with room(OPEN, ends=(0.1,)) as it:
        await it.mouth.speak(1)
        await it.mouth.keep_silent(4)
        (turn,) = it.told.turns
        assert turn.reason == "silence"
        assert turn.wait_s == pytest.approx(SETTINGS.limit_s, abs=FRAME_JITTER_S)
        assert not it.told.likely, "no answer is prepared for half a sentence"


@virtual
async def test_who_asks_for_a_moment_gets_it() -> None:
    async with room("Wait a moment.", "Wait a moment. What time is it?") as it:
        await it.mouth.speak(1)
        await it.mouth.keep_silent(SETTINGS.wait_limit_s - 1)
        assert not it.told.turns
        await it.mouth.speak(1)
        await it.mouth.keep_silent(2)
        (turn,) = it.told.turns
        assert turn.transcript.text.endswith("it?") and turn.reason == "finished"


@virtual
async def test_a_moment_ends_too() -> None:
    async with room("等一下。") as it:
        await it.mouth.speak(1)
        await it.mouth.keep_silent(SETTINGS.wait_limit_s + 1)
        assert [turn.reason for turn in it.told.turns] == ["wait"]


@virtual
async def test_a_long_pause_does_not_fill_the_utterance_with_silence() -> None:
    async with room("Wait a moment.", "Wait a moment. What time is it?") as it:
        await it.mouth.speak(1)
        await it.mouth.keep_silent(5)
        await it.mouth.speak(1)
        await it.mouth.keep_silent(2)
        assert len(it.told.turns[0].pcm) / SAMPLE_RATE_HZ < 2 + PAUSE_KEPT_S + SETTINGS.pause_s + SETTINGS.prefix_s
        assert it.told.turns[0].ended - it.told.turns[0].began == pytest.approx(7, abs=2 * FRAME_JITTER_S)


class Sleeper:
    """A classifier that does not answer."""

    async def judge(self, text: str) -> Verdict:
        await asyncio.sleep(1e6)
        return "finished"


@virtual
async def test_a_classifier_that_does_not_answer_is_not_waited_for_beyond_the_limit() -> None:
    now = asyncio.get_running_loop().time
    told = Told(now)
    turns = TurnDetector(SETTINGS, ScriptedEnd(0.1), Sleeper(), run=inline)
    listener = Listener(LoudnessVad(), turns, ScriptedRecogniser(DONE), SETTINGS, told, now=now)
    mouth = Mouth(listener)
    await mouth.speak(1)
    await mouth.keep_silent(4)
    await listener.aclose()
    assert told.turns[0].wait_s == pytest.approx(SETTINGS.limit_s, abs=FRAME_JITTER_S)


@virtual
async def test_the_text_is_there_before_the_turn_is_judged() -> None:
    async with room(ends=(0.1,), takes_s=0.2) as it:
        await it.mouth.speak(1)
        await it.mouth.keep_silent(3)
        times = dict(it.told.log)
        foreseen_s = SETTINGS.pause_s - SETTINGS.hush_s
        assert times["likely"] - times["pause"] == pytest.approx(0.2 - foreseen_s, abs=0.03)
        assert times["ended"] - times["likely"] > 0.5
        (likely,) = it.told.likely
        assert likely.wait_s == SETTINGS.unlikely_s and likely.transcript.text == DONE


@virtual
async def test_the_text_is_asked_for_before_the_pause_is_believed_and_only_once() -> None:
    async with room(takes_s=0.05) as it:
        await it.mouth.speak(1)
        await it.mouth.keep_silent(3)
        times = dict(it.told.log)
        assert times["likely"] == times["pause"] and len(it.recogniser.finals) == 1
        assert it.told.turns[0].transcript.text == DONE
        (seconds,) = it.recogniser.finals
        silence_s = len(it.told.turns[0].pcm) / SAMPLE_RATE_HZ - seconds
        assert silence_s == pytest.approx(SETTINGS.pause_s - SETTINGS.hush_s, abs=FRAME_JITTER_S)


@virtual
async def test_a_stop_within_a_sentence_makes_a_caption_and_no_turn() -> None:
    async with room(OPEN, DONE) as it:
        await it.mouth.speak(0.5)
        await it.mouth.keep_silent(0.14)
        await it.mouth.speak(0.5)
        assert it.told.partials == [OPEN] and it.told.names == ["started"]
        await it.mouth.keep_silent(3)
        assert [turn.transcript.text for turn in it.told.turns] == [DONE]
        assert it.recogniser.finals[1] > it.recogniser.finals[0] + 0.5 and not it.recogniser.cancelled


@virtual
async def test_a_text_that_is_still_being_recognised_when_they_go_on_and_stop_again_is_given_up() -> None:
    async with room(DONE, takes_s=0.5) as it:
        await it.mouth.speak(0.5)
        await it.mouth.keep_silent(0.14)
        await it.mouth.speak(0.2)
        await it.mouth.keep_silent(3)
        assert len(it.recogniser.finals) == 2 and it.recogniser.cancelled == 1
        assert len(it.told.turns) == 1


@virtual
async def test_a_click_right_behind_the_last_word_begins_nothing_anew() -> None:
    async with room(takes_s=0.3) as it:
        await it.mouth.speak(1)
        await it.mouth.keep_silent(0.1)
        await it.mouth.speak(0.02)
        await it.mouth.keep_silent(3)
        assert len(it.recogniser.finals) == 1 and not it.recogniser.cancelled
        assert [turn.transcript.text for turn in it.told.turns] == [DONE]


@virtual
async def test_a_recogniser_that_is_dear_is_asked_at_pauses_only() -> None:
    async with room(takes_s=0.05) as it:
        it.recogniser.foresees = False
        for _ in range(2):
            await it.mouth.speak(0.5)
            await it.mouth.keep_silent(0.14)
        await it.mouth.keep_silent(3)
        times = dict(it.told.log)
        assert times["likely"] - times["pause"] == pytest.approx(0.05, abs=0.03)
        assert len(it.recogniser.finals) == 1


@virtual
async def test_a_slow_recogniser_delays_the_turn_and_loses_nothing() -> None:
    async with room(takes_s=2.5) as it:
        await it.mouth.speak(1)
        await it.mouth.keep_silent(4)
        (turn,) = it.told.turns
        assert turn.wait_s == pytest.approx(SETTINGS.hush_s + 2.5, abs=FRAME_JITTER_S)


@virtual
async def test_what_was_prepared_is_dropped_when_speech_resumes() -> None:
    async with room(takes_s=1.0) as it:
        await it.mouth.speak(1)
        await it.mouth.keep_silent(0.5)
        await it.mouth.speak(1)
        await it.mouth.keep_silent(3)
        assert it.recogniser.cancelled == 1
        assert it.told.names == ["started", "pause", "resumed", "pause", "likely", "ended"]


@virtual
async def test_captions_come_while_speech_goes_on_and_never_two_at_a_time() -> None:
    async with room(takes_s=0.3) as it:
        await it.mouth.speak(5)
        assert 3 <= len(it.told.partials) <= 5
        gaps = np.diff(it.recogniser.partials)
        assert gaps.min() >= SETTINGS.partial_every_s
        await it.mouth.keep_silent(2)
        assert it.told.partials[-1] == DONE, "the last caption is the final text"


@virtual
async def test_a_caption_that_is_slow_does_not_hold_up_the_final_text() -> None:
    async with room(takes_s=0.6) as it:
        await it.mouth.speak(1.0)
        await it.mouth.keep_silent(3)
        assert "so far" not in it.told.partials
        assert it.told.turns[0].wait_s == pytest.approx(SETTINGS.hush_s + 0.6, abs=FRAME_JITTER_S)


@virtual
async def test_speech_without_end_is_cut_at_the_limit() -> None:
    async with room() as it:
        await it.mouth.speak(65)
        await it.mouth.keep_silent(2)
        assert [turn.reason for turn in it.told.turns] == ["limit", "limit", "finished"]
        lengths = [len(turn.pcm) / SAMPLE_RATE_HZ for turn in it.told.turns]
        assert max(lengths) <= SETTINGS.utterance_limit_s + 0.1
        assert sum(lengths) >= 65, "what follows a cut begins with it"


@virtual
async def test_music_for_minutes_makes_no_turns_and_hardly_any_work() -> None:
    async with room("", partial="") as it:
        await it.mouth.speak(180)
        await it.mouth.keep_silent(2)
        assert not it.told.turns
        assert set(it.told.drops) == {"nothing was recognised"} and len(it.told.drops) <= 7
        assert len(it.recogniser.partials) <= 7 * SETTINGS.empty_partials


@virtual
async def test_ten_minutes_of_silence_cost_next_to_nothing() -> None:
    async with room() as it:
        await it.mouth.keep_silent(600)
        assert (it.vad.asked, it.told.log, it.recogniser.finals) == (0, [], [])
        assert len(asyncio.all_tasks()) == 1, "nothing ticks while nobody speaks"
        await it.mouth.speak(1)
        await it.mouth.keep_silent(2)
        assert len(it.told.turns) == 1


@virtual
async def test_clicks_and_coughs_make_no_turn() -> None:
    now = asyncio.get_running_loop().time
    told, recogniser = Told(now), ScriptedRecogniser(DONE)
    listener = Listener(SileroVad(), TurnDetector(SETTINGS), recogniser, SETTINGS, told, now=now)
    mouth, rng = Mouth(listener), np.random.default_rng(3)
    for _ in range(10):
        await mouth.say(click())
        await mouth.say(cough(rng))
        await mouth.keep_silent(0.4)
    await listener.aclose()
    assert not told.turns and not recogniser.finals


@virtual
async def test_less_than_a_word_is_dropped_without_asking_the_recogniser() -> None:
    async with room() as it:
        await it.mouth.speak(0.14)
        await it.mouth.keep_silent(2)
        assert it.told.names == ["started", "pause", "dropped"]
        assert "too short" in it.told.drops[0] and not it.recogniser.finals


@pytest.mark.parametrize("text", ["", " ", "...", "。"])
@virtual
async def test_what_says_nothing_is_no_turn(text: str) -> None:
    async with room(text, partial=text) as it:
        await it.mouth.speak(1)
        await it.mouth.keep_silent(3)
        assert it.told.drops == ["nothing was recognised"] and not it.told.turns and not it.told.partials


@pytest.mark.parametrize(
    ("failure", "told"),
    [
        (EngineError("whisper", "its process ended"), "recogniser failed: whisper: its process ended"),
        (RuntimeError("scripted"), "recogniser failed: RuntimeError: scripted"),
    ],
)
@virtual
async def test_a_recogniser_that_fails_is_told_and_the_session_lives(failure: Exception, told: str) -> None:
    async with room(failure, DONE) as it:
        for _ in range(2):
            await it.mouth.speak(0.5)
            await it.mouth.keep_silent(2)
        assert it.told.drops == [told]
        assert [turn.transcript.text for turn in it.told.turns] == [DONE]


@virtual
async def test_a_recogniser_that_never_answers_is_told() -> None:
    async with room(takes_s=1e6) as it:
        await it.mouth.speak(2)
        await it.mouth.keep_silent(SETTINGS.recogniser_timeout_s + 1)
        assert it.told.drops == ["recogniser gave nothing for 12 s"]
        assert not it.listener.is_speaking


@virtual
async def test_smart_turn_that_fails_leaves_it_to_the_text() -> None:
    async with room(ends=(RuntimeError("scripted"),)) as it:
        await it.mouth.speak(1)
        await it.mouth.keep_silent(3)
        assert it.told.turns[0].wait_s == pytest.approx(SETTINGS.likely_s, abs=FRAME_JITTER_S)


@virtual
async def test_a_microphone_that_goes_away_in_mid_speech_ends_the_turn() -> None:
    async with room() as it:
        await it.mouth.speak(1)
        await asyncio.sleep(3)
        assert [turn.reason for turn in it.told.turns] == ["silence"]
        await it.mouth.speak(1)
        await it.mouth.keep_silent(2)
        assert len(it.told.turns) == 2


@virtual
async def test_a_microphone_that_goes_away_in_a_pause_ends_the_turn() -> None:
    async with room() as it:
        await it.mouth.speak(1)
        await it.mouth.keep_silent(0.3)
        await asyncio.sleep(3)
        assert [turn.reason for turn in it.told.turns] == ["finished"]


@virtual
async def test_frames_that_come_late_do_not_cut_off() -> None:
    """The network holds frames back for 0.6 s in the pause; by the clock it is longer than the turn's end allows."""
    async with room() as it:
        loop = asyncio.get_running_loop()
        await it.mouth.speak(1)
        await it.mouth.keep_silent(0.3)
        begins = loop.time()
        await asyncio.sleep(0.6)
        for i in range(30):
            level = 0.1 if i >= 3 else 0.0
            frame = MicFrame(np.full(SAMPLES_PER_FRAME, level, np.float32), begins + i * 0.02)
            await it.listener.feed(frame)
        await it.mouth.keep_silent(2)
        assert len(it.told.turns) == 1
        assert it.told.names.count("resumed") == 1


@virtual
async def test_a_button_that_is_let_go_ends_the_turn_at_once() -> None:
    async with room(OPEN, ends=(0.1,)) as it:
        await it.listener.finish()
        assert it.told.drops == ["nothing was said"]
        await it.mouth.speak(1)
        await it.listener.finish()
        await asyncio.sleep(0.2)
        (turn,) = it.told.turns
        assert turn.reason == "released" and turn.wait_s < 0.2


@virtual
async def test_a_button_that_is_let_go_in_a_pause_uses_what_is_recognised_already() -> None:
    async with room(OPEN, ends=(0.1,), takes_s=0.2) as it:
        await it.mouth.speak(1)
        await it.mouth.keep_silent(0.6)
        await it.listener.finish()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        (turn,) = it.told.turns
        assert (turn.reason, turn.transcript.text) == ("released", OPEN) and len(it.recogniser.finals) == 1


@virtual
async def test_what_is_cancelled_is_never_told() -> None:
    async with room() as it:
        await it.mouth.speak(1)
        await it.mouth.keep_silent(0.3)
        await it.listener.cancel()
        await it.mouth.keep_silent(3)
        assert it.told.names == ["started", "pause", "likely"] and not it.listener.is_speaking


@virtual
async def test_an_event_that_fails_loses_its_utterance_only(caplog: pytest.LogCaptureFixture) -> None:
    async with room() as it:
        told = it.told.likely_end
        it.told.likely_end = lambda utterance: 1 / 0  # type: ignore[method-assign, assignment]
        await it.mouth.speak(1)
        await it.mouth.keep_silent(2)
        assert "turn failed" in caplog.text and not it.listener.is_speaking
        it.told.likely_end = told  # type: ignore[method-assign]
        await it.mouth.speak(1)
        await it.mouth.keep_silent(2)
        assert len(it.told.turns) == 1


@virtual
async def test_closing_in_mid_speech_leaves_no_task() -> None:
    async with room(takes_s=5) as it:
        await it.mouth.speak(3)
    async with room(takes_s=5) as it:
        await it.mouth.speak(1)
        await it.mouth.keep_silent(0.5)
    async with room(takes_s=5) as it:
        await it.mouth.speak(1)
        await it.listener.finish()


@settings(max_examples=40, deadline=None)
@given(
    sounds=st.lists(st.tuples(st.booleans(), st.floats(0.02, 4.0)), max_size=12),
    texts=st.lists(st.sampled_from([DONE, OPEN, "", "Wait a moment.", "好的。"]), min_size=1, max_size=4),
    takes_s=st.sampled_from([0.0, 0.3, 2.0, 20.0]),
)
def test_whatever_is_heard_every_beginning_has_one_end(
    sounds: list[tuple[bool, float]], texts: list[str], takes_s: float
) -> None:
    async def played() -> None:
        async with room(*texts, ends=(0.95, 0.1), takes_s=takes_s) as it:
            for is_speech, seconds in sounds:
                await (it.mouth.speak if is_speech else it.mouth.keep_silent)(seconds)
            await it.mouth.keep_silent(SETTINGS.recogniser_timeout_s + SETTINGS.wait_limit_s + 1)
            began = it.told.names.count("started")
            assert began == len(it.told.turns) + len(it.told.drops)
            assert it.told.names.count("pause") >= it.told.names.count("resumed")
            assert not it.listener.is_speaking
            for turn in it.told.turns:
                assert turn.began < turn.ended and turn.wait_s > 0 and np.isfinite(turn.pcm).all()
                assert len(turn.pcm) / SAMPLE_RATE_HZ <= SETTINGS.utterance_limit_s + 0.1

    run_virtual(played())
