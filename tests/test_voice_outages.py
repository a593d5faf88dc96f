"""The database, Redis or the storage gone in the middle: told in the envelope, nothing lost, nothing half made."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import urllib.request
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

import voices.creation
import voices.jobs
from tests.fakes.app import until
from tests.fakes.away import away
from tests.fakes.databases import postgresql
from tests.fakes.library import CONSENT, Client, clip, made, shelves, upload
from tests.test_voice_jobs import ended, wished
from tests.test_voice_library import data, stored
from voices.shared import RedisShared

REDIS = os.environ.get("VISAGE_TEST_REDIS", "redis://127.0.0.1:6379/5")
PATIENCE_S = 20.0


@pytest.fixture
async def redis() -> AsyncIterator[str]:
    """Its address; skips the test where it is not there."""
    shared = RedisShared(REDIS)
    reason = await shared.why_not()
    await shared.aclose()
    if reason is not None:
        pytest.skip(reason)
    yield REDIS


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """Address of an S3 server with a bucket `voices`."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    address = "http://{}:{}".format(*server.get_host_and_port())
    with urllib.request.urlopen(urllib.request.Request(f"{address}/voices", method="PUT")):
        pass
    yield address
    server.stop()


def on_s3(address: str, prefix: str) -> dict[str, Any]:
    keys = {"storage_access_key": "key", "storage_secret_key": "secret"}
    return {"storage_type": "s3", "storage_endpoint": address, "storage_path": f"voices/{prefix}", **keys}


def in_bucket(address: str, prefix: str) -> int:
    """How many files are in storage."""
    with urllib.request.urlopen(f"{address}/voices?list-type=2&prefix={prefix}/") as answer:
        return int(answer.read().count(b"<Key>"))


async def refused(client: Client, method: str, path: str, code: str, **request: Any) -> None:
    """The request is answered 503 in the envelope, with a sentence in Chinese, and may be tried again."""
    answer = await client.request(method, path, headers={"Accept-Language": "zh"}, **request)
    body = await answer.json()
    assert (answer.status, body["success"], body["error"]["code"]) == (503, False, code), body
    assert "数据没有丢失" in body["message"] and answer.headers["Retry-After"]


async def test_a_database_gone_while_a_voice_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(voices.jobs, "LEASE_S", 1.0)
    monkeypatch.setattr(voices.creation, "LEASE_S", 1.0)
    monkeypatch.setattr(voices.creation, "POLL_S", 0.2)
    async with (
        postgresql() as url,
        away(url) as (through, plug),
        shelves(tmp_path, database_url=through) as (client, stage),
    ):
        stage.maker.held.clear()
        job = await wished(client)
        await until(lambda: stage.maker.made)
        with plug.gone():
            stage.maker.held.set()
            await refused(client, "GET", f"/api/voices/jobs/{job['jobId']}", "database_unavailable")
            await asyncio.sleep(0.5)  # the voice is made meanwhile, and cannot be kept
        told = await ended(client, job["jobId"])
        assert told["status"] == "completed", told
        assert [voice["voiceId"] for voice in (await data(client, "/api/voices"))["voices"]] == [told["voiceId"]]
        assert stage.maker.forgotten == []
        assert len(stored(tmp_path)) == 3, "the recording, its trimmed copy, one preview"


async def test_a_redis_gone_while_somebody_waits_for_another_servers_voice(redis: str, tmp_path: Path) -> None:
    async with (
        away(redis) as (through, plug),
        shelves(tmp_path, redis_url=through) as (one, stage),
        shelves(tmp_path, redis_url=through) as (other, there),
    ):
        stage.maker.held.clear()
        there.maker.held.clear()
        job = await wished(one)
        events = await other.get(f"/api/voices/jobs/{job['jobId']}/events")
        await until(lambda: stage.maker.made or there.maker.made)
        with plug.gone():
            stage.maker.held.set()
            there.maker.held.set()
            async with asyncio.timeout(PATIENCE_S):
                told = (await events.text()).strip().splitlines()
            assert told[-2] == "event: end" and json.loads(told[-1][6:])["status"] == "completed"
            assert (await made(one, 1))["voiceId"]
        shared = (await stage.library.opened()).shared
        async with asyncio.timeout(PATIENCE_S), (await there.library.opened()).shared.listening("x") as news:
            while not news.is_set():  # news flow again once it is back
                await shared.tell("x")
                await asyncio.sleep(0.05)


async def test_a_storage_gone_in_the_middle(s3: str, tmp_path: Path) -> None:
    async with away(s3) as (through, plug), shelves(tmp_path, **on_s3(through, tmp_path.name)) as (client, stage):
        voice = await made(client)
        _, body = await upload(client, clip(1))
        asked = {"fileId": body["data"]["fileId"], "consent": CONSENT, "wait": False}
        speech = {"voiceId": voice["voiceId"], "input": "Hello."}
        assert (await client.post("/api/tts/generate", json=speech)).status == 201
        assert in_bucket(s3, tmp_path.name) == 6
        stage.maker.held.clear()
        job = (await (await client.post("/api/voices", json=asked)).json())["data"]
        await until(lambda: len(stage.maker.made) == 2)
        with plug.gone():
            stage.maker.held.set()
            told = await ended(client, job["jobId"])
            assert told["error"]["code"] == "storage_unavailable" and told["retryable"]
            await refused(
                client, "POST", "/api/tts/generate", "storage_unavailable", json={**speech, "input": "Other."}
            )
            assert (await upload(client, clip(2)))[0] == 503
            assert (await client.delete(f"/api/voices/{voice['voiceId']}")).status == 200
            assert (await data(client, "/api/voices"))["voices"] == [], "deleted at once, its files when they can be"
        outbox = (await stage.library.opened()).outbox
        async with asyncio.timeout(PATIENCE_S):
            while in_bucket(s3, tmp_path.name) > 2:
                await _due(stage)
                await outbox.sweep()
        await client.post(f"/api/voices/jobs/{job['jobId']}/retry")
        assert (await ended(client, job["jobId"]))["status"] == "completed"
        assert in_bucket(s3, tmp_path.name) == 3


async def _due(stage: Any) -> None:
    """What was tried in vain is to be tried again now, and not in ten seconds."""
    from sqlalchemy import update

    from voices.schema import OutboxRow, utc_now

    async with (await stage.library.opened()).database.writing() as session:
        await session.execute(update(OutboxRow).where(OutboxRow.attempts > 0).values(due_at=utc_now()))
