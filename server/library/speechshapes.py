"""Generated speech: what is sent for it, and what is answered."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from server.endpoint import Fields
from server.library.shapes import (
    MODEL_CHARACTERS_MAX,
    PAGE_MAX,
    QUERY_CHARACTERS_MAX,
    SIZE_DEFAULT,
    SIZE_MAX,
    VOICE_CHARACTERS_MAX,
    Language,
    Usage,
)
from server.library.texts import Line, Prose

INPUT_CHARACTERS_MAX = 5_000
AnyVoice = Annotated[
    Line,
    Field(
        min_length=1,
        max_length=VOICE_CHARACTERS_MAX,
        description="voiceId of the library, or the id of a built-in voice (GET /api/voices?scope=builtin)",
    ),
]
AudioFormat = Literal["mp3", "wav", "opus", "flac"]


class GenerateRequest(Fields):
    """What is to be said."""

    voiceId: AnyVoice
    input: Prose = Field(min_length=1, max_length=INPUT_CHARACTERS_MAX, description="The text")
    model: Line = Field(default="", max_length=MODEL_CHARACTERS_MAX, description="Empty: the voice's own")
    format: AudioFormat = "mp3"
    speed: float = Field(default=1.0, ge=0.5, le=2.0)
    language: Language = ""
    encoding: Literal["url", "base64"] = Field(default="url", description="base64: `audio` holds the file too")


class Generated(BaseModel):
    """Speech that was generated."""

    requestId: str
    voiceId: str
    voice_name: str = Field(description="Empty once the voice is gone")
    input: str
    model: str
    format: str
    duration: float = Field(description="Seconds")
    characters: int
    url: str = Field(description="Signed for an hour")
    audio: str = Field(description="Base64, where it was asked for")
    cached: bool = Field(description="Answered from what was generated before")
    created_at: str


class HistoryRequest(Fields):
    """Which generations."""

    voiceId: Line = Field(default="", max_length=VOICE_CHARACTERS_MAX)
    q: Line = Field(default="", max_length=QUERY_CHARACTERS_MAX, description="Part of the text")
    page: int = Field(default=1, ge=1, le=PAGE_MAX)
    size: int = Field(default=SIZE_DEFAULT, ge=1, le=SIZE_MAX)


class History(BaseModel):
    """A page of what was generated, newest first."""

    requests: list[Generated]
    total: int
    page: int
    size: int
    pages: int


class UsageRequest(Fields):
    """Of which time."""

    days: int = Field(default=30, ge=1, le=366)


class DayUsage(Usage):
    """What was said on one day."""

    date: str = Field(description="ISO 8601, UTC")


class VoiceUsage(Usage):
    """What one voice said."""

    voiceId: str
    name: str


class UsageInfo(Usage):
    """What the caller had said."""

    by_day: list[DayUsage]
    by_voice: list[VoiceUsage] = Field(description="The 20 that said most")


class Checked(Fields):
    """A file to be asked (multipart)."""

    file: str = Field(description="Sound in any common container", json_schema_extra={"format": "binary"})


class Claim(BaseModel):
    """Something in a file that says a machine made it."""

    kind: str = Field(description="visage, aigc (GB 45438-2025), iptc, or c2pa (its signature is not checked)")
    facts: dict[str, Any]


class Origin(BaseModel):
    """What a file was found to say and to bear."""

    generated: bool = Field(description="A claim or the mark says so; false says only that nothing was found")
    claims: list[Claim]
    marked: float | None = Field(description="Share of its sound with the inaudible mark; null: not looked for")
    duration: float = Field(description="Seconds")
    why_not: str = Field(description="Why the mark was not looked for")
