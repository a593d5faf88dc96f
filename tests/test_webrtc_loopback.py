"""`PeerSession` against a real aiortc client over the loopback interface."""

from __future__ import annotations

import asyncio
import gc
import os
import re
import socket
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import av
import pytest
from aiortc import RTCSessionDescription
from aiortc.rtp import RTCP_PSFB_APP, RtcpPsfbPacket, pack_remb_fci
from hypothesis import given, settings
from hypothesis import strategies as st

import transport.channel
import webrtc
from errors import Conflict, Unavailable, Unprocessable
from media import SILENCE, Event, MediaUnit, SpeechFrame, silent_frame
from tests.fakes.real import FakeReal
from tests.fakes.viewer import PATIENCE_S, Viewer, lose
from transport.encoder import H264Encoder
from webrtc import PeerSession, RtcOptions

pytestmark = pytest.mark.webrtc


class Pair:
    """A session and its viewer."""

    def __init__(
        self, viewer: Viewer | None = None, options: RtcOptions | None = None, size: tuple[int, int] = (64, 48)
    ) -> None:
        self.real = FakeReal("1", *size)
        self.closed = asyncio.Event()
        self.closings = 0
        self.session = PeerSession(self.real, options, self._closed)
        self.viewer = viewer or Viewer()

    def _closed(self, session: PeerSession) -> None:
        assert session is self.session
        self.closings += 1
        self.closed.set()

    async def connect(self) -> str:
        answer = await self.viewer.watch(self.session)
        await self.viewer.picture()
        return answer

    async def is_closed(self) -> None:
        await asyncio.wait_for(self.closed.wait(), PATIENCE_S)
        assert self.session.state == "closed"
        assert not any(thread.is_alive() for thread in self.session._pacer._threads)

    async def aclose(self) -> None:
        await self.viewer.close()
        await self.session.aclose()


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    made = Pair()
    yield made
    await made.aclose()


async def test_viewer_sees_hears_and_is_told(pair: Pair) -> None:
    await pair.connect()
    picture = await pair.viewer.picture()
    assert (picture.width, picture.height) == (64, 48)
    pair.real.speak(25, text="你好")
    assert max([await pair.viewer.loudness() for _ in range(60)]) == pytest.approx(0.5, abs=0.15)
    started, ended = await pair.viewer.event(), await pair.viewer.event()
    assert (started["event"], started["turn"], started["text"]) == ("speech.started", 0, "你好")
    assert ended["event"] == "speech.ended"
    assert ended["at"] - started["at"] == pytest.approx(1.0, abs=0.2)
    stats = pair.session.stats()
    assert stats["codec"] == "h264"
    assert stats["keyframes"] == 1
    assert stats["dropped_pictures"] == 0


@pytest.mark.parametrize("kinds", [("video", "audio"), ("audio", "video")])
async def test_answer_keeps_the_order_and_one_stream(kinds: tuple[str, ...]) -> None:
    pair = Pair(Viewer(kinds))
    answer = await pair.connect()
    assert tuple(re.findall(r"^m=(\w+)", answer, re.M)) == (*kinds, "application")
    assert len(set(re.findall(r"^a=msid:(\S+)", answer, re.M))) == 1
    assert "127.0.0.1" in answer
    await pair.aclose()


@pytest.mark.parametrize(("codecs", "name"), [(("H264", "VP8"), "h264"), (("VP8", "H264"), "vp8"), (("VP8",), "vp8")])
async def test_codec_preference(codecs: tuple[str, ...], name: str) -> None:
    pair = Pair(options=RtcOptions(codecs=codecs))
    await pair.connect()
    assert pair.session.codec_name == name
    await pair.aclose()


