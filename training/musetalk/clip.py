"""Speech and what the mouth does meanwhile, video frame by video frame."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from media import SAMPLES_PER_UNIT, UNIT_S
from training.ears.phones import Gesture
from training.ears.targets import STEP_S, mouth_track

Floats = NDArray[np.float32]


@dataclasses.dataclass(frozen=True, slots=True)
class Clip:
    """Sound [n * SAMPLES_PER_UNIT] at 16 kHz and the mouth channels [n, 16] at the centre of each video frame."""

    pcm: Floats
    mouth: Floats

    @property
    def frames(self) -> int:
        return len(self.mouth)


def clip_of(pcm: Floats, found: list[Gesture]) -> Clip:
    """Targets at the frames' centres; the last frame is filled up with silence."""
    frames = -(-len(pcm) // SAMPLES_PER_UNIT)
    pcm = np.pad(pcm, (0, frames * SAMPLES_PER_UNIT - len(pcm))).astype(np.float32)
    track, _ = mouth_track(found, pcm)
    per_frame = round(UNIT_S / STEP_S)
    return Clip(pcm, track[per_frame // 2 :: per_frame][:frames])
