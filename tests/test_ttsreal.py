from __future__ import annotations

import asyncio
import contextlib
import types
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from errors import BadRequest, EngineError, NotFound
from media import SAMPLES_PER_FRAME, SPEECH_FRAME_S, Event, SpeechFrame
from tests.fakes.voice import FakeEngine
from tests.virtual_time import run_virtual
from ttsreal import CLAUSE_PAUSE_MS, SENTENCE_PAUSE_MS, BaseTTS, Chain, build_chain

TWO_CLAUSES = "Hello my dear friends. Come and sit down."


def speak(chain: Chain, text: Any, **options: Any) -> list[SpeechFrame]:
    async def run() -> list[SpeechFrame]:
        return [frame async for burst in BaseTTS(chain).speak(text, turn=7, **options) for frame in burst]

    return run_virtual(run())


def events(frames: list[SpeechFrame], name: str = "") -> list[Event]:
    return [event for frame in frames for event in frame.events if name in ("", event.name)]


def at_s(frames: list[SpeechFrame], name: str) -> list[float]:
    return [n * SPEECH_FRAME_S for n, f in enumerate(frames) for event in f.events if event.name == name]


def loud(frames: list[SpeechFrame]) -> list[bool]:
    return [bool(np.abs(frame.pcm).max() > 0.01) for frame in frames]


def test_frames_carry_turn_events_and_clause_ends() -> None:
    frames = speak(Chain([FakeEngine()]), TWO_CLAUSES)
    assert all(f.turn == 7 and f.pcm.shape == (SAMPLES_PER_FRAME,) and f.pcm.dtype == np.float32 for f in frames)
    assert [e.name for e in events(frames)] == ["speech.started", "clause.started", "clause.started", "speech.ended"]
    assert frames[0].events[0].data == {"text": TWO_CLAUSES}
    assert frames[0].events[1].data == {
        "text": "Hello my dear friends.", "language": "en", "voice": "fake:female", "engine": "fake",
    }  # fmt: skip
    assert frames[-1].events[-1].name == "speech.ended"
    assert sum(f.final for f in frames) == 2 and frames[-1].final
    second = next(n for n, f in enumerate(frames) if n and f.events)
    assert frames[second - 1].final


@given(st.integers(1, 60), st.integers(1, 9_999), st.sampled_from([8_000, 16_000, 22_050, 24_000, 48_000]))
@settings(max_examples=25, deadline=None)
def test_nothing_is_lost_or_added_in_framing(characters: int, chunk_samples: int, rate_hz: int) -> None:
    engine = FakeEngine(chunk_samples=chunk_samples, sample_rate_hz=rate_hz, chunk_s=0)
    frames = speak(Chain([engine]), "a" * characters)
    sound = np.concatenate([f.pcm for f in frames])
    heard = np.flatnonzero(np.abs(sound) > 0.004)
    spoken = characters * 0.1 * 16_000
    assert abs((heard[-1] - heard[0]) - spoken) < 60
    assert sound.size - heard[-1] < SAMPLES_PER_FRAME + 16_000 * 0.07
    zero_crossings = np.flatnonzero(np.diff(np.signbit(sound[heard[0] + 200 : heard[-1] - 200])))
    assert np.all(np.abs(np.diff(zero_crossings) - 16_000 / 440) < 3)


def test_silence_of_the_engine_is_trimmed_to_natural_pauses() -> None:
    engine = FakeEngine(silence_s=0.5)
    frames = speak(Chain([engine]), "Hello my dear friends, this is a clause that is long enough. The end.")
    is_loud = loud(frames)
    assert is_loud.index(True) * 20 <= 40
    runs = "".join("x" if x else "." for x in is_loud).strip(".").split("x")
    gaps_ms = [len(run) * 20 for run in runs if len(run) > 2]
    assert len(gaps_ms) == 2
    for gap_ms, wanted_ms in zip(gaps_ms, [CLAUSE_PAUSE_MS, SENTENCE_PAUSE_MS], strict=True):
        assert abs(gap_ms - wanted_ms) <= 40
    assert len(is_loud) - max(n for n, x in enumerate(is_loud) if x) <= 6


