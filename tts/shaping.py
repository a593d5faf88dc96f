"""One clause's sound on its way from an engine to 16 kHz: resampled, levelled, its silence trimmed."""

from __future__ import annotations

import math

import numpy as np
import soxr

from media import SAMPLE_RATE_HZ, Pcm

SILENCE_DBFS = -48.0
"""Quieter blocks at the ends of a clause are silence; the engines' own noise lies under -60, a soft `s` over -45."""
LEAD_MS = 30
"""Silence kept before the first sound of a clause, so that a soft onset is not clipped."""
TAIL_MS = 60
TARGET_DBFS = -20.0
"""RMS of the speech itself, silence left out."""
MAX_GAIN_DB = 8.0
MAX_CUT_DB = 10.0
LIMIT_KNEE = 0.85
_EMPTY: Pcm = np.zeros(0, np.float32)


class Trim:
    """Cuts a stream's silence at both ends: feed it any lengths, get what is certain."""

    def __init__(self, rate_hz: int = SAMPLE_RATE_HZ) -> None:
        self._block = rate_hz // 100
        self._held = _EMPTY
        self._begun = False
        self.cut_samples = 0
        """Samples cut off before the first sound."""

    def feed(self, pcm: Pcm) -> Pcm:
        """Add samples; return those that now surely lie before more speech, or follow it closely."""
        self._held = np.concatenate((self._held, pcm))
        loud = self._loud_blocks()
        if not loud.size:
            if not self._begun:
                self._drop(self._held.size // self._block * self._block - LEAD_MS * self._block // 10)
            return _EMPTY
        if not self._begun:
            first = int(loud[0]) * self._block
            cut = self._drop(first - LEAD_MS * self._block // 10)
            self._begun = True
            end = (int(loud[-1]) + 1) * self._block - cut
        else:
            end = (int(loud[-1]) + 1) * self._block
        out, self._held = self._held[:end], self._held[end:]
        return out

    def flush(self, pause_ms: int) -> Pcm:
        """The end of the clause: its last decay, then silence up to `pause_ms` in all."""
        if not self._begun:
            return _EMPTY
        tail = self._held[: self._block * min(TAIL_MS, pause_ms) // 10]
        rest = max(0, self._block * pause_ms // 10 - tail.size)
        return np.concatenate((tail, np.zeros(rest, np.float32)))

    def _loud_blocks(self) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
        blocks = self._held[: self._held.size // self._block * self._block].reshape(-1, self._block)
        floor = 10 ** (SILENCE_DBFS / 10)
        return np.flatnonzero(np.einsum("ij,ij->i", blocks, blocks) > floor * self._block)

    def _drop(self, samples: int) -> int:
        samples = max(0, samples)
        self.cut_samples += samples
        self._held = self._held[samples:]
        return samples


class Levels:
    """How loud each voice speaks, and the gain that brings it to the common level; shared by all sessions."""

    def __init__(self) -> None:
        self._power: dict[str, float] = {}

    def heard(self, voice: str, pcm: Pcm) -> None:
        """Learn from a stretch of a voice's sound; one shorter than 0.1 s of speech teaches nothing."""
        loud = pcm[np.abs(pcm) > 10 ** (SILENCE_DBFS / 20)]
        if loud.size > SAMPLE_RATE_HZ // 10:
            power = float(np.mean(np.square(loud, dtype=np.float64)))
            self._power[voice] = 0.8 * self._power.get(voice, power) + 0.2 * power

    def gain(self, voice: str) -> float | None:
        """Factor for a clause of `voice`; None before the voice was heard."""
        power = self._power.get(voice)
        if power is None:
            return None
        gain_db = TARGET_DBFS - 10 * math.log10(power)
        return float(10 ** (min(MAX_GAIN_DB, max(-MAX_CUT_DB, gain_db)) / 20))


def limit(pcm: Pcm) -> Pcm:
    """Bend peaks over LIMIT_KNEE softly under 1."""
    size = np.abs(pcm)
    if not size.size or float(size.max()) <= LIMIT_KNEE:
        return pcm
    room = 1.0 - LIMIT_KNEE
    bent = LIMIT_KNEE + room * np.tanh((size - LIMIT_KNEE) / room)
    return np.where(size > LIMIT_KNEE, np.copysign(bent, pcm), pcm).astype(np.float32)


class ClauseShaper:
    """Shapes one clause of one engine; feed its sound, then flush."""

    def __init__(self, rate_hz: int, voice: str, levels: Levels) -> None:
        self._resample = soxr.ResampleStream(rate_hz, SAMPLE_RATE_HZ, 1, dtype="float32", quality="HQ")
        self._trim = Trim()
        self._levels = levels
        self._voice = voice
        self._gain: float | None = None

    @property
    def cut_s(self) -> float:
        """Seconds trimmed from the front so far: what word times move by."""
        return self._trim.cut_samples / SAMPLE_RATE_HZ

    def feed(self, pcm: Pcm) -> Pcm:
        """Shape the next samples; may return none yet."""
        return self._shape(pcm, last=False)

    def flush(self, pause_ms: int) -> Pcm:
        """Shape what is left and end the clause with `pause_ms` of silence."""
        rest = self._shape(_EMPTY, last=True)
        return np.concatenate((rest, self._trim.flush(pause_ms)))

    def _shape(self, pcm: Pcm, *, last: bool) -> Pcm:
        pcm = np.nan_to_num(np.asarray(pcm, np.float32).reshape(-1))
        self._levels.heard(self._voice, pcm)
        if self._gain is None and pcm.size:
            # One gain for the whole clause: a change within it would be heard.
            self._gain = self._levels.gain(self._voice) or 1.0
        resampled = self._resample.resample_chunk(pcm * np.float32(self._gain or 1.0), last=last)
        return limit(self._trim.feed(np.asarray(resampled, np.float32)))
