"""The long window that several video frames share."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from baseasr import BaseASR, FeatureWindow
from media import SAMPLES_PER_FRAME, Event, silent_frame
from museasr import MAX_WINDOW_FRAMES, MIN_LEFT_FRAMES, MIN_RIGHT_FRAMES, MuseASR
from tests.fakes.session import number_of, numbered

LEFT, RIGHT = MIN_LEFT_FRAMES, MIN_RIGHT_FRAMES


def heard(pcm: np.ndarray) -> list[int]:
    """Frame numbers in a window; 0 is silence."""
    return [round(float(x) * 1000) for x in pcm[::SAMPLES_PER_FRAME]]


def around(window: FeatureWindow, before: int, after: int) -> list[int]:
    """What is heard around the window's own video frame."""
    first = LEFT + 2 * window.offset
    return heard(window.pcm)[first - before : first + 2 + after]


def filled(count: int, step: int = 8, *, final: bool = False) -> MuseASR:
    asr = MuseASR(step=step)
    for n in range(1, count + 1):
        asr.put(numbered(n, turn=0, final=final and n == count))
    return asr


def test_the_video_frames_of_a_step_share_one_window() -> None:
    asr = filled(30)
    windows = [asr.next() for _ in range(8)]
    assert [w.offset for w in windows] == [0, 1, 2, 3, 0, 1, 2, 3]
    assert all(w.pcm is windows[0].pcm for w in windows[:4]) and windows[4].pcm is not windows[0].pcm
    assert heard(windows[0].pcm) == [0] * LEFT + list(range(1, 9)) + list(range(9, 15))
    assert heard(windows[4].pcm) == [0] * (LEFT - 8) + list(range(1, 17)) + list(range(17, 23))
    for i, window in enumerate(windows):
        assert [number_of(f) for f in window.speech] == [2 * i + 1, 2 * i + 2]
        assert around(window, 0, 0) == [2 * i + 1, 2 * i + 2]


def test_a_shared_window_cannot_be_changed_by_one_of_its_users() -> None:
    with pytest.raises(ValueError, match="read-only"):
        filled(30).next().pcm[0] = 1


def test_it_waits_for_the_look_ahead_of_one_video_frame_not_for_a_whole_step() -> None:
    asr = filled(RIGHT + 1)
    assert not asr.ready
    asr.put(numbered(RIGHT + 2, turn=0))
    assert asr.ready
    window = asr.next()
    assert around(window, 4, RIGHT) == [0, 0, 0, 0, *range(1, RIGHT + 3)]
    assert len(window.pcm) == (LEFT + 8 + RIGHT) * SAMPLES_PER_FRAME
    assert not asr.ready


def test_the_end_of_a_clause_waits_for_nothing() -> None:
    asr = filled(3, final=True)
    windows = []
    while asr.ready:
        windows.append(asr.next())
    assert [[number_of(f) for f in w.speech] for w in windows] == [[1, 2], [3, 0]]
    assert windows[0].pcm is windows[1].pcm
    assert around(windows[0], 1, RIGHT) == [0, 1, 2, 3] + [0] * (RIGHT - 1)


def test_speech_that_comes_after_the_end_of_a_clause_is_not_drawn_into_its_last_step() -> None:
    asr = filled(3, final=True)
    asr.next()
    asr.put(numbered(4, turn=0))
    assert [number_of(f) for f in asr.next().speech] == [3, 0]
    assert len(asr) == 1 and not asr.ready


def test_ending_without_a_final_frame_lets_the_rest_out() -> None:
    asr = filled(2)
    assert not asr.ready
    asr.end()
    assert asr.ready and around(asr.next(), 0, 2) == [1, 2, 0, 0]


def test_what_is_put_in_and_not_taken_is_counted_while_a_step_is_under_way() -> None:
    asr = filled(14)
    counts = [len(asr)]
    while asr.ready:
        asr.next()
        counts.append(len(asr))
    assert counts == [14, 12, 10, 8, 6]


