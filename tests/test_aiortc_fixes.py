"""Each fix does what it says, and the library still needs it: a test that says `still` fails when the fix can go."""

from __future__ import annotations

import asyncio
import fractions
import inspect
from typing import Any

import aioice.ice
import av
import pytest
from aioice import Candidate
from aioice.ice import CONSENT_FAILURES, CONSENT_INTERVAL, Connection
from aiortc import RTCConfiguration, RTCPeerConnection, RTCRtpSender
from aiortc.codecs.h264 import H264Encoder
from aiortc.mediastreams import MediaStreamTrack
from aiortc.rtcrtpparameters import RTCRtcpParameters, RTCRtpCodecParameters, RTCRtpSendParameters
from aiortc.rtp import (
    RTCP_PSFB_APP,
    RTCP_PSFB_PLI,
    RtcpPacket,
    RtcpPsfbPacket,
    RtcpReceiverInfo,
    RtcpRrPacket,
    RtcpSrPacket,
    is_rtcp,
    pack_remb_fci,
)

from transport.aiortc_fixes import (
    NTP_UNIX_S,
    Feedback,
    HostOptions,
    Liveness,
    forward_feedback,
    forward_keyframe_requests,
    gather_hosts,
    ice_connections,
    report_media_clock,
    without_mdns,
)


class ScriptedTrack(MediaStreamTrack):
    """Hands out packets with given PTS, then waits for ever."""

    kind = "audio"

    def __init__(self, *pts: int) -> None:
        super().__init__()
        self._pts = list(pts)
        self.sent = asyncio.Event()

    async def recv(self) -> Any:
        if not self._pts:
            self.sent.set()
            await asyncio.Event().wait()
        packet = av.Packet(b"opus")
        packet.pts, packet.time_base = self._pts.pop(0), fractions.Fraction(1, 48000)
        return packet


class FakeDtls:
    """What a sender needs of its transport; keeps its reports."""

    state = "connected"
    _stats_id = "transport"

    def __init__(self) -> None:
        self.reports: asyncio.Queue[RtcpSrPacket] = asyncio.Queue()

    async def _send_rtp(self, data: bytes) -> None:
        if is_rtcp(data):
            for packet in RtcpPacket.parse(data):
                if isinstance(packet, RtcpSrPacket):
                    self.reports.put_nowait(packet)

    def _register_rtp_sender(self, sender: Any, parameters: Any) -> None: ...

    def _unregister_rtp_sender(self, sender: Any) -> None: ...


OPUS = RTCRtpCodecParameters(mimeType="audio/opus", clockRate=48000, channels=2, payloadType=96)


async def sender_report(monkeypatch: pytest.MonkeyPatch, pts: int, *, fixed: bool) -> tuple[RtcpSrPacket, RTCRtpSender]:
    """The first sender report after one packet with this PTS was sent at wall time 5000."""
    monkeypatch.setattr("aiortc.clock.current_ntp_time", lambda: int((5000 + NTP_UNIX_S) * (1 << 32)))
    monkeypatch.setattr("random.random", lambda: -0.49)  # reports every 10 ms
    transport: Any = FakeDtls()
    track = ScriptedTrack(pts)
    sender = RTCRtpSender(track, transport)
    if fixed:
        report_media_clock(sender, 48000, lambda media_s: 1000 + media_s)
    await sender.send(RTCRtpSendParameters(codecs=[OPUS], rtcp=RTCRtcpParameters(cname="x"), muxId="0"))
    await track.sent.wait()
    report = await transport.reports.get()
    await sender.stop()
    return report, sender


def wall(report: RtcpSrPacket) -> float:
    return report.sender_info.ntp_timestamp / (1 << 32) - NTP_UNIX_S


async def test_reports_follow_the_media_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    report, sender = await sender_report(monkeypatch, 48000 * 7 - 312, fixed=True)
    assert wall(report) == pytest.approx(1007 - 0.0065, abs=1e-6)


async def test_round_trip_time_survives_the_report_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    report, sender = await sender_report(monkeypatch, 48000, fixed=True)
    echoed = (report.sender_info.ntp_timestamp >> 16) & 0xFFFFFFFF
    info = RtcpReceiverInfo(
        ssrc=sender._ssrc, fraction_lost=0, packets_lost=0, highest_sequence=0, jitter=0, lsr=echoed, dlsr=1
    )
    hooked: Any = sender
    await hooked._handle_rtcp_packet(RtcpRrPacket(ssrc=1, reports=[info]))
    assert hooked._RTCRtpSender__rtt is not None


