"""Marks: whether a word, a clause or a sentence ends at a character, or whether it belongs to a number or a name.

Every decision rests on the text up to the character and a bounded look ahead.
"""

from __future__ import annotations

import dataclasses
import re

from text.letters import script_of

WIDE_SENTENCE = "。！？｡…\n"
WIDE_CLAUSE = "，、；："
NARROW_SENTENCE = ".!?"
NARROW_CLAUSE = ",;:"
CLOSERS = "\"'”’)]}）】》」』〉"
OPENERS = "\"'“‘([{（【《「『〈"
_QUOTES = {"“": 1, "”": -1, "「": 1, "」": -1, "『": 1, "』": -1, "（": 1, "）": -1, "《": 1, "》": -1}
_TITLES = re.compile(
    r"mrs?|ms|mx|dr|profs?|mt|ft|gen|col|sgt|capt|lt|cmdr|adm|maj|rev|hon|sen|rep|gov|pres|fr|vs"
    r"|mme|mlle|messrs|e\.g|i\.e|viz|cf|ca|approx|esp|incl"
)
"""Something always follows these; a sentence that ends with one is spoken with the next."""
_ABBREVIATIONS = re.compile(
    r"no|nos|figs?|vol|chap|ch|sec|eq|pp?|inc|ltd|co|corp|dept|est|univ|bldg|st|ave|blvd|rd|ext|tel|jr|sr|ph\.d"
    r"|jan|feb|mar|apr|jun|jul|aug|sept?|oct|nov|dec|mon|tues?|wed|thurs?|fri|sat|sun"
)
_LISTING = re.compile(r"etc|al")
_INITIALS = re.compile(r"(?:[^\W\d_]\.)+[^\W\d_]")
_STARTERS = re.compile(
    r"the|a|an|he|she|it|its|they|their|we|our|i|you|your|my|his|her|this|that|these|those|there|here|but|and|so|or|then"
    r"|if|in|on|at|when|while|what|who|how|why|where|as|for|after|before|since|because|however|also|now|yes|please|let"
    r"|do|does|did|is|are|was|were|can|could|will|would|should|have|has|some|most|many|both|each|every|all|one|not"
)
"""Words that rather begin a sentence than go on with a name."""
_DAYS = re.compile(
    r"(?:mon|tues|wednes|thurs|fri|satur|sun)days?|january|february|march|april|may|june|july|august|september|october"
    r"|november|december|est|edt|pst|pdt|cet|gmt|utc"
)
"""What may follow a time of day within a sentence."""
_LEANING = re.compile(
    r"an?|the|of|to|in|on|at|by|with|for|from|and|or|nor|my|your|his|her|its|our|their|about|zero|one|two|three|four|five"
    r"|six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen|fifteen|sixteen|seventeen|eighteen|nineteen|twenty"
    r"|thirty|forty|fifty|sixty|seventy|eighty|ninety|hundred|thousand|million|billion|point|minus|plus|half",
    re.IGNORECASE,
)
"""Words that hang on the next one: nothing is cut behind them."""
_YEAR_BEGUN = re.compile(r"\s[0-9]{0,4}")
_WORD = re.compile(r"(?:[A-Za-z\u00c0-\u024f]+\.)*[A-Za-z\u00c0-\u024f]+$|[0-9]+$")
_NEXT_WORD_MAX = 12
_NEXT_WORD = re.compile(r"\s*([A-Za-z']{1,12})")
_ITEM_DIGITS_MAX = 3
_LOOK_BACK = 40

Mark = tuple[int, int | None]
"""What ends (0 nothing, 1 a word, 2 a clause, 3 a sentence), and where; (0, None) while that hangs on text to come."""
WAIT: Mark = (0, None)


def leans(text: str) -> bool:
    """Whether the last word of a text hangs on the next one: a number, an article, an abbreviation."""
    word = text[-_LOOK_BACK:].rsplit(" ", 1)[-1]
    return word.endswith(".") or word[-1:].isdigit() or _LEANING.fullmatch(word) is not None


