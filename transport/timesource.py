"""`TimeSource`: what the playout clock takes for time, so that tests can bring their own."""

from __future__ import annotations

import time
from typing import Protocol


class TimeSource(Protocol):
    """The clock's idea of time; tests bring their own."""

    def monotonic(self) -> float:
        """Seconds that never go back."""
        ...

    def wall(self) -> float:
        """Seconds since 1970."""
        ...


class SystemTime:
    """Real time."""

    def monotonic(self) -> float:
        """Seconds that never go back."""
        return time.monotonic()

    def wall(self) -> float:
        """Seconds since 1970."""
        return time.time()
