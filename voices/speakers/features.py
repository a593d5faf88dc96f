"""What the speaker models hear: Kaldi's filter bank for CAM++, librosa's mel spectrum for Resemblyzer.

Both are the very features the models were trained on, to the last digits of single precision.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kaldi import HOP, WINDOW, filter_bank
from listening.smartturn import mel_filters
from media import Pcm

MEL_BANDS = 40


def kaldi_features(pcm: Pcm) -> NDArray[np.float32]:
    """Kaldi's log filter bank, the mean of every band taken off, as 3D-Speaker gives it to CAM++: [frames, 80].

    Args:
        pcm: mono float32 at 16 kHz, at least WINDOW samples.
    """
    bands = filter_bank(pcm)
    return np.asarray(bands - bands.mean(0), np.float32)


def mel_spectrum(pcm: Pcm) -> NDArray[np.float32]:
    """librosa's power mel spectrum, as Resemblyzer is given it: [1 + samples // HOP, 40], not logarithmic.

    Frames are centred on multiples of HOP; before and behind the sound there is silence.
    """
    padded = np.pad(pcm, WINDOW // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP]
    power = np.abs(np.fft.rfft(frames * _HANN, axis=1)).astype(np.float32) ** 2
    return np.asarray(power @ _MEL_FILTERS, np.float32)


_HANN = np.hanning(WINDOW + 1)[:-1].astype(np.float32)
_MEL_FILTERS = mel_filters(MEL_BANDS)
