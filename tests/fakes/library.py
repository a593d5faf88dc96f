"""The HTTP application over a real library in a folder, or in a database of the test's own, with scripted makers."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import io
import sqlite3
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import soxr
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from config import Settings
from listening.vad import SileroVad, load_silero
from media import Pcm
from tests.fakes.app import Stage, make_stage
from tests.fakes.maker import FakeMaker, FakeSpeakers
from tests.fakes.voice import FakeEngine
from tts.chain import Chain
from tts.library import LibraryEngine
from voices.audio.desk import Desk
from voices.audio.judge import Limits
from voices.audio.prepare import Prepared, prepare, wav_bytes
from voices.cloning.build import Makers
from voices.consent import STATEMENT
from voices.database import database_url
from voices.library import Library, Sources
from voices.migrate import migrate

CONSENT = {"speaker": "Ada", "relation": "self", "statement": STATEMENT.id, "agreed": True}
TEXTS = (
    "The young teacher will show seven visitors a wooden boat, and the quiet painter should bring twenty letters home.",
    "Our old captain must offer eleven children another yellow basket, while the busy driver can send forty engines.",
    "Every kind gardener promised ninety travellers a heavy window, and my clever doctor will bring the modern letter.",
)
ENGINE_RATE_HZ = 22_050
CLIP_RATE_HZ = 24_000

Client = TestClient[web.Request, web.Application]


@functools.cache
def speech(number: int = 0, voice: str = "en-us") -> Pcm:
    """6 to 8 s of a synthetic voice at `CLIP_RATE_HZ`."""
    command = ["espeak-ng", "-v", voice, "-s", "150", "--stdout", TEXTS[number]]
    said = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout
    samples = np.frombuffer(said[44 : len(said) - len(said) % 2], np.int16).astype(np.float32) / np.float32(32768)
    return np.asarray(soxr.resample(samples, ENGINE_RATE_HZ, CLIP_RATE_HZ), np.float32)


@functools.cache
def clip(number: int = 0, voice: str = "en-us") -> bytes:
    """The same as a WAV file."""
    return wav_bytes(speech(number, voice), CLIP_RATE_HZ)


@functools.cache
def _template() -> bytes:
    """An empty database of SQLite, up to date."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "library.db")
        migrate(database_url("", path))
        with contextlib.closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            connection.execute("PRAGMA journal_mode=DELETE")
        return path.read_bytes()


def migrated(root: Path) -> None:
    """Have an empty database under `root`, without the second that Alembic takes."""
    path = root / "library.db"
    if not path.exists():
        path.write_bytes(_template())


class ThreadDesk:
    """Makes recordings ready on a thread, without a process that takes a second to start."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.waiting = 0

    async def prepare(self, data: bytes) -> Prepared:
        self.waiting += 1
        try:
            return await asyncio.to_thread(_prepared, data, self.limits)
        finally:
            self.waiting -= 1

    async def warm_up(self) -> None:
        """It is quick."""

    async def aclose(self) -> None:
        """Nothing is held."""


@functools.cache
def _network() -> Any:
    return load_silero()


@functools.lru_cache(64)
def _prepared(data: bytes, limits: Limits) -> Prepared:
    """The same few recordings are used by many tests."""
    return prepare(data, limits, SileroVad(_network()))


@dataclasses.dataclass
class LibraryStage(Stage):
    """What a test of the library looks at."""

    library: Library
    maker: FakeMaker
    speakers: FakeSpeakers
    engine: FakeEngine
    root: Path


def stocked(
    stage: Stage,
    root: Path,
    *,
    makers: Sequence[Any] | None = None,
    speakers: FakeSpeakers | None = None,
    desk: Callable[[Limits], Desk] | None = None,
) -> LibraryStage:
    """A stage with a library under `root`, not yet open; on an event loop."""
    made = list(makers) if makers is not None else [FakeMaker()]
    model = speakers or FakeSpeakers()
    engine = FakeEngine(first_sound_s=0.0, chunk_s=0.0)
    voices = LibraryEngine()
    chain = Chain([engine, voices])
    sources = Sources(lambda *_: Makers(made), lambda _: model, desk or ThreadDesk)
    library = Library(stage.services.settings, root, lambda: chain, voices, sources)
    stage.services.library = library
    stage.services.figures = library.figures
    stage.services.voices = chain.voices
    facts = {field.name: getattr(stage, field.name) for field in dataclasses.fields(stage)}
    first = made[0] if made else FakeMaker()
    return LibraryStage(**facts, library=library, maker=first, speakers=model, engine=engine, root=root)


@contextlib.asynccontextmanager
async def shelves(
    root: Path,
    *,
    makers: Sequence[Any] | None = None,
    speakers: FakeSpeakers | None = None,
    desk: Callable[[Limits], Desk] | None = None,
    **settings: Any,
) -> AsyncIterator[tuple[Client, LibraryStage]]:
    """A client of the application over a library under `root`."""
    await asyncio.to_thread(migrated, root)
    stage = stocked(make_stage(Settings(**settings)), root, makers=makers, speakers=speakers, desk=desk)
    try:
        async with TestClient(TestServer(stage.app)) as client:
            yield client, stage
    finally:
        await stage.library.aclose()
        await asyncio.to_thread(stage.close)


async def upload(client: Client, data: bytes, filename: str = "me.wav", **headers: str) -> tuple[int, dict[str, Any]]:
    """Status and body of an upload."""
    form = aiohttp.FormData(quote_fields=False)  # as browsers send names
    form.add_field("file", io.BytesIO(data), filename=filename)
    response = await client.post("/api/files/upload", data=form, headers=headers)
    return response.status, await response.json()


async def made(client: Client, number: int = 0, *, key: str = "", **wish: Any) -> dict[str, Any]:
    """A voice of one of the recordings: the answer's data."""
    headers = {"X-API-Key": key} if key else {}
    _, body = await upload(client, clip(number), **headers)
    asked = {"fileId": body["data"]["fileId"], "consent": CONSENT, **wish}
    response = await client.post("/api/voices", json=asked, headers=headers)
    body = await response.json()
    assert response.status in (200, 201), body
    data: dict[str, Any] = body["data"]
    return data
