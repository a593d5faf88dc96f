"""Her own voice in the microphone is told and taken out; a user's is not."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from errors import BadRequest, Unavailable
from listening.canceller import canceller_is_installed
from listening.echo import WINDOW_S, EchoGuard
from listening.echogate import likeness
from listening.frames import MicFrame
from listening.reference import KEPT_S, Reference
from listening.settings import EchoMode
from media import SAMPLE_RATE_HZ, SAMPLES_PER_FRAME, SPEECH_FRAME_S, Pcm
from tests.test_clock import Bench

BEGAN = 5000.0
needs_canceller = pytest.mark.skipif(not canceller_is_installed(), reason="pywebrtc-audio is not installed")


def voice(seconds: float, seed: int, level: float = 0.1) -> Pcm:
    """Like speech to a correlator: syllables of dark noise."""
    rng = np.random.default_rng(seed)
    n = round(seconds * SAMPLE_RATE_HZ)
    wave = np.convolve(rng.standard_normal(n), 0.9 ** np.arange(60), "same")
    syllables = np.repeat(rng.random(n // 2000 + 1) > 0.3, 2000)[:n]
    wave *= np.convolve(syllables, np.ones(400) / 400, "same")
    return (level * wave / np.sqrt(np.mean(wave**2))).astype(np.float32)


def echo_of(wave: Pcm, delay_s: float, gain: float = 0.5) -> Pcm:
    """Through a small room."""
    rng = np.random.default_rng(9)
    response = 0.15 * rng.standard_normal(1600) * np.exp(-np.arange(1600) / 300)
    response[0] = 1
    delay = round(delay_s * SAMPLE_RATE_HZ)
    back = np.convolve(wave, response)[: len(wave)]
    return (gain * np.concatenate([np.zeros(delay), back])[: len(wave)]).astype(np.float32)


def hiss(samples: int) -> Pcm:
    return (5e-4 * np.random.default_rng(3).standard_normal(samples)).astype(np.float32)


def through(guard: EchoGuard, sent: Pcm, heard: Pcm, jitter_s: float = 0.0) -> list[MicFrame]:
    """Both, 20 ms by 20 ms."""
    rng, cleaned = np.random.default_rng(5), []
    for k in range(len(sent) // SAMPLES_PER_FRAME):
        part, at = slice(k * SAMPLES_PER_FRAME, (k + 1) * SAMPLES_PER_FRAME), BEGAN + k * SPEECH_FRAME_S
        if sent[part].any():
            guard.play(sent[part], at)
        cleaned.append(guard.clean(MicFrame(heard[part], at + jitter_s * rng.random())))
    return cleaned


def power_db(frames: list[MicFrame]) -> float:
    return float(10 * np.log10(np.mean(np.concatenate([frame.pcm for frame in frames]) ** 2) + 1e-12))


# ---- Reference


@given(
    st.lists(st.tuples(st.integers(-SAMPLE_RATE_HZ, 3 * SAMPLE_RATE_HZ), st.integers(1, 900)), max_size=20),
    st.integers(-SAMPLE_RATE_HZ, 12 * SAMPLE_RATE_HZ),
    st.integers(1, 2 * SAMPLE_RATE_HZ),
)
def test_reference_holds_what_was_sent_when(writes: list[tuple[int, int]], begin: int, samples: int) -> None:
    reference, origin = Reference(), round(BEGAN * SAMPLE_RATE_HZ)
    whole, at, newest = np.zeros(80 * SAMPLE_RATE_HZ, np.float32), 0, 0
    rng = np.random.default_rng(1)
    for gap, length in writes:
        at = max(at, newest) + max(0, gap)  # a clock only goes on
        pcm = rng.random(length).astype(np.float32)
        reference.write(pcm, (origin + at) / SAMPLE_RATE_HZ)
        whole[at : at + length] = pcm
        newest = at + length
    oldest = newest - round(KEPT_S * SAMPLE_RATE_HZ)
    wanted = np.zeros(samples, np.float32)
    for k in range(max(begin, oldest, 0), min(begin + samples, newest)):
        wanted[k - begin] = whole[k]
    assert np.array_equal(reference.read(origin + begin, samples), wanted)


def test_reference_takes_what_comes_late_and_ignores_what_is_too_old() -> None:
    reference = Reference()
    reference.write(np.full(320, 0.5, np.float32), 100.0)
    reference.write(np.full(320, 0.25, np.float32), 99.98)
    reference.write(np.full(320, 1.0, np.float32), 90.0)
    assert reference.read(round(99.98 * SAMPLE_RATE_HZ), 640).tolist() == [0.25] * 320 + [0.5] * 320
    assert reference.sounded_until == pytest.approx(100.02)


def test_silence_is_no_sound_of_hers() -> None:
    reference = Reference()
    reference.write(np.full(320, 1e-4, np.float32), 100.0)
    assert reference.sounded_until == -np.inf


# ---- telling


def test_likeness_finds_the_delay() -> None:
    sent = voice(1.6, 1)
    heard = 0.3 * sent[4000 : 4000 + 9600]
    value, begin = likeness(heard, sent)
    assert value == pytest.approx(1, abs=0.01) and begin == 4000
    assert likeness(voice(0.6, 2), sent)[0] < 0.3
    assert likeness(np.zeros(9600, np.float32), sent)[0] == 0
    assert likeness(heard, np.zeros_like(sent))[0] == 0


@pytest.mark.parametrize("mode", ["browser", "gate"])
@pytest.mark.parametrize("delay_s", [0.02, 0.25, 0.9])
def test_gate_silences_her_and_nobody_else(mode: EchoMode, delay_s: float) -> None:
    sent = voice(6, 1)
    sent[:SAMPLE_RATE_HZ] = 0
    heard = echo_of(sent, delay_s) + hiss(len(sent))
    guard = EchoGuard(mode)
    left = through(guard, sent, heard, jitter_s=0.002)
    assert power_db(left[100:]) < power_db([MicFrame(heard[32_000:], 0)]) - 20
    assert guard.describe()["lag_ms"] == pytest.approx(1000 * delay_s, abs=5)
    user = voice(6, 2) + hiss(len(sent))
    left = through(EchoGuard(mode), sent, user)
    assert np.array_equal(np.concatenate([frame.pcm for frame in left]), user)


def test_likely_echo_is_asked_of_what_was_heard() -> None:
    sent = voice(4, 1)
    heard, user = echo_of(sent, 0.12), voice(4, 2)
    guard = EchoGuard("browser")
    through(guard, sent, np.zeros_like(sent))
    for begin_s, length_s in ((2.0, 0.3), (2.5, 0.6), (1.5, 2.0)):
        part = slice(round(begin_s * SAMPLE_RATE_HZ), round((begin_s + length_s) * SAMPLE_RATE_HZ))
        assert guard.likely_echo(heard[part], BEGAN + begin_s)
        assert not guard.likely_echo(user[part], BEGAN + begin_s)
    assert not guard.likely_echo(np.zeros(0, np.float32), BEGAN)
    assert not guard.likely_echo(np.zeros(4800, np.float32), BEGAN + 2)
    assert not guard.likely_echo(user[:4800], BEGAN + 60), "long after she spoke"
    assert not EchoGuard("off").likely_echo(heard[32_000:40_000], BEGAN + 2)


def test_window_is_half_duplex() -> None:
    sent = np.concatenate(
        [np.zeros(16_000, np.float32), np.full(32_000, 0.1, np.float32), np.zeros(32_000, np.float32)]
    )
    user = np.full(len(sent), 0.1, np.float32)
    guard = EchoGuard("window")
    left = through(guard, sent, user)
    silent = [not frame.pcm.any() for frame in left]
    ends = guard._reference.sounded_until - BEGAN + WINDOW_S
    assert not any(silent[:48])
    assert all(silent[50 : round(ends / SPEECH_FRAME_S) - 1])
    assert not any(silent[round(ends / SPEECH_FRAME_S) + 1 :])
    assert guard.likely_echo(user[:4800], BEGAN + 2) and not guard.likely_echo(user[:4800], BEGAN + 4.5)


def test_off_costs_and_changes_nothing() -> None:
    guard = EchoGuard("off")
    frame = MicFrame(np.full(320, 0.1, np.float32), BEGAN)
    guard.play(frame.pcm, BEGAN)
    assert guard.clean(frame) is frame
    assert guard.describe()["silenced"] == 0


def test_unknown_mode_is_explained() -> None:
    with pytest.raises(BadRequest, match="'loud'.*browser"):
        EchoGuard("loud")  # type: ignore[arg-type]


# ---- cancelling


def test_missing_package_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pywebrtc_audio", None)
    with pytest.raises(Unavailable, match="pip install pywebrtc-audio"):
        EchoGuard("aec")


@needs_canceller
@pytest.mark.parametrize("delay_s", [0.02, 0.25, 0.9])
def test_canceller_takes_her_out_and_leaves_the_user(delay_s: float) -> None:
    sent = voice(10, 1)
    heard = echo_of(sent, delay_s) + hiss(len(sent))
    user = voice(10, 2)
    user[: 8 * SAMPLE_RATE_HZ] = 0
    guard = EchoGuard("aec")
    left = through(guard, sent, heard + user, jitter_s=0.002)
    assert power_db(left[300:400]) < power_db([MicFrame(heard[96_000:128_000], 0)]) - 20
    assert power_db(left[410:]) > power_db(left[300:400]) + 10, "who speaks at the same time is heard"
    figures = guard.describe()
    assert figures["cancelled_db"] > 3 and figures["cost_ms"] > 0
    assert (figures["taken_off_ms"] > 600) == (delay_s == 0.9), "what AEC3 does not find by itself"


@needs_canceller
@pytest.mark.parametrize(("before_s", "after_s"), [(0.06, 0.7), (0.7, 0.1)])
def test_a_delay_that_changes_in_mid_session_is_found_again_within_three_seconds(
    before_s: float, after_s: float
) -> None:
    sent, half = voice(20, 1), 10 * SAMPLE_RATE_HZ
    heard = echo_of(sent, before_s) + hiss(len(sent))
    heard[half:] = (echo_of(sent, after_s) + hiss(len(sent)))[half:]
    left = through(EchoGuard("aec"), sent, heard)
    came_db = power_db([MicFrame(heard[half + 3 * SAMPLE_RATE_HZ :], 0)])
    assert power_db(left[500:575]) > came_db - 12, "another delay is another echo"
    assert power_db(left[650:]) < came_db - 20


@needs_canceller
def test_user_who_speaks_over_her_is_told_by_what_the_canceller_leaves() -> None:
    sent, user = voice(8, 1), voice(8, 2)
    user[: 6 * SAMPLE_RATE_HZ] = 0
    heard = echo_of(sent, 0.12, gain=1.0) + user
    guard, plain = EchoGuard("aec"), EchoGuard("browser")
    through(guard, sent, heard)
    through(plain, sent, heard)
    last = heard[-SAMPLE_RATE_HZ:]
    assert plain.likely_echo(last, BEGAN + 7) and not guard.likely_echo(last, BEGAN + 7)


@needs_canceller
def test_cancelled_frames_keep_their_times() -> None:
    user = voice(2, 2) + hiss(32_000)
    left = through(EchoGuard("aec"), np.zeros(32_000, np.float32), user)
    heard = np.concatenate([frame.pcm for frame in left])
    lag = int(np.correlate(heard[8000:24_000], user[7000:23_000], "full").argmax()) - 15_999
    late_s = (lag + 1000) / SAMPLE_RATE_HZ
    assert BEGAN - left[0].at == pytest.approx(late_s, abs=0.001)


# ---- what the playout clock tells


def test_clock_tells_what_it_sends_and_when() -> None:
    bench, told = Bench(), []
    bench.time.at(0.1, lambda: bench.real.speak(5))
    bench.clock.on_sound = lambda pcm, at: told.append((round((at - 1000) / SPEECH_FRAME_S), np.array(pcm)))
    bench.run()
    sent = {tick: pcm for tick, pcm in bench.audio.frames if pcm.any()}
    assert len(sent) >= 10
    assert sorted(sent) == [tick for tick, pcm in told if pcm.any()]
    assert all(np.array_equal(sent[tick], pcm) for tick, pcm in told if pcm.any())


def test_failing_listener_costs_the_clock_nothing(caplog: pytest.LogCaptureFixture) -> None:
    bench, told = Bench(), []

    def fail(pcm: Pcm, at: float) -> None:
        told.append(at)
        raise RuntimeError("scripted")

    bench.real.speak(10)
    bench.clock.on_sound = fail
    bench.run()
    assert len(told) == 1 and len(bench.audio.frames) == 50 and bench.ended == [None]
    assert "scripted" in caplog.text
