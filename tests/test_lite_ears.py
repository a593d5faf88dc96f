"""Ears to mouth: the committed network on real synthetic speech, and the targets it is trained towards."""

from __future__ import annotations

from pathlib import Path

import hibari
import numpy as np
import pytest
import soxr
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from engines.lite.ears import (
    CHANNELS,
    LEFT_FRAMES,
    MEL_BANDS,
    MEL_FRAMES,
    RIGHT_FRAMES,
    WEIGHTS,
    WINDOW_SAMPLES,
    Ears,
    log_mel,
    mel_filters,
)
from errors import EngineError
from media import SAMPLE_RATE_HZ, SAMPLES_PER_FRAME, SAMPLES_PER_UNIT, UNIT_S
from training.ears.phones import MIXES, SILENCE, Gesture, gestures, split_symbol
from training.ears.targets import VISEMES, aperture, mouth_track, rounding
from training.ears.voices import Phone

Pcm = NDArray[np.float32]
CLOSED_APERTURE = 0.1


def windows_of(pcm: Pcm) -> NDArray[np.float32]:
    """The windows a session would cut, one for each 40 ms of `pcm`."""
    units = len(pcm) // SAMPLES_PER_UNIT
    padded = np.zeros(LEFT_FRAMES * SAMPLES_PER_FRAME + len(pcm) + RIGHT_FRAMES * SAMPLES_PER_FRAME, np.float32)
    padded[LEFT_FRAMES * SAMPLES_PER_FRAME :][: len(pcm)] = pcm
    return np.stack([padded[k * SAMPLES_PER_UNIT :][:WINDOW_SAMPLES] for k in range(units)])


@pytest.fixture(scope="module")
def ears() -> Ears:
    return Ears()


@pytest.fixture(scope="module")
def speech() -> Pcm:
    """Eight closures in about two seconds."""
    wav = hibari.Hibari()("Mama, papa, Bob.", seed=1)
    return np.asarray(soxr.resample(wav, hibari.SAMPLE_RATE, SAMPLE_RATE_HZ), np.float32)


def test_window_is_the_contract() -> None:
    assert WINDOW_SAMPLES == 7040
    assert log_mel(np.zeros((3, WINDOW_SAMPLES), np.float32)).shape == (3, MEL_FRAMES, MEL_BANDS)


def test_every_mel_band_hears_something() -> None:
    assert (mel_filters().sum(0) > 0).all()


def test_the_network_is_small() -> None:
    assert WEIGHTS.stat().st_size < 2_000_000


def test_shapes_and_empty_batch(ears: Ears) -> None:
    assert ears.mouth(np.zeros((5, WINDOW_SAMPLES), np.float32)).shape == (5, CHANNELS)
    assert ears.mouth(np.zeros((0, WINDOW_SAMPLES), np.float32)).shape == (0, CHANNELS)


@pytest.mark.parametrize("shape", [(WINDOW_SAMPLES,), (2, WINDOW_SAMPLES - 1), (1, 1, WINDOW_SAMPLES)])
def test_other_shapes_are_refused_with_what_is_allowed(ears: Ears, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"must be \[B, 7040\]"):
        ears.mouth(np.zeros(shape, np.float32))


def test_a_missing_network_is_an_engine_error(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="nothing.onnx"):
        Ears(tmp_path / "nothing.onnx")


def test_a_broken_network_is_an_engine_error(tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"not a network")
    with pytest.raises(EngineError, match="broken.onnx"):
        Ears(tmp_path / "broken.onnx")


def test_a_window_reads_the_same_alone_and_in_a_batch(ears: Ears, speech: Pcm) -> None:
    windows = windows_of(speech)
    together = ears.mouth(windows)
    alone = np.concatenate([ears.mouth(w[None]) for w in windows])
    np.testing.assert_allclose(together, alone, atol=1e-4)


@pytest.mark.parametrize("level_db", [None, -70.0, -50.0, -30.0])
def test_silence_and_noise_leave_the_mouth_at_rest(ears: Ears, level_db: float | None) -> None:
    pcm = np.zeros(SAMPLE_RATE_HZ * 2, np.float32)
    if level_db is not None:
        pcm += np.random.default_rng(3).standard_normal(len(pcm)).astype(np.float32) * np.float32(10 ** (level_db / 20))
    assert np.abs(ears.mouth(windows_of(pcm))).max() < 0.1


def test_lips_open_and_meet_in_speech_and_rest_after_it(ears: Ears, speech: Pcm) -> None:
    pcm = np.concatenate([speech, np.zeros(SAMPLE_RATE_HZ, np.float32)])
    opening = aperture(ears.mouth(windows_of(pcm)))
    assert opening.max() > 0.4
    shut = opening < CLOSED_APERTURE
    falls = int((~shut[:-1] & shut[1:]).sum())
    assert 4 <= falls <= 10
    assert np.abs(opening[-15:]).max() < 0.1


