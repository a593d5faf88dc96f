"""Voices in the making: failures told and undone, retries, and what is left when a process is killed."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import json
import os
import random
import signal
import sqlite3
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest
from sqlalchemy import select, update

from errors import EngineError, Unavailable, VisageError
from tests.fakes.app import until
from tests.fakes.library import CONSENT, Client, LibraryStage, clip, made, shelves, upload
from tests.fakes.maker import FakeMaker, FakeSpeakers
from tests.test_voice_library import data, stored
from voices.audio.prepare import read_wav, wav_bytes
from voices.jobs import ATTEMPTS_MAX
from voices.opened import Opened
from voices.schema import JobRow, OutboxRow, VoiceRow, utc_now
from voices.storage.base import StorageUnavailable
from voices.worker import surely_dead, this_worker

ROOT = Path(__file__).parent.parent
DEAD = f"{this_worker().partition('/')[0]}/{2**22 + 7}/1"
"""A process of this machine that there is not: ids end below."""


async def wished(client: Client, number: int = 0, **more: Any) -> dict[str, Any]:
    """A creation that is not waited for."""
    _, body = await upload(client, clip(number))
    asked = {"fileId": body["data"]["fileId"], "consent": CONSENT, "wait": False, **more}
    answer = await client.post("/api/voices", json=asked)
    job: dict[str, Any] = (await answer.json())["data"]
    return job


async def ended(client: Client, job_id: str) -> dict[str, Any]:
    """The job when it has ended."""
    async with asyncio.timeout(20):
        while True:
            job = await data(client, f"/api/voices/jobs/{job_id}")
            if job["status"] in ("completed", "failed"):
                return job
            await asyncio.sleep(0.02)


FAILURES: list[tuple[VisageError, int, str, bool]] = [
    (EngineError("scripted", "the service is down"), 502, "engine_failed", True),
    (Unavailable("no place"), 503, "unavailable", True),
    (StorageUnavailable("full"), 503, "storage_unavailable", True),
]


@pytest.mark.parametrize(("failure", "status", "code", "retryable"), FAILURES, ids=[code for *_, code, _ in FAILURES])
async def test_a_maker_that_fails_is_told_and_nothing_is_half_made(
    failure: VisageError, status: int, code: str, retryable: bool, tmp_path: Path
) -> None:
    async with shelves(tmp_path, makers=[FakeMaker(failure=failure)]) as (client, stage):
        _, body = await upload(client, clip())
        asked = {"fileId": body["data"]["fileId"], "consent": CONSENT}
        answer = await client.post("/api/voices", json=asked)
        refused = await answer.json()
        assert answer.status == status and refused["error"]["code"] == code and str(failure) == refused["message"]
        assert (await data(client, "/api/voices"))["total"] == 0 and len(stored(tmp_path)) == 2
        job = (await data(client, "/api/voices/jobs"))["jobs"][0]
        assert job["status"] == "failed" and job["retryable"] is retryable and job["error"]["code"] == code
        stage.maker.failure = None
        again = await client.post(f"/api/voices/jobs/{job['jobId']}/retry")
        assert again.status == 202
        done = await ended(client, job["jobId"])
        assert done["status"] == "completed" and (await data(client, "/api/voices"))["total"] == 1
        refused = await (await client.post(f"/api/voices/jobs/{job['jobId']}/retry")).json()
        assert refused["error"]["code"] == "conflict"


async def test_a_voice_that_cannot_speak_is_undone_where_it_was_made(tmp_path: Path) -> None:
    maker = FakeMaker(mute=True)
    async with shelves(tmp_path, makers=[maker]) as (client, _):
        job = await ended(client, (await wished(client))["jobId"])
        assert job["status"] == "failed" and "no sound" in job["error"]["message"]
        await until(lambda: len(maker.forgotten) == 1)
        assert len(stored(tmp_path)) == 2


async def test_a_bug_in_a_maker_is_logged_and_told_as_one(tmp_path: Path) -> None:
    class Buggy(FakeMaker):
        async def make(self, *args: Any) -> Any:
            raise ZeroDivisionError("secret detail")

    async with shelves(tmp_path, makers=[Buggy()]) as (client, _):
        job = await ended(client, (await wished(client))["jobId"])
        assert job["error"]["code"] == "internal_error" and "secret" not in json.dumps(job)
        assert job["error"]["details"]["zh"]


@pytest.mark.parametrize("local", [False, True])
async def test_two_people_in_one_recording_are_refused(local: bool, tmp_path: Path) -> None:
    one, rate_hz = read_wav(clip(0))
    other, _ = read_wav(clip(1, "en-us+f4"))
    both = wav_bytes(np.concatenate((one[: 4 * rate_hz], other[: 4 * rate_hz])), rate_hz)
    maker = FakeMaker(local=local)
    maker.held.clear()
    async with shelves(tmp_path, makers=[maker], speakers=FakeSpeakers(same_speaker=1.04)) as (client, _):
        status, body = await upload(client, both)
        assert status == 201
        asked = {"fileId": body["data"]["fileId"], "consent": CONSENT}
        answer = await client.post("/api/voices", json=asked, headers={"Accept-Language": "zh"})
        refused = await answer.json()
        assert (
            answer.status == 422 and refused["error"]["code"] == "two_speakers" and "不止一个人" in refused["message"]
        )
        assert local or not maker.made, "what leaves this machine has passed all checks"


async def test_a_speaker_model_that_fails_fails_the_creation(tmp_path: Path) -> None:
    model = FakeSpeakers(failure=EngineError("spectrum", "its process ended"))
    async with shelves(tmp_path, speakers=model) as (client, _):
        job = await ended(client, (await wished(client))["jobId"])
        assert job["error"]["code"] == "engine_failed" and job["retryable"]


async def test_storage_that_is_gone_in_the_middle_is_told_and_nothing_is_lost(tmp_path: Path) -> None:
    async with shelves(tmp_path) as (client, stage):
        stage.maker.held.clear()
        job = await wished(client)
        await until(lambda: stage.maker.made)
        storage = (await stage.library.opened()).storage
        with contextlib.ExitStack() as stack:
            stack.enter_context(broken(storage))
            stage.maker.held.set()
            told = await ended(client, job["jobId"])
            assert told["error"]["code"] == "storage_unavailable" and told["retryable"]
            status, body = await upload(client, clip(1))
            assert status == 503 and body["error"]["code"] == "storage_unavailable" and body["error"]["details"]["zh"]
        assert len(stored(tmp_path)) == 2
        status, _ = await upload(client, clip(1))
        assert status == 201
        await client.post(f"/api/voices/jobs/{job['jobId']}/retry")
        assert (await ended(client, job["jobId"]))["status"] == "completed"


@contextlib.contextmanager
def broken(storage: Any) -> Any:
    """A storage that cannot be written to."""

    async def put(key: str, data: bytes) -> None:
        raise StorageUnavailable("no space left on device")

    storage.put = put
    try:
        yield
    finally:
        del storage.put


async def test_a_maker_that_cannot_forget_now_is_asked_again(tmp_path: Path) -> None:
    async with shelves(tmp_path) as (client, stage):
        voice = await made(client)
        stage.maker.forget_failure = EngineError("scripted", "away")
        assert (await client.delete(f"/api/voices/{voice['voiceId']}")).status == 200
        opened = await stage.library.opened()
        await waits(opened, 1)
        stage.maker.forget_failure = None
        async with opened.database.writing() as session:
            await session.execute(update(OutboxRow).values(due_at=utc_now()))
        opened.outbox.wake()
        await until(lambda: len(stage.maker.forgotten) == 1)
        await waits(opened, 0)


async def waits(opened: Opened, count: int) -> None:
    """Until so much of the outbox was tried in vain."""
    async with asyncio.timeout(5):
        while True:
            async with opened.database.reading() as session:
                rows = (await session.scalars(select(OutboxRow))).all()
            if len(rows) == count and all(row.attempts for row in rows):
                return
            await asyncio.sleep(0.01)


async def left_behind(stage: LibraryStage, job_id: str, **values: Any) -> None:
    """Have a job look as a process that died left it."""
    opened = await stage.library.opened()
    async with opened.database.writing() as session:
        await session.execute(
            update(JobRow)
            .where(JobRow.id == job_id)
            .values(**{"status": "running", "stage": "cloning", "worker": DEAD, "attempts": 1, **values})
        )


@pytest.mark.parametrize(
    ("worker", "lease_s"), [(DEAD, 60.0), ("elsewhere/1/2", -1.0)], ids=["dead process", "lease of another machine"]
)
async def test_a_job_of_a_dead_process_is_taken_up_again(worker: str, lease_s: float, tmp_path: Path) -> None:
    async with shelves(tmp_path) as (client, stage):
        stage.maker.held.clear()
        jobs = [await wished(client, number) for number in (0, 1)]
        await until(lambda: len(stage.maker.made) == 2)
        third = await wished(client, 2)
        lease = utc_now() + datetime.timedelta(seconds=lease_s)
        await left_behind(stage, third["jobId"], worker=worker, lease_until=lease)
        stage.maker.held.set()
        for job in (*jobs, third):
            assert (await ended(client, job["jobId"]))["status"] == "completed"


async def test_a_job_of_a_living_process_is_left_alone(tmp_path: Path) -> None:
    async with shelves(tmp_path) as (client, stage):
        stage.maker.held.clear()
        job = await wished(client)
        await until(lambda: stage.maker.made)
        lease = utc_now() + datetime.timedelta(seconds=60)
        await left_behind(stage, job["jobId"], worker="elsewhere/1/2", lease_until=lease)
        await (await stage.library.opened()).jobs.recover()
        assert (await data(client, f"/api/voices/jobs/{job['jobId']}"))["status"] == "running"
        stage.maker.held.set()  # this process finds that the job is another's by now
        await until(lambda: not any(task.get_name().startswith("claim of") for task in asyncio.all_tasks()))
        assert (await data(client, "/api/voices"))["total"] == 0 and stage.maker.forgotten == []


async def test_a_job_that_was_interrupted_too_often_fails_with_a_reason(tmp_path: Path) -> None:
    async with shelves(tmp_path) as (client, stage):
        stage.maker.held.clear()
        job = await wished(client)
        await until(lambda: stage.maker.made)
        await left_behind(stage, job["jobId"], attempts=ATTEMPTS_MAX)
        await (await stage.library.opened()).jobs.recover()
        told = await data(client, f"/api/voices/jobs/{job['jobId']}")
        assert told["status"] == "failed" and told["error"]["code"] == "stopped" and told["retryable"]
        stage.maker.held.set()


async def test_a_server_that_stops_gives_its_jobs_back(tmp_path: Path) -> None:
    async with shelves(tmp_path) as (client, stage):
        stage.maker.held.clear()
        job = await wished(client)
        await until(lambda: stage.maker.made)
    async with shelves(tmp_path) as (client, stage):
        assert (await ended(client, job["jobId"]))["status"] == "completed"
        assert stage.maker.forgotten == []


def test_processes_are_told_apart_from_dead_ones() -> None:
    assert not surely_dead(this_worker()) and surely_dead(DEAD)
    host, pid, _ = this_worker().split("/")
    assert surely_dead(f"{host}/{pid}/1"), "another process had that number before"
    assert not surely_dead("elsewhere/1/1") and not surely_dead("") and not surely_dead(f"{host}/x/y")


@contextlib.asynccontextmanager
async def running(root: Path) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """A server in a process of its own, over the same folder, with a maker that takes its time."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",
        "-m",
        "tests.fakes.voiceserver",
        str(root),
        stdout=asyncio.subprocess.PIPE,
        env=environment,
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(60):
            yield process, (await process.stdout.readline()).decode().strip()
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def killed_at_random(root: Path, session: aiohttp.ClientSession, number: int) -> None:
    """Upload and ask for a voice, and kill the server somewhere on the way."""
    async with running(root) as (process, address):

        async def work() -> None:
            form = aiohttp.FormData()
            form.add_field("file", clip(number % 3), filename=f"{number}.wav")
            async with session.post(f"{address}/api/files/upload", data=form) as answer:
                body = await answer.json()
            asked = {"fileId": body["data"]["fileId"], "consent": CONSENT, "model": f"hum-{1 + number % 2}"}
            async with session.post(f"{address}/api/voices", json=asked) as answer:
                await answer.read()

        task = asyncio.create_task(work())
        await asyncio.wait({task}, timeout=random.uniform(0.05, 0.9))
        process.send_signal(signal.SIGKILL)
        await asyncio.gather(task, return_exceptions=True)