def test_an_interruption_forgets_the_rest_of_the_step_but_not_what_was_heard() -> None:
    asr = filled(30)
    asr.next()
    asr.next()
    asr.drop_pending()
    assert not asr.ready and len(asr) == 0
    asr.put(numbered(99, turn=1, final=True))
    window = asr.next()
    assert around(window, 6, 2) == [0, 0, 1, 2, 3, 4, 99, 0, 0, 0]
    assert [f.turn for f in window.speech] == [1, 1]


def test_silence_hears_the_past_and_takes_nothing() -> None:
    asr = filled(13)
    asr.next()
    window = asr.silence(0)
    assert around(window, 3, RIGHT) == [0, 1, 2] + [0] * (2 + RIGHT)
    assert len(asr) == 11
    assert around(asr.next(), 6, 2) == [0, 0, 1, 2, 0, 0, 3, 4, 5, 6]


def test_silent_video_frames_in_a_row_share_their_windows_too() -> None:
    asr = filled(1, final=True)
    asr.next()
    windows = [asr.silence(0) for _ in range(5)]
    assert [w.offset for w in windows] == [0, 1, 2, 3, 0]
    assert all(w.pcm is windows[0].pcm for w in windows[:4]) and windows[4].pcm is not windows[0].pcm
    assert [around(w, 10, 0).count(1) for w in windows] == [1] * 4 + [1]
    assert around(windows[4], 10, 0).index(1) == 0


def test_a_pair_of_ones_own_is_cut_as_the_base_cuts_it() -> None:
    ours, base = filled(4), BaseASR(left=LEFT, right=RIGHT)
    for n in range(1, 5):
        base.put(numbered(n, turn=0))
    pair = (numbered(7, turn=0), silent_frame(0))
    for look_ahead in (True, False):
        expected = heard(base.cut(pair, look_ahead=look_ahead).pcm)
        assert around(ours.cut(pair, look_ahead=look_ahead), LEFT, RIGHT) == expected


def test_events_stay_with_their_frames() -> None:
    asr = MuseASR()
    event = Event("clause.started", 0)
    asr.put(numbered(1, 0))
    asr.put(numbered(2, 0, (event,), final=True))
    assert [f.events for f in asr.next().speech] == [(), (event,)]


def test_less_context_than_the_features_need_is_filled_up() -> None:
    asr = MuseASR(left=10, right=2, step=9)
    assert (asr.left, asr.right, asr.step) == (MIN_LEFT_FRAMES, MIN_RIGHT_FRAMES, 8)
    assert MuseASR(left=150, right=10).left == 150


@pytest.mark.parametrize("options", [{"step": 1}, {"step": 0}, {"left": MAX_WINDOW_FRAMES}, {"right": 2000}])
def test_impossible_windows_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"must be|2000"):
        MuseASR(**options)


@given(
    st.integers(2, 20),
    st.lists(st.tuples(st.sampled_from(["put", "final", "take", "silence", "drop"]), st.integers(1, 12)), max_size=30),
)
def test_pictures_get_the_speech_that_the_base_gives_them(step: int, script: list[tuple[str, int]]) -> None:
    ours, base = MuseASR(step=step), BaseASR(LEFT, RIGHT)
    number = 0
    for what, count in script:
        for i in range(count):
            if what in ("put", "final"):
                number += 1
                for asr in (ours, base):
                    asr.put(numbered(number, turn=0, final=what == "final" and i == count - 1))
            elif what == "drop":
                ours.drop_pending()
                base.drop_pending()
            elif what == "silence":
                assert heard(base.silence(0).pcm) == around(ours.silence(0), LEFT, RIGHT)
            elif base.ready and ours.ready:
                mine, theirs = ours.next(), base.next()
                if [number_of(f) for f in mine.speech] != [number_of(f) for f in theirs.speech]:
                    return  # a step that ended with its clause pairs the last frame with silence, whatever came since
                assert len(mine.pcm) == (LEFT + ours.step + RIGHT) * SAMPLES_PER_FRAME
                expected = heard(theirs.pcm)
                # Sound that arrived since the step was cut is not heard in it.
                late = [a != b for a, b in zip(around(mine, LEFT, RIGHT), expected, strict=True)]
                assert not any(late[: LEFT + 2])
                assert all(a in (0, b) for a, b in zip(around(mine, 0, RIGHT), expected[LEFT:], strict=True))
        assert len(ours) == len(base) and (ours.ready or not base.ready)
