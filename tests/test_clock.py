"""The playout clock on virtual time: what is sent when, in every ordering."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable
from typing import ClassVar

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from media import I420, SAMPLES_PER_FRAME, SILENCE, Event, Pcm
from tests.fakes.real import FakeReal, tone
from transport.clock import LATE_MAX_S, TICK_S, VIDEO_BACKLOG_MAX, Batch, PlayoutClock
from transport.encoder import VIDEO_TICKS_PER_PICTURE, EncodedPicture, Packet
from transport.splice import FADE_SAMPLES


class VirtualTime:
    """Time that passes only while someone waits; scripted actions happen on the way."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._actions: list[tuple[float, int, Callable[[], object]]] = []

    def at(self, seconds: float, action: Callable[[], object]) -> None:
        """Do this `seconds` after the start."""
        self._actions.append((1000.0 + seconds, len(self._actions), action))
        self._actions.sort(key=lambda a: a[:2])

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.now + 1e9

    def wait(self, until: float) -> None:
        while self._actions and self._actions[0][0] <= max(until, self.now) + 1e-9:
            when, _, action = self._actions.pop(0)
            self.now = max(self.now, when)
            action()
        self.now = max(self.now, until)


class FakeVideo:
    """One byte a picture; every first and every asked-for picture is a key frame."""

    codec_name: ClassVar[str] = "fake"

    def __init__(self) -> None:
        self.pictures: list[tuple[int, I420]] = []
        self.bitrates: list[int] = []
        self._key = True

    def encode(self, picture: I420, index: int) -> EncodedPicture:
        self.pictures.append((index, picture))
        packet = av.Packet(b"v")
        packet.pts = index * VIDEO_TICKS_PER_PICTURE
        key, self._key = self._key, False
        return EncodedPicture(packet, key)

    def request_keyframe(self) -> None:
        self._key = True

    def set_bitrate(self, bps: int) -> None:
        self.bitrates.append(bps)


class FakeAudio:
    def __init__(self) -> None:
        self.frames: list[tuple[int, Pcm]] = []

    def encode(self, pcm: Pcm, tick: int) -> Packet:
        self.frames.append((tick, np.array(pcm)))
        return av.Packet(b"a")


@dataclasses.dataclass
class Bench:
    """A clock, its fakes, and what it sent."""

    seconds: float = 1.0

    def __post_init__(self) -> None:
        self.time, self.real, self.video, self.audio = VirtualTime(), FakeReal(), FakeVideo(), FakeAudio()
        self.sent: list[tuple[float, Batch]] = []
        self.backlog = 0
        self.ended: list[BaseException | None] = []
        self.clock = PlayoutClock(
            self.real,
            self,
            lambda width, height: self.video,
            lambda: self.audio,
            time_source=self.time,
            on_ended=self.ended.append,
        )

    def deliver(self, batch: Batch) -> None:
        self.sent.append((self.time.now - 1000.0, batch))

    def video_backlog(self) -> int:
        return self.backlog

    def run(self) -> Bench:
        self.time.at(self.seconds - TICK_S / 2, self.clock.stop)
        due = self.clock.step()
        while due is not None:
            self.time.wait(due)
            due = self.clock.step()
        return self

    def sound(self, *ticks: int) -> Pcm:
        """What was sent at these ticks, joined."""
        frames = dict(self.audio.frames)
        return np.concatenate([frames[t] for t in ticks])

    def stall(self, at: float, seconds: float) -> None:
        """The thread gets no processor for `seconds`."""

        def action() -> None:
            self.time.now += seconds

        self.time.at(at, action)


def test_pace() -> None:
    bench, fps = Bench(3.0), []
    bench.time.at(2.99, lambda: fps.append(bench.clock.fps()))
    bench.run()
    assert [batch.tick for _, batch in bench.sent] == list(range(150))
    assert [at for at, _ in bench.sent] == pytest.approx([k * 0.02 for k in range(150)])
    assert [batch.tick for _, batch in bench.sent if batch.video] == list(range(0, 150, 2))
    assert [index for index, _ in bench.video.pictures] == list(range(75))
    assert bench.ended == [None]
    assert fps == pytest.approx([25])


