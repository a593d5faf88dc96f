"""The voice library: lists of 10,000 voices, how long a voice takes, uploads beside a live session."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg

from benchmarks import crowd, scenes
from benchmarks.api import Api
from benchmarks.figures import Figure
from benchmarks.load import HELD_METRIC, LAG_METRIC, LAG_REST_S, watching
from benchmarks.scenario import Plan
from benchmarks.server import Launcher, Server
from benchmarks.voicefill import fill
from tests.fakes.library import CONSENT, clip
from voices.database import Database, database_url, make_engine
from voices.migrate import migrate

POSTGRES = os.environ.get("VISAGE_TEST_POSTGRES", "postgresql://postgres@127.0.0.1:5432")
VOICES = 10_000
LIST_BAR_MS, CREATE_BAR_S, HELD_BAR_MS = 50.0, 1.5, 20.0
SPEAKERS = tuple(f"en-us+{one}" for one in ("m1", "m2", "m3", "f1", "f2", "f3", "f4"))
"""Of espeak-ng; each says all three sentences."""
UPLOADS, UPLOADS_S = 100, 100.0
SPEAK_BEFORE_S = 6.0
LISTS: dict[str, dict[str, str]] = {
    "first page": {},
    "page 200": {"page": "200"},
    "most used": {"sort": "popular"},
    "by name": {"sort": "name"},
    "Chinese inside a name": {"q": "柔的老"},
    "one character": {"q": "明"},
    "part of a word": {"q": "ptai"},
    "two words": {"q": "captain 朗读"},
    "nothing found": {"q": "zzzz"},
    "language and gender": {"language": "zh", "gender": "female"},
    "mine": {"scope": "mine", "q": "teacher"},
}


@contextlib.asynccontextmanager
async def _databases() -> AsyncIterator[dict[str, str]]:
    """An address of each kind, with `VOICES` voices in it."""
    name = f"visage_voices_bench_{secrets.token_hex(4)}"
    server = await asyncpg.connect(f"{POSTGRES}/postgres")
    with tempfile.TemporaryDirectory(prefix="visage-bench-") as folder:
        await server.execute(f"CREATE DATABASE {name}")
        addresses = {"SQLite": f"sqlite:///{folder}/library.db", "PostgreSQL": f"{POSTGRES}/{name}"}
        try:
            for address in addresses.values():
                url = database_url(address, Path())
                await asyncio.to_thread(migrate, url)
                database = Database(make_engine(url))
                await fill(database, VOICES)
                await database.aclose()
            await server.execute("CHECKPOINT")
            yield addresses
        finally:
            await server.execute(f"DROP DATABASE {name} WITH (FORCE)")
            await server.close()


async def lists(plan: Plan) -> list[Figure]:
    """Pages and searches of 10,000 voices, as a page asks for them."""
    figures = []
    async with _databases() as addresses:
        for kind, address in addresses.items():
            with plan.launcher.run("--model", "testcard", "--database_url", address) as server:
                figures.append(await _listed(server, kind, 3 if plan.quick else 20))
                figures.append(await _alike(server, kind, 3 if plan.quick else 20))
    return figures


async def _listed(server: Server, kind: str, repeats: int) -> Figure:
    figure = Figure("lists", f"list, search and page of {VOICES} voices, {kind}", "ms", [], LIST_BAR_MS)
    slowest: dict[str, float] = {}
    async with aiohttp.ClientSession() as http:
        await _get(http, f"{server.url}/api/voices", {})  # opens the library
        for _ in range(repeats):
            for name, query in LISTS.items():
                took, body = await _get(http, f"{server.url}/api/voices", query)
                slowest[name] = max(slowest.get(name, 0.0), took)
                figure.values.append(took)
                if not body["success"] or (name != "nothing found" and not body["data"]["voices"]):
                    figure.failed.append(f"{name}: {body['message'] or 'nothing found'}")
    worst = max(slowest, key=lambda name: slowest[name])
    figure.note = f"slowest: {worst}"
    return figure


async def _alike(server: Server, kind: str, repeats: int) -> Figure:
    figure = Figure("lists", f"nearest of {VOICES} voices, {kind}", "ms", [])
    async with aiohttp.ClientSession() as http:
        _, body = await _get(http, f"{server.url}/api/voices", {"size": str(repeats)})
        first = True
        for voice in body["data"]["voices"]:
            took, found = await _get(http, f"{server.url}/api/voices/{voice['voiceId']}/similar", {})
            if not found["data"]["voices"]:
                figure.note = "this server has no speaker model of the voices' kind"
            if not first:  # which reads all vectors
                figure.values.append(took)
            first = False
    return figure


async def _get(http: aiohttp.ClientSession, url: str, query: dict[str, str]) -> tuple[float, dict[str, Any]]:
    sent = time.monotonic()
    async with http.get(url, params=query) as answer:
        body = await answer.json()
    return (time.monotonic() - sent) * 1000, body


@contextlib.contextmanager
def _makers(plan: Plan, folder: str, *, own: bool) -> Iterator[Server]:
    """A server that makes voices: this one, or the library alone with a maker that takes no time."""
    if own:
        with plan.launcher.run(*_apart(folder)) as server:
            yield server
        return
    with Launcher(f"{sys.executable} -m tests.fakes.voiceserver {folder} {{port}}").run() as server:
        yield server


def _apart(folder: str) -> list[str]:
    """Options for a library of the benchmark's own."""
    return ["--database_url", f"sqlite:///{folder}/library.db", "--storage_path", f"{folder}/storage"]


