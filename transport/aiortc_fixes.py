"""Where aiortc 1.16.0 and aioice 0.13.0 do not suit a live avatar: one function per matter, each on one object.

Nothing here changes a class or a module: a hook is set on the sender or the ICE connection of one session. Every
function says why it is needed; `tests/test_aiortc_fixes.py` holds for each a test on the unpatched library that fails
when it is no longer needed.
"""

from __future__ import annotations

import asyncio
import dataclasses
import ipaddress
import random
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from aioice.candidate import Candidate, candidate_foundation, candidate_priority
from aioice.ice import Connection, StunProtocol, server_reflexive_candidate
from aiortc import RTCPeerConnection, RTCRtpReceiver, RTCRtpSender
from aiortc.rtp import (
    RTCP_PSFB_APP,
    AnyRtcpPacket,
    RtcpPsfbPacket,
    RtcpRrPacket,
    RtcpSrPacket,
    unpack_remb_fci,
)

NTP_UNIX_S = 2_208_988_800  # seconds from 1900 to 1970 (RFC 5905 figure 4)
LOOPBACK = "127.0.0.1"
PORT_TRIES = 50


def report_media_clock(sender: RTCRtpSender, clock_rate_hz: int, wall_time: Callable[[float], float | None]) -> None:
    """Write sender reports from the media clock.

    aiortc 1.16.0 pairs the RTP time stamp of the last packet with the moment it was *sent* (`RTCRtpSender._run_rtp`),
    so a browser that aligns tracks by sender reports turns scheduling jitter into lip-sync error, and a deliberate
    offset between time stamps has no effect. Through this hook the offset read from reports is constant within 0.1 ms
    (aiortc's own: +-3 ms on a quiet machine).

    Args:
        wall_time: media seconds (PTS) to seconds since 1970; None while unknown.
    """
    hooked: Any = sender
    next_frame, send_rtcp = hooked._next_encoded_frame, hooked._send_rtcp
    last_pts: int | None = None

    async def next_encoded_frame(codec: Any) -> Any:
        nonlocal last_pts
        encoded = await next_frame(codec)
        if encoded is not None:
            last_pts = encoded.timestamp
        return encoded

    async def send_reports(packets: list[AnyRtcpPacket]) -> None:
        for packet in packets:
            if isinstance(packet, RtcpSrPacket) and last_pts is not None:
                wall = wall_time(last_pts / clock_rate_hz)
                if wall is not None:
                    ntp = int((wall + NTP_UNIX_S) * (1 << 32))
                    packet.sender_info.ntp_timestamp = ntp
                    # Receivers echo these bits; aiortc measures the round-trip time by them.
                    hooked._RTCRtpSender__lsr = (ntp >> 16) & 0xFFFFFFFF
        await send_rtcp(packets)

    hooked._next_encoded_frame, hooked._send_rtcp = next_encoded_frame, send_reports


def forward_keyframe_requests(sender: RTCRtpSender, request: Callable[[], None]) -> None:
    """Call `request` for every PLI and FIR.

    aiortc 1.16.0 notes them in a private flag for its own encoder; a track that hands over packets never learns of
    them.
    """
    hooked: Any = sender
    hooked._send_keyframe = request


@dataclasses.dataclass(slots=True)
class Feedback:
    """What a receiver says of the stream it gets."""

    bitrate_bps: int | None = None
    """Its last estimate of what it can take (REMB)."""
    loss: float = 0.0
    """Share of packets lost in its last report, 0..1."""
    rtt_s: float | None = None
    """Round-trip time, smoothed."""
    reports: int = 0
    """Loss reports so far."""


