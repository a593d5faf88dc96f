"""A scripted maker of voices and a scripted speaker model: they note what they are asked and do as they are told."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
from collections.abc import AsyncIterator, Mapping
from typing import Any

import numpy as np

from errors import EngineError, VisageError
from media import Pcm
from tts.base import Sound
from voices.audio.prepare import wav_bytes
from voices.cloning.base import Clip, Made, Progress
from voices.speakers.base import ModelId, Vector

SECONDS_PER_CHARACTER = 0.05
SHORTEST_S = 0.1


@dataclasses.dataclass
class FakeMaker:
    """Makes a voice that hums: each character is 0.05 s of a tone whose pitch the recording decides."""

    name: str = "scripted"
    models: tuple[str, ...] = ("hum-1", "hum-2")
    clones: bool = True
    local: bool = False
    sample_rate_hz: int = 22_050
    languages: tuple[str, ...] = ("zh", "en")
    missing: str | None = None
    make_s: float = 0.0
    character_s: float = SECONDS_PER_CHARACTER
    gives_sample: bool = False
    duplicated: bool = False
    failure: VisageError | None = None
    """Raised by `make`."""
    mute: bool = False
    speak_failure: EngineError | None = None
    fail_after: int | None = None
    """Pieces that are given before `speak_failure`."""
    forget_failure: VisageError | None = None

    def __post_init__(self) -> None:
        self.made: list[tuple[str, str, str]] = []
        self.said: list[tuple[str, str, str, str, float]] = []
        self.forgotten: list[str] = []
        self.held = asyncio.Event()
        self.held.set()
        self.closed = False

    def why_not(self) -> str | None:
        return self.missing

    async def make(self, clip: Clip, model: str, sample_text: str, progress: Progress) -> Made:
        self.made.append((clip.sha256, model, sample_text))
        assert clip.wav.is_file() and clip.pcm.size > 16_000
        progress("uploading", 0.2)
        await asyncio.sleep(self.make_s)
        await self.held.wait()
        if self.failure is not None:
            raise self.failure
        progress("cloning", 0.9)
        pitch = 100 + int(clip.sha256[:4], 16) % 200
        sample = wav_bytes(_tone(pitch, 1.0, 24_000), 24_000) if self.gives_sample else b""
        return Made(f"tone-{clip.sha256[:12]}-{model}", {"hz": pitch}, self.languages, sample, None, self.duplicated)

    async def speak(
        self, voice_id: str, recipe: Mapping[str, Any], text: str, language: str, model: str, speed: float
    ) -> AsyncIterator[Sound]:
        self.said.append((voice_id, text, language, model, speed))
        if self.mute:
            return
        seconds = max(SHORTEST_S, len(text) * self.character_s / speed)
        pcm = _tone(int(recipe["hz"]), seconds, self.sample_rate_hz)
        for number, at in enumerate(range(0, pcm.size, 4_000)):
            if number == self.fail_after and self.speak_failure is not None:
                raise self.speak_failure
            yield Sound(pcm[at : at + 4_000])
            await asyncio.sleep(0)
        if self.speak_failure is not None:
            raise self.speak_failure

    async def forget(self, voice_id: str, recipe: Mapping[str, Any]) -> None:
        if self.forget_failure is not None:
            raise self.forget_failure
        self.forgotten.append(voice_id)

    async def aclose(self) -> None:
        self.closed = True


def _tone(hz: int, seconds: float, rate_hz: int) -> Pcm:
    t = np.arange(int(seconds * rate_hz)) / rate_hz
    return np.asarray(0.3 * np.sin(2 * np.pi * hz * t), np.float32)


@dataclasses.dataclass
class FakeSpeakers:
    """Tells recordings apart by their loudest frequencies, which is enough for tones and for tests."""

    id: ModelId = ModelId("spectrum", "1", 64)
    comparable: bool = True
    same_speaker: float = 0.5
    missing: str | None = None
    failure: EngineError | None = None

    def __post_init__(self) -> None:
        self.asked = 0

    def why_not(self) -> str | None:
        return self.missing

    async def embed(self, pcm: Pcm, seed: str) -> Vector:
        self.asked += 1
        if self.failure is not None:
            raise self.failure
        if not self.comparable:
            numbers = np.random.default_rng(int(hashlib.sha256(seed.encode()).hexdigest()[:8], 16))
            vector = numbers.standard_normal(self.id.dimension)
        else:
            spectrum = np.abs(np.fft.rfft(pcm[: 1 << 16], 1 << 16))[: 1 << 13]
            vector = np.log1p(spectrum.reshape(self.id.dimension, -1).mean(axis=1))
            vector -= vector.mean()
        return np.asarray(vector / np.linalg.norm(vector), np.float32)

    async def aclose(self) -> None:
        """Nothing is held."""
