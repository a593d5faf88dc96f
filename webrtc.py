"""`PeerSession`: one browser watching one session over WebRTC.

The playout clock encodes in a thread of its pacer and hands finished packets over; aiortc only packetises, encrypts and
sends them. The data channel tells the client what is heard when it is heard.

The client's microphone comes on the same connection. A page offers its audio section `sendrecv`, with
`addTransceiver("audio", {direction: "sendrecv"})` and no track, and when the microphone is switched on gives the
transceiver's sender one: `sender.replaceTrack(track)`, of `getUserMedia({audio: {echoCancellation: true,
noiseSuppression: true, autoGainControl: true}})`; `replaceTrack(null)` switches it off. Nothing is negotiated again. A
page that offers `recvonly`, as LiveTalking's do, has no microphone. For its own canceller to work the page must play
her sound in an `<audio>` or `<video>` element.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Protocol

from aiortc import (
    MediaStreamTrack,
    RTCBundlePolicy,
    RTCConfiguration,
    RTCPeerConnection,
    RTCRtpSender,
    RTCSessionDescription,
)
from aiortc.mediastreams import MediaStreamError
from aiortc.sdp import SessionDescription

from errors import Conflict, Unavailable, Unprocessable
from events import EventBus
from listening.microphone import Microphone
from listening.sources import TrackReader
from media import Pcm
from transport.aiortc_fixes import (
    Feedback,
    Liveness,
    forget_sent_packets,
    forward_feedback,
    forward_keyframe_requests,
    gather_hosts,
    ice_connections,
    report_media_clock,
    without_bandwidth_estimator,
    without_mdns,
)
from transport.channel import EventChannels
from transport.clock import PlayoutClock, Source
from transport.encoder import AUDIO_CLOCK_HZ, VIDEO_CLOCK_HZ, H264Encoder, VideoEncoder, Vp8Encoder, picture_bitrate
from transport.feed import PacketFeed
from transport.inbound import DECODER_DELAY_S, deliver_at_once
from transport.offer import parse_offer
from transport.options import RtcOptions
from transport.pacer import Pacer
from transport.rate import RateControl
from transport.recorder import SUFFIXES, Recorder

__all__ = ["PeerSession", "Real", "RtcOptions"]

CONNECT_TIMEOUT_S = 15.0  # from the answer to connected media
SILENCE_TIMEOUT_S = 7.0  # browsers ask for consent every 2.5 s and report every 5 s at most
WATCH_INTERVAL_S = 0.5
CLOSE_TIMEOUT_S = 3.0

log = logging.getLogger(__name__)


class Real(Source, Protocol):
    """The session, as the transport sees it (`BaseReal`)."""

    sessionid: str
    events: EventBus


class PeerSession:
    """One peer connection and its playout clock. Construct and call on the event loop."""

    def __init__(
        self,
        real: Real,
        options: RtcOptions | None = None,
        on_closed: Callable[[PeerSession], None] | None = None,
        *,
        pacer: Pacer | None = None,
        on_microphone: Callable[[Microphone], None] | None = None,
    ) -> None:
        """Make a session that waits for an offer.

        Args:
            pacer: drives the playout clock; shared with others, or else one of the session's own.
            on_closed: called once on the event loop when the connection is over, whoever ended it.
            on_microphone: called at most once, on the event loop while an offer is answered that may send sound.
        """
        self.microphone: Microphone | None = None
        """The client's, from the answer on if the offer may send sound; silent until the client has one. It closes
        with its track."""
        self.on_microphone = on_microphone
        self.real = real
        self.options = options or RtcOptions()
        self.created_at = time.monotonic()
        self._on_closed = on_closed
        self._loop = asyncio.get_running_loop()
        self.feed = PacketFeed(self._loop)
        self.clock = PlayoutClock(
            real, self.feed, self._open_video, on_ended=self._clock_ended, name=f"playout {real.sessionid}"
        )
        self._pacer = pacer or Pacer(1)
        self._own_pacer = pacer is None
        self._clock_done = asyncio.Event()
        self._clock_started = False
        self._pc = RTCPeerConnection(
            RTCConfiguration(iceServers=list(self.options.server_ice), bundlePolicy=RTCBundlePolicy.BALANCED)
        )
        self._pc.on("connectionstatechange", self._state_changed)
        self._pc.on("track", self._incoming)
        self.channels = EventChannels(real.events, self.clock.media_time)
        self._pc.on("datachannel", self.channels.add)
        self._codec = "H264"
        self._feedback: Feedback | None = None
        self._rate = RateControl(picture_bitrate(real.width, real.height, self.options.video_bitrate_bps))
        self._liveness: list[Liveness] = []
        self._recorder: Recorder | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing: asyncio.Task[None] | None = None

    # ---- connecting

    async def answer(self, sdp: str, type_: str) -> tuple[str, str]:
        """Answer an offer; media starts by itself once connected.

        Returns:
            The answer's SDP, with every candidate, and its type, always `answer`.

        Raises:
            Unprocessable: the SDP cannot be parsed, is no offer, wants no media, or has no codec in common.
            Unavailable: every UDP port of the configured range is taken.
        """
        offer = parse_offer(sdp, type_)
        try:
            await self._negotiate(offer, without_mdns(sdp))
        except Exception as exc:  # aiortc checks little and fails on an odd offer with whatever it stumbles over
            log.info("session %s: offer refused", self.real.sessionid, exc_info=True)
            raise Unprocessable(f"sdp: the offer cannot be answered: {type(exc).__name__}: {str(exc)[:200]}") from exc
        if not any(connection.local_candidates for connection in ice_connections(self._pc)):
            raise Unavailable(
                f"no UDP port is free for media (configured range: {self.options.udp_port_range or 'any'})"
            )
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
                without_bandwidth_estimator(transceiver.receiver)
                transceiver.setCodecPreferences(self._preferences())
        await pc.setRemoteDescription(RTCSessionDescription(sdp, "offer"))
        self._hook_senders()
        for connection in ice_connections(pc):
            gather_hosts(connection, self.options.host)
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
        return encoder(width, height, picture_bitrate(width, height, self.options.video_bitrate_bps))

    def _feedback_changed(self, feedback: Feedback) -> None:
        before = self._rate.target_bps
        if self._rate.update(feedback) != before:
            self.clock.set_bitrate(self._rate.target_bps)

    def on_sound(self, listener: Callable[[Pcm, float], None]) -> None:
        """Tell `listener`, in place of the one before, of all that she says: see `PlayoutClock.on_sound`."""
        self.clock.on_sound = listener

    # ---- connected

    def _state_changed(self) -> None:
        state = self._pc.connectionState
        if state == "connected" and not self._clock_started:
            try:
                self._pacer.add(self.clock)
            except RuntimeError as exc:  # the process may have no more threads
                return self._close_soon(str(exc))
            self._clock_started = True
        elif state in ("failed", "closed"):
            self._close_soon(state)

    def _incoming(self, track: MediaStreamTrack) -> None:
        """The first audio track is the microphone; nobody sees or hears others."""
        if track.kind != "audio" or self.microphone is not None:
            return self._spawn(_consume(track), "inbound")
        receiver = next(t.receiver for t in self._pc.getTransceivers() if t.receiver.track is track)
        deliver_at_once(receiver)
        self.microphone = microphone = Microphone()
        self._spawn(TrackReader(track, microphone, held_s=DECODER_DELAY_S).run(), "microphone")
        if self.on_microphone is not None:
            self.on_microphone(microphone)

    async def _watch(self) -> None:
        """End the session of a client that never connects or vanishes."""
        while True:
            await asyncio.sleep(WATCH_INTERVAL_S)
            if self._clock_started:
                if min((x.silent_s for x in self._liveness), default=0.0) > SILENCE_TIMEOUT_S:
                    return self._close_soon(f"nothing heard of the client for {SILENCE_TIMEOUT_S:.0f} s")
            elif time.monotonic() - self.created_at > CONNECT_TIMEOUT_S:
                return self._close_soon(f"not connected within {CONNECT_TIMEOUT_S:.0f} s")

    # ---- the end

    def _clock_ended(self, error: BaseException | None) -> None:
        """In the clock's last step, in a pacer's thread."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._after_clock, error)

    def _after_clock(self, error: BaseException | None) -> None:
        self._clock_done.set()
        if error is not None:
            self._close_soon(f"playout failed: {error}")

    def _spawn(self, coroutine: Coroutine[Any, Any, None], name: str) -> None:
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
        self.channels.close()
        self.clock.stop()
        if self._clock_started:
            await self._within(self._clock_done.wait(), "the playout clock")
        if self._own_pacer:
            await self._within(asyncio.to_thread(self._pacer.close), "the pacer")
        self.feed.close()
        await self._finish_recording()
        if self.microphone is not None:
            self.microphone.close()
        for task in list(self._tasks):
            task.cancel()
        await self._within(self._pc.close(), "the peer connection")
        for sender in self._pc.getSenders():
            forget_sent_packets(sender)
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._on_closed is not None:
            self._on_closed(self)

    async def _within(self, end: Coroutine[Any, Any, Any], what: str) -> None:
        """Await the end of a part, but let none of them keep a session from ending."""
        _, pending = await asyncio.wait({asyncio.ensure_future(end)}, timeout=CLOSE_TIMEOUT_S)
        if pending:
            log.error("session %s: %s has not ended within %.0f s", self.real.sessionid, what, CLOSE_TIMEOUT_S)

    # ---- recording

    @property
    def codec_name(self) -> str:
        """`h264` or `vp8`, once answered."""
        return "h264" if self._codec == "H264" else "vp8"

    def record(self, path: Path) -> Recorder:
        """Write what is sent from now on to `path`, whose suffix becomes that of the codec's container.

        The file appears when the recording is complete, and takes the place of an older one of that name.

        Raises:
            Conflict: a recording is running.
        """
        if self._recorder is not None and not self._recorder.done.done():
            raise Conflict(f"session {self.real.sessionid} is being recorded already; end that recording first")
        self._recorder = Recorder(
            path.with_suffix(SUFFIXES[self.codec_name]),
            self.codec_name,
            self.real.width,
            self.real.height,
            self.clock.request_keyframe,
        )
        self.feed.tap = self._recorder.put
        return self._recorder

    async def _finish_recording(self) -> None:
        self.feed.tap = None
        if self._recorder is not None:
            recorder, self._recorder = self._recorder, None
            with contextlib.suppress(Exception):  # it has logged what went wrong; the session ends all the same
                await asyncio.wait_for(recorder.stop(), CLOSE_TIMEOUT_S)

    # ---- figures

    @property
    def state(self) -> str:
        """`new`, `connecting`, `connected`, `failed` or `closed`."""
        return self._pc.connectionState

    def stats(self) -> dict[str, Any]:
        """JSON-ready figures of this connection."""
        clock, feedback = self.clock.stats, self._feedback or Feedback()
        return {
            "codec": self.codec_name,
            "fps": round(self.clock.fps(), 1),
            "video_kbps": round(self.clock.video_bps() / 1000),
            "target_kbps": self._rate.target_bps // 1000,
            "allowed_kbps": feedback.bitrate_bps and feedback.bitrate_bps // 1000,
            "pictures": clock.pictures,
            "dropped_pictures": clock.dropped_pictures,
            "held_pictures": clock.held_pictures,
            "skipped_ticks": clock.skipped_ticks,
            "late_max_ms": round(1000 * clock.late_max_s, 1),
            "keyframes": clock.keyframes,
            "encode_ms": round(1000 * clock.encode_s / max(1, clock.pictures), 2),
            "dropped_sound": self.feed.audio.dropped,
            "dropped_events": self.channels.dropped,
            "rtt_ms": feedback.rtt_s and round(1000 * feedback.rtt_s, 1),
            "loss": round(feedback.loss, 3),
            "microphone": self.microphone and self.microphone.describe(),
        }


async def _consume(track: MediaStreamTrack) -> None:
    """Take and drop what the client sends, so that nothing piles up."""
    with contextlib.suppress(MediaStreamError):
        while True:
            await track.recv()
