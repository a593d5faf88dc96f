"""The interface at its best behaviour: LiveTalking's shapes, keys and origins, events, recordings, figures, pages."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import re
import time
from pathlib import Path
from typing import Any

import aiohttp
import pytest

import server.events
from config import Settings, sources
from server import pages
from server.admin import ice_servers
from server.application import ENDPOINTS
from server.envelope import envelope_of
from server.events import message
from server.openapi import document, markdown
from tests.fakes.app import OFFER, connect, make_stage, serving, until
from tests.fakes.sounds import TONE_HZ, pitch_hz, written

ECHO = {"type": "echo", "text": "hello"}
ROOT = Path(__file__).parent.parent


def sentence(path: str, body: dict[str, Any]) -> str:
    """What a failure says, in the shape of its path."""
    envelope = envelope_of(path)
    if envelope == "library":
        assert body["success"] is False and body["data"] is None and body["message"] == body["error"]["message"]
        return str(body["message"])
    if envelope == "openai":
        return str(body["error"]["message"])
    assert body["code"] == -1
    return str(body["msg"])


async def test_offer_answers_at_top_level() -> None:
    async with serving() as (client, stage):
        offer = {"sdp": "v=0\nm=audio 9 x 1\n", "type": "offer", "avatar": None}
        response = await client.post("/offer", json=offer)
        body = await response.json()
        assert body["type"] == "answer" and body["sdp"] and body["code"] == 0
        assert body["sessionid"].isdecimal() and len(body["sessionid"]) <= 15 and body["sessionid"][0] != "0"
        assert list(stage.reals) == [body["sessionid"]]


async def test_offer_takes_livetalkings_wishes() -> None:
    async with serving() as (client, stage):
        sid = await connect(
            client,
            avatar="mei",
            refaudio="zf_xiaobei",
            reftext="hi",
            custom_config='[{"audiotype": 2, "imgpath": "a"}]',
        )
        wish = stage.services.sessions.get(sid).wish
        assert (wish.avatar, wish.voice, wish.ref_text) == ("mei", "kokoro:zf_xiaobei", "hi")
        assert json.loads(wish.custom_config)[0]["audiotype"] == 2


@pytest.mark.parametrize("form", ["string", "number", "missing", "null", "zero", "zero text"])
async def test_every_route_takes_every_form_of_session_id(form: str) -> None:
    async with serving() as (client, stage):
        sid = await connect(client)
        forms: dict[str, dict[str, object]] = {
            "string": {"sessionid": sid},
            "number": {"sessionid": int(sid)},
            "missing": {},
            "null": {"sessionid": None},
            "zero": {"sessionid": 0},
            "zero text": {"sessionid": "0"},
        }
        requests: dict[str, dict[str, object]] = {
            "/human": {"type": "echo", "text": "hello"},
            "/interrupt_talk": {},
            "/is_speaking": {},
            "/set_audiotype": {"audiotype": 2, "reinit": False},
            "/record": {"type": "start_record"},
        }
        for path, body in requests.items():
            response = await client.post(path, json={**forms[form], **body})
            answer = await response.json()
            assert (response.status, answer["code"], answer["msg"]) == (200, 0, "ok"), answer
        real = stage.reals[sid]
        assert real.said[0].text == "hello" and real.turn == 1 and real.acts == [2]


async def test_is_speaking_is_a_bare_boolean() -> None:
    async with serving() as (client, stage):
        sid = await connect(client)
        for speaking in (False, True):
            stage.reals[sid].speaking = speaking
            assert (await (await client.post("/is_speaking", json={})).json())["data"] is speaking


async def test_human_interrupts_first_and_hands_the_voice_on() -> None:
    async with serving() as (client, stage):
        sid = await connect(client)
        body = {**ECHO, "interrupt": True, "tts": {"ref_file": "zf_xiaobei", "speed": 1.5, "task_type": "ignored"}}
        assert (await client.post("/human", json=body)).status == 200
        said = stage.reals[sid].said[0]
        assert (said.turn, said.voice, said.options) == (1, "kokoro:zf_xiaobei", {"speed": 1.5})


async def test_what_no_voice_can_say_is_taken_out_of_the_text() -> None:
    async with serving() as (client, stage):
        sid = await connect(client)
        await client.post("/human", json={"type": "echo", "text": "a\x00b\x1b[31m\u200e 你\ufdd0好\n！"})
        assert stage.reals[sid].said[0].text == "ab[31m\u200e 你好\n！"


async def test_human_does_not_log_what_people_say(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with serving() as (client, _):
        await connect(client)
        await client.post("/human", json={"type": "echo", "text": "my secret"})
        await client.post("/human", json={"type": "chat", "text": "my secret"})
    assert "my secret" not in caplog.text


async def test_humanaudio_is_heard_whole() -> None:
    async with serving() as (client, stage):
        sid = await connect(client)
        form = aiohttp.FormData()
        form.add_field("file", io.BytesIO(written(3, 44_100, 2)), filename="speech.wav", content_type="audio/wav")
        form.add_field("sessionid", sid)
        sent = time.monotonic()
        response = await client.post("/humanaudio", data=form)
        assert await response.json() == {"code": 0, "msg": "ok"}
        real = stage.reals[sid]
        await asyncio.gather(*real.playing)
        assert len(real.pcm) == 3 * 16_000
        assert pitch_hz(real.pcm, 16_000) == pytest.approx(TONE_HZ, abs=1)
        assert real.first_block_at is not None and real.first_block_at - sent < 1.0


async def test_an_interruption_ends_a_recording() -> None:
    async with serving() as (client, stage):
        sid = await connect(client)
        form = aiohttp.FormData({"sessionid": sid})
        form.add_field("file", io.BytesIO(written(20, 16_000)), filename="a.wav")
        await client.post("/humanaudio", data=form)
        await client.post("/interrupt_talk", json={"sessionid": sid})
        await asyncio.gather(*stage.reals[sid].playing, return_exceptions=True)
        assert len(stage.reals[sid].pcm) < 20 * 16_000
        assert not stage.services.sessions.get(sid)._recordings


async def test_recordings_are_kept_listed_downloaded_and_deleted() -> None:
    async with serving() as (client, _):
        sid = await connect(client)
        made = []
        for kind in ("start_record", "end_record") * 2:
            response = await client.post("/record", json={"sessionid": sid, "type": kind})
            assert response.status == 200
            made.append((await response.json())["data"]["id"])
        assert made[0] == made[1] != made[2] == made[3], "each has an id of its own"
        listed = (await (await client.get("/api/recordings")).json())["data"]["recordings"]
        assert [one["id"] for one in listed] == [made[2], made[0]]
        assert {one["sessionid"] for one in listed} == {sid}
        assert all(one["bytes"] == 12 and one["media"] == "video/mp4" for one in listed)
        for path in (f"/record/{sid}", f"/api/recordings/{made[0]}", f"/api/recordings/{made[2]}"):
            response = await client.get(path)
            assert response.status == 200 and response.content_type == "video/mp4"
            assert (await response.read())[4:8] == b"ftyp"
        assert (await client.delete(f"/api/recordings/{made[2]}")).status == 200
        assert (await client.delete(f"/api/recordings/{made[2]}")).status == 404
        assert (await client.get(f"/record/{sid}")).status == 200, "the one before it is the newest now"


async def test_a_running_recording_is_not_downloaded() -> None:
    async with serving() as (client, _):
        sid = await connect(client)
        started = await client.post("/record", json={"sessionid": sid, "type": "start_record"})
        recording = (await started.json())["data"]["id"]
        assert (await client.get(f"/api/recordings/{recording}")).status == 409
        assert (await (await client.get("/api/recordings")).json())["data"]["recordings"] == []


async def test_deleting_a_session_frees_it() -> None:
    async with serving(max_session=1) as (client, stage):
        sid = await connect(client)
        assert (await client.post("/offer", json=OFFER)).status == 503
        assert (await client.delete(f"/session/{sid}")).status == 200
        assert stage.reals[sid].closed and stage.peers[sid].closed
        assert (await client.delete(f"/session/{sid}")).status == 404
        await connect(client)


async def events_of(response: aiohttp.ClientResponse, count: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    async with asyncio.timeout(5):
        async for line in response.content:
            if line.startswith(b"data: "):
                found.append(json.loads(line[6:]))
                if len(found) == count:
                    break
    return found


async def test_events_come_in_livetalkings_shape_with_ours_beside_it() -> None:
    async with serving() as (client, stage):
        sid = await connect(client)
        response = await client.get(f"/sse?sessionid={sid}")
        assert response.content_type == "text/event-stream"
        real = stage.reals[sid]
        real.hear("speech.started", text="你好")
        real.hear("word", text="你", start_s=0.0, end_s=0.2)
        real.hear("speech.ended")
        start, word, end = await events_of(response, 3)
        assert (start["status"], start["text"], start["event"], start["turn"]) == ("start", "你好", "speech.started", 0)
        assert "status" not in word and word["event"] == "word"
        assert end["status"] == "end" and abs(end["time"] - time.time()) < 5
        response.close()


async def test_a_quiet_stream_stays_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server.events, "HEARTBEAT_S", 0.02)
    async with serving() as (client, stage):
        sid = await connect(client)
        response = await client.get(f"/sse?sessionid={sid}")
        async with asyncio.timeout(5):
            beats = 0
            while beats < 3:
                beats += await response.content.readline() == b": alive\n"
        stage.reals[sid].hear("speech.started", text="still here")
        assert (await events_of(response, 1))[0]["text"] == "still here"
        response.close()


async def test_event_streams_end_with_their_session() -> None:
    async with serving() as (client, stage):
        sid = await connect(client)
        response = await client.get(f"/sse?sessionid={sid}")
        await client.delete(f"/session/{sid}")
        assert (await events_of(response, 9))[-1] == {"event": "session.ended"}
        assert not stage.reals[sid].events._listeners


async def test_an_event_stream_nobody_reads_is_noticed_and_costs_a_bounded_amount() -> None:
    async with serving() as (client, stage):
        sid = await connect(client)
        response = await client.get(f"/sse?sessionid={sid}")
        for n in range(2_000):
            stage.reals[sid].hear("word", text=str(n))
        await asyncio.sleep(0)
        response.close()
        await until(lambda: not stage.reals[sid].events._listeners)


def test_a_spoken_recording_begins_and_ends_without_text() -> None:
    from media import Event

    now = time.monotonic()
    assert message(Event("speech.started", 1), now)["status"] == "start"
    assert message(Event("speech.ended", 1), now)["status"] == "end"
    assert "status" not in message(Event("clause.started", 1, {"text": "x"}), now)


LOCKED = [endpoint for endpoint in ENDPOINTS if endpoint.locked]


@pytest.mark.parametrize("endpoint", LOCKED, ids=lambda endpoint: f"{endpoint.method} {endpoint.path}")
async def test_the_key_is_asked_for_everywhere(endpoint: Any) -> None:
    async with serving(api_key="hush") as (client, _):
        path = re.sub(r"\{\w+\}", "123", endpoint.path)
        for headers in ({}, {"X-API-Key": "wrong"}, {"Authorization": "Bearer hus"}, {"Authorization": "hush"}):
            response = await client.request(endpoint.method, path, headers=headers)
            body = await response.json()
            assert response.status == 401 and "key" in sentence(path, body)
        for headers in ({"X-API-Key": "hush"}, {"Authorization": "Bearer hush"}):
            response = await client.request(endpoint.method, path, headers=headers)
            assert response.status != 401
        response = await client.request(endpoint.method, f"{path}?api_key=hush")
        assert (response.status != 401) is endpoint.key_in_query


async def test_health_and_pages_need_no_key() -> None:
    async with serving(api_key="hush") as (client, _):
        for path in ("/healthz", "/readyz", "/docs", "/openapi.json", "/"):
            assert (await client.get(path)).status == 200, path


async def test_only_configured_origins_may_call() -> None:
    async with serving(cors_origins="https://app.example") as (client, _):
        own = f"http://{client.server.host}:{client.server.port}"
        for origin, status in ((own, 200), ("https://app.example", 200), ("https://evil.example", 403), ("null", 403)):
            response = await client.post("/offer", json=OFFER, headers={"Origin": origin})
            assert response.status == status, origin
            allowed = response.headers.get("Access-Control-Allow-Origin")
            assert allowed == (origin if origin == "https://app.example" else None)
        asked = {"Origin": "https://app.example", "Access-Control-Request-Method": "POST"}
        response = await client.options("/human", headers=asked)
        assert response.status == 204 and "POST" in response.headers["Access-Control-Allow-Methods"]
        assert "Authorization" in response.headers["Access-Control-Allow-Headers"]
        response = await client.post("/human", json={}, headers={"Origin": "https://app.example"})
        assert response.status == 400 and response.headers["Access-Control-Allow-Origin"] == "https://app.example"


async def test_a_name_made_to_point_here_is_not_this_machine() -> None:
    async with serving() as (client, _):
        rebound = {"Host": "evil.example:8010", "Origin": "http://evil.example:8010"}
        assert (await client.post("/offer", json=OFFER, headers=rebound)).status == 403
    async with serving(api_key="k") as (client, _):
        proxied = {"Host": "visage.example", "Origin": "https://visage.example", "X-API-Key": "k"}
        assert (await client.post("/offer", json=OFFER, headers=proxied)).status == 200


async def test_admin_tells_no_secret() -> None:
    async with serving(api_key="hush", llm_api_key="hush", turn="turn:u:hush@h:3478") as (client, _):
        headers = {"X-API-Key": "hush"}
        sid = await connect_with(client, headers)
        config = await (await client.get("/api/admin/config", headers=headers)).json()
        assert "hush" not in json.dumps(config)
        wanted = {"model", "avatar_id", "tts", "REF_FILE", "transport", "listenport", "batch_size", "fps", "push_url"}
        assert wanted <= set(config["data"]["config"])
        sessions = await (await client.get("/api/admin/sessions", headers=headers)).json()
        row = sessions["data"]["sessions"][0]
        assert row["sessionid"] == sid and row["connected"] is True and row["speaking"] is False
        wanted = {"speaking", "recording", "model", "avatar_id", "REF_FILE", "transport", "batch_size", "customopt"}
        assert wanted <= set(row)


async def connect_with(client: Any, headers: dict[str, str]) -> str:
    response = await client.post("/offer", json=OFFER, headers=headers)
    return str((await response.json())["sessionid"])


async def test_catalogue_speaks_the_visitors_language() -> None:
    async with serving() as (client, _):
        for language, name in (("zh-CN,zh;q=0.9", "ada"), ("en", "Ada"), ("", "Ada")):
            body = await (await client.get("/api/avatars", headers={"Accept-Language": language})).json()
            first = body["data"]["avatars"][0]
            assert first["name"] == name and first["names"] == {"en": "Ada", "zh": "ada"}
            assert (await client.get("/" + first["poster"])).status == 200
        body = await (await client.get("/api/speech/voices")).json()
        assert body["data"]["voices"][0] == {
            "id": "kokoro:zf_xiaobei",
            "engine": "kokoro",
            "languages": ["zh"],
            "gender": "female",
            "licence": "Apache-2.0",
        }


def test_turn_servers_are_told_as_browsers_take_them() -> None:
    assert ice_servers("") == []
    (server,) = ice_servers("turn:user:pa:ss@example.com:3478?transport=tcp")
    assert server.urls == ["turn:example.com:3478?transport=tcp"]
    assert (server.username, server.credential) == ("user", "pa:ss")
    (server,) = ice_servers("turn:user:pass@example.com:3478")
    assert server.urls == ["turn:example.com:3478?transport=udp", "turn:example.com:3478?transport=tcp"]
    (server,) = ice_servers("turns:user:pass@example.com:5349")
    assert server.urls == ["turns:example.com:5349"]
    assert ice_servers("stun:example.com:3478")[0].urls == ["stun:example.com:3478"]


async def test_readiness_follows_the_house_and_the_drain() -> None:
    async with serving() as (client, stage):
        assert (await client.get("/readyz")).status == 200
        stage.services.not_ready = lambda: "the avatar is being loaded"
        response = await client.get("/readyz")
        assert response.status == 503 and "avatar" in (await response.json())["msg"]
        stage.services.not_ready = lambda: None
        await stage.services.sessions.drain(0)
        assert "shutting down" in (await (await client.get("/readyz")).json())["msg"]
        assert (await client.get("/healthz")).status == 200


async def test_metrics_count_what_happened() -> None:
    async with serving(max_session=7) as (client, _):
        await connect(client)
        await client.post("/human", json=ECHO)
        await client.post("/human", json={})
        await client.post("/interrupt_talk", json={})
        await client.get("/session/12345")
        text = await (await client.get("/metrics")).text()
        for line in (
            "visage_sessions 1.0",
            "visage_sessions_limit 7.0",
            'visage_speech_requests_total{kind="echo"} 1.0',
            "visage_interruptions_total 1.0",
            'visage_http_requests_total{method="POST",route="/human",status="200"} 1.0',
            'visage_http_requests_total{method="POST",route="/human",status="400"} 1.0',
            'visage_http_request_duration_seconds_count{route="/offer"} 1.0',
        ):
            assert line in text, line
        for line in (
            "visage_lip_pictures_total 5.0",
            "# TYPE visage_lip_pictures_total counter",
            'visage_speech_failures_total{engine="gpt-sovits"} 2.0',
            'visage_speech_failures_total{engine="kokoro"} 0.0',
            "visage_playout_fps_min 24.9",
        ):
            assert line in text, line
        assert "12345" not in text  # one series a route, not one a path


async def test_pages(tmp_path: Path) -> None:
    from aiohttp.test_utils import TestClient, TestServer

    (tmp_path / "assets").mkdir()
    (tmp_path / "assets" / "a-1234.js").write_text("1")
    (tmp_path / "webrtcapi.html").write_text("<title>plain</title>")
    stage = make_stage(Settings(), web_root=tmp_path)
    async with TestClient(TestServer(stage.app)) as client:
        assert "make web" in await (await client.get("/")).text()
        (tmp_path / "index.html").write_text("<title>page</title>")
        for path in ("/", "/index.html"):
            response = await client.get(path)
            assert "page" in await response.text() and response.headers["Cache-Control"] == "no-cache"
        assert "plain" in await (await client.get("/webrtcapi.html")).text()
        assert "immutable" in (await client.get("/assets/a-1234.js")).headers["Cache-Control"]
        assert (await client.get("/assets/none.js")).status == 404

        assert "make web" in await (await client.get("/voices")).text()
        (tmp_path / "voices.html").write_text(f"<title>voices</title>{pages.BASE}")
        for path, base in {"/voices": "./", "/voices/": "../", "/voices/create": "../"}.items():
            response = await client.get(path)
            assert response.headers["Cache-Control"] == "no-cache"
            assert f'<base href="{base}" />' in await response.text()
        for path in ("/voices/a/b", "/voices/a.js", "/voicesa"):
            assert (await client.get(path)).status == 404
        assert (await client.post("/voices")).status == 404
    stage.close()


async def test_documentation_works_offline() -> None:
    async with serving() as (client, _):
        page = await (await client.get("/docs")).text()
        assert "http://" not in page and "https://" not in page and "src=" not in page
        body = await (await client.get("/openapi.json")).json()
        assert body["openapi"] == "3.1.0" and len(body["paths"]) == len({endpoint.path for endpoint in ENDPOINTS})


def test_generated_files_are_the_codes_own() -> None:
    assert (ROOT / "docs" / "api.md").read_text("utf-8") == markdown(ENDPOINTS) + "\n"
    assert (ROOT / "config.example.yaml").read_text("utf-8") == sources.example()
    assert (ROOT / "docs" / "settings.md").read_text("utf-8") == sources.markdown()


def test_every_route_is_described_in_both_languages() -> None:
    for endpoint in ENDPOINTS:
        assert endpoint.en.endswith(".") and any("\u4e00" <= c <= "\u9fff" for c in endpoint.zh), endpoint.path
    references = json.dumps(document(ENDPOINTS)).count("#/components/schemas/")
    assert references > len(ENDPOINTS)
