"""Signs within a line of text: what is said for each, decided from what stands before and a bounded look ahead.

Each function gets the text, the sign's place, what stood before it, and whether the text ends where it ends; it answers
a `Said`, or None while that hangs on text still to come.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable

from text.formulas import Place, Said, backslash, caret
from text.words import WORDS

TARGET_CHARACTERS_MAX = 1000
_COUNTED = "年月日号点时分秒章节页楼层元块岁℃℉°%％"
"""Between what is counted in one of these and a number, a hyphen is a range."""
_TAG = re.compile(r"<[^<>\n]{0,200}>")
_TAG_BEGUN = re.compile(r"<[^<>\n]{0,200}")
_ADDRESS_IN_TAG = re.compile(r"<(?:mailto:)?[\w.%+-]+(?:://|@)")
_BLOCK_TAG = re.compile(r"</?(?:br|p|div|li|tr|h[1-6]|hr|table)\b", re.IGNORECASE)
_ENTITY = re.compile(r"&(?:#x[0-9A-Fa-f]{1,6}|#[0-9]{1,7}|[A-Za-z]{2,8});")
_ENTITY_BEGUN = re.compile(r"&(?:#x[0-9A-Fa-f]{0,6}|#[0-9]{0,7}|[A-Za-z]{0,8})")
_NOTE = re.compile(r"\[(?:\^[^\]\s\[]{1,40}|[0-9]{1,3})\]")
_NOTE_BEGUN = re.compile(r"\[(?:\^[^\]\s\[]{0,40}|[0-9]{0,3})")


def _is_ascii_word(character: str) -> bool:
    return character.isascii() and character.isalnum()


def _star(place: Place) -> Said | None:
    run = place.run()
    if (after := place.next(run)) is None:
        return None
    spaced = place.before.isspace() and after.isspace() and place.before != "\n" != after
    if run == 1 and (spaced or (place.before.isdigit() and after.isdigit())):
        return Said(place.at + 1, "*")
    return Said(place.at + run)


def _underscore(place: Place) -> Said | None:
    run = place.run()
    if (after := place.next(run)) is None:
        return None
    return Said(place.at + run, join="space" if place.before.isalnum() and after.isalnum() else "word")


def _tilde(place: Place) -> Said | None:
    run = place.run()
    if (after := place.next(run)) is None:
        return None
    if run == 1 and after.isdigit():
        joins = place.before.isalnum() or place.before in "%℃℉°％"
        return Said(place.at + 1, "range" if joins else "about")
    return Said(place.at + run)


def _hyphen(place: Place) -> Said | None:
    run = place.run()
    after, second = place.next(run), place.next(run + 1)
    if after is None:
        return None
    if after == ">":
        return Said(place.at + run + 1, "→")
    if run > 1:
        return Said(place.at + run, join="pause")
    if place.before.isspace() and after.isspace():
        if second is None:
            return None
        sums = place.solid.isdigit() and second.isdigit()
        return Said(place.at + 1, "minus") if sums else Said(place.at + 1, join="pause")
    if after.isdigit() and place.before in _COUNTED:
        return Said(place.at + 1, "range")
    if after.isdigit() and not _is_ascii_word(place.before) and place.before not in "-.)":
        return Said(place.at + 1, "negative")
    return Said(place.at + 1, "-", "character")


def _dash(place: Place) -> Said | None:
    if (after := place.next()) is None:
        return None
    if place.before.isdigit() and after.isdigit():
        return Said(place.at + 1, "range")
    return Said(place.at + 1, place.raw[place.at], "character")


def _equals(place: Place) -> Said | None:
    run = place.run()
    if (after := place.next(run)) is None:
        return None
    return Said(place.at + run + 1, "→") if after == ">" else Said(place.at + run, "=")


def _plus(place: Place) -> Said | None:
    run = place.run()
    return None if place.next(run) is None else Said(place.at + run, "+")


def _less(place: Place) -> Said | None:
    raw, at = place.raw, place.at
    after = place.next()
    if after is None:
        return None
    if after == "=":
        return Said(at + 2, "≤")
    if after in "/!?|" or (after.isascii() and after.isalpha()):
        match = _TAG.match(raw, at)
        if match:
            if _ADDRESS_IN_TAG.match(match[0]):
                return Said(at + 1)
            return Said(match.end(), join="line" if _BLOCK_TAG.match(match[0]) else "word")
        begun = _TAG_BEGUN.match(raw, at)
        if begun and begun.end() == len(raw) and not place.at_end:
            return None
    if after.isdigit() or (place.before.isspace() and after.isspace()):
        return Said(at + 1, "<")
    return Said(at + 1)


def _greater(place: Place) -> Said | None:
    if (after := place.next()) is None:
        return None
    if after == "=":
        return Said(place.at + 2, "≥")
    if after.isdigit() or (place.before.isspace() and after.isspace()):
        return Said(place.at + 1, ">")
    return Said(place.at + 1)


def _number_sign(place: Place) -> Said | None:
    run = place.run()
    if (after := place.next(run)) is None:
        return None
    numbers = run == 1 and after.isdigit() and not _is_ascii_word(place.before)
    return Said(place.at + run, "#" if numbers else "")


def _dollar(place: Place) -> Said | None:
    run = place.run()
    if (after := place.next(run)) is None:
        return None
    money = run == 1 and after.isdigit()
    return Said(place.at + run, "$" if money else "", "character" if money else "word")


def _ampersand(place: Place) -> Said | None:
    match = _ENTITY.match(place.raw, place.at)
    if match:
        character = html.unescape(match[0])
        key = character if len(character) == 1 and character not in "*_|\\{}[]^~#`" else ""
        return Said(match.end(), key, "word" if key in WORDS else "space" if key.isspace() or not key else "character")
    begun = _ENTITY_BEGUN.match(place.raw, place.at)
    if begun and begun.end() == len(place.raw) and not place.at_end:
        return None
    run = place.run()
    return None if place.next(run) is None else Said(place.at + run, "&")


def _bracket(place: Place) -> Said | None:
    """`[`: a footnote or a citation is not said, a link's text is."""
    match = _NOTE.match(place.raw, place.at)
    if match:
        after = place.next(match.end() - place.at)
        if after is None:
            return None
        return Said(place.at + 1) if after == "(" else Said(match.end())
    begun = _NOTE_BEGUN.match(place.raw, place.at)
    waiting = begun and begun.end() == len(place.raw) and not place.at_end
    return None if waiting else Said(place.at + 1)


