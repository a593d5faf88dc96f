"""A client's sound in any shape becomes 20 ms frames with the time of their capture; nothing piles up."""

from __future__ import annotations

import asyncio
import fractions
import math
from collections.abc import Iterable
from typing import Any

import av
import numpy as np
import pytest
from aiortc import MediaStreamTrack
from aiortc.jitterbuffer import JitterBuffer
from aiortc.mediastreams import MediaStreamError
from aiortc.rtp import RtpPacket
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from errors import BadRequest
from listening.capture import CaptureClock, Framer
from listening.frames import MicFrame
from listening.microphone import FLOOR_DBFS, Microphone
from listening.sources import AHEAD_MAX_S, PcmSource, TrackReader
from media import SAMPLES_PER_FRAME, Pcm
from transport.inbound import HOLD_PACKETS, PacketOrder

TONE_HZ = 300.0


def tone(seconds: float, rate_hz: int, amplitude: float = 0.5) -> NDArray[np.float64]:
    return amplitude * np.sin(2 * np.pi * TONE_HZ * np.arange(round(seconds * rate_hz)) / rate_hz)


def s16(wave: NDArray[np.float64]) -> bytes:
    return (np.clip(wave, -1, 1) * 32767).astype("<i2").tobytes()


def frame(value: float = 0.0, at: float = 0.0) -> MicFrame:
    return MicFrame(np.full(SAMPLES_PER_FRAME, value, np.float32), at)


def drain(microphone: Microphone) -> list[MicFrame]:
    async def all_of_it() -> list[MicFrame]:
        microphone.close()
        return [one async for one in microphone]

    return asyncio.run(all_of_it())


def sound(frames: Iterable[MicFrame]) -> Pcm:
    return np.concatenate([one.pcm for one in frames])


def similarity(heard: Pcm, sent: NDArray[np.float64], held: int = 40) -> float:
    """Correlation of what was heard with what was sent, at most so many samples of silence before it."""
    n = min(len(heard), len(sent)) - held
    return max(float(np.corrcoef(heard[k : k + n], sent[:n])[0, 1]) for k in range(held + 1))


