"""`Chain`: the configured engines in order; each clause goes to the first that can speak it, and on to the next."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any

from errors import EngineError
from text.clauses import spoken_s
from tts.base import Sound, SpeechEngine, Voice, Word
from tts.shaping import Levels

FIRST_SOUND_TIMEOUT_S = 3.0
STALL_TIMEOUT_S = 3.0
BACKOFF_FIRST_S = 5.0
BACKOFF_MAX_S = 300.0

log = logging.getLogger(__name__)


@dataclasses.dataclass(slots=True)
class _Health:
    """How an engine has done lately."""

    failures: int = 0
    blocked_until: float = 0.0
    reason: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Piece:
    """A piece of a clause and who spoke it."""

    sound: Sound
    voice: Voice
    rate_hz: int
    text: str
    """What this engine was asked to say: the clause, or the rest of it after another engine failed."""


class Chain:
    """Engines in order of preference, shared by all sessions.

    Args:
        engines: best first.
        voice: id of the voice of a session that chooses none; None takes each engine's first.
        now: monotonic seconds.
    """

    def __init__(
        self, engines: Sequence[SpeechEngine], voice: str | None = None, *, now: Callable[[], float] = time.monotonic
    ) -> None:
        self.engines = tuple(engines)
        self.levels = Levels()
        self._now = now
        self._health = {engine.name: _Health() for engine in engines}
        self._default = voice
        if voice and self.default_voice is None:
            log.warning("default voice %r: there is no such voice now; each engine's own is used", voice)

    def voices(self) -> tuple[Voice, ...]:
        """Every voice that can be used now, engine by engine."""
        return tuple(voice for engine in self.engines for voice in engine.voices())

    def find_voice(self, name: str) -> Voice | None:
        """The voice of that id, or of that id's part behind the colon; None when there is none."""
        voices = self.voices()
        exact = next((voice for voice in voices if voice.id == name), None)
        return exact or next((voice for voice in voices if voice.id.split(":", 1)[-1] == name), None)

    @property
    def default_voice(self) -> Voice | None:
        """The voice of a session that chooses none."""
        return self.find_voice(self._default) if self._default else None

    def describe(self) -> list[dict[str, Any]]:
        """JSON-ready state of every engine, for `doctor` and the admin page."""
        now = self._now()
        return [
            {
                "engine": engine.name,
                "voices": len(engine.voices()),
                "why_not": engine.why_not(),
                "failures": self._health[engine.name].failures,
                "last_failure": self._health[engine.name].reason or None,
                "blocked_for_s": max(0.0, round(self._health[engine.name].blocked_until - now, 1)),
            }
            for engine in self.engines
        ]

    async def warm_up(self) -> None:
        """Load what the engines need before the first clause; a failure is logged and remembered, never raised."""

        async def one(engine: SpeechEngine) -> None:
            warm_up = getattr(engine, "warm_up", None)
            if warm_up is None or engine.why_not():
                return
            try:
                await warm_up()
            except EngineError as error:
                self._failed(engine, str(error))

        await asyncio.gather(*map(one, self.engines))

    async def aclose(self) -> None:
        """Free every engine."""
        await asyncio.gather(*(engine.aclose() for engine in self.engines))

    def candidates(self, language: str, chosen: Voice | None) -> list[tuple[SpeechEngine, Voice]]:
        """Who may speak a clause of `language`, best first; engines that failed lately come last."""
        gender = chosen.gender if chosen else "female"
        found: list[tuple[SpeechEngine, Voice]] = []
        for engine in self.engines:
            fitting = [voice for voice in engine.voices() if language in voice.languages]
            if fitting:
                best = min(fitting, key=lambda voice: (voice.languages.index(language), voice.gender != gender))
                found.append((engine, chosen if chosen in fitting else best))
        now = self._now()
        return sorted(found, key=lambda pair: (self._health[pair[0].name].blocked_until > now, pair[1] != chosen))

    async def speak(
        self, clause: str, language: str, chosen: Voice | None = None, speed: float = 1.0, hurry: bool = False
    ) -> AsyncGenerator[Piece, None]:
        """Speak a clause; where an engine fails the next says the rest of it.

        Args:
            clause: the text, as `text.clauses.cut` gives it.
            language: BCP 47 primary tag.
            chosen: the voice wanted; it speaks if it knows the language and its engine works.
            speed: 1 is the voice's own pace; for engines that can.
            hurry: someone waits for the first sound; for engines that can be quicker at a price.

        Raises:
            EngineError: no engine could say it, or one refused it for good.
        """
        rest = clause
        problems: list[str] = []
        for engine, voice in self.candidates(language, chosen or self.default_voice):
            options = _options(engine, speed, hurry)
            heard_s = 0.0
            spoken: list[Word] = []
            try:
                async with contextlib.aclosing(self._one(engine, rest, voice, language, options)) as sounds:
                    async for sound in sounds:
                        if not sound.pcm.size:
                            continue
                        heard_s += sound.pcm.size / engine.sample_rate_hz
                        spoken += sound.words
                        yield Piece(sound, voice, engine.sample_rate_hz, rest)
            except EngineError as error:
                if not error.retryable:
                    raise
                self._failed(engine, str(error))
                problems.append(str(error))
                rest = rest_of(rest, heard_s, [word.text for word in spoken if word.end_s <= heard_s])
                if not rest:
                    return
                continue
            if heard_s > 0.0:
                self._health[engine.name] = _Health()
                return
            # Characters it does not know are no fault of the engine.
            problems.append(f"{engine.name}: gave no sound for {rest[:40]!r}")
        raise EngineError("speech", "; ".join(problems) or f"no engine of the chain speaks {language!r}")

    async def _one(
        self, engine: SpeechEngine, text: str, voice: Voice, language: str, options: dict[str, Any]
    ) -> AsyncGenerator[Sound, None]:
        """One engine's sound, or EngineError when it stays silent too long. An empty sound says `still at it`."""
        sounds = engine.speak(text, voice, language, **options)
        allowed_s = FIRST_SOUND_TIMEOUT_S
        try:
            while True:
                try:
                    async with asyncio.timeout(allowed_s):
                        sound = await anext(sounds)
                except StopAsyncIteration:
                    return
                except TimeoutError as error:
                    raise EngineError(engine.name, f"gave nothing for {allowed_s:.0f} s") from error
                except EngineError:
                    raise
                except Exception as error:  # An engine's library may raise anything; the next engine must still speak.
                    raise EngineError(engine.name, f"{type(error).__name__}: {error}") from error
                yield sound
                allowed_s = STALL_TIMEOUT_S
        finally:
            close = getattr(sounds, "aclose", None)
            if close is not None:
                await close()

    def _failed(self, engine: SpeechEngine, reason: str) -> None:
        health = self._health[engine.name]
        health.failures += 1
        health.reason = reason
        wait_s = min(BACKOFF_MAX_S, BACKOFF_FIRST_S * 2 ** min(health.failures - 1, 10))
        health.blocked_until = self._now() + wait_s
        log.warning("speech engine failed, asked again in %.0f s at the earliest: %s", wait_s, reason)


