"""hibari: English, about a hundred times faster than real time on one core; its weights come with the package."""

from __future__ import annotations

import functools
import os
from collections.abc import AsyncIterator
from typing import Any

import hibari
from hibari.voices import VOICES, voice_path

from tts.base import Sound, Voice
from tts.worker import Worker

LICENCE = "Apache-2.0"


class HibariEngine:
    """Speaks a clause in one go: 2.5 s of speech take about 25 ms."""

    name = "hibari"
    sample_rate_hz = hibari.SAMPLE_RATE
    takes_speed = True

    def __init__(self) -> None:
        self._worker = Worker("hibari")
        self._models: dict[str, Any] = {}
        self._voices = tuple(
            Voice(f"hibari:{name}", "hibari", ("en",), str(facts["gender"]), LICENCE)
            for name, facts in VOICES.items()
            if _have(name)
        )

    def voices(self) -> tuple[Voice, ...]:
        """The voice in the package, and those already in hibari's own cache; none is downloaded."""
        return self._voices

    def why_not(self) -> str | None:
        """Always usable: the default voice is in the package."""
        return None

    async def warm_up(self) -> None:
        """Load the default voice and its pronunciation, and run both once."""
        await self._worker.run(functools.partial(self._synthesise, "Hello.", self._voices[0], 1.0))

    async def speak(self, clause: str, voice: Voice, language: str, speed: float = 1.0) -> AsyncIterator[Sound]:
        """The clause, sentence by sentence."""
        for sentence in hibari.Hibari.split_sentences(clause):
            yield await self._worker.run(functools.partial(self._synthesise, sentence, voice, speed))

    async def aclose(self) -> None:
        """End the thread."""
        await self._worker.aclose()

    def _synthesise(self, text: str, voice: Voice, speed: float) -> Sound:
        """In the worker: text to sound."""
        name = voice.id.split(":", 1)[1]
        model = self._models.get(name)
        if model is None:
            model = self._models[name] = hibari.Hibari(voice=name, threads=1)
        return Sound(model(text, speed=speed))


def _have(name: str) -> bool:
    try:
        return os.path.exists(voice_path(name, download_missing=False))
    except FileNotFoundError:
        return False
