"""The AI mark: what a generated file says of itself in every format, and the inaudible mark behind codecs."""

from __future__ import annotations

import io
import json
import struct
from pathlib import Path
from typing import Any

import av
import hibari
import numpy as np
import pytest
import soxr

from errors import TooLarge, Unavailable, Unprocessable
from media import Pcm
from voices.provenance import DIGITAL_SOURCE_TYPE, Provenance, check, claims_of, tags
from voices.watermark import Watermark

RATE_HZ = 24_000
PROVENANCE = Provenance("gen-7", "kokoro", "voice-3", True, "某公司", "2026-11-20T08:00:00Z")
FORMATS = {
    "mp3": ("mp3", "libmp3lame", {}),
    "opus": ("ogg", "libopus", {}),
    "flac": ("flac", "flac", {}),
    "wav": ("wav", "pcm_s16le", {}),
    "m4a": ("ipod", "aac", {"movflags": "use_metadata_tags"}),
    "webm": ("webm", "libopus", {}),
}
needs_mark = pytest.mark.skipif(Watermark().why_not() is not None, reason=str(Watermark().why_not()))


def file_of(pcm: Pcm, name: str, said: dict[str, str], bit_rate: int | None = None) -> io.BytesIO:
    container_name, codec, options = FORMATS[name]
    file = io.BytesIO()
    rate_hz = 48_000 if codec == "libopus" else RATE_HZ
    with av.open(file, "w", format=container_name, options=options) as container:
        container.metadata.update(said)
        stream: Any = container.add_stream(codec, rate=rate_hz, layout="mono")
        if bit_rate:
            stream.bit_rate = bit_rate
        samples = (np.clip(soxr.resample(pcm, RATE_HZ, rate_hz), -1, 1) * 32767).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(samples[None], "s16", "mono")
        frame.sample_rate = rate_hz
        resampler = av.AudioResampler(stream.codec_context.format, "mono", rate_hz)
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(stream.encode(part))
        container.mux(stream.encode(None))
    file.seek(0)
    return file


def tone(seconds: float = 1.0) -> Pcm:
    return (0.1 * np.sin(2 * np.pi * 200 * np.arange(round(seconds * RATE_HZ)) / RATE_HZ)).astype(np.float32)


@pytest.fixture(scope="module")
def speech() -> Pcm:
    text = "The weather is calm and clear today, and the park is full of people."
    return np.asarray(hibari.Hibari(threads=1)(text, seed=1), np.float32)


# what a file says


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_says_that_a_machine_made_it(name: str) -> None:
    found = {claim.kind: claim.facts for claim in claims_of(file_of(tone(), name, tags(PROVENANCE)))}
    assert set(found) == {"visage", "aigc", "iptc"}
    said = found["visage"]
    assert (said["model"], said["voice"], said["cloned"]) == ("kokoro", "voice-3", True)
    assert said["made_at"] == PROVENANCE.made_at
    assert found["aigc"]["Label"] == "1"
    assert found["aigc"]["ContentProducer"] == "某公司"
    assert found["aigc"]["ProduceID"] == "gen-7"
    assert found["iptc"]["digitalSourceType"] == DIGITAL_SOURCE_TYPE


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_that_says_nothing_has_no_claim(name: str) -> None:
    checked = check(file_of(tone(), name, {"title": "trained", "comment": "{not json", "artist": "[]"}))
    assert checked.claims == ()
    assert not checked.generated
    assert checked.marked is None
    assert checked.seconds == pytest.approx(1.0, abs=0.1)


def test_marks_of_others_are_read() -> None:
    aigc = json.dumps({"Label": "2", "ContentProducer": "other"})
    (claim,) = claims_of(file_of(tone(), "mp3", {"AIGC": aigc}))
    assert claim.kind == "aigc" and claim.facts["Label"] == "2"
    (claim,) = claims_of(file_of(tone(), "flac", {"Iptc4xmpExt": "compositeWithTrainedAlgorithmicMedia"}))
    assert claim.kind == "iptc"
    deep = "[" * 10_000
    assert claims_of(file_of(tone(), "flac", {"comment": deep})) == ()
    wav = bytearray(file_of(tone(), "wav", {}).getvalue())
    wav += b"C2PA" + struct.pack("<I", 16) + b"\0\0\0\x10jumbc2pa\0\0\0\0"
    (claim,) = claims_of(io.BytesIO(wav))
    assert claim.kind == "c2pa" and claim.facts == {"verified": False}


@pytest.mark.parametrize("content", [b"", b"no sound", b"RIFF\0\0\0\0WAVE" + b"\0" * 40])
def test_what_is_no_sound_file_is_refused(content: bytes) -> None:
    with pytest.raises(Unprocessable):
        check(io.BytesIO(content))


def test_a_long_file_is_refused() -> None:
    with pytest.raises(TooLarge):
        check(file_of(np.zeros(RATE_HZ * 601, np.float32), "flac", {}))


# what its sound bears


@needs_mark
def test_the_mark_is_heard_behind_codecs_and_not_in_plain_speech(speech: Pcm) -> None:
    watermark = Watermark()
    marked = watermark.mark(speech, RATE_HZ)
    assert marked.size == speech.size
    for name, bit_rate in (("wav", None), ("mp3", 32_000), ("opus", 24_000), ("m4a", 48_000)):
        assert check(file_of(marked, name, {}, bit_rate), watermark).marked == 1.0
        plain = check(file_of(speech, name, {}, bit_rate), watermark)
        assert plain.marked == 0.0
        assert not plain.generated
    telephone = soxr.resample(marked, RATE_HZ, 8_000)
    assert watermark.scores(telephone, 8_000)[0] > 0.9


@needs_mark
def test_the_mark_is_small_and_below_2_khz(speech: Pcm) -> None:
    change = Watermark().mark(speech, RATE_HZ) - speech
    power = np.abs(np.fft.rfft(change)) ** 2
    assert power[np.fft.rfftfreq(change.size, 1 / RATE_HZ) > 2_200].sum() < 1e-3 * power.sum()
    assert 10 * np.log10(np.mean(speech**2) / np.mean(change**2)) > 12


@needs_mark
def test_half_of_a_file_may_be_marked(speech: Pcm) -> None:
    watermark = Watermark()
    long = np.tile(speech, 8)[: 20 * RATE_HZ]
    half = np.concatenate((watermark.mark(long[: 10 * RATE_HZ], RATE_HZ), long[10 * RATE_HZ :]))
    assert check(file_of(half, "flac", {}), watermark).marked == 0.5


@needs_mark
@pytest.mark.parametrize("seconds", [0.0, 0.3])
def test_little_sound_is_left_alone(seconds: float) -> None:
    watermark = Watermark()
    assert np.array_equal(watermark.mark(tone(seconds), RATE_HZ), tone(seconds))
    assert watermark.scores(tone(seconds), RATE_HZ) == []
    assert not watermark.mark(np.zeros(RATE_HZ, np.float32), RATE_HZ).any()


def test_a_missing_checkpoint_is_told(tmp_path: Path) -> None:
    watermark = Watermark(tmp_path / "none")
    with pytest.raises(Unavailable, match="weights pull watermark"):
        watermark.mark(tone(), RATE_HZ)
    checked = check(file_of(tone(), "wav", tags(PROVENANCE)), watermark)
    assert checked.generated
    assert checked.marked is None
    assert "weights pull watermark" in str(checked.why_not)
