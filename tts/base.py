"""What every speech engine promises: a clause in, sound out as it is made."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from typing import Protocol

from media import Pcm


@dataclasses.dataclass(frozen=True, slots=True)
class Voice:
    """One voice of one engine."""

    id: str
    """Unique over all engines, e.g. `kokoro:zf_xiaobei`."""
    engine: str
    languages: tuple[str, ...]
    """BCP 47 primary tags this voice speaks, best first: `en`, `zh`, ..."""
    gender: str
    """`female`, `male` or `neutral`."""
    licence: str
    """SPDX identifier of the voice's weights."""


@dataclasses.dataclass(frozen=True, slots=True)
class Word:
    """A word and when it is heard, in seconds from the start of the clause."""

    text: str
    start_s: float
    end_s: float
    estimated: bool = False
    """Told from the text's length, by nobody who knows."""


@dataclasses.dataclass(frozen=True, slots=True)
class Sound:
    """A piece of a clause's speech."""

    pcm: Pcm
    """Mono float32 at `SpeechEngine.sample_rate_hz`, any length."""
    words: tuple[Word, ...] = ()
    """Words that begin within this piece, when the engine knows them."""
    rate_hz: int | None = None
    """Where it is not `SpeechEngine.sample_rate_hz`; the same in all pieces of a clause."""


class SpeechEngine(Protocol):
    """One instance serves all sessions; its methods are called on the event loop and never block it.

    What an engine may have beyond this, all of it looked up by `tts.traits`:
        takes_speed, takes_hurry, takes_ref_text: `speak` takes `speed` (1 is the voice's own pace), `hurry` (someone
            waits for the first sound) and `ref_text` (what is said in the recording that the voice imitates).
        tells_words: False where no `Sound` has words, which are then estimated.
        at_once: clauses of one session that it may be asked for at the same time; 1 by default.
        patience_s: how long its first sound may take where no other engine could speak.
        variant: what its sound depends on beside voice and text (a model, an address), for the cache.
        warm_up(): load what the first clause needs.
        find_voice(name): a voice that `voices` does not list.
        may_be_kept: False where nothing it says may be kept on disk for the next time.
        stands_in: False where it speaks only for whoever chose a voice of its, and for nobody else's.
        lack(): what `why_not` says in both languages, and what helps (`tts.wire.engine.Lack`).
    """

    name: str
    sample_rate_hz: int

    def voices(self) -> tuple[Voice, ...]:
        """The voices that can be used now; empty when the weights are missing."""
        ...

    def why_not(self) -> str | None:
        """None when usable, else one sentence with the command that makes it so."""
        ...

    def speak(self, clause: str, voice: Voice, language: str) -> AsyncIterator[Sound]:
        """Yield the clause's sound as it is made; closing the iterator stops the work.

        Raises:
            EngineError: the engine failed; `retryable` says whether the next engine should try.
        """
        ...

    async def aclose(self) -> None:
        """Free threads and models."""
        ...
