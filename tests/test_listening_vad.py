"""Who speaks: Silero on real speech and other sounds, and what is made of its windows."""

from __future__ import annotations

import sys
import types
from pathlib import Path

import hibari
import numpy as np
import pytest
import soxr

from errors import NotFound, Unavailable
from listening.activity import WINDOW_S, Activity, Heard
from listening.frames import MicFrame
from listening.settings import MODES, ListeningSettings
from listening.vad import WINDOW, SileroVad, TenVad, load_silero
from media import SAMPLE_RATE_HZ, SAMPLES_PER_FRAME, SPEECH_FRAME_S, Pcm
from tests.fakes.listening import SPEECH_LEVEL, LoudnessVad, click, cough, music, windows

SETTINGS = ListeningSettings()


@pytest.fixture(scope="module")
def speech() -> Pcm:
    """A sentence at -20 dBFS, without silence around it."""
    wav = hibari.Hibari()("Good morning, where is the old harbour?", seed=1)
    pcm = np.asarray(soxr.resample(wav, hibari.SAMPLE_RATE, SAMPLE_RATE_HZ), np.float32)
    loud = np.flatnonzero(np.abs(pcm) > 0.02)
    pcm = pcm[loud[0] : loud[-1]]
    return np.asarray(pcm * (0.1 / np.sqrt(np.square(pcm).mean())), np.float32)


def silence(seconds: float) -> Pcm:
    return np.zeros(round(seconds * SAMPLE_RATE_HZ), np.float32)


def hear(activity: Activity, pcm: Pcm, begins: float = 0.0) -> list[Heard]:
    found = []
    for i, frame in enumerate(windows(pcm, SAMPLES_PER_FRAME)):
        found += activity.hear(MicFrame(frame, begins + i * SPEECH_FRAME_S))
    return found


def changes(heard: list[Heard]) -> list[tuple[str, float]]:
    return [(one.state, one.at) for one in heard if one.changed]


def share_of_speech(vad: SileroVad, pcm: Pcm) -> float:
    return float(np.mean([vad(window) > 0.5 for window in windows(pcm, WINDOW)]))


def test_silero_tells_speech_from_silence_and_noise(speech: Pcm) -> None:
    vad = SileroVad()
    rng = np.random.default_rng(0)
    assert max(vad(window) for window in windows(silence(2), WINDOW)) < 0.1
    noise = (0.05 * rng.standard_normal(3 * SAMPLE_RATE_HZ)).astype(np.float32)
    vad.reset()
    assert share_of_speech(vad, noise) < 0.05
    vad.reset()
    assert share_of_speech(vad, speech) > 0.8


def test_a_reset_forgets_what_was_heard(speech: Pcm) -> None:
    network = load_silero()
    vad, other = SileroVad(network), SileroVad(network)
    first = [vad(window) for window in windows(speech, WINDOW)]
    assert [other(window) for window in windows(speech, WINDOW)] == first, "streams that share a network hear apart"
    vad.reset()
    assert [vad(window) for window in windows(speech, WINDOW)] == first


def test_another_number_of_samples_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\[320\].*\[512\]"):
        SileroVad()(np.zeros(320, np.float32))


def test_missing_and_damaged_weights_are_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no.onnx does not exist"):
        load_silero(tmp_path / "no.onnx")
    (tmp_path / "bad.onnx").write_bytes(b"no network")
    with pytest.raises(Unavailable, match="bad.onnx cannot be loaded"):
        load_silero(tmp_path / "bad.onnx")


def test_ten_says_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ten_vad", None)
    with pytest.raises(Unavailable, match=r"ten-vad==1.0.6.9.*libc\+\+1.*licence"):
        TenVad()


