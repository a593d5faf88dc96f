"""What an engine can beyond `SpeechEngine`, by its attributes; `tts.base` says what each means."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from tts.base import Sound, SpeechEngine, Voice

PATIENCE_S = 10.0
NAMES = (
    "takes_speed",
    "takes_hurry",
    "takes_ref_text",
    "tells_words",
    "at_once",
    "patience_s",
    "variant",
    "find_voice",
    "may_be_kept",
    "stands_in",
    "lack",
)
"""All but `warm_up`, which an engine in another process does there."""


def options(engine: SpeechEngine, speed: float, hurry: bool, ref_text: str) -> dict[str, Any]:
    """The keyword arguments beyond the protocol that this engine's `speak` takes."""
    found: dict[str, Any] = {}
    if speed != 1.0 and getattr(engine, "takes_speed", False):
        found["speed"] = speed
    if hurry and getattr(engine, "takes_hurry", False):
        found["hurry"] = True
    if ref_text and getattr(engine, "takes_ref_text", False):
        found["ref_text"] = ref_text
    return found


def tells_words(engine: SpeechEngine) -> bool:
    """Whether its sounds have words where it knows them."""
    return bool(getattr(engine, "tells_words", True))


def at_once(engine: SpeechEngine) -> int:
    """Clauses of one session that it may be asked for at the same time."""
    return int(getattr(engine, "at_once", 1))


def patience_s(engine: SpeechEngine) -> float:
    """How long its first sound, and the next, may take where no other engine could speak."""
    return float(getattr(engine, "patience_s", PATIENCE_S))


def variant(engine: SpeechEngine) -> str:
    """What its sound depends on beside voice and text."""
    return str(getattr(engine, "variant", ""))


def may_be_kept(engine: SpeechEngine) -> bool:
    """Whether what it says may be kept for the next time."""
    return bool(getattr(engine, "may_be_kept", True))


def stands_in(engine: SpeechEngine) -> bool:
    """Whether it may speak where another engine's voice was wanted, or none."""
    return bool(getattr(engine, "stands_in", True))


def warm_up(engine: SpeechEngine) -> Callable[[], Awaitable[None]] | None:
    """What loads it; None where nothing has to be loaded."""
    found: Callable[[], Awaitable[None]] | None = getattr(engine, "warm_up", None)
    return found


def find_voice(engine: SpeechEngine, name: str) -> Voice | None:
    """A voice of that name that `voices` does not list."""
    find: Callable[[str], Voice | None] | None = getattr(engine, "find_voice", None)
    return find(name) if find else None


async def close(sounds: AsyncIterator[Sound]) -> None:
    """Stop the work behind an iterator, where it can be stopped."""
    stop: Any = getattr(sounds, "aclose", None)
    if stop is not None:
        with contextlib.suppress(StopAsyncIteration):
            await stop()
