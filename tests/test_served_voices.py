"""Voices cloned by servers that imitate a recording, against servers of their protocols."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import dataclasses
import io
import json
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from aiohttp import web

from errors import BadRequest, EngineError
from media import Pcm
from tests.conformance import httpservers
from tests.conformance.script import Script
from tts.cosyvoice import CosyOptions, CosyVoice
from tts.gptsovits import SovitsOptions, SovitsVoice
from tts.indextts2 import IndexOptions, IndexVoice
from tts.openai import OmniOptions
from tts.wire.engine import ServerEngine
from tts.wire.recordings import KEPT_MAX, Recordings, content
from voices.cloning.base import Clip
from voices.cloning.served import (
    FILES_MAX,
    OmniCloner,
    ServedMaker,
    cosyvoice_maker,
    index_maker,
    omni_maker,
    sovits_maker,
)

RATE_HZ = 24_000
SAID = "今天的天气很好。"


@dataclasses.dataclass(frozen=True)
class Protocol:
    routes: Callable[[Script], list[web.RouteDef]]
    engine: Callable[[str], ServerEngine]
    text: str
    """Where the server finds what to say."""


PROTOCOLS = {
    "cosyvoice": Protocol(httpservers.cosyvoice, lambda url: CosyVoice(CosyOptions(server=url)), "tts_text"),
    "gpt-sovits": Protocol(httpservers.gptsovits, lambda url: SovitsVoice(SovitsOptions(server=url)), "text"),
    "indextts2": Protocol(httpservers.indextts2, lambda url: IndexVoice(IndexOptions(server=url)), "text"),
    "omnitts": Protocol(httpservers.openai, lambda url: OmniCloner(OmniOptions(server=url)), "input"),
}


@contextlib.asynccontextmanager
async def made_for(name: str, script: Script, folder: Path) -> AsyncIterator[ServedMaker]:
    protocol = PROTOCOLS[name]
    async with httpservers.served(*protocol.routes(script)) as url:
        maker = ServedMaker(protocol.engine(url), folder / "references")
        try:
            yield maker
        finally:
            await maker.aclose()


def recording(folder: Path, seconds: float = 6.0, text: str = SAID) -> Clip:
    pcm = (0.2 * np.sin(np.arange(round(seconds * RATE_HZ)) / 20)).astype(np.float32)
    path = folder / "clip.wav"
    soundfile.write(path, pcm, RATE_HZ, subtype="PCM_16")
    return Clip(path, pcm, "", text, "zh")


async def said(maker: ServedMaker, recipe: Any, text: str = "你好。") -> Pcm:
    async with contextlib.aclosing(maker.speak("", recipe, text, "zh", "", 1.0)) as sounds:
        return np.concatenate([np.zeros(0, np.float32), *[sound.pcm async for sound in sounds]])


@pytest.mark.parametrize("name", PROTOCOLS)
async def test_a_recording_becomes_a_voice_that_speaks(name: str, tmp_path: Path) -> None:
    script = Script()
    async with made_for(name, script, tmp_path) as maker:
        assert maker.why_not() is None and maker.clones
        made = await maker.make(recording(tmp_path), maker.models[0], "", lambda *_: None)
        assert json.loads(json.dumps(made.recipe)) == made.recipe
        sample, rate_hz = soundfile.read(io.BytesIO(made.sample))
        assert sample.size > 0 and rate_hz == maker.sample_rate_hz
        assert "zh" in made.languages
        # The recording is gone from the folder, as on another machine, and so is the clip it was made of.
        (tmp_path / "clip.wav").unlink()
        for file in (tmp_path / "references").iterdir():
            file.unlink()
        assert (await said(maker, made.recipe, "再见。")).size > 0
        assert script.asked[-1][PROTOCOLS[name].text] == "再见。"
        await maker.forget("", made.recipe)
        assert not list((tmp_path / "references").iterdir())


async def test_each_server_is_given_the_recording_as_it_takes_it(tmp_path: Path) -> None:
    asked: dict[str, dict[str, Any]] = {}
    for name in PROTOCOLS:
        script = Script()
        async with made_for(name, script, tmp_path) as maker:
            await maker.make(recording(tmp_path), "", "", lambda *_: None)
            asked[name] = script.asked[-1]
    own = soundfile.read(tmp_path / "clip.wav", dtype="int16")[0]

    def same(wav: bytes) -> bool:
        pcm, rate_hz = soundfile.read(io.BytesIO(wav), dtype="int16")
        return rate_hz == RATE_HZ and np.array_equal(pcm, own)

    assert asked["cosyvoice"]["mode"] == "zero_shot"
    assert asked["cosyvoice"]["prompt_text"] == SAID
    assert same(asked["cosyvoice"]["prompt_wav"])
    assert same(await asyncio.to_thread(Path(asked["gpt-sovits"]["ref_audio_path"]).read_bytes))
    assert asked["gpt-sovits"]["prompt_text"] == SAID and asked["gpt-sovits"]["prompt_lang"] == "zh"
    assert asked["indextts2"]["prompt"]["path"] == "/tmp/gradio/up.wav"
    omni = asked["omnitts"]
    assert (omni["task_type"], omni["ref_text"], omni["language"]) == ("Base", SAID, "Chinese")
    assert same(base64.b64decode(omni["ref_audio"].removeprefix("data:audio/wav;base64,")))
    assert "voice" not in omni


async def test_without_a_transcript_the_servers_are_asked_otherwise(tmp_path: Path) -> None:
    script = Script()
    async with made_for("cosyvoice", script, tmp_path) as maker:
        await maker.make(recording(tmp_path, text=""), "", "", lambda *_: None)
    assert script.asked[-1]["mode"] == "cross_lingual"
    script = Script()
    async with made_for("omnitts", script, tmp_path) as maker:
        await maker.make(recording(tmp_path, text=""), "", "", lambda *_: None)
    assert script.asked[-1]["x_vector_only_mode"] is True and "ref_text" not in script.asked[-1]


@pytest.mark.parametrize("seconds", [2.0, 11.0])
async def test_a_recording_that_the_server_would_refuse_is_refused_first(seconds: float, tmp_path: Path) -> None:
    script = Script()
    async with made_for("gpt-sovits", script, tmp_path) as maker:
        with pytest.raises(BadRequest, match="must last 3 to 10 s"):
            await maker.make(recording(tmp_path, seconds), "", "", lambda *_: None)
    assert not script.asked


@pytest.mark.parametrize("name", PROTOCOLS)
@pytest.mark.parametrize("status", [400, 503])
async def test_a_voice_that_cannot_speak_is_not_made(name: str, status: int, tmp_path: Path) -> None:
    async with made_for(name, Script(status=status), tmp_path) as maker:
        with pytest.raises(EngineError, match=f"answered {status}"):
            await maker.make(recording(tmp_path), "", "", lambda *_: None)


@pytest.mark.parametrize("recipe", [{}, {"recording": 7}, {"recording": "no base64!"}])
async def test_what_holds_no_recording_is_refused(recipe: Any, tmp_path: Path) -> None:
    async with made_for("cosyvoice", Script(), tmp_path) as maker:
        with pytest.raises(BadRequest, match="no recording"):
            await said(maker, recipe)
        await maker.forget("", recipe)


async def test_the_folder_does_not_grow(tmp_path: Path) -> None:
    folder = tmp_path / "references"
    folder.mkdir()
    for number in range(FILES_MAX + 20):
        (folder / f"{number}.wav").write_bytes(b"")
    async with made_for("cosyvoice", Script(), tmp_path) as maker:
        made = await maker.make(recording(tmp_path), "", "", lambda *_: None)
        assert len(list(folder.iterdir())) == FILES_MAX
        assert (await said(maker, made.recipe)).size > 0


async def test_recordings_are_not_kept_without_end(tmp_path: Path) -> None:
    recordings = Recordings("cosyvoice", content)
    for number in range(KEPT_MAX + 5):
        (tmp_path / str(number)).write_bytes(bytes([number]))
        assert await recordings.get(str(tmp_path / str(number))) == bytes([number])
    assert len(recordings._kept) == KEPT_MAX


@dataclasses.dataclass(frozen=True)
class Given:
    tts_options: Mapping[str, Mapping[str, Any]]


@pytest.mark.parametrize("make", [cosyvoice_maker, sovits_maker, index_maker, omni_maker])
async def test_a_server_is_offered_where_its_address_is_configured(make: Callable[[Any], ServedMaker]) -> None:
    maker = make(Given({}))
    assert f'{{"{maker.name}": {{"server": "http://..."}}}}' in str(maker.why_not())
    there = make(Given({maker.name: {"server": "http://127.0.0.1:1"}}))
    assert there.why_not() is None and not there.why_not_zh() and "未配置" in maker.why_not_zh()
    with pytest.raises(BadRequest, match="does not exist"):
        make(Given({maker.name: {"port": 7}}))
    await maker.aclose()
    await there.aclose()