def test_ten_judges_both_hops_of_a_window(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[tuple[int, str]] = []

    class Judge:
        def __init__(self, hop_size: int, threshold: float) -> None:
            assert hop_size == 256

        def process(self, pcm: np.ndarray) -> tuple[float, int]:
            heard.append((int(pcm[0]), str(pcm.dtype)))
            return 0.2 * len(heard), 0

    monkeypatch.setitem(sys.modules, "ten_vad", types.SimpleNamespace(TenVad=Judge))
    vad = TenVad()
    assert vad(np.repeat(np.array([0.5, 2.0], np.float32), 256)) == pytest.approx(0.4, rel=1e-6)
    assert heard == [(16383, "int16"), (32767, "int16")], "what clips does not turn over"


def test_speech_is_noticed_with_its_beginning_and_its_end(speech: Pcm) -> None:
    activity = Activity(SileroVad(), SETTINGS)
    lead_s, length_s = 1.0, len(speech) / SAMPLE_RATE_HZ
    heard = hear(activity, np.concatenate([silence(lead_s), speech, silence(1)]), begins=100.0)
    (began, began_at), *_, (ended, ended_at) = changes(heard)
    assert (began, ended) == ("speech", "pause")
    assert 101.0 <= began_at <= 101.0 + SETTINGS.prefix_s, "the first word's beginning would be lost"
    assert 0 < ended_at - (101.0 + length_s) < SETTINGS.pause_s + 0.15
    assert np.allclose([one.at for one in heard], 100.0 + WINDOW_S * np.arange(len(heard)))


@pytest.mark.parametrize("length_s", [0.02, 0.03, 0.06])
def test_clicks_start_nothing(length_s: float) -> None:
    activity = Activity(SileroVad(), SETTINGS)
    typing = np.concatenate([click(at_s=0.05 * (i % 3), length_s=length_s) for i in range(40)])
    assert changes(hear(activity, typing)) == []


def test_coughs_start_nothing() -> None:
    activity = Activity(SileroVad(), SETTINGS)
    rng = np.random.default_rng(0)
    coughing = np.concatenate([np.concatenate([cough(rng), silence(0.3)]) for _ in range(20)])
    assert changes(hear(activity, coughing)) == []


def test_music_without_a_singer_starts_nothing() -> None:
    activity = Activity(SileroVad(), SETTINGS)
    assert changes(hear(activity, music(60, np.random.default_rng(0)))) == []


def loud(seconds: float) -> Pcm:
    return np.full(round(seconds * SAMPLE_RATE_HZ), SPEECH_LEVEL, np.float32)


def test_a_stop_within_a_word_is_no_pause() -> None:
    activity = Activity(LoudnessVad(), SETTINGS)
    word = np.concatenate([loud(0.3), silence(0.12)])
    assert [state for state, _ in changes(hear(activity, np.tile(word, 5)))] == ["speech"]


def test_a_click_in_a_pause_does_not_end_it() -> None:
    activity = Activity(LoudnessVad(), SETTINGS)
    heard = hear(activity, np.concatenate([loud(0.5), silence(0.5), loud(0.03), silence(0.5)]))
    assert [state for state, _ in changes(heard)] == ["speech", "pause"]


def test_who_goes_on_is_noticed_sooner_than_who_begins() -> None:
    activity = Activity(LoudnessVad(), SETTINGS)
    heard = hear(activity, np.concatenate([silence(1), loud(1), silence(1), loud(1)]))
    (_, began), _, (_, resumed) = changes(heard)
    assert began - 1 > resumed - 3 >= 0.0
    assert resumed - 3 <= SETTINGS.resume_s


def test_digital_silence_costs_no_call_and_does_not_dull_the_judge() -> None:
    vad = LoudnessVad()
    activity = Activity(vad, SETTINGS)
    hear(activity, silence(60))
    assert vad.asked == 0
    hear(activity, loud(1))
    assert vad.asked > 0 and vad.resets == 1


def test_what_is_no_number_is_silence() -> None:
    activity = Activity(SileroVad(), SETTINGS)
    broken = np.full(SAMPLE_RATE_HZ, np.nan, np.float32)
    broken[::2] = np.inf
    with np.errstate(invalid="ignore"):
        assert changes(hear(activity, broken)) == []


def test_a_judge_hears_on_after_what_is_no_number(speech: Pcm) -> None:
    activity = Activity(SileroVad(), SETTINGS)
    with np.errstate(invalid="ignore"):
        hear(activity, np.full(SAMPLE_RATE_HZ, np.nan, np.float32))
    assert changes(hear(activity, np.concatenate([silence(0.2), speech])))[0][0] == "speech"


def test_modes_answer_sooner_or_wait_longer() -> None:
    fast, balanced, quality = (MODES[name] for name in ("fast", "balanced", "quality"))
    for name in ("sure_s", "likely_s", "unlikely_s", "limit_s"):
        times = [getattr(mode, name) for mode in (fast, balanced, quality)]
        assert times == sorted(times) and len(set(times)) == 3, name
    for mode in MODES.values():
        assert mode.pause_s < mode.sure_s <= mode.likely_s <= mode.unlikely_s < mode.open_sure_s < mode.limit_s