class Clock:
    """Time as a test says it is."""

    def __init__(self, now: float = 100.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


# ---- Microphone


def test_full_microphone_drops_the_oldest_and_counts() -> None:
    microphone = Microphone(3)
    for k in range(5):
        microphone.put_frame(frame(at=k))
    assert (microphone.frames, microphone.dropped, len(microphone)) == (5, 2, 3)
    assert [one.at for one in drain(microphone)] == [2, 3, 4]


async def test_listener_gets_frames_as_they_come_and_the_end() -> None:
    microphone = Microphone()
    heard: list[float] = []

    async def listen() -> None:
        async for one in microphone:
            heard.append(one.at)

    listening = asyncio.create_task(listen())
    for k in range(3):
        microphone.put_frame(frame(at=k))
        await asyncio.sleep(0)
    microphone.close()
    microphone.put_frame(frame(at=9))
    await listening
    assert heard == [0, 1, 2]


async def test_first_sound_can_be_waited_for() -> None:
    microphone, mute = Microphone(), Microphone()
    waiting = [asyncio.create_task(one.heard()) for one in (microphone, microphone, mute)]
    await asyncio.sleep(0)
    assert not any(task.done() for task in waiting)
    microphone.put_frame(frame())
    mute.close()
    assert [await task for task in waiting] == [True, True, False]
    assert len(microphone) == 1, "and is still there to be taken"


def test_level_is_that_of_the_sound_and_falls_slowly() -> None:
    microphone = Microphone()
    assert microphone.level_dbfs == FLOOR_DBFS
    microphone.put_frame(frame(0.1))
    assert microphone.level_dbfs == pytest.approx(-20, abs=0.1)
    microphone.put_frame(frame(0.0))
    assert -22 < microphone.level_dbfs < -20
    for _ in range(500):
        microphone.put_frame(frame(0.0))
    assert microphone.level_dbfs == FLOOR_DBFS


def test_rubbish_is_made_harmless_and_clipping_counted() -> None:
    microphone = Microphone()
    odd = frame()
    odd.pcm[:4] = [math.nan, math.inf, -math.inf, 7]
    microphone.put_frame(odd)
    microphone.put_frame(frame(0.5))
    heard = drain(microphone)
    assert heard[0].pcm[:5].tolist() == [0, 1, -1, 1, 0]
    loud = Microphone()
    loud.put_frame(frame(1.0))
    loud.put_frame(frame(0.9))
    assert loud.describe()["clipped"] == 1
    with pytest.raises(ValueError, match="320"):
        microphone.put_frame(MicFrame(np.zeros(100, np.float32), 0))


# ---- CaptureClock


def test_jitter_is_no_part_of_the_time() -> None:
    clock = CaptureClock()
    random = np.random.default_rng(1)
    for k in range(500):
        clock.arrived(0.02 * k, 1000 + 0.02 * k + 0.03 + random.exponential(0.04) * (k % 7 != 0))
    assert clock.at(5.0) == pytest.approx(1005.03, abs=0.001)


def test_time_follows_a_longer_way() -> None:
    clock = CaptureClock()
    for k in range(1000):
        clock.arrived(0.02 * k, 0.02 * k + (0.05 if k < 400 else 0.25))
    assert clock.at(20.0) == pytest.approx(20.25, abs=0.001)


# ---- PcmSource


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 24_000, 48_000])
def test_bytes_become_frames(rate_hz: int) -> None:
    microphone, clock = Microphone(), Clock()
    source = PcmSource(microphone, rate_hz, now=clock)
    data = s16(tone(1.0, rate_hz))
    sizes = [1, 2, 3, 333, 1001, 0, 640]
    begin, k = 0, 0
    while begin < len(data):
        size = sizes[k % len(sizes)]
        clock.now = 100 + min(len(data), begin + size) / 2 / rate_hz  # captured from 100 s on, sent at once
        source.feed(data[begin : begin + size])
        begin, k = begin + size, k + 1
    heard = drain(microphone)
    assert 48 <= len(heard) <= 50
    assert similarity(sound(heard), tone(1.0, 16_000)) > 0.995
    times = [one.at for one in heard[10:]]
    assert times == pytest.approx([100 + 0.02 * k for k in range(10, len(heard))], abs=0.002)


def test_bad_chunks_and_rates_are_explained() -> None:
    with pytest.raises(BadRequest, match="44100 Hz"):
        PcmSource(Microphone(), 44_100)
    source = PcmSource(Microphone(), 16_000, now=Clock())
    with pytest.raises(BadRequest, match="at most 32000"):
        source.feed(bytes(32_001))


def test_files_dumped_at_once_are_refused() -> None:
    clock = Clock()
    source = PcmSource(Microphone(), 16_000, now=clock)
    with pytest.raises(BadRequest, match="ahead of time"):
        for _ in range(int(AHEAD_MAX_S) + 2):
            source.feed(bytes(32_000))
    source = PcmSource(Microphone(), 16_000, now=clock)
    for _ in range(50):  # as captured, with pauses
        clock.now += 1.5
        source.feed(bytes(32_000))


def test_after_a_pause_times_are_right_again() -> None:
    microphone, clock = Microphone(1000), Clock()
    source = PcmSource(microphone, 16_000, now=clock)
    for k in range(100):
        clock.now += 0.1 if k != 50 else 7.1
        source.feed(bytes(3200))
    heard = drain(microphone)
    assert heard[-1].at + 0.02 == pytest.approx(clock.now, abs=0.01)
    assert sum(b.at - a.at > 1 for a, b in zip(heard, heard[1:], strict=False)) == 1


