"""The test card: machine-readable marks, beeps on the second, and the sync of the real tracks measured with both."""

from __future__ import annotations

import asyncio
import binascii
from typing import Any

import numpy as np
import pytest
from aiortc.rtp import RtcpSrPacket

from engines.testcard import BEEP_FRAMES, BLOCKS_PER_ROW, SYNC_BYTE, Card, TestcardReal
from errors import Conflict
from media import FPS, SAMPLE_RATE_HZ, SILENCE
from tests.fakes.viewer import Viewer
from webrtc import PeerSession

NTP_UNIX_S = 2_208_988_800


def read(luma: Any) -> tuple[int, int, int] | None:
    """Counter, wall clock in ms and flags, None when they cannot be read."""
    block = luma.shape[1] // BLOCKS_PER_ROW
    words = []
    for row in range(3):
        band = luma[row * block : (row + 1) * block, : block * BLOCKS_PER_ROW].reshape(block, BLOCKS_PER_ROW, block)
        light = band[block // 4 : -block // 4, :, block // 4 : -block // 4].mean(axis=(0, 2)) > 125
        words.append(int.from_bytes(np.packbits(light).tobytes(), "big"))
    counter, wall_ms, check = words
    crc = binascii.crc_hqx(counter.to_bytes(4, "big") + wall_ms.to_bytes(4, "big"), 0xFFFF)
    if counter >> 24 != SYNC_BYTE or crc != check >> 16:
        return None
    return counter & 0xFFFFFF, wall_ms, check & 0xFFFF


@pytest.mark.parametrize("size", [(128, 128), (512, 512), (512, 768), (720, 1280)])
def test_marks_read_back(size: tuple[int, int]) -> None:
    card = Card(*size)
    for counter in (0, 1, 2, 49, 0xFFFFFF):
        picture = card.draw(counter, 1_767_225_600_000 + counter)
        assert picture.shape == (size[1] * 3 // 2, size[0])
        wall_ms = (1_767_225_600_000 + counter) & 0xFFFFFFFF
        assert read(picture[: size[1]]) == (counter, wall_ms, int(counter % FPS < 2))


@pytest.mark.parametrize("size", [(126, 512), (512, 100), (513, 512)])
def test_sizes_too_small_or_odd_are_refused(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=f"{size[0]}x{size[1]}"):
        Card(*size)


def test_a_beep_begins_with_the_picture_of_every_second() -> None:
    real = TestcardReal("1", 128, 128, wall=lambda: 1000.0)
    for counter in range(11 * FPS):
        unit = real.take()
        sound = np.concatenate([frame.pcm for frame in unit.speech])
        frames = [frame.pcm is not SILENCE for frame in unit.speech]
        within = 2 * (counter % FPS)
        assert frames == [within < BEEP_FRAMES, within + 1 < BEEP_FRAMES]
        if counter % FPS == 0:
            spectrum = np.abs(np.fft.rfft(sound))
            tone_hz = np.argmax(spectrum) * SAMPLE_RATE_HZ / len(sound)
            assert tone_hz == pytest.approx(2000 if counter % (10 * FPS) == 0 else 1000, abs=30)
            assert abs(sound[:4]).max() > 0.001, "the first sample belongs to the beep"


async def test_it_says_that_it_cannot_speak() -> None:
    real = TestcardReal("1", 128, 128)
    with pytest.raises(Conflict, match="--model"):
        await real.say("hello")
    with pytest.raises(Conflict, match="--model"):
        await real.play(SILENCE)
    assert real.interrupt() == real.turn == 1
    assert not real.speaking


class SyncProbe:
    """Where a viewer's tracks lie on the sender's clock, by sender reports: what a browser aligns them by."""

    def __init__(self, viewer: Viewer) -> None:
        self._lines: dict[str, tuple[int, float]] = {}
        self._first: dict[str, int] = {}
        self._clock = {"video": 90_000, "audio": 48_000}
        for transceiver in viewer.pc.getTransceivers():
            self._tap(transceiver.kind, transceiver.receiver)

    def _tap(self, kind: str, receiver: Any) -> None:
        handle = receiver._handle_rtcp_packet
        mapper = receiver._RTCRtpReceiver__timestamp_mapper
        mapped = mapper.map

        async def handle_rtcp_packet(packet: Any) -> None:
            if isinstance(packet, RtcpSrPacket) and packet.sender_info.packet_count:
                ntp = packet.sender_info.ntp_timestamp / (1 << 32) - NTP_UNIX_S
                self._lines[kind] = packet.sender_info.rtp_timestamp, ntp
            await handle(packet)

        def map_timestamp(timestamp: int) -> int:
            result: int = mapped(timestamp)
            self._first.setdefault(kind, (timestamp - result) & 0xFFFFFFFF)
            return result

        receiver._handle_rtcp_packet, mapper.map = handle_rtcp_packet, map_timestamp

    def sender_time(self, kind: str, pts: float) -> float:
        """Seconds since 1970 on the sender's clock of a decoded time stamp, in units of the track's RTP clock."""
        rtp, ntp = self._lines[kind]
        delta = (self._first[kind] + pts - rtp + (1 << 31)) % (1 << 32) - (1 << 31)
        return ntp + delta / self._clock[kind]


@pytest.mark.webrtc
async def test_sound_and_picture_agree_within_10_ms_by_sender_reports() -> None:
    real = TestcardReal("1", 256, 256)
    session, viewer = PeerSession(real), Viewer()
    probe = SyncProbe(viewer)
    await viewer.watch(session)
    flashes, loud = [], []

    async def look() -> None:
        while True:
            picture = await viewer.picture()
            plane = picture.planes[0]
            luma = np.frombuffer(plane, np.uint8).reshape(picture.height, plane.line_size)[:, : picture.width]
            marks = read(luma)
            assert marks is not None, "marks survive the encoder"
            if marks[0] % FPS == 0:
                flashes.append(picture.pts)

    async def listen() -> None:
        while True:
            frame: Any = await viewer.track("audio").recv()
            samples = np.abs(frame.to_ndarray().reshape(-1, 2)[:, 0].astype(float)) / 32768
            loud.extend(frame.pts * 48_000 // frame.sample_rate + np.flatnonzero(samples > 0.1))

    tasks = [asyncio.create_task(look()), asyncio.create_task(listen())]
    await asyncio.wait(tasks, timeout=3.6)
    for task in tasks:
        task.cancel()
    beeps = [pts for before, pts in zip([-(10**9), *loud], loud, strict=False) if pts - before > 9600]
    shown = [probe.sender_time("video", pts) for pts in flashes]
    heard = [probe.sender_time("audio", pts) for pts in beeps]
    offsets_ms = [1000 * (at - min(shown, key=lambda s: abs(s - at))) for at in heard[1:]]
    assert len(offsets_ms) >= 2
    assert np.abs(offsets_ms).max() < 10
    await viewer.close()
    await session.aclose()