async def creation(plan: Plan) -> list[Figure]:
    """From the first byte of an upload to the answer with the voice and its preview."""
    figures = []
    for own, maker in ((False, "a maker that takes no time"), (True, "the designed voice and CAM++")):
        whole = Figure("creation", f"upload and creation of a voice, {maker}", "s", [], CREATE_BAR_S)
        uploads = Figure("creation", f"of which: upload and judgement of the recording, {maker}", "s", [])
        with tempfile.TemporaryDirectory(prefix="visage-bench-") as folder, _makers(plan, folder, own=own) as server:
            if own:
                await server.settle()
            await _created(server, 4 if plan.quick else 20, whole, uploads)
        figures += [whole, uploads]
    return figures


async def _created(server: Server, repeats: int, whole: Figure, uploads: Figure) -> None:
    async with aiohttp.ClientSession() as http:
        await _get(http, f"{server.url}/api/voices/options", {})  # as a page does, which has everything loaded
        await _upload(http, server.url, clip(0) + bytes(1))
        for number in range(repeats):
            began = time.monotonic()
            recording = clip(number % 3, SPEAKERS[number // 3])  # each its own: what was heard before is remembered
            status, body = await _upload(http, server.url, recording)
            if status != 201:
                whole.failed.append(f"upload: HTTP {status}: {body['message']}")
                continue
            uploaded = time.monotonic()
            asked = {"fileId": body["data"]["fileId"], "consent": CONSENT}
            async with http.post(f"{server.url}/api/voices", json=asked) as answer:
                made = await answer.json()
            if answer.status != 201:
                whole.failed.append(f"creation: HTTP {answer.status}: {made['message']}")
                continue
            whole.values.append(time.monotonic() - began)
            uploads.values.append(uploaded - began)


async def _upload(http: aiohttp.ClientSession, url: str, recording: bytes) -> tuple[int, dict[str, Any]]:
    form = aiohttp.FormData()
    form.add_field("file", recording, filename="me.wav")
    async with http.post(f"{url}/api/files/upload", data=form) as answer:
        return answer.status, await answer.json()


async def uploads(plan: Plan) -> list[Figure]:
    """100 recordings uploaded at once while a session speaks."""
    count = 10 if plan.quick else UPLOADS
    name = f"{count} uploads at once beside a speaking session"
    with tempfile.TemporaryDirectory(prefix="visage-bench-") as folder, plan.launcher.run(*_apart(folder)) as server:
        await server.settle()
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=600)) as http:
            await _upload(http, server.url, clip(0) + bytes(1))
            await asyncio.sleep(LAG_REST_S)
            seconds = 20.0 if plan.quick else UPLOADS_S
            watched = asyncio.create_task(crowd.run(server, 1, seconds, scenes.LONG_TEXT * 6))
            await asyncio.sleep(SPEAK_BEFORE_S)
            async with Api(server.url) as api, watching(api) as lags:
                began = time.monotonic()
                answers = await asyncio.gather(
                    *(_upload(http, server.url, clip(n % 3) + bytes(2 + n)) for n in range(count)),
                    return_exceptions=True,
                )
                took_s = time.monotonic() - began
            seen = await watched
    failed = [str(answer)[:200] for answer in answers if isinstance(answer, BaseException) or answer[0] != 201]
    held = Figure("uploads", f"event loop held, {name}", "ms", [max(lags[HELD_METRIC])], HELD_BAR_MS, "worst")
    lag = Figure("uploads", f"event loop lag, {name}", "ms", [max(lags[LAG_METRIC])], note="includes waits for a core")
    note = f"{seen.freezes[0]} freezes, longest gap {seen.longest_gap_ms:.0f} ms, all taken in {took_s:.0f} s"
    fps = Figure("uploads", f"pictures a second, {name}", "fps", [min(seen.fps)], 24.5, "least", note)
    fps.failed = [*seen.errors, *(["it froze"] if any(seen.freezes) else [])]
    errors = Figure("uploads", f"uploads refused or failed, {name}", "", [float(len(failed))], 0, "worst")
    errors.note = failed[0] if failed else ""
    return [errors, fps, held, lag]
