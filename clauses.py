"""Clauses: cuts text, whole or as it is written, into pieces a voice can speak one after the other.

A clause ends at a sentence mark, or at a clause mark once enough is gathered; the first one may be short so that sound
starts soon. Nothing is cut inside a number, an address or an abbreviation. What cannot be spoken (emoji, control
characters, tags) is dropped. Every decision rests on the text up to it and a bounded look ahead, so a text fed in
pieces gives the same clauses as the text fed whole.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

CJK_CHARACTER_S = 1 / 4.3
"""Seconds one Chinese character takes at a calm pace."""
LETTER_S = 1 / 14
"""Seconds one letter of an alphabet takes: about 150 English words a minute."""
DIGIT_S = 0.25

FIRST_SENTENCE_MIN_S = 0.45
SENTENCE_MIN_S = 0.6
"""A shorter sentence (`Yes.`, `好。`) is spoken together with the next one."""
FIRST_CLAUSE_MIN_S = 0.9
CLAUSE_MIN_S = 2.5
CJK_MAX_S = 7.0
"""Chinese comes from a voice that needs up to one second a second: a longer clause could not be ready in time."""
MAX_S = 15.0

_WIDE_SENTENCE = "。！？｡…\n"
_WIDE_CLAUSE = "，、；："
_NARROW_SENTENCE = ".!?"
_NARROW_CLAUSE = ",;:"
_CLOSERS = "\"'”’)]}）】》」』〉"
_OPENERS = "\"'“‘([{（【《「『〈"
_SIGNS = "%‰°℃℉$€£¥￥+-−=&@×÷<>/#"
_NATURAL_ENDS = "的了着过地得吧呢吗啊们"
_TITLES = re.compile(r"mrs?|ms|dr|prof|st|mt|gen|col|sgt|capt|lt|rev|hon|sen|rep|gov|fr|jr|sr|vs")
_ABBREVIATIONS = re.compile(
    r"no|fig|vol|ch|pp|etc|inc|ltd|co|corp|dept|est|approx|ca|cf|al"
    r"|jan|feb|mar|apr|jun|jul|aug|sept?|oct|nov|dec"
)
_INITIALS = re.compile(r"(?:[^\W\d_]\.)*[^\W\d_]")
_TAG = re.compile(r"<[/!?A-Za-z][^<>\n]{0,198}>")
_BLOCK_TAG = re.compile(r"</?(?:br|p|div|li|h[1-6]|break)\b", re.IGNORECASE)
_TAG_BEGUN = re.compile(r"<(?:[/!?A-Za-z][^<>\n]{0,198})?")
_LINK_TARGET = re.compile(r"\]\([^()\s]{1,500}\)")
_LINK_TARGET_BEGUN = re.compile(r"\](?:\([^()\s]{0,500})?")
_LANGUAGE_OF_SCRIPT = {
    "CYRILLIC": "ru", "GREEK": "el", "ARABIC": "ar", "HEBREW": "he", "THAI": "th", "DEVANAGARI": "hi",
    "BENGALI": "bn", "TAMIL": "ta", "TELUGU": "te", "GEORGIAN": "ka", "ARMENIAN": "hy", "HANGUL": "ko",
}  # fmt: skip


@lru_cache(maxsize=4096)
def script_of(character: str) -> str:
    """`HAN`, `KANA`, `LATIN`, `CYRILLIC`, ... for a letter, `DIGIT` for a number, `` for anything else."""
    category = unicodedata.category(character)
    if category[0] == "N":
        return "DIGIT"
    if category[0] != "L":
        return ""
    name = unicodedata.name(character, "").split(" ")[0].split("-")[0]
    if name in ("CJK", "IDEOGRAPHIC"):
        return "HAN"
    if name in ("HIRAGANA", "KATAKANA", "HALFWIDTH"):
        return "KANA"
    return "LATIN" if name == "FULLWIDTH" else name or "LATIN"


def language_of(clause: str, default: str = "en") -> str:
    """BCP 47 primary tag of a clause by its script; Chinese with Latin words in it is Chinese.

    Args:
        clause: any text.
        default: what a clause without letters (`2026`) is taken for.
    """
    counts: dict[str, int] = {}
    for character in clause:
        script = script_of(character)
        if script and script != "DIGIT":
            counts[script] = counts.get(script, 0) + 1
    han, kana = counts.get("HAN", 0), counts.get("KANA", 0)
    if kana * 4 >= han and kana:
        return "ja"
    if han:
        return "zh"
    if not counts:
        return default
    return _LANGUAGE_OF_SCRIPT.get(max(counts, key=lambda script: counts[script]), "en")


def spoken_s(text: str) -> float:
    """About how many seconds it takes to say `text` at a calm pace."""
    return sum(map(_character_s, text))


def ends_sentence(clause: str) -> bool:
    """Whether a longer pause belongs after the clause."""
    return clause.rstrip(_CLOSERS + " ").endswith(tuple(_WIDE_SENTENCE + _NARROW_SENTENCE))


def cut(text: str) -> list[str]:
    """The clauses of a whole text, in order; empty when nothing in it can be spoken."""
    cutter = ClauseCutter()
    return cutter.feed(text) + cutter.flush()


@lru_cache(maxsize=4096)
def _character_s(character: str) -> float:
    script = script_of(character)
    if script in ("HAN", "KANA", "HANGUL"):
        return CJK_CHARACTER_S
    return DIGIT_S if script == "DIGIT" else LETTER_S if script else 0.0


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
    return bool(script_of(clause[0])) or (clause[0] in _OPENERS + _SIGNS and clause[1:2].strip() != "")


class ClauseCutter:
    """Takes a text as it is written and gives each clause as soon as it can be spoken."""

    def __init__(self) -> None:
        self._raw = ""
        self._text = ""
        self._space = ""
        self._first = True
        self._restart()

    def feed(self, piece: str) -> list[str]:
        """Add text; return the clauses that are now complete."""
        self._raw += piece
        return self._take(at_end=False)

    def flush(self) -> list[str]:
        """End the text; return what is left of it. The cutter is then as new."""
        clauses = self._take(at_end=True)
        clauses += self._emit(len(self._text))
        self.__init__()  # type: ignore[misc]
        return clauses

    def _restart(self) -> None:
        """Scan from the beginning of the text that is left."""
        self._at = 0
        self._seconds = 0.0
        self._cjk_seconds = 0.0
        self._clause_end = 0
        self._word_end = 0

    def _take(self, *, at_end: bool) -> list[str]:
        self._clean(at_end)
        clauses: list[str] = []
        while self._at < len(self._text):
            rank, end = self._mark(self._at, at_end)
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
        for character in self._text[self._at : end]:
            seconds = _character_s(character)
            self._seconds += seconds
            self._cjk_seconds += seconds if seconds == CJK_CHARACTER_S else 0.0
        self._at = end
        sentence_s, clause_s = (
            (FIRST_SENTENCE_MIN_S, FIRST_CLAUSE_MIN_S) if self._first else (SENTENCE_MIN_S, CLAUSE_MIN_S)
        )
        if (rank == 3 and self._seconds >= sentence_s) or (rank == 2 and self._seconds >= clause_s):
            return self._emit(end)
        if rank >= 2 and self._seconds >= FIRST_CLAUSE_MIN_S:
            self._clause_end = end
        max_s = CJK_MAX_S if self._cjk_seconds * 2 > self._seconds else MAX_S
        if self._seconds > max_s:
            return self._emit(self._clause_end or self._word_end or end)
        natural = self._text[end - 1] in _NATURAL_ENDS
        if (rank == 1 or natural) and self._seconds >= max_s / 2:
            self._word_end = end
        return []

    def _emit(self, end: int) -> list[str]:
        """Cut before `end` and begin anew behind it."""
        clause, self._text = self._text[:end], self._text[end:]
        self._restart()
        clause = " ".join(clause.split())
        while clause and not _begins(clause):
            clause = clause[1:]
        if not any(map(script_of, clause)):
            return []
        self._first = False
        return [clause]

    def _mark(self, at: int, at_end: bool) -> tuple[int, int | None]:
        """What ends at the character at `at`, and where; (0, None) when that hangs on text still to come."""
        character = self._text[at]
        if character == "\n":
            return self._line_end(at)
        if character in _WIDE_SENTENCE:
            return 3, at + 1
        if character in _WIDE_CLAUSE:
            if at == 0 or not self._text[at - 1].isdigit():
                return 2, at + 1
            following = self._text[at + 1 : at + 2]
            return (0, None) if not following and not at_end else (0 if following.isdigit() else 2, at + 1)
        if character in "—–":
            return 2, at + 1
        if character in _NARROW_SENTENCE + _NARROW_CLAUSE:
            return self._narrow(at, at_end)
        return (1 if character == " " else 0), at + 1

    def _line_end(self, at: int) -> tuple[int, int]:
        """A line that goes on in lower case is only wrapped; any other line end ends a sentence."""
        return (1 if self._text[at + 1 : at + 2].islower() else 3), at + 1

    def _narrow(self, at: int, at_end: bool) -> tuple[int, int | None]:
        """An ASCII mark ends something only before a space, a closing mark, a wide character or the end."""
        end = at + 1
        while end < len(self._text) and self._text[end] in _CLOSERS:
            end += 1
        following = self._text[end : end + 1] or self._space
        if not following and not at_end:
            return 0, None
        if following and not following.isspace() and script_of(following) not in ("HAN", "KANA", "HANGUL"):
            return 0, at + 1
        if self._text[at] in _NARROW_CLAUSE:
            return 2, end
        if self._text[at] == ".":
            return self._full_stop(at, end, at_end)
        return 3, end

    def _full_stop(self, at: int, end: int, at_end: bool) -> tuple[int, int | None]:
        """Tell the end of a sentence from an abbreviation, an initial and the number of a list item."""
        word = re.split(r"[\s(\"'“‘]", self._text[max(0, at - 40) : at])[-1]
        lower = word.lower()
        if _TITLES.fullmatch(lower) or (word.isdigit() and len(word) < 4 and self._text[:at].strip() == word):
            return 0, at + 1
        if len(word) == 1 and word.isupper() and word != "I":
            return 0, at + 1
        if _ABBREVIATIONS.fullmatch(lower) or (word and _INITIALS.fullmatch(word) and script_of(word[0]) == "LATIN"):
            following = self._text[end : end + 3].lstrip()[:1]
            if not following and not at_end:
                return 0, None
            if following.islower() or following.isdigit():
                return 0, at + 1
        return 3, end
