"""A checkpoint that lets an avatar speak a recording, the way a session does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from avatar import Avatar
from engines.musetalk.features import Hearing
from engines.musetalk.model import MuseModel
from media import SAMPLES_PER_FRAME, SAMPLES_PER_UNIT, SPEECH_FRAMES_PER_UNIT, SpeechFrame
from museasr import MuseASR
from training.musetalk.pictures import Floats, Pictures, Teacher
from weights.manifest import MODELS

BATCH = 16


class Speaker:
    """The checkpoint with all that it takes to let an avatar speak a recording."""

    def __init__(self, weights: str | Path, whisper: Path, avatar: Avatar) -> None:
        self.hearing = Hearing(whisper)
        self.model = MuseModel.load(weights, MODELS, device="cpu", precision="fp32", max_batch=BATCH)
        self.teacher = Teacher(avatar)
        self.idle = np.stack([self.teacher.idle(i) for i in range(avatar.count)])
        """uint8 [N,SIDE,SIDE,3]: the crops of the stored frames."""
        self.face = self.model.face(self.model.encode(self.idle))

    def tokens(self, pcm: Floats) -> torch.Tensor:
        """[n,50,384] of n whole video frames, cut as a session cuts them."""
        return heard(pcm, self.hearing)

    def draw(self, pcm: Floats, first: int = 0) -> tuple[Pictures, Pictures]:
        """The speaking crops and the idle crops under them, both [n,SIDE,SIDE,3], from idle position `first` on."""
        tokens = self.tokens(pcm)
        stored = [self.teacher.avatar.stored(first + k) for k in range(len(tokens))]
        return self.model.draw([(self.face, i) for i in stored], tokens), self.idle[stored]


def moved(pcm: Floats, frames: int) -> Floats:
    """The sound late by `frames` video frames, as long as before."""
    return np.concatenate([np.zeros(frames * SAMPLES_PER_UNIT, np.float32), pcm])[: len(pcm)]


def heard(pcm: Floats, hearing: Hearing) -> torch.Tensor:
    """Tokens [n, 50, 384] of n whole video frames of sound, cut as a session cuts them."""
    ears = MuseASR()
    frames = pcm.reshape(-1, SAMPLES_PER_FRAME)
    for k, frame in enumerate(frames):
        ears.put(SpeechFrame(frame, turn=1, final=k == len(frames) - 1))
    windows = [ears.next() for _ in range(len(frames) // SPEECH_FRAMES_PER_UNIT)]
    found = []
    for start in range(0, len(windows), BATCH):
        part = windows[start : start + BATCH]
        pcms = np.stack([w.pcm for w in part])
        found.append(hearing.tokens(pcms, ears.left, [w.offset for w in part]))
    return torch.cat(found)
