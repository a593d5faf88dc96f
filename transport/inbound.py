"""What a client sends: in order and at once, where aiortc 1.16.0 holds sound back.

aiortc's jitter buffer for sound holds four packets, 80 ms, before it gives the first, and a lost packet makes it wait
until sixteen are there: from then on everything comes 280 ms late, for good. Whoever only listens needs no steady
rhythm, so `deliver_at_once` gives every packet on as it comes and waits for a missing one only until `HOLD_PACKETS`
later ones are there.
"""

from __future__ import annotations

from typing import Any

from aiortc import RTCRtpReceiver
from aiortc.jitterbuffer import JitterFrame
from aiortc.rtp import RtpPacket

HOLD_PACKETS = 3  # 60 ms: packets that overtook one another come within one or two
DECODER_DELAY_S = 0.0065  # Opus gives what it hears so much later than it was (RFC 6716 section 2: 6.5 ms)
RESTART_PACKETS = 100  # older or newer by more, it is another stream's count (aiortc's MAX_MISORDER)


class PacketOrder:
    """Puts packets in order; a late one is dropped."""

    def __init__(self) -> None:
        self._ssrc: int | None = None
        self._next = 0
        self._early: dict[int, RtpPacket] = {}

    def push(self, packet: RtpPacket) -> list[RtpPacket]:
        """The packets that can be used now, in order."""
        number = packet.sequence_number
        ahead = (number - self._next) & 0xFFFF
        if packet.ssrc != self._ssrc or RESTART_PACKETS < ahead < 0x10000 - RESTART_PACKETS:
            self._ssrc, self._next = packet.ssrc, number
            self._early.clear()
        elif ahead >= 0x8000:
            return []
        self._early[number] = packet
        if len(self._early) > HOLD_PACKETS:
            self._next = min(self._early, key=lambda early: (early - self._next) & 0xFFFF)
        ready = []
        while (found := self._early.pop(self._next, None)) is not None:
            ready.append(found)
            self._next = (self._next + 1) & 0xFFFF
        return ready


class _NoBuffer:
    """In place of aiortc's jitter buffer: every packet of sound is a frame (RFC 7587 section 4.2)."""

    def add(self, packet: RtpPacket) -> tuple[bool, JitterFrame]:
        """As `aiortc.jitterbuffer.JitterBuffer.add`."""
        hooked: Any = packet
        return False, JitterFrame(data=hooked._data, timestamp=packet.timestamp)


def deliver_at_once(receiver: RTCRtpReceiver) -> None:
    """Make an audio receiver decode every packet as it comes. Before it receives."""
    hooked: Any = receiver
    handle, order = hooked._handle_rtp_packet, PacketOrder()
    hooked._RTCRtpReceiver__jitter_buffer = _NoBuffer()

    async def handle_rtp_packet(packet: RtpPacket, arrival_time_ms: int) -> None:
        for ready in order.push(packet):
            await handle(ready, arrival_time_ms)

    hooked._handle_rtp_packet = handle_rtp_packet
