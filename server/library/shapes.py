"""What clients of the voice library send and are answered, with the names of its founding document."""

from __future__ import annotations

import json
import unicodedata
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field

from server.endpoint import Fields

SAMPLE_CHARACTERS_MAX = 50
"""Of `sample_text`: the founding document's and StepFun's limit."""
TRANSCRIPT_CHARACTERS_MAX = 500
NAME_CHARACTERS_MAX = 80
DESCRIPTION_CHARACTERS_MAX = 1_000
TAGS_MAX, TAG_CHARACTERS_MAX = 12, 32
QUERY_CHARACTERS_MAX = 100
SIZE_DEFAULT, SIZE_MAX = 24, 100
PAGE_MAX = 100_000
INPUT_CHARACTERS_MAX = 5_000
METADATA_CHARACTERS_MAX = 8_000
CLEANED_CHARACTERS_MAX = 10_000
"""A longer text is refused next, and would hold the event loop."""
MODEL_CHARACTERS_MAX = 64
VOICE_CHARACTERS_MAX = 200

UNSEEN = ("Cc", "Cs", "Co", "Cn", "Zl", "Zp")
"""Categories of characters that no text has: control, halves of others, private, unassigned, line separators."""
OVERRIDES = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""They turn what stands behind them around, also beside the text."""


def _prose(value: object) -> object:
    """Without what no text has; line breaks and tabs stay."""
    if not isinstance(value, str) or len(value) > CLEANED_CHARACTERS_MAX:
        return value
    kept = (c for c in value if c in "\n\t" or (unicodedata.category(c) not in UNSEEN and c not in OVERRIDES))
    return "".join(kept).strip()


def _line(value: object) -> object:
    """The same on one line."""
    text = _prose(value)
    return " ".join(text.split()) if isinstance(text, str) else text


def _plain_json(value: dict[str, Any] | None) -> dict[str, Any] | None:
    """What a database takes for JSON."""
    try:
        text = json.dumps(value, allow_nan=False)
    except ValueError as error:
        raise ValueError("holds a number that is none") from error
    if len(text) > METADATA_CHARACTERS_MAX or "\\u0000" in text:
        raise ValueError(f"must be at most {METADATA_CHARACTERS_MAX} characters of JSON, without NUL")
    return value


Line = Annotated[str, BeforeValidator(_line)]
Prose = Annotated[str, BeforeValidator(_prose)]
FileId = Annotated[str, Field(pattern=r"^file-[0-9a-f]{24}$", description="Answered by POST /api/files/upload")]
VoiceId = Annotated[str, Field(pattern=r"^voice-[0-9a-f]{24}$", description="Answered by POST /api/voices")]
JobId = Annotated[str, Field(pattern=r"^job-[0-9a-f]{24}$", description="Answered by POST /api/voices")]
RequestId = Annotated[str, Field(pattern=r"^tts-[0-9a-f]{24}$", description="Answered by POST /api/tts/generate")]
AnyVoice = Annotated[
    Line,
    Field(
        min_length=1,
        max_length=VOICE_CHARACTERS_MAX,
        description="voiceId of the library, or the id of a built-in voice (GET /api/voices?scope=builtin)",
    ),
]
Tag = Annotated[str, Field(min_length=1, max_length=TAG_CHARACTERS_MAX), BeforeValidator(_line)]
Language = Annotated[str, Field(pattern=r"^([a-z]{2,3})?$", description="BCP 47 primary tag; empty: told by the text")]
Gender = Literal["", "female", "male", "neutral"]
Stage = Literal["queued", "checking", "embedding", "cloning", "sampling", "done"]
Status = Literal["pending", "running", "completed", "failed"]
AudioFormat = Literal["mp3", "wav", "opus", "flac"]
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


class Consent(Fields):
    """Who recorded it, and what they agreed to."""

    speaker: Line = Field(min_length=1, max_length=120, description="Name of the person who is heard")
    relation: Literal["self", "permitted"] = Field(
        description="self: I am that person; permitted: that person has agreed, and I can show it"
    )
    statement: str = Field(max_length=32, description="Id of the statement agreed to, of GET /api/voices/options")
    agreed: Literal[True] = Field(description="true")


class VoiceRequest(Fields):
    """A voice to be made."""

    fileId: FileId
    consent: Consent
    name: Line = Field(default="", max_length=NAME_CHARACTERS_MAX, description="Empty: the file's name")
    text: Prose = Field(default="", max_length=TRANSCRIPT_CHARACTERS_MAX, description="What is said in the recording")
    sample_text: Prose = Field(default="", max_length=SAMPLE_CHARACTERS_MAX, description="To be heard as a preview")
    maker: Line = Field(default="", max_length=MODEL_CHARACTERS_MAX, description="Of GET /api/voices/options")
    model: Line = Field(default="", max_length=MODEL_CHARACTERS_MAX, description="Of the maker; empty: its default")
    language: Language = ""
    gender: Gender = ""
    description: Prose = Field(default="", max_length=DESCRIPTION_CHARACTERS_MAX)
    tags: list[Tag] = Field(default_factory=list, max_length=TAGS_MAX)
    public: bool = Field(default=False, description="Whether the server's other users may speak with it")
    wait: bool = Field(default=True, description="false: answer 202 at once; follow the job")


class Problem(BaseModel):
    """Why something failed."""

    code: str
    message: str
    details: dict[str, Any] = Field(default_factory=dict)


class Creation(BaseModel):
    """A voice in the making, or made."""

    jobId: str
    status: Status
    stage: Stage
    progress: float = Field(ge=0, le=1, description="Of the whole")
    voiceId: str = Field(description="Empty until it is done")
    sample_text: str
    sample_audio: str = Field(description="Base64 of the preview, WAV; only in the answer of POST /api/voices")
    sample_url: str = Field(description="Signed for an hour; empty until it is done")
    embedding_hash: str
    duplicated: bool = Field(description="This recording, maker and model had been asked for already: that voice")
    maker: str
    model: str
    clones: bool = Field(description="False where the voice only leans toward the speaker; say so")
    similarity: float | None = Field(description="Cosine of recording and preview by the speaker model")
    error: Problem | None = Field(description="Why it failed")
    retryable: bool = Field(description="Whether POST /api/voices/jobs/{jobId}/retry may help")
    created_at: str
    updated_at: str


class Creations(BaseModel):
    """The caller's latest creations, newest first."""

    jobs: list[Creation]


