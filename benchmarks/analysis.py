"""From time stamps to figures: pure numpy, no clocks, no input or output.

All times are seconds on one clock. An A/V offset is t(sound) - t(picture) of one media instant: positive when the sound
is late.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

Times = NDArray[np.float64]
Levels = NDArray[np.float64]

HOP_S = 0.005  # one value of a sound envelope
SILENCE_DBFS = -50.0
SUSTAIN_S = 0.03  # shorter noises are clicks, not speech
BEEP_DBFS = -26.0
FPS = 25


@dataclasses.dataclass(frozen=True)
class Spread:
    """What is reported of a sample."""

    n: int
    p50: float
    p95: float
    worst: float


def spread(values: list[float]) -> Spread | None:
    """Percentiles (linear interpolation) of a sample, None when it is empty; `worst` is its maximum."""
    if not values:
        return None
    p50, p95 = np.percentile(values, [50, 95])
    return Spread(len(values), float(p50), float(p95), float(max(values)))


def dbfs(rms: Levels) -> Levels:
    """Level of RMS values (full scale 1) in dB."""
    return 20 * np.log10(np.maximum(rms, 1e-6))


def envelope(pcm: NDArray[np.float32], rate_hz: int) -> Levels:
    """RMS of each whole hop of mono samples."""
    hop = round(rate_hz * HOP_S)
    count = len(pcm) // hop
    rms: Levels = np.sqrt((pcm[: count * hop].reshape(count, hop).astype(np.float64) ** 2).mean(axis=1))
    return rms


def hops_s(count: int) -> Times:
    """Starts of `count` hops, from 0."""
    return np.arange(count, dtype=np.float64) * HOP_S


def first_sound(t: Times, rms: Levels, after: float) -> float | None:
    """Start of the first `SUSTAIN_S` of sound that begins at or after `after`."""
    need = round(SUSTAIN_S / HOP_S)
    loud = (dbfs(rms) > SILENCE_DBFS) & (t >= after)
    if len(loud) < need:
        return None
    runs = np.flatnonzero(np.convolve(loud, np.ones(need, int), "valid") >= need)
    return float(t[runs[0]]) if len(runs) else None


def _end_of_activity(t: Times, active: NDArray[np.bool_], quiet_s: float) -> int | None:
    """Index of the last active moment before `quiet_s` of quiet; None when the data shows no such quiet."""
    at = np.flatnonzero(active)
    quiet_until = np.append(t[at[1:]], t[-1])
    ends = at[quiet_until - t[at] >= quiet_s]
    return int(ends[0]) if len(ends) else None


def last_sound(t: Times, rms: Levels, after: float, quiet_s: float = 0.5) -> float | None:
    """End of the sound that `quiet_s` of silence follows: `after` itself when it is silent already."""
    late = t >= after
    t, loud = t[late], dbfs(rms[late]) > SILENCE_DBFS
    if not len(t):
        return None
    if not loud.any():
        return after
    end = _end_of_activity(t, loud, quiet_s)
    return None if end is None else float(t[end] + HOP_S)


def _distances(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> NDArray[np.float64]:
    """RMS differences (0..255) between all rows of `a` and all rows of `b`."""
    x, y = a.astype(np.float64), b.astype(np.float64)
    squared = (x * x).sum(axis=1)[:, None] + (y * y).sum(axis=1)[None] - 2 * x @ y.T
    distances: NDArray[np.float64] = np.sqrt(np.maximum(squared, 0) / x.shape[1])
    return distances


@dataclasses.dataclass(frozen=True)
class RestingMouth:
    """The looks of the mouth at rest, and how far from all of them a picture must be to show motion.

    The nearest neighbour among the resting looks makes breathing and swaying invisible, provided the resting pictures
    cover one period of it.
    """

    looks: NDArray[np.uint8]
    threshold: float

    @classmethod
    def learn(cls, patches: NDArray[np.uint8], least: float = 3.0) -> RestingMouth:
        """From consecutive pictures [n >= 25, pixels] of an idle avatar; `least` is the smallest threshold (0..255)."""
        if len(patches) < 25:
            raise ValueError(f"the mouth at rest needs at least 25 idle pictures, there are {len(patches)}")
        own = _distances(patches, patches)
        index = np.arange(len(patches))
        own[np.abs(index[:, None] - index) <= 2] = np.inf  # neighbours in time are alike whatever they show
        nearest = own.min(axis=1)
        middle = float(np.median(nearest))
        scatter = 1.4826 * float(np.median(np.abs(nearest - middle)))  # of a normal distribution; outliers do not count
        return cls(patches, max(least, 2 * middle, middle + 8 * scatter))

    def moving(self, patches: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Which of the pictures show no resting look."""
        if not len(patches):
            return np.zeros(0, bool)
        moving: NDArray[np.bool_] = _distances(patches, self.looks).min(axis=1) > self.threshold
        return moving


