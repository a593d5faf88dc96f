"""The sliding window: what an engine hears for each video frame."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from baseasr import BaseASR
from media import SAMPLES_PER_FRAME
from tests.fakes.session import number_of, numbered


def heard(pcm: np.ndarray) -> list[int]:
    """Frame numbers in a window; 0 is silence."""
    return [round(float(pcm[i * SAMPLES_PER_FRAME]) * 1000) for i in range(len(pcm) // SAMPLES_PER_FRAME)]


def test_a_window_is_left_context_the_frame_and_look_ahead() -> None:
    asr = BaseASR(left=3, right=2)
    for n in range(1, 8):
        asr.put(numbered(n, turn=0))
    assert heard(asr.next().pcm) == [0, 0, 0, 1, 2, 3, 4]
    assert heard(asr.next().pcm) == [0, 1, 2, 3, 4, 5, 6]
    assert not asr.ready


def test_it_waits_for_look_ahead_unless_the_clause_ends() -> None:
    asr = BaseASR(left=0, right=2)
    for n in (1, 2, 3):
        asr.put(numbered(n, turn=0))
    assert not asr.ready
    asr.put(numbered(4, turn=0, final=True))
    assert asr.ready
    asr.next()
    assert heard(asr.next().pcm) == [3, 4, 0, 0]


def test_an_odd_last_frame_is_paired_with_silence() -> None:
    asr = BaseASR(left=0, right=1)
    asr.put(numbered(1, turn=0, final=True))
    window = asr.next()
    assert [number_of(f) for f in window.speech] == [1, 0]


def test_ending_without_a_final_frame_lets_the_rest_out() -> None:
    asr = BaseASR(left=0, right=6)
    asr.put(numbered(1, turn=0))
    assert not asr.ready
    asr.end()
    assert asr.ready


def test_silence_hears_the_past_and_takes_nothing() -> None:
    asr = BaseASR(left=2, right=2)
    for n in (1, 2, 3, 4):
        asr.put(numbered(n, turn=0))
    asr.next()
    assert heard(asr.silence(0).pcm) == [1, 2, 0, 0, 0, 0]
    assert len(asr) == 2


def test_negative_context_is_refused() -> None:
    with pytest.raises(ValueError, match="-1"):
        BaseASR(left=-1, right=2)


@given(st.integers(0, 5), st.integers(0, 8), st.lists(st.integers(1, 9), max_size=8))
def test_every_frame_is_taken_once_in_order_and_windows_have_one_length(
    left: int, right: int, clauses: list[int]
) -> None:
    asr = BaseASR(left, right)
    number = 0
    taken: list[int] = []
    for length in clauses:
        for i in range(length):
            number += 1
            asr.put(numbered(number, turn=0, final=i == length - 1))
        while asr.ready:
            window = asr.next()
            assert len(window.pcm) == (left + 2 + right) * SAMPLES_PER_FRAME
            taken += [number_of(f) for f in window.speech]
    assert [n for n in taken if n] == list(range(1, number + 1))
