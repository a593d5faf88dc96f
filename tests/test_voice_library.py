"""The voice library over HTTP, on SQLite and on PostgreSQL: upload, make, find, change, hear, delete."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from config import ConfigError, Settings
from tests.fakes.app import until
from tests.fakes.databases import postgresql
from tests.fakes.library import CONSENT, TEXTS, Client, LibraryStage, clip, made, shelves, upload
from tests.fakes.maker import FakeMaker, FakeSpeakers
from voices.audio.prepare import read_wav
from voices.cloning.build import NAMES, build_makers

KINDS = ("sqlite", "postgresql")


@contextlib.asynccontextmanager
async def on(kind: str, root: Path, **more: Any) -> AsyncIterator[tuple[Client, LibraryStage]]:
    """A library on a database of that kind."""
    if kind == "sqlite":
        async with shelves(root, **more) as pair:
            yield pair
        return
    async with postgresql() as url, shelves(root, database_url=url, **more) as pair:
        yield pair


async def data(client: Client, path: str, **query: Any) -> dict[str, Any]:
    """What a GET answers."""
    response = await client.get(path, params=query)
    body = await response.json()
    assert response.status == 200 and body["success"] is True and body["error"] is None, body
    found: dict[str, Any] = body["data"]
    return found


def stored(root: Path) -> list[str]:
    """Keys in storage."""
    folder = root / "storage"
    found = [Path(where, name) for where, _, names in os.walk(folder) for name in names]  # folders may go meanwhile
    return sorted(str(path.relative_to(folder)) for path in found)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_recording_is_told_about_heard_and_deleted(kind: str, tmp_path: Path) -> None:
    async with on(kind, tmp_path) as (client, _):
        status, body = await upload(client, clip(), "我的 voice.wav")
        file = body["data"]
        assert status == 201 and file["filename"] == "我的 voice.wav" and file["format"] == "wav"
        assert len(file["peaks"]) == 200 and 6 < file["duration"] < 10 and not file["duplicated"]
        assert file["checks"]["speech_ratio"] > 0.8
        assert [key.partition("/")[0] for key in stored(tmp_path)] == ["uploads", "uploads"]
        assert all(key.startswith("uploads/user-owner/") and "我的_voice.wav" in key for key in stored(tmp_path))

        pcm, rate_hz = read_wav(await (await client.get("/" + file["url"])).read())
        assert rate_hz == 24_000 and abs(pcm.size / rate_hz - file["duration"]) < 0.01
        assert await (await client.get("/" + file["original_url"])).read() == clip()

        status, again = await upload(client, clip(), "other.wav")
        assert status == 200 and again["data"]["duplicated"] and again["data"]["fileId"] == file["fileId"]
        told = await data(client, f"/api/files/{file['fileId']}")
        assert told == {**file, "url": told["url"], "original_url": told["original_url"]}

        gone = await (await client.delete(f"/api/files/{file['fileId']}")).json()
        assert gone["data"] == {"deleted": True, "files": 2, "generations": 0}
        await until(lambda: stored(tmp_path) == [])
        assert (await client.get("/" + file["url"])).status == 404


@pytest.mark.parametrize("kind", KINDS)
async def test_a_recording_becomes_a_voice(kind: str, tmp_path: Path) -> None:
    async with on(kind, tmp_path) as (client, stage):
        _, body = await upload(client, clip())
        file_id = body["data"]["fileId"]
        wish = {"name": "小明", "text": TEXTS[0], "sample_text": "你好。", "tags": ["温柔", " warm "], "gender": "male"}
        asked = {"fileId": file_id, "consent": CONSENT, "model": "hum-2", **wish}
        response = await client.post("/api/voices", json=asked)
        voice = (await response.json())["data"]
        assert response.status == 201 and voice["status"] == "completed" and voice["stage"] == "done"
        assert not voice["duplicated"] and voice["clones"] and voice["model"] == "hum-2"
        assert voice["sample_text"] == "你好。" and len(voice["embedding_hash"]) == 64
        pcm, rate_hz = read_wav(base64.b64decode(voice["sample_audio"]))
        assert rate_hz == 22_050 and pcm.size == int(3 * 0.05 * rate_hz)
        assert stage.maker.made == [(body["data"]["sha256"], "hum-2", "你好。")]

        info = await data(client, f"/api/voices/{voice['voiceId']}")
        assert info["name"] == "小明" and info["tags"] == ["温柔", "warm"] and info["mine"] and not info["public"]
        assert info["fileId"] == file_id and info["text"] == TEXTS[0] and info["embedding_model"] == "spectrum"
        assert (
            info["consent"]["speaker"] == "Ada"
            and "AI" in info["consent"]["text"]
            and "人工智能" in info["consent"]["text"]
        )
        assert info["speak_as"] == f"library:{voice['voiceId']}" and info["languages"] == ["zh", "en"]
        heard = await client.get("/" + info["sample_url"])
        assert await heard.read() == base64.b64decode(voice["sample_audio"])
        assert (await data(client, f"/api/files/{file_id}"))["voices"] == [voice["voiceId"]]

        again = await client.post("/api/voices", json=asked)
        same = (await again.json())["data"]
        assert again.status == 200 and same["duplicated"] and same["voiceId"] == voice["voiceId"]
        assert same["sample_audio"] == voice["sample_audio"] and len(stage.maker.made) == 1
        other = await client.post("/api/voices", json={**asked, "model": "hum-1"})
        assert other.status == 201 and (await other.json())["data"]["voiceId"] != voice["voiceId"]
        assert (await data(client, "/api/account"))["voices"] == 2


@pytest.mark.parametrize("kind", KINDS)
async def test_the_same_wish_many_times_at_once_is_one_voice(kind: str, tmp_path: Path) -> None:
    async with on(kind, tmp_path, makers=[FakeMaker(make_s=0.1)]) as (client, stage):
        uploads = await asyncio.gather(*(upload(client, clip()) for _ in range(6)))
        files = {body["data"]["fileId"] for _, body in uploads}
        assert len(files) == 1 and sorted(status for status, _ in uploads)[-1] == 201
        asked = {"fileId": files.pop(), "consent": CONSENT}
        answers = await asyncio.gather(*(client.post("/api/voices", json=asked) for _ in range(8)))
        told = [(await answer.json())["data"] for answer in answers]
        assert len({voice["voiceId"] for voice in told}) == 1 and len(stage.maker.made) == 1
        assert sorted(voice["duplicated"] for voice in told) == [False] + [True] * 7
        assert sorted(answer.status for answer in answers) == [200] * 7 + [201]
        assert len(stored(tmp_path)) == 3 and (await data(client, "/api/voices"))["total"] == 1


async def test_a_creation_is_followed_step_by_step(tmp_path: Path) -> None:
    async with shelves(tmp_path) as (client, stage):
        stage.maker.held.clear()
        _, body = await upload(client, clip())
        asked = {"fileId": body["data"]["fileId"], "consent": CONSENT, "wait": False}
        response = await client.post("/api/voices", json=asked)
        job = (await response.json())["data"]
        assert response.status == 202 and job["status"] in ("pending", "running") and job["voiceId"] == ""
        events = await client.get(f"/api/voices/jobs/{job['jobId']}/events")
        assert events.headers["Content-Type"].startswith("text/event-stream")
        first = await _event(events.content)
        assert first[0] == "progress" and first[1]["jobId"] == job["jobId"]
        stage.maker.held.set()
        told = [first]
        while told[-1][0] != "end":
            told.append(await _event(events.content))
        stages = [state["stage"] for _, state in told]
        order = ["queued", "checking", "embedding", "cloning", "sampling", "done"]
        assert stages == sorted(stages, key=order.index) and stages[-2:] == ["sampling", "done"]
        shares = [state["progress"] for _, state in told]
        assert shares == sorted(shares) and shares[-1] == 1.0
        assert told[-1][1]["status"] == "completed" and told[-1][1]["voiceId"].startswith("voice-")
        listed = (await data(client, "/api/voices/jobs"))["jobs"]
        assert [one["jobId"] for one in listed] == [job["jobId"]]
        late = await client.get(f"/api/voices/jobs/{job['jobId']}/events")
        assert (await _event(late.content))[0] == "end" and await late.content.read() == b""


async def _event(stream: Any) -> tuple[str, dict[str, Any]]:
    async with asyncio.timeout(5):
        name = (await stream.readline()).decode().removeprefix("event: ").strip()
        told = json.loads((await stream.readline()).decode().removeprefix("data: "))
        await stream.readline()
        return name, told


@pytest.mark.parametrize("kind", KINDS)
async def test_voices_are_found_by_any_part_of_what_is_said_about_them(kind: str, tmp_path: Path) -> None:
    async with on(kind, tmp_path, makers=[FakeMaker(), FakeMaker("other", ("loud",), languages=("en",))]) as (
        client,
        _,
    ):
        names = ["温柔的小明", "Ｌoud 100% ANNA_B", "Bob's \\ voice"]
        for number, name in enumerate(names):
            maker = "other" if number == 1 else ""
            await made(client, number, name=name, maker=maker, description="从不 Sleeps", tags=["night owl"])
        for query, found in {
            "小明": [0], "柔": [0], "loud": [1], "LOUD anna": [1], "100%": [1], "%": [1], "a_b": [1], "_": [1],
            "bob's": [2], "\\": [2], "sleeps": [2, 1, 0], "NIGHT": [2, 1, 0], "' or 1=1 --": [], "nobody": [],
            " ": [2, 1, 0], "anna 小明": [], "从不": [2, 1, 0],
        }.items():  # fmt: skip
            page = await data(client, "/api/voices", q=query)
            assert [voice["name"] for voice in page["voices"]] == [names[number] for number in found], query
            assert page["total"] == len(found)
        assert (await data(client, "/api/voices", language="zh"))["total"] == 2
        assert (await data(client, "/api/voices", language="fr"))["total"] == 0
        assert (await data(client, "/api/voices", maker="other"))["total"] == 1
        assert (await data(client, "/api/voices", model="hum-1"))["total"] == 2
        pages = [await data(client, "/api/voices", page=number, size=2) for number in (1, 2, 3)]
        assert [len(page["voices"]) for page in pages] == [2, 1, 0]
        assert all(page["total"] == 3 and page["pages"] == 2 and page["size"] == 2 for page in pages)
        by_name = await data(client, "/api/voices", sort="name")
        assert {voice["name"] for voice in by_name["voices"]} == set(names)


async def test_built_in_voices_are_listed_as_cards(tmp_path: Path) -> None:
    async with shelves(tmp_path) as (client, _):
        page = await data(client, "/api/voices", scope="builtin", gender="male")
        assert [voice["speak_as"] for voice in page["voices"]] == ["fake:male"]
        assert page["voices"][0]["builtin"] and page["total"] == 1
        assert (await data(client, "/api/voices", scope="builtin", q="FEM"))["total"] == 1
        assert (await data(client, "/api/voices", scope="builtin", page=2, size=1))["voices"][0]["name"] == "male"


@pytest.mark.parametrize("kind", KINDS)
async def test_what_is_said_about_a_voice_can_be_changed(kind: str, tmp_path: Path) -> None:
    async with on(kind, tmp_path) as (client, _):
        voice = await made(client, name="old")
        path = f"/api/voices/{voice['voiceId']}"
        response = await client.put(path, json={"name": "新的名字", "tags": ["a"], "metadata": {"creator": "Ada"}})
        changed = (await response.json())["data"]
        assert response.status == 200 and changed["name"] == "新的名字" and changed["metadata"] == {"creator": "Ada"}
        assert (
            changed["tags"] == ["a"] and changed["description"] == "" and changed["updated_at"] > changed["created_at"]
        )
        assert (await data(client, "/api/voices", q="名字"))["total"] == 1
        assert (await data(client, "/api/voices", q="old"))["total"] == 0
        unchanged = (await (await client.put(path, json={})).json())["data"]
        assert unchanged["name"] == "新的名字"


@pytest.mark.parametrize("kind", KINDS)
async def test_deleting_a_voice_deletes_it_everywhere(kind: str, tmp_path: Path) -> None:
    async with on(kind, tmp_path) as (client, stage):
        voice, kept = await made(client, 0), await made(client, 1)
        for one in (voice, kept):
            asked = {"voiceId": one["voiceId"], "input": "Good morning."}
            assert (await client.post("/api/tts/generate", json=asked)).status == 201
        info = await data(client, f"/api/voices/{voice['voiceId']}")
        before = stored(tmp_path)
        gone = await (await client.delete(f"/api/voices/{voice['voiceId']}")).json()
        assert gone["data"] == {"deleted": True, "files": 4, "generations": 1}
        await until(lambda: len(stored(tmp_path)) == len(before) - 4)
        await until(lambda: stage.maker.forgotten == [f"tone-{clip_hash(info, stage)}-hum-1"])
        assert not any(voice["voiceId"] in key for key in stored(tmp_path))
        for path in (f"/api/voices/{voice['voiceId']}", f"/api/files/{info['fileId']}", info["sample_url"]):
            assert (await client.get(path if path.startswith("/") else f"/{path}")).status == 404
        assert [one["voiceId"] for one in (await data(client, "/api/voices"))["voices"]] == [kept["voiceId"]]
        assert {one["voiceId"] for one in (await data(client, "/api/tts/history"))["requests"]} == {kept["voiceId"]}
        assert (await data(client, "/api/voices/jobs"))["jobs"][0]["voiceId"] == kept["voiceId"]
        assert (await client.delete(f"/api/voices/{voice['voiceId']}")).status == 404


def clip_hash(info: dict[str, Any], stage: LibraryStage) -> str:
    return stage.maker.made[0][0][:12]


async def test_a_recording_of_two_voices_stays_until_both_are_gone(tmp_path: Path) -> None:
    async with shelves(tmp_path) as (client, _):
        one, other = await made(client, model="hum-1"), await made(client, model="hum-2")
        file_id = (await data(client, f"/api/voices/{one['voiceId']}"))["fileId"]
        refused = await client.delete(f"/api/files/{file_id}")
        assert refused.status == 409 and (await refused.json())["error"]["code"] == "conflict"
        await client.delete(f"/api/voices/{one['voiceId']}")
        assert (await data(client, f"/api/files/{file_id}"))["voices"] == [other["voiceId"]]
        await client.delete(f"/api/voices/{other['voiceId']}")
        await until(lambda: stored(tmp_path) == [])


@pytest.mark.parametrize("kind", KINDS)
async def test_voices_of_like_speakers_are_found(kind: str, tmp_path: Path) -> None:
    async with on(kind, tmp_path) as (client, _):
        voices = [await made(client, number) for number in range(3)]
        twin = await made(client, 0, model="hum-2")
        found = await data(client, f"/api/voices/{voices[0]['voiceId']}/similar", limit=2)
        assert found["same_speaker"] == 0.5 and len(found["voices"]) == 2
        assert found["voices"][0]["voiceId"] == twin["voiceId"] and found["voices"][0]["score"] == pytest.approx(
            1, abs=1e-3
        )
        scores = [voice["score"] for voice in found["voices"]]
        assert scores == sorted(scores, reverse=True)


async def test_placeholders_are_marked_and_never_compared(tmp_path: Path) -> None:
    model = FakeSpeakers(comparable=False)
    async with shelves(tmp_path, speakers=model) as (client, _):
        one, _ = await made(client, 0), await made(client, 1)
        file_id = (await data(client, f"/api/voices/{one['voiceId']}"))["fileId"]
        response = await client.post("/api/embeddings/generate", json={"fileId": file_id})
        vector = (await response.json())["data"]
        assert vector["placeholder"] and vector["dimension"] == len(vector["embedding"]) == 64
        assert vector["embedding_hash"] == one["embedding_hash"]
        again = await client.post("/api/embeddings/generate", json={"fileId": file_id})
        assert (await again.json())["data"] == vector
        assert (await data(client, f"/api/voices/{one['voiceId']}/similar"))["voices"] == []


async def test_a_library_without_a_speaker_model_makes_voices_without_vectors(tmp_path: Path) -> None:
    async with shelves(tmp_path, speakers=FakeSpeakers(missing="run make speakers")) as (client, _):
        voice = await made(client)
        assert voice["embedding_hash"] == "" and voice["similarity"] is None
        file_id = (await data(client, f"/api/voices/{voice['voiceId']}"))["fileId"]
        response = await client.post("/api/embeddings/generate", json={"fileId": file_id})
        body = await response.json()
        assert response.status == 503 and "make speakers" in body["message"]


async def test_without_a_source_of_voices_there_is_a_reason_and_nothing_fake(tmp_path: Path) -> None:
    async with shelves(tmp_path, makers=[]) as (client, _):
        _, body = await upload(client, clip())
        asked = {"fileId": body["data"]["fileId"], "consent": CONSENT}
        response = await client.post("/api/voices", json=asked, headers={"Accept-Language": "zh-CN"})
        refused = await response.json()
        assert response.status == 503 and refused["error"]["code"] == "no_maker"
        assert "没有可用" in refused["message"] and "voice_makers" in refused["error"]["details"]["en"]
        assert (await data(client, "/api/voices/options"))["makers"] == []
        assert (await data(client, "/api/voices/jobs"))["jobs"] == []


async def test_a_maker_that_is_not_ready_is_listed_with_what_it_wants(tmp_path: Path) -> None:
    makers = [FakeMaker("first", missing="run make first"), FakeMaker("second", clones=False)]
    async with shelves(tmp_path, makers=makers) as (client, _):
        options = await data(client, "/api/voices/options")
        assert [(one["maker"], one["usable"], one["why_not"]) for one in options["makers"]] == [
            ("second", True, ""),
            ("first", False, "run make first"),
        ]
        assert options["statement"]["zh"] and options["seconds_max"] == 10 and options["sample_characters_max"] == 50
        voice = await made(client)
        assert voice["maker"] == "second" and not voice["clones"]


def test_this_server_offers_no_maker_of_tests() -> None:
    assert [maker.name for maker in build_makers(Settings(), None, None).all] == [*NAMES[:-1], "designed"]
    with pytest.raises(ConfigError, match="scripted"):
        build_makers(Settings(voice_makers=("scripted",)), None, None)
