"""What the server says about itself: health, figures, settings, sessions, avatars, voices."""

from __future__ import annotations

import time
from typing import Any

from aiohttp import web
from pydantic import BaseModel, Field

from errors import Unavailable
from media import FPS
from server.endpoint import Call, Endpoint, Nothing
from server.human import TEXT_CHARACTERS_MAX
from server.metrics import CONTENT_TYPE


class IceServer(BaseModel):
    """A STUN or TURN server, as RTCPeerConnection takes it."""

    urls: list[str]
    username: str = ""
    credential: str = ""


class ClientInfo(BaseModel):
    """What a page needs before it connects."""

    ice_servers: list[IceServer] = Field(description="For RTCPeerConnection's iceServers")
    avatar: str = Field(description="The avatar shown when /offer names none")
    chat: bool = Field(description="Whether a language model is configured")
    text_characters_max: int
    upload_mb_max: int
    audio_s_max: int
    avatars: bool = Field(description="Whether avatars of one's own can be made here; see POST /api/avatar/task")
    clip_mb_max: int = Field(description="Largest clip or photo for an avatar, MiB")
    library: bool = Field(description="Whether there is a voice library, with its pages at /voices")
    microphone: bool = Field(description="Whether visitors' microphones are listened to")
    microphone_trouble: str = Field(description="Why not, with what would make it so; empty when they are")


class ConfigInfo(BaseModel):
    """Settings without their secrets, and what the engines say about themselves."""

    config: dict[str, Any]
    engines: dict[str, Any]


class SessionInfo(BaseModel):
    """One open session, with LiveTalking's names."""

    sessionid: str
    speaking: bool
    recording: bool
    model: str
    avatar_id: str
    REF_FILE: str = Field(description="Voice of the session")
    transport: str
    batch_size: int
    customopt: list[int] = Field(description="Custom actions")
    connected: bool
    age_s: float
    stats: dict[str, Any]


class SessionsInfo(BaseModel):
    """All open sessions."""

    sessions: list[SessionInfo]


class Health(BaseModel):
    """How the server is."""

    status: str


def ice_servers(turn: str) -> list[IceServer]:
    """`turn:user:password@host:port` -> what a page's RTCPeerConnection takes; empty for none.

    Browsers reach a relay by UDP only unless its address says otherwise, and it is wanted most where UDP is blocked: an
    address without `?transport=` is told for both.
    """
    if not turn:
        return []
    scheme, _, rest = turn.partition(":")
    login, _, where = rest.rpartition("@")
    user, _, password = login.partition(":")
    both = scheme == "turn" and "?" not in where
    ways = ("?transport=udp", "?transport=tcp") if both else ("",)
    return [IceServer(urls=[f"{scheme}:{where}{way}" for way in ways], username=user, credential=password)]


async def client(call: Call[Nothing]) -> Any:
    """What a page needs before it connects."""
    settings = call.services.settings
    avatars = call.services.avatars()
    deaf = call.services.deaf()
    return ClientInfo(
        ice_servers=ice_servers(settings.turn),
        avatar=settings.avatar_id or (avatars[0].id if avatars else ""),
        chat=call.services.language_model is not None,
        text_characters_max=TEXT_CHARACTERS_MAX,
        upload_mb_max=settings.max_upload_mb,
        audio_s_max=settings.max_audio_s,
        avatars=call.services.avatar_tasks is not None,
        library=call.services.library is not None,
        clip_mb_max=settings.max_clip_mb,
        microphone=deaf is None,
        microphone_trouble=deaf or "",
    ).model_dump()


async def config(call: Call[Nothing]) -> Any:
    """The settings."""
    settings = call.services.settings
    shown = settings.public()
    # LiveTalking's admin page reads these names; pushing is not among our transports.
    shown.update(REF_FILE=settings.ref_file, fps=FPS, push_url="")
    return ConfigInfo(config=shown, engines=call.services.describe()).model_dump(mode="json")


async def sessions(call: Call[Nothing]) -> Any:
    """The open sessions."""
    settings, now = call.services.settings, time.monotonic()
    return SessionsInfo(
        sessions=[
            SessionInfo(
                sessionid=session.id,
                speaking=session.speaking,
                recording=session.recorder is not None,
                model=settings.model,
                avatar_id=session.built.avatar_id,
                REF_FILE=session.wish.voice or settings.ref_file,
                transport=settings.transport,
                batch_size=settings.batch_size,
                customopt=list(session.built.audiotypes),
                connected=session.connected,
                age_s=round(now - session.created, 1),
                stats=session.peer.stats(),
            )
            for session in call.services.sessions
        ]
    ).model_dump(mode="json")


async def healthz(call: Call[Nothing]) -> Any:
    """The process answers."""
    return {"status": "alive"}


async def readyz(call: Call[Nothing]) -> Any:
    """A session could be opened."""
    reason = "the server is shutting down" if call.services.sessions.draining else call.services.not_ready()
    if reason is not None:
        raise Unavailable(reason)
    return {"status": "ready"}


async def metrics(call: Call[Nothing]) -> web.StreamResponse:
    """Prometheus exposition."""
    services = call.services
    counts = await services.library.counts() if services.library is not None else {}
    return web.Response(body=services.metrics.text(counts), headers={"Content-Type": CONTENT_TYPE})


def _get(path: str, handler: Any, en: str, zh: str, tag: str = "server", **rest: Any) -> Endpoint[Nothing]:
    return Endpoint("GET", path, handler, en, zh, tag, Nothing, **rest)


ENDPOINTS: tuple[Endpoint[Any], ...] = (
    _get(
        "/api/client",
        client,
        "What a page needs before it connects.",
        "网页连接前所需信息。",
        "session",
        data=ClientInfo,
    ),
    _get(
        "/api/admin/config",
        config,
        "The settings, without secrets.",
        "当前配置，不含密钥。",
        data=ConfigInfo,
        owner_only=True,
    ),
    _get("/api/admin/sessions", sessions, "The open sessions.", "当前会话列表。", data=SessionsInfo, owner_only=True),
    _get("/healthz", healthz, "The process answers.", "进程存活。", data=Health, locked=False),
    _get("/readyz", readyz, "A session could be opened.", "可以建立会话。", data=Health, locked=False, statuses=(503,)),
    _get("/metrics", metrics, "Figures for Prometheus.", "Prometheus 指标。", media="text/plain", owner_only=True),
)
