"""Utterances from disk, and augmented copies of them as one long run of mel frames and targets."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engines.lite.ears import LEFT_FRAMES, MEL_HOP, MEL_WINDOW, log_mel
from media import SAMPLE_RATE_HZ, SAMPLES_PER_FRAME, SAMPLES_PER_UNIT
from training.ears import augment
from training.ears.phones import Gesture, gestures
from training.ears.targets import STEP_S, mouth_track
from training.ears.voices import Phone

CENTRE_SAMPLE = LEFT_FRAMES * SAMPLES_PER_FRAME + SAMPLES_PER_UNIT // 2  # 4800
FRAMES_BEFORE = (CENTRE_SAMPLE - MEL_WINDOW // 2) // MEL_HOP  # 29
"""Mel frames of a window before the one at the video frame's centre."""
COPIES = {"kokoro": 6, "flite": 3, "hibari": 3, "espeak": 1}
NEGATIVE_S = 4.0
NEGATIVE_SHARE = 0.12
"""Clips without a speaker, per copy of speech."""


@dataclasses.dataclass(frozen=True, slots=True)
class Recording:
    """One utterance, its gestures and where it comes from."""

    voice: str
    language: str
    pcm: NDArray[np.float32]
    gestures: list[Gesture]

    @property
    def engine(self) -> str:
        return self.voice.partition("_")[0]


def load(path: Path) -> Recording:
    """Read what prepare.py wrote."""
    with np.load(path) as data:
        pcm = data["pcm"].astype(np.float32) / 32768
        rows = zip(data["symbols"], data["start_s"], data["end_s"], strict=True)
        phones = [Phone(str(s), float(a), float(b)) for s, a, b in rows]
        language = str(data["language"])
    voice = path.parent.name
    return Recording(voice, language, pcm, gestures(phones, pcm, voice.partition("_")[0]))


@dataclasses.dataclass(frozen=True, slots=True)
class Features:
    """Clips laid end to end: mel [T, MEL_BANDS], mouth [T, 16] and gates [T, 2], all float16.

    Every clip begins and ends with silence longer than a window's sides, so a window may lie across the seam of two.
    """

    mel: NDArray[np.float16]
    mouth: NDArray[np.float16]
    gates: NDArray[np.float16]


def clip_features(
    pcm: NDArray[np.float32], found: list[Gesture], clean: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Mel, mouth and gates, one row for every mel frame; `clean` is the sound that efforts are judged by."""
    mel = log_mel(pcm)
    mouth, gates = mouth_track(found, clean)
    first = round(MEL_WINDOW / 2 / SAMPLE_RATE_HZ / STEP_S)
    rows = min(len(mel), len(mouth) - first)
    return mel[:rows], mouth[first : first + rows], gates[first : first + rows]


def build(paths: list[Path], seed: int, copies: dict[str, int] = COPIES) -> Features:
    """Augmented copies of every utterance (`copies` by engine), and clips without a speaker."""
    rng = np.random.default_rng(seed)
    parts: list[tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]] = []
    for path in paths:
        recording = load(path)
        for _ in range(copies[recording.engine]):
            pcm, found = augment.speech_copy(recording.pcm, recording.gestures, rng)
            parts.append(clip_features(pcm, found, pcm))
            if rng.random() < NEGATIVE_SHARE:
                silent = augment.negative(NEGATIVE_S, rng)
                parts.append(clip_features(silent, [], silent))
    columns = [np.concatenate([part[k] for part in parts]).astype(np.float16) for k in range(3)]
    return Features(columns[0], columns[1], columns[2])