def first_motion(t: Times, moving: NDArray[np.bool_], after: float) -> float | None:
    """First moving picture at or after `after` that is not alone (2 of 3 move)."""
    moving = moving & (t >= after)
    for i in np.flatnonzero(moving):
        if moving[i : i + 3].sum() >= 2:
            return float(t[i])
    return None


def rest_again(t: Times, moving: NDArray[np.bool_], after: float, quiet_s: float = 0.5) -> float | None:
    """First picture from which the mouth rests for `quiet_s`: `after` itself when it rested before.

    Pictures from shortly before `after` tell whether it did: what they show stays until the next picture comes.
    """
    if not len(t):
        return None
    if not moving.any():
        return after
    still_late = np.flatnonzero(moving & (t >= after))
    last = _end_of_activity(t, moving & (t >= after), quiet_s) if len(still_late) else int(np.flatnonzero(moving)[-1])
    return None if last is None or last + 1 >= len(t) else max(after, float(t[last + 1]))


@dataclasses.dataclass(frozen=True)
class Pacing:
    """How evenly pictures came."""

    pictures: int
    fps: float
    freezes: int
    longest_gap_ms: float


def pacing(t: Times) -> Pacing:
    """A freeze is a gap longer than max(3 d, d + 150 ms), d the mean of the 30 gaps before it (at least 5).

    That is how `freezeCount` is defined in https://www.w3.org/TR/webrtc-stats/#dom-rtcinboundrtpstreamstats-freezecount.
    """
    if len(t) < 3:
        return Pacing(len(t), 0.0, 0, float("inf"))
    gaps = np.diff(t)
    freezes = 0
    for i in range(5, len(gaps)):
        usual = gaps[max(0, i - 30) : i].mean()
        freezes += bool(gaps[i] > max(3 * usual, usual + 0.150))
    return Pacing(len(t), float(len(gaps) / (t[-1] - t[0])), freezes, float(gaps.max() * 1000))


def beeps(t: Times, rms: Levels) -> Times:
    """Onsets of beeps, at least 0.5 s apart, interpolated within the hop by the share of it that is filled."""
    loud = rms > 10 ** (BEEP_DBFS / 20)
    onsets: list[float] = []
    for i in np.flatnonzero(loud & ~np.concatenate([[False], loud[:-1]])):
        if onsets and t[i] - onsets[-1] < 0.5:
            continue
        full = rms[i : i + 2].max()
        onsets.append(float(t[i] + (1 - (rms[i] / full) ** 2) * HOP_S))
    return np.array(onsets)


def mark_offsets(t: Times, counters: NDArray[np.int64], onsets: Times) -> tuple[Times, Times]:
    """Pair each beep with the picture whose counter is a whole second.

    Args:
        t: [n] when each picture was shown.
        counters: [n] its counter, -1 where it could not be read.
        onsets: when beeps were heard.

    Returns:
        (times of the pairs, their offsets), seconds.
    """
    shown: dict[int, float] = {}
    for at, counter in zip(t, counters, strict=True):
        if counter >= 0:
            shown.setdefault(int(counter), float(at))
    seconds = {n: at for n, at in shown.items() if n % FPS == 0}
    for n, at in shown.items():
        if n % FPS == 1:  # stands in for the picture before it, if that one was dropped
            seconds.setdefault(n - 1, at - 1 / FPS)
    flashes: Times = np.array(sorted(seconds.values()))
    pairs = []
    for onset in map(float, onsets) if len(flashes) else ():
        nearest = float(flashes[int(np.abs(flashes - onset).argmin())])
        if abs(onset - nearest) < 0.45:  # less than half the period: never the neighbour's
            pairs.append((onset, onset - nearest))
    both = np.array(pairs).reshape(-1, 2)
    return both[:, 0], both[:, 1]


def slope_ms_per_min(t: Times, x: Times) -> float:
    """Least-squares drift of `x` (s) over `t` (s), in ms per minute."""
    return float(np.polyfit(t - t[0], x, 1)[0] * 60_000)