@given(st.lists(st.binary(max_size=2000), max_size=30), st.sampled_from([8_000, 48_000]))
def test_any_bytes_in_any_pieces_give_as_many_samples(chunks: list[bytes], rate_hz: int) -> None:
    microphone, clock = Microphone(10_000), Clock()
    source = PcmSource(microphone, rate_hz, now=clock)
    for chunk in chunks:
        clock.now += len(chunk) / 2 / rate_hz
        source.feed(chunk)
    samples = sum(map(len, chunks)) // 2 * 16_000 / rate_hz
    assert samples - 2 * SAMPLES_PER_FRAME < microphone.frames * SAMPLES_PER_FRAME <= samples + 1


# ---- TrackReader


class ScriptedTrack(MediaStreamTrack):
    """Gives frames at given times and ends."""

    kind = "audio"

    def __init__(self, clock: Clock, frames: list[tuple[float, av.AudioFrame]]) -> None:
        super().__init__()
        self._clock, self._frames = clock, frames

    async def recv(self) -> av.AudioFrame:
        if not self._frames:
            raise MediaStreamError
        self._clock.now, frame = self._frames.pop(0)
        return frame


def block(wave: NDArray[np.float64], rate_hz: int, pts: int, layout: str = "mono", kind: str = "s16") -> av.AudioFrame:
    channels = 1 if layout == "mono" else 2
    wave = np.repeat(wave, channels) if kind == "s16" else np.tile(wave, (channels, 1))
    if kind == "s16":
        made = av.AudioFrame.from_ndarray((wave * 32767).astype(np.int16).reshape(1, -1), format=kind, layout=layout)
    else:
        made = av.AudioFrame.from_ndarray(np.ascontiguousarray(wave, np.float32), format=kind, layout=layout)
    made.sample_rate, made.pts, made.time_base = rate_hz, pts, fractions.Fraction(1, rate_hz)
    return made


def read(frames: list[tuple[float, av.AudioFrame]], clock: Clock | None = None) -> tuple[list[MicFrame], TrackReader]:
    microphone, clock = Microphone(10_000), clock or Clock()
    reader = TrackReader(ScriptedTrack(clock, frames), microphone, now=clock)
    asyncio.run(reader.run())
    assert microphone.closed
    return drain(microphone), reader


KINDS = [(48_000, "stereo", "s16"), (48_000, "mono", "fltp"), (8_000, "mono", "s16"), (44_100, "stereo", "fltp")]


