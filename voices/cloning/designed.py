"""The designed voice: at once, on this machine, from ten seconds of sound, and no clone.

Kokoro's voices are mixed, and their pitch and formants moved, to where CAM++ should hear the recorded speaker. The
voice leans toward the speaker as far as Kokoro's voices allow; `docs/measurements.md` says how far that is. Nothing of
the recording is kept in it but those few numbers.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncGenerator, Mapping
from typing import Any, Protocol

import numpy as np
import soxr

from asr.openai import wav_bytes
from errors import BadRequest, EngineError, Unavailable
from media import SAMPLE_RATE_HZ, Pcm
from text.clauses import cut, language_of, spoken_s
from tts.base import Sound, Voice
from tts.kokorodesign import Design
from tts.remote import RemoteEngine, SpeechProcess
from voices.cloning.base import Clip, Made, Progress
from voices.cloning.designtable import LANGUAGES, Table
from voices.cloning.pitch import pitch_of
from voices.speakers.base import Vector
from voices.speakers.local import CampPlus

NAME = "designed"
MODEL = "kokoro-design-1"
"""Changes with the table and with what a recipe means."""
SAMPLE_LONGEST_S = 3.0
"""A longer preview is left to whoever wants to hear it, so that the voice is there within its time."""
LIKENESS_S = 2.0
"""Of the preview, in which the likeness is measured."""


class Kokoro(Protocol):
    """What is needed of Kokoro's engine, here or in another process."""

    @property
    def sample_rate_hz(self) -> int:
        """Of its sound."""

    def voices(self) -> tuple[Voice, ...]:
        """Those installed."""

    def why_not(self) -> str | None:
        """None when usable."""

    def speak(
        self, clause: str, voice: Voice, language: str, *, speed: float, design: Mapping[str, Any]
    ) -> AsyncGenerator[Sound, None]:
        """See `KokoroEngine`."""

    async def aclose(self) -> None:
        """Free it."""


