"""Sessions: as many as allowed, found by number or string, and all they held is freed whoever ends them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import numpy as np
import pytest

from errors import Busy, NotFound, Unavailable, Unprocessable
from llm import Conversation
from media import Pcm
from sessions.manager import HANDSHAKES_MAX, SessionManager, new_id
from sessions.session import CHATS_MAX, RECORDINGS_MAX, Built, Session, Wish
from tests.fakes.app import SDP, FakePeer, FakeReal, until


class Builder:
    def __init__(self) -> None:
        self.built: list[Built] = []
        self.released: list[str] = []
        self.on_closed: dict[str, Callable[[], None]] = {}
        self.held = asyncio.Event()
        self.held.set()

    async def __call__(self, sessionid: str, wish: Wish, on_closed: Callable[[], None]) -> Built:
        peer = FakePeer(on_closed)
        peer.answering = self.held

        async def release() -> None:
            self.released.append(sessionid)

        self.on_closed[sessionid] = on_closed
        built = Built(FakeReal(sessionid), peer, "ada", owned=(release,))
        self.built.append(built)
        return built


def manager(build: Builder, **changes: Any) -> SessionManager:
    options: dict[str, Any] = {
        "max_session": 2,
        "conversation": Conversation,
        "connect_timeout_s": 15.0,
        "idle_timeout_s": 60.0,
    }
    return SessionManager(build, **{**options, **changes})


async def opened(sessions: SessionManager) -> Session:
    session, _, _ = await sessions.open(Wish(), SDP, "offer")
    return session


def test_ids_are_digits_that_javascript_keeps_exact() -> None:
    ids = {new_id() for _ in range(500)}
    assert len(ids) == 500
    assert all(i.isdecimal() and len(i) == 15 and i[0] != "0" and int(float(i)) == int(i) < 2**53 for i in ids)


async def test_the_limit_holds_for_offers_at_once() -> None:
    build = Builder()
    sessions = manager(build)
    build.held.clear()
    offers = [asyncio.create_task(opened(sessions)) for _ in range(5)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    build.held.set()
    results = await asyncio.gather(*offers, return_exceptions=True)
    assert sum(isinstance(result, Session) for result in results) == 2
    assert all("all 2 sessions are taken" in str(r) for r in results if isinstance(r, Unavailable))
    assert len(build.built) == 2  # nothing is built for those that are refused
    await sessions.drain(0)


async def test_handshakes_at_once_are_bounded() -> None:
    build = Builder()
    sessions = manager(build, max_session=100)
    build.held.clear()
    offers = [asyncio.create_task(opened(sessions)) for _ in range(HANDSHAKES_MAX + 1)]
    await asyncio.sleep(0)
    with pytest.raises(Busy, match="connections are being made"):
        await offers[-1]
    build.held.set()
    await asyncio.gather(*offers[:-1])
    await sessions.drain(0)


async def test_a_refused_offer_gives_its_place_and_parts_back() -> None:
    build = Builder()
    sessions = manager(build, max_session=1)
    with pytest.raises(Unprocessable):
        await sessions.open(Wish(), SDP + "m=video 0 nonsense", "offer")
    await asyncio.sleep(0)
    assert build.built[0].real.closed and build.built[0].peer.closed and len(build.released) == 1  # type: ignore[attr-defined]
    assert (await opened(sessions)).id
    await sessions.drain(0)


async def test_a_cancelled_offer_gives_its_place_and_parts_back() -> None:
    build = Builder()
    sessions = manager(build, max_session=1)
    build.held.clear()
    offer = asyncio.create_task(opened(sessions))
    await asyncio.sleep(0)
    offer.cancel()
    await asyncio.gather(offer, return_exceptions=True)
    build.held.set()
    for _ in range(10):
        await asyncio.sleep(0)
    assert len(build.released) == 1
    await opened(sessions)
    await sessions.drain(0)


async def test_the_only_session_is_the_default_one() -> None:
    build = Builder()
    sessions = manager(build)
    for default in ("", "0"):
        with pytest.raises(NotFound, match="no sessions are open"):
            sessions.get(default)
    first = await opened(sessions)
    assert sessions.get("") is sessions.get("0") is sessions.get(first.id) is first
    await opened(sessions)
    with pytest.raises(NotFound, match="2 sessions are open"):
        sessions.get("0")
    await sessions.drain(0)


async def test_whoever_ends_it_everything_is_freed_once() -> None:
    build = Builder()
    sessions = manager(build)
    session = await opened(sessions)
    forever = session.spawn(asyncio.Event().wait(), "waiting")  # type: ignore[arg-type]
    build.on_closed[session.id]()
    build.on_closed[session.id]()
    with pytest.raises(NotFound):
        sessions.get(session.id)
    await session.closed.wait()
    await sessions.drain(0)
    assert forever.cancelled() and build.released == [session.id]

    session = await opened(others := manager(build))
    await others.close(session.id)
    assert build.released[-1] == session.id and session.real.closed  # type: ignore[attr-defined]


async def test_a_part_that_cannot_be_closed_does_not_keep_the_others() -> None:
    build = Builder()
    sessions = manager(build)
    session = await opened(sessions)

    async def broken() -> None:
        raise RuntimeError("stuck")

    session.peer.aclose = broken  # type: ignore[method-assign]
    await sessions.close(session.id)
    assert session.real.closed and build.released == [session.id]  # type: ignore[attr-defined]


async def test_sessions_that_never_connect_or_are_not_used_are_swept() -> None:
    build = Builder()
    sessions = manager(build, max_session=3)
    lost, idle, busy = [await opened(sessions) for _ in range(3)]
    lost.peer.state = "connecting"  # type: ignore[misc]
    busy.real.speaking = True  # type: ignore[misc]
    began = lost.created
    sessions.sweep(began + 14)
    assert len(sessions) == 3
    sessions.sweep(began + 16)
    assert [session.id for session in sessions] == [idle.id, busy.id]
    sessions.get(idle.id)
    idle.used = began + 30
    sessions.sweep(began + 89)
    assert len(sessions) == 2
    sessions.sweep(began + 91)
    assert [session.id for session in sessions] == [busy.id]
    busy.real.speaking = False  # type: ignore[misc]
    sessions.sweep(began + 150)
    assert len(sessions) == 1
    sessions.sweep(began + 152)
    assert len(sessions) == 0
    await sessions.drain(0)


async def test_no_idle_limit_means_none() -> None:
    sessions = manager(Builder(), idle_timeout_s=0)
    session = await opened(sessions)
    sessions.sweep(session.created + 1e6)
    assert len(sessions) == 1
    await sessions.drain(0)


async def test_draining_lets_speech_end_and_takes_no_one() -> None:
    build = Builder()
    sessions = manager(build)
    session = await opened(sessions)
    session.real.speaking = True  # type: ignore[misc]
    drain = asyncio.create_task(sessions.drain(60))
    await asyncio.sleep(0)
    with pytest.raises(Unavailable, match="shutting down"):
        await opened(sessions)
    assert not session.closed.is_set()
    session.real.speaking = False  # type: ignore[misc]
    await drain
    assert session.closed.is_set() and build.released == [session.id]


class FakeRecording:
    def __init__(self, blocks: int = 2) -> None:
        self.blocks = blocks
        self.closed = 0

    async def __aiter__(self) -> AsyncIterator[Pcm]:
        for _ in range(self.blocks):
            yield np.zeros(320, np.float32)

    def close(self) -> None:
        self.closed += 1


async def test_recordings_are_closed_played_or_not() -> None:
    session = await opened(manager(Builder()))
    played = FakeRecording()
    await session.play(played)
    await asyncio.gather(*session.real.playing)  # type: ignore[attr-defined]
    assert played.closed

    async def never(sound: Any) -> None:
        """Keeps the sound queued."""

    session.real.play = never  # type: ignore[method-assign]
    queued = [FakeRecording() for _ in range(RECORDINGS_MAX)]
    for recording in queued:
        await session.play(recording)
    with pytest.raises(Busy, match="recordings wait"):
        await session.play(FakeRecording())
    session.interrupt()
    assert all(recording.closed for recording in queued)
    await session.play(left := FakeRecording())
    await session.aclose()
    assert left.closed


async def test_replies_come_in_order_and_an_interruption_ends_them() -> None:
    session = await opened(manager(Builder()))
    log: list[str] = []
    gate = asyncio.Event()

    def reply(name: str) -> Callable[[], Any]:
        async def run() -> None:
            log.append(f"{name} begins")
            await gate.wait()
            log.append(f"{name} ends")

        return run

    session.chat(reply("a"))
    session.chat(reply("b"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert log == ["a begins"] and session.speaking
    gate.set()
    await until(lambda: not session.speaking)
    assert log == ["a begins", "a ends", "b begins", "b ends"]
    gate.clear()
    for _ in range(CHATS_MAX):
        session.chat(reply("c"))
    with pytest.raises(Busy, match="questions are waiting"):
        session.chat(reply("d"))
    session.interrupt()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not session.speaking and session.real.turn == 1
    await session.aclose()
