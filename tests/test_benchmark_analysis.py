"""The benchmarks' arithmetic on signals whose answers are known."""

from __future__ import annotations

import binascii

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import analysis
from benchmarks.analysis import HOP_S, RestingMouth, Times
from benchmarks.figures import Figure
from benchmarks.marks import read_counter
from benchmarks.recording import MOUTH, PATCH_HEIGHT, PATCH_WIDTH, mouth_patch
from benchmarks.report import row
from engines import testcard

CARD = testcard.Card(512, 512)
Bools = np.typing.NDArray[np.bool_]


def times(seconds: float, step: float = HOP_S) -> Times:
    return np.arange(round(seconds / step), dtype=np.float64) * step


def test_sound_begins_where_it_lasts() -> None:
    t = times(5)
    rms = np.where((t >= 1.5) & (t < 3.0), 0.05, 1e-5)
    rms[100] = 0.5  # a click of 5 ms
    assert analysis.first_sound(t, rms, 0.0) == pytest.approx(1.5, abs=HOP_S)
    assert analysis.first_sound(t, rms, 2.0) == pytest.approx(2.0, abs=HOP_S)
    assert analysis.first_sound(t, rms, 3.5) is None
    assert analysis.first_sound(t[:3], rms[:3], 0.0) is None


def test_sound_ends_where_silence_lasts() -> None:
    t = times(5)
    rms = np.where(((t >= 1.5) & (t < 2.0)) | ((t >= 2.3) & (t < 3.0)), 0.05, 1e-5)  # a pause of 0.3 s is no end
    assert analysis.last_sound(t, rms, 1.6) == pytest.approx(3.0, abs=2 * HOP_S)
    assert analysis.last_sound(t, rms, 4.0) == 4.0  # silent already
    assert analysis.last_sound(t[t < 3.2], rms[t < 3.2], 1.6) is None  # not known yet
    assert analysis.last_sound(t[:0], rms[:0], 0.0) is None


@given(st.floats(0.0, 0.0399), st.integers(50, 150))
def test_envelope_has_the_level_of_its_sine(phase: float, hops: int) -> None:
    rate_hz = 48_000
    n = np.arange(hops * round(rate_hz * HOP_S) + 7)  # the rest of a hop is left out
    pcm = (0.5 * np.sin(2 * np.pi * 1000 * (n / rate_hz + phase))).astype(np.float32)
    rms = analysis.envelope(pcm, rate_hz)
    assert len(rms) == hops
    assert rms == pytest.approx(0.5 / np.sqrt(2), rel=1e-3)


def swaying_face(t: Times, open_at: Bools) -> np.typing.NDArray[np.uint8]:
    """Patches of a mouth that sways with a period of 2 s and opens at times."""
    rng = np.random.default_rng(7)
    x = np.arange(PATCH_WIDTH * PATCH_HEIGHT)
    still = 120 + 30 * np.sin(x / 7 + 0.3 * np.sin(np.pi * t)[:, None])
    mouth = (x > 200) & (x < 400)
    shown = np.where(open_at[:, None] & mouth, 30.0, still) + rng.normal(0, 1, (len(t), len(x)))
    return np.clip(shown, 0, 255).astype(np.uint8)


def test_motion_is_what_the_idle_motion_does_not_show() -> None:
    t = times(8, 0.04)
    patches = swaying_face(t, (t >= 5.0) & (t < 6.48))
    mouth = RestingMouth.learn(patches[t < 4])
    moving = mouth.moving(patches)
    assert not moving[t < 4].any()
    assert analysis.first_motion(t, moving, 4.0) == pytest.approx(5.0, abs=1e-6)
    assert analysis.first_motion(t, moving, 7.0) is None
    assert analysis.rest_again(t, moving, 5.2) == pytest.approx(6.48, abs=1e-6)
    assert analysis.rest_again(t[t < 6.6], moving[t < 6.6], 5.2) is None
    assert analysis.rest_again(t, moving, 7.0) == 7.0


def test_a_mouth_that_rests_with_the_next_picture_moved_until_then() -> None:
    t = times(2, 0.04)
    moving = t < 1.0
    assert analysis.rest_again(t, moving, 0.97) == pytest.approx(1.0)


def test_one_odd_picture_is_no_motion() -> None:
    t = times(2, 0.04)
    moving = np.zeros(len(t), bool)
    moving[20] = True
    assert analysis.first_motion(t, moving, 0.0) is None


def test_too_short_a_rest_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 25 idle pictures, there are 24"):
        RestingMouth.learn(np.zeros((24, 10), np.uint8))


