"""Texts from clients, cleaned of what no text has, and JSON that a database takes."""

from __future__ import annotations

import json
import unicodedata
from typing import Annotated, Any

from pydantic import BeforeValidator

METADATA_CHARACTERS_MAX = 8_000

CLEANED_CHARACTERS_MAX = 10_000
"""A longer text is refused next, and would hold the event loop."""

UNSEEN = ("Cc", "Cs", "Co", "Cn", "Zl", "Zp")
"""Categories of characters that no text has: control, halves of others, private, unassigned, line separators."""

OVERRIDES = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""They turn what stands behind them around, also beside the text."""


def prose(value: object) -> object:
    """Without what no text has; line breaks and tabs stay."""
    if not isinstance(value, str) or len(value) > CLEANED_CHARACTERS_MAX:
        return value
    kept = (c for c in value if c in "\n\t" or (unicodedata.category(c) not in UNSEEN and c not in OVERRIDES))
    return "".join(kept).strip()


def line(value: object) -> object:
    """The same on one line."""
    text = prose(value)
    return " ".join(text.split()) if isinstance(text, str) else text


def plain_json(value: dict[str, Any] | None) -> dict[str, Any] | None:
    """What a database takes for JSON."""
    try:
        text = json.dumps(value, allow_nan=False)
    except ValueError as error:
        raise ValueError("holds a number that is none") from error
    if len(text) > METADATA_CHARACTERS_MAX or "\\u0000" in text:
        raise ValueError(f"must be at most {METADATA_CHARACTERS_MAX} characters of JSON, without NUL")
    return value


Line = Annotated[str, BeforeValidator(line)]

Prose = Annotated[str, BeforeValidator(prose)]
