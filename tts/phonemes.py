"""Words to phonemes in Kokoro's alphabet: Chinese by misaki, English by hibari's port of misaki's rules.

Slow to load (jieba's dictionary takes 0.7 s), so it belongs in a worker thread.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import re
from pathlib import Path

import cn2an  # type: ignore[import-untyped]
import hibari.g2p
import jieba
from misaki.zh import ZHG2P

from clauses import script_of, spoken_s

TONES = "↓→↗↘"
PUNCTUATION = ';:,.!?—…"“”() '
_RUNS = re.compile(r"[\u3400-\u9fff]+|[A-Za-z][A-Za-z0-9'’.+#-]*(?: +[A-Za-z][A-Za-z0-9'’.+#-]*)*|.", re.DOTALL)


@dataclasses.dataclass(frozen=True, slots=True)
class Spelling:
    """A word, or a mark, and its phonemes."""

    text: str
    phonemes: str

    @property
    def spoken(self) -> bool:
        """Whether it is more than a mark."""
        return any(script_of(character) for character in self.text)


class Speller:
    """Spells clauses.

    Args:
        cache: directory for jieba's prepared dictionary.
    """

    def __init__(self, cache: Path) -> None:
        cache.mkdir(parents=True, exist_ok=True)
        jieba.setLogLevel(logging.WARNING)
        jieba.dt.tmp_dir = str(cache)
        jieba.initialize()
        self._english: dict[bool, hibari.g2p.G2P] = {}

    def spell(self, clause: str, language: str, *, british: bool = False) -> list[Spelling]:
        """The words and marks of a clause in order."""
        return self._chinese(clause, british) if language == "zh" else self._words(clause, british)

    def _chinese(self, clause: str, british: bool) -> list[Spelling]:
        """Chinese, with whatever Latin words and numbers it has in it."""
        # A number it cannot read stays as it is; the words around it are spoken all the same.
        with contextlib.suppress(ValueError):
            clause = cn2an.transform(clause, "an2cn")
        spellings: list[Spelling] = []
        for run in _RUNS.findall(clause):
            if script_of(run[0]) == "HAN":
                spellings += [Spelling(word, ZHG2P.word2ipa(word)) for word in jieba.cut(run)]
            elif run[0].isascii() and run[0].isalpha():
                spellings += self._words(run, british)
            else:
                spellings.append(Spelling(run, ZHG2P.map_punctuation(run) or run))
        return spellings

    def _words(self, clause: str, british: bool) -> list[Spelling]:
        """English: word by word where sound and spelling have as many words, else as one."""
        g2p = self._english.get(british)
        if g2p is None:
            g2p = self._english[british] = hibari.g2p.G2P(british=british)
        phonemes, words = g2p(clause).split(), clause.split()
        if len(phonemes) == len(words):
            return [Spelling(word, sound) for word, sound in zip(words, phonemes, strict=True)]
        return [Spelling(clause, " ".join(phonemes))]


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
