"""Clauses: cuts text, whole or as it is written, into pieces a voice can speak one after the other.

The first piece ends at the first mark behind a few words, so that sound starts soon. After it a piece is a sentence, or
up to three clauses of one, about 2.5 s of speech (40 characters of English): enough for a natural melody, short enough
to be ready in time. None is longer than 100 characters. Nothing is cut inside a number, an address or an abbreviation
(`clausemarks.py`). What cannot be spoken (emoji, control characters, tags) is dropped. Every decision rests on the text
up to it and a bounded look ahead, so a text fed in pieces gives the same clauses as the text fed whole.
"""

from __future__ import annotations

import dataclasses
import re
import unicodedata
from functools import lru_cache

from text.clausemarks import CLOSERS, NARROW_SENTENCE, OPENERS, WIDE_SENTENCE, Marks, leans
from text.letters import CJK_CHARACTER_S, DIGIT_S, LETTER_S, character_s, language_of, script_of, spoken_s

__all__ = ["CJK_CHARACTER_S", "DIGIT_S", "LETTER_S", "ClauseCutter", "Pace", "cut", "ends_sentence", "language_of"]
__all__ += ["script_of", "spoken_s"]

FIRST_SENTENCE_MIN_S = 0.45
SENTENCE_MIN_S = 0.6
"""A shorter sentence (`Yes.`, `好。`) is spoken together with the next one."""
CUT_MIN_S = 0.9
"""Where a clause is too long, it is cut at a mark only behind this much."""
CLAUSE_MIN_S = 2.5
SEMICOLON_MIN_S = 1.5
CJK_MAX_S = 7.0
"""Chinese comes from a voice that needs up to one second a second: a longer clause could not be ready in time."""
MAX_S = 15.0
FIRST_CHARACTERS_MAX = 80
CHARACTERS_MAX = 100
"""A clause without a mark is cut here, between words; the first one sooner, as somebody waits for it."""
RUN_CHARACTERS_MAX = 200
"""An address or a number is not cut before it is so long."""

_SIGNS = "%‰°℃℉$€£¥￥+-−=&@×÷<>/#"
_NATURAL_ENDS = "的了着过地得吧呢吗啊们"
_TAG = re.compile(r"<[/!?A-Za-z][^<>\n]{0,198}>")
_BLOCK_TAG = re.compile(r"</?(?:br|p|div|li|h[1-6]|break)\b", re.IGNORECASE)
_TAG_BEGUN = re.compile(r"<(?:[/!?A-Za-z][^<>\n]{0,198})?")
_LINK_TARGET = re.compile(r"\]\([^()\s]{1,500}\)")
_LINK_TARGET_BEGUN = re.compile(r"\](?:\([^()\s]{0,500})?")
_STRAY_SPACE = re.compile(r" +(?=[,.!?;:](?: |$))")


@dataclasses.dataclass(frozen=True, slots=True)
class Pace:
    """How much is gathered before it is spoken (`listening.settings` has values for every mode)."""

    first_words: int = 3
    first_characters: int = 4
    """Least of a first clause: words of an alphabet, or characters of Chinese, or their shares of both."""
    group_clauses: int = 3
    """Most clauses that are spoken as one."""
    characters: int = CHARACTERS_MAX
    """Most characters that are, between words."""


BALANCED = Pace()


def ends_sentence(clause: str) -> bool:
    """Whether a longer pause belongs after the clause."""
    return clause.rstrip(CLOSERS + " ").endswith(tuple(WIDE_SENTENCE + NARROW_SENTENCE))


def cut(text: str) -> list[str]:
    """The clauses of a whole text, in order; empty when nothing in it can be spoken."""
    cutter = ClauseCutter()
    return cutter.feed(text) + cutter.flush()


@lru_cache(maxsize=4096)
def _kept(character: str) -> str:
    """The character as a voice may see it: itself, a space, or nothing."""
    if character in "\n\u2028\u2029":
        return "\n"
    if character.isspace() or character in "_|":
        return " "
    category = unicodedata.category(character)
    if character in "*`[]" or "\ufe00" <= character <= "\ufe0f" or category == "Me":
        return ""
    if category[0] == "C" or (category in ("So", "Sk") and character not in _SIGNS):
        return ""
    return character


def _begins(clause: str) -> bool:
    """Whether a clause may begin so: with a letter, a number, or an opening mark or sign that stands before one."""
    return bool(script_of(clause[0])) or (clause[0] in OPENERS + _SIGNS and clause[1:2].strip() != "")


