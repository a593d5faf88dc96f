"""`PeerSession`: one browser watching one session over WebRTC.

The playout clock encodes in its own thread and hands finished packets over; aiortc only packetises, encrypts and sends
them. The data channel tells the client what is heard when it is heard.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import logging
import time
from collections.abc import Callable
from typing import Any, Protocol

from aiortc import (
    MediaStreamTrack,
    RTCBundlePolicy,
    RTCConfiguration,
    RTCDataChannel,
    RTCIceServer,
    RTCPeerConnection,
    RTCRtpSender,
    RTCSessionDescription,
)
from aiortc.exceptions import InvalidStateError, OperationError
from aiortc.mediastreams import MediaStreamError
from aiortc.sdp import SessionDescription

from errors import Unprocessable
from events import EventBus
from media import Event
from transport.aiortc_fixes import (
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
from transport.clock import PlayoutClock, Source
from transport.encoder import AUDIO_CLOCK_HZ, VIDEO_CLOCK_HZ, H264Encoder, VideoEncoder, Vp8Encoder
from transport.feed import PacketFeed

CONNECT_TIMEOUT_S = 15.0  # from the answer to connected media
SILENCE_TIMEOUT_S = 7.0  # browsers ask for consent every 2.5 s and report every 5 s at most
WATCH_INTERVAL_S = 0.5
EVENTS_BUFFER_BYTES = 64 * 1024  # unsent event text a client may have waiting; beyond it events are dropped
CLOSE_TIMEOUT_S = 3.0
VIDEO_CEILING_BPS = 2_000_000
CODECS = ("H264", "VP8")

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True)
class RtcOptions:
    """How this server meets its clients."""

    public_address: str | None = None
    """Address under which clients reach this machine when it is not one of its own."""
    udp_port_range: tuple[int, int] | None = None
    """First and last UDP port of media; None lets the system choose."""
    server_ice: tuple[RTCIceServer, ...] = ()
    """STUN and TURN servers this server itself asks; a STUN server that does not answer costs each connection 5 s."""
    client_ice: tuple[RTCIceServer, ...] = ()
    """STUN and TURN servers that clients are told of."""
    video_bitrate_bps: int = VIDEO_CEILING_BPS
    """Most that a picture stream may take."""
    codecs: tuple[str, ...] = CODECS
    """Video codecs, the best first: `H264`, `VP8`."""

    def __post_init__(self) -> None:
        unknown = [c for c in self.codecs if c not in CODECS]
        if unknown or not self.codecs:
            raise ValueError(f"video codecs {list(self.codecs)}: allowed are {list(CODECS)}")
        if self.udp_port_range is not None and not 0 < self.udp_port_range[0] <= self.udp_port_range[1] < 65536:
            raise ValueError(f"UDP port range {self.udp_port_range}: first and last port, 1 to 65535, in order")


class Real(Source, Protocol):
    """The session, as the transport sees it (`BaseReal`)."""

    sessionid: str
    events: EventBus


class PeerSession:
    """One peer connection and its playout clock. Construct and call on the event loop."""

    def __init__(
        self, real: Real, options: RtcOptions | None = None, on_closed: Callable[[PeerSession], None] | None = None
    ) -> None:
        """Make a session that waits for an offer.

        Args:
            on_closed: called once on the event loop when the connection is over, whoever ended it.
        """
        self.real = real
        self.options = options or RtcOptions()
        self.created_at = time.monotonic()
        self._on_closed = on_closed
        self._loop = asyncio.get_running_loop()
        self.feed = PacketFeed(self._loop)
        self.clock = PlayoutClock(
            real, self.feed, self._open_video, on_ended=self._clock_ended, name=f"playout {real.sessionid}"
        )
        self._clock_done = asyncio.Event()
        self._clock_started = False
        self._pc = RTCPeerConnection(
            RTCConfiguration(iceServers=list(self.options.server_ice), bundlePolicy=RTCBundlePolicy.BALANCED)
        )
        self._pc.on("connectionstatechange", self._state_changed)
        self._pc.on("track", self._discard)
        self._pc.on("datachannel", self._channel_opened)
        self._codec = "H264"
        self._feedback: Feedback | None = None
        self._liveness: list[Liveness] = []
        self._channels: list[RTCDataChannel] = []
        self._dropped_events = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing: asyncio.Task[None] | None = None
        self._unsubscribe = real.events.subscribe(self._event_played)

    # ---- connecting

    async def answer(self, sdp: str, type_: str) -> tuple[str, str]:
        """Answer an offer; media starts by itself once connected.

        Returns:
            The answer's SDP, with every candidate, and its type, always `answer`.

        Raises:
            Unprocessable: the SDP cannot be parsed, is no offer, has no media that this server sends, or no codec in
            common.
        """
        offer = parse_offer(sdp, type_)
        try:
            await self._negotiate(offer, without_mdns(sdp))
        except (ValueError, OperationError, InvalidStateError, KeyError, IndexError, AttributeError) as exc:
            raise Unprocessable(f"sdp: the offer cannot be answered: {exc or type(exc).__name__}") from exc
        self._spawn(self._watch(), "watch")
        return self._pc.localDescription.sdp, "answer"

    async def _negotiate(self, offer: SessionDescription, sdp: str) -> None:
        pc = self._pc
        for media in offer.media:  # in the offer's order: aiortc connects with the first one's ICE parameters
            if media.kind in ("audio", "video") and not any(s.kind == media.kind for s in pc.getSenders()):
                pc.addTrack(self.feed.video if media.kind == "video" else self.feed.audio)
        for transceiver in pc.getTransceivers():
            if transceiver.kind == "video":
                transceiver.direction = "sendonly"
                transceiver.setCodecPreferences(self._preferences())
        await pc.setRemoteDescription(RTCSessionDescription(sdp, "offer"))
        self._hook_senders()
        host = HostOptions(self.options.public_address, self.options.udp_port_range)
        for connection in ice_connections(pc):
            gather_hosts(connection, host)
            self._liveness.append(Liveness(connection))
        await pc.setLocalDescription(await pc.createAnswer())

    def _preferences(self) -> list[Any]:
        """Video codecs as the options order them, with retransmission. Counts only before the remote description."""
        capabilities = RTCRtpSender.getCapabilities("video").codecs
        chosen = [c for name in self.options.codecs for c in capabilities if c.mimeType.upper() == f"VIDEO/{name}"]
        return chosen + [c for c in capabilities if c.mimeType.lower() == "video/rtx"]

    def _hook_senders(self) -> None:
        for transceiver in self._pc.getTransceivers():
            sender = transceiver.sender
            if sender.track is self.feed.video:
                self._codec = transceiver._codecs[0].name.upper()
                forward_keyframe_requests(sender, self.clock.request_keyframe)
                self._feedback = forward_feedback(sender, self._feedback_changed)
                report_media_clock(sender, VIDEO_CLOCK_HZ, self.clock.wall_time)
            elif sender.track is self.feed.audio:
                report_media_clock(sender, AUDIO_CLOCK_HZ, self.clock.wall_time)

    def _open_video(self, width: int, height: int) -> VideoEncoder:
        encoder = H264Encoder if self._codec == "H264" else Vp8Encoder
        return encoder(width, height, self.options.video_bitrate_bps)

    def _feedback_changed(self, feedback: Feedback) -> None:
        if feedback.bitrate_bps is not None:
            self.clock.set_bitrate(feedback.bitrate_bps)

    # ---- connected

    def _state_changed(self) -> None:
        state = self._pc.connectionState
        if state == "connected" and not self._clock_started:
            self._clock_started = True
            self.clock.start()
        elif state in ("failed", "closed"):
            self._close_soon(state)

    def _discard(self, track: MediaStreamTrack) -> None:
        self._spawn(_consume(track), "inbound")

    async def _watch(self) -> None:
        """End the session of a client that never connects or vanishes."""
        while True:
            await asyncio.sleep(WATCH_INTERVAL_S)
            if self._clock_started:
                if min((x.silent_s for x in self._liveness), default=0.0) > SILENCE_TIMEOUT_S:
                    return self._close_soon(f"nothing heard of the client for {SILENCE_TIMEOUT_S:.0f} s")
            elif time.monotonic() - self.created_at > CONNECT_TIMEOUT_S:
                return self._close_soon(f"not connected within {CONNECT_TIMEOUT_S:.0f} s")

    # ---- events

    def _channel_opened(self, channel: RTCDataChannel) -> None:
        self._channels.append(channel)
        channel.on("close", lambda: self._channels.remove(channel) if channel in self._channels else None)

    def _event_played(self, event: Event, at: float) -> None:
        """Runs in whichever thread publishes."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left to tell
            self._loop.call_soon_threadsafe(self._send_event, event, self.clock.media_time(at))

    def _send_event(self, event: Event, at: float) -> None:
        text = json.dumps(
            {**event.data, "event": event.name, "turn": event.turn, "at": round(at, 3)}, ensure_ascii=False
        )
        for channel in self._channels:
            if channel.readyState != "open":
                continue
            if channel.bufferedAmount > EVENTS_BUFFER_BYTES:
                self._dropped_events += 1
                continue
            channel.send(text)

    # ---- the end

    def _clock_ended(self, error: BaseException | None) -> None:
        """Last act of the clock's thread."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._after_clock, error)

    def _after_clock(self, error: BaseException | None) -> None:
        self._clock_done.set()
        if error is not None:
            self._close_soon(f"playout failed: {error}")

    def _spawn(self, coroutine: Any, name: str) -> None:
        task = self._loop.create_task(coroutine, name=f"{name} {self.real.sessionid}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _close_soon(self, reason: str) -> None:
        if self._closing is None:
            log.info("session %s: connection ends: %s", self.real.sessionid, reason)
            self._closing = self._loop.create_task(self._close(), name=f"close {self.real.sessionid}")

    async def aclose(self) -> None:
        """End the connection, its clock and its tasks; may be called more than once."""
        self._close_soon("closed by the server")
        assert self._closing is not None
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        self._unsubscribe()
        self.clock.stop()
        if self._clock_started:
            await self._clock_done.wait()
        self.feed.close()
        for task in list(self._tasks):
            task.cancel()
        try:
            await asyncio.wait_for(self._pc.close(), CLOSE_TIMEOUT_S)
        except TimeoutError:
            log.warning(
                "session %s: the peer connection did not close within %.0f s", self.real.sessionid, CLOSE_TIMEOUT_S
            )
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._on_closed is not None:
            self._on_closed(self)

    # ---- figures

    @property
    def state(self) -> str:
        """`new`, `connecting`, `connected`, `failed` or `closed`."""
        return self._pc.connectionState


async def _consume(track: MediaStreamTrack) -> None:
    """Take and drop what the client sends, so that nothing piles up."""
    with contextlib.suppress(MediaStreamError):
        while True:
            await track.recv()


def parse_offer(sdp: str, type_: str) -> SessionDescription:
    """The parsed offer.

    Raises:
        Unprocessable: it is no offer, no SDP, or has neither audio nor video.
    """
    if type_ != "offer":
        raise Unprocessable(f"type: {type_!r} given, only 'offer' is answered")
    if not sdp.startswith("v=0"):
        raise Unprocessable("sdp: not a session description: it must begin with 'v=0'")
    try:
        offer = SessionDescription.parse(sdp)
    except (ValueError, IndexError, KeyError, AssertionError, AttributeError) as exc:
        raise Unprocessable(f"sdp: cannot be parsed: {exc or type(exc).__name__}") from exc
    if not any(m.kind in ("audio", "video") for m in offer.media):
        raise Unprocessable("sdp: no audio or video section: add recvonly transceivers before createOffer")
    return offer
