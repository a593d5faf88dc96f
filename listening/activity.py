"""`Activity`: from windows that may be speech to somebody who speaks, pauses, goes on.

Counts windows above a threshold up and those below it down, so that one bad window neither starts nor ends anything.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Literal

import numpy as np

from listening.frames import MicFrame
from listening.settings import ListeningSettings
from listening.vad import WINDOW, SpeechProbability
from media import SAMPLE_RATE_HZ, Pcm

WINDOW_S = WINDOW / SAMPLE_RATE_HZ
STALE_S = 0.5
"""After so much quiet that the judge was not asked about, it starts anew."""

State = Literal["silence", "speech", "pause"]


@dataclasses.dataclass(frozen=True, slots=True)
class Heard:
    """What a window was, and what it made of the stream."""

    pcm: Pcm
    """[WINDOW] float32."""
    at: float
    """When its first sample was captured, monotonic s."""
    is_speech: bool
    state: State
    changed: bool
    """Whether `state` is another than after the window before."""

    @property
    def ends(self) -> float:
        """When its last sample was captured."""
        return self.at + WINDOW_S


class Activity:
    """One stream's: feed it every frame, in order.

    Args:
        judge: tells speech from other sounds.
        settings: thresholds and times.
    """

    def __init__(self, judge: SpeechProbability, settings: ListeningSettings) -> None:
        self._judge = judge
        self._settings = settings
        self._quiet_power = 10 ** (settings.quiet_dbfs / 10)
        self._rest: Pcm = np.zeros(0, np.float32)
        self._unasked_s = 0.0
        self._above_s = 0.0
        self._below_s = 0.0
        self.state: State = "silence"

    def hear(self, frame: MicFrame) -> list[Heard]:
        """The windows that this frame completes: none, one or two."""
        begins = frame.at - len(self._rest) / SAMPLE_RATE_HZ
        pcm = np.concatenate([self._rest, frame.pcm])
        count = len(pcm) // WINDOW
        self._rest = pcm[count * WINDOW :]
        return [self._window(pcm[i * WINDOW :][:WINDOW], begins + i * WINDOW_S) for i in range(count)]

    def end(self) -> None:
        """Whoever speaks is done: the utterance was taken, or the stream has a gap."""
        self.state = "silence"
        self._above_s = self._below_s = 0.0

    def reset(self) -> None:
        """Another stream begins."""
        self.end()
        self._rest = self._rest[:0]
        self._judge.reset()

    def _window(self, pcm: Pcm, at: float) -> Heard:
        probability = self._probability(pcm)
        settings, before = self._settings, self.state
        loud = probability >= settings.speech_threshold
        faint = probability < settings.silence_threshold
        if self.state == "speech":
            if faint:
                self._below_s += WINDOW_S
            elif loud:
                self._below_s = max(0.0, self._below_s - 2 * WINDOW_S)
            if self._below_s >= settings.pause_s - WINDOW_S / 2:
                self.state, self._above_s = "pause", 0.0
        else:
            self._above_s = self._above_s + WINDOW_S if loud else max(0.0, self._above_s - WINDOW_S)
            needed_s = settings.start_s if self.state == "silence" else settings.resume_s
            if self._above_s >= needed_s - WINDOW_S / 2:
                self.state, self._below_s = "speech", 0.0
        return Heard(pcm, at, not faint if before == "speech" else loud, self.state, self.state != before)

    def _probability(self, pcm: Pcm) -> float:
        """The judge's answer, or 0 for what is too quiet for a voice, or no sound at all."""
        power = float(np.dot(pcm, pcm)) / WINDOW
        if not math.isfinite(power) or (self.state == "silence" and power < self._quiet_power):
            self._unasked_s += WINDOW_S
            return 0.0
        if self._unasked_s >= STALE_S:
            self._judge.reset()
        self._unasked_s = 0.0
        return self._judge(pcm)