class ClauseCutter:
    """Takes a text as it is written and gives each clause as soon as it can be spoken.

    Args:
        pace: how much is gathered.
    """

    def __init__(self, pace: Pace = BALANCED) -> None:
        self._pace = pace
        self._raw = ""
        self._text = ""
        self._space = ""
        self._first = True
        self._marks = Marks()
        self._restart()

    def feed(self, piece: str) -> list[str]:
        """Add text; return the clauses that are now complete."""
        self._raw += piece
        return self._take(at_end=False)

    def flush(self) -> list[str]:
        """End the text; return what is left of it. The cutter is then as new."""
        clauses = self._take(at_end=True)
        clauses += self._emit(len(self._text))
        self.__init__(self._pace)  # type: ignore[misc]
        return clauses

    def _restart(self) -> None:
        """Scan from the beginning of the text that is left."""
        self._at = 0
        self._seconds = 0.0
        self._cjk_seconds = 0.0
        self._words = 0
        self._clauses = 0
        self._clause_end = 0
        self._word_end = 0
        self._space_end = 0

    def _take(self, *, at_end: bool) -> list[str]:
        self._clean(at_end)
        clauses: list[str] = []
        while self._at < len(self._text):
            rank, end = self._marks.at(self._text, self._at, self._space, at_end)
            if end is None:
                break
            clauses += self._step(rank, end)
        return clauses

    def _clean(self, at_end: bool) -> None:
        """Move what is decided of the raw text over, without tags, link targets and unspeakable characters."""
        raw, at, kept = self._raw, 0, []
        while at < len(raw):
            character = raw[at]
            if character in "<]":
                whole, begun = (_TAG, _TAG_BEGUN) if character == "<" else (_LINK_TARGET, _LINK_TARGET_BEGUN)
                if match := whole.match(raw, at):
                    at = match.end()
                    kept.append(self._spaced("\n" if _BLOCK_TAG.match(match[0]) else ""))
                    continue
                if not at_end and begun.fullmatch(raw, at):
                    break
            kept.append(self._spaced(_kept(character)))
            at += 1
        self._raw = raw[at:]
        self._text += "".join(kept)

    def _spaced(self, character: str) -> str:
        """Hold spaces and line ends back until a character follows, so that a run of them is one."""
        if character == "\n":
            self._space = "\n\n" if self._space.startswith("\n") else "\n"
        elif character == " ":
            self._space = self._space or " "
        elif character:
            character, self._space = self._space + character, ""
            return character
        return ""

    def _step(self, rank: int, end: int) -> list[str]:
        """Go past the character at hand; `rank` says what ends at `end`: 0 nothing, 1 word, 2 clause, 3 sentence."""
        for index in range(self._at, end):
            seconds = character_s(self._text[index])
            self._seconds += seconds
            self._cjk_seconds += seconds if seconds == CJK_CHARACTER_S else 0.0
            self._words += self._is_word_begin(index)
        self._at = end
        if rank >= 2:
            self._clauses += 1
            if self._is_enough(rank):
                return self._emit(end)
            if self._seconds >= CUT_MIN_S:
                self._clause_end = end
        return self._too_long(rank, end)

    def _is_word_begin(self, index: int) -> bool:
        """Whether a word of an alphabet, or a number, begins there."""
        is_cjk = character_s(self._text[index]) == CJK_CHARACTER_S
        return bool(script_of(self._text[index])) and not is_cjk and not (index and script_of(self._text[index - 1]))

    def _is_enough(self, rank: int) -> bool:
        """Whether what was gathered is spoken now that a clause (2) or a sentence (3) ends."""
        mark = self._text[: self._at].rstrip(CLOSERS)[-1:]
        if mark == "、":  # Between the parts of a list, whose melody goes on.
            return self._seconds >= CLAUSE_MIN_S
        if rank == 3:
            return self._seconds >= (FIRST_SENTENCE_MIN_S if self._first else SENTENCE_MIN_S)
        if self._first:
            characters = self._cjk_seconds / CJK_CHARACTER_S
            shares = self._words / self._pace.first_words + characters / self._pace.first_characters
            return shares > 1 - 1e-6
        enough = self._clauses >= self._pace.group_clauses and self._seconds >= SENTENCE_MIN_S
        return enough or self._seconds >= (SEMICOLON_MIN_S if mark in (";", "；") else CLAUSE_MIN_S)

    def _too_long(self, rank: int, end: int) -> list[str]:
        """Cut what grew too long: at a mark, between words, and only in the end anywhere."""
        max_s = CJK_MAX_S if self._cjk_seconds * 2 > self._seconds else MAX_S
        most = min(FIRST_CHARACTERS_MAX, self._pace.characters) if self._first else self._pace.characters
        if self._seconds > max_s or end > most:
            place = self._clause_end or self._word_end or self._space_end
            if place or not self._in_run(end) or self._seconds > MAX_S or end > RUN_CHARACTERS_MAX:
                return self._emit(place or end)
        if rank == 1:
            self._space_end = end
        natural = self._text[end - 1] in _NATURAL_ENDS and self._text[end - 1] != " "
        if (natural or (rank == 1 and self._is_safe(end))) and (self._seconds >= max_s / 2 or end >= most / 2):
            self._word_end = end
        return []

    def _in_run(self, end: int) -> bool:
        """Whether a cut before `end` would go through a number, a word or an address."""
        around = self._text[end - 1 : end + 1]
        return len(around) == 2 and all(character.isascii() and not character.isspace() for character in around)

    def _is_safe(self, end: int) -> bool:
        """Whether what stands before the space before `end` can do without what follows: no title, no number."""
        return not leans(self._text[: end - 1]) and not self._text[end : end + 1].isdigit()

    def _emit(self, end: int) -> list[str]:
        """Cut before `end` and begin anew behind it."""
        clause, self._text = self._text[:end], self._text[end:]
        self._marks.passed(clause)
        self._restart()
        clause = _STRAY_SPACE.sub("", " ".join(clause.split()))
        while clause and not _begins(clause):
            clause = clause[1:]
        if not any(map(script_of, clause)):
            return []
        self._first = False
        return [clause]
