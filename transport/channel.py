"""`EventChannels`: tells a client over its data channels what is heard, when it is heard, in the words it speaks."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from aiortc import RTCDataChannel

from events import EventBus
from media import Event

CHANNELS_MAX = 8
BUFFER_BYTES = 64 * 1024  # unsent text a slow client may have waiting; beyond it events are dropped
MESSAGE_CHARACTERS_MAX = 64 * 1024  # what aiortc says it takes of a message

Message = dict[str, Any]
"""JSON-ready."""
Send = Callable[[Message], None]


class Dialect(Protocol):
    """Another protocol than our plain events, spoken on one channel. Called on the event loop."""

    def told(self, message: Message) -> None:
        """The client sent this object."""

    def heard(self, event: Event, at_s: float) -> Iterable[Message]:
        """The messages that tell of an event at `at_s` of media time."""

    def farewell(self) -> Iterable[Message]:
        """The last messages before the server ends the connection."""


Adopt = Callable[[str, Message, Send], Dialect | None]
"""`adopt(label, message, send)`: the dialect that a message of the channel `label` asks for, None when it is no such
message. `message` is empty when the channel has just been opened."""


class _Line:
    """One channel and what is spoken on it."""

    def __init__(self, channel: RTCDataChannel) -> None:
        self.channel = channel
        self.dialect: Dialect | None = None
        self.dropped = 0

    def send(self, message: Message) -> None:
        """Send JSON text, or drop it when the client is gone or too slow."""
        if self.channel.readyState != "open":
            return
        if self.channel.bufferedAmount > BUFFER_BYTES:
            self.dropped += 1
        else:
            self.channel.send(json.dumps(message, ensure_ascii=False))


class EventChannels:
    """Every data channel a client opens gets every event, as JSON text."""

    def __init__(self, events: EventBus, media_time: Callable[[float], float]) -> None:
        """Begin to listen.

        Args:
            media_time: monotonic seconds to seconds of media time.
        """
        self.adopt: Adopt | None = None
        """Who speaks other dialects; set before the client can have connected."""
        self._loop = asyncio.get_running_loop()
        self._media_time = media_time
        self._lines: list[_Line] = []
        self._dropped_before = 0
        self._unsubscribe = events.subscribe(self._played)

    @property
    def dropped(self) -> int:
        """Messages that slow clients did not get."""
        return self._dropped_before + sum(line.dropped for line in self._lines)

    def add(self, channel: RTCDataChannel) -> None:
        """A channel the client opened; of very many the first few are served."""
        if len(self._lines) >= CHANNELS_MAX:
            return
        line = _Line(channel)
        self._lines.append(line)
        self._try_adopt(line, {})
        channel.on("message", lambda text: self._told(line, text))

    def close(self) -> None:
        """Say goodbye where that is customary, and listen no longer."""
        self._unsubscribe()
        for line in self._lines:
            for message in line.dialect.farewell() if line.dialect is not None else ():
                line.send(message)
        self._dropped_before = self.dropped
        self._lines.clear()

    def _told(self, line: _Line, text: str | bytes) -> None:
        """The client says something: JSON objects are understood, anything else (pings) is not for us."""
        if line not in self._lines or not isinstance(text, str) or len(text) > MESSAGE_CHARACTERS_MAX:
            return
        if not text.startswith("{"):
            return
        try:
            message = json.loads(text)
        except (ValueError, RecursionError):
            return
        self._try_adopt(line, message)
        if line.dialect is not None:
            line.dialect.told(message)

    def _try_adopt(self, line: _Line, message: Message) -> None:
        if line.dialect is None and self.adopt is not None:
            line.dialect = self.adopt(line.channel.label, message, line.send)

    def _played(self, event: Event, at: float) -> None:
        """Runs in whichever thread publishes."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left to tell
            self._loop.call_soon_threadsafe(self._tell, event, self._media_time(at))

    def _tell(self, event: Event, at_s: float) -> None:
        for line in [line for line in self._lines if line.channel.readyState == "closed"]:
            self._dropped_before += line.dropped
            self._lines.remove(line)
        plain = {**event.data, "event": event.name, "turn": event.turn, "at": round(at_s, 3)}
        for line in self._lines:
            for message in (plain,) if line.dialect is None else line.dialect.heard(event, at_s):
                line.send(message)
