"""What the user says, as a recording that a browser plays for a microphone: sentences of other voices than hers.

Sentences are made once and kept under `benchmarks/results/voices`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from benchmarks.questions import SPEAKERS, Language, Speaker
from benchmarks.server import ROOT

Pcm = NDArray[np.float32]

RATE_HZ = 48_000
"""Chromium's own: its fake microphone then does not resample."""
KEPT = ROOT / "benchmarks" / "results" / "voices"
FRAME = RATE_HZ // 200
"""5 ms, in which loudness is judged."""
SILENT_DB = -38.0
"""Under a sentence's loudest frame: below it speech has not begun, or has ended."""
PEAK = 0.4
ROOM_DBFS = -72.0
"""Of the noise under everything: no microphone gives digital silence."""


@dataclasses.dataclass(frozen=True, slots=True)
class Cue:
    """Where on a tape something is said."""

    text: str
    language: Language
    begins_s: float
    ends_s: float
    """First and last sound; seconds from the tape's beginning."""
    kind: str = ""


def trimmed(pcm: Pcm) -> Pcm:
    """Without the silence around it: from the first to the last frame that is louder than SILENT_DB."""
    frames = pcm[: len(pcm) // FRAME * FRAME].reshape(-1, FRAME)
    power = np.square(frames).mean(axis=1)
    loud = np.flatnonzero(power > power.max() * 10 ** (SILENT_DB / 10))
    if not len(loud):
        return pcm
    return pcm[loud[0] * FRAME : (loud[-1] + 1) * FRAME]


class Tape:
    """A recording that grows."""

    def __init__(self, lead_s: float, seed: int = 1) -> None:
        self.cues: list[Cue] = []
        self._parts: list[Pcm] = []
        self._samples = 0
        self._noise = np.random.default_rng(seed)
        self.pause(lead_s)

    @property
    def seconds(self) -> float:
        """So far."""
        return self._samples / RATE_HZ

    def pause(self, seconds: float) -> None:
        """Nobody speaks."""
        self._add(np.zeros(round(seconds * RATE_HZ), np.float32))

    def say(self, text: str, language: Language, pcm: Pcm, kind: str = "") -> Cue:
        """A sentence, [samples] at RATE_HZ without silence around it."""
        begins = self.seconds
        self._add(pcm)
        self.cues.append(Cue(text, language, begins, self.seconds, kind))
        return self.cues[-1]

    def _add(self, pcm: Pcm) -> None:
        self._parts.append(pcm)
        self._samples += len(pcm)

    def pcm(self) -> Pcm:
        """[samples] with the room's noise under it."""
        pcm = np.concatenate(self._parts)
        noise = self._noise.standard_normal(len(pcm), dtype=np.float32) * np.float32(10 ** (ROOM_DBFS / 20))
        return np.asarray(pcm + noise, np.float32)

    def write(self, path: Path) -> Path:
        """As a WAV file of 16 bits."""
        soundfile.write(path, self.pcm(), RATE_HZ, subtype="PCM_16")
        return path


def cough(seed: int = 7) -> Pcm:
    """Two bursts of breath, 0.25 s each, [samples] at RATE_HZ: noise through a vocal tract, with a sharp onset."""
    rng = np.random.default_rng(seed)
    length = round(0.25 * RATE_HZ)
    t = np.arange(length) / RATE_HZ
    spectrum = np.fft.rfft(rng.standard_normal(length))
    hz = np.fft.rfftfreq(length, 1 / RATE_HZ)
    tract = sum(gain * np.exp(-(((hz - at) / width) ** 2)) for at, width, gain in _FORMANTS)
    burst = np.fft.irfft(spectrum * tract, length) * np.exp(-t / 0.07) * np.minimum(1, t / 0.004)
    burst = np.asarray(burst / np.abs(burst).max() * PEAK, np.float32)
    return np.concatenate([burst, np.zeros(round(0.12 * RATE_HZ), np.float32), burst * np.float32(0.7)])


_FORMANTS = ((550.0, 250.0, 1.0), (1500.0, 500.0, 0.7), (3200.0, 1200.0, 0.4))  # Hz, Hz, gain


def speaker_of(language: Language, number: int) -> Speaker:
    """Speakers take turns."""
    return SPEAKERS[language][number % len(SPEAKERS[language])]


async def spoken(lines: Iterable[tuple[str, Language, Speaker]]) -> list[Pcm]:
    """Each line without silence around it, PEAK at its loudest, [samples] at RATE_HZ.

    Raises:
        LookupError: this installation lacks a voice.
    """
    wanted = list(lines)
    missing = [line for line in wanted if not _kept(*line).is_file()]
    if missing:
        print(f"   making {len(missing)} sentences of the user's", file=sys.stderr, flush=True)
        await _make(missing)
    return [soundfile.read(_kept(*line), dtype="float32")[0] for line in wanted]


async def _make(lines: list[tuple[str, Language, Speaker]]) -> None:
    from tts.kokoro import KokoroEngine

    KEPT.mkdir(parents=True, exist_ok=True)
    engine = KokoroEngine()
    voices = {voice.id: voice for voice in engine.voices()}
    try:
        for text, language, speaker in lines:
            if speaker.voice not in voices:
                raise LookupError(f"{speaker.voice} is not installed; `python app.py weights pull kokoro` fetches it")
            told = engine.speak(text, voices[speaker.voice], language, speed=speaker.speed)
            pcm = np.concatenate([sound.pcm async for sound in told])
            pcm = trimmed(np.asarray(soxr.resample(pcm, engine.sample_rate_hz, RATE_HZ), np.float32))
            path = _kept(text, language, speaker)
            part = path.with_suffix(".part.wav")
            soundfile.write(part, pcm * (PEAK / np.abs(pcm).max()), RATE_HZ, subtype="PCM_16")
            part.rename(path)
    finally:
        await engine.aclose()


def _kept(text: str, language: Language, speaker: Speaker) -> Path:
    name = hashlib.sha256(f"{language} {speaker} {text}".encode()).hexdigest()[:16]
    return KEPT / f"{name}.wav"
