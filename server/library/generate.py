"""`/api/tts`: speech generated, kept, told about."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from aiohttp import web

from server.endpoint import Call, Endpoint
from server.envelope import success
from server.library import cards, shapes, speechshapes
from server.library.access import library, reader_of
from server.library.download import send

if TYPE_CHECKING:
    from voices.opened import Opened
    from voices.schema import SpeechRow

TAG = "generation"


async def generate_speech(call: Call[speechshapes.GenerateRequest]) -> web.StreamResponse:
    """Say a text into a file."""
    opened, given = await library(call), call.given
    row, cached = await opened.generation.generate(
        call.user,
        given.voiceId,
        given.input,
        model=given.model,
        format=given.format,
        speed=given.speed,
        language=given.language,
    )
    audio = ""
    if given.encoding == "base64":
        data = await opened.storage.get(row.audio_path)
        audio = (await asyncio.to_thread(base64.b64encode, data)).decode()
    name = (await _names(opened, [row]))[row.voice]
    return success(cards.generated(opened, row, name, cached, audio), "library", 200 if cached else 201)


async def _names(opened: Opened, rows: Sequence[SpeechRow]) -> dict[str, str]:
    """What the voices of generations are called, by id."""
    found = await opened.catalogue.some([row.voice_id for row in rows if row.voice_id])
    return {row.voice: found[row.voice].name if row.voice in found else row.voice.partition(":")[2] for row in rows}


async def generation_history(call: Call[speechshapes.HistoryRequest]) -> Any:
    """What was generated."""
    opened, given = await library(call), call.given
    page = await opened.generation.history(call.user, given.voiceId, given.q, given.page, given.size)
    names = await _names(opened, page.rows)
    return cards.page_of("requests", page, [cards.generated(opened, row, names[row.voice]) for row in page.rows])


async def generation_usage(call: Call[speechshapes.UsageRequest]) -> Any:
    """How much was generated."""
    opened = await library(call)
    summary = await opened.usage.summary(call.user, call.given.days)
    found = await opened.catalogue.some([voice for voice, _ in summary.voices])
    return {
        **cards.usage(summary.total),
        "by_day": [{"date": day, **cards.usage(spoken)} for day, spoken in summary.days],
        "by_voice": [
            {
                "voiceId": voice,
                "name": found[voice].name if voice in found else voice.partition(":")[2],
                **cards.usage(spoken),
            }
            for voice, spoken in summary.voices
        ],
    }


async def get_generation(call: Call[shapes.OfRequest]) -> Any:
    """One generation."""
    opened = await library(call)
    row = await opened.generation.get(call.given.requestId, call.user)
    return cards.generated(opened, row, (await _names(opened, [row]))[row.voice])


async def generation_audio(call: Call[shapes.Signed]) -> web.StreamResponse:
    """Its file."""
    from voices.encoding import FORMATS

    opened, request_id = await library(call), call.place.requestId
    user = await reader_of(call, opened, cards.speech_path(request_id))
    row = await opened.generation.get(request_id, user)
    kind = FORMATS[row.format]
    return await send(call.request, opened.storage, row.audio_path, kind.media, f"{request_id}{kind.suffix}")


async def delete_generation(call: Call[shapes.OfRequest]) -> Any:
    """Delete it."""
    opened = await library(call)
    removed = await opened.removal.generation(call.given.requestId, call.user)
    return shapes.Deleted(deleted=True, files=removed.files, generations=removed.generations).model_dump()


ENDPOINTS: tuple[Endpoint[Any], ...] = (
    Endpoint(
        "POST", "/api/tts/generate", generate_speech,
        "Say a text with a voice into a file. The same text, voice, model and speed again is answered from before.",
        "用音色朗读文字并生成文件。相同的文字、音色、模型与语速直接返回已有结果。",
        TAG, speechshapes.GenerateRequest, "json", data=speechshapes.Generated, success=(200, 201),
        statuses=(404, 413, 422, 429, 502, 503),
    ),
    Endpoint(
        "GET", "/api/tts/history", generation_history,
        "What the caller generated, newest first.", "自己的生成记录，最新在前。",
        TAG, speechshapes.HistoryRequest, "query", data=speechshapes.History, statuses=(413, 503),
    ),
    Endpoint(
        "GET", "/api/tts/usage", generation_usage,
        "How much the caller generated, by day and by voice.", "自己的用量，按天与按音色。",
        TAG, speechshapes.UsageRequest, "query", data=speechshapes.UsageInfo, statuses=(503,),
    ),
    Endpoint(
        "GET", "/api/tts/{requestId}", get_generation,
        "One generation.", "一条生成记录。",
        TAG, shapes.OfRequest, "path", data=speechshapes.Generated, statuses=(404, 503),
    ),
    Endpoint(
        "GET", "/api/tts/{requestId}/audio", generation_audio,
        "A generation's file; takes Range. Opened by a key or by the signature of its address.",
        "生成的音频，支持 Range。凭密钥或地址签名访问。",
        TAG, shapes.Signed, "query", within=shapes.OfRequest, media="audio/*", success=(200, 206, 302),
        statuses=(401, 404, 416, 503), locked=False,
    ),
    Endpoint(
        "DELETE", "/api/tts/{requestId}", delete_generation,
        "Delete a generation and its file.", "删除生成记录及其文件。",
        TAG, shapes.OfRequest, "path", data=shapes.Deleted, statuses=(404, 503),
    ),
)  # fmt: skip
