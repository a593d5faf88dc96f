"""`SmartTurn`: does this sound like the end of what somebody wanted to say? smart-turn v3.2 on the last 8 s.

A Whisper-tiny encoder with a small head, trained by Daily on 23 languages, Chinese and English among them (BSD-2). It
hears intonation, not meaning, and is asked once for every pause. `python app.py weights pull listening` brings it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from listening.vad import load_network
from media import SAMPLE_RATE_HZ, Pcm
from weights.manifest import MODELS

WEIGHTS = MODELS / "listening" / "smart-turn-v3.2-cpu.onnx"
HEARD_S = 8
SAMPLES = HEARD_S * SAMPLE_RATE_HZ
MEL_BANDS = 80
MEL_WINDOW = 400
"""Samples under a mel frame (25 ms), every MEL_HOP (10 ms): Whisper's."""
MEL_HOP = 160
MEL_FRAMES = SAMPLES // MEL_HOP  # 800
_QUIETEST = 1e-10
_RANGE = 8.0
"""log10 units (80 dB) under the loudest value that are told apart."""
_VARIANCE_LEAST = 1e-7


def mel_filters(bands: int = MEL_BANDS) -> NDArray[np.float32]:
    """Slaney's mel filters of unit area, as Whisper and librosa use them: [MEL_WINDOW // 2 + 1, bands].

    Slaney's scale (Auditory Toolbox, 1998) is linear up to 1000 Hz, 200 / 3 Hz a mel, and logarithmic above, 27 mels
    for a factor of 6.4.
    """
    per_mel = np.log(6.4) / 27
    top = 15 + np.log(SAMPLE_RATE_HZ / 2 / 1000) / per_mel
    mels = np.linspace(0, top, bands + 2)
    edges_hz = np.where(mels < 15, mels * 200 / 3, 1000 * np.exp(per_mel * (mels - 15)))
    bins_hz = np.fft.rfftfreq(MEL_WINDOW, 1 / SAMPLE_RATE_HZ)[:, None]
    rise = (bins_hz - edges_hz[:-2]) / np.diff(edges_hz)[:-1]
    fall = (edges_hz[2:] - bins_hz) / np.diff(edges_hz)[1:]
    area = 2 / (edges_hz[2:] - edges_hz[:-2])
    return np.asarray(np.clip(np.minimum(rise, fall), 0, None) * area, np.float32)


_FILTERS = mel_filters()
_TAPER = np.hanning(MEL_WINDOW + 1)[:-1].astype(np.float32)


def features(pcm: Pcm) -> NDArray[np.float32]:
    """What smart-turn is shown of [samples] at 16 kHz: float32 [MEL_BANDS, MEL_FRAMES].

    The last 8 s, silence in front of less, brought to zero mean and unit variance; then Whisper's log-mel values.
    """
    heard = np.zeros(SAMPLES, np.float32)
    last = pcm[-SAMPLES:]
    heard[SAMPLES - len(last) :] = last
    heard = (heard - heard.mean()) / np.sqrt(heard.var() + _VARIANCE_LEAST)
    padded = np.pad(heard, MEL_WINDOW // 2, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, MEL_WINDOW)[::MEL_HOP][:MEL_FRAMES]
    spectrum = np.fft.rfft(frames * _TAPER)
    power = np.square(spectrum.real) + np.square(spectrum.imag)
    log_mel = np.log10(np.maximum(power @ _FILTERS, _QUIETEST)).T
    return np.asarray((np.maximum(log_mel, log_mel.max() - _RANGE) + 4) / 4, np.float32)


class SmartTurn:
    """The network, on one thread; one instance serves all sessions, from any thread.

    Args:
        path: the ONNX file.

    Raises:
        NotFound: there is no such file.
        Unavailable: it cannot be loaded.
    """

    def __init__(self, path: Path = WEIGHTS) -> None:
        self._network: onnxruntime.InferenceSession = load_network(
            path, "smart-turn (`python app.py weights pull listening` brings it)"
        )

    def probability(self, pcm: Pcm) -> float:
        """How sure it is, 0..1, that a turn ends with [samples] at 16 kHz, the pause included.

        About 0.1 s of one core; Python's global lock is free most of it.
        """
        (found,) = self._network.run(None, {"input_features": features(pcm)[None]})
        return float(np.ravel(found)[0])
