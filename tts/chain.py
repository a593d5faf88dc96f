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
from tts import cache, traits
from tts.base import Sound, SpeechEngine, Voice
from tts.breaker import Breaker
from tts.cache import SoundCache
from tts.shaping import Levels
from tts.wordtimes import Paces

FIRST_SOUND_TIMEOUT_S = 3.0
"""While another engine could speak. The last one has its own patience."""
STALL_TIMEOUT_S = 3.0

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True)
class Piece:
    """A piece of a clause and who spoke it."""

    sound: Sound
    voice: Voice
    rate_hz: int
    text: str
    """What this engine was asked to say: the clause, or the rest of it after another engine failed."""
    tells_words: bool = True
    """False where the engine never does."""


class Chain:
    """Engines in order of preference, shared by all sessions.

    Args:
        engines: best first.
        voice: id of the voice of a session that chooses none; None takes each engine's first.
        now: monotonic seconds.
        first_sound_s: how long an engine may take to its first sound while another could speak.
        kept: clauses that were said before.
    """

    def __init__(
        self,
        engines: Sequence[SpeechEngine],
        voice: str | None = None,
        *,
        now: Callable[[], float] = time.monotonic,
        first_sound_s: float = FIRST_SOUND_TIMEOUT_S,
        kept: SoundCache | None = None,
    ) -> None:
        self.engines = tuple(engines)
        self.levels = Levels()
        self.paces = Paces()
        self._breakers = {engine.name: Breaker(now) for engine in engines}
        self._first_sound_s = first_sound_s
        self._kept = kept
        self._default = voice
        if voice and self.default_voice is None:
            log.warning("default voice %r: there is no such voice now; each engine's own is used", voice)

    def voices(self) -> tuple[Voice, ...]:
        """Every voice that can be used now, engine by engine."""
        return tuple(voice for engine in self.engines for voice in engine.voices())

    def find_voice(self, name: str) -> Voice | None:
        """The voice of that id, or of that id's part behind the colon, or one that an engine knows though it does not
        list it; None when there is none.
        """
        voices = self.voices()
        exact = next((voice for voice in voices if voice.id == name), None)
        found = exact or next((voice for voice in voices if voice.id.split(":", 1)[-1] == name), None)
        return found or next(filter(None, (traits.find_voice(engine, name) for engine in self.engines)), None)

    @property
    def default_voice(self) -> Voice | None:
        """The voice of a session that chooses none."""
        return self.find_voice(self._default) if self._default else None

    def describe(self) -> list[dict[str, Any]]:
        """JSON-ready state of every engine, for `doctor` and the admin page."""
        return [
            {
                "engine": engine.name,
                "voices": len(engine.voices()),
                "why_not": engine.why_not(),
                "failures": self._breakers[engine.name].failures,
                "last_failure": self._breakers[engine.name].reason or None,
                "blocked_for_s": round(self._breakers[engine.name].open_for_s, 1),
            }
            for engine in self.engines
        ]

    def figures(self) -> dict[str, float]:
        """For `/metrics`, by engine."""
        told = {}
        for name, breaker in self._breakers.items():
            told[f'speech_clauses_total{{engine="{name}"}}'] = float(breaker.spoken)
            told[f'speech_failures_total{{engine="{name}"}}'] = float(breaker.failed_ever)
            told[f'speech_resting{{engine="{name}"}}'] = float(breaker.is_open)
        return told

    async def warm_up(self) -> None:
        """Load what the engines need before the first clause; a failure is logged and remembered, never raised."""

        async def one(engine: SpeechEngine) -> None:
            warm_up = traits.warm_up(engine)
            if reason := engine.why_not():
                log.warning("this speech engine cannot be used: %s", reason)
            if warm_up is None or reason:
                return
            try:
                await warm_up()
            except EngineError as error:
                self._failed(engine, error)

        await asyncio.gather(*map(one, self.engines))

    async def aclose(self) -> None:
        """Free every engine."""
        if self._kept:
            await self._kept.aclose()
        await asyncio.gather(*(engine.aclose() for engine in self.engines))

    def candidates(self, language: str, chosen: Voice | None) -> list[tuple[SpeechEngine, Voice]]:
        """Who may speak a clause of `language`, best first; engines that failed lately come last."""
        preferred = self._preferred(language, chosen)
        return sorted(preferred, key=lambda pair: (self._breakers[pair[0].name].is_open, pair[1] != chosen))

    def _preferred(self, language: str, chosen: Voice | None) -> list[tuple[SpeechEngine, Voice]]:
        """Who may speak it and with which voice, in the order of the chain."""
        gender = chosen.gender if chosen else "female"
        found: list[tuple[SpeechEngine, Voice]] = []
        for engine in self.engines:
            if chosen is not None and chosen.engine == engine.name and language in chosen.languages:
                found.append((engine, chosen))
                continue
            if not traits.stands_in(engine):
                continue
            fitting = [voice for voice in engine.voices() if language in voice.languages]
            if fitting:
                best = min(fitting, key=lambda voice: (voice.languages.index(language), voice.gender != gender))
                found.append((engine, best))
        return found

    def at_once(self, language: str, chosen: Voice | None) -> int:
        """How many clauses of one session the engine that comes first may be asked for at the same time."""
        candidates = self.candidates(language, chosen or self.default_voice)
        return traits.at_once(candidates[0][0]) if candidates else 1

    async def speak(
        self,
        clause: str,
        language: str,
        chosen: Voice | None = None,
        speed: float = 1.0,
        hurry: bool = False,
        ref_text: str = "",
    ) -> AsyncGenerator[Piece, None]:
        """Speak a clause; where an engine fails the next says the rest of it.

        Args:
            clause: the text, as `text.clauses.cut` gives it.
            language: BCP 47 primary tag.
            chosen: the voice wanted; it speaks if it knows the language and its engine works.
            speed: 1 is the voice's own pace; for engines that can.
            hurry: someone waits for the first sound; for engines that can be quicker at a price.
            ref_text: what is said in the recording that the voice imitates; for engines that want to know.

        Raises:
            EngineError: no engine could say it, or one refused it for good.
        """
        chosen = chosen or self.default_voice
        if said := await self._said_before(clause, language, chosen, speed, ref_text):
            yield said
            return
        rest = clause
        problems: list[str] = []
        candidates = self.candidates(language, chosen)
        for number, (engine, voice) in enumerate(candidates, 1):
            how = traits.options(engine, speed, hurry, ref_text)
            heard = _Heard(engine.sample_rate_hz)
            patience_s = self._first_sound_s if number < len(candidates) else traits.patience_s(engine)
            try:
                async with contextlib.aclosing(self._one(engine, rest, voice, language, how, patience_s)) as sounds:
                    async for sound in sounds:
                        if sound.pcm.size:
                            heard.take(sound)
                            yield Piece(sound, voice, heard.rate_hz, rest, traits.tells_words(engine))
            except EngineError as error:
                if not error.retryable:
                    raise
                self._failed(engine, error)
                problems.append(str(error))
                rest = rest_of(rest, heard.seconds, heard.finished_words())
                if not rest:
                    return
                continue
            if heard.seconds > 0.0:
                self._breakers[engine.name].succeeded()
                if self._kept and rest == clause and traits.may_be_kept(engine):
                    self._kept.put(_key(engine, voice, clause, language, how), heard.sounds, heard.rate_hz)
                return
            # Characters it does not know are no fault of the engine.
            problems.append(f"{engine.name}: gave no sound for {rest[:40]!r}")
        raise EngineError("speech", "; ".join(problems) or f"no engine of the chain speaks {language!r}")

    async def _said_before(
        self, clause: str, language: str, chosen: Voice | None, speed: float, ref_text: str
    ) -> Piece | None:
        """The clause as the best engine said it before, even where that one cannot be asked now."""
        if self._kept is None:
            return None
        for engine, voice in self._preferred(language, chosen):
            how = traits.options(engine, speed, False, ref_text)
            sound = await self._kept.get(_key(engine, voice, clause, language, how))
            if sound is not None:
                rate_hz = sound.rate_hz or engine.sample_rate_hz
                return Piece(sound, voice, rate_hz, clause, traits.tells_words(engine))
            if not self._breakers[engine.name].is_open:
                return None
        return None

    async def _one(
        self, engine: SpeechEngine, text: str, voice: Voice, language: str, how: dict[str, Any], patience_s: float
    ) -> AsyncGenerator[Sound, None]:
        """One engine's sound, or EngineError when it stays silent too long. An empty sound says `still at it`."""
        sounds = engine.speak(text, voice, language, **how)
        allowed_s = patience_s
        with self._breakers[engine.name].asked():
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
                    except Exception as error:  # A library may raise anything; the next engine must still speak.
                        raise EngineError(engine.name, f"{type(error).__name__}: {error}") from error
                    yield sound
                    allowed_s = max(patience_s, STALL_TIMEOUT_S)
            finally:
                await traits.close(sounds)

    def _failed(self, engine: SpeechEngine, error: EngineError) -> None:
        wait_s = self._breakers[engine.name].failed(error)
        log.warning("speech engine failed, asked again in %.0f s at the earliest: %s", wait_s, error)


class _Heard:
    """What an engine gave of a clause."""

    def __init__(self, rate_hz: int) -> None:
        self.rate_hz = rate_hz
        self.sounds: list[Sound] = []
        self._samples = 0

    def take(self, sound: Sound) -> None:
        self.rate_hz = sound.rate_hz or self.rate_hz
        self.sounds.append(sound)
        self._samples += sound.pcm.size

    @property
    def seconds(self) -> float:
        return self._samples / self.rate_hz

    def finished_words(self) -> list[str]:
        """The words whose end was heard, in order."""
        return [word.text for sound in self.sounds for word in sound.words if word.end_s <= self.seconds]


def _key(engine: SpeechEngine, voice: Voice, clause: str, language: str, how: dict[str, Any]) -> str:
    asked = {name: value for name, value in how.items() if name != "hurry"}
    return cache.key(engine.name, traits.variant(engine), voice.id, language, clause, sorted(asked.items()))


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
