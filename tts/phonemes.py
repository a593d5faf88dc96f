"""A clause as words with their phonemes, and where to cut it."""

from __future__ import annotations

import dataclasses
import math
import re
from itertools import pairwise

from text.clauses import script_of, spoken_s

TONES = "↓→↗↘"
GROWTH = 1.4
"""How much longer each chunk of a hurried clause may be than the one before: the network makes speech in 0.5 to 0.7 of
the time it takes to hear it."""
STRETCH = 1.25
LONG_NUMBER = re.compile(r"\d{11,}")
"""Digits that are read one by one, as of a telephone."""
_LEANING = frozenset([*"的地得了着过吗呢吧啊们里上下中时后前间", "起来", "下去", "出来", "上去", "不了", "一下"])
PUNCTUATION = ';:,.!?—…"“”() '


def readable(text: str) -> str:
    """Text whose long numbers stand as single digits."""
    return LONG_NUMBER.sub(lambda number: " ".join(number[0]), text)


@dataclasses.dataclass(frozen=True, slots=True)
class Spelling:
    """A word, or a mark, and its phonemes."""

    text: str
    phonemes: str

    @property
    def spoken(self) -> bool:
        """Whether it is more than a mark."""
        return any(script_of(character) for character in self.text)


def chunks(spellings: list[Spelling], longest_s: float, first_s: float | None = None) -> list[list[Spelling]]:
    """Cut a clause at marks or between words, so that none takes longer than `longest_s`.

    Args:
        spellings: the clause.
        longest_s: about the longest a chunk may be, in seconds of speech.
        first_s: when given, the first chunk is about so short and each next one GROWTH times as long: it is made while
            the one before it is heard. A clause hardly longer stays whole.
    """
    total_s = _length_s(spellings)
    count = max(1, math.ceil(total_s / longest_s))
    sizes_s = [total_s / count] * count
    if first_s is not None:
        sizes_s = [first_s]
        while sum(sizes_s) * STRETCH < total_s:
            sizes_s.append(min(longest_s, sizes_s[-1] * GROWTH))
    parts = []
    for number, size_s in enumerate(sizes_s[:-1]):
        part, spellings = _split(spellings, _length_s(spellings) * size_s / sum(sizes_s[number:]))
        parts.append(part)
    return [part for part in [*parts, spellings] if part]


def _length_s(spellings: list[Spelling]) -> float:
    return sum(spoken_s(spelling.text) for spelling in spellings)


def _split(spellings: list[Spelling], near_s: float) -> tuple[list[Spelling], list[Spelling]]:
    """Cut near `near_s`, where it hurts least."""
    best, best_cost, passed_s = len(spellings), float("inf"), 0.0
    for at, (before, after) in enumerate(pairwise(spellings), 1):
        passed_s += spoken_s(before.text)
        if not any(rest.spoken for rest in spellings[at:]):
            break
        cost = abs(passed_s - near_s) + near_s * _torn(before, after)
        if passed_s > 0 and (after.spoken or after.text.isspace()) and cost < best_cost:
            best, best_cost = at, cost
    return spellings[:best], spellings[best:]


def _torn(before: Spelling, after: Spelling) -> float:
    """How much a cut here is heard, from -0.3 at a mark to 1 before a word that leans on the one before it."""
    if not before.spoken and not before.text.isspace():
        return -0.3
    if after.text in _LEANING:
        return 1.0
    if before.text[-1] in "的了":
        return -0.2
    return 0.25 * (len(before.text) == 1) + 0.25 * (len(after.text) == 1)
