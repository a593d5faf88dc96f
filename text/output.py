"""What is given out to be spoken: characters that a voice knows, spaces where they belong, and the text's language."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import Literal

_HAN = re.compile(r"[\u3400-\u9fff]")
ENDED = ".!?。！？…,，;；:：、—"
"""After one of these nothing is needed to keep two words apart but a space."""
OPENERS = "\"'“‘([（【《「『〈"
Kind = Literal["", "heading", "item", "row"]
"""Of a line."""
_TERMINATORS = {"heading": (".", "。"), "item": (";", "；"), "row": (";", "；")}
_NEVER = frozenset("`*＊_|｜\\{}[]<>^~=@#＃＝•")
_HAN_WEIGHT = 6
"""One Chinese character says as much of a text's language as so many letters."""
_HAN_MAX = 60
"""So the last ten characters, or sixty letters, decide."""


@lru_cache(maxsize=4096)
def _kept(character: str) -> str:
    """The character as it may be spoken: itself, a space, or nothing."""
    if character.isspace():
        return " "
    category = unicodedata.category(character)
    if character in _NEVER or "\ufe00" <= character <= "\ufe0f" or category == "Me":
        return ""
    if category[0] == "C" or (category in ("So", "Sk", "Sm") and character not in "°℃℉"):
        return ""
    return character


class Speech:
    """Takes what is said piece by piece.

    Args:
        language: `zh` or another, until letters tell.
    """

    def __init__(self, language: str) -> None:
        self._out: list[str] = []
        self.last = ""
        """The last character given out."""
        self.kind: Kind = ""
        self._pending = ""
        """A space or a pause, given out before the next word."""
        self._newlines = 0
        self._han = _HAN_WEIGHT if language == "zh" else -_HAN_WEIGHT

    def take(self) -> str:
        """What was given out since the last time."""
        out = "".join(self._out)
        self._out.clear()
        return out

    @property
    def zh(self) -> bool:
        """Whether the text is Chinese."""
        return self._han > 0

    def end_line(self) -> None:
        """A heading, an item or a row that has no mark at its end gets one: it must not run into the next."""
        said = self.last and not self.last.isspace() and self.last not in ENDED
        if self.kind and said:
            self.give(_TERMINATORS[self.kind][self.zh])
        self._pending, self.kind = "", ""
        if self.last and self._newlines < 2:
            self.give("\n")

    def apart(self, pause: bool) -> None:
        """Keep what comes apart from what was; after a space that is out already, a pause is a dash."""
        if not self.last or self.last == "\n" or self.last in ENDED:
            return
        if pause and self.last == " " and self.kind != "row":
            self.give("—")
        elif pause:
            self._pending = "，" if self.zh else ", "
        elif self.last != " ":
            self._pending = self._pending or " "

    def say(self, words: str) -> None:
        """Give words out that stand for a sign, apart from the words around them."""
        if not words:
            return
        spaced = not self.zh
        if spaced and self.last and not self.last.isspace() and self.last not in OPENERS:
            self._pending = self._pending or " "
        self.text(words)
        if spaced:
            self._pending = " "

    def text(self, text: str) -> None:
        """Give out what of `text` can be spoken."""
        for character in text:
            kept = _kept(character)
            if kept == " ":
                if self.kind == "row":
                    self._pending = self._pending or " "
                elif self.last and not self.last.isspace():
                    self.give(" ")
                continue
            if not kept or (kept == "/" and self.last in (":", "/")):
                continue
            if self._pending:
                if (kept.isalnum() or kept in OPENERS + "$€£¥") and not self.last.isspace():
                    self.give(self._pending)
                self._pending = ""
            self.give(kept)

    def give(self, text: str) -> None:
        """Give out text that is known to be speakable."""
        self._out.append(text)
        self.last = text[-1]
        self._newlines = self._newlines + 1 if text == "\n" else 0
        if _HAN.match(text[-1]):
            self._han = min(_HAN_MAX, self._han + _HAN_WEIGHT)
        elif text[-1].isalpha():
            self._han = max(-_HAN_MAX, self._han - 1)
