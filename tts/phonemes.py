"""A clause as words with their phonemes, and where to cut it."""

from __future__ import annotations

import dataclasses

from clauses import script_of, spoken_s

TONES = "↓→↗↘"
PUNCTUATION = ';:,.!?—…"“”() '


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
    """Cut a clause at marks or between words, so that none takes longer than `longest_s` and the first about `first_s`.

    The parts are as even as whole words allow: a short rest would sound torn off.
    """
    if first_s is not None and _length_s(spellings) > 1.5 * first_s:
        first, rest = _split(spellings, first_s)
        return [first, *chunks(rest, longest_s)] if rest else [first]
    total_s = _length_s(spellings)
    if total_s <= longest_s:
        return [spellings]
    first, rest = _split(spellings, total_s / (total_s // longest_s + 1))
    return [first, *chunks(rest, longest_s)] if rest else [first]


def _length_s(spellings: list[Spelling]) -> float:
    return sum(spoken_s(spelling.text) for spelling in spellings)


def _split(spellings: list[Spelling], near_s: float) -> tuple[list[Spelling], list[Spelling]]:
    """Cut near `near_s`; a mark within a third of it wins over a bare gap between words."""
    best, best_cost, passed_s = len(spellings), float("inf"), 0.0
    for at, spelling in enumerate(spellings[:-1], 1):
        passed_s += spoken_s(spelling.text)
        if not any(rest.spoken for rest in spellings[at:]):
            break
        marked = not spelling.spoken and not spelling.text.isspace()
        cost = abs(passed_s - near_s) - (near_s / 3 if marked else 0.0)
        following = spellings[at]
        if passed_s > 0 and (following.spoken or following.text.isspace()) and cost < best_cost:
            best, best_cost = at, cost
    return spellings[:best], spellings[best:]