class VoiceCard(BaseModel):
    """A voice as lists show it."""

    voiceId: str = Field(description="Of a built-in voice: its own id")
    speak_as: str = Field(description="What /offer, /human and a session's `voice` take")
    name: str
    description: str
    tags: list[str]
    languages: list[str] = Field(description="BCP 47 primary tags, best first")
    gender: str
    maker: str = Field(description="Of a built-in voice: its engine")
    model: str
    clones: bool
    builtin: bool
    public: bool
    mine: bool
    owner: str = Field(description="Name of whoever made it")
    similarity: float | None
    sample_text: str
    sample_url: str = Field(description="Signed for an hour; empty where there is no preview")
    uses: int = Field(description="How often it spoke")
    created_at: str
    updated_at: str


class ScoredVoice(VoiceCard):
    """A voice and how near it is."""

    score: float = Field(description="Cosine of the speakers' vectors, -1..1")


class Usage(BaseModel):
    """How much was said."""

    calls: int
    characters: int
    seconds: float


class ConsentInfo(BaseModel):
    """What was agreed to, by whom and when."""

    speaker: str
    relation: str
    statement: str
    text: str = Field(description="The statement as it was agreed to")
    agreed_at: str


class VoiceInfo(VoiceCard):
    """A voice with all that is known of it."""

    fileId: str = Field(description="Of the recording; empty for others than its owner")
    text: str = Field(description="What is said in the recording; empty for others than its owner")
    embedding_hash: str
    embedding_model: str
    metadata: dict[str, Any]
    consent: ConsentInfo | None = Field(description="For its owner")
    usage: Usage
    last_used_at: str


class ListRequest(Fields):
    """Which voices."""

    scope: Literal["all", "mine", "public", "builtin"] = Field(
        default="all", description="all: the caller's and public ones; builtin: those of the server's speech engines"
    )
    q: Line = Field(default="", max_length=QUERY_CHARACTERS_MAX, description="Part of name, description or a tag")
    language: Language = ""
    gender: Gender = ""
    maker: Line = Field(default="", max_length=MODEL_CHARACTERS_MAX)
    model: Line = Field(default="", max_length=MODEL_CHARACTERS_MAX)
    sort: Literal["newest", "popular", "name"] = "newest"
    page: int = Field(default=1, ge=1, le=PAGE_MAX)
    size: int = Field(default=SIZE_DEFAULT, ge=1, le=SIZE_MAX)


class Limit(Fields):
    """How many."""

    limit: int = Field(default=8, ge=1, le=50)


class VoiceList(BaseModel):
    """A page of voices."""

    voices: list[VoiceCard]
    total: int
    page: int
    size: int
    pages: int


class SomeVoices(BaseModel):
    """Voices, best first."""

    voices: list[VoiceCard]


class SimilarVoices(BaseModel):
    """Voices of like speakers, nearest first."""

    voices: list[ScoredVoice]
    same_speaker: float = Field(description="Score from which two are taken for one speaker")


class VoiceChange(Fields):
    """What is to change; what is left out stays."""

    name: Line | None = Field(default=None, min_length=1, max_length=NAME_CHARACTERS_MAX)
    description: Prose | None = Field(default=None, max_length=DESCRIPTION_CHARACTERS_MAX)
    tags: list[Tag] | None = Field(default=None, max_length=TAGS_MAX)
    gender: Gender | None = None
    public: bool | None = None
    metadata: Annotated[dict[str, Any] | None, AfterValidator(_plain_json)] = Field(
        default=None, description=f"Anything JSON of at most {METADATA_CHARACTERS_MAX} characters, replaced whole"
    )


class MakerOption(BaseModel):
    """A source of voices."""

    maker: str
    models: list[str] = Field(description="The default first")
    clones: bool = Field(description="False where the voice only leans toward the speaker")
    usable: bool
    why_not: str = Field(description="What would make it usable; empty when it is")


class Statement(BaseModel):
    """What a speaker agrees to."""

    id: str
    en: str
    zh: str


class VoiceOptions(BaseModel):
    """What a page needs to make voices."""

    makers: list[MakerOption] = Field(description="The one used by default first")
    seconds_min: float
    seconds_max: float
    mib_max: int
    formats: str
    sample_characters_max: int
    text_characters_max: int
    input_characters_max: int
    statement: Statement
    embedding_model: str = Field(description="Empty where speakers are not told apart")
    formats_out: list[str]


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


class Account(BaseModel):
    """Who asks."""

    userId: str
    name: str
    owner: bool = Field(description="True for whoever runs this server")
    voices: int
    files: int
    bytes: int = Field(description="Of storage, uploads only")
