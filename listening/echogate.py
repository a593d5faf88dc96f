"""`EchoGate`: is what the microphone hears now what was sent a little while ago?

Bright parts first (pre-emphasis), a user's speech correlates with her sound, at the best of all delays, by .13 at most;
her echo, through loudspeaker, room and microphone, by .5 and more. What both say at once lies between: a gate cannot
hear a quiet user through a loud echo.
"""

from __future__ import annotations

import numpy as np

from listening.frames import MicFrame
from listening.reference import AUDIBLE_POWER, Reference
from media import SAMPLE_RATE_HZ, SAMPLES_PER_FRAME, Pcm

WINDOW_S = 0.6  # long enough for a few syllables: shorter ones look alike by chance
LAG_MAX_S = 1.0  # browser's buffers, a wireless loudspeaker, a room and the network
PRE_EMPHASIS = 0.95  # as for LPC; without it vowels of the same pitch look alike: .29 where it is .13
THRESHOLD = 0.35
EVERY_FRAMES = 3  # 60 ms: an echo is noticed well before the 300 ms of a barge-in
QUIET_SHARE = 0.05  # places where she says next to nothing are taken as this much of her loudest


def likeness(heard: Pcm, sent: Pcm) -> tuple[float, int]:
    """The highest normalised cross-correlation of `heard` with any stretch of `sent`, 0..1, and where that begins.

    Args:
        heard: [n].
        sent: [m], m >= n.
    """
    n = len(heard)
    size = -(-len(sent) // 64) * 64  # what wraps around lies beyond the lags that are asked for
    spectrum = np.fft.rfft(sent, size) * np.conj(np.fft.rfft(heard, size))
    products = np.fft.irfft(spectrum, size)[: len(sent) - n + 1]
    energy = np.cumsum(np.concatenate([[0.0], np.square(sent, dtype=np.float64)]))
    energies = energy[n:] - energy[:-n]
    energies = np.maximum(energies, QUIET_SHARE * energies.max() + 1e-9)
    values = np.abs(products) / np.sqrt(energies * (float(np.dot(heard, heard)) + 1e-9))
    best = int(values.argmax())
    return min(1.0, float(values[best])), best


class EchoGate:
    """One stream's: show it every frame, in order.

    Args:
        reference: what was sent.
        threshold: likeness from which it is an echo.
    """

    def __init__(self, reference: Reference, threshold: float = THRESHOLD) -> None:
        self.likeness = 0.0
        """Of the last window that was judged."""
        self.lag_s: float | None = None
        """How long the last echo took."""
        self._reference = reference
        self._threshold = threshold
        self._heard: Pcm = np.zeros(round(WINDOW_S * SAMPLE_RATE_HZ), np.float32)
        self._until = 0.0
        self._countdown = 0
        self._closed = False

    def is_echo(self, frame: MicFrame) -> bool:
        """Whether what is heard up to the end of `frame` is her."""
        n, until = len(frame.pcm), frame.at + len(frame.pcm) / SAMPLE_RATE_HZ
        if abs(frame.at - self._until) > WINDOW_S:
            self._heard[:] = 0
        self._heard[:-n] = self._heard[n:]
        self._heard[-n:] = frame.pcm
        self._until = until
        if frame.at - LAG_MAX_S - WINDOW_S > self._reference.sounded_until:
            self._closed, self._countdown = False, 0
            return False
        self._countdown -= 1
        if self._countdown < 0:
            self._countdown = EVERY_FRAMES - 1
            self.likeness, lag_s = self.judge(self._heard, until - WINDOW_S)
            self._closed = self.likeness >= self._threshold
            self.lag_s = lag_s if self._closed else self.lag_s
        return self._closed

    def is_like(self, pcm: Pcm, at: float) -> bool:
        """Whether at least half of `pcm`, [n] captured from `at` on, is her; silence does not count."""
        n, hop = round(WINDOW_S * SAMPLE_RATE_HZ), round(WINDOW_S * SAMPLE_RATE_HZ / 2)
        begins = range(0, max(1, len(pcm) - n + 1), hop)
        judged = [self.judge(pcm[begin : begin + n], at + begin / SAMPLE_RATE_HZ)[0] for begin in begins]
        told = [value for value in judged if value > 0]
        return bool(told) and 2 * sum(value >= self._threshold for value in told) >= len(told)

    def judge(self, pcm: Pcm, at: float) -> tuple[float, float]:
        """How much `pcm`, captured from `at` on, is like what was sent up to `LAG_MAX_S` before it, 0..1, and how long
        it would have taken, in seconds. 0 where either is silent."""
        if float(np.dot(pcm, pcm)) < AUDIBLE_POWER * len(pcm):
            return 0.0, 0.0
        lags = round(LAG_MAX_S * SAMPLE_RATE_HZ)
        sent = self._reference.read(round(at * SAMPLE_RATE_HZ) - lags, lags + len(pcm))
        if float(np.dot(sent, sent)) < AUDIBLE_POWER * SAMPLES_PER_FRAME:
            return 0.0, 0.0
        value, begin = likeness(_bright(pcm), _bright(sent))
        return value, (lags - begin) / SAMPLE_RATE_HZ


def _bright(pcm: Pcm) -> Pcm:
    return pcm[1:] - PRE_EMPHASIS * pcm[:-1]
