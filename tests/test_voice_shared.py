"""What processes share: the cache and news in memory and in Redis; addresses of settings."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from config import ConfigError, Settings
from config.sources import load
from tests.fakes.library import CONSENT, clip, made, shelves, upload
from tests.test_voice_library import data
from voices import library
from voices.cloning.stepfun import stepfun_maker
from voices.shared import ITEM_BYTES_MAX, MemoryShared, RedisShared, Shared, build_shared

REDIS = os.environ.get("VISAGE_TEST_REDIS", "redis://127.0.0.1:6379/5")
KINDS = ("memory", "redis")


@pytest.fixture
async def shared(kind: str) -> AsyncIterator[Shared]:
    made = build_shared(REDIS if kind == "redis" else "")
    reason = await made.why_not()
    if reason is not None:
        pytest.skip(reason)
    await made.forget("test:")
    yield made
    await made.forget("test:")
    await made.aclose()


@pytest.mark.parametrize("kind", KINDS)
async def test_what_is_kept_is_got_until_it_is_forgotten(shared: Shared) -> None:
    assert await shared.get("test:a") is None
    for name in ("a:1", "a:2", "b:1"):
        await shared.set(f"test:{name}", name.encode() * 1_000, 60)
    assert await shared.get("test:a:1") == b"a:1" * 1_000
    await shared.forget("test:a:")
    assert await shared.get("test:a:1") is await shared.get("test:a:2") is None
    assert await shared.get("test:b:1") is not None
    await shared.set("test:huge", bytes(ITEM_BYTES_MAX + 1), 60)
    assert await shared.get("test:huge") is None


@pytest.mark.parametrize("kind", KINDS)
async def test_news_wake_those_who_listen_for_them(shared: Shared) -> None:
    async with shared.listening("job-1") as one, shared.listening("job-2") as other, shared.listening("job-1") as also:
        await shared.tell("job-1")
        async with asyncio.timeout(5):
            await asyncio.gather(one.wait(), also.wait())
        assert not other.is_set()
    await shared.tell("job-1")


async def test_news_of_one_process_reach_another() -> None:
    one, other = RedisShared(REDIS), RedisShared(REDIS)
    if (reason := await one.why_not()) is not None:
        pytest.skip(reason)
    try:
        async with other.listening("job-x") as news, asyncio.timeout(10):
            while not news.is_set():  # the subscription takes a moment
                await one.tell("job-x")
                await asyncio.sleep(0.02)
            news.clear()
            await asyncio.sleep(2.5)  # longer than a socket may be silent elsewhere
            await one.tell("job-x")
            await news.wait()
    finally:
        await one.aclose()
        await other.aclose()


async def test_memory_holds_no_more_than_it_may_and_nothing_for_ever() -> None:
    now = 0.0
    cache = MemoryShared(10_000, lambda: now)
    for number in range(20):
        await cache.set(f"k{number}", bytes(1_000), 60)
        await cache.get("k0")
    assert await cache.get("k0") is not None, "used lately"
    assert await cache.get("k5") is None and await cache.get("k19") is not None
    now = 61.0
    assert await cache.get("k19") is None
    await cache.set("k1", b"x", 60)
    await cache.set("k1", b"y", 60)
    assert await cache.get("k1") == b"y"


async def test_a_library_goes_on_without_its_redis(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with shelves(tmp_path, redis_url="redis://127.0.0.1:1/0") as (client, _):
        _, body = await upload(client, clip())
        asked = {"fileId": body["data"]["fileId"], "consent": CONSENT}
        began = time.monotonic()
        answer = await client.post("/api/voices", json=asked)
        assert answer.status == 201 and time.monotonic() - began < 10
        voice = (await answer.json())["data"]["voiceId"]
        speech = {"model": "x", "voice": voice, "input": "Hello."}
        assert (await client.post("/v1/audio/speech", json=speech)).status == 200
        assert (await client.delete(f"/api/voices/{voice}")).status == 200
    assert sum("Redis does not answer" in record.message for record in caplog.records) == 1, "told once a minute"


async def test_two_servers_over_one_database_and_redis(tmp_path: Path) -> None:
    async with (
        shelves(tmp_path, redis_url=REDIS) as (one, stage),
        shelves(tmp_path, redis_url=REDIS) as (other, there),
    ):
        if (reason := await (await stage.library.opened()).shared.why_not()) is not None:
            pytest.skip(reason)
        stage.maker.held.clear()
        there.maker.held.clear()
        _, body = await upload(one, clip())
        asked = {"fileId": body["data"]["fileId"], "consent": CONSENT, "wait": False}
        job = (await (await one.post("/api/voices", json=asked)).json())["data"]
        events = await other.get(f"/api/voices/jobs/{job['jobId']}/events")
        stage.maker.held.set()
        there.maker.held.set()
        async with asyncio.timeout(10):
            told = (await events.text()).strip().splitlines()
        assert told[-2] == "event: end" and json.loads(told[-1][6:])["status"] == "completed"
        assert len(stage.maker.made) + len(there.maker.made) == 1
        signed = (await data(one, "/api/voices"))["voices"][0]["sample_url"]
        assert (await other.get("/" + signed)).status == 200, "both sign with the same key"
        voice = await made(other)
        assert voice["duplicated"]


def test_the_documents_names_are_taken_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = {
        "DATABASE_URL": "postgresql://u:secret@h/d",
        "REDIS_URL": "redis://h:6379",
        "STORAGE_TYPE": "minio",
        "STORAGE_PATH": "voices/x",
        "STEP_API_KEY": "step-secret",
        "EMBEDDING_PROVIDER": "placeholder",
        "EMBEDDING_DIMENSION": "512",
    }
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    settings = load([], directory=tmp_path)
    assert settings.database_url == values["DATABASE_URL"] and settings.storage_type == "s3"
    assert settings.embedding_dimension == 512
    assert stepfun_maker(settings).why_not() is None, "its key is read from the environment alone"
    shown = json.dumps(settings.public())
    assert "step-secret" not in shown and ":secret@" not in shown and settings.public()["database_url"] is True
    monkeypatch.setenv("VISAGE_DATABASE_URL", "sqlite:///ours.db")
    assert load([], directory=tmp_path).database_url == "sqlite:///ours.db"
    assert load(["--database_url", "sqlite:///flag.db"], directory=tmp_path).database_url == "sqlite:///flag.db"
    monkeypatch.setenv("EMBEDDING_DIMENSION", "many")
    with pytest.raises(ConfigError, match="environment: embedding_dimension was 'many'"):
        load([], directory=tmp_path)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"redis_url": "http://x"}, "redis_url"),
        ({"storage_type": "ftp"}, "storage_type"),
        ({"embedding_provider": "magic"}, "embedding_provider"),
        ({"storage_endpoint": "minio:9000"}, "http"),
        ({"library": "maybe"}, "library"),
    ],
)
def test_settings_that_cannot_be(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Settings(**wrong)


def test_packages_that_are_missing_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for more in ({"database_url": "postgresql://h/d"}, {"redis_url": "redis://h"}, {"storage_type": "s3"}):
        with pytest.raises(ConfigError, match="make platform"):
            library.check(Settings(**more))  # type: ignore[arg-type]
    library.check(Settings())
