"""A real aiortc client over the loopback interface."""

from __future__ import annotations

import asyncio
import json

import numpy as np
import pytest
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription

from tests.fakes.real import FakeReal
from webrtc import PeerSession

pytestmark = pytest.mark.webrtc


class Client:
    """Asks for video and audio, keeps what it sees, hears and is told."""

    def __init__(self) -> None:
        self.pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self.pc.addTransceiver("video", direction="recvonly")
        self.pc.addTransceiver("audio", direction="recvonly")
        self.channel = self.pc.createDataChannel("events")
        self.messages: list[dict[str, object]] = []
        self.channel.on("message", lambda text: self.messages.append(json.loads(text)))

    async def connect(self, session: PeerSession) -> None:
        await self.pc.setLocalDescription(await self.pc.createOffer())
        sdp, type_ = await session.answer(self.pc.localDescription.sdp, self.pc.localDescription.type)
        await self.pc.setRemoteDescription(RTCSessionDescription(sdp, type_))

    def track(self, kind: str):  # type: ignore[no-untyped-def]
        return next(t.receiver.track for t in self.pc.getTransceivers() if t.kind == kind)


async def test_client_sees_and_hears() -> None:
    real = FakeReal()
    session, client = PeerSession(real), Client()
    await client.connect(session)
    frame = await asyncio.wait_for(client.track("video").recv(), 5)
    assert (frame.width, frame.height) == (64, 48)
    real.speak(25)
    loudest = 0.0
    for _ in range(60):
        sound = await asyncio.wait_for(client.track("audio").recv(), 5)
        loudest = max(loudest, float(np.abs(sound.to_ndarray().astype(float)).max()) / 32768)
    assert 0.3 < loudest < 0.7
    assert [m["event"] for m in client.messages][:1] == ["speech.started"]
    await client.pc.close()
    await session.aclose()
