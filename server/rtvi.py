"""RTVI, pipecat's client protocol, on our data channel: its client SDKs connect, hear of everything and make her speak.

`Rtvi` obeys a client and tells it what `Narrator` says; `/api/offer` is where `SmallWebRTCTransport` connects.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from typing import Annotated, Any, Literal, cast

from aiohttp import web
from pydantic import BeforeValidator, Field

from errors import BadRequest, Busy, Conflict, NotFound, Unprocessable, VisageError
from media import Event
from server import human, offer
from server.endpoint import Call, Endpoint, Fields, Services
from server.narrator import LABEL, Narrator, message
from server.openapi import VERSION
from server.reading import understood
from sessions.session import Session
from transport.channel import EventChannels, Message, Send

PROTOCOL = "2.1.0"
COMMANDS_MAX = 16  # of one client, being obeyed at once
ID_CHARACTERS_MAX = 64


class SendText(Fields):
    """What `send-text` carries."""

    class Options(Fields):
        """How it is to be taken."""

        run_immediately: bool = True
        audio_response: bool = True

    content: Annotated[str, BeforeValidator(human.clean)] = Field(min_length=1, max_length=human.TEXT_CHARACTERS_MAX)
    options: Options | None = None


class Rtvi:
    """One client that speaks RTVI.

    Args:
        services: the server's.
        session: the client's.
        send: sends a message to it.
        answer: what becomes of a text it sends: `chat` answers it, `echo` speaks it.
    """

    def __init__(self, services: Services, session: Session, send: Send, answer: Literal["chat", "echo"]) -> None:
        self._services = services
        self._session = session
        self._send = send
        self._answer = answer
        self._narrator = Narrator()
        self._obeying = 0

    def heard(self, event: Event, at_s: float) -> Iterable[Message]:
        """See `transport.channel.Dialect`."""
        return self._narrator.tell(event)

    def farewell(self) -> Iterable[Message]:
        """SmallWebRTC's word for "the other side left"."""
        return [{"type": "signalling", "message": {"type": "peerLeft"}}]

    def told(self, message_: Message) -> None:
        """See `transport.channel.Dialect`."""
        if message_.get("label") != LABEL:
            return  # signalling: which of the client's tracks are enabled; their silence says as much
        id_ = str(message_.get("id") or "")[:ID_CHARACTERS_MAX]
        if self._obeying >= COMMANDS_MAX:
            self._refuse(id_, Busy(f"{COMMANDS_MAX} messages are being worked on, no more are taken"))
            return
        self._session.touch()
        self._obeying += 1
        task = self._session.spawn(self._obey(str(message_.get("type")), message_.get("data"), id_), "rtvi")
        task.add_done_callback(lambda _: self._done())

    def _done(self) -> None:
        self._obeying -= 1

    def _refuse(self, id_: str, error: Exception) -> None:
        self._send(message("error-response", {"error": str(error)}, id_))

    async def _obey(self, type_: str, data: Any, id_: str) -> None:
        try:
            if type_ == "client-ready":
                about = {"library": "visage", "library_version": VERSION, "session_id": self._session.id}
                self._send(message("bot-ready", {"version": PROTOCOL, "about": about}, id_))
            elif type_ == "send-text":
                await self._take_text(understood(SendText, _object(data, type_)))
            elif type_ == "disconnect-bot":
                await self._services.sessions.close(self._session.id)
            elif type_ == "client-message":
                await self._client_message(_object(data, type_), id_)
            else:
                raise NotFound(
                    f"message type {type_[:60]!r} is not known here; known are client-ready, send-text, client-message "
                    "and disconnect-bot"
                )
        except VisageError as error:
            self._refuse(id_, error)

    async def _take_text(self, given: SendText) -> None:
        options = given.options or SendText.Options()
        if not options.audio_response:
            raise Unprocessable("audio_response was false; every reply here is spoken, so it must be true or absent")
        if not options.run_immediately:
            self._session.conversation.ask(given.content)  # part of the next question
            return
        await self._speak(self._answer, given.content)

    async def _client_message(self, data: dict[str, Any], id_: str) -> None:
        """Our own commands, for which RTVI leaves room: `{t, d}`."""
        name, details = data.get("t"), data.get("d")
        if name == "say":
            await self._speak("echo", str(_object(details, "say").get("text", "")))
        elif name == "interrupt":
            human.interrupt_session(self._services, self._session)
        else:
            raise NotFound(f"client-message t {str(name)[:60]!r} is not known; known are say {{text}} and interrupt")
        self._send(message("server-response", {"t": name, "d": {"ok": True}}, id_))

    async def _speak(self, type_: str, text: str) -> None:
        values = {"sessionid": self._session.id, "type": type_, "text": text, "interrupt": True}
        # It came by no HTTP request, and `human` does not look at one.
        await human.human(Call(cast(web.Request, None), self._services, understood(human.HumanRequest, values)))


