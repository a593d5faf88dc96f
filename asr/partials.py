"""Captions of an utterance that goes on: LocalAgreement-2 over its growing sound.

What two transcriptions one behind the other begin with alike stands (Macháček et al., Turning Whisper into Real-Time
Transcription System, 2023); the rest may still change and is shown all the same.
"""

from __future__ import annotations

import re

_HAN = r"\u3400-\u9fff\uf900-\ufaff"
_UNITS = re.compile(rf"[{_HAN}]|[^\W{_HAN}]+(?:['’.-][^\W{_HAN}]+)*")
"""A Chinese character or a word, without the marks around it: those change with what follows."""


class Agreement:
    """LocalAgreement-2 over the transcriptions of one growing piece of sound."""

    def __init__(self) -> None:
        self._stable = ""
        self._count = 0
        """Words of `_stable`."""
        self._before: list[str] = []

    def add(self, text: str) -> tuple[str, str]:
        """What stands and the whole caption, now that the sound so far was transcribed as `text`."""
        units = list(_UNITS.finditer(text))
        words = [unit[0].lower() for unit in units]
        agreed = 0
        while agreed < min(len(words), len(self._before)) and words[agreed] == self._before[agreed]:
            agreed += 1
        self._before = words
        if agreed > self._count:
            self._count = agreed
            self._stable = text[: units[agreed - 1].end()].lstrip()
        # A transcription may take back what stands. Who reads along is not told: the final text will say.
        rest = text[units[self._count - 1].end() :] if 0 < self._count <= len(units) else text * (self._count == 0)
        return self._stable, (self._stable + rest).strip()
