"""The HTTP application over scripted sessions: everything at the edge is real, what it drives is written down here."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import shutil
import tempfile
import time
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from config import Settings
from errors import Unprocessable
from events import EventBus
from listening.microphone import Microphone
from llm import Conversation, LanguageModel
from media import Event, Pcm, SpeechFrame
from server.application import make_app
from server.endpoint import AvatarCard, Services
from server.metrics import Metrics
from sessions.manager import SessionManager
from sessions.session import Built, Wish
from transport.recordings import Recordings
from tts.base import Voice

SDP = (
    "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n"
    "m=video 9 UDP/TLS/RTP/SAVPF 96\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\n"
)
OFFER = {"sdp": SDP, "type": "offer"}
VOICES = (
    Voice("kokoro:zf_xiaobei", "kokoro", ("zh",), "female", "Apache-2.0"),
    Voice("hibari:en", "hibari", ("en",), "female", "MIT"),
)
AVATARS = tuple(
    AvatarCard(name, {"en": name.title(), "zh": name}, 512, 512, 25, "CC0-1.0", Path(__file__))
    for name in ("ada", "mei")
)


@dataclasses.dataclass
class Said:
    text: str
    voice: str | None
    options: dict[str, Any] | None
    turn: int


class FakeSpeech:
    """What was prepared: read at once, and given on when it is heard."""

    def __init__(self, text: str | AsyncIterable[str], voice: str | None, options: dict[str, Any] | None) -> None:
        self.voice, self.options = voice, options
        self.dropped = False
        self._pieces: asyncio.Queue[str | None] = asyncio.Queue()
        self._reading = asyncio.create_task(self._read(text))

    async def _read(self, text: str | AsyncIterable[str]) -> None:
        try:
            if isinstance(text, str):
                self._pieces.put_nowait(text)
            else:
                async for piece in text:
                    self._pieces.put_nowait(piece)
        finally:
            self._pieces.put_nowait(None)

    @property
    def is_read(self) -> bool:
        return self._reading.done()

    async def text(self) -> AsyncIterator[str]:
        while (piece := await self._pieces.get()) is not None:
            yield piece

    def frames(self, turn: int) -> AsyncGenerator[list[SpeechFrame], None]:
        raise NotImplementedError("a fake has no sound")

    def drop(self) -> None:
        self.dropped = True
        self._reading.cancel()


class FakeReal:
    """Notes what it is told; plays recordings by taking their sound."""

    def __init__(self, sessionid: str) -> None:
        self.sessionid = sessionid
        self.events = EventBus()
        self.turn = 0
        self.voiced_at: float | None = None
        self.said: list[Said] = []
        self.prepared: list[FakeSpeech] = []
        self.played: list[Pcm] = []
        self.first_block_at: float | None = None
        self.acts: list[int] = []
        self.suspended = False
        self.closed = False
        self.speaking = False
        self.refusal: Exception | None = None
        self.playing: set[asyncio.Task[None]] = set()

    async def say(
        self,
        text: str | AsyncIterable[str],
        *,
        voice: str | None = None,
        options: dict[str, Any] | None = None,
        turn: int | None = None,
    ) -> None:
        if self.refusal is not None:
            raise self.refusal
        mine = self.turn if turn is None else turn
        if isinstance(text, str):
            self.said.append(Said(text, voice, options, mine))
            return
        self.speaking = True
        self.playing.add(asyncio.create_task(self._read(text, voice, options, mine)))

    def prepare(
        self, text: str | AsyncIterable[str], *, voice: str | None = None, options: dict[str, Any] | None = None
    ) -> FakeSpeech:
        if self.refusal is not None:
            raise self.refusal
        self.prepared.append(FakeSpeech(text, voice, options))
        return self.prepared[-1]

    async def speak(self, speech: FakeSpeech, *, turn: int) -> None:
        await self.say(speech.text(), voice=speech.voice, options=speech.options, turn=turn)

    async def _read(
        self, pieces: AsyncIterable[str], voice: str | None, options: dict[str, Any] | None, turn: int
    ) -> None:
        async for piece in pieces:
            self.said.append(Said(piece, voice, options, turn))
        self.speaking = False

    async def play(self, sound: Pcm | AsyncIterable[Pcm]) -> None:
        if self.refusal is not None:
            raise self.refusal
        assert not isinstance(sound, np.ndarray)
        task = asyncio.create_task(self._take(sound))
        self.playing.add(task)

    async def _take(self, sound: AsyncIterable[Pcm]) -> None:
        async for block in sound:
            if self.first_block_at is None:
                self.first_block_at = time.monotonic()
            self.played.append(block)

    @property
    def pcm(self) -> Pcm:
        return np.concatenate(self.played) if self.played else np.zeros(0, np.float32)

    def hear(self, name: str, **data: Any) -> None:
        self.events.publish(Event(name, self.turn, data), time.monotonic())

    def interrupt(self) -> int:
        self.turn += 1
        self.speaking = False
        for task in self.playing:
            task.cancel()
        self.hear("interrupted")
        return self.turn

    def suspend(self) -> bool:
        was, self.suspended = self.suspended, self.speaking
        return self.speaking and not was

    def resume(self) -> bool:
        was, self.suspended = self.suspended, False
        return was

    def act(self, audiotype: int) -> None:
        self.acts.append(audiotype)

    async def aclose(self) -> None:
        for task in self.playing:
            task.cancel()
        await asyncio.gather(*self.playing, return_exceptions=True)
        self.closed = True


class FakePeer:
    """Connects at once unless told otherwise."""

    def __init__(self, on_closed: Callable[[], None]) -> None:
        self.on_closed = on_closed
        self.state = "new"
        self.answering = asyncio.Event()
        self.answering.set()
        self.closed = False
        self.on_microphone: Callable[[Microphone], None] | None = None
        self.sound_listeners: list[Callable[[Pcm, float], None]] = []

    def on_sound(self, listener: Callable[[Pcm, float], None]) -> None:
        self.sound_listeners.append(listener)

    async def answer(self, sdp: str, type_: str, /) -> tuple[str, str]:
        await self.answering.wait()
        if "m=video 0 nonsense" in sdp:
            raise Unprocessable("sdp: the offer cannot be answered")
        self.state = "connected"
        return sdp, "answer"

    def stats(self) -> dict[str, Any]:
        return {"fps": 24.9, "late_max_ms": 3.0, "loss": 0.0}

    async def aclose(self) -> None:
        self.closed = True
        self.state = "closed"


class FakeRecorder:
    def __init__(self, path: Path) -> None:
        self.path = path

    async def stop(self) -> Path:
        self.path.write_bytes(b"\x00\x00\x00\x18ftypmp42")
        return self.path


@dataclasses.dataclass
class Stage:
    """What a test looks at."""

    services: Services
    app: web.Application
    reals: dict[str, FakeReal]
    peers: dict[str, FakePeer]
    held: asyncio.Event
    """Cleared by a test that wants offers to wait."""

    def close(self) -> None:
        """End the decoder threads and remove the recordings."""
        self.services.decoders.shutdown(wait=True)
        shutil.rmtree(self.services.recordings.directory)


def make_stage(
    settings: Settings, language_model: LanguageModel | None = None, web_root: Path = Path("web/dist")
) -> Stage:
    """The application on fakes, not yet listening."""
    reals: dict[str, FakeReal] = {}
    peers: dict[str, FakePeer] = {}
    held = asyncio.Event()
    held.set()

    async def build(sessionid: str, wish: Wish, on_closed: Callable[[], None]) -> Built:
        real, peer = FakeReal(sessionid), FakePeer(on_closed)
        peer.answering = held
        reals[sessionid], peers[sessionid] = real, peer
        return Built(real, peer, wish.avatar or "ada", (0, 1, 2), record=FakeRecorder)

    sessions = SessionManager(
        build,
        max_session=settings.max_session,
        conversation=lambda _: Conversation(settings.system_prompt),
        connect_timeout_s=settings.connect_timeout_s,
        idle_timeout_s=settings.idle_timeout_s,
    )
    services = Services(
        settings=settings,
        sessions=sessions,
        metrics=Metrics(),
        decoders=ThreadPoolExecutor(2, thread_name_prefix="audio-decode"),
        avatars=lambda: AVATARS,
        voices=lambda: VOICES,
        recordings=Recordings(Path(tempfile.mkdtemp(prefix="visage-test-"))),
        language_model=language_model,
        figures=lambda: {
            "lip_pictures_total": 5,
            "lip_latency_seconds": 0.01,
            'speech_failures_total{engine="gpt-sovits"}': 2,
            'speech_failures_total{engine="kokoro"}': 0,
        },
    )
    return Stage(services, make_app(services, web_root), reals, peers, held)


@contextlib.asynccontextmanager
async def serving(
    language_model: LanguageModel | None = None, **settings: Any
) -> AsyncIterator[tuple[TestClient[web.Request, web.Application], Stage]]:
    """A client of the application on fakes."""
    stage = make_stage(Settings(**settings), language_model)
    try:
        async with TestClient(TestServer(stage.app)) as client:
            yield client, stage
    finally:
        stage.close()
        if language_model is not None:
            await language_model.aclose()


async def connect(client: TestClient[web.Request, web.Application], **more: Any) -> str:
    """Open a session; its id."""
    response = await client.post("/offer", json={**OFFER, **more})
    body = await response.json()
    assert response.status == 200, body
    return str(body["sessionid"])


async def until(condition: Callable[[], object], patience_s: float = 5.0) -> None:
    """Wait for what another task or thread is about to do."""
    async with asyncio.timeout(patience_s):
        while not condition():  # noqa: ASYNC110 (nothing tells, so it is asked)
            await asyncio.sleep(0.005)
