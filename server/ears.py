"""`Ears`: with what clients that are no session of ours are heard."""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable

from asr.base import ListenersRecogniser
from listening.listener import Listener, ListenerEvents


@dataclasses.dataclass(slots=True)
class Ears:
    """What clients are heard with."""

    recogniser: ListenersRecogniser
    listener: Callable[[ListenerEvents, str | None], Awaitable[Listener]]
    """`listener(events, language)`: a client's own, to be closed by whoever asked."""
    why_not: Callable[[], str | None] = lambda: None
    """None when clients can be heard, else one sentence with what would make it so."""
    clients: int = 0
    """Being heard at this moment."""
