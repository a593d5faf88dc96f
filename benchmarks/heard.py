"""From a recording, what became of it and what was recognised to figures: pure, no clocks, no input or output."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence

import numpy as np

from benchmarks.analysis import HOP_S, Levels, Times, dbfs

QUIET_DBFS = -58.0
"""Softer hops are all alike: rooms' noise, and what a browser's noise suppression makes of it."""
SEARCH_S = 0.15
AROUND_S = 0.3
ALIKE_LEAST = 0.5


def _shape(rms: Levels) -> Levels:
    """An envelope as loudness over QUIET_DBFS, which automatic gain shifts but does not bend."""
    return np.maximum(dbfs(rms) - QUIET_DBFS, 0.0)


def beginning(played: Levels, t: Times, heard: Levels) -> float:
    """When the first hop of a recording was played.

    Args:
        played: [n] RMS of its hops.
        t: [m] when hops were heard, s.
        heard: [m] their RMS.

    Raises:
        ValueError: what was heard is nothing like it.
    """
    if len(t) < 2:
        raise ValueError("the microphone gave no sound")
    grid = np.arange(t[0], t[-1], HOP_S)
    ours, theirs = _shape(played), np.interp(grid, t, _shape(heard))
    size = 1 << (len(ours) + len(theirs)).bit_length()
    ours, theirs = ours - ours.mean(), theirs - theirs.mean()
    likeness = np.fft.irfft(np.fft.rfft(theirs, size) * np.conj(np.fft.rfft(ours, size)), size)
    best = int(np.argmax(likeness))
    lag = best - size if best > size // 2 else best
    alike = likeness[best] / (np.linalg.norm(ours) * np.linalg.norm(theirs) + 1e-9)
    if alike < ALIKE_LEAST:
        raise ValueError(f"the microphone's sound is not the recording: likeness {alike:.2f}")
    return float(grid[0] + lag * HOP_S)


def place(played: Levels, begins_s: float, ends_s: float, t: Times, heard: Levels, about: float) -> float:
    """`beginning` told by one sentence of the recording alone: sound devices' clocks drift.

    Args:
        begins_s: where the sentence begins in the recording, and
        ends_s: ends.
        about: what `beginning` said.
    """
    first = max(0, round((begins_s - AROUND_S) / HOP_S))
    ours = _shape(played[first : round((ends_s + AROUND_S) / HOP_S)])
    at = about + first * HOP_S + np.arange(len(ours)) * HOP_S
    shifts = np.arange(-SEARCH_S, SEARCH_S + HOP_S / 2, HOP_S / 5)
    theirs = [np.interp(at + shift, t, _shape(heard)) for shift in shifts]
    ours = ours - ours.mean()
    scores = [float(np.dot(ours, one - one.mean()) / (np.linalg.norm(one - one.mean()) + 1e-9)) for one in theirs]
    return float(about + shifts[int(np.argmax(scores))])


_UNITS = re.compile(r"[\u3400-\u9fff]|[a-z0-9']+")


def units(text: str) -> list[str]:
    """What errors are counted in: words in lower case without marks, characters of Chinese."""
    return _UNITS.findall(unicodedata.normalize("NFKC", text).lower().replace("’", "'"))


def errors(said: Sequence[str], recognised: Sequence[str]) -> int:
    """Insertions, deletions and substitutions (Levenshtein)."""
    row = list(range(len(recognised) + 1))
    for i, wanted in enumerate(said, 1):
        before, row[0] = row[0], i
        for j, found in enumerate(recognised, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (wanted != found))
    return row[-1]


def error_percent(pairs: Iterable[tuple[str, str]]) -> float:
    """Errors per unit of what was said, over all (said, recognised) pairs, in percent."""
    told = [(units(said), units(recognised)) for said, recognised in pairs]
    return 100 * sum(errors(*pair) for pair in told) / max(1, sum(len(said) for said, _ in told))
