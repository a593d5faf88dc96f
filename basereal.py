"""`BaseReal`: one session (contract; being written)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from media import Event, MediaUnit, Pcm, SpeechFrame


class EventBus:
    """Hands played-out events to the data channel, SSE streams and tests; thread-safe, bounded per listener."""

    def subscribe(self, listener: Callable[[Event, float], None]) -> Callable[[], None]:
        """Call `listener(event, at)` for every event, from whichever thread publishes; returns the unsubscriber.

        `at` is the monotonic time at which the frame was played out.
        """
        raise NotImplementedError

    def publish(self, event: Event, at: float) -> None:
        raise NotImplementedError


class BaseReal:
    """One session: takes text and speech, yields `MediaUnit`s in order, owns turns and interruption."""

    sessionid: str
    turn: int
    events: EventBus
    width: int
    height: int

    async def say(self, text: str, **options: Any) -> None:
        """Speak `text` after what is already queued."""
        raise NotImplementedError

    async def play(self, pcm: Pcm) -> None:
        """Speak recorded 16 kHz samples."""
        raise NotImplementedError

    def interrupt(self) -> int:
        """End everything said so far at once; returns the new turn."""
        raise NotImplementedError

    @property
    def speaking(self) -> bool:
        """True from acceptance of text or sound until the last of it is played out."""
        raise NotImplementedError

    def take(self) -> MediaUnit | None:
        """The next 40 ms for the playout clock: speech, idle, or None to hold the last picture in silence."""
        raise NotImplementedError

    def played(self, frame: SpeechFrame, at: float) -> None:
        """The clock sent this frame at monotonic time `at`: fire its events."""
        raise NotImplementedError

    async def aclose(self) -> None:
        """End the session's tasks and free its queues."""
        raise NotImplementedError
