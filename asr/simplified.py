"""Simplified Chinese: Whisper writes either script, often both in one sentence.

A prompt in simplified characters, the usual remedy, costs a tenth more time, is at times repeated as if it had been
said, and does not always help.
"""

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
