"""`Finding`: one thing that `doctor` looked at."""

from __future__ import annotations

import dataclasses
from typing import Literal

State = Literal["ok", "note", "missing"]


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    name: str
    state: State
    """`missing` keeps `make run` from working; `note` is worth knowing."""
    en: str
    zh: str
    fix: str = ""
    """The command that adds what is missing."""