def test_picture_and_sound_of_a_unit_leave_together_and_are_reported() -> None:
    bench = Bench()
    first, second = tone(2)
    bench.real.script(bench.real.unit(first, second, events=(Event("word", 0),), final=True))
    heard: list[tuple[Event, float]] = []
    bench.real.events.subscribe(lambda event, at: heard.append((event, at)))
    bench.run()
    assert np.array_equal(bench.sound(0, 1), np.concatenate([first, second]))
    assert bench.sent[0][1].audio is not None
    assert bench.sent[0][1].video is not None
    assert [at for _, at in bench.real.heard[:3]] == pytest.approx([1000.0, 1000.02, 1000.04])
    assert heard == [(Event("word", 0), 1000.0)]
    assert bench.clock.media_time(1000.5) == pytest.approx(0.5)
    assert bench.clock.wall_time(0.25) == pytest.approx(1e9 + 1000.25)


def test_none_holds_the_picture_in_silence() -> None:
    bench = Bench()
    speech = tone(4)
    bench.real.script(bench.real.unit(speech[0], speech[1]), None, bench.real.unit(speech[2], speech[3], final=True))
    bench.run()
    assert bench.video.pictures[1][1] is bench.video.pictures[0][1]
    assert bench.clock.stats.held_pictures == 1
    gap = bench.sound(2, 3)
    assert abs(gap[0] - speech[1][-1]) < 0.05, "the torn word ends without a click"
    assert not gap[FADE_SAMPLES:].any()
    again = bench.sound(4)
    assert again[0] == 0
    assert np.array_equal(again[FADE_SAMPLES:], speech[2][FADE_SAMPLES:])
    assert [frame.pcm is speech[k] for k, (frame, _) in enumerate(bench.real.heard[:2])] == [True, True]
    assert bench.real.heard[2][0].pcm is speech[2], "silence while holding is nobody's frame"


def test_nothing_to_show_yet_sends_sound_only() -> None:
    bench = Bench()
    bench.real.script(None, None)
    bench.run()
    assert [batch.video is not None for _, batch in bench.sent[:6]] == [False, False, False, False, True, False]
    assert not bench.sound(0, 1, 2, 3).any()


@pytest.mark.parametrize("at", [0.03, 0.05])
def test_interruption_fades_within_5_ms(at: float) -> None:
    """At 0.03 s the second half of a unit is due next, at 0.05 s the next unit."""
    bench = Bench()
    speech = tone(20)
    bench.real.script(*(bench.real.unit(speech[k], speech[k + 1]) for k in range(0, 20, 2)))
    bench.time.at(at, bench.real.interrupt)
    bench.run()
    stop_tick = math.ceil(at / TICK_S)
    sent = bench.sound(*range(stop_tick - 1, stop_tick + 4))
    after = sent[SAMPLES_PER_FRAME:]
    assert not after[FADE_SAMPLES:].any()
    assert np.abs(np.diff(sent)).max() < 0.15, "no click"
    assert all(frame.turn == 1 for frame, t in bench.real.heard if t - 1000 >= stop_tick * TICK_S)
    assert len(bench.video.pictures) == 25, "the picture goes on"


def test_interrupted_by_other_speech() -> None:
    bench = Bench()
    old, new = tone(20), tone(20, 300, 0.4)
    bench.real.script(*(bench.real.unit(old[k], old[k + 1]) for k in range(0, 20, 2)))

    def barge_in() -> None:
        bench.real.interrupt()
        bench.real.script(*(bench.real.unit(new[k], new[k + 1], final=k == 18) for k in range(0, 20, 2)))

    bench.time.at(0.07, barge_in)
    bench.run()
    sent = bench.sound(3, 4, 5)
    assert np.abs(np.diff(sent[: 2 * SAMPLES_PER_FRAME])).max() < 0.2
    assert np.array_equal(bench.sound(5), new[1])


def test_interrupted_while_holding() -> None:
    """What is said next begins as it is, without the fade-in of a clause that goes on."""
    bench = Bench()
    old, new = tone(2), tone(2, 300, 0.4)
    bench.real.script(bench.real.unit(old[0], old[1]), None, None)

    def barge_in() -> None:
        bench.real.interrupt()
        bench.real.script(bench.real.unit(new[0], new[1], final=True))

    bench.time.at(0.11, barge_in)
    bench.run()
    assert np.array_equal(bench.sound(6, 7), np.concatenate(new))


