"""`PacketFeed`: carries packets from the pacer's threads to aiortc's tracks on the event loop, in small queues."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from aiortc import MediaStreamTrack
from aiortc.mediastreams import MediaStreamError

from transport.clock import VIDEO_BACKLOG_MAX, Batch
from transport.encoder import Packet

AUDIO_QUEUE_PACKETS = 10  # 200 ms; older sound is of no use to anyone


class PacketTrack(MediaStreamTrack):
    """A track that hands aiortc packets that are encoded already. Event loop only."""

    def __init__(self, kind: str, limit: int) -> None:
        super().__init__()
        self.kind = kind
        self.dropped = 0
        self.taken = 0
        """Packets that left the queue, sent or dropped."""
        self._limit = limit
        self._queue: asyncio.Queue[Packet | None] = asyncio.Queue()

    def push(self, packet: Packet) -> None:
        """Queue a packet; the oldest goes when the queue is full."""
        if self.readyState != "live":
            self.taken += 1
            return
        if self._queue.qsize() >= self._limit:
            self._queue.get_nowait()
            self.dropped += 1
            self.taken += 1
        self._queue.put_nowait(packet)

    async def recv(self) -> Packet:
        """The next packet.

        Raises:
            MediaStreamError: the track has ended.
        """
        packet = await self._queue.get() if self.readyState == "live" else None
        if packet is None:
            raise MediaStreamError
        self.taken += 1
        return packet

    def stop(self) -> None:
        """End the track; whoever waits in `recv` is told."""
        if self.readyState == "live":
            super().stop()
            self._queue.put_nowait(None)


class PacketFeed:
    """The clock's `Sink` for one peer.

    Dropping a compressed picture would spoil those after it, so none is ever dropped here: the clock asks how many
    wait, and does not encode the next one when the sender is behind. Sound packets stand alone; the oldest goes first.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, tap: Callable[[Batch], None] | None = None) -> None:
        self.audio = PacketTrack("audio", AUDIO_QUEUE_PACKETS)
        self.video = PacketTrack("video", 2 * VIDEO_BACKLOG_MAX)
        self.tap = tap
        """Sees every batch in a pacer's thread before it is sent (the recorder)."""
        self._loop = loop
        self._pictures = 0

    def deliver(self, batch: Batch) -> None:
        """Queue a batch for sending; from a pacer's thread."""
        tap = self.tap
        if tap is not None:
            tap(batch)
        self._pictures += batch.video is not None
        self._loop.call_soon_threadsafe(self._push, batch)

    def video_backlog(self) -> int:
        """Pictures delivered and not yet taken by the sender."""
        return self._pictures - self.video.taken

    def close(self) -> None:
        """End both tracks."""
        self.audio.stop()
        self.video.stop()

    def _push(self, batch: Batch) -> None:
        if batch.audio is not None:
            self.audio.push(batch.audio)
        if batch.video is not None:
            self.video.push(batch.video.packet)
