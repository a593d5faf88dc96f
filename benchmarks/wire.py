"""A client without a browser: every packet is stamped as it arrives, so that the server alone is measured.

aiortc's own receiving path adds a picture and 80 ms of sound (its jitter buffers). It is kept running, because its
reports and retransmission requests steer the sender, but its decoder is stopped: sound is decoded here at once,
pictures after the session, when nothing is being timed any more. Works around private parts of aiortc 1.16.0.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import Iterator
from typing import Any, cast

import aioice.ice
import av
import numpy as np
from aiortc import RTCConfiguration, RTCPeerConnection, RTCRtpReceiver, RTCSessionDescription
from aiortc.codecs import depayload
from aiortc.rtcrtpparameters import RTCRtpCodecParameters
from aiortc.rtp import RtcpSrPacket, RtpPacket
from av.audio.codeccontext import AudioCodecContext
from av.error import FFmpegError
from av.video.codeccontext import VideoCodecContext
from numpy.typing import NDArray

from benchmarks.analysis import Levels, Times, envelope, hops_s
from benchmarks.api import Api
from benchmarks.marks import read_counter
from benchmarks.recording import Connection, Pictures, Sound, mouth_patch

OPUS_RATE_HZ = 48_000
VIDEO_CLOCK_HZ = 90_000
MEDIA_TIMEOUT_S = 15
MIN_LINE_S = 5  # reports that span less give no slope
DECODERS = {"H264": "h264", "VP8": "vp8"}


@contextlib.contextmanager
def loopback_candidates() -> Iterator[None]:
    """Offer 127.0.0.1 alone: aioice leaves the loopback address out of its host candidates."""
    original = aioice.ice.get_host_addresses
    aioice.ice.get_host_addresses = lambda use_ipv4, use_ipv6: ["127.0.0.1"]
    try:
        yield
    finally:
        aioice.ice.get_host_addresses = original


class Tap:
    """Sits in front of one receiver and notes packets and sender reports as they arrive."""

    def __init__(self, receiver: RTCRtpReceiver, clock_hz: int) -> None:
        self.clock_hz = clock_hz
        self.payload_type = -1
        """Of the negotiated codec; retransmissions come under another and are left out."""
        self.arrivals: dict[int, float] = {}
        """Media time stamp, relative to the first packet -> arrival of its last packet (monotonic s), in order."""
        self.reports: list[tuple[float, float]] = []
        """(media s, sender's clock s) of each sender report."""
        self._origin: int | None = None
        private = cast(Any, receiver)
        self._receive_rtp, self._receive_rtcp = private._handle_rtp_packet, private._handle_rtcp_packet
        private._handle_rtp_packet, private._handle_rtcp_packet = self._on_rtp, self._on_rtcp

    async def _on_rtp(self, packet: RtpPacket, arrival_time_ms: int) -> None:
        if packet.payload and packet.payload_type == self.payload_type:
            if self._origin is None:
                self._origin = packet.timestamp
            stamp = self._relative(packet.timestamp)
            self.arrivals[stamp] = time.monotonic()
            self.keep(stamp, packet)
        await self._receive_rtp(packet, arrival_time_ms=arrival_time_ms)

    async def _on_rtcp(self, packet: Any) -> None:
        if isinstance(packet, RtcpSrPacket) and self._origin is not None and packet.sender_info.packet_count:
            media_s = self._relative(packet.sender_info.rtp_timestamp) / self.clock_hz
            self.reports.append((media_s, packet.sender_info.ntp_timestamp / (1 << 32)))
        await self._receive_rtcp(packet)

    def _relative(self, stamp: int) -> int:
        delta = (stamp - (self._origin or 0)) & 0xFFFFFFFF
        return delta - (1 << 32) if delta >= 1 << 31 else delta

    def keep(self, stamp: int, packet: RtpPacket) -> None:
        """What a tap stores of a packet besides its arrival."""

    def sender_clock(self, media_s: Times) -> Times:
        """Media seconds on the sender's clock, by the line through its reports: what a browser synchronises on.

        Raises:
            ValueError: no report has come.
        """
        if not self.reports:
            raise ValueError("no sender report has come: the sender's clock is unknown")
        x, y = np.array(self.reports).T
        if np.ptp(x) < MIN_LINE_S:
            on_clock: Times = media_s + np.median(y - x)
            return on_clock
        slope, intercept = np.polyfit(x - x[0], y - y[0], 1)  # relative: the slope needs all digits
        line: Times = y[0] + intercept + slope * (media_s - x[0])
        return line


class SoundTap(Tap):
    """Decodes Opus as it comes."""

    def __init__(self, receiver: RTCRtpReceiver, *, light: bool) -> None:
        super().__init__(receiver, OPUS_RATE_HZ)
        self._light = light
        self.parts: list[tuple[Times, Levels]] = []
        self.stamps: list[int] = []
        self._decoder: AudioCodecContext = av.CodecContext.create("libopus", "r")
        self._decoder.sample_rate = OPUS_RATE_HZ
        self._decoder.layout = "stereo"

    def keep(self, stamp: int, packet: RtpPacket) -> None:
        """Append the packet's envelope, its first sample standing at the packet's arrival."""
        if self._light:
            return
        for frame in self._decoder.decode(av.Packet(packet.payload)):
            pcm = frame.to_ndarray().reshape(-1, 2).mean(axis=1).astype(np.float32) / 32768
            rms = envelope(pcm, OPUS_RATE_HZ)
            self.parts.append((self.arrivals[stamp] + hops_s(len(rms)), rms))
            self.stamps.append(stamp)

    def on_sender_clock(self) -> Sound:
        """The envelope on the clock of the sender reports."""
        parts = []
        for stamp, (_, rms) in zip(self.stamps, self.parts, strict=True):
            media_s = stamp / self.clock_hz + hops_s(len(rms))
            parts.append((self.sender_clock(media_s), rms))
        return Sound.join(parts)


class PictureTap(Tap):
    """Stores the encoded pictures for later."""

    def __init__(self, receiver: RTCRtpReceiver, *, light: bool) -> None:
        super().__init__(receiver, VIDEO_CLOCK_HZ)
        self._light = light
        self.codec = ""
        self._payloads: dict[int, list[tuple[int, bytes]]] = {}

    def keep(self, stamp: int, packet: RtpPacket) -> None:
        """Store the payload with its sequence number."""
        if not self._light:
            self._payloads.setdefault(stamp, []).append((packet.sequence_number, packet.payload))

    def times(self) -> Times:
        """Arrival of each complete picture: the last one may still be coming in."""
        return np.array(list(self.arrivals.values())[:-1])

    def decode(self) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """(media time stamp, luma plane) of every picture that can be decoded, in order."""
        decoder = cast(VideoCodecContext, av.CodecContext.create(DECODERS[self.codec], "r"))
        decoder.thread_count = 1
        codec = RTCRtpCodecParameters(mimeType=f"video/{self.codec}", clockRate=self.clock_hz, payloadType=0)
        for stamp in sorted(self._payloads):
            packets = sorted(self._payloads[stamp], key=lambda p: (p[0] - self._payloads[stamp][0][0] + 512) & 0xFFFF)
            with contextlib.suppress(FFmpegError, ValueError):  # a picture with a lost packet is lost
                data = b"".join(depayload(codec, payload) for _, payload in packets)
                for frame in decoder.decode(av.Packet(data)):
                    plane = frame.planes[0]
                    luma = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
                    yield stamp, luma[: frame.height, : frame.width]


class WireSession:
    """One session of the wire client; see `recording.Session`. A `light` one keeps no more than times of arrival."""

    def __init__(self, api: Api, *, light: bool = False) -> None:
        self.connection = Connection()
        self._api = api
        self._pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        picture = self._pc.addTransceiver("video", direction="recvonly")
        sound = self._pc.addTransceiver("audio", direction="recvonly")
        self.picture_tap = PictureTap(picture.receiver, light=light)
        self.sound_tap = SoundTap(sound.receiver, light=light)

    async def open(self) -> None:
        """See `Session.open`."""
        connected = asyncio.Event()
        self._pc.on(
            "connectionstatechange", lambda: connected.set() if self._pc.connectionState != "connecting" else None
        )
        await self._pc.setLocalDescription(await self._pc.createOffer())
        offer = self._pc.localDescription
        reply = await self._api.post("/offer", json={"sdp": offer.sdp, "type": offer.type})
        answer, seen = reply.body, self.connection
        seen.sessionid, seen.answer_ms = str(answer["sessionid"]), (reply.done - reply.sent) * 1000
        self._know_codecs(answer["sdp"])
        await self._pc.setRemoteDescription(RTCSessionDescription(answer["sdp"], answer["type"]))
        await asyncio.wait_for(connected.wait(), MEDIA_TIMEOUT_S)
        seen.connected_ms = (time.monotonic() - reply.sent) * 1000
        if self._pc.connectionState != "connected":
            raise ConnectionError(f"the connection is {self._pc.connectionState}")
        for transceiver in self._pc.getTransceivers():
            await asyncio.to_thread(cast(Any, transceiver.receiver)._RTCRtpReceiver__stop_decoder)
        while not (len(self.picture_tap.arrivals) > 1 and self.sound_tap.arrivals):
            if time.monotonic() - reply.sent > MEDIA_TIMEOUT_S:
                raise ConnectionError(f"no picture and sound within {MEDIA_TIMEOUT_S} s")
            await asyncio.sleep(0.005)
        seen.first_picture_ms = (self.picture_tap.times()[0] - reply.sent) * 1000
        seen.first_packet_ms = (next(iter(self.sound_tap.arrivals.values())) - reply.sent) * 1000

    def _know_codecs(self, sdp: str) -> None:
        """The codecs that the answer puts first."""
        for section in re.split(r"(?m)^m=", sdp)[1:]:
            tap = self.sound_tap if section.startswith("audio") else self.picture_tap
            if not section.startswith(("audio", "video")):
                continue
            tap.payload_type = int(section.split()[3])
            name = re.search(rf"a=rtpmap:{tap.payload_type} (\w+)/", section)
            if name is None:
                raise ConnectionError(f"the answer does not name payload type {tap.payload_type}")
            if isinstance(tap, PictureTap):
                tap.codec = name[1]
                if tap.codec not in DECODERS:
                    raise ConnectionError(f"the server sends {tap.codec}; read here: {', '.join(DECODERS)}")

    async def sound(self) -> Sound:
        """See `Session.sound`."""
        return Sound.join(self.sound_tap.parts)

    async def pictures(self) -> Pictures:
        """See `Session.pictures`; each stamped with the arrival of its last packet."""
        arrivals = self.picture_tap.arrivals
        return await asyncio.to_thread(self._decode, lambda stamp: arrivals[stamp])

    async def pictures_on_sender_clock(self) -> Pictures:
        """As `pictures`, on the clock of the sender reports."""
        tap = self.picture_tap
        return await asyncio.to_thread(
            self._decode, lambda stamp: float(tap.sender_clock(np.array([stamp / tap.clock_hz]))[0])
        )

    def _decode(self, at: Any) -> Pictures:
        rows = [(at(stamp), mouth_patch(luma), read_counter(luma)) for stamp, luma in self.picture_tap.decode()]
        patches = np.array([row[1] for row in rows], np.uint8).reshape(len(rows), -1)
        return Pictures(np.array([row[0] for row in rows]), patches, np.array([row[2] for row in rows], np.int64))

    async def close(self) -> None:
        """See `Session.close`."""
        await self._pc.close()
