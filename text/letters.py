"""Letters: which script one is of, which language a text is in, how long it takes to say."""

from __future__ import annotations

import unicodedata
from functools import lru_cache

CJK_CHARACTER_S = 1 / 4.3
"""Seconds one Chinese character takes at a calm pace."""
LETTER_S = 1 / 14
"""Seconds one letter of an alphabet takes: about 150 English words a minute."""
DIGIT_S = 0.25
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
    return sum(map(character_s, text))


@lru_cache(maxsize=4096)
def character_s(character: str) -> float:
    """About how many seconds it takes to say one character."""
    script = script_of(character)
    if script in ("HAN", "KANA", "HANGUL"):
        return CJK_CHARACTER_S
    return DIGIT_S if script == "DIGIT" else LETTER_S if script else 0.0
