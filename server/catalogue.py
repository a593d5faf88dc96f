"""What a client may choose from: avatars and built-in voices."""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp import web
from pydantic import BaseModel, Field

from errors import NotFound
from server.endpoint import Call, Endpoint, Fields, Nothing

TAG = "catalogue"


class AvatarEntry(BaseModel):
    """One avatar."""

    id: str
    name: str = Field(description="In the language of Accept-Language")
    names: dict[str, str] = Field(description="By language: en, zh")
    width: int
    height: int
    fps: int
    licence: str
    poster: str = Field(description="Path of a still")


class Avatars(BaseModel):
    """The avatars there are."""

    avatars: list[AvatarEntry]


class VoiceEntry(BaseModel):
    """One voice."""

    id: str
    engine: str
    languages: list[str] = Field(description="BCP 47 primary tags, best first")
    gender: str = Field(description="female, male or neutral")
    licence: str = Field(description="SPDX identifier of the voice's weights")


class Voices(BaseModel):
    """The voices that can be used now."""

    voices: list[VoiceEntry]


class AvatarRequest(Fields):
    """Which avatar."""

    id: str = Field(pattern=r"^[A-Za-z0-9_-]{1,64}$", description="Id of GET /api/avatars")


async def avatars(call: Call[Nothing]) -> Any:
    """The avatars on disk."""
    cards = await asyncio.to_thread(call.services.avatars)
    language = "zh" if call.request.headers.get("Accept-Language", "").lower().startswith("zh") else "en"
    return Avatars(
        avatars=[
            AvatarEntry(
                id=card.id,
                name=card.names.get(language, card.id),
                names=card.names,
                width=card.width,
                height=card.height,
                fps=card.fps,
                licence=card.licence,
                poster=f"api/avatars/{card.id}/poster",
            )
            for card in cards
        ]
    ).model_dump(mode="json")


async def poster(call: Call[AvatarRequest]) -> web.StreamResponse:
    """An avatar's still."""
    for card in await asyncio.to_thread(call.services.avatars):
        if card.id == call.given.id and card.poster.is_file():
            return web.FileResponse(card.poster, headers={"Cache-Control": "no-cache"})
    raise NotFound(f"avatar {call.given.id!r} does not exist or has no poster; GET /api/avatars lists them")


async def voices(call: Call[Nothing]) -> Any:
    """The built-in voices that can be used now; the library lists its own at `/api/voices`."""
    return Voices(
        voices=[
            VoiceEntry(
                id=voice.id,
                engine=voice.engine,
                languages=list(voice.languages),
                gender=voice.gender,
                licence=voice.licence,
            )
            for voice in call.services.voices()
        ]
    ).model_dump(mode="json")


ENDPOINTS: tuple[Endpoint[Any], ...] = (
    Endpoint("GET", "/api/avatars", avatars, "The avatars there are.", "可用形象列表。", TAG, Nothing, data=Avatars),
    Endpoint(
        "GET", "/api/avatars/{id}/poster", poster,
        "A still of an avatar.", "形象封面图。",
        TAG, AvatarRequest, "path", media="image/jpeg", statuses=(404,),
    ),
    Endpoint(
        "GET", "/api/speech/voices", voices,
        "The voices of the speech engines that can be used now.", "语音引擎当前可用的内置音色。",
        TAG, Nothing, data=Voices,
    ),
)  # fmt: skip
