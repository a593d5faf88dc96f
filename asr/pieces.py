"""Where an utterance that is too long for one look is cut: where it is quietest."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from media import SAMPLE_RATE_HZ, Pcm

QUIET_S = 0.16
"""Of sound that is judged at once: shorter than a pause between words, longer than the closing of a `t`."""
SEARCH_S = 8.0
"""Before the longest piece's end; who speaks for so long without a stop is cut in a word."""
STEP_SAMPLES = SAMPLE_RATE_HZ // 50


def quietest(pcm: Pcm, begin: int, end: int) -> int:
    """The middle of the quietest QUIET_S between two places, as a place in `pcm`; `end` when there is too little."""
    length = round(QUIET_S * SAMPLE_RATE_HZ)
    begins = np.arange(begin, end - length + 1, STEP_SAMPLES)
    if not begins.size:
        return end
    power = np.concatenate(([0.0], np.cumsum(np.square(pcm[begin:end], dtype=np.float64))))
    return int(begins[np.argmin(power[begins - begin + length] - power[begins - begin])]) + length // 2


def pieces(pcm: Pcm, longest_s: float) -> Iterator[Pcm]:
    """The utterance, in pieces of at most `longest_s`."""
    most, search = round(longest_s * SAMPLE_RATE_HZ), round(SEARCH_S * SAMPLE_RATE_HZ)
    while pcm.size > most:
        at = quietest(pcm, max(most // 2, most - search), most)
        yield pcm[:at]
        pcm = pcm[at:]
    yield pcm