def test_the_first_sound_does_not_wait_for_the_rest() -> None:
    async def run() -> tuple[float, float]:
        engine = FakeEngine(first_sound_s=0.4, chunk_s=0.1)
        begin = asyncio.get_running_loop().time()
        times = []
        async for _ in BaseTTS(Chain([engine])).speak("A rather long sentence to say at once", turn=1):
            times.append(asyncio.get_running_loop().time() - begin)
        return times[0], times[-1]

    first_s, last_s = run_virtual(run())
    assert first_s == pytest.approx(0.4, abs=0.11)
    assert last_s > 3


def test_one_clause_is_spoken_ahead_and_no_more() -> None:
    async def run() -> list[int]:
        engine = FakeEngine()
        stream = BaseTTS(Chain([engine])).speak("This is a sentence. " * 10, turn=1)
        asked = []
        finals = 0
        while finals < 4:
            await asyncio.sleep(60)
            asked.append(len(engine.asked) - finals)
            while True:
                burst = await anext(stream)
                if any(frame.final for frame in burst):
                    finals += 1
                    break
        assert engine.most_at_work == 1
        await stream.aclose()
        assert engine.at_work == 0
        return asked

    # Nothing before the first frame is wanted; later the clause that plays comes next and one more.
    assert run_virtual(run()) == [0, 2, 2, 2]


def test_closing_ends_the_work_at_once() -> None:
    async def run() -> float:
        engine = FakeEngine(first_sound_s=0.1, chunk_s=0.5)
        loop = asyncio.get_running_loop()
        stream = BaseTTS(Chain([engine])).speak("A rather long sentence to say at once.", turn=1)
        await anext(stream)
        assert engine.at_work == 1
        closing = loop.time()
        await stream.aclose()
        assert engine.at_work == 0
        return loop.time() - closing

    assert run_virtual(run()) == 0.0


def test_cancelling_before_the_first_sound_ends_the_work() -> None:
    async def run() -> None:
        engine = FakeEngine(first_sound_s=2)

        async def consume() -> None:
            async for _ in BaseTTS(Chain([engine])).speak("Hello there.", turn=1):
                pass

        task = asyncio.create_task(consume())
        await asyncio.sleep(1)
        assert engine.at_work == 1
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert engine.at_work == 0

    run_virtual(run())


def test_a_text_still_being_written_is_spoken_as_it_comes() -> None:
    async def written() -> AsyncIterator[str]:
        for piece in ["今天天气", "不错，我们", "一起去公园", "散步吧。", "好不好？"]:
            yield piece
            await asyncio.sleep(1)

    async def run() -> tuple[float, list[SpeechFrame]]:
        frames: list[SpeechFrame] = []
        first_s = 0.0
        async for burst in BaseTTS(Chain([FakeEngine()])).speak(written(), turn=1):
            first_s = first_s or asyncio.get_running_loop().time()
            frames += burst
        return first_s, frames

    first_s, frames = run_virtual(run())
    assert first_s < 1.5
    assert [e.data["text"] for e in events(frames, "clause.started")] == [
        "今天天气不错，", "我们一起去公园散步吧。", "好不好？",
    ]  # fmt: skip
    assert [e.name for e in frames[-1].events] == ["speech.ended"]
    assert sum(f.final for f in frames) == 4


@pytest.mark.parametrize("text", ["", "😀", "\x00\x01", "...", "<b></b>"])
def test_nothing_speakable_yields_nothing(text: str) -> None:
    engine = FakeEngine()
    assert speak(Chain([engine]), text) == [] and engine.asked == []


def test_words_are_on_the_frames_where_they_begin() -> None:
    engine = FakeEngine(tell_words=True, silence_s=0.3)
    frames = speak(Chain([engine]), "one three five")
    words = events(frames, "word")
    assert [w.data["text"] for w in words] == ["one", "three", "five"]
    for word, at in zip(words, at_s(frames, "word"), strict=True):
        assert word.data["start_s"] == pytest.approx(at, abs=0.021)
    assert words[1].data["start_s"] - words[0].data["start_s"] == pytest.approx(0.4, abs=0.002)
    assert words[0].data["start_s"] < 0.04


def test_clauses_go_to_engines_by_language_and_order() -> None:
    english, chinese = FakeEngine("english", ("en",)), FakeEngine("chinese", ("zh", "en"))
    frames = speak(
        Chain([english, chinese]), "Hello my friend. 你好，我的朋友。 Python 很好用。 2026! Good bye, friends."
    )
    assert [(e.data["engine"], e.data["language"]) for e in events(frames, "clause.started")] == [
        ("english", "en"), ("chinese", "zh"), ("chinese", "zh"), ("chinese", "zh"), ("english", "en"),
    ]  # fmt: skip


