"""The gate that keeps pauses from being drawn: speech is never taken for a pause, pauses mostly are."""

from __future__ import annotations

import hibari
import numpy as np
import pytest
import soxr

from media import SAMPLE_RATE_HZ, SAMPLES_PER_FRAME, SPEECH_FRAMES_PER_S, Pcm
from timeline import LEAD_FRAMES
from voiceactivity import HANG_FRAMES, VoiceActivity

PAUSE = SPEECH_FRAMES_PER_S  # 1 s


@pytest.fixture(scope="module")
def speech() -> Pcm:
    """Words that begin and end with soft consonants, as whole frames with an RMS of 1 while they sound."""
    wav = hibari.Hibari()("She sells sea shells. Half of his friends hope for the best fish.", seed=1)
    pcm = np.asarray(soxr.resample(wav, hibari.SAMPLE_RATE, SAMPLE_RATE_HZ), np.float32)
    pcm = pcm[: len(pcm) // SAMPLES_PER_FRAME * SAMPLES_PER_FRAME]
    power = np.square(framed(pcm)).mean(1)
    return np.asarray(pcm / np.sqrt(power[power > power.max() * 1e-4].mean()), np.float32)


def framed(pcm: Pcm) -> Pcm:
    return pcm.reshape(-1, SAMPLES_PER_FRAME)


def dbfs(level: float) -> float:
    return float(10 ** (level / 20))


def hear(pcm: Pcm) -> list[bool]:
    gate = VoiceActivity()
    return [gate.hear(frame) for frame in framed(pcm)]


def between_pauses(speech: Pcm, level: float, noise: float | None) -> tuple[Pcm, np.ndarray]:
    """Pause, speech, pause, speech, pause in noise; and which frames stand out of the noise."""
    voice = speech * np.float32(dbfs(level))
    pause = np.zeros(PAUSE * SAMPLES_PER_FRAME, np.float32)
    whole = np.concatenate([pause, voice, pause, voice, pause])
    hiss = 0.0 if noise is None else dbfs(noise)
    audible = np.square(framed(whole)).mean(1) > max(hiss, dbfs(-70)) ** 2
    random = np.random.default_rng(0).standard_normal(len(whole))
    return (whole + hiss * random).astype(np.float32), audible


@pytest.mark.parametrize(
    ("level", "noise", "missed_most"),
    [(-20, None, 0), (-20, -55, 0), (-35, -60, 0), (-45, None, 0), (-45, -70, 0), (-45, -60, 0.01), (-50, None, 0)],
)
def test_no_sound_of_speech_is_taken_for_a_pause(
    speech: Pcm, level: float, noise: float | None, missed_most: float
) -> None:
    pcm, audible = between_pauses(speech, level, noise)
    voice = hear(pcm)
    drawn = np.array([any(voice[i : i + 2 + LEAD_FRAMES]) for i in range(len(voice))])
    assert (audible & ~drawn).sum() <= missed_most * audible.sum()
    assert audible.sum() > 100
    last_pause = slice(len(voice) - PAUSE + HANG_FRAMES + 10, len(voice))
    assert not any(voice[last_pause]), "nothing would ever be saved"


def test_it_holds_on_for_a_while_and_no_longer() -> None:
    tone = np.full(SAMPLES_PER_FRAME, 0.1, np.float32)
    silence = np.zeros(SAMPLES_PER_FRAME, np.float32)
    gate = VoiceActivity()
    assert [gate.hear(silence) for _ in range(3)] == [False] * 3
    assert gate.hear(tone)
    assert [gate.hear(silence) for _ in range(HANG_FRAMES + 3)] == [True] * HANG_FRAMES + [False] * 3


@pytest.mark.parametrize("level", [-45.0, -30.0, -10.0])
def test_a_sound_that_never_ends_stays_a_voice(level: float) -> None:
    assert all(hear(np.full(60 * SAMPLE_RATE_HZ, dbfs(level), np.float32)))


def test_a_noise_is_learnt_within_seconds() -> None:
    noise = (dbfs(-56) * np.random.default_rng(1).standard_normal(20 * SAMPLE_RATE_HZ)).astype(np.float32)
    voice = hear(noise)
    assert voice[10] and not any(voice[10 * SPEECH_FRAMES_PER_S :])


def test_a_dropout_in_a_noise_is_forgotten_within_seconds() -> None:
    noise = (dbfs(-56) * np.random.default_rng(1).standard_normal(20 * SAMPLE_RATE_HZ)).astype(np.float32)
    noise[10 * SAMPLE_RATE_HZ :][: SAMPLE_RATE_HZ // 2] = 0
    voice = hear(noise)
    assert not any(voice[16 * SPEECH_FRAMES_PER_S :])
