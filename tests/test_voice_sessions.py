"""A session speaks with a voice of the library: whose it may be, how the chain finds it, what happens when it fails."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from errors import EngineError
from media import SpeechFrame
from tests.fakes.app import OFFER, connect
from tests.fakes.library import Client, made, shelves
from tests.fakes.maker import FakeMaker
from tests.fakes.voice import FakeEngine
from tests.test_voice_accounts import OWNER, new_user
from tests.test_voice_library import data
from tts.base import Voice
from tts.chain import Chain
from tts.library import KNOWN_MAX, PREFIX, RATE_HZ, LibraryEngine
from ttsreal import BaseTTS

ECHO = {"type": "echo", "text": "Hello there."}


async def said(client: Client, sid: str, voice: str, **headers: str) -> int:
    answer = await client.post("/human", json={**ECHO, "sessionid": sid, "tts": {"voice": voice}}, headers=headers)
    return answer.status


async def test_a_session_speaks_with_a_voice_of_the_library(tmp_path: Path) -> None:
    async with shelves(tmp_path) as (client, stage):
        voice = await made(client)
        name = (await data(client, f"/api/voices/{voice['voiceId']}"))["speak_as"]
        sid = await connect(client, refaudio=name)
        assert stage.services.sessions.get(sid).wish.voice == name
        assert await said(client, sid, name) == 200 and stage.reals[sid].said[-1].voice == name
        assert await said(client, sid, "library:voice-" + "0" * 24) == 404
        assert await said(client, sid, "library:nonsense") == 404
        assert (await client.post("/offer", json={**OFFER, "refaudio": "library:voice-x"})).status == 404


async def test_private_voices_are_for_sessions_of_their_owner(tmp_path: Path) -> None:
    async with shelves(tmp_path, api_key="hush") as (client, stage):
        ada, bob = await new_user(stage, "Ada"), await new_user(stage, "Bob")
        private, public = await made(client, 0, key=ada), await made(client, 1, key=ada, public=True)
        sids = {}
        for key in (ada, bob):
            answer = await client.post("/offer", json=OFFER, headers={"X-API-Key": key})
            sids[key] = (await answer.json())["sessionid"]
        hers, everybodys = (PREFIX + voice["voiceId"] for voice in (private, public))
        assert await said(client, sids[ada], hers, **{"X-API-Key": ada}) == 200
        assert await said(client, sids[bob], hers, **{"X-API-Key": bob}) == 404
        assert await said(client, sids[bob], hers, **{"X-API-Key": ada}) == 404, "in another's session"
        assert await said(client, sids[ada], hers, **OWNER) == 404
        for key in (ada, bob):
            assert await said(client, sids[key], everybodys, **{"X-API-Key": key}) == 200


async def frames(chain: Chain, voice: str, text: str) -> list[SpeechFrame]:
    tts = BaseTTS(chain, voice)
    return [frame async for some in tts.speak(text, turn=1) for frame in some]


def told(spoken: list[SpeechFrame], name: str) -> list[dict[str, Any]]:
    return [event.data for frame in spoken for event in frame.events if event.name == name]


async def test_the_chain_finds_it_without_a_list(tmp_path: Path) -> None:
    async with shelves(tmp_path) as (client, stage):
        voice = await made(client)
        name = PREFIX + voice["voiceId"]
        await connect(client, refaudio=name)
        chain = Chain([stage.engine, stage.library._engine])
        spoken = await frames(chain, name, "Hello there, how do you do? 你好！")
        assert [data["voice"] for data in told(spoken, "clause.started")] == [name, name]
        pcm = np.concatenate([frame.pcm for frame in spoken])
        assert abs(pcm).max() > 0.05 and not stage.engine.asked
        assert [asked[2] for asked in stage.maker.said[1:]] == ["en", "zh"]
        assert name not in [voice.id for voice in chain.voices()]
        await (await stage.library.opened()).usage.flush()
        info = await data(client, f"/api/voices/{voice['voiceId']}")
        assert info["uses"] == 2 and info["usage"]["seconds"] > 1


@pytest.mark.parametrize("after", [0, 2])
async def test_the_next_engine_speaks_when_its_maker_fails(after: int, tmp_path: Path) -> None:
    maker = FakeMaker(gives_sample=True, speak_failure=EngineError("scripted", "down"), fail_after=after)
    async with shelves(tmp_path, makers=[maker]) as (client, stage):
        voice = await made(client)
        name = PREFIX + voice["voiceId"]
        await connect(client, refaudio=name)
        spoken = await frames(Chain([stage.engine, stage.library._engine]), name, "Hello there, how do you do today?")
        assert not told(spoken, "error") and stage.engine.asked
        assert told(spoken, "clause.started")[-1]["engine"] == "fake"


async def test_a_voice_deleted_in_mid_session_is_followed_by_another(tmp_path: Path) -> None:
    async with shelves(tmp_path) as (client, stage):
        voice = await made(client)
        name = PREFIX + voice["voiceId"]
        await connect(client, refaudio=name)
        chain = Chain([stage.engine, stage.library._engine])
        tts = BaseTTS(chain, name)
        await client.delete(f"/api/voices/{voice['voiceId']}")
        spoken = [frame async for some in tts.speak("Good evening.", turn=1) for frame in some]
        assert told(spoken, "clause.started")[-1]["engine"] == "fake"
        assert stage.library._engine.find_voice(name) is None


async def test_an_engine_without_a_library_lets_others_speak() -> None:
    engine, other = LibraryEngine(), FakeEngine()
    voice = Voice(f"{PREFIX}voice-1", "library", ("en",), "female", "x")
    engine.admit(voice)
    spoken = await frames(Chain([other, engine]), voice.id, "Good evening.")
    assert told(spoken, "clause.started")[-1]["engine"] == "fake"
    with pytest.raises(EngineError, match="not open"):
        await anext(engine.speak("x", voice, "en"))


def test_only_so_many_voices_are_remembered() -> None:
    engine = LibraryEngine()
    for number in range(KNOWN_MAX + 5):
        engine.admit(Voice(f"{PREFIX}voice-{number}", "library", ("en",), "female", "x"))
    assert engine.find_voice(f"{PREFIX}voice-0") is None
    assert engine.find_voice(f"{PREFIX}voice-{KNOWN_MAX + 4}") is not None
    assert engine.sample_rate_hz == RATE_HZ and engine.voices() == () and engine.why_not() is None
