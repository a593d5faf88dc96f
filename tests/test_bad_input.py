"""Whatever is sent, the answer is a real status and a sentence that names what was wrong, and the session lives on."""

from __future__ import annotations

import asyncio
import io
import json
import time
from typing import Any

import aiohttp
import pytest

from errors import Busy
from server.human import UPLOADS_MAX
from tests.fakes.app import OFFER, SDP, connect, serving, until
from tests.fakes.sounds import encoded, written
from tests.watchdog import watched

ANSWER_S = 1.0
ECHO = {"type": "echo", "text": "hello"}

JSON_BODIES: list[tuple[str, bytes, int, str]] = [
    ("/human", b"", 400, "empty"),
    ("/human", b"{not json", 400, "not JSON"),
    ("/human", b"[1, 2]", 400, "list"),
    ("/human", b'"text"', 400, "str"),
    ("/human", b"\xff\xfe{}", 400, "UTF-8"),
    ("/human", b'{"type": "echo", "text": NaN}', 400, "NaN"),
    ("/human", b'{"text":' + b"[" * 100_000 + b"]" * 100_000 + b"}", 400, "more lists"),
    ("/human", b'{"text":' + b"[" * 7_000 + b"]" * 7_000 + b"}", 400, "nested"),
    ("/human", b'{"text":' + b"[" * 30 + b"]" * 30 + b"}", 400, "nested"),
    ("/human", b'{"n": ' + b"9" * 5_000 + b"}", 400, "JSON"),
    ("/human", b'{"type": "echo", "text": "\\ud800"}', 400, "surrogate"),
    ("/human", b" " * (1 << 20) + b"{}", 413, "bytes"),
    ("/is_speaking", b"null", 400, "NoneType"),
]

HUMAN: list[tuple[dict[str, Any], int, str]] = [
    ({"type": "echo"}, 400, "text is missing"),
    ({"text": "hello"}, 400, "type is missing"),
    ({"type": "sing", "text": "hello"}, 400, "type was \"sing\"; it should be 'echo' or 'chat'"),
    ({"type": "echo", "text": 5}, 400, "text was 5; it should be a valid string"),
    ({"type": "echo", "text": None}, 400, "text was null"),
    ({"type": "echo", "text": ""}, 400, 'text was ""'),
    ({"type": "echo", "text": " \n\t "}, 400, "text was"),
    ({"type": "echo", "text": "\x00\x07\x1b"}, 400, "text was"),
    ({"type": "echo", "text": "好" * 100_000}, 413, "text has 100000 characters; at most 5000"),
    ({"type": "echo", "text": "😀🎉"}, 422, "nothing to speak"),
    ({"type": "echo", "text": "...!?"}, 422, "nothing to speak"),
    ({**ECHO, "interrupt": "maybe"}, 400, 'interrupt was "maybe"'),
    ({**ECHO, "tts": "loud"}, 400, 'tts was "loud"'),
    ({**ECHO, "tts": {"speed": 9}}, 400, "tts.speed was 9"),
    ({**ECHO, "tts": {"voice": "nobody"}}, 404, "voice 'nobody' does not exist"),
    ({**ECHO, "tts": {"ref_file": "../../etc/passwd"}}, 404, "does not exist"),
    ({**ECHO, "sessionid": "999999999999999"}, 404, "not an open session"),
    ({**ECHO, "sessionid": "../1"}, 400, "sessionid was"),
    ({**ECHO, "sessionid": "01"}, 400, "sessionid was"),
    ({**ECHO, "sessionid": -5}, 400, "sessionid was"),
    ({**ECHO, "sessionid": True}, 400, "sessionid was true"),
    ({**ECHO, "sessionid": {"a": 1}}, 400, "sessionid was"),
    ({"type": "chat", "text": "hello"}, 503, "no language model is configured"),
]

