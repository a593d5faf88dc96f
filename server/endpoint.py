"""What a route is: its handler and everything a client needs to know, declared once.

The dispatcher validates requests by the declaration and `openapi.py` documents it, so the two cannot differ.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Generic, Literal, TypeVar

from aiohttp import web
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from config import Settings
from errors import NotFound
from tts.base import Voice
from voices.people import LOCAL, User

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from avatarbuild.tasks import AvatarTasks
    from llm import LanguageModel
    from server.ears import Ears
    from server.metrics import Metrics
    from sessions.manager import SessionManager
    from transport.recordings import Recordings
    from voices.library import Library

Given = TypeVar("Given", bound="BaseModel")
Where = Literal["json", "query", "path", "form", "nothing"]


@dataclasses.dataclass(frozen=True, slots=True)
class AvatarCard:
    """What clients are told of an avatar."""

    id: str
    names: dict[str, str]
    """By language: `en`, `zh`."""
    width: int
    height: int
    fps: int
    licence: str
    poster: Path


def _no_voice(name: str) -> Voice | None:
    return None


async def _no_avatar(avatar_id: str) -> None:
    raise NotFound(f"avatar {avatar_id!r} does not exist")


@dataclasses.dataclass(slots=True)
class Services:
    """What the handlers work with; made once by the wiring."""

    settings: Settings
    sessions: SessionManager
    metrics: Metrics
    decoders: Executor
    """One or two threads that decode uploads."""
    avatars: Callable[[], Sequence[AvatarCard]]
    voices: Callable[[], Sequence[Voice]]
    recordings: Recordings
    language_model: LanguageModel | None = None
    describe: Callable[[], dict[str, Any]] = dict
    """Facts about the engines for `/api/admin/config`."""
    uploads: int = 0
    """Uploads being received at this moment."""
    voice_uploads: int = 0
    """Recordings for voices being received or judged at this moment."""
    figures: Callable[[], Mapping[str, float]] = dict
    """Figures of the engines for `/metrics`, by name without its prefix."""
    not_ready: Callable[[], str | None] = lambda: None
    """None once a session can be opened, else why not."""
    avatar_root: Path = Path("data/avatars")
    upload_dir: Path = Path("data/uploads")
    """Where clips lie until they are avatars."""
    avatar_tasks: AvatarTasks | None = None
    ears: Ears | None = None
    """With what clients of `/api/asr` are heard."""
    deaf: Callable[[], str | None] = lambda: "this server has no ears"
    """None when visitors' microphones are heard, else why not."""
    find_voice: Callable[[str], Voice | None] = _no_voice
    """A voice of that id or name which `voices` need not list."""
    library: Library | None = None
    """The voices of one's own."""
    remove_avatar: Callable[[str], Awaitable[None]] = _no_avatar
    """Deletes an avatar that no session shows."""


SERVICES = web.AppKey("services", Services)


@dataclasses.dataclass(frozen=True, slots=True)
class Call(Generic[Given]):
    """One request, understood."""

    request: web.Request
    services: Services
    given: Given
    place: Any = None
    """The path's fields, where the endpoint names a model `within` for them."""
    user: User = LOCAL
    """Who asks."""


class Nothing(BaseModel):
    """A request without parameters."""


class Fields(BaseModel):
    """Base of request models: what a page sends beyond them is ignored, as LiveTalking does."""

    model_config = ConfigDict(extra="ignore")


def _id_text(value: object) -> object:
    """LiveTalking's pages send the id as a number or a string, its oldest none or null."""
    if value is None:
        return ""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value.strip() if isinstance(value, str) else value


SessionId = Annotated[
    str,
    BeforeValidator(_id_text),
    Field(
        pattern=r"^([1-9]\d{0,14}|0)?$",
        description="Id answered by POST /offer, as a string or a number; empty or 0 means the only open session",
        examples=["482915730264817"],
        json_schema_extra={"type": ["string", "integer", "null"]},
    ),
]


class OfSession(Fields):
    """A request about one session."""

    sessionid: SessionId = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Endpoint(Generic[Given]):
    """One route."""

    method: str
    path: str
    handler: Callable[[Call[Given]], Awaitable[Any]]
    """Returns the answer's `data`, or a whole response."""
    en: str
    zh: str
    tag: str
    takes: type[Given]
    where: Where = "nothing"
    within: type[BaseModel] | None = None
    """Model of the path's fields, where `takes` comes from elsewhere."""
    data: Any = None
    """Type of the answer's `data`; None when there is none."""
    success: tuple[int, ...] = (200,)
    """Statuses of answers that are no failure."""
    media: str = "application/json"
    """What a whole response is, when the handler returns one; several kinds stand as in an Accept header."""
    statuses: tuple[int, ...] = ()
    """Failures it may answer besides those every route has."""
    locked: bool = True
    """Wants the API key, when one is set."""
    owner_only: bool = False
    """Is for whoever runs this server, not for the users that have accounts on it."""
    key_in_query: bool = False
    """Takes the key as `?api_key=` too, for clients that cannot set headers (EventSource, window.open)."""