def test_sound_that_is_a_picture_later_moves_the_mouth_a_picture_later(ears: Ears, speech: Pcm) -> None:
    late = np.concatenate([np.zeros(SAMPLES_PER_UNIT, np.float32), speech])
    np.testing.assert_allclose(ears.mouth(windows_of(late))[1:], ears.mouth(windows_of(speech)), atol=1e-4)


@pytest.mark.parametrize("gain_db", [-18.0, 6.0])
def test_quiet_and_loud_speech_open_the_mouth_alike(ears: Ears, speech: Pcm, gain_db: float) -> None:
    louder = np.clip(speech * np.float32(10 ** (gain_db / 20)), -1, 1)
    plain, changed = (aperture(ears.mouth(windows_of(p))) for p in (speech, louder))
    assert np.corrcoef(plain, changed)[0, 1] > 0.9


def silent_pcm(seconds: float) -> Pcm:
    return np.full(round(seconds * SAMPLE_RATE_HZ), 0.1, np.float32)


@given(
    symbol=st.sampled_from("pbm"),
    length_s=st.floats(0.02, 0.2),
    vowel_s=st.floats(0.04, 0.3),
    phase_s=st.floats(0, UNIT_S),
    vowel=st.sampled_from("aiuoæ"),
)
def test_a_closure_is_reached_wherever_the_pictures_fall(
    symbol: str, length_s: float, vowel_s: float, phase_s: float, vowel: str
) -> None:
    starts = 0.3 + vowel_s
    found = [
        Gesture(SILENCE, 0, 0.3),
        Gesture(vowel, 0.3, starts),
        Gesture(symbol, starts, starts + length_s),
        Gesture(vowel, starts + length_s, starts + length_s + vowel_s),
    ]
    track, _ = mouth_track(found, silent_pcm(found[-1].end_s + 0.1))
    seen = np.arange(phase_s, len(track) * 0.01 - 0.01, UNIT_S)
    near = seen[(seen > starts - UNIT_S) & (seen < starts + length_s + UNIT_S)]
    assert aperture(track)[np.round(near * 100).astype(int)].min() < CLOSED_APERTURE


def test_lips_round_before_the_vowel_they_round_for() -> None:
    found = [Gesture(SILENCE, 0, 0.3), Gesture("t", 0.3, 0.4), Gesture("u", 0.4, 0.6), Gesture(SILENCE, 0.6, 1)]
    spread = [Gesture("i", g.start_s, g.end_s) if g.symbol == "u" else g for g in found]
    pcm = silent_pcm(1)
    assert rounding(mouth_track(found, pcm)[0])[37] > rounding(mouth_track(spread, pcm)[0])[37] + 0.2


def test_rest_is_exactly_zero_far_from_speech() -> None:
    found = [Gesture(SILENCE, 0, 1), Gesture("a", 1, 1.2), Gesture(SILENCE, 1.2, 2.2)]
    track, _ = mouth_track(found, silent_pcm(2.2))
    assert np.abs(track[:80]).max() < 1e-3
    assert np.abs(track[150:]).max() < 1e-3


def test_every_symbol_stands_on_known_visemes() -> None:
    assert all(name in VISEMES for mix in MIXES.values() for name, _ in mix)


@pytest.mark.parametrize(
    ("symbol", "letters"),
    [("I", ["a", "ɪ"]), ("ɑː", ["ɑ"]), ("ph", ["p", "h"]), ("(en)", []), ("", [SILENCE]), (",", [SILENCE]), ("ˈ", [])],
)
def test_symbols_of_all_alphabets_split_into_sounding_letters(symbol: str, letters: list[str]) -> None:
    assert split_symbol(symbol) == letters


def test_gestures_cover_the_recording_without_gaps() -> None:
    pcm = np.zeros(SAMPLE_RATE_HZ, np.float32)
    pcm[4000:12000] = 0.3
    edges_s = [0.0, 0.25, 0.3, 0.35, 0.75, 0.9]
    phones = [Phone(s, a, b) for s, a, b in zip(["", "p", "ˈ", "a", "."], edges_s[:-1], edges_s[1:], strict=True)]
    found = gestures(phones, pcm, "espeak")
    assert [g.symbol for g in found] == [SILENCE, "p", "a", SILENCE]
    edges = [found[0].start_s, *(g.end_s for g in found)]
    assert edges[0] == 0 and edges[-1] == pytest.approx(1.0)
    assert all(a.end_s == pytest.approx(b.start_s) for a, b in zip(found[:-1], found[1:], strict=True))