OFFERS: list[tuple[dict[str, Any], int, str]] = [
    ({}, 400, "sdp is missing"),
    ({"sdp": SDP}, 400, "type is missing"),
    ({"sdp": SDP, "type": "answer"}, 400, "type was \"answer\"; it should be 'offer'"),
    ({"sdp": "", "type": "offer"}, 400, "sdp was"),
    ({"sdp": "hello", "type": "offer"}, 422, "v=0"),
    ({"sdp": "v=0\r\ns=-\r\n", "type": "offer"}, 422, "no media"),
    ({"sdp": "v=0\r\n" + "x" * 300_000, "type": "offer"}, 413, "sdp has 300005 characters"),
    ({"sdp": 3, "type": "offer"}, 400, "sdp was 3"),
    ({**OFFER, "avatar": "nobody"}, 404, "avatar 'nobody' does not exist; there are ada, mei"),
    ({**OFFER, "avatar": "../../etc"}, 404, "does not exist"),
    ({**OFFER, "avatar": "ada\x00"}, 404, "does not exist"),
    ({**OFFER, "refaudio": "nobody"}, 404, "voice 'nobody'"),
    ({**OFFER, "custom_config": "{"}, 400, "custom_config is not JSON"),
    ({**OFFER, "custom_config": '{"audiotype": 2}'}, 400, "must be a list"),
]

