"""Which of the two languages a client reads."""

from __future__ import annotations


def prefers_chinese(accept_language: str) -> bool:
    """Whether a header `Accept-Language` (RFC 9110 section 12.5.4) ranks Chinese above English."""
    ranks = {"zh": 0.0, "en": 0.0}
    for item in accept_language[:500].split(","):
        tag, _, parameter = item.strip().lower().partition(";")
        primary = tag.strip().partition("-")[0]
        if primary in ranks:
            ranks[primary] = max(ranks[primary], _quality(parameter))
    return ranks["zh"] > ranks["en"]


def _quality(parameter: str) -> float:
    """`q=0.8` is 0.8; 1 without it, 0 for nonsense."""
    name, _, value = parameter.strip().partition("=")
    if name.strip() != "q":
        return 1.0
    try:
        return float(value)
    except ValueError:
        return 0.0
