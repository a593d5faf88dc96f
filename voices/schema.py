"""The library's tables, for SQLite and PostgreSQL alike. `voices/migrations` makes them; a test compares the two.

Nothing in storage is without a row: a file's key stands in `outbox` from before its first byte is written until a row
names it, and again from the moment on that this row goes until it is deleted. So a crash at any point leaves nothing
that nobody knows of.
"""

from __future__ import annotations

import datetime
import secrets
from typing import Any

from sqlalchemy import JSON, CheckConstraint, Dialect, ForeignKey, Index, LargeBinary, String, Text, text
from sqlalchemy import DateTime as SqlDateTime
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship
from sqlalchemy.types import TypeDecorator

ID_BYTES = 12
Time = datetime.datetime
"""Aware, UTC."""


def new_id(kind: str) -> str:
    """An unguessable id: `file-`, `voice-`, ... and 24 hexadecimal digits."""
    return f"{kind}-{secrets.token_hex(ID_BYTES)}"


def utc_now() -> Time:
    """This moment."""
    return datetime.datetime.now(datetime.UTC)


class UtcTime(TypeDecorator[Time]):
    """A moment in UTC; SQLite keeps no zone, so it is put back."""

    impl = SqlDateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: Time | None, dialect: Dialect) -> Time | None:
        """To UTC."""
        return None if value is None else value.astimezone(datetime.UTC)

    def process_result_value(self, value: Time | None, dialect: Dialect) -> Time | None:
        """From UTC."""
        return None if value is None else value.replace(tzinfo=value.tzinfo or datetime.UTC)


Json = JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")
Id = String(40)
Sha256 = String(64)


class Base(DeclarativeBase):
    """All tables."""

    type_annotation_map = {Time: UtcTime, dict[str, Any]: Json, list[str]: Json}


class UserRow(Base):
    """Somebody who may use the library."""

    __tablename__ = "users"

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    name: Mapped[str] = mapped_column(String(80), unique=True)
    email: Mapped[str | None] = mapped_column(String(254), unique=True)
    key_hash: Mapped[str | None] = mapped_column(Sha256, unique=True)
    """SHA-256 of their key, which has 256 random bits; none where the server's own key is theirs."""
    created_at: Mapped[Time] = mapped_column(default=utc_now)
    updated_at: Mapped[Time] = mapped_column(default=utc_now, onupdate=utc_now)


class FileRow(Base):
    """An uploaded recording."""

    __tablename__ = "files"
    __table_args__ = (Index("ix_files_user_sha256", "user_id", "sha256", unique=True),)

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"))
    filename: Mapped[str] = mapped_column(String(255))
    """As the client named it; for people."""
    file_path: Mapped[str] = mapped_column(String(512))
    """Key in storage of the bytes as uploaded."""
    prepared_path: Mapped[str] = mapped_column(String(512))
    """Key of the trimmed recording: WAV, mono, 24 kHz, -23 LUFS."""
    file_size: Mapped[int]
    duration: Mapped[float]
    """Seconds, trimmed."""
    format: Mapped[str] = mapped_column(String(32))
    sample_rate: Mapped[int]
    channels: Mapped[int]
    sha256: Mapped[str] = mapped_column(Sha256)
    """Of the bytes as uploaded."""
    peaks: Mapped[bytes] = mapped_column(LargeBinary)
    """[200] uint8."""
    checks: Mapped[dict[str, Any]]
    step_file_id: Mapped[str | None] = mapped_column(String(120))
    """Where a maker keeps the recording too, its id there."""
    created_at: Mapped[Time] = mapped_column(default=utc_now, index=True)


