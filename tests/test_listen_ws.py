"""A session's microphone over a WebSocket, over scripted sessions: sound in, events out, every way it can end."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import numpy as np
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient

import server.listen
from listening.microphone import Microphone
from tests.fakes.app import OFFER, Stage, connect, serving, until

Client = TestClient[web.Request, web.Application]
PATH = "/api/listen"


def sound(seconds: float, rate_hz: int = 16_000, level: float = 0.25) -> bytes:
    return np.full(round(seconds * rate_hz), round(level * 32768), "<i2").tobytes()


@contextlib.asynccontextmanager
async def session(**settings: Any) -> AsyncIterator[tuple[Client, Stage, str, list[Microphone]]]:
    """A connected session whose microphones are noted."""
    async with serving(**settings) as (client, stage):
        sid = await connect(client)
        given: list[Microphone] = []
        stage.peers[sid].on_microphone = given.append
        yield client, stage, sid, given


async def closing(socket: aiohttp.ClientWebSocketResponse) -> tuple[int | None, str]:
    """The code and the reason it is closed with."""
    async with asyncio.timeout(5):
        while True:
            message = await socket.receive()
            if message.type is aiohttp.WSMsgType.CLOSE:
                return message.data, str(message.extra)
            assert message.type is aiohttp.WSMsgType.TEXT, message


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 24_000, 48_000])
async def test_sound_reaches_the_sessions_listener(rate_hz: int) -> None:
    async with session() as (client, _, sid, given):
        async with client.ws_connect(f"{PATH}?sessionid={sid}&rate={rate_hz}") as socket:
            data = sound(1.0, rate_hz)
            for begin in range(0, len(data), 1001):
                await socket.send_bytes(data[begin : begin + 1001])
            await until(lambda: given and given[0].frames >= 48)
            assert given[0].level_dbfs == pytest.approx(-12, abs=0.2)
            assert not given[0].closed
        await until(lambda: given[0].closed)
        assert len(given) == 1


async def test_events_of_the_session_come_back() -> None:
    async with session() as (client, stage, sid, given), client.ws_connect(f"{PATH}?sessionid={sid}") as socket:
        await until(lambda: given)
        stage.reals[sid].hear("transcript.final", text="你好", language="zh")
        event = await socket.receive_json(timeout=5)
        assert (event["event"], event["text"], event["turn"]) == ("transcript.final", "你好", 0)


async def test_end_of_the_session_closes_the_socket() -> None:
    async with session() as (client, stage, sid, given):
        async with client.ws_connect(f"{PATH}?sessionid={sid}") as socket:
            await until(lambda: given)
            stage.peers[sid].on_closed()
            assert await socket.receive_json(timeout=5) == {"event": "session.ended"}
            assert await closing(socket) == (1001, "the session has ended")
        await until(lambda: given[0].closed)


BROKEN = {
    "text": ("hello", 1003, "only binary messages"),
    "chunk too large": (bytes(32_002), 1008, "at most 32000"),
    "message too large": (bytes(100_000), 1009, ""),
}


@pytest.mark.parametrize(("sent", "code", "reason"), BROKEN.values(), ids=BROKEN.keys())
async def test_what_is_no_microphone_is_closed_with_a_reason(sent: str | bytes, code: int, reason: str) -> None:
    async with session() as (client, _, sid, given):
        async with client.ws_connect(f"{PATH}?sessionid={sid}") as socket:
            await (socket.send_str(sent) if isinstance(sent, str) else socket.send_bytes(sent))
            found, said = await closing(socket)
            assert found == code and reason in said
        await until(lambda: given[0].closed)


async def test_a_file_sent_at_once_is_closed_with_a_reason() -> None:
    async with session() as (client, _, sid, given):
        async with client.ws_connect(f"{PATH}?sessionid={sid}") as socket:
            for _ in range(8):
                await socket.send_bytes(sound(1.0))
            code, reason = await closing(socket)
            assert code == 1008 and "ahead of time" in reason
        assert given[0].frames <= 300, "nothing piles up"


async def test_one_microphone_at_a_time() -> None:
    async with session() as (client, _, sid, given):
        async with client.ws_connect(f"{PATH}?sessionid={sid}"):
            response = await client.get(f"{PATH}?sessionid={sid}", headers=UPGRADE)
            assert response.status == 409 and "already" in (await response.json())["msg"]
        await until(lambda: given[0].closed)
        async with client.ws_connect(f"{PATH}?sessionid={sid}"):
            await until(lambda: len(given) == 2)


UPGRADE = {
    "Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}  # fmt: skip


@pytest.mark.parametrize(
    ("query", "headers", "status", "said"),
    [
        ("sessionid=12345", UPGRADE, 404, "12345"),
        ("sessionid={sid}&rate=44100", UPGRADE, 400, "44100 Hz"),
        ("sessionid={sid}&rate=fast", UPGRADE, 400, "rate"),
        ("sessionid={sid}", {}, 400, "ws://"),
        ("sessionid={sid}", {**UPGRADE, "Origin": "http://evil.example"}, 403, "evil.example"),
    ],
)
async def test_refusals_are_explained(query: str, headers: dict[str, str], status: int, said: str) -> None:
    async with session() as (client, _, sid, given):
        response = await client.get(f"{PATH}?{query.format(sid=sid)}", headers=headers)
        assert response.status == status and said in (await response.json())["msg"]
        assert given == []


async def test_server_without_listeners_says_so() -> None:
    async with serving() as (client, stage):
        sid = await connect(client)
        stage.peers[sid].on_microphone = None
        response = await client.get(f"{PATH}?sessionid={sid}", headers=UPGRADE)
        assert response.status == 409 and "takes no microphones" in (await response.json())["msg"]


async def test_key_is_wanted_and_may_be_in_the_query() -> None:
    async with serving(api_key="secret") as (client, stage):
        headers = {"X-API-Key": "secret"}
        response = await client.post("/offer", json=OFFER, headers=headers)
        sid = (await response.json())["sessionid"]
        given: list[Microphone] = []
        stage.peers[sid].on_microphone = given.append
        assert (await client.get(f"{PATH}?sessionid={sid}", headers=UPGRADE)).status == 401
        async with client.ws_connect(f"{PATH}?sessionid={sid}&api_key=secret"):
            await until(lambda: given)


async def test_client_that_vanishes_frees_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server.listen, "HEARTBEAT_S", 0.1)
    async with session() as (client, _, sid, given):
        socket = await client.ws_connect(f"{PATH}?sessionid={sid}", autoping=False)  # answers no ping
        await until(lambda: given and given[0].closed)
        await socket.close()
        async with client.ws_connect(f"{PATH}?sessionid={sid}"):
            await until(lambda: len(given) == 2)
