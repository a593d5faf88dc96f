"""One session's order of pictures and speech: pauses that need no drawing, fades, and units that come out of order."""

from __future__ import annotations

import collections
import dataclasses
from typing import Any, cast

import cv2
import hibari
import numpy as np
import pytest
import soxr
from hypothesis import given
from hypothesis import strategies as st

from avatar import Avatar
from baseasr import BaseASR
from engines.base import LipRequest
from litereal import LiteASR, LiteEngine
from media import FPS, SAMPLE_RATE_HZ, SAMPLES_PER_FRAME, UNIT_S, Event, MediaUnit, Pcm, SpeechFrame
from mouthfade import BLEND_IN, BLEND_OUT
from reels import _Motion
from tests.fakes.session import FakeAvatar, FakeEngine
from tests.test_litereal import MIRA
from timeline import BEHIND_MAX, CATCH_UP_EVERY, REPEATED_UNITS, UNITS_AHEAD_MAX, Timeline
from voiceactivity import HANG_FRAMES

VOICE, PAUSE = 0.1, 1e-5


def frames(*runs: tuple[float, int], turn: int = 0) -> list[SpeechFrame]:
    """Runs of so many frames at an amplitude; the last one is final."""
    levels = [level for level, count in runs for _ in range(count)]
    return [
        SpeechFrame(np.full(SAMPLES_PER_FRAME, level, np.float32), turn, final=i == len(levels) - 1)
        for i, level in enumerate(levels)
    ]


@dataclasses.dataclass
class Stage:
    """A timeline, an engine whose batches take `delay` ticks, and what the clock took."""

    timeline: Timeline = dataclasses.field(
        default_factory=lambda: Timeline(cast(Any, FakeAvatar()), BaseASR(left=2, right=6))
    )
    delay: int = 0
    now: float = 0.0
    requests: int = 0
    shown: list[MediaUnit | None] = dataclasses.field(default_factory=list)
    blends: list[float] = dataclasses.field(default_factory=list)
    engine: Any = dataclasses.field(default_factory=lambda: FakeEngine(max_batch=100))
    drawing: collections.deque[tuple[int, LipRequest]] = dataclasses.field(default_factory=collections.deque)

    def draw(self) -> None:
        """Take what is wanted, and hand over what has been drawn long enough."""
        tick = len(self.shown)
        while self.timeline.advance(0.0):
            self.drawing.append((tick + self.delay, self.timeline.next_request(self.now, 0.0)))
            self.requests += 1
        while self.drawing and self.drawing[0][0] <= tick:
            request = self.drawing.popleft()[1]
            self.timeline.accept(request, self.engine.render([request])[0])

    def tick(self) -> None:
        """40 ms."""
        self.draw()
        unit = self.timeline.take(1, self.now)
        self.shown.append(unit)
        self.blends.append(self.timeline._shown_blend)
        self.now += UNIT_S

    def play(self, speech: list[SpeechFrame], ticks_after: int = 12, ahead: int = 40) -> None:
        """Put the speech in as there is room, and play all of it."""
        rest = collections.deque(speech)
        while rest or self.timeline.pending:
            while rest and len(self.timeline.asr) < ahead:
                self.timeline.put(rest.popleft())
            self.tick()
            assert len(self.shown) < 600, "speech that never comes to an end"
        for _ in range(ticks_after):
            self.tick()

    def spoken(self, speech: list[SpeechFrame]) -> list[int]:
        """Which of the frames were played, in order."""
        number = {id(frame): i for i, frame in enumerate(speech)}
        played = [frame for unit in self.shown if unit is not None for frame in unit.speech]
        return [number[id(frame)] for frame in played if id(frame) in number]

    def places(self) -> list[int]:
        return [unit.frame_index for unit in self.shown if unit is not None]


def jumps(values: list[float]) -> float:
    return max((abs(b - a) for a, b in zip(values, values[1:], strict=False)), default=0.0)


