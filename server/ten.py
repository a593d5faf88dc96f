"""The server behind TEN's `generic_video` extension: an agent starts an avatar and speaks through it.

    POST start -> {session_id, websocket_address, session_token} -> WebSocket: init, voice ..., voice_end -> DELETE stop

After `generic_video_python` of TEN-framework/ten-framework. Its avatars appear on an Agora channel; ours is watched
over our own WebRTC: `watch_url` of the start's answer is a page that shows it, and may be framed.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import hmac
import json
import logging
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any, Literal

import aiohttp
from aiohttp import web
from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from errors import BadRequest, NotFound, Unauthorized, VisageError
from server import offer
from server.endpoint import SERVICES, Call, Endpoint, Fields, Nothing
from server.reading import understood
from server.security import identify_user
from server.tenroom import Room, Rooms
from sessions.manager import SessionManager
from sessions.session import Session

PAGE = Path(__file__).with_name("ten.html")
MESSAGE_BYTES_MAX = 1 << 20  # 8 s of 48 kHz sound in base64
SILENCE_TIMEOUT_S = 60.0  # the extension says `heartbeat` every 10 s
SWEEP_INTERVAL_S = 1.0
TAG = "ten"
ROOMS = web.AppKey("ten rooms", Rooms)
RoomId = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$", description="session_id of the start's answer")]

log = logging.getLogger(__name__)


class StartRequest(Fields):
    """What the extension asks for; quality, version, video_encoding and agora_settings change nothing here."""

    avatar_id: str = Field(default="", max_length=64, description="Id of GET /api/avatars; empty: the default")
    activity_idle_timeout: int = Field(
        default=120, ge=10, le=3600, description="Seconds without a word of the agent's, heartbeats included"
    )


class StopRequest(Fields):
    """Which avatar is to be stopped."""

    session_id: RoomId


class WatchRequest(Fields):
    """A viewer's offer."""

    session_id: RoomId
    watch_token: str = Field(max_length=64, description="Of watch_url")
    sdp: str = Field(min_length=1, description="Offer")
    type: Literal["offer"] = Field(description="offer")


class SpokenRoom(Fields):
    """Whose voice this is."""

    session_id: RoomId


class Init(BaseModel):
    """The first command."""

    command: Literal["init"]
    session_id: str = ""


class VoiceCommand(BaseModel):
    """More sound."""

    command: Literal["voice"]
    audio: str
    sampleRate: int = 24_000
    encoding: Literal["PCM16"] = "PCM16"


class Other(BaseModel):
    """What needs no fields."""

    command: Literal["voice_end", "voice_interrupt", "heartbeat"]


Command = Annotated[Init | VoiceCommand | Other, Field(discriminator="command")]
COMMAND: TypeAdapter[Init | VoiceCommand | Other] = TypeAdapter(Command)


def _rooms(request: web.Request) -> Rooms:
    return request.app[ROOMS]


def _room(request: web.Request, session_id: str) -> Room:
    room = _rooms(request).rooms.get(session_id)
    if room is None:
        raise NotFound(f"session_id {session_id!r} is not a started avatar: POST /api/ten/start first")
    return room


def _bearer(request: web.Request) -> str:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _same(given: str, wanted: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "replace"), wanted.encode())


async def ten_start(call: Call[StartRequest]) -> web.StreamResponse:
    """Start an avatar; nobody needs to watch it yet."""
    request, services, given = call.request, call.services, call.given
    if given.avatar_id:
        known = [avatar.id for avatar in await asyncio.to_thread(services.avatars)]
        if given.avatar_id not in known:
            raise NotFound(f"avatar_id {given.avatar_id!r} does not exist; there are {', '.join(known[:5]) or 'none'}")
    limit = services.sessions.max_session
    room = _rooms(request).open(given.avatar_id, float(given.activity_idle_timeout), limit)
    secure = request.headers.get("X-Forwarded-Proto", request.scheme) == "https"
    place = f"{request.host}/api/ten"
    answer = {
        "session_id": room.id,
        "websocket_address": f"{'wss' if secure else 'ws'}://{place}/voice/{room.id}",
        "session_token": room.token,
        "watch_url": f"{'https' if secure else 'http'}://{place}/page#{room.id}.{room.watch_token}",
        "watch_token": room.watch_token,
    }
    return web.json_response({"code": 0, "msg": "ok", **answer})


async def ten_stop(call: Call[StopRequest]) -> None:
    """Stop an avatar; an agent that has lost its token, as after a restart, comes with the API key."""
    room = _room(call.request, call.given.session_id)
    token = _bearer(call.request)
    if not _same(token, room.token):
        if token:
            raise Unauthorized("the session token is wrong")
        await identify_user(call.request, call.services, in_query=False)
    await _end(call.request.app, room)


async def _end(app: web.Application, room: Room) -> None:
    session = app[ROOMS].close(room)
    if session is not None:
        await _leave(app[SERVICES].sessions, session)


async def _leave(sessions: SessionManager, session: Session) -> None:
    with contextlib.suppress(NotFound):  # it is closing by itself
        await sessions.close(session.id)


async def ten_watch(call: Call[WatchRequest]) -> web.StreamResponse:
    """Show an avatar to whoever offers, in the place of whoever watched before."""
    given, sessions = call.given, call.services.sessions
    room = _room(call.request, given.session_id)
    if not _same(given.watch_token, room.watch_token):
        raise Unauthorized("the watch token is wrong")
    if room.watched is not None:
        await _leave(sessions, room.watched)
    values = {"sdp": given.sdp, "type": given.type, "avatar": room.avatar}
    request = understood(offer.OfferRequest, values)
    answered = await offer.offer(dataclasses.replace(call, given=request))  # type: ignore[arg-type]
    assert isinstance(answered, web.Response) and answered.text is not None
    room.session = sessions.get(json.loads(answered.text)["sessionid"])
    return answered


