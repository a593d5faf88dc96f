"""Connecting and leaving: `/offer` and `DELETE /session/{sessionid}`."""

from __future__ import annotations

import asyncio
import json
from typing import Annotated, Any, Literal

from aiohttp import web
from pydantic import BaseModel, BeforeValidator, Field

from errors import BadRequest, NotFound, Unprocessable
from server.endpoint import Call, Endpoint, Fields
from server.human import NAME_CHARACTERS_MAX, find_voice
from sessions.session import Wish

SDP_CHARACTERS_MAX = 200_000
ACTIONS_MAX = 64


def _absent(value: object) -> object:
    """Pages send null or leave a field out for "none"."""
    return "" if value is None else value


Optional = BeforeValidator(_absent)


class OfferRequest(Fields):
    """A browser's offer."""

    sdp: str = Field(min_length=1, max_length=SDP_CHARACTERS_MAX, description="Offer with all its ICE candidates")
    type: Literal["offer"] = Field(description="offer")
    avatar: Annotated[str, Optional] = Field(
        default="", max_length=64, description="Id of GET /api/avatars; empty: the default"
    )
    refaudio: Annotated[str, Optional] = Field(
        default="",
        max_length=NAME_CHARACTERS_MAX,
        description="Voice of the session: id of GET /api/speech/voices, a library voice's `speak_as`, or another name "
        "that its engine knows; empty: by language",
    )
    reftext: Annotated[str, Optional] = Field(
        default="", max_length=2_000, description="Transcript of a reference recording"
    )
    custom_config: Annotated[str, Optional] = Field(
        default="",
        max_length=20_000,
        description="JSON text: [{audiotype, imgpath, audiopath?}], paths inside the avatar",
    )


class OfferAnswer(BaseModel):
    """What the browser sets as its remote description."""

    code: int = Field(default=0, description="0")
    sdp: str = Field(description="Answer with all candidates")
    type: str = Field(description="answer")
    sessionid: str = Field(description="Up to 15 decimal digits, for every other call")


class SessionRequest(Fields):
    """Which session."""

    sessionid: str = Field(pattern=r"^[1-9]\d{0,14}$", description="Id answered by POST /offer")


async def offer(call: Call[OfferRequest]) -> web.StreamResponse:
    """Open a session and answer its offer."""
    services, given = call.services, call.given
    _check_sdp(given.sdp)
    if given.avatar:
        known = [avatar.id for avatar in await asyncio.to_thread(services.avatars)]
        if given.avatar not in known:
            some = ", ".join(known[:5])
            raise NotFound(
                f"avatar {given.avatar!r} does not exist; there are {some or 'none'}",
                zh=f"形象 {given.avatar!r} 不存在；现有：{some or '无'}",
            )
    voice = await find_voice(services, given.refaudio, call.user) or ""
    _check_actions(given.custom_config)
    wish = Wish(given.avatar, voice, given.reftext, given.custom_config, call.user.id)
    session, sdp, kind = await services.sessions.open(wish, given.sdp, given.type)
    return web.json_response({"code": 0, "sdp": sdp, "type": kind, "sessionid": session.id})


def _check_sdp(sdp: str) -> None:
    """Refuse cheaply what cannot become a connection."""
    lines = sdp.split("\n", 1)[0].strip()
    if lines != "v=0":
        raise Unprocessable("sdp is not a session description: it must begin with v=0")
    if not any(f"\nm={kind} " in sdp for kind in ("video", "audio")):
        raise Unprocessable("sdp offers no media: it needs an m=video or m=audio section")


def _check_actions(text: str) -> None:
    if not text:
        return
    try:
        items = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"custom_config is not JSON: {error}") from error
    if not isinstance(items, list) or len(items) > ACTIONS_MAX or not all(isinstance(item, dict) for item in items):
        raise BadRequest(
            f"custom_config must be a list of at most {ACTIONS_MAX} objects {{audiotype, imgpath, audiopath}}"
        )


async def end(call: Call[SessionRequest]) -> None:
    """End a session."""
    await call.services.sessions.close(call.given.sessionid)


ENDPOINTS: tuple[Endpoint[Any], ...] = (
    Endpoint(
        "POST", "/offer", offer,
        "Connect: a WebRTC offer in, the answer and the session's id out.",
        "建立连接：提交 WebRTC offer，返回 answer 与会话 id。",
        "session", OfferRequest, "json", data=OfferAnswer, statuses=(404, 413, 422, 429, 503),
    ),
    Endpoint(
        "DELETE", "/session/{sessionid}", end,
        "End a session and free what it held.", "结束会话并释放资源。",
        "session", SessionRequest, "path", statuses=(404,),
    ),
)  # fmt: skip
