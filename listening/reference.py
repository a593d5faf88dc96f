"""`Reference`: her sound as it was sent, on the time line of when."""

from __future__ import annotations

import threading

import numpy as np

from media import SAMPLE_RATE_HZ, Pcm

KEPT_S = 4.0  # an echo of a second, its window, a frame that comes late, and as much again
AUDIBLE_POWER = 10 ** (-60 / 10)  # mean square; less is a breath or the end of a fade


class Reference:
    """The last `KEPT_S` of one session's sound. Thread-safe: the playout clock writes, the event loop reads."""

    def __init__(self) -> None:
        self.sounded_until = -np.inf
        """Monotonic time at which the last audible sound ended."""
        self._ring: Pcm = np.zeros(round(KEPT_S * SAMPLE_RATE_HZ), np.float32)
        self._end: int | None = None
        """Sample after the newest, counted from monotonic time 0."""
        self._lock = threading.Lock()

    def write(self, pcm: Pcm, at: float) -> None:
        """`pcm`, 16 kHz, is sent from monotonic time `at` on; between what is written there is silence."""
        begin = round(at * SAMPLE_RATE_HZ)
        pcm = pcm[-len(self._ring) :]
        end = begin + len(pcm)
        with self._lock:
            if self._end is None or begin - self._end >= len(self._ring):
                self._ring[:] = 0
            elif begin > self._end:
                self._put(self._end, np.zeros(begin - self._end, np.float32))
            elif self._end - begin > len(self._ring):
                return
            self._put(begin, pcm)
            self._end = end if self._end is None else max(end, self._end)
        if len(pcm) and float(np.dot(pcm, pcm)) > AUDIBLE_POWER * len(pcm):
            self.sounded_until = max(self.sounded_until, end / SAMPLE_RATE_HZ)

    def read(self, begin: int, samples: int) -> Pcm:
        """What was sent from sample `begin` on, counted from monotonic time 0; zeros where that is not known."""
        pcm = np.zeros(samples, np.float32)
        with self._lock:
            if self._end is not None:
                first = max(begin, self._end - len(self._ring))
                last = min(begin + samples, self._end)
                if first < last:
                    place, wanted = first % len(self._ring), pcm[first - begin : last - begin]
                    before_end = min(len(wanted), len(self._ring) - place)
                    wanted[:before_end] = self._ring[place : place + before_end]
                    wanted[before_end:] = self._ring[: len(wanted) - before_end]
        return pcm

    def _put(self, begin: int, pcm: Pcm) -> None:
        place = begin % len(self._ring)
        before_end = len(self._ring) - place
        self._ring[place : place + len(pcm)] = pcm[:before_end]
        self._ring[: max(0, len(pcm) - before_end)] = pcm[before_end:]