def test_freezes_are_counted_as_webrtc_does() -> None:
    t = times(10, 0.04)
    assert analysis.pacing(t).freezes == 0
    assert analysis.pacing(t).fps == pytest.approx(25)
    assert analysis.pacing(t[(t < 5.0) | (t > 5.30)]).freezes == 1
    assert analysis.pacing(t[(t < 5.0) | (t > 5.10)]).freezes == 0
    assert analysis.pacing(t[:2]).fps == 0


def beeping(t: Times, onsets: Times) -> np.typing.NDArray[np.float64]:
    """Envelope of 60 ms beeps, with the hops they fill in part."""
    rms = np.zeros(len(t))
    for onset in onsets:
        fill = np.clip((np.minimum(t + HOP_S, onset + 0.06) - np.maximum(t, onset)) / HOP_S, 0, 1)
        rms += 0.35 * np.sqrt(fill)
    return rms


@given(st.floats(-0.2, 0.2), st.floats(0, 0.999 * HOP_S))
def test_marks_give_the_offset_back(offset: float, within_hop: float) -> None:
    t = times(8)
    onsets = np.arange(0.5, 7.5) + within_hop
    found = analysis.beeps(t, beeping(t, onsets))
    assert found == pytest.approx(onsets, abs=0.0012)
    counters = np.arange(200)
    shown = onsets[0] - offset + counters * 0.04
    counters[3], counters[50] = -1, -1  # one unreadable; the one of a whole second replaced by its successor
    at, offsets = analysis.mark_offsets(shown, counters, found)
    assert len(at) == len(onsets)
    assert offsets == pytest.approx(offset, abs=0.0015)


def test_marks_without_pictures_or_beeps_give_nothing() -> None:
    none = np.zeros(0)
    counters = np.zeros(0, np.int64)
    assert len(analysis.mark_offsets(none, counters, np.array([1.0]))[0]) == 0
    assert len(analysis.mark_offsets(np.array([1.0]), np.array([25]), none)[0]) == 0


def test_drift_is_a_slope() -> None:
    t = np.arange(0.0, 60.0)
    assert analysis.slope_ms_per_min(t + 1e9, 0.02 + t * 0.001) == pytest.approx(60)


def marked(counter: int, side: int = 16) -> np.typing.NDArray[np.uint8]:
    """A grey picture with the marks of `counter`."""
    head, clock = (0xA5000000 | counter).to_bytes(4, "big"), (123456789).to_bytes(4, "big")
    crc = binascii.crc_hqx(head + clock, 0xFFFF).to_bytes(2, "big")
    luma = np.full((32 * side, 32 * side), 128, np.uint8)
    for index, word in enumerate((head, clock, crc + b"\0\0")):
        bits = np.unpackbits(np.frombuffer(word, np.uint8))
        luma[index * side : (index + 1) * side] = np.repeat(np.where(bits, 220, 30), side)
    return luma


@given(st.integers(0, 0xFFFFFF))
def test_marks_are_read(counter: int) -> None:
    assert read_counter(marked(counter)) == counter


@given(st.integers(0, 0xFFFFFF))
def test_the_test_card_is_read(counter: int) -> None:
    assert read_counter(CARD.draw(counter, 1_700_000_000_123)[:512]) == counter


def test_damaged_or_absent_marks_are_not_read() -> None:
    damaged = marked(1000)
    damaged[:16, 400:416] ^= 255
    assert read_counter(damaged) == -1
    assert read_counter(np.full((512, 512), 128, np.uint8)) == -1
    assert read_counter(marked(5)[:20]) == -1


def test_mouth_patch_is_the_mean_of_boxes() -> None:
    luma = np.zeros((512, 512), np.uint8)
    x, y = int(MOUTH[0] * 512), int(MOUTH[1] * 512)
    luma[y : y + 4, x : x + 3] = 200  # one box of 3 x 4 and a bit more than a box of rows
    patch = mouth_patch(luma).reshape(PATCH_HEIGHT, PATCH_WIDTH)
    assert patch[0, 0] == 200
    assert patch[0, 1] == 0 and patch[2, 0] == 0


@pytest.mark.parametrize(
    ("values", "judge", "passed"),
    [
        ([10.0] * 99 + [500.0], "p95", True),
        ([10.0] * 99 + [500.0], "worst", False),
        ([-50.0] * 10, "p95", False),
        ([25.0, 24.9], "least", False),
        ([], "p95", False),
    ],
)
def test_figures_are_held_against_their_bars(values: list[float], judge: str, passed: bool) -> None:
    bar = 25 if judge == "least" else 40
    figure = Figure("x", "x", "ms", values, bar, judge)  # type: ignore[arg-type]
    assert figure.passed is passed
    assert ("| yes |" if passed else "| **no** |") in row(figure)


def test_a_failed_attempt_fails_its_figure() -> None:
    figure = Figure("x", "x", "ms", [1.0], 40, failed=["no sound"])
    assert figure.passed is False
    assert "1 failed: no sound" in row(figure)
