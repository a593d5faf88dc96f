"""Kaldi's log filter bank, to the last digits of single precision, for the networks that were trained on it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from media import SAMPLE_RATE_HZ, Pcm

WINDOW = SAMPLE_RATE_HZ * 25 // 1000  # 400
HOP = SAMPLE_RATE_HZ // 100  # 160
BANDS = 80
FFT = 512
LOWEST_HZ = 20.0
PREEMPHASIS = 0.97
FLOOR = np.float32(np.finfo(np.float32).eps)
"""Energy below which Kaldi's logarithm sees nothing."""

POVEY = (np.hanning(WINDOW) ** 0.85).astype(np.float32)
HAMMING = np.hamming(WINDOW).astype(np.float32)


def filter_bank(pcm: Pcm, window: NDArray[np.float32] = POVEY) -> NDArray[np.float32]:
    """`compute-fbank-feats --dither=0 --num-mel-bins=80`: [frames, 80].

    25 ms windows every 10 ms, only whole ones, without their own mean, preemphasised.

    Args:
        pcm: mono float32 at 16 kHz, at least WINDOW samples; of whichever scale the network knows.
        window: [WINDOW], POVEY or HAMMING.
    """
    frames = np.lib.stride_tricks.sliding_window_view(pcm, WINDOW)[::HOP].astype(np.float32)
    frames -= frames.mean(1, keepdims=True)
    before = np.concatenate((frames[:, :1], frames[:, :-1]), 1)
    frames = (frames - np.float32(PREEMPHASIS) * before) * window
    power = np.abs(np.fft.rfft(frames, FFT, axis=1)).astype(np.float32) ** 2
    return np.asarray(np.log(np.maximum(power @ _FILTERS, FLOOR)), np.float32)


def _filters() -> NDArray[np.float32]:
    """[FFT // 2 + 1, BANDS]: triangles on the mel scale 1127 ln(1 + f / 700); the last bin is not used."""
    hz = np.arange(FFT // 2 + 1) * SAMPLE_RATE_HZ / FFT
    mels = 1127 * np.log1p(hz / 700)[:, None]
    lowest, highest = 1127 * np.log1p(np.array([LOWEST_HZ, SAMPLE_RATE_HZ / 2]) / 700)
    edges = np.linspace(lowest, highest, BANDS + 2)
    step = edges[1] - edges[0]
    filters = np.clip(np.minimum(mels - edges[:-2], edges[2:] - mels) / step, 0, None)
    filters[-1] = 0
    return np.asarray(filters, np.float32)


_FILTERS = _filters()
