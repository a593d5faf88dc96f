"""`/v1/audio/voices`: OpenAI's shapes of voices: listed, made of an uploaded recording, deleted.

After the SDK 3.52.0 (`audio/voice_create_params.py`, `voice.py`, `voice_deleted.py`); listed also as Kokoro-FastAPI and
vLLM-Omni list theirs. OpenAI wants a recording of the speaker's consent; here it is the statement that is agreed to.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

from errors import NotFound, Unavailable
from server.endpoint import Call, Endpoint, Fields, Nothing
from server.library import shapes, texts, voiceshapes
from server.library.access import library
from server.library.creation import awaited, begin
from server.library.files import take_recording
from server.library.openai import TAG
from server.library.voices import remove
from server.reading import understood

VOICES_MAX = 1_000
"""Of the library's, the newest, that a client without search may list."""
FILE_FIELDS = ("audio_sample", "file")


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


class VoiceUpload(Fields):
    """A voice to be made of a recording (multipart)."""

    audio_sample: str = Field(
        default="",
        description="The recording: 5 to 10 s of one person's speech; `file` is taken too",
        json_schema_extra={"format": "binary"},
    )
    name: texts.Line = Field(min_length=1, max_length=voiceshapes.NAME_CHARACTERS_MAX)
    consent: texts.Line = Field(
        max_length=32, description="Id of the statement that the speaker agreed to, of GET /api/voices/options"
    )
    type: Literal["audio_sample"] = "audio_sample"
    speaker: texts.Line = Field(default="", max_length=120, description="Who is heard; empty: `name`")
    relation: Literal["self", "permitted"] = Field(
        default="permitted", description="self: I am that person; permitted: that person has agreed, and I can show it"
    )
    ref_text: texts.Prose = Field(
        default="", max_length=voiceshapes.TRANSCRIPT_CHARACTERS_MAX, description="What is said in the recording"
    )
    language: shapes.Language = ""
    maker: texts.Line = Field(
        default="", max_length=shapes.MODEL_CHARACTERS_MAX, description="Of GET /api/voices/options"
    )
    model: texts.Line = Field(
        default="", max_length=shapes.MODEL_CHARACTERS_MAX, description="Of the maker; empty: its default"
    )


class OpenAICustomVoice(OpenAIVoice):
    """A voice that was made."""

    type: Literal["audio_sample"]


class OpenAIVoiceDeleted(BaseModel):
    """What went."""

    id: str
    object: Literal["audio.voice.deleted"]
    deleted: bool


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


async def create_audio_voice(call: Call[Nothing]) -> Any:
    """Make one of a recording."""
    opened = await library(call)
    wish, file, _ = await take_recording(call, FILE_FIELDS, _wish)
    consent = voiceshapes.Consent(
        speaker=wish.speaker or wish.name, relation=wish.relation, statement=wish.consent, agreed=True
    )
    request = voiceshapes.VoiceRequest(
        fileId=file.id,
        consent=consent,
        name=wish.name,
        text=wish.ref_text,
        language=wish.language,
        maker=wish.maker,
        model=wish.model,
    )
    job, _ = await begin(opened, call.user, request)
    job = await awaited(opened, call.user, job)
    if job.status != "completed":
        raise Unavailable(
            f"the voice takes longer than usual: GET /api/voices/jobs/{job.id} tells when it is there",
            f"音色制作时间较长：可由 GET /api/voices/jobs/{job.id} 查询进度",
        )
    row = await opened.catalogue.get(job.voice_id, call.user)
    return OpenAICustomVoice(
        id=row.id,
        object="audio.voice",
        name=row.name,
        created_at=int(row.created_at.timestamp()),
        type="audio_sample",
    ).model_dump()


def _wish(fields: dict[str, str]) -> VoiceUpload:
    from voices.consent import agreed

    wish = understood(VoiceUpload, fields)
    agreed(wish.consent)
    return wish


async def delete_audio_voice(call: Call[shapes.OfVoice]) -> Any:
    """Delete one."""
    voice_id = call.given.voiceId
    await remove(await library(call), voice_id, call.user)
    return OpenAIVoiceDeleted(id=voice_id, object="audio.voice.deleted", deleted=True).model_dump()


ENDPOINTS: tuple[Endpoint[Any], ...] = (
    Endpoint(
        "GET", "/v1/audio/voices", audio_voices,
        "The voices (OpenAI).", "音色列表（OpenAI 接口）。",
        TAG, VoicesRequest, "query", data=OpenAIVoices, statuses=(404, 413, 503),
    ),
    Endpoint(
        "POST", "/v1/audio/voices", create_audio_voice,
        "Make a voice of a recording, and wait for it (OpenAI).", "由录音创建音色，完成后返回（OpenAI 接口）。",
        TAG, VoiceUpload, "form", data=OpenAICustomVoice, statuses=(404, 409, 413, 422, 429, 502, 503),
    ),
    Endpoint(
        "DELETE", "/v1/audio/voices/{voiceId}", delete_audio_voice,
        "Delete a voice of one's own everywhere (OpenAI).", "彻底删除自己的音色（OpenAI 接口）。",
        TAG, shapes.OfVoice, "path", data=OpenAIVoiceDeleted, statuses=(404, 503),
    ),
)  # fmt: skip
