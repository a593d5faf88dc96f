"""`RecogniserChain`: the configured recognisers in order; each utterance goes to the first that can take it."""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

from asr.base import RecognitionEngine, Transcript
from errors import BadRequest, EngineError
from media import SAMPLE_RATE_HZ, Pcm

ANSWER_TIMEOUT_S = 8.0
"""Of the clock, for an utterance without length; the next engine is then asked."""
TIMEOUT_PER_S = 0.25
"""More for each second of sound: whisper-base needs a tenth of that on a free core."""
LOADING_S = 30.0
"""For the first answer of an engine that was not warmed up."""
BACKOFF_FIRST_S = 5.0
BACKOFF_MAX_S = 300.0

log = logging.getLogger(__name__)


@dataclasses.dataclass(slots=True)
class _Health:
    """How an engine has done lately."""

    failures: int = 0
    blocked_until: float = 0.0
    reason: str = ""
    answered: bool = False


class RecogniserChain:
    """Engines in order of preference, shared by all sessions; a `Recogniser` itself.

    Args:
        engines: best first.
        now: monotonic seconds.
    """

    name = "recognition"

    def __init__(self, engines: Sequence[RecognitionEngine], *, now: Callable[[], float] = time.monotonic) -> None:
        self.engines = tuple(engines)
        self._now = now
        self._health = {engine.name: _Health() for engine in engines}
        self._answers: collections.Counter[str] = collections.Counter()
        self._failures: collections.Counter[str] = collections.Counter()

    @property
    def takes_partials(self) -> bool:
        """Whether an engine that can be used now makes captions."""
        return any(engine.takes_partials and not engine.why_not() for engine in self.engines)

    @property
    def foresees(self) -> bool:
        """Whether the engine that is asked first also makes captions, so that one text more costs little."""
        first = self.candidates()[:1]
        return bool(first) and first[0].takes_partials

    def why_not(self) -> str | None:
        """None when some engine is usable, else the reasons of all."""
        reasons = [engine.why_not() for engine in self.engines]
        return None if None in reasons else "; ".join(filter(None, reasons)) or "no recogniser is configured"

    def describe(self) -> list[dict[str, Any]]:
        """JSON-ready state of every engine, for `doctor` and the admin page."""
        now = self._now()
        return [
            {
                "engine": engine.name,
                "partials": engine.takes_partials,
                "why_not": engine.why_not(),
                "failures": self._health[engine.name].failures,
                "last_failure": self._health[engine.name].reason or None,
                "blocked_for_s": max(0.0, round(self._health[engine.name].blocked_until - now, 1)),
            }
            for engine in self.engines
        ]

    def figures(self) -> dict[str, float]:
        """For `/metrics`, by engine."""
        told = {}
        for engine in self.engines:
            told[f'recognition_answers_total{{engine="{engine.name}"}}'] = float(self._answers[engine.name])
            told[f'recognition_failures_total{{engine="{engine.name}"}}'] = float(self._failures[engine.name])
        return told

    async def warm_up(self) -> None:
        """Load the engines that can be used; a failure is logged and remembered, never raised."""

        async def one(engine: RecognitionEngine) -> None:
            if engine.why_not():
                return
            try:
                await engine.warm_up()
                self._health[engine.name].answered = True
            except EngineError as error:
                self._failed(engine, error)

        await asyncio.gather(*map(one, self.engines))

    async def aclose(self) -> None:
        """Free every engine."""
        await asyncio.gather(*(engine.aclose() for engine in self.engines))

    def candidates(self, *, final: bool = True) -> list[RecognitionEngine]:
        """Who may be asked now, best first; engines that failed lately come last."""
        usable = [engine for engine in self.engines if not engine.why_not() and (final or engine.takes_partials)]
        now = self._now()
        return sorted(usable, key=lambda engine: self._health[engine.name].blocked_until > now)

    async def transcribe(self, pcm: Pcm, *, language: str | None = None, final: bool = True) -> Transcript:
        """What was said, by the first engine that answers.

        A caption is asked of one engine only: the next one comes soon enough.

        Raises:
            EngineError: no engine could take it.
            BadRequest: the request cannot be met by any, e.g. an unknown language.
        """
        problems: list[str] = []
        candidates = self.candidates(final=final)
        for engine in candidates if final else candidates[:1]:
            try:
                transcript = await self._one(engine, pcm, language, final)
            except EngineError as error:
                self._failed(engine, error)
                problems.append(str(error))
            else:
                self._health[engine.name] = _Health(answered=True)
                self._answers[engine.name] += 1
                return transcript
        kind = "transcribes" if final else "makes captions"
        raise EngineError(self.name, "; ".join(problems) or self.why_not() or f"no engine of the chain {kind} now")

    async def _one(self, engine: RecognitionEngine, pcm: Pcm, language: str | None, final: bool) -> Transcript:
        """One engine's answer, or EngineError when it takes too long."""
        allowed_s = ANSWER_TIMEOUT_S + TIMEOUT_PER_S * pcm.size / SAMPLE_RATE_HZ
        if not self._health[engine.name].answered:
            allowed_s = max(allowed_s, LOADING_S)
        try:
            async with asyncio.timeout(allowed_s):
                return await engine.transcribe(pcm, language=language, final=final)
        except TimeoutError as error:
            raise EngineError(engine.name, f"gave nothing for {allowed_s:.0f} s") from error
        except (EngineError, BadRequest):
            raise
        except Exception as error:  # An engine's library may raise anything; the next engine must still be asked.
            raise EngineError(engine.name, f"{type(error).__name__}: {error}") from error

    def _failed(self, engine: RecognitionEngine, error: EngineError) -> None:
        """Ask it again later: a refusal (a wrong key) heals by no waiting, so at once for the longest time."""
        self._failures[engine.name] += 1
        health = self._health[engine.name]
        health.failures += 1
        health.reason = str(error)
        doubled = BACKOFF_FIRST_S * 2 ** min(health.failures - 1, 10)
        wait_s = min(BACKOFF_MAX_S, doubled) if error.retryable else BACKOFF_MAX_S
        health.blocked_until = self._now() + wait_s
        log.warning("recogniser failed, asked again in %.0f s at the earliest: %s", wait_s, error)
