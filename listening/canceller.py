"""`Canceller`: takes her sound out of the microphone's, with the canceller of browsers (WebRTC's AEC3)."""

from __future__ import annotations

import importlib.util
from collections import deque
from typing import Any

import numpy as np

from errors import Unavailable
from listening.frames import MicFrame
from listening.reference import AUDIBLE_POWER, Reference
from media import SAMPLE_RATE_HZ, SAMPLES_PER_FRAME, Pcm

OUTPUT_DELAY_S = 128 / SAMPLE_RATE_HZ  # AEC3 works on blocks of 64 samples and overlaps two (measured: 8 ms)
SLIP_SAMPLES = 32  # 2 ms off: the clocks drift; one sample a frame puts it right, 50 times faster than they do
JUMP_S = 0.02  # more is no drift: begin anew there
FAR_S = 0.35  # AEC3 finds delays up to about half a second by itself; what is longer is taken off before
LEFT_S = 0.1  # of a delay that is taken off so much is left: an estimate that is too long would put effect before cause
DELAY_MAX_S = 1.5
WINDOW_S = 1.0  # of sound that GCC-PHAT compares at once
EVERY_S = 1.0
STEADY_S = 5.0  # once found: a look takes 2 ms of the event loop
DOUBTED_S = 0.4  # once so much of her is left that the delay may have changed: another loudspeaker, another buffer
DOUBTED_LEFT = 0.25  # of the energy; where AEC3 has found the echo it leaves less than a hundredth
LEVEL_S = 0.3  # over which what came and what is left are compared
CONFIDENT = 12.0  # a peak so much above the others' root mean square; chance reaches 6
AGREE_S = 0.01


def canceller_is_installed() -> bool:
    """Whether the package `pywebrtc-audio` is there."""
    return importlib.util.find_spec("pywebrtc_audio") is not None


class Canceller:
    """One session's. It finds the echo's delay itself, up to `DELAY_MAX_S`.

    Raises:
        Unavailable: the package `pywebrtc-audio` is not installed.
    """

    def __init__(self, reference: Reference) -> None:
        try:
            from pywebrtc_audio import EchoCanceller
        except ImportError as error:
            raise Unavailable(
                "echo cancellation on the server needs the package pywebrtc-audio: `pip install pywebrtc-audio==0.2.0`;"
                f" or take another echo mode: browser, gate, window ({error})"
            ) from error
        self.taken_off_s = 0.0
        """Delay that is taken off before AEC3."""
        self.before = self.after = 0.0
        """Energy that came and that was left while her sound was on its way."""
        self._came = self._left = 0.0
        """The same, of the last LEVEL_S."""
        self._make: Any = EchoCanceller
        self._aec = self._make(SAMPLE_RATE_HZ, 1)
        self._reference = reference
        self._finder = DelayFinder(reference)
        self._far: int | None = None

    def __call__(self, frame: MicFrame) -> MicFrame:
        """`frame` without her."""
        found_s = self._finder.hear(frame)
        if found_s is not None:
            self._take_off(found_s)
        far = self._reference.read(self._place(frame.at), SAMPLES_PER_FRAME)
        pcm: Pcm = np.asarray(self._aec.process(np.ascontiguousarray(frame.pcm), far), np.float32)
        if frame.at - self._reference.sounded_until < DELAY_MAX_S:
            self._compare(float(np.dot(frame.pcm, frame.pcm)), float(np.dot(pcm, pcm)))
        return MicFrame(pcm, frame.at - OUTPUT_DELAY_S)

    def _compare(self, came: float, left: float) -> None:
        """Look for the delay again where the echo is not taken off as it was; also where somebody speaks over her."""
        self.before += came
        self.after += left
        share = SAMPLES_PER_FRAME / SAMPLE_RATE_HZ / LEVEL_S
        self._came += share * (came - self._came)
        self._left += share * (left - self._left)
        if self._left > max(DOUBTED_LEFT * self._came, AUDIBLE_POWER * SAMPLES_PER_FRAME):
            self._finder.doubt()

    def _place(self, at: float) -> int:
        """The reference's sample that goes with a frame captured at `at`: contiguous, whatever the times' noise."""
        due = round((at - self.taken_off_s) * SAMPLE_RATE_HZ)
        if self._far is None or abs(due - self._far) > JUMP_S * SAMPLE_RATE_HZ:
            self._far = due
        elif abs(due - self._far) > SLIP_SAMPLES:
            self._far += 1 if due > self._far else -1
        begin, self._far = self._far, self._far + SAMPLES_PER_FRAME
        return begin

    def _take_off(self, delay_s: float) -> None:
        left_s = delay_s - self.taken_off_s
        if 0 <= left_s <= FAR_S:
            return
        self.taken_off_s = max(0.0, delay_s - LEFT_S)
        self._aec = self._make(SAMPLE_RATE_HZ, 1)


class DelayFinder:
    """Where the echo is, by generalised cross-correlation with phase transform (Knapp and Carter, 1976)."""

    def __init__(self, reference: Reference) -> None:
        self._reference = reference
        self._heard: Pcm = np.zeros(round(WINDOW_S * SAMPLE_RATE_HZ), np.float32)
        self._until = 0.0
        self._next_at = 0.0
        self._found: deque[float] = deque(maxlen=3)

    def hear(self, frame: MicFrame) -> float | None:
        """The delay in seconds when it was looked for now and two of three looks agree."""
        n = len(frame.pcm)
        self._heard[:-n] = self._heard[n:]
        self._heard[-n:] = frame.pcm
        self._until = frame.at + n / SAMPLE_RATE_HZ
        sounded = self._reference.sounded_until
        if self._until < self._next_at or frame.at - sounded > DELAY_MAX_S:
            return None
        self._next_at = self._until + EVERY_S
        delay_s = self._look()
        if delay_s is None:
            return None
        agreed = any(abs(delay_s - other) < AGREE_S for other in self._found)
        self._found.append(delay_s)
        if agreed:
            self._next_at = self._until + STEADY_S
        return delay_s if agreed else None

    def doubt(self) -> None:
        """Look again soon."""
        self._next_at = min(self._next_at, self._until + DOUBTED_S)

    def _look(self) -> float | None:
        heard, lags = self._heard, round(DELAY_MAX_S * SAMPLE_RATE_HZ)
        begin = round((self._until - WINDOW_S) * SAMPLE_RATE_HZ) - lags
        sent = self._reference.read(begin, lags + len(heard))
        if min(float(np.dot(x, x)) / len(x) for x in (heard, sent)) < AUDIBLE_POWER:
            return None
        size = -(-len(sent) // 64) * 64  # what wraps around lies beyond the lags that are asked for
        cross = np.fft.rfft(sent, size) * np.conj(np.fft.rfft(heard, size))
        cross /= np.abs(cross) + 1e-9
        peaks = np.abs(np.fft.irfft(cross, size)[: lags + 1])
        best = int(peaks.argmax())
        if peaks[best] < CONFIDENT * float(np.sqrt(np.mean(np.square(peaks)))):
            return None
        return (lags - best) / SAMPLE_RATE_HZ