async def ten_page(call: Call[Nothing]) -> web.StreamResponse:
    """The page that `watch_url` names; what it shows is behind `#`, which browsers keep to themselves."""
    return web.FileResponse(PAGE, headers={"Cache-Control": "no-cache"})


async def ten_voice(call: Call[SpokenRoom]) -> web.StreamResponse:
    """Obey an agent until it leaves."""
    room = _room(call.request, call.given.session_id)
    socket = web.WebSocketResponse(max_msg_size=MESSAGE_BYTES_MAX)
    if not socket.can_prepare(call.request):
        raise BadRequest("this is a WebSocket: connect with ws:// or wss://")
    if not _same(_bearer(call.request), room.token):
        raise Unauthorized("the session token is missing or wrong: send Authorization: Bearer session_token")
    await socket.prepare(call.request)
    room.connections += 1
    mine = room.connections
    try:
        await _obey(call, room, socket, mine)
    finally:
        if room.connections == mine:
            room.end_voice()
    return socket


async def _obey(call: Call[SpokenRoom], room: Room, socket: web.WebSocketResponse, mine: int) -> None:
    rooms = _rooms(call.request).rooms
    while True:
        try:
            message = await socket.receive(timeout=SILENCE_TIMEOUT_S)
        except TimeoutError:
            log.info("avatar %s: nothing heard of its agent for %.0f s", room.id, SILENCE_TIMEOUT_S)
            return
        if message.type not in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
            return
        if room.connections != mine or room.id not in rooms:
            await socket.close(message=b"another connection speaks, or the avatar was stopped")
            return
        room.touch()
        try:
            answer = await _do(room, message.data)
        except VisageError as error:
            answer = {"event": "error", "message": str(error)}
        if answer is not None:
            await socket.send_str(json.dumps(answer, ensure_ascii=False))


async def _do(room: Room, text: str | bytes) -> dict[str, Any] | None:
    """Obey one command; what there is to say to it."""
    try:
        command = COMMAND.validate_json(text)
    except (ValidationError, RecursionError) as error:
        problem = error.errors(include_url=False)[0]["msg"] if isinstance(error, ValidationError) else "nested too deep"
        raise BadRequest(f"the command is not understood: {problem}") from error
    if isinstance(command, Init):
        if command.session_id not in ("", room.id):
            raise BadRequest(f"session_id was {command.session_id[:60]!r}; this connection is {room.id}'s")
        return {"event": "ready", "session_id": room.id}
    if isinstance(command, VoiceCommand):
        first = room.unheard_s == 0
        await room.speak(command.audio, command.sampleRate)
        return {"event": "unheard", "message": "nobody watches: open watch_url"} if first and room.unheard_s else None
    if command.command == "voice_end":
        room.end_voice()
    elif command.command == "voice_interrupt":
        room.interrupt()
    return None


async def live(app: web.Application) -> AsyncIterator[None]:
    """Stop the avatars whose agents have gone, for as long as the application lives."""
    sweeper = asyncio.create_task(_sweep(app), name="ten sweeper")
    yield
    sweeper.cancel()
    await asyncio.gather(sweeper, return_exceptions=True)


async def _sweep(app: web.Application) -> None:
    while True:
        await asyncio.sleep(SWEEP_INTERVAL_S)
        for room in app[ROOMS].idle(time.monotonic()):
            log.info("avatar %s: its agent said nothing for %.0f s, stopped", room.id, room.idle_timeout_s)
            await _end(app, room)


ENDPOINTS: tuple[Endpoint[Any], ...] = (
    Endpoint(
        "POST", "/api/ten/start", ten_start,
        "Start an avatar for TEN's generic_video extension (its start_endpoint): answers {session_id, "
        "websocket_address, session_token, watch_url, watch_token} beside code and msg.",
        "为 TEN 的 generic_video 扩展启动数字人（其 start_endpoint）。",
        TAG, StartRequest, "json", statuses=(404, 429),
    ),
    Endpoint(
        "DELETE", "/api/ten/stop", ten_stop,
        "Stop it (its stop_endpoint), with Authorization: Bearer session_token.", "停止（其 stop_endpoint）。",
        TAG, StopRequest, "json", statuses=(401, 404), locked=False,
    ),
    Endpoint(
        "GET", "/api/ten/voice/{session_id}", ten_voice,
        "WebSocket of the extension, with Authorization: Bearer session_token: init, voice, voice_end, "
        "voice_interrupt, heartbeat. Not a WebSocket: 400.",
        "扩展的 WebSocket：init、voice、voice_end、voice_interrupt、heartbeat。",
        TAG, SpokenRoom, "path", statuses=(401, 404), locked=False,
    ),
    Endpoint(
        "POST", "/api/ten/watch", ten_watch,
        "Watch it by WebRTC: answers {sdp, type, sessionid} beside code and msg.",
        "通过 WebRTC 观看，返回 {sdp, type, sessionid}。",
        TAG, WatchRequest, "json", statuses=(401, 404, 413, 422, 429, 503), locked=False,
    ),
    Endpoint(
        "GET", "/api/ten/page", ten_page,
        "The page of watch_url.", "watch_url 的页面。",
        TAG, Nothing, media="text/html", locked=False,
    ),
)  # fmt: skip
