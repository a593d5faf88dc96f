"""`fair_loop`: the server's event loop, in which no crowd of clients delays the sound of a session."""

from __future__ import annotations

import asyncio
import selectors

EVENTS_MOST = 4
"""Sockets served in one round. Each may cost a millisecond (256 KiB to receive and to parse, a request's
first step), and a timer that becomes due waits for the end of the round."""


class FairSelector(selectors.DefaultSelector):
    """Tells of at most `EVENTS_MOST` files that are ready at a time, of all of them in turn.

    asyncio serves whatever its selector tells of before it looks at its timers again. With a hundred uploads that
    begin together a round took 30 to 60 ms, in which no frame of a session was sent; the more who came while it
    lasted, the longer was the next one.
    """

    def __init__(self) -> None:
        super().__init__()
        self._turn = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """As `selectors.BaseSelector.select`; who is left out is told of in one of the next calls."""
        ready = super().select(timeout)
        if len(ready) <= EVENTS_MOST:
            return ready
        begin = self._turn % len(ready)
        self._turn = begin + EVENTS_MOST
        return (ready + ready)[begin : begin + EVENTS_MOST]


def fair_loop() -> asyncio.AbstractEventLoop:
    """For `asyncio.Runner(loop_factory=…)`."""
    return asyncio.SelectorEventLoop(FairSelector())
