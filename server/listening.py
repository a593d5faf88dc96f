"""What a page says of its microphone, apart from the sound, which comes by WebRTC."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from errors import Conflict
from server.endpoint import Call, Endpoint, OfSession

TAG = "listening"


class ListeningRequest(OfSession):
    """What a button says."""

    action: Literal["mute", "unmute", "press", "release"] = Field(
        description="press and release are push-to-talk: between them is one utterance"
    )


async def listening(call: Call[ListeningRequest]) -> None:
    """Mute, unmute, or talk while a button is held."""
    session = call.services.sessions.get(call.given.sessionid)
    if session.attention is None:
        reason = call.services.deaf() or "no sound has come from its microphone yet"
        raise Conflict(f"session {session.id} is not listened to: {reason}")
    await session.attention.act(call.given.action)


ENDPOINTS: tuple[Endpoint[Any], ...] = (
    Endpoint(
        "POST", "/api/listening", listening,
        "Mute or unmute a session's microphone, or talk while a button is held.",
        "静音、取消静音，或按住说话。",
        TAG, ListeningRequest, "json", statuses=(404, 409),
    ),
)  # fmt: skip
