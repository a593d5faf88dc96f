"""What Prometheus is told of the voice library, as it scrapes it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from errors import EngineError
from tests.fakes.app import until
from tests.fakes.away import away
from tests.fakes.databases import postgresql
from tests.fakes.library import Client, clip, made, shelves, upload
from tests.test_voice_jobs import broken, ended, wished

ROOT = Path(__file__).parent.parent
DOCS, MAKERS = ROOT / "docs", ROOT / "voices" / "cloning"
Figures = dict[tuple[str, ...], float]


async def scraped(client: Client) -> Figures:
    """Every sample: its name and its labels' values -> its value."""
    answer = await client.get("/metrics")
    assert answer.status == 200
    families = text_string_to_metric_families(await answer.text())
    samples = [sample for family in families for sample in family.samples]
    found = {(sample.name.removeprefix("visage_"), *sample.labels.values()): sample.value for sample in samples}
    assert len(found) == len(samples), "told once each"
    return found


async def test_creations_uploads_calls_and_storage_are_counted(tmp_path: Path) -> None:
    async with shelves(tmp_path) as (client, stage):
        voice = await made(client)
        await upload(client, clip())
        assert (await upload(client, b"no sound"))[0] == 422
        await client.post("/api/tts/generate", json={"voiceId": voice["voiceId"], "input": "Hello."})
        stage.maker.failure = EngineError("fake", "has no more credit")
        await ended(client, (await wished(client, 1))["jobId"])
        watched: Any = (await stage.library.opened()).storage
        with broken(watched._storage):
            assert (await upload(client, clip(2)))[0] == 503
        await client.delete(f"/api/voices/{voice['voiceId']}")
        await until(lambda: stage.maker.forgotten)
        told = await scraped(client)
    names = {f"visage_{name}" for name, *_ in told}
    of_makers = "".join(path.read_text("utf-8") for path in MAKERS.glob("*.py"))  # which are not all in this server
    for path in DOCS.glob("deployment*.md"):
        told_of = set(re.findall(r"visage_voices\w+|visage_sessions\w*", path.read_text("utf-8")))
        assert all(name.removeprefix("visage_") in of_makers for name in told_of - names), path
    maker = stage.maker.name
    assert told["voices_creation_seconds_count", maker, "done"] == 1
    assert told["voices_creation_seconds_count", maker, "failed"] == 1
    assert 0 < told["voices_creation_seconds_sum", maker, "done"] < 30
    uploads = {outcome: told["voices_uploads_total", outcome] for outcome in ("done", "known", "refused", "failed")}
    assert uploads == {"done": 2, "known": 1, "refused": 1, "failed": 1}
    assert told["voices_maker_call_seconds_count", "make", maker, "done"] == 1
    assert told["voices_maker_call_seconds_count", "make", maker, "failed"] == 1
    assert told["voices_maker_call_seconds_count", "speak", maker, "done"] == 1
    assert told["voices_maker_call_seconds_count", "forget", maker, "done"] == 1
    assert told["voices_storage_seconds_count", "put", "failed"] == 1
    assert told["voices_storage_seconds_count", "put", "done"] >= 5
    assert (told[("voices_open",)], told[("voices_database_up",)]) == (1, 1)
    assert told[("voices_jobs_waiting",)] == told[("voices_jobs_running",)] == 0


async def test_what_waits_and_runs_is_told(tmp_path: Path) -> None:
    async with shelves(tmp_path) as (client, stage):
        stage.maker.held.clear()
        jobs = [await wished(client, number) for number in range(3)]
        await until(lambda: len(stage.maker.made) == 2)
        told = await scraped(client)
        assert (told[("voices_jobs_waiting",)], told[("voices_jobs_running",)]) == (1, 2)
        stage.maker.held.set()
        for job in jobs:
            await ended(client, job["jobId"])


async def test_servers_that_are_away_are_told(tmp_path: Path) -> None:
    async with (
        postgresql() as url,
        away(url) as (through, plug),
        shelves(tmp_path, database_url=through, redis_url="redis://127.0.0.1:1/0") as (client, _),
    ):
        await client.get("/api/voices")
        before = await scraped(client)
        assert before[("voices_database_up",)] == 1
        with plug.gone():
            assert (await client.get("/api/voices")).status == 503
            told = await scraped(client)
        assert told[("voices_database_up",)] == 0
        assert told[("voices_database_failures_total",)] > before[("voices_database_failures_total",)]
        assert told[("voices_cache_failures_total",)] > 0


async def test_a_server_without_a_library_tells_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with shelves(tmp_path) as (client, stage):
        told = await scraped(client)
        assert told[("voices_open",)] == 0 and ("voices_database_up",) not in told
        monkeypatch.setattr(stage.services, "library", None)
        assert ("sessions_limit",) in await scraped(client)