def test_late_by_up_to_60_ms_catches_up() -> None:
    bench = Bench()
    bench.stall(0.105, 0.055)
    bench.run()
    assert [batch.tick for _, batch in bench.sent] == list(range(50))
    assert bench.clock.stats.skipped_ticks == 0


@given(st.floats(0.0, 0.9), st.floats(LATE_MAX_S + 0.021, 0.6))
def test_later_than_60_ms_skips_ticks_and_never_slips(at: float, seconds: float) -> None:
    bench = Bench(2.0)
    bench.stall(at, seconds)
    bench.run()
    ticks = [batch.tick for _, batch in bench.sent]
    gaps = [b - a for a, b in itertools.pairwise([-1, *ticks]) if b != a + 1]
    assert len(gaps) == 1, "one jump"
    assert gaps[0] % 2 == 1, "units stay whole"
    assert bench.clock.stats.skipped_ticks == gaps[0] - 1
    late = [t - batch.tick * TICK_S for t, batch in bench.sent if t > at + seconds + 0.1]
    assert max(late) == pytest.approx(0, abs=1e-6), "back on time"
    taken = [frame for frame, _ in bench.real.heard]
    assert len(taken) == len(ticks), "nothing that was taken is lost"


def test_sender_behind_means_no_picture_and_no_damage() -> None:
    bench = Bench()
    bench.time.at(0.1, lambda: setattr(bench, "backlog", VIDEO_BACKLOG_MAX))
    bench.time.at(0.3, lambda: setattr(bench, "backlog", 0))
    bench.run()
    assert bench.clock.stats.dropped_pictures == 5
    assert [index for index, _ in bench.video.pictures] == [*range(3), *range(8, 25)], "time stamps jump, order stays"
    assert len(bench.audio.frames) == 50
    assert sum(b.video.keyframe for _, b in bench.sent if b.video) == 1, (
        "nothing encoded was dropped: no key frame needed"
    )


def test_key_frame_and_rate_reach_the_encoder_with_the_next_picture() -> None:
    bench = Bench()
    bench.time.at(0.11, bench.clock.request_keyframe)
    bench.time.at(0.11, lambda: bench.clock.set_bitrate(400_000))
    bench.run()
    assert [b.tick for _, b in bench.sent if b.video and b.video.keyframe] == [0, 6]
    assert bench.video.bitrates == [400_000]


def test_a_failing_session_ends_its_clock_and_says_why(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench()

    def fail() -> None:
        raise RuntimeError("scripted")

    bench.time.at(0.2, lambda: setattr(bench.real, "take", fail))
    bench.run()
    assert [str(error) for error in bench.ended] == ["scripted"]
    assert len(bench.sent) == 10


def test_silence_is_the_shared_array() -> None:
    """So that an encoder or a test can tell it by identity, and nothing is allocated for it."""
    bench = Bench(0.2).run()
    assert all(frame.pcm is SILENCE for frame, _ in bench.real.heard)


@given(st.lists(st.sampled_from(["speak", "interrupt", "hold", "stall"]), max_size=8), st.data())
def test_any_order_of_speech_interruption_underrun_and_stall(script: list[str], data: st.DataObject) -> None:
    bench = Bench(2.0)
    speech = tone(6, amplitude=0.9)

    def speak() -> None:
        bench.real.script(*(bench.real.unit(speech[k], speech[k + 1], final=k == 4) for k in (0, 2, 4)))

    for what in script:
        at = data.draw(st.floats(0, 1.8))
        match what:
            case "speak":
                bench.time.at(at, speak)
            case "interrupt":
                bench.time.at(at, bench.real.interrupt)
            case "hold":
                bench.time.at(at, lambda: bench.real.script(None))
            case "stall":
                bench.stall(at, data.draw(st.floats(0, 0.3)))
    bench.run()
    ticks = [tick for tick, _ in bench.audio.frames]
    assert ticks == sorted(set(ticks))
    indices = [index for index, _ in bench.video.pictures]
    assert indices == sorted(set(indices))
    assert all(np.abs(pcm).max() <= 1 for _, pcm in bench.audio.frames)
    turns = [frame.turn for frame, _ in bench.real.heard]
    assert turns == sorted(turns), "an older turn never comes back"
    assert bench.ended == [None]
