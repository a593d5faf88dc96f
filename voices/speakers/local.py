"""Speaker models on this machine: CAM++ and Resemblyzer, by ONNX Runtime, in a thread of their own."""

from __future__ import annotations

import abc
import functools
import hashlib
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from errors import EngineError, Unavailable
from kaldi import HOP
from media import SAMPLE_RATE_HZ, Pcm
from tts.worker import Worker
from voices.networks import load
from voices.speakers.base import ModelId, Vector
from voices.speakers.features import kaldi_features, mel_spectrum
from weights.manifest import MODELS

GRAPHS = Path(__file__).parent
CHECKPOINTS = MODELS / "speakers"
SHORTEST_S = 0.5
"""Less sound says nothing of its speaker."""
LONGEST_S = 30.0
"""Of a longer recording the middle is heard: more of it costs time and says no more of the speaker."""
NICE = 5
RECENT_MAX = 16
"""Vectors of the latest recordings that are remembered."""


class LocalModel(abc.ABC):
    """What both have in common.

    Args:
        checkpoints: the directory of the published checkpoint.
    """

    id: ModelId
    comparable = True
    same_speaker: float
    group: str
    """Of the weights manifest."""
    checkpoint: str

    def __init__(self, checkpoints: Path = CHECKPOINTS) -> None:
        self._checkpoint = checkpoints / self.checkpoint
        self._worker = Worker(self.id.name, NICE)
        self._network: onnxruntime.InferenceSession | None = None
        self._recent: dict[bytes, Vector] = {}

    def why_not(self) -> str | None:
        """None when the checkpoint is there."""
        if self._checkpoint.is_file():
            return None
        return f"{self.id.name}: {self._checkpoint} is missing; `python app.py weights pull {self.group}` fetches it"

    async def embed(self, pcm: Pcm, seed: str = "") -> Vector:
        """The speaker's vector; `seed` is not used.

        Raises:
            EngineError: less than SHORTEST_S of sound, or silence; or the checkpoint cannot be loaded.
            Unavailable: the checkpoint is missing.
        """
        return await self._worker.run(functools.partial(self._remembered, pcm))

    def _remembered(self, pcm: Pcm) -> Vector:
        """What `vector` does; a recording is asked for by the library and by who makes a voice of it."""
        name = hashlib.sha256(np.asarray(pcm, np.float32).tobytes()).digest()
        if name not in self._recent:
            self._recent[name] = self.vector(pcm)
            if len(self._recent) > RECENT_MAX:
                del self._recent[next(iter(self._recent))]
        return self._recent[name]

    async def warm_up(self) -> None:
        """Load the network and run it once, so that the first recording is heard as quickly as the rest.

        Raises:
            EngineError: it cannot be loaded.
            Unavailable: the checkpoint is missing.
        """
        rng = np.random.default_rng(0)
        await self.embed(rng.normal(0, 0.1, 2 * SAMPLE_RATE_HZ).astype(np.float32))

    async def aclose(self) -> None:
        """End the thread and free the network."""
        await self._worker.aclose()
        self._network = None

    def vector(self, pcm: Pcm) -> Vector:
        """What `embed` does, in the caller's thread."""
        pcm = _middle(np.nan_to_num(np.asarray(pcm, np.float32)))
        if pcm.size < SHORTEST_S * SAMPLE_RATE_HZ or not pcm.any():
            found = f"{pcm.size / SAMPLE_RATE_HZ:.2f} s" if pcm.any() else "silence"
            raise EngineError(self.id.name, f"{found} of sound, but {SHORTEST_S} s are needed", retryable=False)
        if self._network is None:
            self._network = self._load()
        raw = self._run(self._network, pcm)
        length = float(np.linalg.norm(raw))
        if not np.isfinite(length) or length == 0:
            raise EngineError(self.id.name, "the recording has no speaker's vector", retryable=False)
        return np.asarray(raw / length, np.float32)

    @abc.abstractmethod
    def _run(self, network: onnxruntime.InferenceSession, pcm: Pcm) -> NDArray[np.float32]:
        """[dimension], of any length."""

    def _load(self) -> onnxruntime.InferenceSession:
        if reason := self.why_not():
            raise Unavailable(reason)
        return load(GRAPHS / f"{self.id.name}.onnx", self._checkpoint, self.id.name)


class CampPlus(LocalModel):
    """CAM++ by 3D-Speaker, trained on 200,000 speakers of Chinese and others (Apache-2.0): 85 ms of a core for 10 s."""

    id = ModelId("campplus", "zh-cn-common-200k", 192)
    same_speaker = 0.48
    group = "speakers"
    checkpoint = "campplus_cn_common.bin"

    def _run(self, network: onnxruntime.InferenceSession, pcm: Pcm) -> NDArray[np.float32]:
        found = network.run(None, {"features": kaldi_features(pcm)[None]})[0]
        return np.asarray(found[0], np.float32)


class Resemblyzer(LocalModel):
    """Resemblyzer's encoder, trained on English speakers (Apache-2.0): the mean of vectors of 1.6 s each.

    Its own package also shortens pauses by webrtcvad first; here recordings come with their silence trimmed.
    """

    id = ModelId("resemblyzer", "0.1.4", 256)
    same_speaker = 0.65
    group = "resemblyzer"
    checkpoint = "resemblyzer.pt"

    WINDOW = 160
    """Frames of 10 ms that it hears at once."""
    STEP = 77
    """Frames from one window to the next: 1.3 windows a second."""
    LEAST_COVERED = 0.75
    """Share of the last window that must be sound."""
    LEAST_DBFS = -30.0
    """A quieter recording is made so loud."""

    def _run(self, network: onnxruntime.InferenceSession, pcm: Pcm) -> NDArray[np.float32]:
        level = float(np.sqrt(np.mean(np.square(pcm, dtype=np.float64))))
        pcm = pcm * np.float32(max(1.0, 10 ** (self.LEAST_DBFS / 20) / level))
        frames = pcm.size // HOP + 1
        begins = list(range(0, max(1, frames - self.WINDOW + self.STEP + 1), self.STEP))
        covered = (pcm.size - begins[-1] * HOP) / (self.WINDOW * HOP)
        if covered < self.LEAST_COVERED and len(begins) > 1:
            begins.pop()
        end = (begins[-1] + self.WINDOW) * HOP
        mels = mel_spectrum(np.pad(pcm, (0, max(0, end - pcm.size))))
        windows = np.stack([mels[begin : begin + self.WINDOW] for begin in begins])
        found = network.run(None, {"mels": windows})[0]
        return np.asarray((found / np.linalg.norm(found, axis=1, keepdims=True)).mean(0), np.float32)


def _middle(pcm: Pcm) -> Pcm:
    longest = round(LONGEST_S * SAMPLE_RATE_HZ)
    begin = max(0, pcm.size - longest) // 2
    return pcm[begin : begin + longest]
