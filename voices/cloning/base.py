"""What every source of voices promises: a recording in, a voice that speaks."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from media import Pcm
from tts.base import Sound

Progress = Callable[[str, float], None]
"""`(stage, share)`: what is being done, and 0..1 how far."""


@dataclasses.dataclass(frozen=True, slots=True)
class Clip:
    """A recording that passed the checks, as `voices.audio` prepared it."""

    wav: Path
    """Mono 16-bit at 24 kHz, trimmed, -23 LUFS."""
    pcm: Pcm
    """The same as float32 at 16 kHz."""
    sha256: str
    """Of the uploaded bytes."""
    text: str
    """What is said in it; empty when unknown."""
    language: str
    """BCP 47 primary tag; empty when unknown."""


@dataclasses.dataclass(frozen=True, slots=True)
class Made:
    """A voice as its maker made it."""

    voice_id: str
    """The maker's id of it; empty where `recipe` is all there is."""
    recipe: Mapping[str, Any]
    """JSON-ready; kept with the voice and handed back to `speak`."""
    languages: tuple[str, ...]
    """BCP 47 primary tags it speaks, best first."""
    sample: bytes = b""
    """A preview as a WAV file, where the maker gave one."""
    similarity: float | None = None
    """Cosine of the speaker vectors of clip and preview, where it was measured."""
    duplicated: bool = False
    """The maker knew this recording already and answered its earlier voice."""


class VoiceMaker(Protocol):
    """One instance serves all requests; its methods are called on the event loop and never block it.

    What a maker may have beyond this:
        local: True where a recording stays on this machine; others are given it only once it has passed all checks.
        why_not_zh(): what `why_not` says, in Chinese.
        figures(): what `/metrics` is told, by name.
        check(): asks its service whether it can be used, and answers one sentence; for `doctor`.
    """

    name: str
    """`stepfun`, `designed`, `cosyvoice`, ..."""
    models: tuple[str, ...]
    """What a request's `model` may name, the default first."""
    clones: bool
    """True where the voice is a clone of the speaker; False where it only leans toward it, which pages must say."""
    sample_rate_hz: int
    """Of what `speak` gives."""

    def why_not(self) -> str | None:
        """None when usable, else one sentence with the command that makes it so."""
        ...

    async def make(self, clip: Clip, model: str, sample_text: str, progress: Progress) -> Made:
        """Make a voice of a recording; the same recording and model again may answer the same voice.

        Raises:
            VisageError: it cannot, with the sentence for the user; `retryable` says whether later may help.
        """
        ...

    def speak(
        self, voice_id: str, recipe: Mapping[str, Any], text: str, language: str, model: str, speed: float
    ) -> AsyncIterator[Sound]:
        """Yield the text's sound as it is made; closing the iterator stops the work.

        Raises:
            EngineError: it failed; `retryable` says whether another engine should try.
        """
        ...

    async def forget(self, voice_id: str, recipe: Mapping[str, Any]) -> None:
        """Delete the voice where it was made; no error when it is not there."""
        ...

    async def aclose(self) -> None:
        """Free connections and models."""
        ...