async def test_aiortc_still_reports_the_time_of_sending(monkeypatch: pytest.MonkeyPatch) -> None:
    early, _ = await sender_report(monkeypatch, 0, fixed=False)
    later, _ = await sender_report(monkeypatch, 48000 * 7, fixed=False)
    assert wall(early) == wall(later) == pytest.approx(5000)


def plain_sender() -> RTCRtpSender:
    transport: Any = FakeDtls()
    return RTCRtpSender("video", transport)


async def test_picture_loss_reaches_the_callback() -> None:
    sender, asked = plain_sender(), []
    forward_keyframe_requests(sender, lambda: asked.append(True))
    await sender._handle_rtcp_packet(RtcpPsfbPacket(fmt=RTCP_PSFB_PLI, ssrc=1, media_ssrc=sender._ssrc))
    assert asked == [True]


async def test_aiortc_still_keeps_picture_loss_to_itself() -> None:
    sender = plain_sender()
    await sender._handle_rtcp_packet(RtcpPsfbPacket(fmt=RTCP_PSFB_PLI, ssrc=1, media_ssrc=sender._ssrc))
    hooked: Any = sender
    assert hooked._RTCRtpSender__force_keyframe is True, "only a private flag knows"
    assert not hasattr(sender, "on"), "a sender that emits events could be listened to"


def remb(sender: RTCRtpSender, bps: int) -> RtcpPsfbPacket:
    return RtcpPsfbPacket(fmt=RTCP_PSFB_APP, ssrc=1, media_ssrc=0, fci=pack_remb_fci(bps, [sender._ssrc]))


async def test_estimates_and_losses_reach_the_callback() -> None:
    sender = plain_sender()
    seen: list[tuple[int | None, float]] = []
    record = forward_feedback(sender, lambda f: seen.append((f.bitrate_bps, f.loss)))
    await sender._handle_rtcp_packet(remb(sender, 640_000))
    lost = RtcpReceiverInfo(
        ssrc=sender._ssrc, fraction_lost=64, packets_lost=1, highest_sequence=0, jitter=0, lsr=0, dlsr=0
    )
    await sender._handle_rtcp_packet(RtcpRrPacket(ssrc=1, reports=[lost]))
    await sender._handle_rtcp_packet(RtcpPsfbPacket(fmt=RTCP_PSFB_APP, ssrc=1, media_ssrc=0, fci=b"JUNK"))
    assert seen == [(640_000, 0.0), (640_000, 0.25)]
    assert record == Feedback(640_000, 0.25, None, 1)


def test_aiortc_still_makes_a_new_encoder_and_key_frame_for_a_new_rate() -> None:
    encoder, contexts = H264Encoder(), []
    for index in range(4):
        frame = av.VideoFrame(64, 48, "yuv420p")
        frame.pts, frame.time_base = index * 3600, fractions.Fraction(1, 90000)
        if index == 2:
            encoder.target_bitrate = 600_000
        encoder.encode(frame)
        contexts.append(encoder.codec)
    assert contexts[0] is contexts[1]
    assert contexts[2] is not contexts[1]


async def gathered(options: HostOptions | None) -> list[Candidate]:
    connection = Connection(ice_controlling=False)
    if options is not None:
        gather_hosts(connection, options)
    await connection.gather_candidates()
    candidates = connection.local_candidates
    await connection.close()
    return candidates


async def test_loopback_is_offered() -> None:
    assert "127.0.0.1" in [c.host for c in await gathered(HostOptions())]
    assert "127.0.0.1" not in [c.host for c in await gathered(HostOptions(loopback=False))]


async def test_loopback_is_offered_without_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aioice.ice, "get_host_addresses", lambda use_ipv4, use_ipv6: [])
    assert [c.host for c in await gathered(HostOptions())] == ["127.0.0.1"]


async def test_aioice_still_leaves_loopback_out() -> None:
    assert "127.0.0.1" not in [c.host for c in await gathered(None)]


async def test_ports_come_from_the_range_and_a_taken_one_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aioice.ice, "get_host_addresses", lambda use_ipv4, use_ipv6: [])
    taken = (await gathered(HostOptions()))[0].port
    first = min(taken, 65_000)
    options = HostOptions(udp_port_range=(first, first + 20))
    one, two = Connection(ice_controlling=False), Connection(ice_controlling=False)
    for connection in (one, two):
        gather_hosts(connection, options)
        await connection.gather_candidates()
    ports = [c.port for connection in (one, two) for c in connection.local_candidates]
    await one.close()
    await two.close()
    assert len(set(ports)) == 2
    assert all(first <= port <= first + 20 for port in ports)