@pytest.mark.parametrize(("rate_hz", "layout", "kind"), KINDS)
def test_tracks_of_any_format(rate_hz: int, layout: str, kind: str) -> None:
    wave, n = tone(1.0, rate_hz), rate_hz // 50
    frames = [
        (100.02 + 0.02 * k, block(wave[k * n :][:n], rate_hz, 7777 + k * n, layout, kind))
        for k in range(len(wave) // n)
    ]
    heard, _ = read(frames)
    assert similarity(sound(heard), tone(1.0, 16_000)) > 0.995
    assert np.abs(sound(heard)).max() == pytest.approx(0.5, abs=0.02)
    assert heard[20].at == pytest.approx(100.4, abs=0.003)


def lost(missing: range, jump: int = 0) -> list[tuple[float, av.AudioFrame]]:
    wave = tone(3.0, 48_000)
    kept = [k for k in range(150) if k not in missing]
    return [
        (100.02 + 0.02 * k, block(wave[k * 960 :][:960], 48_000, 960 * k + jump * (k >= missing.stop))) for k in kept
    ]


def test_what_was_lost_is_silence() -> None:
    heard, _ = read(lost(range(50, 60)))
    pcm = sound(heard)
    assert 148 <= len(heard) <= 150
    assert np.abs(pcm[320 * 51 : 320 * 59]).max() == 0
    assert similarity(pcm[320 * 70 :], tone(3.0, 16_000)[320 * 70 :]) > 0.99, "what follows stands where it was"
    assert heard[-1].at == pytest.approx(100 + 0.02 * (len(heard) - 1), abs=0.002)


@pytest.mark.parametrize("jump", [0, 2**30, -(2**30)])
def test_long_gaps_and_new_counts_begin_a_new_stretch(jump: int) -> None:
    heard, _ = read(lost(range(40, 140 if not jump else 41), jump))
    assert 46 <= len(heard) <= 150, "no silence for seconds, or hours"
    assert heard[-1].at == pytest.approx(102.98, abs=0.025)


def test_pause_that_the_time_stamps_leave_out() -> None:
    """Chromium counts no time while its sender has no track (`replaceTrack(null)`)."""
    wave = tone(2.0, 48_000)
    frames = [
        (100.02 + 0.02 * k + (3.0 if k >= 50 else 0.0), block(wave[k * 960 :][:960], 48_000, 960 * k))
        for k in range(100)
    ]
    heard, _ = read(frames)
    assert heard[40].at == pytest.approx(100.8, abs=0.025)
    assert heard[-1].at == pytest.approx(104.98, abs=0.025)


def test_every_block_of_20_ms_completes_a_frame_at_once() -> None:
    microphone, clock = Microphone(), Clock()
    framer, wave = Framer(microphone), tone(1.0, 48_000)
    for k in range(50):
        framer.add(block(wave[k * 960 :][:960], 48_000, 960 * k), 0.02 * k, clock())
        assert microphone.frames == k + 1
    assert similarity(sound(drain(microphone)), tone(1.0, 16_000)) > 0.99


def test_formats_may_change_and_rubbish_come_between() -> None:
    frames = lost(range(0))[:50]
    other = [(101.02 + 0.02 * k, block(np.zeros(160), 8_000, 8000 + 160 * k)) for k in range(50)]
    heard, reader = read([*frames, *other])
    assert 97 <= len(heard) <= 100
    assert reader.unreadable == 0


# ---- order of packets


def numbers(order: PacketOrder, *given: int, ssrc: int = 1) -> list[int]:
    return [
        p.sequence_number for n in given for p in order.push(RtpPacket(sequence_number=n & 0xFFFF, ssrc=ssrc))
    ]  # fmt: skip


def test_packets_come_out_in_order_and_at_once() -> None:
    order = PacketOrder()
    assert numbers(order, 65534, 65535, 0, 1) == [65534, 65535, 0, 1], "across the end of the count"
    assert numbers(order, 3) == []
    assert numbers(order, 2) == [2, 3]
    assert numbers(order, 2, 1) == [], "what comes twice or too late is dropped"


def test_a_lost_packet_is_not_waited_for_long() -> None:
    order = PacketOrder()
    numbers(order, 10)
    late = [numbers(order, n) for n in range(12, 12 + HOLD_PACKETS + 1)]
    assert late == [[]] * HOLD_PACKETS + [list(range(12, 12 + HOLD_PACKETS + 1))]
    assert numbers(order, 12 + HOLD_PACKETS + 1) == [12 + HOLD_PACKETS + 1], "and costs those after it nothing"


def test_another_stream_and_a_jump_begin_anew() -> None:
    order = PacketOrder()
    numbers(order, 10)
    assert numbers(order, 500) == [500]
    assert numbers(order, 10) == [10]
    assert numbers(order, 3, ssrc=2) == [3]


@given(st.permutations(range(12)))
def test_any_order_of_packets_gives_each_once_in_order(given: list[int]) -> None:
    order = PacketOrder()
    heard = numbers(order, *[1000 + n for n in given], *range(1012, 1030))
    assert heard == sorted(set(heard)) and heard[-1] == 1029


def test_aiortcs_own_buffer_is_late_for_good_after_a_loss() -> None:
    """When this fails, `deliver_at_once` may be needed no more."""
    buffer = JitterBuffer(capacity=16, prefetch=4)
    late = []
    for n in [k for k in range(100) if k != 50]:
        packet: Any = RtpPacket(sequence_number=n, timestamp=960 * n)
        packet._data = b""
        _, given = buffer.add(packet)
        late.append(n - given.timestamp // 960 if given else None)
    assert late[40] == 4
    assert min(x for x in late[-20:] if x is not None) >= 14
