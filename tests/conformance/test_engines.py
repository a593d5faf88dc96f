"""What every engine that speaks to a server does, whatever its protocol."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest

import tts.chain
from errors import EngineError
from media import SAMPLES_PER_FRAME, SpeechFrame
from tests.conformance.protocols import PROTOCOLS, Protocol, every
from tests.conformance.script import KEY, RATE_HZ, Script, tone, wav_header
from tests.fakes.voice import FakeEngine
from tts import traits
from tts.base import Sound, SpeechEngine
from tts.breaker import BACKOFF_MAX_S
from tts.chain import Chain
from ttsreal import BaseTTS

TEXT = "Good morning, it is a lovely day."
PATIENCE_S = 30.0


@contextlib.asynccontextmanager
async def speaking(protocol: Protocol, **script: Any) -> AsyncIterator[tuple[SpeechEngine, Script]]:
    """An engine and the script of its server."""
    plan = Script(**script)
    async with protocol.serve(plan) as address:
        engine = protocol.make(address)
        try:
            async with asyncio.timeout(PATIENCE_S):
                yield engine, plan
        finally:
            await engine.aclose()


async def say(engine: SpeechEngine, text: str = TEXT) -> list[Sound]:
    voice = engine.voices()[0]
    return [sound async for sound in engine.speak(text, voice, "en")]


def samples(sounds: list[Sound]) -> np.ndarray[Any, Any]:
    return np.concatenate([np.zeros(0, np.float32), *(sound.pcm for sound in sounds)])


def expected(sound: bytes) -> np.ndarray[Any, Any]:
    return np.frombuffer(sound[: len(sound) // 2 * 2], "<i2").astype(np.float32) / 32768


def same(sounds: list[Sound], sound: bytes, padded: bool = False) -> bool:
    heard, wanted = samples(sounds), expected(sound)
    added = heard[wanted.size :]
    whole = heard.size >= wanted.size and not added.any() and (padded or not added.size)
    return whole and bool(np.allclose(heard[: wanted.size], wanted, atol=1e-4))


async def frames_of(chain: Chain, text: str = TEXT) -> list[SpeechFrame]:
    return [frame async for burst in BaseTTS(chain).speak(text, turn=1) for frame in burst]


@every()
async def test_all_of_the_sound_comes_and_the_text_arrived(protocol: Protocol) -> None:
    async with speaking(protocol) as (engine, script):
        sounds = await say(engine)
        assert same(sounds, script.sound) and script.texts == [TEXT]
        assert all(sound.pcm.dtype == np.float32 for sound in sounds)


@every()
async def test_the_first_piece_comes_before_the_last_is_made(protocol: Protocol) -> None:
    async with speaking(protocol, held=True) as (engine, script):
        sounds = engine.speak(TEXT, engine.voices()[0], "en")
        first = await anext(sounds)
        assert first.pcm.size and not script.release.is_set()
        script.release.set()
        rest = [sound async for sound in sounds]
        assert same([first, *rest], script.sound)


@every()
@pytest.mark.parametrize("cuts", [(1, 3, 7, 1001), (4_799,), (2,)], ids=["odd", "odd-long", "tiny"])
async def test_pieces_of_any_size_give_the_same_sound(protocol: Protocol, cuts: tuple[int, ...]) -> None:
    async with speaking(protocol, sound=tone(0.02 if cuts == (2,) else 0.2), cuts=cuts) as (engine, script):
        assert same(await say(engine), script.sound, protocol.pads)


@every()
async def test_one_huge_piece(protocol: Protocol) -> None:
    async with speaking(protocol, sound=tone(20), cuts=(1 << 22,)) as (engine, script):
        assert same(await say(engine), script.sound)


@every()
async def test_half_a_sample_at_the_end_is_dropped(protocol: Protocol) -> None:
    async with speaking(protocol, sound=tone(0.1) + b"\x7f") as (engine, script):
        assert same(await say(engine), script.sound)


@every([one for one in PROTOCOLS if one.header])
@pytest.mark.parametrize(("rate_hz", "told_hz"), [(8_000, 8_000), (48_000, 48_000), (0, None), (3_000_000, None)])
async def test_a_header_in_the_sound_is_read_and_not_heard(
    protocol: Protocol, rate_hz: int, told_hz: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Servers that write a header themselves write this one.
    monkeypatch.setattr("tests.conformance.httpservers.wav_header", lambda *_: b"")
    sound = tone(0.2)
    async with speaking(protocol, sound=wav_header(rate_hz) + sound, cuts=(10, 1000)) as (engine, _):
        sounds = await say(engine)
        assert same(sounds, sound)
        assert {one.rate_hz or engine.sample_rate_hz for one in sounds} == {told_hz or engine.sample_rate_hz}


@every()
async def test_silence_is_silence(protocol: Protocol) -> None:
    async with speaking(protocol, sound=bytes(RATE_HZ)) as (engine, _):
        assert not samples(await say(engine)).any()
        frames = await frames_of(Chain([engine]))
        assert not any(frame.pcm.any() for frame in frames)
        assert frames[-1].events[-1].name == "speech.ended"


@every()
@pytest.mark.parametrize("text", ["", " \n", "。！？…", "?!", "👍🏽"])
async def test_nothing_is_asked_where_nothing_can_be_said(protocol: Protocol, text: str) -> None:
    async with speaking(protocol) as (engine, script):
        assert samples(await say(engine, text)).size == 0 and script.asked == []


@every()
async def test_five_thousand_characters(protocol: Protocol) -> None:
    text = ("We walked around the old town, and 然后我们去吃饭。" * 200)[:5_000]
    async with speaking(protocol, sound=tone(0.05)) as (engine, script):
        sounds = await say(engine, text)
        assert "".join("".join(script.texts).split()) == "".join(text.split())
        assert samples(sounds).size == len(script.asked) * expected(script.sound).size


@every()
async def test_stopping_in_the_middle_hangs_up(protocol: Protocol) -> None:
    async with speaking(protocol, sound=tone(5), held=True) as (engine, script):
        sounds = engine.speak(TEXT, engine.voices()[0], "en")
        await anext(sounds)
        await traits.close(sounds)
        await asyncio.wait_for(script.gone.wait(), PATIENCE_S)
        assert script.at_work == 0
        script.held = False
        assert same(await say(engine), script.sound)


@every()
@pytest.mark.parametrize("status", [401, 429, 500])
async def test_refusals(protocol: Protocol, status: int) -> None:
    async with speaking(protocol, status=status, retry_after="7" if status == 429 else "") as (engine, _):
        with pytest.raises(EngineError) as caught:
            await say(engine)
        assert caught.value.retryable and caught.value.engine == engine.name and KEY not in str(caught.value)
        wanted = {401: BACKOFF_MAX_S, 429: 7.0 if protocol.says_when else None, 500: None}[status]
        assert caught.value.retry_after_s == wanted


@every()
async def test_an_error_where_sound_should_be(protocol: Protocol) -> None:
    async with speaking(protocol, error_as_answer=True) as (engine, _):
        with pytest.raises(EngineError) as caught:
            await say(engine)
        assert caught.value.retryable and "went wrong" in str(caught.value)


@every()
@pytest.mark.parametrize("after", [0, 2])
async def test_a_server_that_falls_silent_is_given_up(
    protocol: Protocol, after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tts.chain, "STALL_TIMEOUT_S", 0.1)
    async with speaking(protocol, stall_after=after) as (engine, script):
        chain = Chain([engine, FakeEngine("other", first_sound_s=0, chunk_s=0)], first_sound_s=0.3 if after else 0.1)
        await say_all(engine, script)  # so that opening a connection does not count
        frames = await frames_of(chain)
        assert [event.data["engine"] for event in named(frames, "clause.started")][-1] == "other"
        if script.at_work:  # a busy machine may have given up before the server was reached
            await asyncio.wait_for(script.gone.wait(), PATIENCE_S)


async def say_all(engine: SpeechEngine, script: Script) -> None:
    script.stall_after, after = None, script.stall_after
    await say(engine)
    script.stall_after = after


@every()
async def test_a_connection_that_breaks_hands_the_rest_on(protocol: Protocol) -> None:
    async with speaking(protocol, sound=tone(1), reset_after=3) as (engine, _):
        with pytest.raises(EngineError) as caught:
            await say(engine)
        assert caught.value.retryable
        frames = await frames_of(Chain([engine, FakeEngine("other", first_sound_s=0, chunk_s=0)]))
        assert [event.data["engine"] for event in named(frames, "clause.started")] == [engine.name, "other"]
        assert not named(frames, "error")


@every()
async def test_two_sessions_at_once(protocol: Protocol) -> None:
    async with speaking(protocol, held=True) as (engine, script):
        both = [asyncio.create_task(say(engine, text)) for text in ("This is the first.", "This is the second.")]
        await script.both.wait()
        script.release.set()
        assert all(same(sounds, script.sound) for sounds in await asyncio.gather(*both))
        assert sorted(script.texts) == ["This is the first.", "This is the second."]


@every()
async def test_start_words_and_end_are_told(protocol: Protocol) -> None:
    async with speaking(protocol, sound=tone(2.2)) as (engine, _):
        frames = await frames_of(Chain([engine]))
        assert [event.name for frame in frames for event in frame.events][:2] == ["speech.started", "clause.started"]
        assert frames[-1].events[-1].name == "speech.ended"
        words = named(frames, "word")
        assert [word.data["text"] for word in words] == TEXT.split()
        starts = [word.data["start_s"] for word in words]
        assert starts == sorted(starts) and starts[-1] < 2.5
        assert all(word.data.get("estimated", False) is not protocol.tells_words for word in words)
        assert all(frame.pcm.shape == (SAMPLES_PER_FRAME,) for frame in frames)


def named(frames: list[SpeechFrame], name: str) -> list[Any]:
    return [event for frame in frames for event in frame.events if event.name == name]


@every()
async def test_a_server_that_is_not_there(protocol: Protocol) -> None:
    engine = protocol.make("http://127.0.0.1:9")
    assert engine.why_not() is None
    with pytest.raises(EngineError) as caught:
        async with asyncio.timeout(PATIENCE_S):
            await say(engine)
    assert caught.value.retryable and "127.0.0.1:9" in str(caught.value) or protocol.name.startswith("livekit")
    await engine.aclose()


@every()
async def test_warming_up_finds_voices_and_never_fails_the_engine(protocol: Protocol) -> None:
    async with speaking(protocol) as (engine, script):
        chain = Chain([engine])
        await chain.warm_up()
        assert chain.describe()[0]["failures"] == 0
        ids = [voice.id for voice in engine.voices()]
        assert ids and len(set(ids)) == len(ids) and all(one.startswith(f"{engine.name}:") for one in ids)
        assert all(chain.find_voice(one) for one in ids)
        assert script.asked == []
