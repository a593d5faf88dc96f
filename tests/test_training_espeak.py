"""espeak-ng's phoneme events against its sound: training and judging of lips stand on these times."""

from __future__ import annotations

import ctypes.util

import numpy as np
import pytest
from numpy.typing import NDArray

from media import SAMPLE_RATE_HZ
from training.ears.espeak import LONGEST_CLOSURE_S, RELEASE_S, VOWEL_START_S, Espeak, espeak_phones
from training.ears.phones import VOWELS, gestures
from training.ears.targets import closure_of
from training.ears.voices import Utterance

needs_espeak = pytest.mark.skipif(
    ctypes.util.find_library("espeak-ng") is None, reason="no espeak-ng: `apt install espeak-ng`"
)
Floats = NDArray[np.float32]


def sound(*, quiet_s: tuple[float, float]) -> Floats:
    """A second of noise with a gap."""
    pcm = np.random.default_rng(1).uniform(-0.5, 0.5, SAMPLE_RATE_HZ).astype(np.float32)
    pcm[round(quiet_s[0] * SAMPLE_RATE_HZ) : round(quiet_s[1] * SAMPLE_RATE_HZ)] = 0
    return pcm


@pytest.mark.parametrize(("symbol", "after"), [("p", "ʰ"), ("tʃ", "ʃ"), ("ph", "h")])
def test_a_stop_begins_with_the_silence_before_its_event(symbol: str, after: str) -> None:
    vowel, stop, rest = espeak_phones([("æ", 0.1), (symbol, 0.5)], sound(quiet_s=(0.44, 0.5)))
    assert vowel.end_s == stop.start_s == pytest.approx(0.44)
    assert (stop.symbol, rest.symbol) == (symbol[0], after)
    assert stop.end_s == rest.start_s == pytest.approx(0.5 + RELEASE_S)
    assert rest.end_s == 1


def test_a_voiced_stop_begins_with_the_silence_too_and_with_its_event_where_there_is_none() -> None:
    _, stop = espeak_phones([("s", 0.1), ("b", 0.5)], sound(quiet_s=(0.47, 0.5)))
    assert (stop.symbol, stop.end_s) == ("b", 1)
    assert stop.start_s == pytest.approx(0.47)
    assert espeak_phones([("æ", 0.1), ("b", 0.5)], sound(quiet_s=(0.5, 0.55)))[1].start_s == pytest.approx(0.5)


def test_a_closure_ends_where_the_sound_before_it_does_or_at_a_limit() -> None:
    for quiet_from_s, begins_s in ((0.5, 0.5), (0.2, 0.5 - LONGEST_CLOSURE_S)):
        _, stop, _ = espeak_phones([("æ", 0.1), ("k", 0.5)], sound(quiet_s=(quiet_from_s, 0.5)))
        assert stop.start_s == pytest.approx(begins_s)


def test_a_stop_takes_at_most_half_of_the_sound_before_it_and_nothing_of_a_pause() -> None:
    pcm = sound(quiet_s=(0.3, 0.5))
    assert espeak_phones([("æ", 0.4), ("p", 0.5)], pcm)[1].start_s == pytest.approx(0.45)
    assert espeak_phones([("", 0.4), ("p", 0.5)], pcm)[1].start_s == pytest.approx(0.5)


@pytest.mark.parametrize(("before", "moved_s"), [("m", VOWEL_START_S), ("ɹ", VOWEL_START_S), ("s", 0.0), ("b", 0.0)])
def test_a_vowel_after_a_nasal_or_a_liquid_begins_before_its_event(before: str, moved_s: float) -> None:
    consonant, vowel = espeak_phones([(before, 0.1), ("iː", 0.5)], sound(quiet_s=(0, 0)))
    assert consonant.end_s == vowel.start_s == pytest.approx(0.5 - moved_s)


def test_phones_lie_end_to_end() -> None:
    marks = [("", 0.0), ("p", 0.1), ("m", 0.2), ("ɑː", 0.3), ("t", 0.31), ("s", 0.4), ("", 0.9)]
    phones = espeak_phones(marks, sound(quiet_s=(0.2, 0.4)))
    assert [phone.end_s for phone in phones[:-1]] == [phone.start_s for phone in phones[1:]]
    assert all(phone.end_s >= phone.start_s for phone in phones)


@pytest.fixture(scope="module")
def utterance() -> Utterance:
    return Espeak().say("A cup of apples, a pack of maps, a puppet on a piper's lap.", "en-us+f4", 165, 50)


def treble_db(pcm: Floats, start_s: float, end_s: float) -> float:
    """Level of a span with high frequencies raised, which lips that are shut hold back."""
    steps = np.diff(pcm[round(start_s * SAMPLE_RATE_HZ) : round(end_s * SAMPLE_RATE_HZ)])
    return float(10 * np.log10(np.square(steps).mean() + 1e-10))


@needs_espeak
def test_lips_meet_where_espeak_is_quiet(utterance: Utterance) -> None:
    pcm, found = utterance.pcm, gestures(utterance.phones, utterance.pcm, "espeak")
    vowels = [treble_db(pcm, g.start_s, g.end_s) for g in found if g.symbol in VOWELS]
    closures = [closure_of(g) for g in found if g.symbol == "p"]
    assert len(closures) >= 8
    met = [treble_db(pcm, start_s + 0.02, end_s - 0.01) for start_s, end_s in closures]
    assert np.median(met) < np.median(vowels) - 18  # 12 where stops begin with their events


@needs_espeak
def test_phonemes_span_the_recording(utterance: Utterance) -> None:
    assert 0 <= utterance.phones[0].start_s < 0.1
    assert utterance.phones[-1].end_s == pytest.approx(len(utterance.pcm) / SAMPLE_RATE_HZ)
