"""`EventChannels`: tells a client over its data channels what is heard, when it is heard."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable

from aiortc import RTCDataChannel

from events import EventBus
from media import Event

CHANNELS_MAX = 8
BUFFER_BYTES = 64 * 1024  # unsent text a slow client may have waiting; beyond it events are dropped


class EventChannels:
    """Every data channel a client opens gets every event, as JSON text."""

    def __init__(self, events: EventBus, media_time: Callable[[float], float]) -> None:
        """Begin to listen.

        Args:
            media_time: monotonic seconds to seconds of media time.
        """
        self.dropped = 0
        self._loop = asyncio.get_running_loop()
        self._media_time = media_time
        self._channels: list[RTCDataChannel] = []
        self._unsubscribe = events.subscribe(self._played)

    def add(self, channel: RTCDataChannel) -> None:
        """A channel the client opened; of very many the first few are served."""
        if len(self._channels) < CHANNELS_MAX:
            self._channels.append(channel)

    def close(self) -> None:
        """Listen no longer."""
        self._unsubscribe()
        self._channels.clear()

    def _played(self, event: Event, at: float) -> None:
        """Runs in whichever thread publishes."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left to tell
            self._loop.call_soon_threadsafe(self._send, event, self._media_time(at))

    def _send(self, event: Event, at_s: float) -> None:
        self._channels = [c for c in self._channels if c.readyState != "closed"]
        fields = {**event.data, "event": event.name, "turn": event.turn, "at": round(at_s, 3)}
        text = json.dumps(fields, ensure_ascii=False)
        for channel in self._channels:
            if channel.readyState != "open":
                continue
            if channel.bufferedAmount > BUFFER_BYTES:
                self.dropped += 1
            else:
                channel.send(text)