async def test_vp8_where_the_client_has_no_h264() -> None:
    pair = Pair()
    offer = await pair.viewer.offer()
    h264 = re.findall(r"^a=rtpmap:(\d+) H264", offer, re.M)
    rtx = [m for p in h264 for m in re.findall(rf"^a=fmtp:(\d+) apt={p}\b", offer, re.M)]
    for payload in h264 + rtx:
        offer = re.sub(rf"^a=(rtpmap|fmtp|rtcp-fb):{payload} .*\r\n", "", offer, flags=re.M)
        offer = re.sub(rf"^(m=video .*) {payload}\b", r"\1", offer, flags=re.M)
    answer, _ = await pair.session.answer(offer, "offer")
    assert "VP8" in answer
    assert "H264" not in answer
    assert pair.session.codec_name == "vp8"
    await pair.aclose()


async def test_client_that_hides_its_addresses_connects(pair: Pair) -> None:
    """Firefox and Chromium offer only `.local` names until the page may use a microphone."""
    offer = await pair.viewer.offer()
    hidden = re.sub(r"(a=candidate:\S+ 1 udp \d+) \S+", r"\1 5f1c7bd8-7a7e-4a0e-8a4a-000000000000.local", offer)
    assert ".local" in hidden
    assert "a=end-of-candidates" in hidden
    sdp, type_ = await pair.session.answer(hidden, "offer")
    await pair.viewer.pc.setRemoteDescription(RTCSessionDescription(sdp, type_))
    await pair.viewer.picture()


async def test_no_free_port_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aioice.ice.get_host_addresses", lambda use_ipv4, use_ipv6: [])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        pair = Pair(options=RtcOptions(udp_port_range=(port, port)))
        with pytest.raises(Unavailable, match=f"no UDP port is free.*{port}"):
            await pair.session.answer(await pair.viewer.offer(), "offer")
        await pair.aclose()


async def test_sound_only_costs_no_encoding() -> None:
    pair = Pair(Viewer(("audio",)))
    await pair.viewer.watch(pair.session)
    for _ in range(30):
        await pair.viewer.loudness()
    assert pair.session.clock.stats.pictures <= 3
    await pair.aclose()


async def test_microphone_is_taken_and_dropped() -> None:
    pair = Pair(Viewer(microphone=True))
    answer = await pair.connect()
    assert "a=sendrecv" in answer
    receiver = next(t.receiver for t in pair.session._pc.getTransceivers() if t.kind == "audio")
    for _ in range(25):
        await pair.viewer.picture()
    assert receiver.track._queue.qsize() < 5  # type: ignore[attr-defined]
    await pair.aclose()


async def test_interruption_is_heard_at_once(pair: Pair) -> None:
    await pair.connect()
    pair.real.speak(250)
    while await pair.viewer.loudness() < 0.3:
        pass
    pair.real.interrupt()
    frames = 0
    while await pair.viewer.loudness() > 0.01:
        frames += 1
    assert frames <= 10, "5 ms fade, and what the client's own jitter buffer holds"


async def test_lost_packets_are_sent_again_and_the_picture_goes_on(pair: Pair) -> None:
    await pair.connect()
    dropped = lose(pair.session._pc, [False] * 9 + [True])
    seen = [await pair.viewer.picture() for _ in range(50)]
    assert dropped[0] > 5
    times = [float(p.pts * p.time_base) for p in seen]
    assert times == sorted(times)
    assert times[-1] - times[0] < 3.0, "50 pictures take 2 s; a frozen stream would take longer"


async def test_picture_loss_brings_one_key_frame(pair: Pair) -> None:
    await pair.connect()
    receiver = next(t.receiver for t in pair.viewer.pc.getTransceivers() if t.kind == "video")
    ssrc = next(t.sender._ssrc for t in pair.session._pc.getTransceivers() if t.kind == "video")
    for _ in range(3):
        await receiver._send_rtcp_pli(ssrc)
    for _ in range(12):
        await pair.viewer.picture()
    assert pair.session.stats()["keyframes"] == 2


