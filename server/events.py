"""`GET /sse`: a session's events as they are played out, in LiveTalking's shape with our names beside it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from typing import Any

from aiohttp import web

from media import Event
from server.endpoint import Call, Endpoint, OfSession
from sessions.session import Session

QUEUE_EVENTS_MAX = 256
HEARTBEAT_S = 10.0
RECONNECT_MS = 2_000
STATUS = {"speech.started": "start", "speech.ended": "end", "interrupted": "end"}
"""LiveTalking's `status` of our events: one start and one end for each text or recording."""


class Stream:
    """One client's events, bounded: a client that does not read loses the oldest."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._queue: asyncio.Queue[tuple[Event, float]] = asyncio.Queue(QUEUE_EVENTS_MAX)

    def __call__(self, event: Event, at: float) -> None:
        """Take an event; called on the playout's thread."""
        with contextlib.suppress(RuntimeError):  # the loop is closed when the server is going down
            self._loop.call_soon_threadsafe(self._put, event, at)

    def _put(self, event: Event, at: float) -> None:
        if self._queue.full():
            self._queue.get_nowait()
        self._queue.put_nowait((event, at))

    async def next(self, patience_s: float) -> tuple[Event, float] | None:
        """The next event, or None when none came for `patience_s`."""
        try:
            async with asyncio.timeout(patience_s):
                return await self._queue.get()
        except TimeoutError:
            return None


def message(event: Event, at: float) -> dict[str, Any]:
    """An event as LiveTalking's clients read it: `status` start or end, `text`, and ours: `event`, `turn`, `time`."""
    body: dict[str, Any] = {}
    if event.name in STATUS:
        body["status"] = STATUS[event.name]
    body.update(event.data)
    body.update(event=event.name, turn=event.turn, time=round(time.time() - (time.monotonic() - at), 3))
    return body


async def sse(call: Call[OfSession]) -> web.StreamResponse:
    """Stream a session's events until either side ends."""
    session = call.services.sessions.get(call.given.sessionid)
    response = web.StreamResponse(
        headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    )
    stream = Stream(asyncio.get_running_loop())
    unsubscribe = session.real.events.subscribe(stream)
    try:
        await response.prepare(call.request)
        await response.write(f"retry: {RECONNECT_MS}\n\n".encode())
        await _pump(session, stream, response)
    except ConnectionError:
        pass  # the client has gone
    finally:
        unsubscribe()
    return response


async def _pump(session: Session, stream: Stream, response: web.StreamResponse) -> None:
    number = 0
    ended = asyncio.create_task(session.closed.wait())
    following = asyncio.create_task(stream.next(HEARTBEAT_S))
    try:
        while True:
            await asyncio.wait({ended, following}, return_when=asyncio.FIRST_COMPLETED)
            if not following.done():
                break
            item = following.result()
            following = asyncio.create_task(stream.next(HEARTBEAT_S))
            if item is None:
                await response.write(b": alive\n\n")
                continue
            number += 1
            data = json.dumps(message(*item), ensure_ascii=False)
            await response.write(f"id: {number}\ndata: {data}\n\n".encode())
        data = json.dumps({"event": "session.ended"})
        await response.write(f"id: {number + 1}\ndata: {data}\n\n".encode())
        await response.write_eof()
    finally:
        ended.cancel()
        following.cancel()


ENDPOINTS: tuple[Endpoint[Any], ...] = (
    Endpoint(
        "GET", "/sse", sse,
        "Server-sent events, each sent when it is heard: {status: start|end, text, event, turn, time}.",
        "服务器推送事件，随播放发出：{status: start|end, text, event, turn, time}。",
        "session", OfSession, "query", media="text/event-stream", statuses=(404,), key_in_query=True,
    ),
)  # fmt: skip
