"""StepFun in the voice library, from the page's side: made, heard, spoken, refused, deleted; its own voices."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from config import ConfigError, Settings
from doctor import voices as doctor
from house.voices import guests
from tests.conformance.httpservers import served
from tests.fakes.app import until
from tests.fakes.library import CONSENT, Client, LibraryStage, clip, made, shelves, upload
from tests.fakes.stepfun import KEY, RATE_HZ, Says, StepFun, Waits, stepfun
from tests.fakes.voice import FakeEngine
from tests.test_voice_library import data, stored
from tts.chain import Chain
from tts.stepfun import SYSTEM_VOICES, StepFunGuest, StepFunOptions
from tts.wire.options import Common
from voices.cloning.stepfun import stepfun_maker
from voices.cloning.vendor import ATTEMPTS
from voices.people import LOCAL
from voices.readers import stand_in


@contextlib.asynccontextmanager
async def shop(root: Path) -> AsyncIterator[tuple[Client, LibraryStage, StepFun, Waits]]:
    async with (
        stepfun() as (maker, vendor, waits),
        shelves(root, makers=[maker]) as (client, stage),
    ):
        stage.services.metrics.expose(stage.library.figures)
        yield client, stage, vendor, waits


async def wished(client: Client, number: int = 0, **wish: Any) -> tuple[int, dict[str, Any]]:
    _, body = await upload(client, clip(number))
    asked = {"fileId": body["data"]["fileId"], "consent": CONSENT, **wish}
    response = await client.post("/api/voices", json=asked)
    return response.status, await response.json()


async def until_gone(vendor: StepFun) -> None:
    await until(lambda: not vendor.voices and not vendor.files)


async def test_a_voice_from_recording_to_deletion(tmp_path: Path) -> None:
    async with shop(tmp_path) as (client, stage, vendor, _):
        options = (await data(client, "/api/voices/options"))["makers"][0]
        assert (options["maker"], options["usable"], options["clones"]) == ("stepfun", True, True)
        assert {"step-tts-2", "step-tts-mini", "step-tts-vivid", "step-audio-2"} <= set(options["models"])
        voice = await made(client, maker="stepfun", model="step-tts-mini", text="Hello there.", sample_text="你好。")
        assert voice["sample_audio"] and not voice["duplicated"] and voice["model"] == "step-tts-mini"
        assert vendor.asked[1][2]["sample_text"] == "你好。" and vendor.asked[1][2]["text"] == "Hello there."
        assert (await made(client, maker="stepfun", model="step-tts-mini"))["duplicated"]
        assert vendor.count("POST", "/audio/voices") == 1, "the same recording and model are known here"
        spoken = await client.post("/api/tts/generate", json={"voiceId": voice["voiceId"], "input": "你好，世界。"})
        assert spoken.status == 201 and (await spoken.json())["data"]["duration"] == pytest.approx(0.36, abs=0.1)
        assert vendor.asked[-1][2]["model"] == "step-tts-mini"
        admitted = await stage.library.admit(f"library:{voice['voiceId']}", LOCAL)
        chain = stage.library._chain()
        assert chain is not None
        pieces = [piece async for piece in chain.speak("你好。", "zh", admitted)]
        assert sum(piece.sound.pcm.size for piece in pieces) == RATE_HZ * 3 // 20
        assert (await client.delete(f"/api/voices/{voice['voiceId']}")).status == 200
        await until_gone(vendor)
        assert not stored(tmp_path)


async def test_where_a_preview_is_missing_the_voice_itself_is_heard(tmp_path: Path) -> None:
    async with shop(tmp_path) as (client, _, vendor, _):
        vendor.gives_samples = vendor.has_preview = False
        assert (await made(client))["sample_audio"]
        assert vendor.asked[-1][0:2] == ("POST", "/audio/speech")


async def test_a_voice_that_cannot_be_heard_is_undone_at_the_vendor(tmp_path: Path) -> None:
    async with shop(tmp_path) as (client, _, vendor, _):
        vendor.gives_samples = vendor.has_preview = False
        vendor.will("POST", "/audio/speech", Says(status=451))
        status, body = await wished(client)
        assert status == 400 and body["error"]["code"] == "content_refused"
        job = (await data(client, "/api/voices/jobs"))["jobs"][0]
        assert job["status"] == "failed" and not job["retryable"]
        await until_gone(vendor)


@pytest.mark.parametrize(
    ("answered", "status", "code", "retryable"),
    [
        (400, 400, "refused_by_vendor", False),
        (401, 502, "invalid_api_key", True),
        (402, 502, "no_balance", True),
        (429, 429, "busy", True),
        (451, 400, "content_refused", False),
        (500, 502, "engine_failed", True),
    ],
)
async def test_refusals_reach_whoever_asked(
    answered: int, status: int, code: str, retryable: bool, tmp_path: Path
) -> None:
    async with shop(tmp_path) as (client, _, vendor, _):
        vendor.will("POST", "/audio/voices", *[Says(status=answered)] * ATTEMPTS)
        found, body = await wished(client)
        assert (found, body["error"]["code"]) == (status, code) and KEY not in str(body)
        job = (await data(client, "/api/voices/jobs"))["jobs"][0]
        assert job["status"] == "failed" and job["retryable"] is retryable
        if code != "engine_failed":
            assert "阶跃星辰" in job["error"]["details"]["zh"]


@pytest.mark.parametrize(("answered", "status"), [(400, 400), (401, 502), (429, 429), (451, 400), (503, 502)])
async def test_refused_speech_reaches_whoever_asked(answered: int, status: int, tmp_path: Path) -> None:
    async with shop(tmp_path) as (client, _, vendor, waits):
        voice = (await made(client))["voiceId"]
        for path, name in (("/api/tts/generate", "voiceId"), ("/v1/audio/speech", "voice")):
            vendor.will("POST", "/audio/speech", *[Says(status=answered)] * ATTEMPTS)
            asked = {name: voice, "input": "Hello.", "model": "step-tts-2"}
            response = await client.post(path, json=asked)
            told = await response.json()
            assert response.status == (502 if answered == 503 else status), told
            assert KEY not in str(told) and told["error"]["message"]
            vendor.instead.clear()
            waits.now += 3_600


async def test_a_refused_key_is_shown_where_makers_are_listed(tmp_path: Path) -> None:
    async with shop(tmp_path) as (client, _, vendor, _):
        vendor.key = "another"
        await wished(client)
        option = (await data(client, "/api/voices/options"))["makers"][0]
        assert not option["usable"] and "refuses the key" in option["why_not"] and KEY not in option["why_not"]
        assert "拒绝" in option["why_not_zh"]
        metrics = await (await client.get("/metrics")).text()
        assert "visage_voices_stepfun_key_refused 1.0" in metrics
        assert "visage_voices_stepfun_key_refusals_total 1.0" in metrics
        status, body = await wished(client, 1)
        assert status == 503 and body["error"]["code"] == "no_maker" and len(vendor.asked) == 1


async def test_its_own_voices_are_there_for_whoever_chooses_them() -> None:
    vendor = StepFun()
    async with served(*vendor.routes()) as address:
        engine: Any = StepFunGuest(StepFunOptions(server=f"{address}/v1"), Common({"STEP_API_KEY": KEY}))
        own = FakeEngine("own", languages=("en",), first_sound_s=0.0, chunk_s=0.0)
        chain = Chain([own, engine])
        try:
            assert {voice.id for voice in engine.voices()} == {f"stepfun:{name}" for name in SYSTEM_VOICES}
            await chain.warm_up()
            await until(lambda: len(engine.voices()) != len(SYSTEM_VOICES))
            assert "stepfun:tianmeinvsheng" in [voice.id for voice in chain.voices()]
            assert chain.find_voice("alloy") is None and chain.find_voice("voice-tone-1") is None
            assert [found.name for found, _ in chain.candidates("zh", None)] == [], "it stands in for nobody"
            assert stand_in(chain, "female", "zh") is None
            chosen = chain.find_voice("cixingnansheng")
            assert chosen is not None and chosen.gender == "male"
            pieces = [piece async for piece in chain.speak("你好。", "zh", chosen)]
            assert pieces and vendor.asked[-1][2]["voice"] == "cixingnansheng"
        finally:
            await chain.aclose()


@pytest.mark.parametrize(
    ("settings", "there"),
    [
        ({}, True),
        ({"library": "off"}, False),
        ({"tts": ("stepfun", "espeak")}, False),
        ({"tts": ("stepfun-ws",)}, False),
        ({"voice_makers": ("designed",)}, False),
        ({"voice_makers": ("designed", "stepfun")}, True),
    ],
)
def test_when_its_own_voices_are_offered(
    settings: dict[str, Any], there: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("STEP_API_KEY", raising=False)
    assert guests(Settings(**settings)) == []
    monkeypatch.setenv("STEP_API_KEY", KEY)
    assert [engine.name for engine in guests(Settings(**settings))] == (["stepfun"] if there else [])


def test_options_that_cannot_be() -> None:
    with pytest.raises(ConfigError, match=r"tts_options.stepfun.volume"):
        guests(Settings(tts_options={"stepfun": {"volume": 7}}))


async def test_the_model_is_what_the_configuration_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEP_API_KEY", KEY)
    maker = stepfun_maker(Settings(tts_options={"stepfun": {"model": "step-tts-9", "server": "https://api.x/v1"}}))
    assert maker.models[0] == "step-tts-9" and maker.why_not() is None
    await maker.aclose()


async def test_doctor_asks_whether_the_key_is_taken() -> None:
    async with stepfun() as (_, vendor, _):
        pass
    async with served(*vendor.routes()) as address:
        settings = Settings(tts_options={"stepfun": {"server": f"{address}/v1"}})

        def look(key: str) -> Any:
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("STEP_API_KEY", key)
                return doctor._maker(stepfun_maker(settings))

        taken = await asyncio.to_thread(look, KEY)
        assert taken.state == "ok" and "4 voices" in taken.en
        refused = await asyncio.to_thread(look, "wrong-key")
        assert refused.state == "note" and "refuses the key" in refused.en and "拒绝" in refused.zh
        assert "wrong-key" not in refused.en