@dataclasses.dataclass(slots=True)
class Marks:
    """Reads the marks of one text; what lies before the text at hand is remembered as far as it matters."""

    quotes: int = 0
    """Quotes and brackets that are open at the beginning of the text at hand."""
    straight: int = 0
    """Straight quotes before it."""
    item: int = 0
    """The number of the list item that was read last."""

    def passed(self, text: str) -> None:
        """`text` was cut off the beginning."""
        self.quotes = max(0, self.quotes + sum(_QUOTES.get(character, 0) for character in text))
        self.straight += text.count('"')

    def at(self, text: str, at: int, space: str, at_end: bool) -> Mark:
        """What ends at a character.

        Args:
            text: the text at hand.
            at: place of the character in it.
            space: white space that is known to follow the text.
            at_end: no more text comes.
        """
        character = text[at]
        if character == "\n":
            return (1 if text[at + 1 : at + 2].islower() else 3), at + 1
        if character in WIDE_SENTENCE:
            return self._wide(text, at, 3, space, at_end)
        if character in WIDE_CLAUSE:
            return self._wide_clause(text, at, space, at_end)
        if character in "—–":
            return self._dash(text, at, space, at_end)
        if character in NARROW_SENTENCE + NARROW_CLAUSE:
            return self._narrow(text, at, space, at_end)
        return (1 if character == " " else 0), at + 1

    def _wide(self, text: str, at: int, rank: int, space: str, at_end: bool) -> Mark:
        """A closing quote belongs to what it closes; it is waited for only where one is open."""
        before = text[:at]
        quotes = self.quotes + sum(_QUOTES.get(character, 0) for character in before)
        straight = self.straight + before.count('"')
        end = at + 1
        if quotes <= 0 and straight % 2 == 0 and text[at] != "…":
            return rank, end
        while end < len(text) and text[end] in CLOSERS + WIDE_SENTENCE[:-1]:
            end += 1
        if end == len(text) and not space and not at_end:
            return WAIT
        if text[at] == "…" and text[end : end + 1].islower():
            rank = 2
        return rank, end

    def _wide_clause(self, text: str, at: int, space: str, at_end: bool) -> Mark:
        if at and text[at - 1].isdigit():
            following = text[at + 1 : at + 2]
            if not following and not at_end:
                return WAIT
            if following.isdigit() or (text[at] == "、" and self._is_item(text, at)):
                return 0, at + 1
        return self._wide(text, at, 2, space, at_end)

    def _dash(self, text: str, at: int, space: str, at_end: bool) -> Mark:
        """`3–5` is a range."""
        if text[at] == "–" and at and text[at - 1].isdigit():
            following = text[at + 1 : at + 2] or space
            if not following and not at_end:
                return WAIT
            if following.isdigit():
                return 0, at + 1
        return 2, at + 1

    def _narrow(self, text: str, at: int, space: str, at_end: bool) -> Mark:
        """An ASCII mark ends something only before a space, a closing mark, a wide character or the end."""
        end = at + 1
        while end < len(text) and text[end] in CLOSERS:
            end += 1
        following = text[end : end + 1] or space
        if not following and not at_end:
            return WAIT
        if following and not following.isspace() and script_of(following) not in ("HAN", "KANA", "HANGUL"):
            return 0, at + 1
        if text[at] in NARROW_CLAUSE:
            return self._narrow_clause(text, at, end, at_end)
        if text[at] == ".":
            return self._full_stop(text, at, end, at_end)
        return 3, end

    def _narrow_clause(self, text: str, at: int, end: int, at_end: bool) -> Mark:
        """`Jan. 5, 2024` is one date."""
        if text[at] != "," or not text[at - 1 : at].isdigit():
            return 2, end
        match = _YEAR_BEGUN.match(text, end)
        if match is None:
            return (2, end) if text[end : end + 1] or at_end else WAIT
        if match.end() == len(text) and not at_end:
            return WAIT
        is_year = len(match[0]) == 5 and not text[match.end() : match.end() + 1].isdigit()
        return (0, at + 1) if is_year else (2, end)

    def _full_stop(self, text: str, at: int, end: int, at_end: bool) -> Mark:
        """Tell the end of a sentence from an ellipsis, an abbreviation, an initial and the number of a list item."""
        if text[at - 1 : at] == ".":
            return (2 if text[end : end + 2].lstrip()[:1].islower() else 3), end
        match = _WORD.search(text, max(0, at - _LOOK_BACK), at)
        word = match[0] if match else ""
        lower = word.lower()
        if _TITLES.fullmatch(lower) or (word.isdigit() and self._is_item(text, at)):
            return 0, at + 1
        if len(word) == 1 and word.isupper() and word != "I":
            return 0, at + 1
        initials = _INITIALS.fullmatch(word)
        if initials or _ABBREVIATIONS.fullmatch(lower) or _LISTING.fullmatch(lower):
            return self._abbreviation(text, at, end, word, at_end)
        return 3, end

    def _abbreviation(self, text: str, at: int, end: int, word: str, at_end: bool) -> Mark:
        """It ends a sentence where the next word rather begins one."""
        following = text[end : end + 3].lstrip()[:1]
        if not following and not at_end:
            return WAIT
        if following.islower() or following.isdigit() or script_of(following or " ") == "HAN":
            return 0, at + 1
        match = _NEXT_WORD.match(text, end)
        if match is None or _LISTING.fullmatch(word.lower()):
            return 3, end
        if match.end() == len(text) and not at_end and len(match[1]) < _NEXT_WORD_MAX:
            return WAIT
        if word.islower() and "." in word:
            return (0, at + 1) if _DAYS.fullmatch(match[1].lower()) else (3, end)
        return (3, end) if _STARTERS.fullmatch(match[1].lower()) else (0, at + 1)

    def _is_item(self, text: str, at: int) -> bool:
        """Whether the digits before `at` number an item; if so, the next number is one wherever it stands."""
        match = re.compile(r"[0-9]+$").search(text, max(0, at - _LOOK_BACK), at)
        if match is None or len(match[0]) > _ITEM_DIGITS_MAX:
            return False
        before = text[: match.start()].rstrip(" ")
        number = int(match[0])
        marked = (
            not before or before[-1] in "\n:;.!?：；。！？，,—(（" or script_of(before[-1]) == "HAN" and text[at] == "."
        )
        if marked or number == self.item + 1 > 1:
            self.item = number
            return True
        return False
