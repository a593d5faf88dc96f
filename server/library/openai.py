"""`/v1/audio`: OpenAI's shapes, so that any client of theirs speaks with a Visage voice.

After the SDK 3.52.0 (`audio/speech_create_params.py`); `voices` also as Kokoro-FastAPI and vLLM-Omni list theirs.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Field

from server.endpoint import Call, Endpoint, Fields
from server.library import shapes
from server.library.access import library

TAG = "openai"
INPUT_CHARACTERS_MAX = 4_096


def _voice_name(value: object) -> object:
    """A custom voice is named by an object."""
    return value.get("id") if isinstance(value, dict) else value


class SpeechRequest(Fields):
    """What is to be said, as OpenAI's clients say it."""

    input: str = Field(min_length=1, max_length=INPUT_CHARACTERS_MAX, description="The text")
    model: str = Field(max_length=shapes.MODEL_CHARACTERS_MAX, description="Any name; a voice has its own model")
    voice: Annotated[str, BeforeValidator(_voice_name)] = Field(
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
    after: str = Field(default="", max_length=shapes.VOICE_CHARACTERS_MAX, description="Id of the last one known")


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


async def speech(call: Call[SpeechRequest]) -> Any:
    """Speak, streamed as it is made."""
    library(call)


async def audio_voices(call: Call[VoicesRequest]) -> Any:
    """The voices."""
    library(call)


ENDPOINTS: tuple[Endpoint[Any], ...] = (
    Endpoint(
        "POST", "/v1/audio/speech", speech,
        "Speak a text, streamed as it is made (OpenAI).", "朗读文字，边生成边返回（OpenAI 接口）。",
        TAG, SpeechRequest, "json", media="audio/*", statuses=(404, 413, 422, 429, 502, 503),
    ),
    Endpoint(
        "GET", "/v1/audio/voices", audio_voices,
        "The voices (OpenAI).", "音色列表（OpenAI 接口）。",
        TAG, VoicesRequest, "query", data=OpenAIVoices, statuses=(404, 503),
    ),
)  # fmt: skip