class VoiceRow(Base):
    """A voice."""

    __tablename__ = "voices"
    __table_args__ = (
        Index("ix_voices_origin", "user_id", "content_hash", "maker", "model", unique=True),
        Index("ix_voices_user_created", "user_id", "created_at", "id"),
        Index("ix_voices_public_created", "public", "created_at", "id"),
        Index("ix_voices_uses", "uses"),
        CheckConstraint("length(name) > 0", name="voice_has_a_name"),
    )

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"))
    file_id: Mapped[str] = mapped_column(ForeignKey("files.id"), index=True)
    content_hash: Mapped[str] = mapped_column(Sha256)
    """Of the recording's bytes: with maker and model it names the voice."""
    maker: Mapped[str] = mapped_column(String(64))
    model: Mapped[str] = mapped_column(String(64))
    step_voice_id: Mapped[str] = mapped_column(String(200), default="")
    """The maker's id of it; empty where `recipe` is all there is."""
    recipe: Mapped[dict[str, Any]]
    clones: Mapped[bool]
    languages: Mapped[list[str]]
    gender: Mapped[str] = mapped_column(String(16), default="")
    name: Mapped[str] = mapped_column(String(80))
    description: Mapped[str] = mapped_column(Text, default="")
    tags: Mapped[list[str]]
    search: Mapped[str] = mapped_column(Text)
    """Name, description and tags as `voices.catalogue.folded` writes them."""
    text: Mapped[str] = mapped_column(Text, default="")
    sample_text: Mapped[str] = mapped_column(Text, default="")
    sample_audio_path: Mapped[str] = mapped_column(String(512), default="")
    embedding_hash: Mapped[str] = mapped_column(Sha256, default="")
    similarity: Mapped[float | None]
    public: Mapped[bool] = mapped_column(default=False)
    extra: Mapped[dict[str, Any]] = mapped_column("metadata")
    uses: Mapped[int] = mapped_column(default=0)
    last_used_at: Mapped[Time | None]
    created_at: Mapped[Time] = mapped_column(default=utc_now)
    updated_at: Mapped[Time] = mapped_column(default=utc_now, onupdate=utc_now)

    user: Mapped[UserRow] = relationship(lazy="raise")
    consent: Mapped[ConsentRow] = relationship(lazy="raise", cascade="all, delete-orphan", uselist=False)


class ConsentRow(Base):
    """What the speaker of a voice agreed to."""

    __tablename__ = "consents"
    __table_args__ = (CheckConstraint("relation IN ('self', 'permitted')", name="relation_is_known"),)

    voice_id: Mapped[str] = mapped_column(ForeignKey("voices.id", ondelete="CASCADE"), primary_key=True)
    speaker: Mapped[str] = mapped_column(String(120))
    relation: Mapped[str] = mapped_column(String(16))
    statement: Mapped[str] = mapped_column(String(32))
    statement_text: Mapped[str] = mapped_column(Text)
    """In both languages, as it was shown."""
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"))
    """Who declared it."""
    agreed_at: Mapped[Time]


class EmbeddingRow(Base):
    """A speaker's vector of a recording."""

    __tablename__ = "embeddings"
    __table_args__ = (Index("ix_embeddings_file_model", "file_id", "model_name", "model_version", unique=True),)

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    file_id: Mapped[str] = mapped_column(ForeignKey("files.id", ondelete="CASCADE"))
    vector: Mapped[bytes] = mapped_column(LargeBinary)
    """[dimension] little-endian float32, of length 1."""
    vector_hash: Mapped[str] = mapped_column(Sha256)
    dimension: Mapped[int]
    model_name: Mapped[str] = mapped_column(String(64))
    model_version: Mapped[str] = mapped_column(String(64))
    comparable: Mapped[bool]
    """False for the placeholder's."""
    created_at: Mapped[Time] = mapped_column(default=utc_now, index=True)


