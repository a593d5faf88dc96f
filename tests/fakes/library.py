"""The HTTP application over a real library in a folder, or in a database of the test's own, with scripted makers."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import subprocess
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import soxr
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from config import Settings
from media import Pcm
from tests.fakes.app import Stage, make_stage
from tests.fakes.maker import FakeMaker, FakeSpeakers
from tests.fakes.voice import FakeEngine
from tts.chain import Chain
from tts.library import LibraryEngine
from voices.audio.prepare import wav_bytes
from voices.cloning.build import Makers
from voices.consent import STATEMENT
from voices.library import Library, Sources

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


@dataclasses.dataclass
class LibraryStage(Stage):
    """What a test of the library looks at."""

    library: Library
    maker: FakeMaker
    speakers: FakeSpeakers
    engine: FakeEngine
    root: Path


@contextlib.asynccontextmanager
async def shelves(
    root: Path,
    *,
    makers: Sequence[FakeMaker] | None = None,
    speakers: FakeSpeakers | None = None,
    **settings: Any,
) -> AsyncIterator[tuple[Client, LibraryStage]]:
    """A client of the application over a library under `root`."""
    made = list(makers) if makers is not None else [FakeMaker()]
    model = speakers or FakeSpeakers()
    configured = Settings(**settings)
    stage = make_stage(configured)
    engine = FakeEngine(first_sound_s=0.0, chunk_s=0.0)
    voices = LibraryEngine()
    chain = Chain([engine, voices])
    sources = Sources(lambda _: Makers(made), lambda _: model)
    library = Library(configured, root, lambda: chain, voices, sources)
    stage.services.library = library
    stage.services.voices = chain.voices
    facts = {field.name: getattr(stage, field.name) for field in dataclasses.fields(stage)}
    first = made[0] if made else FakeMaker()
    full = LibraryStage(**facts, library=library, maker=first, speakers=model, engine=engine, root=root)
    try:
        async with TestClient(TestServer(stage.app)) as client:
            yield client, full
    finally:
        await library.aclose()
        await asyncio.to_thread(stage.close)


async def upload(client: Client, data: bytes, filename: str = "me.wav", **headers: str) -> tuple[int, dict[str, Any]]:
    """Status and body of an upload."""
    form = aiohttp.FormData()
    form.add_field("file", data, filename=filename)
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
