"""`/v1/audio/voices` as OpenAI's clients use it: made of a recording, listed, spoken with, deleted."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from errors import EngineError
from server.library import creation
from tests.fakes.library import Client, clip, made, shelves
from tests.fakes.maker import FakeMaker
from tests.test_voice_library import data, stored
from voices.consent import STATEMENT


async def create(
    client: Client, content: bytes | None = None, *, field: str = "audio_sample", key: str = "", **wish: str
) -> tuple[int, Any]:
    form = aiohttp.FormData()
    for name, value in {"name": "Ada", "consent": STATEMENT.id, **wish}.items():
        form.add_field(name, value)
    if content != b"":
        form.add_field(field, io.BytesIO(clip() if content is None else content), filename="me.wav")
    response = await client.post("/v1/audio/voices", data=form, headers={"X-API-Key": key} if key else {})
    return response.status, await response.json()


async def test_a_voice_from_upload_to_deletion(tmp_path: Path) -> None:
    async with shelves(tmp_path) as (client, stage):
        status, voice = await create(client, ref_text="The young teacher.", model="hum-2", language="en")
        assert status == 200 and set(voice) == {"id", "object", "name", "created_at", "type"}
        assert (voice["object"], voice["name"], voice["type"]) == ("audio.voice", "Ada", "audio_sample")
        info = await data(client, f"/api/voices/{voice['id']}")
        assert info["text"] == "The young teacher." and info["model"] == "hum-2"
        assert (info["consent"]["speaker"], info["consent"]["relation"]) == ("Ada", "permitted")
        listed = await (await client.get("/v1/audio/voices")).json()
        assert voice["id"] in [one["id"] for one in listed["data"]]
        asked = {"model": "x", "voice": {"id": voice["id"]}, "input": "Hello."}
        assert (await client.post("/v1/audio/speech", json=asked)).status == 200
        status, again = await create(client, field="file", name="Another", model="hum-2")
        assert status == 200 and again["id"] == voice["id"] and len(stage.maker.made) == 1
        response = await client.delete(f"/v1/audio/voices/{voice['id']}")
        assert await response.json() == {"id": voice["id"], "object": "audio.voice.deleted", "deleted": True}
        response = await client.delete(f"/v1/audio/voices/{voice['id']}")
        assert response.status == 404 and (await response.json())["error"]["code"] == "not_found"
        assert (await data(client, "/api/voices"))["total"] == 0


async def test_what_openai_takes_and_this_does_not(tmp_path: Path) -> None:
    async with shelves(tmp_path) as (client, stage):
        wrong: list[tuple[dict[str, str], bytes | None, int, str]] = [
            ({"name": ""}, None, 400, "name"),
            ({"consent": "cons_1234"}, None, 400, STATEMENT.id),
            ({"consent": ""}, None, 400, STATEMENT.id),
            ({"type": "prompt", "prompt": "an old sailor"}, None, 400, "type"),
            ({"relation": "stranger"}, None, 400, "relation"),
            ({"model": "unheard-of"}, None, 400, "unheard-of"),
            ({"maker": "nobody"}, None, 400, "nobody"),
            ({"name": "x" * 81}, None, 413, "name"),
            ({}, b"", 400, "audio_sample"),
            ({}, b"no sound at all" * 99, 422, ""),
        ]
        for wish, content, status, words in wrong:
            found, body = await create(client, content, **wish)
            assert found == status and words in body["error"]["message"], (wish, body)
            assert body["error"]["type"] == "invalid_request_error" and body["error"]["code"]
        response = await client.post("/v1/audio/voices", json={"name": "Ada", "type": "prompt", "prompt": "a sailor"})
        assert response.status == 400 and "multipart" in (await response.json())["error"]["message"]
        assert not stage.maker.made and stage.services.voice_uploads == 0
        for name in ("voice-" + "0" * 24, "fake:female", "%00"):
            assert (await client.delete(f"/v1/audio/voices/{name}")).status in (400, 404)


async def test_a_refused_consent_keeps_no_recording(tmp_path: Path) -> None:
    async with shelves(tmp_path) as (client, _):
        assert (await create(client, consent="cons_1234"))[0] == 400
        assert stored(tmp_path) == []


async def test_a_maker_that_fails_is_told_in_openais_shape(tmp_path: Path) -> None:
    async with shelves(tmp_path, makers=[FakeMaker(failure=EngineError("scripted", "it is down"))]) as (client, _):
        status, body = await create(client)
        assert status == 502 and body["error"] == {
            "message": "scripted: it is down", "type": "server_error", "param": None, "code": "engine_failed",
        }  # fmt: skip


async def test_one_that_takes_too_long_names_its_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(creation, "WAIT_S", 0.2)
    async with shelves(tmp_path) as (client, stage):
        stage.maker.held.clear()
        status, body = await create(client)
        job = (await data(client, "/api/voices/jobs"))["jobs"][0]
        assert status == 503 and f"GET /api/voices/jobs/{job['jobId']}" in body["error"]["message"]
        stage.maker.held.set()


async def test_others_voices_are_not_theirs_to_delete(tmp_path: Path) -> None:
    async with shelves(tmp_path, api_key="owner-key") as (client, stage):
        accounts = (await stage.library.opened()).accounts
        key = await accounts.add("Ben")
        mine = (await made(client, key="owner-key", public=True))["voiceId"]
        response = await client.delete(f"/v1/audio/voices/{mine}", headers={"X-API-Key": key})
        assert response.status == 404
        status, theirs = await create(client, key=key)
        assert status == 200 and theirs["id"] != mine
        assert (await create(client))[0] == 401