def test_aioice_still_cannot_be_told_ports_or_addresses() -> None:
    names = inspect.signature(Connection.__init__).parameters
    assert not {n for n in names if "port" in n or "address" in n} - {"turn_transport", "transport_policy"}


async def test_public_address_is_offered_first(monkeypatch: pytest.MonkeyPatch) -> None:
    candidates = await gathered(HostOptions(public_address="203.0.113.7"))
    own = [c for c in candidates if c.host not in ("127.0.0.1", "203.0.113.7") and ":" not in c.host]
    public = [c for c in candidates if c.host == "203.0.113.7"]
    assert [c.port for c in public] == [c.port for c in own]
    assert not own or candidates[0].host == "203.0.113.7"


OFFER = "\r\n".join([
    "v=0",
    "a=candidate:1 1 udp 2122260223 1f0c3a7e-9a5e-4a51-9c1e-0d3f5a6b7c8d.local 50000 typ host",
    "a=candidate:2 1 udp 2122260222 192.0.2.4 50001 typ host",
    "a=fingerprint:sha-256 .local",
    "a=end-of-candidates",
    "",
])  # fmt: skip


def test_an_offer_without_mdns_candidates_stays_as_it_is() -> None:
    plain = without_mdns(OFFER) + "a=end-of-candidates\r\n"
    assert without_mdns(plain) == plain


async def test_aioice_still_gives_up_on_an_empty_complete_list() -> None:
    connection = Connection(ice_controlling=False)
    connection.remote_username, connection.remote_password = "abcd", "x" * 22
    await connection.gather_candidates()
    await connection.add_remote_candidate(None)
    with pytest.raises(ConnectionError):
        await asyncio.wait_for(connection.connect(), 2)
    await connection.close()


def test_only_mdns_candidates_are_dropped() -> None:
    kept = without_mdns(OFFER)
    assert kept.splitlines() == [OFFER.splitlines()[k] for k in (0, 2, 3)]
    assert kept.endswith("\r\n")


async def test_aioice_still_resolves_mdns_names_before_it_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    async def protocol(subscriber: object) -> Any:
        asked.append(subscriber)
        raise ConnectionError("scripted: no multicast here")

    monkeypatch.setattr(aioice.ice, "get_or_create_mdns_protocol", protocol)
    connection = Connection(ice_controlling=False)
    name = "1f0c3a7e-9a5e-4a51-9c1e-0d3f5a6b7c8d.local"
    candidate = Candidate.from_sdp(f"1 1 udp 2122260223 {name} 50000 typ host")
    with pytest.raises(ConnectionError):
        await connection.add_remote_candidate(candidate)
    assert asked == [connection]


async def test_default_still_asks_a_public_stun_server() -> None:
    pc, own = RTCPeerConnection(), RTCPeerConnection(RTCConfiguration(iceServers=[]))
    for each in (pc, own):
        each.addTransceiver("audio")
    assert ice_connections(pc)[0].stun_server is not None
    assert ice_connections(own)[0].stun_server is None
    await pc.close()
    await own.close()


async def test_liveness_hears_data_and_checks() -> None:
    now = [100.0]
    connection: Any = Connection(ice_controlling=False)
    passed: list[tuple[Any, ...]] = []
    connection.data_received = lambda *args: passed.append(args)
    connection.request_received = lambda *args: passed.append(args)
    liveness = Liveness(connection, clock=lambda: now[0])
    now[0] = 104.0
    assert liveness.silent_s == 4.0
    connection.data_received(b"x", 1)
    assert liveness.silent_s == 0.0
    now[0] = 110.0
    connection.request_received("message", ("127.0.0.1", 1), "protocol")
    assert liveness.silent_s == 0.0
    assert passed == [(b"x", 1), ("message", ("127.0.0.1", 1), "protocol")]


def test_aioice_still_needs_longer_than_10_s_to_give_up() -> None:
    assert CONSENT_FAILURES * CONSENT_INTERVAL > 10


async def test_aiortc_still_makes_an_estimator_for_what_does_not_come_in() -> None:
    pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    receiver: Any = pc.addTransceiver("video", direction="sendonly").receiver
    buckets = receiver._RTCRtpReceiver__remote_bitrate_estimator.incoming_bitrate._buckets
    assert len(buckets) == 1000
    await pc.close()