def test_the_chosen_voice_comes_first_and_its_gender_elsewhere() -> None:
    english, chinese = FakeEngine("english", ("en",)), FakeEngine("chinese", ("zh", "en"))
    chain = Chain([english, chinese])
    speak(chain, "Hello my friend. 你好，我的朋友。", options={"voice": "chinese:male", "speed": 1.5})
    assert english.asked == []
    assert [(a[1], a[3]) for a in chinese.asked] == [("chinese:male", 1.5)] * 2
    speak(chain, "你好，我的朋友。", options={"ref_file": "english:male", "ref_text": ""})
    assert chinese.asked[-1][1] == "chinese:male"


def test_the_default_voice_of_the_chain_and_of_the_session() -> None:
    engine = FakeEngine()
    chain = Chain([engine], "fake:male")
    speak(chain, "Hello my friend.")

    async def run() -> None:
        async for _ in BaseTTS(chain, "female").speak("Hello my friend.", turn=1):
            pass

    run_virtual(run())
    assert [a[1] for a in engine.asked] == ["fake:male", "fake:female"]


@pytest.mark.parametrize("speed", [9, 0, "fast", True, float("nan")])
def test_a_bad_speed_is_refused(speed: Any) -> None:
    with pytest.raises(BadRequest, match="speed is"):
        speak(Chain([FakeEngine()]), "Hello.", options={"speed": speed})


@pytest.mark.parametrize("voice", ["nobody", "../../etc/passwd", 7])
def test_an_unknown_voice_is_not_found(voice: Any) -> None:
    with pytest.raises(NotFound, match="voice '"):
        speak(Chain([FakeEngine()]), "Hello.", options={"voice": voice})
    with pytest.raises(NotFound):
        BaseTTS(Chain([FakeEngine()]), "nobody")


def test_a_ref_file_that_names_no_voice_changes_nothing() -> None:
    engine = FakeEngine()
    speak(Chain([engine]), "Hello.", options={"ref_file": "/data/me.wav", "ref_text": "hi", "voice": None})
    assert engine.asked[0][1] == "fake:female"


def test_a_failing_engine_hands_the_clause_on_and_rests_for_a_while() -> None:
    bad, good = FakeEngine("bad", fail_after=0), FakeEngine("good")
    now = [0.0]
    chain = Chain([bad, good], now=lambda: now[0])
    frames = speak(chain, TWO_CLAUSES)
    assert [e.data["engine"] for e in events(frames, "clause.started")] == ["good", "good"]
    assert len(bad.asked) == 1
    now[0] = 6.0
    speak(chain, "Hello my friend.")
    assert len(bad.asked) == 2
    now[0] = 12.0
    speak(chain, "Hello my friend.")
    assert len(bad.asked) == 2, "the second failure in a row rests for longer"
    bad.fail_after = None
    now[0] = 17.0
    assert speak(chain, "Hello my friend.")[0].events[1].data["engine"] == "bad"
    assert chain.describe()[0]["failures"] == 0


@pytest.mark.parametrize("tell_words", [True, False])
@pytest.mark.parametrize("how", ["fail_after", "stall_after"])
def test_the_rest_of_a_clause_goes_to_the_next_engine(how: str, tell_words: bool) -> None:
    bad = FakeEngine("bad", tell_words=tell_words, **{how: 9})  # type: ignore[arg-type]
    good = FakeEngine("good")
    frames = speak(Chain([bad, good]), "One two three four five six seven.")
    starts = events(frames, "clause.started")
    assert [e.data["engine"] for e in starts] == ["bad", "good"]
    rest = starts[1].data["text"]
    # 0.9 s at 0.1 s a character reach into `three`.
    assert "One two three four five six seven.".endswith(rest) and rest.split()[0] in ("three", "two", "One")
    if tell_words:
        assert rest == "three four five six seven."
    assert len([f for f in frames if f.final]) == 1
    assert loud(frames).count(True) * 0.02 == pytest.approx(0.9 + 0.1 * len(rest), abs=0.1)


