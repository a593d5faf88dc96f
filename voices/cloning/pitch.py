"""How high a voice speaks: the pitch of a recording, by autocorrelation.

The method is Boersma's ("Accurate short-term analysis of the fundamental frequency", 1993), without his path search:
only the median and the spread over a recording are wanted, to which single octave errors mean little.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from media import SAMPLE_RATE_HZ, Pcm

LOWEST_HZ, HIGHEST_HZ = 65.0, 420.0
WINDOW = SAMPLE_RATE_HZ * 3 // 65
"""Three periods of the lowest pitch."""
HOP = SAMPLE_RATE_HZ // 100
VOICED = 0.5
"""Share of a frame's energy that must repeat after one period."""
QUIET_DB = -25.0
"""Frames quieter than the loudest tenth by more say nothing."""
OCTAVE_COST = 0.02
"""By octave: of two periods that repeat as well the shorter one is the pitch."""
FFT_SIZE = 2048
ENOUGH = 12
"""Voiced frames below which a recording has no pitch."""


@dataclasses.dataclass(frozen=True, slots=True)
class Pitch:
    """Of one recording."""

    median_hz: float
    """0 where nothing is voiced."""
    spread: float
    """Standard deviation of its natural logarithm, octave errors left out."""
    voiced: float
    """Share of the frames that are not quiet, 0..1."""


def pitch_of(pcm: Pcm) -> Pitch:
    """The pitch of a recording; `pcm` is mono float32 at 16 kHz, any length."""
    frames = _loud_frames(pcm)
    if not frames.shape[0]:
        return Pitch(0.0, 0.0, 0.0)
    hz = _frame_pitch(frames)
    hz = hz[hz > 0]
    if hz.size < ENOUGH:
        return Pitch(0.0, 0.0, hz.size / frames.shape[0])
    median = float(np.median(hz))
    logs = np.log(hz / median)
    near = logs[np.abs(logs) < 0.45]
    return Pitch(median, float(near.std()) if near.size else 0.0, hz.size / frames.shape[0])


def _loud_frames(pcm: Pcm) -> NDArray[np.float32]:
    """[frames, WINDOW] without a mean, the quiet ones left out."""
    if pcm.size < WINDOW:
        return np.zeros((0, WINDOW), np.float32)
    frames = np.lib.stride_tricks.sliding_window_view(pcm, WINDOW)[::HOP]
    power = np.einsum("ij,ij->i", frames, frames) / WINDOW
    loud = power > max(1e-9, float(np.quantile(power, 0.9))) * 10 ** (QUIET_DB / 10)
    chosen = frames[loud]
    return np.asarray(chosen - chosen.mean(1, keepdims=True), np.float32)


def _frame_pitch(frames: NDArray[np.float32]) -> NDArray[np.float64]:
    """[frames] Hz; 0 where a frame is not voiced."""
    window = np.hanning(WINDOW).astype(np.float32)
    own = np.fft.irfft(np.abs(np.fft.rfft(window, FFT_SIZE)) ** 2)
    first, last = int(SAMPLE_RATE_HZ / HIGHEST_HZ), int(SAMPLE_RATE_HZ / LOWEST_HZ) + 1
    power = np.abs(np.fft.rfft(frames * window, FFT_SIZE, axis=1)) ** 2
    repeats = np.fft.irfft(power, axis=1)[:, first - 1 : last + 2]
    energy = power.sum(1) * 2 / FFT_SIZE - (power[:, 0] + power[:, -1]) / FFT_SIZE
    repeats = repeats / np.maximum(energy, 1e-12)[:, None] / (own / own[0])[first - 1 : last + 2]
    inner = repeats[:, 1:-1]
    peaks = (inner >= repeats[:, :-2]) & (inner > repeats[:, 2:])
    lags = np.arange(first, first + inner.shape[1])
    score = np.where(peaks, inner - OCTAVE_COST * np.log2(lags / first), -1.0)
    best = score.argmax(1)
    rows = np.arange(best.size)
    before, at, after = repeats[rows, best], inner[rows, best], repeats[rows, best + 2]
    curve = before - 2 * at + after
    shift = np.where(np.abs(curve) > 1e-9, 0.5 * (before - after) / np.where(curve == 0, 1, curve), 0.0)
    hz = SAMPLE_RATE_HZ / (lags[best] + np.clip(shift, -0.5, 0.5))
    voiced = (score[rows, best] > 0) & (at > VOICED)
    return np.where(voiced, hz, 0.0).astype(np.float64)
