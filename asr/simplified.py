"""Simplified Chinese: Whisper writes either script, often both in one sentence, whatever it is told."""

from __future__ import annotations

import functools
from pathlib import Path

TABLE = Path(__file__).with_suffix(".txt")


def simplified(text: str) -> str:
    """The text with each traditional character replaced by its simplified one; all else as it is."""
    return text.translate(_table())


@functools.cache
def _table() -> dict[int, str]:
    lines = TABLE.read_text("utf-8").splitlines()
    traditional, simple = (line for line in lines if not line.startswith("#"))
    return {ord(a): b for a, b in zip(traditional, simple, strict=True)}