class DesignedMaker:
    """See `VoiceMaker`.

    Args:
        kokoro: speaks; shared with the sessions, so that it is loaded once.
        speaker: hears the recording.
        owns_kokoro: whether `aclose` ends it too.
    """

    name = NAME
    models: tuple[str, ...] = (MODEL,)
    clones = False
    local = True

    def __init__(self, kokoro: Kokoro, speaker: CampPlus, *, owns_kokoro: bool = False) -> None:
        self._kokoro = kokoro
        self._speaker = speaker
        self._owns_kokoro = owns_kokoro
        self.sample_rate_hz = kokoro.sample_rate_hz

    def why_not(self) -> str | None:
        """None when Kokoro and CAM++ are there."""
        return self._kokoro.why_not() or self._speaker.why_not()

    async def make(self, clip: Clip, model: str, sample_text: str, progress: Progress) -> Made:
        """Design a voice for a recording; the same recording gives the same voice.

        Raises:
            EngineError: the recording has no speaker's vector.
            Unavailable: Kokoro or CAM++ is not installed.
        """
        if reason := self.why_not():
            raise Unavailable(reason)
        progress("listening", 0.1)
        vector = await self._speaker.embed(clip.pcm)
        progress("designing", 0.4)
        language = clip.language if clip.language in LANGUAGES else language_of(sample_text or clip.text)
        installed = {voice.id.removeprefix("kokoro:") for voice in self._kokoro.voices()}
        search = functools.partial(_designed, vector, clip.pcm, language, installed)
        recipe = await asyncio.to_thread(search)
        progress("speaking", 0.6)
        languages = tuple(sorted(recipe["prosody"], key=lambda name: name != language))
        if not sample_text or spoken_s(sample_text) > SAMPLE_LONGEST_S:
            return Made("", recipe, languages)
        pieces = await self._said(recipe, sample_text)
        heard, sample = await asyncio.to_thread(_preview, pieces, self.sample_rate_hz)
        likeness = float(vector @ await self._speaker.embed(heard))
        return Made("", recipe, languages, sample, round(likeness, 3))

    async def speak(
        self, voice_id: str, recipe: Mapping[str, Any], text: str, language: str, model: str, speed: float
    ) -> AsyncGenerator[Sound, None]:
        """The text, clause by clause; a language that the voice does not speak is read in its first one.

        Raises:
            EngineError: Kokoro failed.
            BadRequest: the recipe is none.
        """
        spoken = recipe.get("prosody", {})
        language = language if language in spoken else next(iter(spoken), language)
        voice, design = self._voice(recipe, language)
        for clause in cut(text):
            sounds = self._kokoro.speak(clause, voice, language, speed=speed, design=design)
            async with contextlib.aclosing(sounds):
                async for sound in sounds:
                    yield sound

    async def forget(self, voice_id: str, recipe: Mapping[str, Any]) -> None:
        """Nothing: the voice is its recipe."""

    async def aclose(self) -> None:
        """Free CAM++, and Kokoro where it is the maker's own."""
        await self._speaker.aclose()
        if self._owns_kokoro:
            await self._kokoro.aclose()

    def _voice(self, recipe: Mapping[str, Any], language: str) -> tuple[Voice, dict[str, Any]]:
        """Who speaks a language, and how it is changed."""
        try:
            manner = recipe["prosody"][language]
            name, design = str(manner["voice"]), {**recipe["design"], "pitch": manner["pitch"]}
        except (KeyError, TypeError) as error:
            raise BadRequest(f"recipe: {error} is missing in {str(recipe)[:80]}; it is no designed voice") from error
        Design.of(design)
        voice = next((voice for voice in self._kokoro.voices() if voice.id == f"kokoro:{name}"), None)
        if voice is None:
            reason = self._kokoro.why_not() or f"its voice {name!r} is not installed"
            raise EngineError(self.name, reason)
        return voice, design

    async def _said(self, recipe: Mapping[str, Any], text: str) -> list[Pcm]:
        """A short text, in the pieces in which it came.

        Raises:
            EngineError: it gave no sound.
        """
        language = language_of(text)
        async with contextlib.aclosing(self.speak("", recipe, text, language, MODEL, 1.0)) as sounds:
            pieces = [sound.pcm async for sound in sounds if sound.pcm.size]
        if not pieces:
            raise EngineError(self.name, f"no sound for the preview {text[:40]!r}")
        return pieces


def designed_maker(settings: object, kokoro: Kokoro | None = None) -> DesignedMaker:
    """The maker; no setting concerns it.

    Args:
        settings: the server's.
        kokoro: the one that the sessions speak with; None starts a process of the maker's own, once it is asked.
    """
    del settings
    if kokoro is not None:
        return DesignedMaker(kokoro, CampPlus())
    return DesignedMaker(RemoteEngine(SpeechProcess(), "tts.kokoro:KokoroEngine"), CampPlus(), owns_kokoro=True)


def _designed(vector: Vector, pcm: Pcm, language: str, installed: set[str]) -> dict[str, Any]:
    """The recipe, JSON-ready; takes a tenth of a second."""
    try:
        found = Table.load().design(vector, pitch_of(pcm), language, installed)
    except ValueError as error:
        raise Unavailable(f"{NAME}: {error}; `python app.py weights pull kokoro` fetches them") from error
    return {
        "model": MODEL,
        "design": {"timbre": found.timbre, "formants": found.formants},
        "prosody": {name: {"voice": voice, "pitch": pitch} for name, (voice, pitch) in found.prosody.items()},
        "nearest": found.nearest,
        "expected": round(found.expected, 3),
    }


def _preview(pieces: list[Pcm], rate_hz: int) -> tuple[Pcm, bytes]:
    """The beginning of a preview at 16 kHz, and all of it as a WAV file."""
    pcm = np.concatenate(pieces)
    heard = soxr.resample(pcm[: round(LIKENESS_S * rate_hz)], rate_hz, SAMPLE_RATE_HZ)
    return np.asarray(heard, np.float32), wav_bytes(pcm, rate_hz)
