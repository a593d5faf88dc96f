"""`VoiceActivity`: in which 20 ms frames there is a voice, so that nothing is drawn in pauses.

An energy gate over an adaptive noise floor. It is made to err on the side of speech: what it takes for a voice is
drawn, as without it; what it takes for a pause shows the idle mouth. Whether someone speaks into a microphone is
another question, which needs a better answer than this.
"""

from __future__ import annotations

import numpy as np

from media import SPEECH_FRAME_S, Pcm

MARGIN_DB = 5.0
"""A voice stands out of the noise floor by at least so much. White noise itself varies by less than 2 dB from frame to
frame; with 8 dB soft speech in noise (-45 in -60 dBFS) lost 3 % of its audible frames, with 5 dB 0.4 %."""
RISE_DB_PER_S = 3.0  # the floor follows a noise that grows; in continuous speech the gaps pull it down again
THRESHOLD_LEAST_DBFS = -64.0  # below it nobody hears a voice: dither, the hiss of a speech engine
THRESHOLD_MOST_DBFS = -50.0  # above it is a voice however loud the noise: soft speech has about -45 dBFS
HANG_FRAMES = 6  # 120 ms after the last loud frame: stop closures, and consonants that fade away


class VoiceActivity:
    """One session's gate; feed it every frame once, in order. About 2 microseconds a frame."""

    def __init__(self) -> None:
        self._floor = _power(THRESHOLD_LEAST_DBFS - MARGIN_DB)
        self._hang = 0

    def hear(self, pcm: Pcm) -> bool:
        """Whether there is a voice in the next frame, or was within the hangover before it."""
        power = float(np.dot(pcm, pcm)) / len(pcm)
        self._floor = max(_FLOOR_LEAST, min(power, self._floor * _RISE))
        if power > min(_MOST, max(_LEAST, self._floor * _MARGIN)):
            self._hang = HANG_FRAMES
            return True
        self._hang -= 1
        return self._hang >= 0


def _power(decibels: float) -> float:
    return float(10 ** (decibels / 10))


_MARGIN = _power(MARGIN_DB)
_RISE = _power(RISE_DB_PER_S * SPEECH_FRAME_S)
_LEAST, _MOST = _power(THRESHOLD_LEAST_DBFS), _power(THRESHOLD_MOST_DBFS)
_FLOOR_LEAST = _LEAST / _MARGIN
"""Lower, a gap of digital silence would make a voice of the noise behind it for long."""
