"""Speaker models: their features and vectors against the authors' own code, and what every provider answers."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import hibari
import numpy as np
import pytest
import soundfile
import soxr
from aiohttp import web
from aiohttp.test_utils import TestServer

from errors import BadRequest, EngineError, Unavailable
from media import SAMPLE_RATE_HZ, Pcm
from tts.wire.http import JSON_BYTES_MAX
from voices.speakers.base import SpeakerModel
from voices.speakers.build import build_speaker_model
from voices.speakers.features import kaldi_features, mel_spectrum
from voices.speakers.local import CampPlus, LocalModel, Resemblyzer
from voices.speakers.placeholder import Placeholder
from voices.speakers.service import SpeakerService

REFERENCE = Path(__file__).parent / "data" / "speakers.npz"
SOUNDS = {"low": (110.0, 3.37), "high": (230.0, 7.1)}
"""Pitch in Hz and length in seconds."""
TOLERANCE = 2e-4
"""Of a number in a vector of length 1, against the authors' code: single precision in another order."""


def sound(name: str) -> Pcm:
    """Something like a voice: harmonics under two formants, a moving pitch, a breath of noise and a pause."""
    hz, seconds = SOUNDS[name]
    time_s = np.arange(round(seconds * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    phase = 2 * np.pi * np.cumsum(hz * (1 + 0.1 * np.sin(2 * np.pi * 0.7 * time_s))) / SAMPLE_RATE_HZ
    pcm = np.zeros_like(time_s)
    for harmonic in range(1, int(7000 / hz)):
        near = sum(np.exp(-(((harmonic * hz - formant) / 300) ** 2)) for formant in (4.5 * hz, 9 * hz, 2500))
        pcm += (0.02 + near) * np.sin(harmonic * phase) / harmonic**0.5
    pcm *= 0.05 * (1 + np.sin(2 * np.pi * 3 * time_s))
    pcm += np.random.default_rng(7).normal(0, 0.002, pcm.size)
    pcm[SAMPLE_RATE_HZ : SAMPLE_RATE_HZ * 5 // 4] = 0
    return pcm.astype(np.float32)


def needs(model: type[LocalModel]) -> pytest.MarkDecorator:
    reason = model().why_not()
    return pytest.mark.skipif(reason is not None, reason=str(reason))


# features


def test_kaldi_features_have_no_mean_and_see_no_level() -> None:
    pcm = sound("low")
    features = kaldi_features(pcm)
    assert features.shape == ((pcm.size - 400) // 160 + 1, 80)
    assert np.abs(features.mean(0)).max() < 1e-4
    assert features.std() > 0.5
    noise = np.random.default_rng(0).normal(0, 0.1, SAMPLE_RATE_HZ).astype(np.float32)
    assert np.abs(kaldi_features(noise * 2) - kaldi_features(noise)).max() < 1e-3


def test_kaldi_features_of_a_tone_peak_at_its_band() -> None:
    tone = np.sin(2 * np.pi * 1000 * np.arange(16_000) / 16_000).astype(np.float32)
    noise = np.random.default_rng(0).normal(0, 1e-3, 16_000).astype(np.float32)
    both = np.concatenate((noise, tone + noise))
    peak = int((kaldi_features(both)[-20:]).mean(0).argmax())
    mels = 1127 * np.log1p(np.array([20.0, 8000.0, 1000.0]) / 700)
    assert peak == round((mels[2] - mels[0]) / (mels[1] - mels[0]) * 81) - 1


def test_mel_spectrum_is_power_and_covers_the_ends() -> None:
    pcm = sound("high")
    assert mel_spectrum(pcm).shape == (1 + pcm.size // 160, 40)
    assert np.allclose(mel_spectrum(pcm * 2), 4 * mel_spectrum(pcm), rtol=1e-4)


# vectors


@pytest.mark.parametrize("model", [pytest.param(m, marks=needs(m)) for m in (CampPlus, Resemblyzer)])
@pytest.mark.parametrize("name", SOUNDS)
async def test_a_vector_is_the_one_of_the_authors_code(model: type[LocalModel], name: str) -> None:
    speaker = model()
    vector = await speaker.embed(sound(name))
    await speaker.aclose()
    wanted = np.load(REFERENCE)[f"{speaker.id.name}_{name}"]
    assert vector.shape == (speaker.id.dimension,)
    assert vector.dtype == np.float32
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)
    assert np.abs(vector - wanted).max() < TOLERANCE


@needs(CampPlus)
async def test_speakers_are_told_apart_and_level_does_not_matter() -> None:
    voice = hibari.Hibari(threads=1)
    texts = ("The weather is calm and clear today.", "Please leave the keys on the table.")
    one, two = (soxr.resample(voice(text, seed=1), hibari.SAMPLE_RATE, SAMPLE_RATE_HZ) for text in texts)
    # As if her throat were a fifth longer.
    taller = soxr.resample(two, 16_000, 20_000)
    speaker = CampPlus()
    first, second, other = (speaker.vector(pcm) for pcm in (one, two * 0.3, taller))
    await speaker.aclose()
    assert first @ second > speaker.same_speaker > first @ other


@needs(CampPlus)
@pytest.mark.parametrize("pcm", [np.zeros(32_000, np.float32), np.ones(10, np.float32), np.zeros(0, np.float32)])
async def test_what_has_no_speaker_is_refused(pcm: Pcm) -> None:
    speaker = CampPlus()
    with pytest.raises(EngineError, match="0.5 s are needed") as refused:
        await speaker.embed(pcm)
    assert not refused.value.retryable
    await speaker.aclose()


@needs(CampPlus)
async def test_numbers_that_are_none_do_no_harm() -> None:
    pcm = sound("low")
    pcm[1000:1100] = np.nan
    speaker = CampPlus()
    assert np.isfinite(await speaker.embed(pcm)).all()
    await speaker.aclose()


async def test_a_missing_checkpoint_is_told_with_the_command(tmp_path: Path) -> None:
    speaker = CampPlus(tmp_path)
    assert "weights pull speakers" in str(speaker.why_not())
    with pytest.raises(Unavailable, match="weights pull speakers"):
        await speaker.embed(sound("low"))
    await speaker.aclose()


async def test_a_checkpoint_that_is_cut_off_is_told(tmp_path: Path) -> None:
    (tmp_path / CampPlus.checkpoint).write_bytes(b"PK" * 1000)
    speaker = CampPlus(tmp_path)
    with pytest.raises(EngineError, match="cannot be loaded"):
        await speaker.embed(sound("low"))
    await speaker.aclose()


FIRST_OF_A = 0.06453807
"""What seed `a` gives first, on every machine and in every process."""


async def test_the_placeholder_knows_only_the_name_of_the_recording() -> None:
    placeholder = Placeholder(512)
    first, again = await placeholder.embed(sound("low"), "a"), await placeholder.embed(sound("high"), "a")
    other = await placeholder.embed(sound("low"), "b")
    assert first.shape == (512,)
    assert np.array_equal(first, again)
    assert abs(first @ other) < 0.3
    assert np.linalg.norm(first) == pytest.approx(1, abs=1e-6)
    assert float(first[0]) == pytest.approx(FIRST_OF_A, abs=1e-6)
    assert not placeholder.comparable
    assert placeholder.same_speaker > 1


# a service


class Service:
    """Answers with `answer`; notes what it was sent."""

    def __init__(self, answer: Any, status: int = 200) -> None:
        self.answer, self.status = answer, status
        self.asked: list[dict[str, Any]] = []

    async def handle(self, request: web.Request) -> web.Response:
        self.asked.append(await request.json())
        body = self.answer if isinstance(self.answer, str) else json.dumps(self.answer)
        return web.Response(text=body, status=self.status)


@pytest.fixture
async def serve() -> AsyncIterator[Any]:
    servers: list[TestServer] = []
    models: list[SpeakerModel] = []

    async def start(service: Service, **options: Any) -> SpeakerService:
        app = web.Application()
        app.router.add_post("/embed", service.handle)
        server = TestServer(app)
        await server.start_server()
        servers.append(server)
        model = SpeakerService(str(server.make_url("/embed")), **options)
        models.append(model)
        return model

    yield start
    for model in models:
        await model.aclose()
    for server in servers:
        await server.close()


async def test_a_service_is_sent_a_wav_and_its_vector_is_brought_to_length_one(serve: Any) -> None:
    service = Service({"embedding": [3.0, 0.0, 4.0], "model_version": "7"})
    model = await serve(service, dimension=3, version="7")
    assert model.id.version == "7"
    vector = await model.embed(sound("low"))
    assert np.allclose(vector, [0.6, 0.0, 0.8])
    pcm, rate_hz = soundfile.read(io.BytesIO(base64.b64decode(service.asked[0]["audio"])), dtype="float32")
    assert rate_hz == service.asked[0]["sample_rate"] == SAMPLE_RATE_HZ
    assert np.abs(pcm - sound("low")).max() < 1e-4


@pytest.mark.parametrize(
    ("answer", "status", "said", "retryable"),
    [
        ({"embedding": [1.0]}, 200, "EMBEDDING_DIMENSION is 3", False),
        ({"embedding": [0.0, 0.0, 0.0]}, 200, "zero or not finite", False),
        ('{"embedding": [NaN, 1, 1]}', 200, "zero or not finite", False),
        ({"vector": [1.0]}, 200, "answered no", False),
        ("no json", 200, "no JSON", True),
        ([1, 2], 200, "answered no", False),
        ("x" * (JSON_BYTES_MAX + 10), 200, "answers more than", True),
        ({"embedding": [1.0, 0.0, 0.0], "model_version": "2"}, 200, "version '2'", False),
        ("over capacity", 503, "answered 503: over capacity", True),
        ("slow down", 429, "answered 429", True),
        ("who are you", 401, "answered 401", True),
    ],
)
async def test_what_a_service_may_not_answer(serve: Any, answer: Any, status: int, said: str, retryable: bool) -> None:
    model = await serve(Service(answer, status), dimension=3)
    with pytest.raises(EngineError, match=said) as refused:
        await model.embed(sound("low"))
    assert refused.value.retryable is retryable


async def test_a_service_that_is_not_there_may_be_there_later() -> None:
    server = TestServer(web.Application())
    await server.start_server()
    url = str(server.make_url("/"))
    await server.close()
    model = SpeakerService(url)
    with pytest.raises(EngineError, match="127.0.0.1") as refused:
        await model.embed(sound("low"))
    assert refused.value.retryable
    await model.aclose()


async def test_a_service_without_an_address_says_so() -> None:
    model = SpeakerService("file:///etc/passwd")
    assert "EMBEDDING_SERVICE_URL" in str(model.why_not())
    with pytest.raises(EngineError, match="must be an http"):
        await model.embed(sound("low"))


# which one


@dataclasses.dataclass(frozen=True)
class Given:
    embedding_provider: str = ""
    embedding_service_url: str = ""
    embedding_dimension: int = 256


def test_the_configuration_names_the_model() -> None:
    assert isinstance(build_speaker_model(Given()), CampPlus)
    assert isinstance(build_speaker_model(Given("Resemblyzer")), Resemblyzer)
    service = build_speaker_model(Given("", "http://127.0.0.1:8001", 512))
    assert isinstance(service, SpeakerService)
    assert service.id.dimension == 512
    assert build_speaker_model(Given("placeholder", embedding_dimension=512)).id.dimension == 512
    with pytest.raises(BadRequest, match="'ecapa', but must be one of campplus"):
        build_speaker_model(Given("ecapa"))
