"""`Viewer`: an aiortc client that watches a `PeerSession` in the same process, over a network that can lose packets."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import AudioStreamTrack

from transport.aiortc_fixes import HostOptions, gather_hosts, ice_connections
from webrtc import PeerSession

PATIENCE_S = 10.0


class Viewer:
    """Asks for picture and sound and a data channel, in LiveTalking's order."""

    def __init__(
        self,
        kinds: Sequence[str] = ("video", "audio"),
        *,
        microphone: bool = False,
        configuration: RTCConfiguration | None = None,
    ) -> None:
        self.pc = RTCPeerConnection(configuration or RTCConfiguration(iceServers=[]))
        for kind in kinds:
            if kind == "audio" and microphone:
                self.pc.addTransceiver(AudioStreamTrack(), direction="sendrecv")
            else:
                self.pc.addTransceiver(kind, direction="recvonly")
        self.events: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.pc.createDataChannel("events").on("message", lambda text: self.events.put_nowait(json.loads(text)))

    async def offer(self) -> str:
        """An offer with loopback candidates."""
        for connection in ice_connections(self.pc):
            gather_hosts(connection, HostOptions())
        await self.pc.setLocalDescription(await self.pc.createOffer())
        return self.pc.localDescription.sdp

    async def watch(self, session: PeerSession) -> str:
        """Connect to `session`; returns its answer."""
        sdp, type_ = await session.answer(await self.offer(), "offer")
        await self.pc.setRemoteDescription(RTCSessionDescription(sdp, type_))
        return sdp

    def track(self, kind: str) -> MediaStreamTrack:
        """The inbound track of a kind."""
        return next(t.receiver.track for t in self.pc.getTransceivers() if t.kind == kind)

    async def picture(self) -> Any:
        """The next decoded picture."""
        return await asyncio.wait_for(self.track("video").recv(), PATIENCE_S)

    async def loudness(self) -> float:
        """Peak of the next 20 ms, 0..1."""
        frame: Any = await asyncio.wait_for(self.track("audio").recv(), PATIENCE_S)
        return float(np.abs(frame.to_ndarray().astype(np.float32)).max() / 32768)

    async def event(self) -> dict[str, Any]:
        """The next event."""
        return await asyncio.wait_for(self.events.get(), PATIENCE_S)

    def vanish(self) -> None:
        """Lose the network without a word: nothing is sent or answered from now on."""
        for connection in ice_connections(self.pc):
            for protocol in connection._protocols:
                protocol.transport.abort()

    async def close(self) -> None:
        await self.pc.close()


def lose(pc: RTCPeerConnection, pattern: Sequence[bool]) -> list[int]:
    """Drop media packets that `pc` sends where the repeated `pattern` is True; returns a list with the count so far."""
    dropped = [0]
    for connection in ice_connections(pc):
        hooked: Any = connection
        send, fate = hooked.send, itertools.cycle(pattern)

        async def lossy(data: bytes, send: Any = send, fate: Any = fate) -> None:
            if 127 < data[0] < 192 and not 192 <= data[1] <= 223 and next(fate):  # SRTP, not SRTCP (RFC 7983, RFC 5761)
                dropped[0] += 1
                return
            await send(data)

        hooked.send = lossy
        for transceiver in pc.getTransceivers():
            transport: Any = transceiver.receiver.transport.transport
            if transport._connection is connection:
                transport._send = lossy
    return dropped