def _object(data: Any, of: str) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise BadRequest(f"the data of {of} was {type(data).__name__}; it must be an object")
    return data


def attach(services: Services, session: Session, answer: Literal["chat", "echo"] = "chat") -> None:
    """Let a session's client speak RTVI, from before it has connected: on a data channel that is called so, or once it
    says something of RTVI or SmallWebRTC there.

    Args:
        services: the server's.
        session: the client's.
        answer: see `Rtvi`.
    """
    channels = getattr(session.peer, "channels", None)
    if not isinstance(channels, EventChannels):
        return

    def adopt(label: str, message_: Message, send: Send) -> Rtvi | None:
        asked = message_.get("label") == LABEL or message_.get("type") == "signalling" or "rtvi" in label.lower()
        return Rtvi(services, session, send, answer) if asked else None

    channels.adopt = adopt


class RequestData(Fields):
    """What a client may wish for in `webrtcRequestParams.requestData`."""

    avatar: str = Field(default="", max_length=64, description="Id of GET /api/avatars; empty: the default")
    refaudio: str = Field(default="", max_length=human.NAME_CHARACTERS_MAX, description="Id of GET /api/speech/voices")
    text: Literal["chat", "echo"] = Field(
        default="chat", description="chat: sent text is answered by the language model; echo: it is spoken as it is"
    )


class RtviOffer(Fields):
    """What `SmallWebRTCTransport` posts."""

    sdp: str = Field(min_length=1, description="Offer; its ICE candidates may follow by PATCH")
    type: Literal["offer"] = Field(description="offer")
    pc_id: str | None = Field(default=None, max_length=64, description="As answered; connects anew in its place")
    restart_pc: bool = Field(default=False, description="True: the connection of pc_id is to be replaced")
    requestData: RequestData | None = Field(default=None, description="avatar, voice and what becomes of sent text")


class Candidate(Fields):
    """One address of the client's."""

    candidate: str = Field(max_length=1_000)
    sdp_mid: str | None = Field(default=None, max_length=64)
    sdp_mline_index: int | None = None


class Trickle(Fields):
    """Addresses found after the offer."""

    pc_id: str = Field(min_length=1, max_length=64, description="As answered by POST /api/offer")
    candidates: list[Candidate] = Field(default_factory=list, max_length=200, description="ICE candidates")


async def rtvi_offer(call: Call[RtviOffer]) -> web.StreamResponse:
    """Open a session for a client that speaks RTVI."""
    given, sessions = call.given, call.services.sessions
    if given.pc_id and given.pc_id in (session.id for session in sessions):
        if not given.restart_pc:
            raise Conflict(f"pc_id {given.pc_id} is connected and cannot be renegotiated: offer with restart_pc true")
        await sessions.close(given.pc_id)
    wish = given.requestData or RequestData()
    values = {"sdp": given.sdp, "type": given.type, "avatar": wish.avatar, "refaudio": wish.refaudio}
    answered = await offer.offer(dataclasses.replace(call, given=understood(offer.OfferRequest, values)))  # type: ignore[arg-type]
    assert isinstance(answered, web.Response) and answered.text is not None
    body = json.loads(answered.text)
    session = sessions.get(body["sessionid"])
    attach(call.services, session, wish.text)
    answer = {"sdp": body["sdp"], "type": body["type"], "pc_id": session.id, "sessionid": session.id}
    return web.json_response({"code": 0, "msg": "ok", **answer})  # the transport looks for them at the top


async def rtvi_trickle(call: Call[Trickle]) -> None:
    """Take note that the client has more addresses.

    They are not used: the client checks every address of the answer from each of its own, and so reveals them.
    """
    call.services.sessions.get(call.given.pc_id)


ENDPOINTS: tuple[Endpoint[Any], ...] = (
    Endpoint(
        "POST", "/api/offer", rtvi_offer,
        "Connect pipecat's client SDKs (SmallWebRTCTransport): answers {sdp, type, pc_id, sessionid} beside code and "
        "msg; the data channel speaks RTVI.",
        "供 pipecat 客户端 SDK（SmallWebRTCTransport）连接：返回 {sdp, type, pc_id, sessionid}；数据通道为 RTVI。",
        "rtvi", RtviOffer, "json", statuses=(404, 409, 413, 422, 429, 503),
    ),
    Endpoint(
        "PATCH", "/api/offer", rtvi_trickle,
        "ICE candidates that pipecat's client finds after its offer.", "pipecat 客户端在 offer 之后发现的 ICE 候选。",
        "rtvi", Trickle, "json", statuses=(404, 413),
    ),
)  # fmt: skip
