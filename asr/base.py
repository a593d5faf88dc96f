"""What every recogniser promises: an utterance in, what was said out."""

from __future__ import annotations

import dataclasses
from typing import Protocol

from media import Pcm

LANGUAGES = ("en", "zh")
"""Told apart when no language is given: Whisper would choose among a hundred, and takes a short word for any."""


@dataclasses.dataclass(frozen=True, slots=True)
class Transcript:
    """What was heard; `text` is empty when nobody said anything."""

    text: str
    language: str
    """BCP 47 primary tag: `en`, `zh`, ..."""
    confidence: float
    """0..1: the geometric mean of the tokens' probabilities; 1 from engines that tell none."""
    no_speech: float
    """0..1: how probable it is that nobody spoke; 0 from engines that do not tell."""
    seconds: float
    """Of the sound it was made from."""

    def without_text(self, no_speech: float | None = None) -> Transcript:
        """The same sound, taken for one in which nobody spoke."""
        sure = self.no_speech if no_speech is None else no_speech
        return dataclasses.replace(self, text="", confidence=0.0, no_speech=sure)


class Recogniser(Protocol):
    """One instance serves all sessions; its methods are called on the event loop and never block it."""

    name: str

    async def transcribe(self, pcm: Pcm, *, language: str | None = None, final: bool = True) -> Transcript:
        """What was said.

        Args:
            pcm: 16 kHz mono -1..1, any length.
            language: BCP 47 primary tag; None lets the engine tell, among LANGUAGES unless it was made otherwise.
            final: False for a caption of an utterance that goes on: it yields to what is final.

        Raises:
            EngineError: the engine failed; `retryable` says whether it may do better the next time.
        """
        ...

    async def warm_up(self) -> None:
        """Load what the first utterance would have to wait for."""
        ...

    async def aclose(self) -> None:
        """Free threads, connections and models."""
        ...


class ListenersRecogniser(Recogniser, Protocol):
    """What a listener asks."""

    @property
    def foresees(self) -> bool:
        """Whether an utterance may be given to it as final that turns out to go on: not where each costs money or
        seconds."""
        ...


class RecognitionEngine(Recogniser, Protocol):
    """A member of the chain."""

    takes_partials: bool
    """Whether utterances that go on may be given to it every second: not where each costs money or seconds."""

    def why_not(self) -> str | None:
        """None when usable, else one sentence with what makes it so."""
        ...
