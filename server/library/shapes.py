"""What all parts of the library share, and recordings with their vectors; names are those of the founding document."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from server.endpoint import Fields

QUERY_CHARACTERS_MAX = 100
SIZE_DEFAULT, SIZE_MAX = 24, 100
PAGE_MAX = 100_000
MODEL_CHARACTERS_MAX = 64
VOICE_CHARACTERS_MAX = 200
FileId = Annotated[str, Field(pattern=r"^file-[0-9a-f]{24}$", description="Answered by POST /api/files/upload")]
VoiceId = Annotated[str, Field(pattern=r"^voice-[0-9a-f]{24}$", description="Answered by POST /api/voices")]
JobId = Annotated[str, Field(pattern=r"^job-[0-9a-f]{24}$", description="Answered by POST /api/voices")]
RequestId = Annotated[str, Field(pattern=r"^tts-[0-9a-f]{24}$", description="Answered by POST /api/tts/generate")]
Language = Annotated[str, Field(pattern=r"^([a-z]{2,3})?$", description="BCP 47 primary tag; empty: told by the text")]
Expires = Annotated[int, Field(ge=0, description="Of a signed address: seconds since 1970; with a key not needed")]
Signature = Annotated[str, Field(pattern=r"^[0-9a-f]{0,40}$", description="Of a signed address; with a key not needed")]


class OfFile(Fields):
    """Which file."""

    fileId: FileId


class OfVoice(Fields):
    """Which voice of the library."""

    voiceId: VoiceId


class OfJob(Fields):
    """Which creation."""

    jobId: JobId


class OfRequest(Fields):
    """Which generation."""

    requestId: RequestId


class Upload(Fields):
    """A recording of 5 to 10 s of one person's speech (multipart)."""

    file: str = Field(
        description="WAV, MP3, M4A, OGG, FLAC, WebM or MP4; told by its content",
        json_schema_extra={"format": "binary"},
    )


class Checks(BaseModel):
    """What was measured in a recording."""

    speech_ratio: float = Field(description="Share of the trimmed recording in which somebody speaks, 0..1")
    loudness_lufs: float = Field(description="Of the recording as it came, BS.1770")
    snr_db: float = Field(description="Speech against what is heard between the words")
    clipped_ratio: float = Field(description="Share of samples cut off at full scale")


class FileInfo(BaseModel):
    """An uploaded recording."""

    fileId: str
    filename: str
    size: int = Field(description="Bytes as uploaded")
    format: str = Field(description="wav, mp3, mov (MP4, M4A), ogg, flac, matroska (WebM), aac")
    sample_rate: int = Field(description="Hz as uploaded")
    channels: int
    duration: float = Field(description="Seconds once the silence at its ends is cut")
    sha256: str = Field(description="Of the uploaded bytes")
    peaks: list[float] = Field(description="Waveform of the trimmed recording: 200 peaks, 0..1")
    checks: Checks
    voices: list[str] = Field(description="voiceIds made of it")
    created_at: str = Field(description="ISO 8601, UTC")
    url: str = Field(description="Signed for an hour: the trimmed recording, WAV, 24 kHz")
    original_url: str = Field(description="Signed for an hour: the bytes as uploaded")
    duplicated: bool = Field(description="These bytes had been uploaded already; this is that file")


class Content(Fields):
    """Which bytes of a file."""

    variant: Literal["prepared", "original"] = Field(
        default="prepared", description="prepared: trimmed, -23 LUFS, WAV, 24 kHz; original: as uploaded"
    )
    expires: Expires = 0
    signature: Signature = ""


class Signed(Fields):
    """The signature of an address."""

    expires: Expires = 0
    signature: Signature = ""


class Deleted(BaseModel):
    """What went."""

    deleted: bool = Field(description="true")
    files: int = Field(default=0, description="Stored files that went with it")
    generations: int = Field(default=0, description="Generated speech that went with it")


class EmbeddingRequest(Fields):
    """Of which recording."""

    fileId: FileId


class EmbeddingInfo(BaseModel):
    """A speaker's vector."""

    embeddingId: str
    fileId: str
    embedding: list[float] = Field(description="Of length 1")
    embedding_hash: str = Field(description="SHA-256 of its little-endian float32 bytes")
    dimension: int
    model: str = Field(description="campplus, resemblyzer, placeholder or a service's own")
    model_version: str
    placeholder: bool = Field(description="True where the vector says nothing about the speaker; never compared")
    created_at: str


class Usage(BaseModel):
    """How much was said."""

    calls: int
    characters: int
    seconds: float


class Account(BaseModel):
    """Who asks."""

    userId: str
    name: str
    owner: bool = Field(description="True for whoever runs this server")
    voices: int
    files: int
    bytes: int = Field(description="Of storage, uploads only")