def test_a_pause_is_not_drawn_and_loses_no_sound() -> None:
    speech = frames((VOICE, 40), (PAUSE, 50), (VOICE, 40))
    stage = Stage()
    stage.play(speech)
    assert stage.spoken(speech) == list(range(130))
    assert stage.places() == list(range(len(stage.shown))), "the head must not jump"
    units = 65 + 6  # and the closing mouth
    saved = units - stage.requests
    assert 25 - (HANG_FRAMES // 2 + 4 + 2) - 1 <= saved <= 25, "what is left of the pause beside hangover and fades"


def test_the_mouth_fades_out_in_a_pause_and_is_back_when_the_voice_is() -> None:
    stage = Stage()
    stage.play(frames((VOICE, 40), (PAUSE, 50), (VOICE, 40)))
    first = next(i for i, blend in enumerate(stage.blends) if blend)
    spoken = [round(100 * blend) for blend in stage.blends[first : first + 65]]
    assert spoken[:4] == [33, 67, 100, 100]
    fade = spoken.index(75)
    assert spoken[fade - 1 : fade + 4] == [100, 75, 50, 25, 0]
    assert 20 < fade <= 20 + HANG_FRAMES // 2
    assert spoken[45 - 3 : 45 + 1] == [0, 33, 67, 100], "the voice comes back in unit 45"
    assert jumps(stage.blends) <= BLEND_IN + 1e-9
    idle = [unit for unit, blend in zip(stage.shown, stage.blends, strict=True) if unit and not blend]
    assert all(unit.picture[0, 1] == 0 for unit in idle)


@pytest.mark.parametrize("pause", [1, 3, 5, 6])
def test_a_short_pause_is_drawn(pause: int) -> None:
    stage = Stage()
    stage.play(frames((VOICE, 40), (PAUSE, pause), (VOICE, 40)))
    units = -(-(80 + pause) // 2)
    assert stage.requests == units + 5, "and five for the mouth that closes: two drawn closing, three fading"
    first = next(i for i, blend in enumerate(stage.blends) if blend)
    assert all(blend == 1.0 for blend in stage.blends[first + 3 : first + units])


def test_silence_before_a_voice_is_not_drawn() -> None:
    speech = frames((PAUSE, 60), (VOICE, 20))
    stage = Stage()
    stage.play(speech)
    assert stage.spoken(speech) == list(range(80))
    assert stage.requests <= 2 + 10 + 5


def test_a_silent_recording_costs_nothing() -> None:
    speech = frames((PAUSE, 300))
    stage = Stage()
    stage.play(speech)
    assert stage.requests == 0 and not any(stage.blends)
    assert stage.spoken(speech) == list(range(300))
    assert stage.places() == list(range(len(stage.shown)))


def test_a_unit_that_needs_no_drawing_waits_for_those_before_it() -> None:
    stage = Stage(delay=10_000)
    timeline = stage.timeline
    speech = frames((VOICE, 4), (PAUSE, 60))
    for frame in speech:
        timeline.put(frame)
    stage.draw()
    requests = [request for _, request in stage.drawing]
    while len(requests) < 20 and timeline.advance(0.0):
        requests.append(timeline.next_request(0.0, 0.0))
    assert timeline.take(1, 0.0) is None, "the first unit is being drawn"
    drawn = stage.engine.render(requests)
    for request, picture in reversed(list(zip(requests[1:], drawn[1:], strict=True))):
        timeline.accept(request, picture)
        assert timeline.take(1, 0.0) is None, "a later unit went first"
    timeline.accept(requests[0], drawn[0])
    units = [timeline.take(1, 0.0) for _ in range(UNITS_AHEAD_MAX)]
    assert len(requests) == UNITS_AHEAD_MAX - 1, "the last one is of the pause"
    played = [frame for unit in units if unit for frame in unit.speech]
    assert [id(frame) for frame in played] == [id(frame) for frame in speech[: len(played)]]
    assert len(played) == 2 * UNITS_AHEAD_MAX


def test_an_interrupted_mouth_is_drawn_only_while_it_can_be_seen() -> None:
    stage = Stage()
    for frame in frames((VOICE, 40)):
        stage.timeline.put(frame)
    while not stage.blends or stage.blends[-1] < 1:
        stage.tick()
    requests = stage.requests
    stage.timeline.interrupt(1)
    stage.drawing.clear()
    for _ in range(6):
        stage.tick()
    assert [round(100 * blend) for blend in stage.blends[-6:]] == [67, 33, 0, 0, 0, 0]
    assert stage.requests == requests + 2


def test_interrupting_a_pause_asks_for_no_picture() -> None:
    stage = Stage()
    for frame in frames((VOICE, 20), (PAUSE, 80)):
        stage.timeline.put(frame)
    while not stage.blends or stage.blends[-1] or len(stage.shown) < 22:
        stage.tick()
    requests = stage.requests
    stage.timeline.interrupt(1)
    for _ in range(10):
        stage.tick()
    assert stage.requests == requests
    assert stage.places() == list(range(len(stage.shown)))


def test_lips_that_could_not_be_drawn_fade_in_again() -> None:
    stage = Stage()
    render = stage.engine.render
    away = range(20, 30)

    def failing(requests: list[LipRequest]) -> list[Any]:
        return [None] if stage.requests in away else render(requests)

    stage.engine.render = failing
    speech = frames((VOICE, 120))
    stage.play(speech)
    assert stage.spoken(speech) == list(range(120))
    lost = [i for i, blend in enumerate(stage.blends[5:40], 5) if not blend]
    assert lost, "nothing failed"
    after = stage.blends[lost[-1] + 1 :]
    assert [round(100 * blend) for blend in after[:3]] == [33, 67, 100]
    pictures = [0 if unit is None else int(unit.picture[0, 1]) for unit in stage.shown]
    assert pictures == [round(100 * blend) for blend in stage.blends], "what is shown is what it takes for shown"


def test_a_session_that_waits_longer_is_due_earlier() -> None:
    waiting, fresh = Stage(delay=10_000), Stage(delay=10_000)
    for stage, idle, held in ((waiting, 1, 5), (fresh, 5, 1)):
        for _ in range(idle):
            stage.tick()
        for frame in frames((VOICE, 40)):
            stage.timeline.put(frame)
        for _ in range(held):
            stage.tick()
    assert waiting.now == pytest.approx(fresh.now)
    difference = fresh.timeline.deadline(fresh.now) - waiting.timeline.deadline(waiting.now)
    assert difference == pytest.approx(4 * UNIT_S)


RUNS = st.lists(st.tuples(st.sampled_from([VOICE, PAUSE]), st.integers(1, 45)), min_size=1, max_size=8)


@given(RUNS, st.integers(0, 3), st.integers(9, 60))
def test_whatever_is_said_is_played_once_in_order_with_lips_that_never_jump(
    runs: list[tuple[float, int]], delay: int, ahead: int
) -> None:
    speech = frames(*runs)
    stage = Stage(delay=delay)
    stage.play(speech, ahead=ahead)
    assert stage.spoken(speech) == list(range(len(speech)))
    assert stage.places() == list(range(len(stage.places())))
    shown = [int(unit.picture[0, 1]) for unit in stage.shown if unit is not None]
    assert jumps([value / 100 for value in shown]) <= BLEND_IN + 0.011
    voiced = [
        blend
        for unit, blend in zip(stage.shown, stage.blends, strict=True)
        if unit is not None and any(frame.pcm[0] == np.float32(VOICE) for frame in unit.speech)
    ]
    assert all(blend >= BLEND_IN - 1e-9 for blend in voiced), "a voice without lips"
    assert not stage.timeline.pending and stage.blends[-1] == 0.0


@given(RUNS, st.integers(0, 3), st.integers(1, 40), st.integers(0, 30))
def test_what_was_not_heard_before_a_suspension_is_said_after_it(
    runs: list[tuple[float, int]], delay: int, before: int, silent: int
) -> None:
    speech = frames(*runs)
    stage = Stage(delay=delay)
    for frame in speech:
        stage.timeline.put(frame)
    for _ in range(before):
        stage.tick()
    heard = len(stage.spoken(speech))
    stage.timeline.suspend()
    for _ in range(silent):
        stage.tick()
    assert len(stage.spoken(speech)) == heard, "sound while suspended"
    assert stage.timeline.pending or heard == len(speech)
    stage.timeline.resume()
    stage.play([])
    assert stage.spoken(speech) == list(range(len(speech)))
    shown = [int(unit.picture[0, 1]) for unit in stage.shown if unit is not None]
    assert jumps([value / 100 for value in shown]) <= BLEND_IN + 0.011


def test_speech_that_comes_while_suspended_follows_what_was_kept() -> None:
    speech = frames((VOICE, 30))
    stage = Stage()
    for frame in speech[:20]:
        stage.timeline.put(frame)
    stage.tick()
    stage.timeline.suspend()
    for frame in speech[20:29]:
        stage.timeline.put(frame)
    stage.timeline.end()
    assert stage.timeline.waiting == 29, "of which the first two were played, but not heard"
    stage.timeline.resume()
    stage.play([])
    assert len(stage.spoken(speech)) == 28, "the last frame was replaced by one that is final"


def test_what_the_page_has_not_played_when_she_is_suspended_is_said_again() -> None:
    speech = frames((VOICE, 60))
    speech[18] = dataclasses.replace(speech[18], events=(Event("word", 0, {"text": "said"}),))
    number = {id(frame.pcm): i for i, frame in enumerate(speech)}
    stage = Stage()
    for frame in speech:
        stage.timeline.put(frame)
    while len(stage.spoken(speech)) < 20:
        stage.tick()
    stage.timeline.suspend()
    stage.tick()
    stage.timeline.resume()
    stage.play([])
    played = [frame for unit in stage.shown if unit is not None for frame in unit.speech if id(frame.pcm) in number]
    again = list(range(20 - 2 * REPEATED_UNITS, 20))
    assert [number[id(frame.pcm)] for frame in played] == [*range(20), *again, *range(20, 60)]
    assert [i for i, frame in enumerate(played) if frame.events] == [18], "what happened does not happen again"


def test_an_interruption_forgets_what_was_kept() -> None:
    stage = Stage()
    for frame in frames((VOICE, 30)):
        stage.timeline.put(frame)
    stage.tick()
    stage.timeline.suspend()
    stage.timeline.interrupt(1)
    assert not stage.timeline.pending and not stage.timeline.suspended
    stage.timeline.resume()
    stage.play(speech := frames((VOICE, 10), turn=1))
    assert stage.spoken(speech) == list(range(10))


@pytest.fixture(scope="module")
def with_pause() -> Pcm:
    """A sentence, 0.8 s of pause, the sentence."""
    wav = hibari.Hibari()("My father hums a soft old song.", seed=1)
    pcm = np.asarray(soxr.resample(wav, hibari.SAMPLE_RATE, SAMPLE_RATE_HZ), np.float32)
    return np.concatenate([pcm, np.zeros(SAMPLE_RATE_HZ * 8 // 10, np.float32), pcm])


def shown_by_lite(pcm: Pcm, avatar: Avatar, engine: LiteEngine, monkeypatch: pytest.MonkeyPatch, skip: bool) -> Stage:
    """What the real engine shows of it, with pauses skipped or drawn."""
    stage = Stage(Timeline(avatar, LiteASR()), engine=engine)
    if not skip:
        monkeypatch.setattr(stage.timeline._activity, "hear", lambda _: True)
    whole = pcm[: len(pcm) // SAMPLES_PER_FRAME * SAMPLES_PER_FRAME].reshape(-1, SAMPLES_PER_FRAME)
    stage.play([SpeechFrame(frame, 0, final=i == len(whole) - 1) for i, frame in enumerate(whole)])
    return stage


def test_real_lips_do_not_jump_where_a_pause_is_skipped(with_pause: Pcm, monkeypatch: pytest.MonkeyPatch) -> None:
    avatar, engine = Avatar.load(MIRA), LiteEngine()
    engine.prepare(avatar)
    skipped = shown_by_lite(with_pause, avatar, engine, monkeypatch, skip=True)
    drawn = shown_by_lite(with_pause, avatar, engine, monkeypatch, skip=False)
    assert drawn.requests - skipped.requests >= 8, "a third of a second at least is saved"
    assert jumps(skipped.blends) <= BLEND_IN + 1e-9

    def motion(stage: Stage) -> np.ndarray:
        """How much each picture changes from the last, beside what the idle motion does: mean over the mouth."""
        pictures = [unit for unit in stage.shown if unit is not None]
        lips = [
            cv2.subtract(u.picture.astype(np.int16), avatar.frame(u.frame_index).astype(np.int16)) for u in pictures
        ]
        return np.array([float(np.abs(b - a).mean()) for a, b in zip(lips, lips[1:], strict=False)])

    speaking = np.sort(motion(drawn))
    fading = [i for i, blend in enumerate(skipped.blends[:-1]) if 0 < blend < 1]
    assert motion(skipped)[fading].max() <= speaking[-1], "a fade moves the lips more than speech ever does"
    assert BLEND_OUT < BLEND_IN


class LongAvatar(FakeAvatar):
    """One whose motion all sessions show together."""

    def live(self, now: float) -> int | None:
        return int(now * FPS + 1e-6)

    place = live


def long_stage(now: float) -> Stage:
    return Stage(Timeline(cast(Any, LongAvatar()), BaseASR(left=2, right=6), now), now=now)


def test_sessions_of_a_long_motion_show_the_same_place_whenever_they_begin() -> None:
    first, second = long_stage(100.0), long_stage(107.2)
    for stage, ticks in ((first, 200), (second, 20)):
        for _ in range(ticks):
            stage.tick()
    assert first.places() == list(range(2500, 2700))
    assert second.places() == first.places()[-20:]


def test_a_session_that_was_held_up_catches_up_unseen() -> None:
    stage = long_stage(100.0)
    stage.tick()
    stage.now += 20 * UNIT_S  # ticks that were skipped
    for _ in range(200):
        stage.tick()
    places = stage.places()
    steps = [b - a for a, b in zip(places, places[1:], strict=False)]
    assert set(steps) == {1, 2} and steps.count(2) == 20 - BEHIND_MAX
    twos = [i for i, step in enumerate(steps) if step == 2]
    assert min(b - a for a, b in zip(twos, twos[1:], strict=False)) == CATCH_UP_EVERY - 1
    assert LongAvatar().live(stage.now - UNIT_S) - places[-1] == BEHIND_MAX  # type: ignore[operator]


def test_speech_is_drawn_for_the_place_that_all_show() -> None:
    stage = long_stage(100.0)
    speech = frames((VOICE, 40))
    stage.play(speech)
    assert stage.spoken(speech) == list(range(40))
    assert stage.places() == list(range(2500, 2500 + len(stage.shown)))


def test_after_something_else_a_session_is_where_the_others_are() -> None:
    stage = long_stage(100.0)
    stage.tick()
    stage.now += 60.0
    stage.timeline.rejoin(stage.now)
    stage.tick()
    assert stage.places() == [2500, 4001]
    own = Stage()
    own.tick()
    own.timeline.rejoin(60.0)
    own.tick()
    assert own.places() == [0, 1], "a motion that is held whole goes on where it was"


class WatchedAvatar(FakeAvatar):
    """One whose motion goes on only while somebody shows it, as that of a long reel does."""

    def __init__(self) -> None:
        self.motion = _Motion()
        self.place, self.live = self.motion.place, self.motion.show  # type: ignore[method-assign]


def test_a_motion_goes_on_while_its_only_session_speaks() -> None:
    avatar = WatchedAvatar()
    stage = Stage(Timeline(cast(Any, avatar), BaseASR(left=2, right=6), 100.0), now=100.0)
    stage.tick()
    stage.play(frames((VOICE, 200)))
    places = stage.places()
    assert places == list(range(len(places))) and len(places) > 100
    assert avatar.place(stage.now - UNIT_S) - places[-1] in (0, 1)  # type: ignore[operator]
