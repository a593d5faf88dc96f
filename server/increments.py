"""Recognised text as FunASR's clients put it together: captions piece by piece, pieces of a recording as one text."""

from __future__ import annotations

import re

_HAN = r"\u3400-\u9fff\uf900-\ufaff"
_WORDS = re.compile(rf"[{_HAN}]|[^\W{_HAN}]+(?:['’.-][^\W{_HAN}]+)*")


class Increments:
    """Captions as FunASR's clients want them: words to append, none of which is taken back.

    A word is told when two captions one behind the other have begun alike up to it.
    """

    def __init__(self) -> None:
        self._told = 0
        self._before: list[str] = []

    def partial(self, text: str) -> str:
        """What to append after another caption of the same utterance."""
        words = [word[0].lower() for word in _WORDS.finditer(text)]
        alike = 0
        while alike < min(len(words), len(self._before)) and words[alike] == self._before[alike]:
            alike += 1
        self._before = words
        return self._until(text, alike)

    def final(self, text: str) -> str:
        """What to append at the end; the next utterance begins."""
        rest = self._until(text, None)
        self._told, self._before = 0, []
        return rest

    def _until(self, text: str, count: int | None) -> str:
        ends = [0, *(word.end() for word in _WORDS.finditer(text))]
        if self._told >= len(ends):
            return ""
        begin, end = ends[self._told], len(text) if count is None else ends[max(count, self._told)]
        self._told = max(count or 0, self._told)
        return text[begin:end]


def joined(texts: list[str]) -> str:
    """Pieces of speech as one text: with spaces between them, but not between Chinese characters."""
    whole = " ".join(text for text in texts if text)
    return re.sub(rf"(?<=[{_HAN}，。？！]) (?=[{_HAN}])", "", whole)
