"""How loud a recording is to a listener: integrated loudness after ITU-R BS.1770-4, mono."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from media import Pcm

BLOCK_S, HOP_S = 0.4, 0.1
ABSOLUTE_GATE_LUFS = -70.0
RELATIVE_GATE_LU = -10.0
OFFSET_LUFS = -0.691
SHELF_HZ, SHELF_DB, SHELF_Q = 1681.9744509555319, 3.99984385397, 0.7071752369554193
"""The head: BS.1770's first stage, from which its table of coefficients at 48 kHz follows."""
HIGHPASS_HZ, HIGHPASS_Q = 38.13547087613982, 0.5003270373253953
"""The ear: its second stage."""
PADDING_S = 0.5
"""Silence behind the recording, in which the filters' answer dies away, as they are applied to its spectrum."""


def loudness_lufs(pcm: Pcm, rate_hz: int) -> float:
    """Integrated loudness of mono sound; minus infinity for silence and for less than `BLOCK_S`."""
    weighted = _weighted(pcm, rate_hz)
    hop, per_block = round(HOP_S * rate_hz), round(BLOCK_S / HOP_S)
    hops = weighted[: weighted.size // hop * hop].reshape(-1, hop)
    power = np.mean(np.square(hops, dtype=np.float64), axis=1)
    if power.size < per_block:
        return -np.inf
    blocks = np.convolve(power, np.full(per_block, 1 / per_block), mode="valid")
    heard = blocks[_lufs(blocks) > ABSOLUTE_GATE_LUFS]
    if not heard.size:
        return -np.inf
    loud = heard[_lufs(heard) > _lufs(heard.mean()) + RELATIVE_GATE_LU]
    return float(_lufs(loud.mean()))


def _lufs(power: NDArray[np.float64] | np.float64) -> NDArray[np.float64]:
    return np.asarray(OFFSET_LUFS + 10 * np.log10(np.maximum(power, 1e-20)))


def _weighted(pcm: Pcm, rate_hz: int) -> Pcm:
    """Filtered by both stages."""
    size = pcm.size + round(PADDING_S * rate_hz)
    z = np.exp(-2j * np.pi * np.fft.rfftfreq(size))
    spectrum = np.fft.rfft(pcm, size) * _shelf(z, rate_hz) * _highpass(z, rate_hz)
    return np.asarray(np.fft.irfft(spectrum, size)[: pcm.size], np.float32)


def _shelf(z: NDArray[np.complex128], rate_hz: int) -> NDArray[np.complex128]:
    """Response at `z` = e^-jw of the high shelf, by the bilinear transform."""
    k = np.tan(np.pi * SHELF_HZ / rate_hz)
    high = 10 ** (SHELF_DB / 20)
    band = high**0.4996667741545416
    b = (high + band * k / SHELF_Q + k * k, 2 * (k * k - high), high - band * k / SHELF_Q + k * k)
    return _response(b, k, SHELF_Q, z)


def _highpass(z: NDArray[np.complex128], rate_hz: int) -> NDArray[np.complex128]:
    # The standard's numerator is 1, -2, 1 as it stands, whatever the denominator is divided by.
    k = np.tan(np.pi * HIGHPASS_HZ / rate_hz)
    scale = 1 + k / HIGHPASS_Q + k * k
    return _response((scale, -2 * scale, scale), k, HIGHPASS_Q, z)


def _response(b: tuple[float, float, float], k: float, q: float, z: NDArray[np.complex128]) -> NDArray[np.complex128]:
    a = (1 + k / q + k * k, 2 * (k * k - 1), 1 - k / q + k * k)
    return np.asarray((b[0] + b[1] * z + b[2] * z**2) / (a[0] + a[1] * z + a[2] * z**2))