def _bracket_end(place: Place) -> Said | None:
    """`]`: what stands behind a link's text, its target or its label, is not said."""
    after = place.next()
    if after is None:
        return None
    if after not in "([":
        return Said(place.at + 1)
    end = target_end(place.raw, place.at + 1, place.at_end)
    return None if end is None else Said(end or place.at + 1)


def target_end(raw: str, at: int, at_end: bool) -> int | None:
    """Behind the bracket that closes the one at `at`; 0 where it holds no target, None while that is not known."""
    depth, opener = 0, raw[at]
    closer = ")" if opener == "(" else "]"
    for index in range(at, min(len(raw), at + TARGET_CHARACTERS_MAX)):
        if raw[index] == "\n":
            return 0
        depth += (raw[index] == opener) - (raw[index] == closer)
        if depth == 0:
            inner = raw[at + 1 : index].strip()
            titled = re.fullmatch(r"\S+(?:\s+(?:\"[^\"]*\"|'[^']*'))?", inner)
            return index + 1 if opener == "[" or not inner or titled else 0
    return 0 if at_end or len(raw) - at >= TARGET_CHARACTERS_MAX else None


def _exclamation(place: Place) -> Said | None:
    if (after := place.next()) is None:
        return Said(place.at + 1, "!", "character") if place.at_end else None
    if after == "=":
        return Said(place.at + 2, "≠")
    return Said(place.at + 1) if after == "[" else Said(place.at + 1, "!", "character")


def _parenthesis(place: Place) -> Said | None:
    if (after := place.next()) is None:
        return None
    return Said(place.at + 2) if after == ")" else Said(place.at + 1, "(", "character")


def _at_sign(place: Place) -> Said | None:
    run = place.run()
    return None if place.next(run) is None else Said(place.at + run, "@")


def _dropped(place: Place) -> Said | None:
    return Said(place.at + 1)


def _pause(place: Place) -> Said | None:
    return Said(place.at + 1, join="pause")


SIGNS: dict[str, Callable[[Place], Said | None]] = {
    "*": _star, "＊": _star, "_": _underscore, "~": _tilde, "～": _tilde, "-": _hyphen, "–": _dash, "=": _equals,
    "+": _plus, "<": _less, ">": _greater, "#": _number_sign, "＃": _number_sign, "$": _dollar, "^": caret,
    "\\": backslash, "&": _ampersand, "[": _bracket, "]": _bracket_end, "!": _exclamation, "(": _parenthesis,
    "@": _at_sign, "{": _dropped, "}": _dropped, "|": _pause, "｜": _pause, "•": _pause,
}  # fmt: skip
