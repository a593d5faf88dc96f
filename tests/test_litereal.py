"""The lite engine as the scheduler sees it: real networks, real avatar."""

from __future__ import annotations

from pathlib import Path

import cv2
import hibari
import numpy as np
import pytest
import soxr

from avatar import Avatar
from engines.base import LipRequest
from engines.lite.ears import WINDOW_SAMPLES
from litereal import LiteASR, LiteEngine
from media import I420, SAMPLE_RATE_HZ, SAMPLES_PER_FRAME, Pcm
from tests.fakes.session import numbered

MIRA = Path(__file__).parent.parent / "data" / "avatars" / "mira"


@pytest.fixture(scope="module")
def avatar() -> Avatar:
    return Avatar.load(MIRA)


@pytest.fixture(scope="module")
def engine(avatar: Avatar) -> LiteEngine:
    engine = LiteEngine()
    engine.prepare(avatar)
    return engine


@pytest.fixture(scope="module")
def speech() -> Pcm:
    """Open vowels in a real voice, 16 kHz."""
    wav = hibari.Hibari()("Father's car is far.", seed=1)
    return np.asarray(soxr.resample(wav, hibari.SAMPLE_RATE, SAMPLE_RATE_HZ), np.float32)


def windows(speech: Pcm, count: int) -> list[Pcm]:
    """`count` windows spread over the speech."""
    starts = np.linspace(0, len(speech) - WINDOW_SAMPLES, count).astype(int)
    return [speech[i : i + WINDOW_SAMPLES] for i in starts]


def difference(avatar: Avatar, picture: I420, index: int) -> float:
    return float(cv2.absdiff(picture, avatar.frame(index)).mean())


@pytest.mark.parametrize(("left", "right"), [(14, 6), (10, 10), (3, 2), (0, 0), (50, 50)])
def test_any_context_makes_the_window_the_ears_expect(left: int, right: int) -> None:
    asr = LiteASR(left, right)
    for n in range(1, 30):
        asr.put(numbered(n, turn=0))
    for _ in range(8):
        pcm = asr.next().pcm
    assert len(pcm) == WINDOW_SAMPLES
    frames = [round(float(pcm[i * SAMPLES_PER_FRAME]) * 1000) for i in range(22)]
    assert frames[14:16] == [15, 16], "the frame itself must stay in its place"
    assert frames[16 : 16 + min(right, 6)] == list(range(17, 17 + min(right, 6)))
    assert not any(frames[16 + min(right, 6) :])


def test_speech_moves_the_mouth_and_silence_does_not(avatar: Avatar, engine: LiteEngine, speech: Pcm) -> None:
    (silent,) = engine.render([LipRequest(np.zeros(WINDOW_SAMPLES, np.float32), avatar, 7, 1.0, 0.0)])
    spoken = [engine.render([LipRequest(w, avatar, 7, 1.0, 0.0)])[0] for w in windows(speech, 12)]
    assert max(difference(avatar, picture, 7) for picture in spoken) > 5 * difference(avatar, silent, 7)


def test_no_blend_is_the_idle_picture_itself(avatar: Avatar, engine: LiteEngine, speech: Pcm) -> None:
    (picture,) = engine.render([LipRequest(windows(speech, 3)[1], avatar, 11, 0.0, 0.0)])
    np.testing.assert_array_equal(picture, avatar.frame(11))


def test_a_larger_batch_than_the_engine_takes_is_cut(avatar: Avatar, speech: Pcm) -> None:
    engine = LiteEngine(max_batch=16)
    engine.prepare(avatar)
    requests = [LipRequest(w, avatar, k, 1.0, 0.0) for k, w in enumerate(windows(speech, engine.max_batch))]
    assert len(engine.render(requests)) == engine.max_batch


def test_a_batch_draws_what_single_requests_draw(avatar: Avatar, engine: LiteEngine, speech: Pcm) -> None:
    requests = [LipRequest(w, avatar, 20 * k, 1.0, 0.0) for k, w in enumerate(windows(speech, 4))]
    together = engine.render(requests)
    for request, picture in zip(requests, together, strict=True):
        (alone,) = engine.render([request])
        assert int(cv2.absdiff(picture, alone).max()) <= 2
