"""Formulas within a text, as LaTeX writes them, and what all signs share: where one stands, what is said for it."""

from __future__ import annotations

import dataclasses
import re
from typing import Literal

from text.words import COMMANDS, SILENT_COMMANDS

GROUP_CHARACTERS_MAX = 200
RUN_MAX = 64
"""Equal signs in a row that are seen as one."""
_EXPONENT = re.compile(r"\^[A-Za-z0-9]{0,20}")
_COMMAND = re.compile(r"\\([A-Za-z]{1,24})")

Join = Literal["character", "word", "pause", "space", "line", "suffix"]


@dataclasses.dataclass(frozen=True, slots=True)
class Said:
    """What becomes of the text up to `end`."""

    end: int
    key: str = ""
    """Of `WORDS`, or the text itself where that has no such key; empty: nothing is said."""
    join: Join = "word"
    inner: tuple[str, ...] = ()
    """Text within that is said like any other: of a fraction the two, of a power the exponent."""


@dataclasses.dataclass(frozen=True, slots=True)
class Place:
    """Where a sign stands."""

    raw: str
    at: int
    before: str
    """The character before; a line break at the beginning."""
    solid: str
    """The last character before that is no space."""
    at_end: bool
    """No more text comes."""

    def run(self) -> int:
        """How often the sign stands in a row."""
        end = self.at
        while end < len(self.raw) and self.raw[end] == self.raw[self.at] and end - self.at < RUN_MAX:
            end += 1
        return end - self.at

    def next(self, offset: int = 1) -> str | None:
        """The character so far ahead; None while it is not known, a line break at the end."""
        if self.at + offset < len(self.raw):
            return self.raw[self.at + offset]
        return "\n" if self.at_end else None


def caret(place: Place) -> Said | None:
    """`^` and the exponent behind it."""
    after = place.next()
    if after is None:
        return None
    if after == "{":
        end = group_end(place.raw, place.at + 1, place.at_end)
        if end is None:
            return None
        exponent = place.raw[place.at + 2 : end - 1] if end else ""
    else:
        match = _EXPONENT.match(place.raw, place.at)
        assert match is not None
        end, exponent = match.end(), match[0][1:]
        if end == len(place.raw) and not place.at_end and len(exponent) < 20:
            return None
    if not exponent or not (place.before.isalnum() or place.before in ")}]|"):
        return Said(place.at + 1)
    if exponent in ("2", "3"):
        return Said(end, "²" if exponent == "2" else "³", "suffix")
    if exponent.strip() in (r"\circ", "°"):
        return Said(end, "degrees")
    return Said(end, "power", inner=(exponent,))


def group_end(raw: str, at: int, at_end: bool) -> int | None:
    """Behind the bracket that closes the `{` at `at`; 0 where there is none, None while it may come."""
    depth = 0
    for index in range(at, min(len(raw), at + GROUP_CHARACTERS_MAX)):
        depth += (raw[index] == "{") - (raw[index] == "}")
        if depth == 0:
            return index + 1
        if raw[index] == "\n":
            return 0
    return 0 if at_end or len(raw) - at >= GROUP_CHARACTERS_MAX else None


def backslash(place: Place) -> Said | None:
    """`\\\\` and the command behind it; of an escaped sign only the backslash."""
    raw, at = place.raw, place.at
    after = place.next()
    if after is None:
        return None
    if after in "()[]\\,;: ":
        return Said(at + 2, join="space")
    match = _COMMAND.match(raw, at)
    if not match:
        return Said(at + 1)
    if match.end() == len(raw) and not place.at_end and len(match[1]) < 24:
        return None
    name, end = match[1], match.end()
    if name in ("frac", "dfrac", "tfrac"):
        return _fraction(place, end)
    if name in ("begin", "end"):
        behind = place.next(end - at)
        if behind is None:
            return None
        closed = group_end(raw, end, place.at_end) if behind == "{" else 0
        return None if closed is None else Said(closed or end, join="space")
    if name in SILENT_COMMANDS:
        return Said(end, join="space")
    return Said(end, COMMANDS.get(name, name))


def _fraction(place: Place, end: int) -> Said | None:
    parts: list[str] = []
    for _ in range(2):
        behind = place.next(end - place.at)
        if behind is None:
            return None
        closed = group_end(place.raw, end, place.at_end) if behind == "{" else 0
        if closed is None:
            return None
        if not closed:
            return Said(end, join="space")
        parts.append(place.raw[end + 1 : closed - 1])
        end = closed
    return Said(end, "over", inner=tuple(parts))