WAV = written(1, 16_000)
UPLOADS: list[tuple[str, bytes, int, str]] = [
    ("empty", b"", 422, "empty"),
    ("text", b"not audio" * 500, 422, "not audio"),
    ("truncated", WAV[: len(WAV) // 2], 422, "cut off"),
    ("two hours", written(1, 8_000)[:24] + (2).to_bytes(4, "little") + WAV[28:], 422, "Hz"),
    ("playlist", b"#EXTM3U\n#EXTINF:10,\nhttp://127.0.0.1/x\n", 422, "not audio"),
    ("too long", encoded("adts", "aac", 12), 413, "10 s"),
    ("too big", bytes(2 << 20), 413, "1 MiB"),
]


async def refused(response: aiohttp.ClientResponse, status: int, words: str) -> None:
    body = json.loads(await response.read())
    assert response.status == status, body
    assert body["code"] == -1 and words in body["msg"], body
    assert response.headers["Content-Type"].startswith("application/json")
    assert ("Retry-After" in response.headers) == (status in (429, 503))


@pytest.mark.parametrize(("path", "body", "status", "words"), JSON_BODIES)
async def test_bodies_that_are_no_request(path: str, body: bytes, status: int, words: str) -> None:
    async with serving() as (client, _):
        await connect(client)
        began = time.monotonic()
        await refused(await client.post(path, data=io.BytesIO(body)), status, words)
        assert time.monotonic() - began < ANSWER_S


@pytest.mark.parametrize(("body", "status", "words"), HUMAN)
async def test_human_refuses_by_name(body: dict[str, Any], status: int, words: str) -> None:
    async with serving() as (client, stage):
        sid = await connect(client)
        await refused(await client.post("/human", json={"sessionid": sid, **body}), status, words)
        assert stage.reals[sid].said == [] and stage.reals[sid].turn == 0
        assert (await client.post("/human", json={"sessionid": sid, **ECHO})).status == 200


@pytest.mark.parametrize(("body", "status", "words"), OFFERS)
async def test_offer_refuses_by_name_and_keeps_no_place(body: dict[str, Any], status: int, words: str) -> None:
    async with serving(max_session=1) as (client, stage):
        await refused(await client.post("/offer", json=body), status, words)
        assert not stage.reals
        await connect(client)


@pytest.mark.parametrize(("name", "data", "status", "words"), UPLOADS, ids=[name for name, *_ in UPLOADS])
async def test_humanaudio_refuses_by_name(name: str, data: bytes, status: int, words: str) -> None:
    async with serving(max_upload_mb=1, max_audio_s=10) as (client, stage):
        sid = await connect(client)
        form = aiohttp.FormData({"sessionid": sid})
        form.add_field("file", io.BytesIO(data), filename="../../etc/passwd")
        began = time.monotonic()
        await refused(await client.post("/humanaudio", data=form), status, words)
        assert time.monotonic() - began < ANSWER_S
        assert not stage.reals[sid].playing


async def test_humanaudio_wants_a_form_with_a_file_and_a_session() -> None:
    async with serving() as (client, _):
        sid = await connect(client)
        await refused(await client.post("/humanaudio", data=b"RIFF"), 400, "multipart/form-data")
        await refused(await client.post("/humanaudio", json={}), 400, "multipart/form-data")
        form = aiohttp.FormData({"sessionid": sid}, default_to_multipart=True)
        await refused(await client.post("/humanaudio", data=form), 400, "file is missing")
        for sessionid, status in (("999999999999999", 404), ("abc", 400)):
            form = aiohttp.FormData({"sessionid": sessionid})
            form.add_field("file", WAV, filename="a.wav")
            await refused(await client.post("/humanaudio", data=form), status, "sessionid")
        broken = {"Content-Type": "multipart/form-data; boundary=x"}
        await refused(await client.post("/humanaudio", data=b"--x\r\nnonsense", headers=broken), 400, "broken")
        missing = {"Content-Type": "multipart/form-data"}
        await refused(await client.post("/humanaudio", data=b"--x", headers=missing), 400, "broken")


async def test_sessions_that_do_not_exist() -> None:
    async with serving() as (client, _):
        for path in ("/interrupt_talk", "/is_speaking"):
            await refused(await client.post(path, json={}), 404, "no sessions are open")
        await refused(await client.get("/sse?sessionid=12345"), 404, "not an open session")
        await refused(await client.get("/sse?sessionid=a/b"), 400, "sessionid was")
        await refused(await client.delete("/session/12345"), 404, "not an open session")
        await refused(await client.delete("/session/0"), 400, "sessionid was")
        await refused(await client.get("/record/12345"), 404, "no recording")
        await refused(await client.get("/record/..%2F..%2Fetc"), 400, "sessionid was")
        await refused(await client.get("/api/avatars/..%2Fx/poster"), 400, "id was")


async def test_unknown_paths_and_methods() -> None:
    async with serving() as (client, _):
        await refused(await client.post("/humans", json={}), 404, "nothing at /humans")
        await refused(await client.get("/nothing/here"), 404, "nothing at /nothing/here")
        await refused(await client.get("/human"), 405, "takes POST")
        await refused(await client.get("/..%2f..%2fetc/passwd"), 404, "nothing at")
        await refused(await client.get("/%00"), 404, "nothing at")


async def test_actions_that_do_not_exist_and_recordings_out_of_turn() -> None:
    async with serving() as (client, stage):
        sid = await connect(client)
        await refused(await client.post("/set_audiotype", json={"audiotype": 7}), 404, "this session has 0, 1, 2")
        await refused(await client.post("/set_audiotype", json={"audiotype": "x"}), 400, "audiotype was")
        await refused(await client.post("/record", json={"type": "end_record"}), 409, "not being recorded")
        await refused(await client.post("/record", json={"type": "pause"}), 400, "start_record")
        assert (await client.post("/record", json={"type": "start_record"})).status == 200
        await refused(await client.post("/record", json={"type": "start_record"}), 409, "already")
        await refused(await client.get(f"/record/{sid}"), 409, "still being recorded")
        assert stage.reals[sid].acts == []


async def test_a_full_queue_is_busy_not_an_error() -> None:
    async with serving() as (client, stage):
        sid = await connect(client)
        stage.reals[sid].refusal = Busy("256 texts are waiting")
        await refused(await client.post("/human", json=ECHO), 429, "waiting")
        form = aiohttp.FormData({"sessionid": sid})
        form.add_field("file", WAV, filename="a.wav")
        await refused(await client.post("/humanaudio", data=form), 429, "waiting")


async def test_an_error_in_the_server_tells_its_id_and_nothing_else() -> None:
    async with serving() as (client, stage):
        sid = await connect(client)
        stage.reals[sid].refusal = RuntimeError("secret detail")
        response = await client.post("/human", json=ECHO, headers={"X-Request-Id": "abc-123"})
        body = await response.json()
        assert response.status == 500 and body["code"] == -1
        assert "abc-123" in body["msg"] and "secret" not in body["msg"]
        assert response.headers["X-Request-Id"] == "abc-123"


async def test_a_flood_of_offers_is_bounded_and_leaves_nothing() -> None:
    async with serving(max_session=3) as (client, stage):
        stage.held.clear()
        flood = [asyncio.create_task(client.post("/offer", json=OFFER)) for _ in range(60)]
        await until(lambda: sum(task.done() for task in flood) == 57)
        waiting = [task for task in flood if not task.done()]
        assert all(task.result().status in (429, 503) for task in flood if task.done())
        stage.held.set()
        assert {(await task).status for task in waiting} == {200}
        assert len(stage.reals) == 3 and len(stage.services.sessions) == 3


async def test_handshakes_at_once_are_bounded() -> None:
    async with serving(max_session=100) as (client, stage):
        stage.held.clear()
        flood = [asyncio.create_task(client.post("/offer", json=OFFER)) for _ in range(20)]
        await until(lambda: sum(task.done() for task in flood) == 12)
        for task in [task for task in flood if task.done()]:
            await refused(task.result(), 429, "connections are being made")
        stage.held.set()
        assert [response.status for response in await asyncio.gather(*flood)].count(200) == 8


async def test_a_client_that_vanishes_in_its_upload_costs_nothing() -> None:
    async with serving() as (client, stage):
        sid = await connect(client)
        reader, writer = await asyncio.open_connection(client.server.host, client.server.port)
        writer.write(
            b"POST /humanaudio HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=x\r\n"
            b"Content-Length: 9999999\r\n\r\n--x\r\n"
            b'Content-Disposition: form-data; name="file"; filename="a"\r\n\r\nRIFF'
        )
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        assert (await client.post("/human", json=ECHO)).status == 200
        assert not stage.reals[sid].playing


@pytest.mark.parametrize(
    "body",
    [
        b'{"text":[' + b"0," * 500_000 + b"0]}",
        b'{"text":"' + b"a" * 1_000_000 + b'"}',
        b'{"text":"' + b"\\u4f60" * 170_000 + b'"}',
        b'{"sessionid":"' + b"1" * 1_000_000 + b'"}',
        b"{" + b'"a":[' + b"[]," * 300_000 + b"0]}",
        b'{"a":' + b"1" * 1_000_000 + b"}",
    ],
    ids=["numbers", "letters", "escapes", "id", "lists", "digits"],
)
async def test_the_loop_is_never_held_by_a_body(body: bytes) -> None:
    async with serving() as (client, _):
        await connect(client)
        async with watched() as watchdog:
            response = await client.post("/human", data=io.BytesIO(body))
            assert response.status in (400, 413)
            assert len(await response.read()) < 500
        assert watchdog.blocks(0.05) == []


async def test_uploads_at_once_are_bounded() -> None:
    async with serving() as (client, stage):
        await connect(client)
        stage.services.uploads = UPLOADS_MAX
        form = aiohttp.FormData()
        form.add_field("file", io.BytesIO(WAV), filename="a.wav")
        await refused(await client.post("/humanaudio", data=form), 429, "being uploaded")
        stage.services.uploads = 0
        form = aiohttp.FormData()
        form.add_field("file", io.BytesIO(b"nonsense"), filename="a.wav")
        await refused(await client.post("/humanaudio", data=form), 422, "not audio")
        assert stage.services.uploads == 0


async def test_the_loop_is_never_held_by_an_upload() -> None:
    async with serving(max_upload_mb=50) as (client, stage):
        sid = await connect(client)
        big = written(120, 48_000, 2)
        async with watched() as watchdog:
            form = aiohttp.FormData({"sessionid": sid})
            form.add_field("file", io.BytesIO(big), filename="a.wav")
            response = await client.post("/humanaudio", data=form)
            assert response.status == 200, await response.text()
            await asyncio.gather(*stage.reals[sid].playing)
        assert len(stage.reals[sid].pcm) == 120 * 16_000
        assert watchdog.blocks(0.05) == []
