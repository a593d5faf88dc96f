"""`/v1/audio`: OpenAI's shapes, so that any client of theirs speaks with a Visage voice.

After the SDK 3.52.0 (`audio/speech_create_params.py`); `voices` also as Kokoro-FastAPI and vLLM-Omni list theirs.
"""

from __future__ import annotations

import base64
import contextlib
import json
import logging
from collections.abc import AsyncGenerator
from typing import Annotated, Any, Literal

from aiohttp import web
from pydantic import BaseModel, BeforeValidator, Field

from errors import NotFound, VisageError
from server.endpoint import Call, Endpoint, Fields
from server.library import shapes, texts
from server.library.access import library
from text.clauses import language_of

TAG = "openai"
INPUT_CHARACTERS_MAX = 4_096
SPEED_MIN, SPEED_MAX = 0.5, 2.0
"""What voices can; OpenAI's clients may ask for 0.25 to 4."""
VOICES_MAX = 1_000
"""Of the library's, the newest, that a client without search may list."""

log = logging.getLogger(__name__)


def _voice_name(value: object) -> object:
    """A custom voice is named by an object."""
    return value.get("id") if isinstance(value, dict) else value


class SpeechRequest(Fields):
    """What is to be said, as OpenAI's clients say it."""

    input: texts.Prose = Field(min_length=1, max_length=INPUT_CHARACTERS_MAX, description="The text")
    model: texts.Line = Field(max_length=shapes.MODEL_CHARACTERS_MAX, description="Any name; a voice has its own model")
    voice: Annotated[texts.Line, BeforeValidator(_voice_name)] = Field(
        min_length=1,
        max_length=shapes.VOICE_CHARACTERS_MAX,
        description="voiceId, a built-in voice's id, or one of OpenAI's names (alloy, ...): the server's own voice; "
        "also {id}",
        json_schema_extra={"type": ["string", "object"]},
    )
    response_format: Literal["mp3", "opus", "aac", "flac", "wav", "pcm"] = Field(
        default="mp3", description="pcm: 24 kHz, s16le, mono, no header"
    )
    speed: float = Field(default=1.0, ge=0.25, le=4.0)
    stream_format: Literal["audio", "sse"] = Field(
        default="audio", description="sse: speech.audio.delta with base64 `audio`, then speech.audio.done"
    )
    instructions: str = Field(default="", max_length=4_096, description="Taken, and without effect")


class VoicesRequest(Fields):
    """Which voices."""

    limit: int = Field(default=100, ge=1, le=shapes.SIZE_MAX)
    after: texts.Line = Field(
        default="", max_length=shapes.VOICE_CHARACTERS_MAX, description="Id of the last one known"
    )


class OpenAIVoice(BaseModel):
    """One voice."""

    id: str
    object: Literal["audio.voice"]
    name: str
    created_at: int = Field(description="Seconds since 1970; 0 for a built-in voice")


class OpenAIVoices(BaseModel):
    """Voices: built-in ones first, then the caller's and public ones, newest first."""

    object: Literal["list"]
    data: list[OpenAIVoice]
    voices: list[str] = Field(description="Their ids, as Kokoro-FastAPI lists them")
    has_more: bool
    first_id: str | None
    last_id: str | None


async def speech(call: Call[SpeechRequest]) -> web.StreamResponse:
    """Speak, streamed as it is made."""
    from voices.encoding import FORMATS

    opened, given = await library(call), call.given
    speed = min(SPEED_MAX, max(SPEED_MIN, given.speed))
    parts = opened.generation.stream(
        call.user,
        given.voice,
        given.input,
        format=given.response_format,
        speed=speed,
        language=language_of(given.input),
    )
    async with contextlib.aclosing(parts):
        first = await anext(parts)  # what fails before the first sound is answered as a failure
        sse = given.stream_format == "sse"
        media = "text/event-stream" if sse else FORMATS[given.response_format].media
        response = web.StreamResponse(headers={"Content-Type": media, "Cache-Control": "no-store"})
        await response.prepare(call.request)
        with contextlib.suppress(ConnectionError):  # the client has gone
            await _send(call.request, response, first, parts, given, sse=sse)
    return response


async def _send(
    request: web.Request,
    response: web.StreamResponse,
    first: bytes,
    parts: AsyncGenerator[bytes, None],
    given: SpeechRequest,
    *,
    sse: bool,
) -> None:
    try:
        await response.write(_delta(first) if sse else first)
        async for part in parts:
            await response.write(_delta(part) if sse else part)
    except VisageError as error:
        log.warning("speech broke off: %s", error)
        if not sse:
            # The status is sent: only a body that ends without its last chunk tells that it is not whole.
            if request.transport is not None:
                request.transport.abort()
            return
        await response.write(_event({"type": "error", "error": {"message": str(error), "code": error.code}}))
    if sse:
        tokens = {"input_tokens": len(given.input), "output_tokens": 0, "total_tokens": len(given.input)}
        await response.write(_event({"type": "speech.audio.done", "usage": tokens}))
    await response.write_eof()


def _delta(part: bytes) -> bytes:
    return _event({"type": "speech.audio.delta", "audio": base64.b64encode(part).decode()})


def _event(body: dict[str, Any]) -> bytes:
    return f"data: {json.dumps(body)}\n\n".encode()


async def audio_voices(call: Call[VoicesRequest]) -> Any:
    """The voices."""
    from voices.catalogue import Query

    opened, given = await library(call), call.given
    built_in = [
        OpenAIVoice(id=voice.id, object="audio.voice", name=voice.id, created_at=0) for voice in call.services.voices()
    ]
    page = await opened.catalogue.page(Query(size=VOICES_MAX), call.user)
    made = [
        OpenAIVoice(id=row.id, object="audio.voice", name=row.name, created_at=int(row.created_at.timestamp()))
        for row in page.rows
    ]
    every = built_in + made
    at = next((number for number, voice in enumerate(every, 1) if voice.id == given.after), 0)
    if given.after and not at:
        raise NotFound(f"after was {given.after!r}, which is no voice")
    shown = every[at : at + given.limit]
    return OpenAIVoices(
        object="list",
        data=shown,
        voices=[voice.id for voice in shown],
        has_more=at + given.limit < len(every),
        first_id=shown[0].id if shown else None,
        last_id=shown[-1].id if shown else None,
    ).model_dump()


ENDPOINTS: tuple[Endpoint[Any], ...] = (
    Endpoint(
        "POST", "/v1/audio/speech", speech,
        "Speak a text, streamed as it is made (OpenAI).", "朗读文字，边生成边返回（OpenAI 接口）。",
        TAG, SpeechRequest, "json", media="audio/*", statuses=(404, 413, 422, 429, 502, 503),
    ),
    Endpoint(
        "GET", "/v1/audio/voices", audio_voices,
        "The voices (OpenAI).", "音色列表（OpenAI 接口）。",
        TAG, VoicesRequest, "query", data=OpenAIVoices, statuses=(404, 413, 503),
    ),
)  # fmt: skip
