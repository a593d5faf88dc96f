"""The library's edge at its worst: every refusal in its envelope, with a code, and nothing kept."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest

from server.form import disposition
from server.library.files import UPLOADS_MAX
from tests.fakes.away import away
from tests.fakes.databases import postgresql
from tests.fakes.library import CLIP_RATE_HZ, CONSENT, clip, made, shelves, speech, upload
from tests.test_voice_library import data, stored
from voices.audio.prepare import wav_bytes

FILE = "file-" + "0" * 24


def refused(body: dict[str, Any], code: str) -> None:
    assert body["success"] is False and body["data"] is None
    assert body["error"]["code"] == code and body["error"]["message"] == body["message"] != ""


UPLOADS: list[tuple[str, bytes, int, str]] = [
    ("an empty file", b"", 422, "empty"),
    ("text called wav", b"hello " * 1_000, 422, "not_audio"),
    ("a program", b"\x7fELF" + bytes(5_000), 422, "not_audio"),
    ("4 s", wav_bytes(speech()[: 4 * CLIP_RATE_HZ], CLIP_RATE_HZ), 422, "too_short"),
    ("11 s", wav_bytes(np.concatenate((speech(), speech(1)))[: 11 * CLIP_RATE_HZ], CLIP_RATE_HZ), 422, "too_long"),
    ("silence", wav_bytes(np.zeros(8 * CLIP_RATE_HZ, np.float32), CLIP_RATE_HZ), 422, "no_speech"),
    ("half a file", clip()[: len(clip()) // 2], 422, "broken"),
    ("too many bytes", bytes(3 << 20), 413, "too_large"),
]


@pytest.mark.parametrize(("name", "content", "status", "code"), UPLOADS, ids=[name for name, *_ in UPLOADS])
async def test_recordings_that_are_none(name: str, content: bytes, status: int, code: str, tmp_path: Path) -> None:
    async with shelves(tmp_path, max_voice_mb=2) as (client, stage):
        answered, body = await upload(client, content, "../../'; DROP TABLE files; --.wav")
        assert answered == status
        refused(body, code)
        if status == 422:
            assert body["error"]["details"]["zh"] and body["error"]["details"]["en"] == body["message"]
            _, chinese = await upload(client, content, "a.wav", **{"Accept-Language": "zh-CN,zh;q=0.9"})
            assert chinese["message"] == body["error"]["details"]["zh"]
        assert stored(tmp_path) == [] and (await data(client, "/api/account"))["files"] == 0
        assert stage.services.voice_uploads == 0


async def test_200_mib_are_refused_without_being_read(tmp_path: Path) -> None:
    async with shelves(tmp_path) as (client, _):
        sent = 0

        async def endless() -> Any:
            nonlocal sent
            yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
            for _ in range(200):
                sent += 1
                yield bytes(1 << 20)

        headers = {"Content-Type": "multipart/form-data; boundary=x"}
        try:
            answer = await client.post("/api/files/upload", data=endless(), headers=headers)
            refused(await answer.json(), "too_large")
        except aiohttp.ClientConnectionError:
            pass  # the server hung up, as it may
        assert sent < 40
        big = await client.post("/api/files/upload", data=b"x", headers={**headers, "Content-Length": str(200 << 20)})
        refused(await big.json(), "too_large")


async def test_forms_that_are_none(tmp_path: Path) -> None:
    async with shelves(tmp_path) as (client, _):
        for content, headers in (
            (b"RIFF", {}),
            (b"{}", {"Content-Type": "application/json"}),
            (b"--x\r\nnonsense", {"Content-Type": "multipart/form-data; boundary=x"}),
            (b"--x--\r\n", {"Content-Type": "multipart/form-data; boundary=x"}),
        ):
            answer = await client.post("/api/files/upload", data=content, headers=headers)
            assert answer.status == 400
            refused(await answer.json(), "bad_request")


WISHES: list[tuple[dict[str, Any], int, str]] = [
    ({"fileId": None}, 400, "fileId"),
    ({"fileId": "../../etc/passwd"}, 400, "fileId"),
    ({"fileId": FILE}, 404, "does not exist"),
    ({"consent": None}, 400, "consent"),
    ({"consent": {**CONSENT, "agreed": False}}, 400, "consent.agreed"),
    ({"consent": {**CONSENT, "speaker": ""}}, 400, "consent.speaker"),
    ({"consent": {**CONSENT, "relation": "stolen"}}, 400, "consent.relation"),
    ({"consent": {**CONSENT, "statement": "of my own"}}, 400, "consent.statement"),
    ({"sample_text": "字" * 51}, 413, "sample_text"),
    ({"text": "x" * 501}, 413, "text"),
    ({"name": "x" * 81}, 413, "name"),
    ({"model": "no-such-model"}, 400, "hum-1"),
    ({"maker": "nobody"}, 400, "scripted"),
    ({"maker": "scripted", "model": "nope"}, 400, "hum-2"),
    ({"tags": ["x"] * 13}, 400, "tags"),
    ({"tags": ["x" * 40]}, 413, "tags.0"),
    ({"tags": [""]}, 400, "tags.0"),
    ({"language": "Deutsch"}, 400, "language"),
    ({"gender": "robot"}, 400, "gender"),
    ({"public": "perhaps"}, 400, "public"),
    ({"wait": 7}, 400, "wait"),
]


@pytest.mark.parametrize(("wrong", "status", "words"), WISHES)
async def test_voices_that_cannot_be_wished_for(wrong: dict[str, Any], status: int, words: str, tmp_path: Path) -> None:
    async with shelves(tmp_path) as (client, stage):
        _, body = await upload(client, clip())
        asked = {"fileId": body["data"]["fileId"], "consent": CONSENT, **wrong}
        answer = await client.post("/api/voices", json=asked)
        told = await answer.json()
        assert answer.status == status and words in told["message"], told
        refused(told, {400: "bad_request", 404: "not_found", 413: "too_large"}[status])
        assert stage.maker.made == [] and (await data(client, "/api/voices/jobs"))["jobs"] == []


PATHS = [
    ("GET", "/api/voices/nope", 400),
    ("GET", "/api/voices/voice-" + "0" * 24, 404),
    ("GET", "/api/voices/..%2F..%2Fetc", 400),
    ("GET", "/api/voices/voice-%00", 400),
    ("PUT", "/api/voices/voice-" + "0" * 24, 400),
    ("DELETE", "/api/voices/voice-" + "0" * 24, 404),
    ("GET", "/api/voices/a/b/c", 404),
    ("POST", "/api/voices/popular", 405),
    ("PATCH", "/api/voices", 405),
    ("GET", "/api/files", 404),
    ("GET", "/api/files/upload", 400),
    ("GET", f"/api/files/{FILE}", 404),
    ("GET", f"/api/files/{FILE}/content?variant=secret", 400),
    ("GET", f"/api/files/{FILE}/content?expires=x", 400),
    ("PUT", f"/api/files/{FILE}", 405),
    ("GET", "/api/embeddings/generate", 405),
    ("GET", "/api/embeddings", 404),
    ("POST", "/api/tts", 404),
    ("GET", "/api/tts/generate", 400),
    ("GET", "/api/tts/history?page=0", 400),
    ("GET", "/api/tts/history?size=1000000", 400),
    ("GET", "/api/tts/usage?days=0", 400),
    ("GET", "/api/voices?page=99999999999999999999", 400),
    ("GET", "/api/voices?size=-1", 400),
    ("GET", "/api/voices?scope=theirs", 400),
    ("GET", "/api/voices?sort=evil;drop", 400),
    ("GET", "/api/voices?q=" + "x" * 200, 413),
    ("GET", "/api/voices/jobs/job-1", 400),
    ("POST", "/api/voices/jobs/job-" + "0" * 24 + "/retry", 404),
    ("GET", "/api/voices/jobs/job-" + "0" * 24 + "/events", 404),
    ("GET", "/api/account/x", 404),
]


@pytest.mark.parametrize(("method", "path", "status"), PATHS)
async def test_every_path_of_the_library_answers_in_its_envelope(
    method: str, path: str, status: int, tmp_path: Path
) -> None:
    async with shelves(tmp_path) as (client, _):
        answer = await client.request(method, path)
        body = await answer.json()
        assert answer.status == status, body
        assert body["success"] is False and body["data"] is None and body["error"]["code"] and body["message"]
        if status == 405:
            assert answer.headers["Allow"] and body["error"]["details"]["allowed"]


@pytest.mark.parametrize(
    "q", ["' OR 1=1 --", "%' UNION SELECT * FROM users --", "\\", "%%%%", "\x00z", "😀", "a" * 100]
)
async def test_no_query_is_more_than_a_query(q: str, tmp_path: Path) -> None:
    async with postgresql() as url:
        for address in ("", url):
            async with shelves(tmp_path, database_url=address) as (client, _):
                await made(client, name="plain")
                for path in ("/api/voices", "/api/tts/history"):
                    answer = await client.get(path, params={"q": q})
                    body = await answer.json()
                    assert answer.status == 200 and body["data"]["total"] == 0, (q, body)


async def test_names_that_mean_something_elsewhere_are_only_names(tmp_path: Path) -> None:
    for name in ("'; DROP TABLE voices; --", "<script>alert(1)</script>", "../../x", "\u202e\u0000\u0007x", "名" * 80):
        async with shelves(tmp_path) as (client, _):
            voice = await made(client, name=name)
            info = await data(client, f"/api/voices/{voice['voiceId']}")
            assert info["name"] == name.replace("\x00", "").replace("\x07", "").replace("\u202e", "")
            await client.delete(f"/api/voices/{voice['voiceId']}")
    async with shelves(tmp_path) as (client, _):
        assert (await data(client, "/api/voices"))["total"] == 0


@pytest.mark.parametrize(
    "metadata",
    [{"a": "x\x00y"}, {"a": 1e400}, {"a": "x" * 9_000}, [1], "text"],
    ids=["nul", "infinity", "long", "list", "text"],
)
async def test_metadata_that_no_database_takes(metadata: Any, tmp_path: Path) -> None:
    async with shelves(tmp_path) as (client, _):
        voice = await made(client)
        content = json.dumps({"metadata": metadata}).replace("Infinity", "1e400")
        answer = await client.put(f"/api/voices/{voice['voiceId']}", data=content)
        assert answer.status == 400
        refused(await answer.json(), "bad_request")


async def test_an_error_nobody_foresaw_tells_its_id_in_the_envelope(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with shelves(tmp_path) as (client, stage):
        opened = await stage.library.opened()

        async def buggy(*args: Any) -> None:
            raise ZeroDivisionError("secret detail")

        monkeypatch.setattr(type(opened.catalogue), "page", buggy)
        answer = await client.get("/api/voices", headers={"X-Request-Id": "abc-1"})
        body = await answer.json()
        assert answer.status == 500 and "secret" not in json.dumps(body)
        refused(body, "internal_error")
        details = body["error"]["details"]
        assert details["request_id"] == "abc-1" and "abc-1" in details["en"] and "abc-1" in details["zh"]


async def test_openais_clients_are_refused_in_their_shape(tmp_path: Path) -> None:
    async with shelves(tmp_path, api_key="hush") as (client, _):
        key = {"X-API-Key": "hush"}
        for method, path, body, headers, status, code in (
            ("POST", "/v1/audio/speech", {"input": "x"}, key, 400, "bad_request"),
            ("POST", "/v1/audio/speech", {"input": "x", "model": "m", "voice": "nobody"}, key, 404, "not_found"),
            ("POST", "/v1/audio/speech", {"input": "x" * 5_000, "model": "m", "voice": "male"}, key, 413, "too_large"),
            ("POST", "/v1/audio/speech", {"input": "..", "model": "m", "voice": "male"}, key, 422, "unprocessable"),
            ("POST", "/v1/audio/speech", {"input": "x", "model": "m", "voice": {"name": "y"}}, key, 400, "bad_request"),
            ("POST", "/v1/audio/speech", {"input": "x", "model": "m", "voice": "male"}, {}, 401, "unauthorized"),
            ("GET", "/v1/audio/speech", None, key, 405, "method_not_allowed"),
            ("GET", "/v1/models", None, key, 404, "not_found"),
        ):
            answer = await client.request(method, path, json=body, headers=headers)
            told = await answer.json()
            assert answer.status == status and told["error"]["code"] == code and told["error"]["message"], told
            assert set(told) == {"error"} and told["error"]["type"] == "invalid_request_error"


async def test_uploads_at_once_are_bounded(tmp_path: Path) -> None:
    async with shelves(tmp_path) as (client, stage):
        stage.services.voice_uploads = UPLOADS_MAX
        status, body = await upload(client, clip())
        assert status == 429
        refused(body, "busy")
        stage.services.voice_uploads = 0
        assert (await upload(client, clip()))[0] == 201


async def test_a_client_that_vanishes_in_its_upload_leaves_nothing(tmp_path: Path) -> None:
    async with shelves(tmp_path) as (client, stage):
        await stage.library.opened()
        _, writer = await asyncio.open_connection(client.server.host, client.server.port)
        writer.write(
            b"POST /api/files/upload HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=x\r\n"
            b"Content-Length: 999999\r\n\r\n--x\r\n"
            b'Content-Disposition: form-data; name="file"; filename="a"\r\n\r\nRIFF'
        )
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        assert (await upload(client, clip()))[0] == 201
        assert len(stored(tmp_path)) == 2


async def test_a_database_that_goes_away_is_told_and_nothing_is_lost(tmp_path: Path) -> None:
    async with (
        postgresql() as url,
        away(url) as (through, plug),
        shelves(tmp_path, database_url=through) as (client, _),
    ):
        voice = await made(client)
        with plug.gone():
            for path in ("/api/voices", "/api/tts/history", "/api/account", f"/api/voices/{voice['voiceId']}"):
                answer = await client.get(path)
                assert answer.status == 503 and answer.headers["Retry-After"]
                refused(await answer.json(), "database_unavailable")
            status, body = await upload(client, clip(1))
            assert status == 503
            refused(body, "database_unavailable")
            assert len(stored(tmp_path)) == 3
        assert (await data(client, f"/api/voices/{voice['voiceId']}"))["voiceId"] == voice["voiceId"]
        assert (await upload(client, clip(1)))[0] == 201


async def test_a_database_that_is_not_there_at_the_start_is_told_until_it_is(tmp_path: Path) -> None:
    nowhere = "postgresql://postgres@127.0.0.1:1/voices"
    async with shelves(tmp_path, database_url=nowhere) as (client, stage):
        answer = await client.get("/api/voices", headers={"Accept-Language": "zh"})
        body = await answer.json()
        assert answer.status == 503 and "数据库" in body["message"] and answer.headers["Retry-After"]
        refused(body, "database_unavailable")
        assert (await client.get("/api/speech/voices")).status == 200, "the live page works without it"
        status, body = await upload(client, clip())
        assert status == 503
        stage.library._settings = stage.library._settings.model_copy(update={"database_url": ""})
        stage.library._failed_at = 0.0
        assert (await client.get("/api/voices")).status == 200


@pytest.mark.parametrize(
    ("header", "name", "filename"),
    [
        ('form-data; name="file"; filename="a.wav"', "file", "a.wav"),
        ('form-data; name="file"; filename="a; b; c.wav"', "file", "a; b; c.wav"),
        ('form-data; name="file"; filename="声音 \'x\' %22.wav"', "file", "声音 'x' %22.wav"),
        ("form-data; name=file; filename=a.wav", "file", "a.wav"),
        ('form-data; name="file"; filename="C:\\x\\y.wav"', "file", "C:\\x\\y.wav"),
        ('form-data; filename="a.wav"', "", "a.wav"),
        ("form-data", "", ""),
        ("", "", ""),
        ('form-data; name="file', "", ""),
    ],
)
def test_names_in_forms_are_read_as_browsers_write_them(header: str, name: str, filename: str) -> None:
    assert disposition(header) == (name, filename)