async def test_estimate_moves_the_rate_without_a_key_frame() -> None:
    pair = Pair(size=(256, 256))
    encoder = H264Encoder(256, 256, 2_000_000)
    pair.session.clock._open_video = lambda width, height: encoder
    await pair.connect()
    sender = next(t.sender for t in pair.session._pc.getTransceivers() if t.kind == "video")
    fci = pack_remb_fci(170_000, [sender._ssrc])
    await sender._handle_rtcp_packet(RtcpPsfbPacket(fmt=RTCP_PSFB_APP, ssrc=1, media_ssrc=0, fci=fci))
    for _ in range(5):
        await pair.viewer.picture()
    assert encoder.target_bps == 153_000
    assert pair.session.stats()["allowed_kbps"] == 170
    assert pair.session.stats()["keyframes"] == 1
    await pair.aclose()


async def test_a_session_holds_no_bandwidth_estimator_and_leaves_no_packets() -> None:
    pair = Pair(size=(64, 64))
    await pair.connect()
    await pair.viewer.picture()
    transceivers: list[Any] = pair.session._pc.getTransceivers()
    estimators = [t.receiver._RTCRtpReceiver__remote_bitrate_estimator for t in transceivers]
    histories = [t.sender._RTCRtpSender__rtp_history for t in transceivers]
    assert estimators == [None, None]
    assert all(histories), "packets are kept while they may be asked for again"
    await pair.aclose()
    assert not any(histories)


async def test_recording_holds_what_was_sent(pair: Pair, tmp_path: Path) -> None:
    await pair.connect()
    recorder = pair.session.record(tmp_path / "1.mp4")
    with pytest.raises(Conflict):
        pair.session.record(tmp_path / "2.mp4")
    for _ in range(40):
        await pair.viewer.picture()
    path = await recorder.stop()
    with av.open(str(path)) as file:
        assert sum(1 for _ in file.decode(video=0)) >= 25


async def test_recording_is_finished_when_the_client_leaves(pair: Pair, tmp_path: Path) -> None:
    await pair.connect()
    recorder = pair.session.record(tmp_path / "1.mp4")
    for _ in range(25):
        await pair.viewer.picture()
    await pair.viewer.close()
    await pair.is_closed()
    assert recorder.done.result(0) == tmp_path / "1.mp4"


async def test_client_that_closes_frees_its_session(pair: Pair) -> None:
    await pair.connect()
    await pair.viewer.close()
    await pair.is_closed()
    assert pair.closings == 1


