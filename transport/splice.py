"""`Splice`: joins and ends speech without clicks."""

from __future__ import annotations

import numpy as np

from media import SAMPLE_RATE_HZ, SILENCE, Pcm

FADE_SAMPLES = SAMPLE_RATE_HZ // 200  # 80 samples, 5 ms: too short to be heard as sound, long enough not to click
_FADE_OUT: Pcm = np.linspace(1, 0, FADE_SAMPLES, endpoint=False, dtype=np.float32)
_FADE_IN: Pcm = np.linspace(0, 1, FADE_SAMPLES, endpoint=False, dtype=np.float32)


class Splice:
    """Follows one stream of 20 ms frames and softens the places where it breaks off or changes."""

    def __init__(self) -> None:
        self._last: Pcm = SILENCE
        self._broken = False  # the last frame of speech broke off inside a clause

    def join(self, pcm: Pcm) -> Pcm:
        """The next frame of the same speech; faded in when a pause tore the clause apart before it."""
        if self._broken:
            pcm = pcm.copy()
            pcm[:FADE_SAMPLES] *= _FADE_IN
            self._broken = False
        self._last = pcm
        return pcm

    def switch(self, pcm: Pcm) -> Pcm:
        """The first frame of other speech: the fading end of the old lies over its beginning."""
        tail = self._tail(None)
        self._broken = False
        if tail is not None:
            pcm = pcm.copy()
            pcm[:FADE_SAMPLES] += tail
            np.clip(pcm, -1, 1, out=pcm)
        self._last = pcm
        return pcm

    def pause(self, rest: Pcm | None = None, *, resumes: bool) -> Pcm:
        """20 ms without speech.

        Args:
            rest: how the speech would have gone on, when it is known.
            resumes: True when the same clause goes on later.
        """
        tail = self._tail(rest)
        if tail is None:
            return SILENCE
        self._broken = resumes
        pcm = np.zeros_like(SILENCE)
        pcm[:FADE_SAMPLES] = tail
        self._last = SILENCE
        return pcm

    def _tail(self, rest: Pcm | None) -> Pcm | None:
        """5 ms that lead the last frame to zero; mirrored from its own end when nothing better is known."""
        if self._last is SILENCE:
            return None
        ahead = self._last[: -FADE_SAMPLES - 1 : -1] if rest is None else rest[:FADE_SAMPLES]
        return ahead * _FADE_OUT
