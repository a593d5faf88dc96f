"""`EventBus`: tells a session's listeners what is heard, when it is heard."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from media import Event

Listener = Callable[[Event, float], None]

log = logging.getLogger(__name__)


class EventBus:
    """Hands played-out events to the data channel, SSE streams and recorders. Thread-safe.

    Listeners run on the publishing thread (usually the playout clock) and must return at once; one that raises is
    logged and kept, so a broken client costs the others nothing.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._listeners: dict[int, Listener] = {}
        self._next_key = 0

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Call `listener(event, at)` for every event; returns the unsubscriber, which may be called twice.

        `at` is the monotonic time in seconds at which the frame that carries the event was played out.
        """
        with self._lock:
            key = self._next_key
            self._next_key += 1
            self._listeners[key] = listener

        def unsubscribe() -> None:
            with self._lock:
                self._listeners.pop(key, None)

        return unsubscribe

    def publish(self, event: Event, at: float) -> None:
        """Tell every listener."""
        with self._lock:
            listeners = list(self._listeners.values())
        for listener in listeners:
            try:
                listener(event, at)
            except Exception:
                log.exception("listener of %s failed", event.name)
