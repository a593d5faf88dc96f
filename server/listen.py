"""`/api/listen`: a session's microphone for clients without WebRTC sound, and the session's events, on one WebSocket.

binary: s16le mono, as it is captured -> ... <- text: events, as in `GET /sse`
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import aiohttp
from aiohttp import web
from pydantic import Field

from errors import BadRequest, Conflict, VisageError
from listening.microphone import Microphone
from listening.sources import RATES_HZ, PcmSource
from server.endpoint import Call, Endpoint, OfSession
from server.events import Stream, message
from sessions.session import Session

HEARTBEAT_S = 10.0  # a client that answers no ping for half as long is gone
SPARE_BYTES = 1024  # so that a chunk a little too large gets our reason, not the library's
POLL_S = 3600.0  # events are waited for without end; the stream wants a number
REASON_BYTES_MAX = 123  # RFC 6455, 5.5

HEARD = web.AppKey("heard", set[str])
"""Ids of the sessions that are heard through a WebSocket; one each."""


class ListenRequest(OfSession):
    """Whose microphone it is, and of what kind."""

    rate: int = Field(default=16_000, description=f"Samples per second: {', '.join(map(str, RATES_HZ))}")


async def listen(call: Call[ListenRequest]) -> web.StreamResponse:
    """Hear a client until it, or its session, ends."""
    session, request = call.services.sessions.get(call.given.sessionid), call.request
    microphone = Microphone()
    source = PcmSource(microphone, call.given.rate)
    socket = web.WebSocketResponse(heartbeat=HEARTBEAT_S, max_msg_size=source.chunk_bytes_max + SPARE_BYTES)
    if not socket.can_prepare(request):
        raise BadRequest("this is a WebSocket: connect with ws:// or wss://")
    with _claimed(call, session) as begin:
        await socket.prepare(request)
        begin(microphone)
        try:
            async with _telling(socket, session):
                await _hear(socket, source)
        finally:
            source.close()
    return socket


@contextlib.contextmanager
def _claimed(call: Call[ListenRequest], session: Session) -> Iterator[Callable[[Microphone], None]]:
    """How to begin to listen to a microphone of `session`, which is nobody else's meanwhile."""
    heard, begin = call.request.app[HEARD], session.peer.on_microphone
    if begin is None:
        raise Conflict(f"session {session.id} is not listened to: this server takes no microphones")
    if session.id in heard or session.attention is not None:
        raise Conflict(f"session {session.id} is listened to already: it has one microphone")
    heard.add(session.id)
    try:
        yield begin
    finally:
        heard.discard(session.id)


async def _hear(socket: web.WebSocketResponse, source: PcmSource) -> None:
    async for received in socket:
        if received.type is not aiohttp.WSMsgType.BINARY:
            code = aiohttp.WSCloseCode.UNSUPPORTED_DATA
            return await _close(socket, code, "only binary messages are taken: s16le mono sound")
        try:
            source.feed(received.data)
        except VisageError as error:
            return await _close(socket, aiohttp.WSCloseCode.POLICY_VIOLATION, str(error))


@contextlib.asynccontextmanager
async def _telling(socket: web.WebSocketResponse, session: Session) -> AsyncIterator[None]:
    """Meanwhile the client is told of all events, and the session's end closes the socket."""
    stream = Stream(asyncio.get_running_loop())
    unsubscribe = session.real.events.subscribe(stream)
    telling = asyncio.create_task(_tell(socket, stream), name=f"events of {session.id}")
    ending = asyncio.create_task(_end(socket, session, telling), name=f"end of {session.id}")
    try:
        yield
    finally:
        unsubscribe()
        telling.cancel()
        if not session.closed.is_set():
            ending.cancel()
        await asyncio.gather(telling, ending, return_exceptions=True)


async def _tell(socket: web.WebSocketResponse, stream: Stream) -> None:
    while True:
        item = await stream.next(POLL_S)
        if item is not None:
            await socket.send_str(json.dumps(message(*item), ensure_ascii=False))


async def _end(socket: web.WebSocketResponse, session: Session, telling: asyncio.Task[None]) -> None:
    await session.closed.wait()
    telling.cancel()
    with contextlib.suppress(ConnectionError):
        await socket.send_str(json.dumps({"event": "session.ended"}))
    await _close(socket, aiohttp.WSCloseCode.GOING_AWAY, "the session has ended")


async def _close(socket: web.WebSocketResponse, code: int, reason: str) -> None:
    cut = reason.encode()[:REASON_BYTES_MAX].decode(errors="ignore")  # no half character
    await socket.close(code=code, message=cut.encode())


ENDPOINTS: tuple[Endpoint[Any], ...] = (
    Endpoint(
        "GET", "/api/listen", listen,
        "WebSocket: a session's microphone as binary s16le mono, sent as it is captured, at most 1 s a message; out "
        "come its events as in GET /sse. For clients whose offer sends no sound. Not a WebSocket: 400.",
        "WebSocket：以二进制 s16le 单声道发送会话的麦克风声音（随采随发，每条至多 1 秒），返回与 GET /sse 相同的事件。",
        "listening", ListenRequest, "query", statuses=(400, 404, 409), key_in_query=True,
    ),
)  # fmt: skip