def test_silence_for_three_seconds_is_a_failure() -> None:
    async def run() -> float:
        dead, good = FakeEngine("dead", first_sound_s=1e5), FakeEngine("good", first_sound_s=0)
        async with contextlib.aclosing(BaseTTS(Chain([dead, good])).speak("Hello.", turn=1)) as bursts:
            await anext(bursts)
        return asyncio.get_running_loop().time()

    assert run_virtual(run()) == pytest.approx(3.0, abs=0.1)


def test_when_all_fail_the_clause_is_an_error_and_the_next_is_tried() -> None:
    engine = FakeEngine("only", ("en",))

    async def run() -> list[SpeechFrame]:
        frames: list[SpeechFrame] = []
        with pytest.raises(EngineError, match="'zh'"):
            async for burst in BaseTTS(Chain([engine])).speak("Hello my friend. 你好，我的朋友。", turn=1):
                frames += burst
        return frames

    frames = run_virtual(run())
    assert [e.name for e in events(frames)] == ["speech.started", "clause.started", "error", "speech.ended"]
    assert events(frames, "error")[0].data["text"] == "你好，我的朋友。"
    assert frames[-1].final and not frames[-1].pcm.any()


def test_an_error_that_is_not_retryable_asks_no_one_else() -> None:
    bad, good = FakeEngine("bad", fail_after=0, retryable=False), FakeEngine("good")
    with pytest.raises(EngineError, match="scripted"):
        speak(Chain([bad, good]), "Hello.")
    assert good.asked == []


def test_engines_that_rest_are_asked_when_no_one_else_is_left() -> None:
    engine = FakeEngine(fail_after=0)
    chain = Chain([engine], now=lambda: 0.0)
    with pytest.raises(EngineError):
        speak(chain, "Hello.")
    engine.fail_after = None
    assert speak(chain, "Hello.")


def test_voices_are_brought_to_one_level() -> None:
    def rms(amplitude: float) -> float:
        frames = speak(Chain([FakeEngine(amplitude=amplitude)]), "Hello my dear friends.")
        sound = np.concatenate([f.pcm for f in frames if np.abs(f.pcm).max() > 0.01])
        return float(np.sqrt(np.mean(sound**2)))

    assert rms(0.4) == pytest.approx(rms(0.08), rel=0.1)
    frames = speak(Chain([FakeEngine(amplitude=1.6)]), "Hello my dear friends.")
    assert max(float(np.abs(f.pcm).max()) for f in frames) < 1.0


def test_a_clause_without_sound_goes_on_without_blame() -> None:
    mute, good = FakeEngine("mute"), FakeEngine("good")
    mute.chunk_samples = 0
    chain = Chain([mute, good], now=lambda: 0.0)
    frames = speak(chain, "Hello.")
    assert [e.data["engine"] for e in events(frames, "clause.started")] == ["good"]
    assert chain.describe()[0]["failures"] == 0


def test_a_source_that_breaks_ends_what_was_begun() -> None:
    async def broken() -> AsyncIterator[str]:
        yield "Hello my dear friends. "
        raise OSError("the model went away")

    async def run() -> list[SpeechFrame]:
        frames: list[SpeechFrame] = []
        with pytest.raises(OSError, match="went away"):
            async for burst in BaseTTS(Chain([FakeEngine()])).speak(broken(), turn=1):
                frames += burst
        return frames

    assert run_virtual(run())[-1].events[-1].name == "speech.ended"


def test_sessions_speak_side_by_side() -> None:
    async def run() -> None:
        engine = FakeEngine()
        chain = Chain([engine])

        async def one(turn: int) -> list[SpeechFrame]:
            return [f async for burst in BaseTTS(chain).speak(TWO_CLAUSES, turn=turn) for f in burst]

        first, second = await asyncio.gather(one(1), one(2))
        assert len(first) == len(second) and {f.turn for f in second} == {2}
        await chain.aclose()
        assert engine.closed

    run_virtual(run())


def test_build_chain_names_what_is_allowed() -> None:
    chain = build_chain(types.SimpleNamespace(tts="hibari, hibari", REF_FILE="heart"))
    assert [e.name for e in chain.engines] == ["hibari"]
    assert chain.default_voice is not None and chain.default_voice.id == "hibari:heart"
    with pytest.raises(BadRequest, match="hibari"):
        build_chain(types.SimpleNamespace(tts="hibari,cosyvoice9", REF_FILE=None))
    asyncio.run(chain.aclose())
