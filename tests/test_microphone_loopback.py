"""A client's microphone over real WebRTC on the loopback interface: it arrives whole, soon, and with its time."""

from __future__ import annotations

import asyncio
import fractions
import time
from collections.abc import AsyncIterator

import av
import numpy as np
import pytest
from aiortc import MediaStreamTrack
from aiortc.mediastreams import MediaStreamError

from listening.frames import MicFrame
from listening.microphone import Microphone
from media import SAMPLE_RATE_HZ, SPEECH_FRAME_S, Pcm
from tests.fakes.real import FakeReal
from tests.fakes.viewer import PATIENCE_S, Viewer, lose
from webrtc import PeerSession

pytestmark = pytest.mark.webrtc

CHIRP_S = 6.0


def chirps(seconds: float, rate_hz: int) -> Pcm:
    """A sweep of 300 to 3000 Hz every 0.5 s, each a little different: no two places look alike."""
    t = np.arange(round(seconds * rate_hz)) / rate_hz
    within, number = t % 0.5, np.floor(t / 0.5)
    sweep = 300 + 40 * number + (2500 + 90 * number) * within
    return (0.4 * np.sin(2 * np.pi * sweep * within) * (within < 0.4)).astype(np.float32)


class Captured(MediaStreamTrack):
    """Gives every 20 ms of a wave when it would have been captured."""

    kind = "audio"

    def __init__(self) -> None:
        super().__init__()
        self.began: float | None = None
        self._wave = (chirps(CHIRP_S, 48_000) * 32767).astype(np.int16)
        self._given = 0

    async def recv(self) -> av.AudioFrame:
        if self.began is None:
            self.began = time.monotonic()
        begin = self._given * 960
        if begin >= len(self._wave) or self.readyState != "live":
            raise MediaStreamError
        self._given += 1
        await asyncio.sleep(self.began + self._given * SPEECH_FRAME_S - time.monotonic())
        frame = av.AudioFrame.from_ndarray(self._wave[None, begin : begin + 960], format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 48_000, begin, fractions.Fraction(1, 48_000)
        return frame


class Speaker(Viewer):
    """A viewer whose audio section sends a track, or could."""

    def __init__(self, track: MediaStreamTrack | None = None, direction: str = "sendrecv") -> None:
        super().__init__(("video",))
        self.pc.addTransceiver(track or "audio", direction=direction)


class Stage:
    """A session and a client that may speak."""

    def __init__(self, track: MediaStreamTrack | None = None, direction: str = "sendrecv") -> None:
        self.given: list[Microphone] = []
        self.sounds: list[tuple[Pcm, float]] = []
        self.real = FakeReal()
        self.session = PeerSession(self.real, on_microphone=self.given.append)
        self.session.on_sound(lambda pcm, at: self.sounds.append((pcm, at)))
        self.client = Speaker(track, direction)

    async def connect(self) -> str:
        answer = await self.client.watch(self.session)
        await self.client.picture()
        return answer

    async def hear(self, seconds: float) -> list[tuple[MicFrame, float]]:
        """Frames with their arrival."""
        assert self.session.microphone is not None
        heard = []
        async with asyncio.timeout(PATIENCE_S):
            async for frame in self.session.microphone:
                heard.append((frame, time.monotonic()))
                if len(heard) * SPEECH_FRAME_S >= seconds:
                    break
        return heard

    async def aclose(self) -> None:
        await self.client.close()
        await self.session.aclose()


@pytest.fixture
async def spoken() -> AsyncIterator[tuple[Stage, Captured]]:
    track = Captured()
    stage = Stage(track)
    await stage.connect()
    yield stage, track
    await stage.aclose()


def shift_s(heard: Pcm) -> tuple[float, float]:
    """Where in the chirps `heard` begins, and how alike the two are there."""
    before_s = 0.1  # a codec's delay puts silence in front
    sent = np.concatenate([np.zeros(round(before_s * SAMPLE_RATE_HZ), np.float32), chirps(CHIRP_S, SAMPLE_RATE_HZ)])
    match = np.correlate(sent, heard, "valid")
    begin = int(match.argmax())
    place = sent[begin : begin + len(heard)]
    return begin / SAMPLE_RATE_HZ - before_s, float(np.corrcoef(place, heard)[0, 1])


async def test_sound_arrives_whole_soon_and_with_its_time(spoken: tuple[Stage, Captured]) -> None:
    stage, track = spoken
    heard = await stage.hear(2.5)
    assert stage.given == [stage.session.microphone]
    assert track.began is not None
    frames = [frame for frame, _ in heard]
    begin_s, alike = shift_s(np.concatenate([frame.pcm for frame in frames]))
    assert alike > 0.9, "Opus keeps so much of a sweep's waveform"
    captured = [track.began + begin_s + SPEECH_FRAME_S * k for k in range(len(frames))]
    errors = [frame.at - true for frame, true in zip(frames, captured, strict=True)]
    assert abs(float(np.median(errors))) < 0.03, "the time given is that of the capture"
    delays = [at - true - SPEECH_FRAME_S for (_, at), true in zip(heard, captured, strict=True)]
    assert min(delays) < 0.06, "aiortc's own buffer alone would take 80 ms"
    assert frames[0].at < frames[-1].at
    assert stage.session.microphone is not None
    assert stage.session.microphone.describe()["dropped"] == 0
    figures = stage.session.stats()["microphone"]
    assert figures["frames"] >= 125 and figures["level_dbfs"] > -20


async def test_lost_packets_make_nothing_late(spoken: tuple[Stage, Captured]) -> None:
    stage, track = spoken
    lost = lose(stage.client.pc, [False] * 9 + [True])
    heard = await stage.hear(3.0)
    assert lost[0] > 5
    assert track.began is not None
    begin_s, alike = shift_s(np.concatenate([frame.pcm for frame, _ in heard]))
    assert alike > 0.7, "every tenth packet is silence, the others stand where they were"
    delays = [
        at - (track.began + begin_s + SPEECH_FRAME_S * (k + 1))
        for k, (_, at) in enumerate(heard)
        if k > len(heard) // 2
    ]
    assert min(delays) < 0.1, "aiortc's own buffer is 280 ms late for good after one loss"


async def test_microphone_switched_on_later_without_negotiation() -> None:
    stage = Stage()
    answer = await stage.connect()
    assert "a=sendrecv" in answer
    microphone = stage.session.microphone
    assert microphone is not None and microphone.frames == 0 and not microphone.closed
    sender = next(t.sender for t in stage.client.pc.getTransceivers() if t.kind == "audio")
    sender.replaceTrack(Captured())
    _, alike = shift_s(np.concatenate([frame.pcm for frame, _ in await stage.hear(1.5)]))
    assert alike > 0.9
    await stage.aclose()
    assert microphone.closed


async def test_client_that_only_sends_sound() -> None:
    stage = Stage(Captured(), "sendonly")
    await stage.connect()
    assert len(await stage.hear(0.5)) == 25
    await stage.aclose()


async def test_no_microphone_where_none_is_offered() -> None:
    stage = Stage(direction="recvonly")
    answer = await stage.connect()
    assert "a=sendrecv" not in answer
    assert stage.session.microphone is None and stage.given == []
    assert stage.session.stats()["microphone"] is None
    await stage.aclose()


async def test_reference_is_what_the_client_hears() -> None:
    stage = Stage()
    await stage.connect()
    stage.real.speak(25)
    while len(stage.sounds) < 50:
        await stage.client.picture()
    times = [at for _, at in stage.sounds[:50]]
    steps = np.diff(times)
    assert np.allclose(steps, SPEECH_FRAME_S, atol=1e-6), "the clock's own time, tick by tick"
    assert abs(times[-1] - time.monotonic()) < PATIENCE_S
    assert np.abs(np.concatenate([pcm for pcm, _ in stage.sounds])).max() == pytest.approx(0.5, abs=0.01)
    await stage.aclose()