def _options(engine: SpeechEngine, speed: float, hurry: bool) -> dict[str, Any]:
    """The keyword arguments beyond the protocol that this engine's `speak` takes."""
    options: dict[str, Any] = {}
    if speed != 1.0 and getattr(engine, "takes_speed", False):
        options["speed"] = speed
    if hurry and getattr(engine, "takes_hurry", False):
        options["hurry"] = True
    return options


def rest_of(clause: str, heard_s: float, words: Sequence[str] = ()) -> str:
    """What of a clause is still to be said after `heard_s` seconds of it were heard.

    Args:
        clause: what the engine was asked to say.
        heard_s: seconds it gave before it failed.
        words: the words it surely finished, in order, when it tells; else the place is estimated, rather too early
            than too late, so that a word may be said twice but none is lost.
    """
    if heard_s <= 0:
        return clause
    if words:
        at = 0
        for word in words:
            found = clause.find(word, at)
            at = found + len(word) if found >= 0 else at
        return clause[at:].lstrip(" ,.;:!?，。；：！？、")
    total_s = spoken_s(clause)
    at, passed_s = 0, 0.0
    while at < len(clause) and passed_s < 0.8 * heard_s:
        passed_s += spoken_s(clause[at])
        at += 1
    if passed_s >= total_s and heard_s > total_s:
        return ""
    while 0 < at < len(clause) and clause[at - 1].isascii() and clause[at - 1].isalnum():
        at -= 1
    return clause[at:].lstrip(" ,.;:!?，。；：！？、")
