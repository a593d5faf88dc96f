"""Voices: what is sent to make, find and change them, and what is answered."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field

from server.endpoint import Fields
from server.library.shapes import (
    MODEL_CHARACTERS_MAX,
    PAGE_MAX,
    QUERY_CHARACTERS_MAX,
    SIZE_DEFAULT,
    SIZE_MAX,
    FileId,
    Language,
    Usage,
)
from server.library.texts import METADATA_CHARACTERS_MAX, Line, Prose, line, plain_json

SAMPLE_CHARACTERS_MAX = 50
"""Of `sample_text`: the founding document's and StepFun's limit."""
TRANSCRIPT_CHARACTERS_MAX = 500
NAME_CHARACTERS_MAX = 80
DESCRIPTION_CHARACTERS_MAX = 1_000
TAGS_MAX, TAG_CHARACTERS_MAX = 12, 32
Tag = Annotated[str, Field(min_length=1, max_length=TAG_CHARACTERS_MAX), BeforeValidator(line)]
Gender = Literal["", "female", "male", "neutral"]
Stage = Literal["queued", "checking", "embedding", "cloning", "sampling", "done"]
Status = Literal["pending", "running", "completed", "failed"]


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
    metadata: Annotated[dict[str, Any] | None, AfterValidator(plain_json)] = Field(
        default=None, description=f"Anything JSON of at most {METADATA_CHARACTERS_MAX} characters, replaced whole"
    )


class MakerOption(BaseModel):
    """A source of voices."""

    maker: str
    models: list[str] = Field(description="The default first")
    clones: bool = Field(description="False where the voice only leans toward the speaker")
    usable: bool
    why_not: str = Field(description="What would make it usable; empty when it is")
    why_not_zh: str = Field(description="The same in Chinese, where that is known")


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