def forward_feedback(sender: RTCRtpSender, changed: Callable[[Feedback], None]) -> Feedback:
    """Call `changed` for every bandwidth estimate (REMB) and loss report; returns the record it updates.

    aiortc 1.16.0 gives estimates to its own encoder only, which closes and opens anew at every 10 % of change, with a
    key frame each time: 11 to 17 of them in the first 45 s.
    """
    hooked: Any = sender
    handle = hooked._handle_rtcp_packet
    feedback = Feedback()

    async def handle_rtcp_packet(packet: AnyRtcpPacket) -> None:
        await handle(packet)
        if isinstance(packet, RtcpPsfbPacket) and packet.fmt == RTCP_PSFB_APP:
            try:
                bitrate_bps, ssrcs = unpack_remb_fci(packet.fci)
            except ValueError:
                return
            if sender._ssrc in ssrcs:
                feedback.bitrate_bps = bitrate_bps
                changed(feedback)
        elif isinstance(packet, RtcpRrPacket | RtcpSrPacket):
            for report in packet.reports:
                if report.ssrc == sender._ssrc:
                    feedback.loss = report.fraction_lost / 256
                    feedback.reports += 1
                    feedback.rtt_s = hooked._RTCRtpSender__rtt
                    changed(feedback)

    hooked._handle_rtcp_packet = handle_rtcp_packet
    return feedback


def without_bandwidth_estimator(receiver: RTCRtpReceiver) -> None:
    """Drop what a receiver of video would estimate its bandwidth with, where no video comes in.

    aiortc 1.16.0 makes one for every transceiver of video: 1001 objects, half of all that a session has, which every
    full collection of garbage walks and frees while all threads wait.
    """
    hooked: Any = receiver
    hooked._RTCRtpReceiver__remote_bitrate_estimator = None


def forget_sent_packets(sender: RTCRtpSender) -> None:
    """Free the packets that a sender keeps for retransmission, once it has ended.

    aiortc 1.16.0 leaves them to the collector, with the cycles of the connection: some 500 objects a sender.
    """
    hooked: Any = sender
    hooked._RTCRtpSender__rtp_history.clear()


def ice_connections(pc: RTCPeerConnection) -> list[Connection]:
    """The ICE connections of a peer connection, one when all is bundled. aiortc 1.16.0 has no public way to them."""
    transports = [t.receiver.transport for t in pc.getTransceivers()]
    if pc.sctp is not None:
        transports.append(pc.sctp.transport)
    return list({id(t): t.transport._connection for t in transports}.values())


@dataclasses.dataclass(frozen=True, slots=True)
class HostOptions:
    """Which addresses and ports host candidates have."""

    public_address: str | None = None
    """Address that clients reach this machine at, when it is not one of its own (NAT 1:1, containers)."""
    udp_port_range: tuple[int, int] | None = None
    """First and last UDP port to use; None lets the system choose."""
    loopback: bool = True


def gather_hosts(connection: Connection, options: HostOptions) -> None:
    """Make `connection` gather host candidates as `options` say.

    aioice 0.13.0 never offers 127.0.0.1 (`get_host_addresses`), binds port 0 only, and cannot be told a public address.
    """
    hooked: Any = connection
    gather_others = hooked.get_component_candidates

    async def get_component_candidates(component: int, addresses: list[str], timeout: int = 5) -> list[Candidate]:
        if not addresses and hooked._transport_policy.name == "RELAY":
            return list(await gather_others(component=component, addresses=[], timeout=timeout))
        hosts = [*addresses, LOOPBACK] if options.loopback and LOOPBACK not in addresses else addresses
        protocols = [p for host in hosts if (p := await _bind(connection, component, host, options.udp_port_range))]
        hooked._protocols += protocols
        candidates = [p.local_candidate for p in protocols]
        public = _public_candidates(candidates, options.public_address)
        reflexive = await _reflexive_candidates(connection, protocols, timeout)
        others = await _others_without_stun(connection, gather_others, component, timeout)
        return public + candidates + reflexive + others

    hooked.get_component_candidates = get_component_candidates


