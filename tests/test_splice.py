"""Splices: no click wherever speech breaks off, and not a sample touched where it does not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from media import SAMPLES_PER_FRAME, SILENCE, Pcm
from tests.fakes.real import tone
from transport.splice import FADE_SAMPLES, Splice

STEP_MAX = 2 * np.pi * 440 / 16_000 * 0.5 * 1.6  # of a 440 Hz tone at 0.5, and what a fade adds to it


def steps(*frames: Pcm) -> float:
    """The largest jump between neighbouring samples."""
    return float(np.abs(np.diff(np.concatenate(frames))).max())


def test_speech_that_goes_on_is_not_touched() -> None:
    splice = Splice()
    for frame in [*tone(3), SILENCE, *tone(2)]:
        assert splice.join(frame) is frame


@pytest.mark.parametrize("known", [True, False])
def test_speech_that_breaks_off_fades(known: bool) -> None:
    frames, splice = tone(2), Splice()
    splice.join(frames[0])
    end = splice.pause(frames[1] if known else None, resumes=False)
    assert steps(frames[0], end) < STEP_MAX
    assert not end[FADE_SAMPLES:].any()
    assert splice.pause(resumes=False) is SILENCE


def test_a_torn_clause_fades_in_again() -> None:
    frames, splice = tone(3), Splice()
    splice.join(frames[0])
    splice.pause(resumes=True)
    assert splice.pause(resumes=False) is SILENCE
    again = splice.join(frames[2])
    assert again[0] == 0
    assert np.array_equal(again[FADE_SAMPLES:], frames[2][FADE_SAMPLES:])
    assert splice.join(frames[1]) is frames[1]


def test_frames_are_never_changed_in_place() -> None:
    frames, splice = tone(2), Splice()
    for frame in frames:
        frame.setflags(write=False)
    splice.join(frames[0])
    splice.switch(frames[1])
    splice.pause(frames[0], resumes=True)
    splice.join(frames[1])


@given(st.integers(40, 1000), st.integers(40, 1000), st.floats(0.1, 1.0))
def test_other_speech_takes_over_within_bounds(old_hz: int, new_hz: int, amplitude: float) -> None:
    splice = Splice()
    old = tone(1, old_hz, amplitude)[0]
    new = tone(1, new_hz, amplitude)[0]
    splice.join(old)
    sent = splice.switch(new)
    assert sent.shape == (SAMPLES_PER_FRAME,)
    assert np.abs(sent).max() <= 1
    assert np.array_equal(sent[FADE_SAMPLES:], new[FADE_SAMPLES:])
    assert abs(sent[0] - old[-1]) < 0.05 + abs(new[0])
