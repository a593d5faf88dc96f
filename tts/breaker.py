"""`Breaker`: keeps an engine that fails from being asked with every clause, and finds out when it works again."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from errors import EngineError

BACKOFF_FIRST_S = 5.0
BACKOFF_MAX_S = 300.0
RETRY_AFTER_MAX_S = 3600.0
"""A server may ask for more; it is asked again all the same."""
REFUSALS = 3
"""An engine that refused so many clauses in a row refuses them all: its voice or its model is not there."""


class Breaker:
    """The state of one engine.

    Closed, it is asked. After a failure it is open for BACKOFF_FIRST_S, twice as long each time in a row, or as long as
    its server asked for. Then it is half open: one clause tries it, the others go on without it until that one spoke.

    Args:
        now: monotonic seconds.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._until = 0.0
        self._tried = False
        self.failures = 0
        """In a row."""
        self.spoken = self.failed_ever = 0
        """Clauses it spoke, and failed at, since the server began."""
        self.reason = ""
        """Of the last failure."""

    @property
    def is_open(self) -> bool:
        """Whether others should be asked first."""
        return self._until > self._now() or self._tried

    @property
    def open_for_s(self) -> float:
        """Seconds until it is half open; 0 when it is."""
        return max(0.0, self._until - self._now())

    @contextlib.contextmanager
    def asked(self) -> Iterator[None]:
        """While an engine is asked: where it is half open, it is so for this clause only."""
        mine = self.failures > 0 and not self.is_open
        self._tried = self._tried or mine
        try:
            yield
        finally:
            if mine:
                self._tried = False

    def succeeded(self) -> None:
        """It spoke: whatever was before is forgotten."""
        self.spoken += 1
        self.failures, self.reason, self._until, self._tried = 0, "", 0.0, False

    def failed(self, error: EngineError) -> float:
        """Note a failure; seconds until it should be asked again.

        Of clauses that were asked for together, all but the first to fail add nothing.
        """
        self.reason = str(error)
        self.failed_ever += 1
        if self.open_for_s == 0.0:
            self.failures += 1
        self._until = max(self._until, self._now() + self._wait_s(error))
        return self.open_for_s

    def _wait_s(self, error: EngineError) -> float:
        backoff_s = min(BACKOFF_MAX_S, BACKOFF_FIRST_S * 2.0 ** min(self.failures - 1, 10))
        asked_s = error.retry_after_s
        if asked_s is None:
            return backoff_s
        if asked_s <= 0:
            return 0.0 if self.failures < REFUSALS else backoff_s
        return min(RETRY_AFTER_MAX_S, asked_s)