async def test_client_that_vanishes_frees_its_session(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    await pair.connect()
    monkeypatch.setattr(webrtc, "SILENCE_TIMEOUT_S", 0.3)
    monkeypatch.setattr(webrtc, "WATCH_INTERVAL_S", 0.05)
    pair.viewer.vanish()
    await pair.is_closed()


def test_a_vanished_client_is_noticed_within_10_s() -> None:
    assert webrtc.SILENCE_TIMEOUT_S + webrtc.WATCH_INTERVAL_S + 1 < 10
    assert webrtc.SILENCE_TIMEOUT_S > 5, "browsers report every 5 s at least"


async def test_client_that_never_connects_frees_its_session(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webrtc, "CONNECT_TIMEOUT_S", 0.1)
    monkeypatch.setattr(webrtc, "WATCH_INTERVAL_S", 0.05)
    await pair.session.answer(await pair.viewer.offer(), "offer")
    await asyncio.wait_for(pair.closed.wait(), PATIENCE_S)
    assert pair.session.state == "closed"


async def test_closing_twice_and_before_connecting(pair: Pair) -> None:
    await asyncio.gather(pair.session.aclose(), pair.session.aclose())
    await pair.session.aclose()
    assert pair.closings == 1


async def test_failing_session_closes_its_connection(pair: Pair, caplog: pytest.LogCaptureFixture) -> None:
    await pair.connect()

    def fail() -> MediaUnit:
        raise RuntimeError("scripted")

    pair.real.take = fail  # type: ignore[method-assign]
    await pair.is_closed()
    assert "scripted" in caplog.text


async def test_no_thread_left_closes_the_connection(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    def add(clock: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(pair.session._pacer, "add", add)
    await pair.viewer.watch(pair.session)
    await asyncio.wait_for(pair.closed.wait(), PATIENCE_S)
    assert pair.session.state == "closed"


async def test_events_for_a_client_that_does_not_read_are_dropped(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    await pair.connect()
    monkeypatch.setattr(transport.channel, "BUFFER_BYTES", -1)
    flood = SpeechFrame(SILENCE, 0, tuple(Event("word", 0, {"text": "x"}) for _ in range(100)))
    pair.real.script(MediaUnit(pair.real._idle[0], (flood, silent_frame(0)), 0, 0))
    for _ in range(15):
        await pair.viewer.picture()
    assert pair.session.stats()["dropped_events"] == 100


BAD = {
    "no offer": ("v=0\r\n", "answer", "only 'offer'"),
    "empty": ("", "offer", "must begin with 'v=0'"),
    "not SDP": ("hello", "offer", "must begin with 'v=0'"),
    "no media": ("v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n", "offer", "recvonly transceivers"),
    "torn": ("v=0\r\nm=video\r\n", "offer", "cannot be parsed"),
    "huge": ("v=0\r\n" + "a=x\r\n" * 100_000, "offer", "at most"),
}


@pytest.mark.parametrize(("sdp", "type_", "message"), BAD.values(), ids=BAD.keys())
async def test_bad_offers_are_explained(pair: Pair, sdp: str, type_: str, message: str) -> None:
    with pytest.raises(Unprocessable, match=message):
        await pair.session.answer(sdp, type_)


MENDED = {
    "no ufrag": (r"a=ice-ufrag:.*\r\n", "", "ice-ufrag"),
    "no fingerprint": (r"a=fingerprint:.*\r\n", "", "fingerprint"),
    "only sends": ("a=recvonly", "a=sendonly", "recvonly"),
    "unknown codecs": (r"H264|VP8", "XYZ", "cannot be answered"),
    "a crowd of candidates": (r"(a=candidate:.*\r\n)", r"\1" * 70, "ICE candidates"),
    "odd section": ("m=application", "m=text", "text"),
}


@pytest.mark.parametrize(("pattern", "instead", "message"), MENDED.values(), ids=MENDED.keys())
async def test_offers_that_lack_something_are_explained(pair: Pair, pattern: str, instead: str, message: str) -> None:
    with pytest.raises(Unprocessable, match=message):
        await pair.session.answer(re.sub(pattern, instead, await pair.viewer.offer()), "offer")


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 10**6), st.sampled_from(["drop", "double", "cut", "garble"])), max_size=4))
def test_damaged_offers_are_refused_or_answered(cuts: list[tuple[int, str]]) -> None:
    async def attempt() -> None:
        viewer, session = Viewer(), PeerSession(FakeReal())
        lines = (await viewer.offer()).split("\r\n")
        for where, what in cuts:
            k = where % len(lines)
            changed = {"drop": [], "double": [lines[k]] * 2, "cut": [lines[k][: where % 7]], "garble": [lines[k][::-1]]}
            lines[k : k + 1] = changed[what]
        try:
            await session.answer("\r\n".join(lines), "offer")
        except Unprocessable as error:
            assert len(str(error)) > 20
        finally:
            await session.aclose()
            await viewer.close()

    asyncio.run(attempt())


async def test_connecting_again_and_again_leaves_nothing_behind() -> None:
    """A short form of `benchmarks/leaks.py`."""

    async def cycle() -> None:
        pair = Pair()
        await pair.connect()
        await pair.viewer.close()
        await pair.is_closed()

    for _ in range(2):
        await cycle()
    gc.collect()
    before = held()
    for _ in range(5):
        await cycle()
    gc.collect()
    assert held() == before


def held() -> dict[str, int]:
    """What a connection could leave behind."""
    kinds = [type(o).__name__ for o in gc.get_objects()]
    return {
        "threads": threading.active_count(),
        "tasks": len(asyncio.all_tasks()),
        "descriptors": len(os.listdir("/proc/self/fd")),
        **{kind: kinds.count(kind) for kind in ("PeerSession", "RTCPeerConnection", "PlayoutClock", "H264Encoder")},
    }
