"""Ears to mouth: what the mouth does at the centre of a 40 ms video frame, from the sound around it.

A small convolutional network on log-mel frames, stateless and batched over sessions. It is trained in `training/ears/`,
whose README is its model card.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from errors import EngineError
from media import SAMPLE_RATE_HZ, SAMPLES_PER_FRAME, SAMPLES_PER_UNIT

LEFT_FRAMES = 14
"""Speech frames of 20 ms heard before the video frame: 280 ms."""
RIGHT_FRAMES = 6
"""Speech frames heard after it: 120 ms of look-ahead."""
WINDOW_SAMPLES = (LEFT_FRAMES + RIGHT_FRAMES) * SAMPLES_PER_FRAME + SAMPLES_PER_UNIT  # 7040 samples, 440 ms
CHANNELS = 16
"""Mouth channels of the avatar kit, in its order: jawOpen, mouthClose, .. tongueUp."""

MEL_WINDOW = 320
"""Samples under one mel frame (20 ms): with MEL_HOP one of them is centred on the video frame's centre."""
MEL_HOP = 160
MEL_BANDS = 40
MEL_FRAMES = (WINDOW_SAMPLES - MEL_WINDOW) // MEL_HOP + 1  # 43
MEL_LOW_HZ, MEL_HIGH_HZ = 60.0, 7600.0
MEL_FLOOR = 1e-5
"""Added to the mel energies: about -80 dBFS, so that faint noise and digital silence look alike."""
WEIGHTS = Path(__file__).with_name("ears.onnx")


def mel_filters() -> NDArray[np.float32]:
    """Triangular filters on O'Shaughnessy's mel scale, 2595 log10(1 + f / 700): [MEL_WINDOW // 2 + 1, MEL_BANDS]."""
    low, high = (2595 * np.log10(1 + hz / 700) for hz in (MEL_LOW_HZ, MEL_HIGH_HZ))
    edges_hz = 700 * (10 ** (np.linspace(low, high, MEL_BANDS + 2) / 2595) - 1)
    bins_hz = np.fft.rfftfreq(MEL_WINDOW, 1 / SAMPLE_RATE_HZ)[:, None]
    # A triangle narrower than the bins would catch none: every side spans one bin at least.
    bin_hz = SAMPLE_RATE_HZ / MEL_WINDOW
    rise = (bins_hz - edges_hz[:-2]) / np.maximum(np.diff(edges_hz)[:-1], bin_hz)
    fall = (edges_hz[2:] - bins_hz) / np.maximum(np.diff(edges_hz)[1:], bin_hz)
    return np.clip(np.minimum(rise, fall), 0, None).astype(np.float32)


_FILTERS = mel_filters()
_TAPER = np.hanning(MEL_WINDOW + 1)[:-1].astype(np.float32)


def log_mel(pcm: NDArray[np.float32]) -> NDArray[np.float32]:
    """Natural log of mel energies: pcm [..., samples] at 16 kHz gives [..., frames, MEL_BANDS].

    Frame k is centred on sample MEL_WINDOW // 2 + k * MEL_HOP; nothing is padded.
    """
    frames = np.lib.stride_tricks.sliding_window_view(pcm, MEL_WINDOW, axis=-1)[..., ::MEL_HOP, :]
    spectrum = np.fft.rfft(frames * _TAPER)
    power = spectrum.real**2 + spectrum.imag**2
    return np.log(power @ _FILTERS + np.float32(MEL_FLOOR))


class Ears:
    """Reads mouth weights off sound. Thread-safe: the session keeps no state between calls."""

    def __init__(self, path: Path | None = None) -> None:
        """Load the network at `path` (default: the one beside this module); EngineError when it cannot be read."""
        path = path or WEIGHTS
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime raises classes of its own, with no common base
            raise EngineError("lite", f"mouth network {path} cannot be loaded: {error}", retryable=False) from error

    def mouth(self, windows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Mouth channels for windows [B, WINDOW_SAMPLES] of 16 kHz sound, as [B, CHANNELS]; all zero is closed.

        A window holds LEFT_FRAMES of context, the video frame's own 40 ms and RIGHT_FRAMES of look-ahead; what is
        not known (before speech, past its end) is zeros. ValueError when the shape is another.
        """
        if windows.ndim != 2 or windows.shape[1] != WINDOW_SAMPLES:
            raise ValueError(f"windows: shape is {list(windows.shape)}, must be [B, {WINDOW_SAMPLES}]")
        if len(windows) == 0:
            return np.zeros((0, CHANNELS), np.float32)
        (mouth,) = self._session.run(None, {"mel": log_mel(windows.astype(np.float32, copy=False))})
        return np.asarray(mouth, np.float32)
