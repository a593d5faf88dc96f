"""Rows of the library as clients see them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from server.library import shapes, voiceshapes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tts.base import Voice
    from voices.catalogue import Page
    from voices.opened import Opened
    from voices.people import User
    from voices.schema import EmbeddingRow, FileRow, JobRow, SpeechRow, Time, VoiceRow
    from voices.usage import Spoken

LIBRARY = "library:"


def when(moment: Time | None) -> str:
    """ISO 8601; empty for never."""
    return "" if moment is None else moment.isoformat(timespec="milliseconds")


def file_path(file_id: str) -> str:
    """Of a recording's bytes."""
    return f"api/files/{file_id}/content"


def sample_path(voice_id: str) -> str:
    """Of a voice's preview."""
    return f"api/voices/{voice_id}/sample"


def speech_path(request_id: str) -> str:
    """Of a generation's file."""
    return f"api/tts/{request_id}/audio"


def file_info(opened: Opened, row: FileRow, voices: Sequence[str], duplicated: bool = False) -> dict[str, Any]:
    """A recording."""
    path = file_path(row.id)
    return shapes.FileInfo(
        fileId=row.id,
        filename=row.filename,
        size=row.file_size,
        format=row.format,
        sample_rate=row.sample_rate,
        channels=row.channels,
        duration=round(row.duration, 3),
        sha256=row.sha256,
        peaks=[round(peak / 255, 3) for peak in row.peaks],
        checks=shapes.Checks(**row.checks),
        voices=list(voices),
        created_at=when(row.created_at),
        url=opened.signer.sign(path),
        original_url=opened.signer.sign(path, "variant=original"),
        duplicated=duplicated,
    ).model_dump(mode="json")


def embedding_info(row: EmbeddingRow, numbers: list[float]) -> dict[str, Any]:
    """A vector."""
    return shapes.EmbeddingInfo(
        embeddingId=row.id,
        fileId=row.file_id,
        embedding=numbers,
        embedding_hash=row.vector_hash,
        dimension=row.dimension,
        model=row.model_name,
        model_version=row.model_version,
        placeholder=not row.comparable,
        created_at=when(row.created_at),
    ).model_dump(mode="json")


def card(opened: Opened, row: VoiceRow, user: User) -> dict[str, Any]:
    """A voice as lists show it."""
    return {
        "voiceId": row.id,
        "speak_as": LIBRARY + row.id,
        "name": row.name,
        "description": row.description,
        "tags": row.tags,
        "languages": row.languages,
        "gender": row.gender,
        "maker": row.maker,
        "model": row.model,
        "clones": row.clones,
        "builtin": False,
        "public": row.public,
        "mine": row.user_id == user.id,
        "owner": row.user.name,
        "similarity": row.similarity,
        "sample_text": row.sample_text,
        "sample_url": opened.signer.sign(sample_path(row.id)) if row.sample_audio_path else "",
        "uses": row.uses,
        "created_at": when(row.created_at),
        "updated_at": when(row.updated_at),
    }


def built_in_card(voice: Voice) -> dict[str, Any]:
    """A voice of a speech engine, likewise."""
    return {
        "voiceId": voice.id,
        "speak_as": voice.id,
        "name": voice.id.partition(":")[2] or voice.id,
        "description": "",
        "tags": [],
        "languages": list(voice.languages),
        "gender": voice.gender,
        "maker": voice.engine,
        "model": voice.engine,
        "clones": False,
        "builtin": True,
        "public": True,
        "mine": False,
        "owner": "",
        "similarity": None,
        "sample_text": "",
        "sample_url": "",
        "uses": 0,
        "created_at": "",
        "updated_at": "",
    }


def voice_info(opened: Opened, row: VoiceRow, user: User, used: Spoken, embedding_model: str) -> dict[str, Any]:
    """A voice with all that is known of it; of its origin only to its owner."""
    mine = row.user_id == user.id
    given = row.consent
    consent = {
        "speaker": given.speaker,
        "relation": given.relation,
        "statement": given.statement,
        "text": given.statement_text,
        "agreed_at": when(given.agreed_at),
    }
    return {
        **card(opened, row, user),
        "fileId": row.file_id if mine else "",
        "text": row.text if mine else "",
        "embedding_hash": row.embedding_hash,
        "embedding_model": embedding_model,
        "metadata": dict(row.extra),
        "consent": consent if mine else None,
        "usage": usage(used),
        "last_used_at": when(row.last_used_at),
    }


def usage(spoken: Spoken) -> dict[str, Any]:
    """How much was said."""
    return {"calls": spoken.calls, "characters": spoken.characters, "seconds": round(spoken.seconds, 2)}


def creation(opened: Opened, job: JobRow, voice: VoiceRow | None, duplicated: bool = False) -> dict[str, Any]:
    """A voice in the making, or made."""
    request = job.request
    maker = opened.makers.named(request["maker"])
    told = {name: job.error[name] for name in ("code", "message", "details")} if job.error else None
    return voiceshapes.Creation(
        jobId=job.id,
        status=job.status,  # type: ignore[arg-type]
        stage=job.stage,  # type: ignore[arg-type]
        progress=job.progress,
        voiceId=voice.id if voice is not None else "",
        sample_text=voice.sample_text if voice is not None else request["sample_text"],
        sample_audio="",
        sample_url=opened.signer.sign(sample_path(voice.id)) if voice is not None else "",
        embedding_hash=voice.embedding_hash if voice is not None else "",
        duplicated=duplicated or bool(request.get("duplicated")),
        maker=request["maker"],
        model=request["model"],
        clones=maker is not None and maker.clones,
        similarity=voice.similarity if voice is not None else None,
        error=voiceshapes.Problem(**told) if told else None,
        retryable=job.status == "failed" and job.retryable,
        created_at=when(job.created_at),
        updated_at=when(job.updated_at),
    ).model_dump(mode="json")


def generated(opened: Opened, row: SpeechRow, name: str, cached: bool = False, audio: str = "") -> dict[str, Any]:
    """A generation."""
    return {
        "requestId": row.id,
        "voiceId": row.voice,
        "voice_name": name,
        "input": row.input_text,
        "model": row.model,
        "format": row.format,
        "duration": round(row.duration, 3),
        "characters": len(row.input_text),
        "url": opened.signer.sign(speech_path(row.id)),
        "audio": audio,
        "cached": cached,
        "created_at": when(row.created_at),
    }


def page_of(name: str, page: Page[Any], rows: list[dict[str, Any]]) -> dict[str, Any]:
    """A page, its rows under `name`."""
    return {name: rows, "total": page.total, "page": page.page, "size": page.size, "pages": page.pages}


def pages(total: int, size: int) -> int:
    """How many pages hold so many."""
    return math.ceil(total / size)