class SpeechRow(Base):
    """A generation whose file is kept."""

    __tablename__ = "tts_requests"
    __table_args__ = (
        Index("ix_tts_requests_user_created", "user_id", "created_at", "id"),
        Index("ix_tts_requests_user_fingerprint", "user_id", "fingerprint", unique=True),
    )

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"))
    voice_id: Mapped[str | None] = mapped_column(ForeignKey("voices.id", ondelete="CASCADE"), index=True)
    """None for a built-in voice."""
    voice: Mapped[str] = mapped_column(String(200))
    """What was asked for: the voice's id, here or built in."""
    input_text: Mapped[str] = mapped_column(Text)
    search: Mapped[str] = mapped_column(Text)
    """The text as `voices.catalogue.folded` writes it."""
    fingerprint: Mapped[str] = mapped_column(Sha256)
    """Of everything that decides the sound."""
    model: Mapped[str] = mapped_column(String(64))
    format: Mapped[str] = mapped_column(String(16))
    speed: Mapped[float]
    audio_path: Mapped[str] = mapped_column(String(512))
    duration: Mapped[float]
    created_at: Mapped[Time] = mapped_column(default=utc_now, index=True)


class UsageRow(Base):
    """What one user had one voice say on one day: files, streams and sessions together."""

    __tablename__ = "usage"

    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"), primary_key=True)
    voice: Mapped[str] = mapped_column(String(200), primary_key=True)
    day: Mapped[str] = mapped_column(String(10), primary_key=True)
    """ISO 8601, UTC."""
    calls: Mapped[int]
    characters: Mapped[int]
    seconds: Mapped[float]


class JobRow(Base):
    """A voice in the making."""

    __tablename__ = "jobs"
    __table_args__ = (
        Index(
            "ix_jobs_open_fingerprint",
            "fingerprint",
            unique=True,
            sqlite_where=text("status IN ('pending', 'running')"),
            postgresql_where=text("status IN ('pending', 'running')"),
        ),
        Index("ix_jobs_user_created", "user_id", "created_at"),
        Index("ix_jobs_status", "status"),
        CheckConstraint("status IN ('pending', 'running', 'completed', 'failed')", name="status_is_known"),
    )

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"))
    file_id: Mapped[str] = mapped_column(ForeignKey("files.id", ondelete="CASCADE"), index=True)
    voice_id: Mapped[str] = mapped_column(Id)
    """The id its voice has or will have."""
    fingerprint: Mapped[str] = mapped_column(Sha256)
    """Of owner, content, maker and model: one at a time may be in the making."""
    request: Mapped[dict[str, Any]]
    status: Mapped[str] = mapped_column(String(16), default="pending")
    stage: Mapped[str] = mapped_column(String(16), default="queued")
    progress: Mapped[float] = mapped_column(default=0.0)
    error: Mapped[dict[str, Any] | None] = mapped_column(Json)
    retryable: Mapped[bool] = mapped_column(default=False)
    attempts: Mapped[int] = mapped_column(default=0)
    worker: Mapped[str | None] = mapped_column(String(80))
    """Which process works on it."""
    lease_until: Mapped[Time | None]
    """When that process is taken for dead."""
    created_at: Mapped[Time] = mapped_column(default=utc_now)
    updated_at: Mapped[Time] = mapped_column(default=utc_now, onupdate=utc_now)


class OutboxRow(Base):
    """Something outside the database that is to be undone: a stored file, or a voice where it was cloned."""

    __tablename__ = "outbox"
    __table_args__ = (Index("ix_outbox_due", "due_at"),)

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    kind: Mapped[str] = mapped_column(String(16))
    """`file`: delete `key` from storage; `forget`: delete a voice at its maker."""
    key: Mapped[str] = mapped_column(String(512), index=True)
    payload: Mapped[dict[str, Any]]
    worker: Mapped[str | None] = mapped_column(String(80))
    """Which process is writing the file; while it lives, the file stays."""
    attempts: Mapped[int] = mapped_column(default=0)
    due_at: Mapped[Time] = mapped_column(default=utc_now)
    created_at: Mapped[Time] = mapped_column(default=utc_now)


class FactRow(Base):
    """What all processes over one database must agree on, such as the key that addresses are signed with."""

    __tablename__ = "facts"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    value: Mapped[str] = mapped_column(Text)
