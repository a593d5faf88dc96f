"""`ServerOptions`: what can be configured of an engine that speaks to a server, and `Reference`, a voice to imitate."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator

from errors import BadRequest

AT_ONCE_MAX = 4


def _listed(value: object) -> object:
    """`"zh, en"` -> `("zh", "en")`."""
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


def _as_reference(value: object) -> object:
    return {"file": value} if isinstance(value, str) else value


class Reference(BaseModel):
    """A recording that a voice is to sound like."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: str = Field(min_length=1)
    """Its path; `ServerEngine` says on whose disk."""
    text: str = ""
    """What is said in it."""
    language: str = ""
    """BCP 47 primary tag of that; empty where unknown."""


class ServerOptions(BaseModel):
    """Of any engine; each adds its own. Keys are not among them: they come from the environment."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    server: str = ""
    """Its address; empty: `--TTS_SERVER`, or the one that its server has when nobody says otherwise."""
    ref_file: str = ""
    """The voice: a name, an id, or a recording to imitate, as the engine understands it; empty: `--REF_FILE`."""
    ref_text: str = ""
    """What is said in that recording; empty: `--REF_TEXT`."""
    voices: Mapping[str, Annotated[Reference, BeforeValidator(_as_reference)]] = Field(default_factory=dict)
    """More recordings by a name of one's own, e.g. `{"anna": {"file": "anna.wav", "text": "..."}}`."""
    languages: Annotated[tuple[str, ...], BeforeValidator(_listed)] = ()
    """BCP 47 primary tags that its voices speak; empty: those that the model is known for."""
    rate: int = Field(default=0, ge=0, le=192_000)
    """Hz, of samples that come without a header; 0: the model's."""
    at_once: int = Field(default=2, ge=1, le=AT_ONCE_MAX)
    """Clauses of one session that it is asked for at the same time."""
    timeout_s: float = Field(default=10.0, gt=0, le=120)
    """To its first sound, where no other engine could speak."""

    @field_validator("server")
    @classmethod
    def _address(cls, value: str) -> str:
        scheme, _, rest = value.partition("://")
        if value and (scheme not in ("http", "https", "ws", "wss", "grpc") or not rest or "@" in rest):
            raise ValueError("must be an address such as http://127.0.0.1:9880, without a name or password in it")
        return value.rstrip("/")


@dataclasses.dataclass(frozen=True, slots=True)
class Common:
    """What the configuration says to every engine that speaks to a server."""

    keys: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """By the name of the environment variable."""
    mode: str = "balanced"
    """`fast`, `balanced` or `quality`: what an engine does first when it can do only one well."""


def checked(kind: type[ServerOptions], engine: str, given: Mapping[str, Any]) -> ServerOptions:
    """The options of an engine.

    Raises:
        BadRequest: one of them is unknown, or has a value that cannot be used.
    """
    try:
        return kind.model_validate(dict(given))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        if first["type"] == "extra_forbidden":
            known = ", ".join(kind.model_fields)
            raise BadRequest(f"tts_options.{engine}.{place} does not exist; there are {known}") from error
        said = first["msg"].removeprefix("Value error, ")
        found = f"{first['input']!r:.80}"
        raise BadRequest(f"tts_options.{engine}.{place} was {found}: {said[:1].lower()}{said[1:]}") from error
