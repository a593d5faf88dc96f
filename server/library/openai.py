"""`/v1/audio/speech`: OpenAI's shape, so that any client of theirs speaks with a Visage voice.

After the SDK 3.52.0 (`audio/speech_create_params.py`).
"""

from __future__ import annotations

import base64
import contextlib
import json
import logging
from collections.abc import AsyncGenerator
from typing import Annotated, Any, Literal

from aiohttp import web
from pydantic import BeforeValidator, Field

from errors import VisageError
from server.endpoint import Call, Endpoint, Fields
from server.library import shapes, texts
from server.library.access import library
from text.clauses import language_of

TAG = "openai"
INPUT_CHARACTERS_MAX = 4_096
SPEED_MIN, SPEED_MAX = 0.5, 2.0
"""What voices can; OpenAI's clients may ask for 0.25 to 4."""

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


ENDPOINTS: tuple[Endpoint[Any], ...] = (
    Endpoint(
        "POST", "/v1/audio/speech", speech,
        "Speak a text, streamed as it is made (OpenAI).", "朗读文字，边生成边返回（OpenAI 接口）。",
        TAG, SpeechRequest, "json", media="audio/*", statuses=(404, 413, 422, 429, 502, 503),
    ),
)  # fmt: skip
