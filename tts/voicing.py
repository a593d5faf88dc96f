"""`VoicePart`: a clause's sound as one engine after the other gives it, shaped, with the times of its words."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from media import SAMPLE_RATE_HZ, Pcm
from tts.base import Word
from tts.chain import Piece
from tts.framing import Part
from tts.shaping import LEAD_MS, ClauseShaper, Levels
from tts.wordtimes import Paces, WordEstimate

_EMPTY: Pcm = np.zeros(0, np.float32)


class VoicePart:
    """One clause.

    Args:
        levels: how loud voices are.
        paces: how fast they are.
        speed: asked for; each has a pace of its own.
    """

    def __init__(self, levels: Levels, paces: Paces, speed: float = 1.0) -> None:
        self._levels = levels
        self._paces = paces
        self._speed = speed
        self._piece: Piece | None = None
        self._shaper: ClauseShaper | None = None
        self._estimate: WordEstimate | None = None
        self._before_s = 0.0
        self._samples = 0

    def changes(self, piece: Piece) -> bool:
        """Whether this piece is the first of an engine."""
        return self._piece is None or self._piece.voice != piece.voice

    def take(self, piece: Piece) -> Iterator[Part]:
        """Shape a piece, at most a second at a time, so that a long one does not hold the event loop."""
        if self._shaper is None or self.changes(piece):
            self._shaper = self._begin(piece)
        if piece.sound.words:
            self._paces.told(self._key(piece))
            self._estimate = None
        words = piece.sound.words
        for at in range(0, piece.sound.pcm.size, piece.rate_hz):
            pcm = self._shaper.feed(piece.sound.pcm[at : at + piece.rate_hz])
            self._samples += pcm.size
            shift_s = self._before_s - self._shaper.cut_s
            known = tuple(_moved(word, shift_s) for word in words)
            words = ()
            yield Part(pcm, known or (self._estimate.until(self._heard_s) if self._estimate else ()))

    def flush(self, pause_ms: int, *, whole: bool) -> Part:
        """End what the present engine said, with `pause_ms` of silence; `whole` where it said all it was asked to."""
        if self._shaper is None or self._piece is None:
            return Part(_EMPTY)
        pcm = self._shaper.flush(pause_ms)
        spoken_s = self._heard_s + pcm.size / SAMPLE_RATE_HZ - pause_ms / 1000
        words = self._estimate.rest(max(0.0, spoken_s)) if self._estimate else ()
        if whole:
            self._paces.heard(self._key(self._piece), self._piece.text, spoken_s - self._before_s)
        self._samples += pcm.size
        self._shaper = self._estimate = None
        return Part(pcm, words)

    @property
    def _heard_s(self) -> float:
        return self._samples / SAMPLE_RATE_HZ

    def _begin(self, piece: Piece) -> ClauseShaper:
        self._piece = piece
        self._before_s = self._heard_s
        key = self._key(piece)
        if not piece.tells_words and not self._paces.tells(key):
            begin_s = self._before_s + LEAD_MS / 1000
            self._estimate = WordEstimate(piece.text, self._paces.factor(key), begin_s)
        return ClauseShaper(piece.rate_hz, piece.voice.id, self._levels)

    def _key(self, piece: Piece) -> str:
        return f"{piece.voice.id}@{self._speed}"


def _moved(word: Word, by_s: float) -> Word:
    return Word(word.text, max(0.0, word.start_s + by_s), max(0.0, word.end_s + by_s))
