"""The inaudible mark of generated speech: Perth's, laid into the sound and found again behind codecs and resampling.

Perth (Resemble AI, MIT) changes the spectrum below 2 kHz by about a decibel where speech hides it. It bears no message:
a recording is marked or it is not. `training/watermark` says what the mark survives.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnxruntime
import soxr
from numpy.typing import NDArray

from errors import Unavailable
from media import Pcm
from voices.networks import load
from weights.manifest import MODELS

GRAPHS = Path(__file__).parent
CHECKPOINT = MODELS / "watermark" / "perth_net_250000.pth.tar"
RATE_HZ = 32_000
FFT_SIZE = 2048
HOP = 320
BANDS = 128
"""Bins that are changed: up to 2 kHz."""
QUIETEST_DB = -180.0
RANGE_DB = 195.0
"""The network sees decibels over QUIETEST_DB as shares of this."""
LEAST_SHARE = 0.05
"""Frames whose sum is below this share of the loudest are left alone."""
BLOCK_S = 10.0
"""Marked, and judged, at once."""
SHORTEST_S = 0.5
FADE_S = 0.01
"""Between blocks."""
PACES = {"slow": 1.25, "normal": 1.0, "fast": 0.75}
"""The mark is looked for at three speeds."""

Spectrum = NDArray[np.complex64]
"""[FFT_SIZE // 2 + 1, frames]"""


class Watermark:
    """Marks and finds; blocking, for a worker thread.

    Args:
        checkpoint: Perth's.
    """

    def __init__(self, checkpoint: Path = CHECKPOINT) -> None:
        self._checkpoint = checkpoint
        self._encoder: onnxruntime.InferenceSession | None = None
        self._decoder: onnxruntime.InferenceSession | None = None

    def why_not(self) -> str | None:
        """None when the checkpoint is there."""
        if self._checkpoint.is_file():
            return None
        return f"watermark: {self._checkpoint} is missing; `python app.py weights pull watermark` fetches it"

    def mark(self, pcm: Pcm, rate_hz: int) -> Pcm:
        """The sound with the mark in it, as long as before.

        Args:
            pcm: mono float32, -1..1, of any length.
            rate_hz: of it.

        Raises:
            Unavailable: the checkpoint is missing.
            EngineError: it cannot be loaded.
        """
        if self._encoder is None:
            self._encoder = self._load("perth_encoder")
        marked = pcm.astype(np.float32)
        fade = max(1, round(FADE_S * rate_hz))
        for begin, end in _blocks(pcm.size, rate_hz):
            change = self._change(self._encoder, pcm[begin:end], rate_hz)
            change[:fade] *= np.linspace(0, 1, fade, dtype=np.float32)
            change[-fade:] *= np.linspace(1, 0, fade, dtype=np.float32)
            marked[begin:end] += change
        return np.clip(marked, -1.0, 1.0)

    def scores(self, pcm: Pcm, rate_hz: int) -> list[float]:
        """How surely each BLOCK_S is marked, 0..1; none of less than SHORTEST_S of sound.

        Raises:
            Unavailable: the checkpoint is missing.
            EngineError: it cannot be loaded.
        """
        if self._decoder is None:
            self._decoder = self._load("perth_decoder")
        return [
            self._score(self._decoder, pcm[begin:end], rate_hz)
            for begin, end in _blocks(pcm.size, rate_hz)
            if pcm[begin:end].any()
        ]

    def _load(self, name: str) -> onnxruntime.InferenceSession:
        if reason := self.why_not():
            raise Unavailable(reason)
        return load(GRAPHS / f"{name}.onnx", self._checkpoint, "watermark")

    def _change(self, network: onnxruntime.InferenceSession, pcm: Pcm, rate_hz: int) -> Pcm:
        """What to add to a block."""
        spectrum = _spectrum(soxr.resample(pcm, rate_hz, RATE_HZ))
        levels, heard = _levels(spectrum)
        change = network.run(None, {"bands": levels[None, :BANDS]})[0][0] * heard
        only = np.zeros_like(spectrum)
        only[:BANDS] = spectrum[:BANDS] * (10 ** (change * RANGE_DB / 20) - 1)
        sound = soxr.resample(_sound(only), RATE_HZ, rate_hz).astype(np.float32)
        return np.pad(sound[: pcm.size], (0, max(0, pcm.size - sound.size)))

    def _score(self, network: onnxruntime.InferenceSession, pcm: Pcm, rate_hz: int) -> float:
        levels, heard = _levels(_spectrum(soxr.resample(pcm, rate_hz, RATE_HZ)))
        found = network.run(None, {name: _paced(levels[:BANDS], pace)[None] for name, pace in PACES.items()})
        marks, weights = [], []
        for both in found:
            frames = both.shape[2]
            counted = heard[np.arange(frames) * heard.size // frames]
            weight, mark = (both[0] * counted).sum(1) / max(1.0, float(counted.sum()))
            marks.append(mark)
            weights.append(weight)
        shares = np.exp(np.array(weights) - max(weights))
        return float(np.clip(np.dot(marks, shares / shares.sum()), 0.0, 1.0))


def _blocks(samples: int, rate_hz: int) -> Iterator[tuple[int, int]]:
    """Begins and ends of about BLOCK_S each; nothing where there is less than SHORTEST_S in all."""
    if samples < SHORTEST_S * rate_hz:
        return
    count = max(1, round(samples / (BLOCK_S * rate_hz)))
    edges = np.linspace(0, samples, count + 1).astype(int)
    yield from ((int(begin), int(end)) for begin, end in zip(edges[:-1], edges[1:], strict=True))


def _spectrum(pcm: Pcm) -> Spectrum:
    """Frames centred on multiples of HOP, the sound mirrored at its ends."""
    padded = np.pad(pcm, FFT_SIZE // 2, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, FFT_SIZE)[::HOP]
    return np.ascontiguousarray(np.fft.rfft(frames * _WINDOW, axis=1).astype(np.complex64).T)


def _sound(spectrum: Spectrum) -> Pcm:
    """The sound whose `_spectrum` is nearest."""
    frames = np.fft.irfft(spectrum.T, FFT_SIZE, axis=1).astype(np.float32) * _WINDOW
    length = (frames.shape[0] - 1) * HOP + FFT_SIZE
    sound, weight = np.zeros(length, np.float32), np.zeros(length, np.float32)
    square = _WINDOW**2
    for number, frame in enumerate(frames):
        sound[number * HOP : number * HOP + FFT_SIZE] += frame
        weight[number * HOP : number * HOP + FFT_SIZE] += square
    inner = slice(FFT_SIZE // 2, -(FFT_SIZE // 2))
    return np.asarray(sound[inner] / np.maximum(weight[inner], 1e-6), np.float32)


def _levels(spectrum: Spectrum) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """What the network is shown, [bins, frames], and which frames count, [frames] of 0 and 1."""
    least = np.float32(10 ** (QUIETEST_DB / 20))
    levels = (20 * np.log10(np.maximum(np.abs(spectrum), least)) - QUIETEST_DB) / RANGE_DB
    sums = levels.sum(0)
    return levels.astype(np.float32), (sums > sums.max() * LEAST_SHARE).astype(np.float32)


def _paced(levels: NDArray[np.float32], pace: float) -> NDArray[np.float32]:
    """Stretched in time by `pace`, between frames linearly."""
    frames = levels.shape[1]
    at = np.linspace(0, frames - 1, int(frames * pace))
    before = np.minimum(at.astype(int), max(0, frames - 2))
    share = (at - before).astype(np.float32)
    paced = levels[:, before] * (1 - share) + levels[:, np.minimum(before + 1, frames - 1)] * share
    return np.asarray(paced, np.float32)


_WINDOW = np.hanning(FFT_SIZE + 1)[:-1].astype(np.float32)
