"""A scripted speech engine on asyncio time: how long to the first sound, how fast after it, where it fails."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import time
from collections.abc import AsyncIterator
from typing import Any

import numpy as np

from errors import BadRequest, EngineError
from tts.base import Sound, Voice, Word

SECONDS_PER_CHARACTER = 0.1
TONE_HZ = 220.0


@dataclasses.dataclass
class FakeEngine:
    """Says each character of a clause as 0.1 s of a tone.

    `first_sound_s` and `chunk_s` are waiting times; `fail_after` and `stall_after` count chunks given before it fails
    or stands still; `silence_s` of silence stands before and behind the tone; no `chunk_samples` is no sound.
    """

    name: str = "fake"
    languages: tuple[str, ...] = ("en", "zh")
    sample_rate_hz: int = 24_000
    first_sound_s: float = 0.1
    chunk_s: float = 0.01
    chunk_samples: int = 2_400
    fail_after: int | None = None
    stall_after: int | None = None
    retryable: bool = True
    silence_s: float = 0.0
    amplitude: float = 0.2
    tell_words: bool = False
    missing: str | None = None
    retry_after_s: float | None = None
    at_once: int = 1
    tells_words: bool = True

    def __post_init__(self) -> None:
        self.asked: list[tuple[str, str, str, float]] = []
        self.at_work = 0
        self.most_at_work = 0
        self.closed = False
        self.takes_speed = True

    def voices(self) -> tuple[Voice, ...]:
        if self.missing:
            return ()
        return tuple(Voice(f"{self.name}:{g}", self.name, self.languages, g, "CC0-1.0") for g in ("female", "male"))

    def why_not(self) -> str | None:
        return self.missing

    async def speak(self, clause: str, voice: Voice, language: str, speed: float = 1.0) -> AsyncIterator[Sound]:
        self.asked.append((clause, voice.id, language, speed))
        self.at_work += 1
        self.most_at_work = max(self.most_at_work, self.at_work)
        try:
            await asyncio.sleep(self.first_sound_s)
            given = 0
            for given, sound in enumerate(self._sounds(clause)):
                await self._misbehave(given)
                yield sound
                await asyncio.sleep(self.chunk_s)
            await self._misbehave(given + 1)
        finally:
            self.at_work -= 1

    async def aclose(self) -> None:
        self.closed = True

    async def _misbehave(self, given: int) -> None:
        if given == self.fail_after:
            raise EngineError(self.name, "scripted failure", retryable=self.retryable, retry_after_s=self.retry_after_s)
        if given == self.stall_after:
            await asyncio.sleep(1e6)

    def _sounds(self, clause: str) -> list[Sound]:
        if not self.chunk_samples:
            return []
        silence = np.zeros(round(self.silence_s * self.sample_rate_hz), np.float32)
        count = round(len(clause) * SECONDS_PER_CHARACTER * self.sample_rate_hz)
        tone = self.amplitude * np.sin(2 * np.pi * TONE_HZ / self.sample_rate_hz * np.arange(count))
        pcm = np.concatenate((silence, tone.astype(np.float32), silence))
        words = self._words(clause) if self.tell_words else []
        sounds = []
        for at in range(0, pcm.size, self.chunk_samples):
            begin_s, end_s = at / self.sample_rate_hz, (at + self.chunk_samples) / self.sample_rate_hz
            here = tuple(word for word in words if begin_s <= word.start_s < end_s)
            sounds.append(Sound(pcm[at : at + self.chunk_samples], here))
        return sounds

    def _words(self, clause: str) -> list[Word]:
        words, at = [], 0
        for text in clause.split():
            at = clause.index(text, at)
            start_s = self.silence_s + at * SECONDS_PER_CHARACTER
            words.append(Word(text, start_s, start_s + len(text) * SECONDS_PER_CHARACTER))
            at += len(text)
        return words


class HostedEngine(FakeEngine):
    """A FakeEngine for a process of its own, whose state can be asked for; everything is made of JSON values."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.warm_ups = 0

    async def warm_up(self) -> None:
        """Counted."""
        self.warm_ups += 1

    async def speak(self, clause: str, voice: Voice, language: str, speed: float = 1.0) -> AsyncIterator[Sound]:
        """The clause, unless it is one of these orders."""
        match clause.split():
            case ["report"]:
                facts = (f"at_work={self.at_work}", f"warm_ups={self.warm_ups}", f"pid={os.getpid()}")
                yield Sound(np.zeros(1, np.float32), tuple(Word(fact, 0.0, 0.0) for fact in facts))
            case ["raise", name]:
                raise {"bad": BadRequest, "value": ValueError}[name]("scripted")
            case ["hold"]:
                time.sleep(1e6)  # noqa: ASYNC251
            case _:
                async for sound in super().speak(clause, voice, language, speed):
                    yield sound
