"""Texts that are longer than a server takes, in parts."""

from __future__ import annotations

_MARKS = "。！？；.!?;\n", "，、,：:", " "
"""Where a text is cut, the best place first."""


def parts(text: str, characters_max: int, bytes_max: int | None = None) -> list[str]:
    """`text` in pieces of at most so many characters, and bytes of UTF-8, cut behind a mark or a space where there is
    one; all of it is in them, in order.
    """
    found = []
    while text:
        end = _end(text, characters_max, bytes_max)
        found.append(text[:end])
        text = text[end:]
    return found


def _end(text: str, characters_max: int, bytes_max: int | None) -> int:
    most = min(len(text), characters_max)
    if bytes_max is not None:
        kept = len(text[:most].encode()[:bytes_max].decode(errors="ignore"))
        most = max(1, min(most, kept))
    if most == len(text):
        return most
    for marks in _MARKS:
        end = max(text.rfind(mark, most // 2, most) for mark in marks) + 1
        if end:
            return end
    return most