async def _bind(
    connection: Connection, component: int, host: str, ports: tuple[int, int] | None
) -> StunProtocol | None:
    """A UDP socket on `host`, None when the address or every port tried is not to be had."""
    loop = asyncio.get_running_loop()
    choices: Iterable[int] = [0]
    if ports is not None:
        span = range(ports[0], ports[1] + 1)
        choices = random.sample(span, min(PORT_TRIES, len(span)))
    for port in choices:
        try:
            _, protocol = await loop.create_datagram_endpoint(lambda: StunProtocol(connection), local_addr=(host, port))
        except OSError:
            continue
        name = protocol.transport.get_extra_info("sockname")
        protocol.local_candidate = _host_candidate(component, name[0], name[1])
        return protocol
    return None


def _host_candidate(component: int, host: str, port: int) -> Candidate:
    return Candidate(
        foundation=candidate_foundation("host", "udp", host),
        component=component,
        transport="udp",
        priority=candidate_priority(component, "host"),
        host=host,
        port=port,
        type="host",
    )


def _public_candidates(candidates: Sequence[Candidate], public_address: str | None) -> list[Candidate]:
    """The same ports at the public address, only advertised: packets still leave through the machine's own sockets."""
    if public_address is None:
        return []
    version = ipaddress.ip_address(public_address).version
    own = [c for c in candidates if not ipaddress.ip_address(c.host).is_loopback]
    return [
        _host_candidate(c.component, public_address, c.port)
        for c in own
        if ipaddress.ip_address(c.host).version == version
    ]


async def _reflexive_candidates(
    connection: Connection, protocols: Sequence[StunProtocol], timeout: int
) -> list[Candidate]:
    if connection.stun_server is None:
        return []
    ipv4 = [p for p in protocols if ipaddress.ip_address(p.local_candidate.host).version == 4]
    asked = [
        asyncio.create_task(server_reflexive_candidate(p, connection.stun_server)) for p in ipv4 if not _is_loopback(p)
    ]
    if not asked:
        return []
    done, pending = await asyncio.wait(asked, timeout=timeout)
    for task in pending:
        task.cancel()
    return [task.result()[0] for task in done if task.exception() is None]


def _is_loopback(protocol: StunProtocol) -> bool:
    return ipaddress.ip_address(protocol.local_candidate.host).is_loopback


async def _others_without_stun(
    connection: Connection, gather: Callable[..., Any], component: int, timeout: int
) -> list[Candidate]:
    """Relayed candidates, by aioice's own code."""
    if connection.turn_server is None:
        return []
    stun_server, connection.stun_server = connection.stun_server, None
    try:
        return list(await gather(component=component, addresses=[], timeout=timeout))
    finally:
        connection.stun_server = stun_server


def without_mdns(sdp: str) -> str:
    """`sdp` without `.local` candidates.

    aioice 0.13.0 resolves such names by multicast before `setRemoteDescription` returns: 1.0 s where nobody answers, as
    in most networks a server stands in. The browser's own checks reveal its address anyway (peer-reflexive candidates).
    For these to be waited for, the list must not be called complete: aioice gives up at once on an empty list that is.
    """
    lines = sdp.splitlines(keepends=True)
    kept = [line for line in lines if not _is_mdns_candidate(line)]
    if len(kept) < len(lines):
        kept = [line for line in kept if line.strip() != "a=end-of-candidates"]
    return "".join(kept)


def _is_mdns_candidate(line: str) -> bool:
    parts = line.split()
    return line.startswith("a=candidate:") and len(parts) > 4 and parts[4].endswith(".local")


class Liveness:
    """When the peer was last heard of.

    aioice 0.13.0 gives up on a peer that vanished after six consent checks, 30 s, and tells nobody how many failed so
    far.
    """

    def __init__(self, connection: Connection, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.heard_at = clock()
        hooked: Any = connection
        received, requested = hooked.data_received, hooked.request_received

        def data_received(data: bytes, component: int) -> None:
            self.heard_at = clock()
            received(data, component)

        def request_received(*args: Any) -> None:
            self.heard_at = clock()
            requested(*args)

        hooked.data_received, hooked.request_received = data_received, request_received

    @property
    def silent_s(self) -> float:
        """Seconds since the last datagram."""
        return self._clock() - self.heard_at
