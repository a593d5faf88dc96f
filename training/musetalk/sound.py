"""Speech with known mouths, as rooms, lines and levels change it."""

from __future__ import annotations

import numpy as np

from training.ears import augment
from training.ears.dataset import Recording
from training.musetalk.clip import Clip, clip_of

CLEAN_SHARE = 0.35
MOST_SILENCE_S = 0.3
"""Before and after a clean copy: steps and video frames fall differently in each."""
NEGATIVE_S = 4.0


def varied(recording: Recording, rng: np.random.Generator) -> Clip:
    """The recording as it is, or another room, pace, level and noise."""
    pcm, gestures = recording.pcm, recording.gestures
    if rng.random() < CLEAN_SHARE:
        return clip_of(*augment.pad(pcm, gestures, *rng.uniform(0, MOST_SILENCE_S, 2)))
    return clip_of(*augment.speech_copy(pcm, gestures, rng))


def unvoiced(rng: np.random.Generator) -> Clip:
    """Sound without a speaker: the mouth rests."""
    return clip_of(augment.negative(NEGATIVE_S, rng), [])


def joined(clips: list[Clip]) -> Clip:
    """One after the other."""
    return Clip(np.concatenate([c.pcm for c in clips]), np.concatenate([c.mouth for c in clips]))
