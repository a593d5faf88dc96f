"""What the speaker models hear: Kaldi's filter bank for CAM++, librosa's mel spectrum for Resemblyzer.

Both are the very features the models were trained on, to the last digits of single precision.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from listening.smartturn import mel_filters
from media import SAMPLE_RATE_HZ, Pcm

WINDOW = SAMPLE_RATE_HZ * 25 // 1000  # 400
HOP = SAMPLE_RATE_HZ // 100  # 160
KALDI_BANDS = 80
KALDI_FFT = 512
KALDI_LOWEST_HZ = 20.0
PREEMPHASIS = 0.97
FLOOR = np.float32(np.finfo(np.float32).eps)
"""Energy below which Kaldi's logarithm sees nothing, for samples within -1..1."""
MEL_BANDS = 40


def kaldi_features(pcm: Pcm) -> NDArray[np.float32]:
    """Kaldi's log filter bank, the mean of every band taken off: [frames, 80].

    As `compute-fbank-feats` does it with `--dither=0 --num-mel-bins=80` and as 3D-Speaker gives it to CAM++: 25 ms
    Povey windows every 10 ms, only whole ones, without their own mean, preemphasised.

    Args:
        pcm: mono float32 at 16 kHz, at least WINDOW samples.
    """
    frames = np.lib.stride_tricks.sliding_window_view(pcm, WINDOW)[::HOP].astype(np.float32)
    frames -= frames.mean(1, keepdims=True)
    before = np.concatenate((frames[:, :1], frames[:, :-1]), 1)
    frames = (frames - np.float32(PREEMPHASIS) * before) * _POVEY
    power = np.abs(np.fft.rfft(frames, KALDI_FFT, axis=1)).astype(np.float32) ** 2
    bands = np.log(np.maximum(power @ _KALDI_FILTERS, FLOOR))
    return np.asarray(bands - bands.mean(0), np.float32)


def mel_spectrum(pcm: Pcm) -> NDArray[np.float32]:
    """librosa's power mel spectrum, as Resemblyzer is given it: [1 + samples // HOP, 40], not logarithmic.

    Frames are centred on multiples of HOP; before and behind the sound there is silence.
    """
    padded = np.pad(pcm, WINDOW // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP]
    power = np.abs(np.fft.rfft(frames * _HANN, axis=1)).astype(np.float32) ** 2
    return np.asarray(power @ _MEL_FILTERS, np.float32)


def _kaldi_filters() -> NDArray[np.float32]:
    """[KALDI_FFT // 2 + 1, KALDI_BANDS]: triangles on the mel scale 1127 ln(1 + f / 700); the last bin is not used."""
    hz = np.arange(KALDI_FFT // 2 + 1) * SAMPLE_RATE_HZ / KALDI_FFT
    mels = 1127 * np.log1p(hz / 700)[:, None]
    lowest, highest = 1127 * np.log1p(np.array([KALDI_LOWEST_HZ, SAMPLE_RATE_HZ / 2]) / 700)
    edges = np.linspace(lowest, highest, KALDI_BANDS + 2)
    step = edges[1] - edges[0]
    filters = np.clip(np.minimum(mels - edges[:-2], edges[2:] - mels) / step, 0, None)
    filters[-1] = 0
    return np.asarray(filters, np.float32)


_POVEY = (np.hanning(WINDOW) ** 0.85).astype(np.float32)
_HANN = np.hanning(WINDOW + 1)[:-1].astype(np.float32)
_KALDI_FILTERS = _kaldi_filters()
_MEL_FILTERS = mel_filters(MEL_BANDS)
