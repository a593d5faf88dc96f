"""The AI mark laid into speech on its way into a file: inaudibly where Perth is installed, and always in its tags."""

from __future__ import annotations

import datetime

import numpy as np

from media import Pcm
from voices.audio.prepare import read_wav
from voices.encoding import pcm_bytes, wav_head
from voices.provenance import Provenance, tags
from voices.watermark import SHORTEST_S, Watermark

BLOCK_S = 0.5
"""Marked at once, and as much again is held back: a stream starts so much of its sound later."""
_EMPTY: Pcm = np.zeros(0, np.float32)


def provenance(content_id: str, model: str, voice: str, *, cloned: bool) -> Provenance:
    """Of something that is made now."""
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return Provenance(content_id, model, voice, cloned, made_at=now)


class Marker:
    """Marks one piece of speech as it is made. Blocking; called on a thread.

    Args:
        watermark: shared; where it is not installed, speech passes as it is.
        rate_hz: of the speech.
    """

    def __init__(self, watermark: Watermark, rate_hz: int) -> None:
        self._watermark = watermark if watermark.why_not() is None else None
        self._rate_hz = rate_hz
        self._held = _EMPTY

    def feed(self, pcm: Pcm) -> Pcm:
        """Add speech; what is marked by now."""
        if self._watermark is None:
            return pcm
        self._held = np.concatenate((self._held, pcm))
        # What is left must be long enough to be marked too.
        ready = self._held.size - round(SHORTEST_S * self._rate_hz)
        if ready < BLOCK_S * self._rate_hz:
            return _EMPTY
        block, self._held = self._held[:ready], self._held[ready:]
        return self._watermark.mark(block, self._rate_hz)

    def finish(self) -> Pcm:
        """The rest."""
        rest, self._held = self._held, _EMPTY
        return rest if self._watermark is None or not rest.size else self._watermark.mark(rest, self._rate_hz)


def marked_wav(data: bytes, watermark: Watermark, facts: Provenance) -> bytes:
    """A WAV file with the mark and the tags; blocking."""
    pcm, rate_hz = read_wav(data)
    marker = Marker(watermark, rate_hz)
    marked = np.concatenate((marker.feed(pcm), marker.finish()))
    return wav_head(2 * marked.size, tags(facts), rate_hz) + pcm_bytes(marked)