def check_whole(root: Path) -> int:
    """Every file has its row and every row its files, and no job is left half done; how many voices there are."""
    with contextlib.closing(sqlite3.connect(root / "library.db")) as connection:
        rows = connection.execute
        named = {path for row in rows("SELECT file_path, prepared_path FROM files") for path in row}
        named |= {path for (path,) in rows("SELECT sample_audio_path FROM voices")}
        assert set(stored(root)) == named
        assert rows("SELECT count(*) FROM outbox").fetchone() == (0,)
        statuses = {status for (status,) in rows("SELECT status FROM jobs")}
        assert statuses <= {"completed", "failed"}
        assert rows("SELECT count(*) FROM jobs WHERE status = 'failed' AND error IS NULL").fetchone() == (0,)
        voices: int = rows("SELECT count(*) FROM voices").fetchone()[0]
        assert rows("SELECT count(DISTINCT voice_id) FROM jobs WHERE status = 'completed'").fetchone() == (voices,)
        assert rows("SELECT count(*) FROM consents").fetchone() == (voices,)
        return voices


async def settled(root: Path) -> int:
    """What a server makes of a folder that others died over."""
    async with shelves(root) as (_, stage):
        opened = await stage.library.opened()
        async with asyncio.timeout(20):
            while True:
                async with opened.database.reading() as session:
                    working = await session.scalar(select(JobRow.id).where(JobRow.status.in_(("pending", "running"))))
                    waiting = await session.scalar(select(OutboxRow.id))
                    total = len((await session.scalars(select(VoiceRow.id))).all())
                if working is None and waiting is None:
                    break
                opened.outbox.wake()
                await asyncio.sleep(0.02)
    assert check_whole(root) == total
    return total


@pytest.mark.parametrize("times", [int(os.environ.get("VISAGE_TEST_KILLS", "2"))])
async def test_a_server_killed_in_the_middle_leaves_nothing_half_made(times: int, tmp_path: Path) -> None:
    async with aiohttp.ClientSession() as session:
        for number in range(times):
            await killed_at_random(tmp_path, session, number)
            await settled(tmp_path)
