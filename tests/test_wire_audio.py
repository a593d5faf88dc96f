"""Bytes of a server into samples: every format, any cut, and what is no sound at all."""

from __future__ import annotations

import io
import json
from typing import Any

import av
import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from tests.conformance.script import wav_header
from tts.wire.audio import AudioStream, NotSound
from tts.wire.pcm import HEADER_BYTES_MAX

RATE_HZ = 24_000
TONE = (0.3 * np.sin(2 * np.pi * 220 / RATE_HZ * np.arange(RATE_HZ))).astype(np.float32)


def heard(data: bytes, cuts: list[int], media_type: str = "", **options: Any) -> tuple[np.ndarray[Any, Any], int]:
    stream = AudioStream(16_000, media_type, **options)
    found = [np.zeros(0, np.float32)]
    at = turn = 0
    while at < len(data):
        size = cuts[turn % len(cuts)]
        found += list(stream.feed(data[at : at + size]))
        at, turn = at + size, turn + 1
    found += list(stream.flush())
    return np.concatenate(found), stream.rate_hz


def encoded(form: str, codec: str, rate_hz: int = RATE_HZ) -> bytes:
    out = io.BytesIO()
    paged = {"page_duration": "20000"} if form == "ogg" else {}
    with av.open(out, "w", format=form, options=paged) as container:
        stream: Any = container.add_stream(codec, rate=rate_hz, layout="mono")
        frame = av.AudioFrame.from_ndarray((TONE[None] * 32767).astype(np.int16), format="s16", layout="mono")
        frame.sample_rate, frame.pts = RATE_HZ, 0
        size = stream.codec_context.frame_size or 1024
        resampler = av.AudioResampler(stream.format, stream.layout, stream.rate, frame_size=size)
        for part in [*resampler.resample(frame), *resampler.resample(None), None]:
            container.mux(stream.encode(part))
    return out.getvalue()


def is_the_tone(pcm: np.ndarray[Any, Any], rate_hz: int, tolerance_s: float = 0.08) -> bool:
    middle = pcm[rate_hz // 5 : -rate_hz // 5]
    crossings = np.flatnonzero(np.diff(np.signbit(middle)))
    frequency = len(crossings) / 2 / (middle.size / rate_hz)
    return abs(pcm.size / rate_hz - 1) < tolerance_s and abs(frequency - 220) < 3 and 0.2 < np.abs(middle).max() < 0.45


@pytest.mark.parametrize("cuts", [[*[1] * 500, 1 << 20], [7, 700], [1 << 20]], ids=["bytes", "pieces", "whole"])
@pytest.mark.parametrize(
    ("form", "codec", "media_type", "rate_hz"),
    [
        ("mp3", "mp3", "audio/mpeg", RATE_HZ),
        ("adts", "aac", "audio/aac", RATE_HZ),
        ("ogg", "libopus", "", 48_000),
        ("flac", "flac", "", RATE_HZ),
        ("wav", "pcm_s16le", "", RATE_HZ),
        ("wav", "pcm_f32le", "", RATE_HZ),
        ("wav", "pcm_f64le", "", RATE_HZ),
        ("wav", "pcm_s24le", "", RATE_HZ),
        ("wav", "pcm_s32le", "", RATE_HZ),
        ("wav", "pcm_u8", "", RATE_HZ),
    ],
)
def test_every_format_in_any_pieces(form: str, codec: str, media_type: str, rate_hz: int, cuts: list[int]) -> None:
    pcm, told_hz = heard(encoded(form, codec, rate_hz), cuts, media_type)
    assert told_hz == rate_hz and is_the_tone(pcm, rate_hz) and pcm.dtype == np.float32


@pytest.mark.parametrize("cuts", [[1], [1 << 20]])
def test_vorbis(cuts: list[int]) -> None:
    file = io.BytesIO()
    soundfile.write(file, TONE, RATE_HZ, format="OGG", subtype="VORBIS")
    pcm, told_hz = heard(file.getvalue(), cuts)
    assert told_hz == RATE_HZ and is_the_tone(pcm, RATE_HZ)


def test_mp3_with_a_tag_and_damage_in_the_middle() -> None:
    data = bytearray(b"ID3\x04\x00\x00\x00\x00\x00\x0a" + bytes(10) + encoded("mp3", "mp3"))
    data[4000:4100] = bytes(100)
    pcm, _ = heard(bytes(data), [500])
    assert 0.7 < pcm.size / RATE_HZ < 1.2


@given(st.binary(min_size=0, max_size=400), st.lists(st.integers(1, 50), min_size=1, max_size=8))
def test_bare_samples_do_not_depend_on_the_cuts(data: bytes, cuts: list[int]) -> None:
    data = b"\x01\x00" + data  # never text
    pcm, rate_hz = heard(data, cuts)
    whole = np.frombuffer(data[: len(data) // 2 * 2], "<i2").astype(np.float32) / 32768
    if len(data) > 12:
        assert rate_hz == 16_000
    assert np.array_equal(pcm, whole)


@given(
    st.integers(1, 3), st.sampled_from([(1, 8), (1, 16), (1, 24), (1, 32), (3, 32)]),
    st.lists(st.integers(1, 30), min_size=1, max_size=6), st.booleans(), st.integers(0, 60),
)  # fmt: skip
def test_wav_headers_do_not_depend_on_the_cuts(
    channels: int, kind: tuple[int, int], cuts: list[int], sized: bool, frames: int
) -> None:
    code, bits = kind
    sized = sized and frames > 0  # a size of 0 says that it is not known
    body = bytes(frames * channels * bits // 8)
    extra = b"LIST" + (6).to_bytes(4, "little") + b"INFOxx" if sized else b""
    header = wav_header(22_050, len(body) if sized else 0, channels, bits, code)
    data = header[:36] + extra + header[36:] + body + (b"LIST\x04\x00\x00\x00abcd" if sized else b"")
    pcm, rate_hz = heard(data, cuts)
    assert rate_hz == 22_050 and pcm.size == frames
    assert not pcm.any() or bits == 8  # in 8 bits zero is the lowest


def test_channels_are_mixed() -> None:
    left_right = np.array([[1000, 3000], [-2000, 2000]], "<i2").tobytes()
    pcm, _ = heard(wav_header(16_000, 8, 2) + left_right, [5])
    assert pcm == pytest.approx([2000 / 32768, 0])


@pytest.mark.parametrize(
    "body",
    [
        json.dumps({"error": {"message": "no"}}).encode(),
        ' \n{"code": 1, "msg": "错误"}'.encode(),
        b"<html>502</html>",
        b'{"unfinished": ',
        b"[1, 2]",
    ],
)
@pytest.mark.parametrize("cut", [1, 5, 1000])
def test_what_is_text_is_no_sound(body: bytes, cut: int) -> None:
    with pytest.raises(NotSound) as caught:
        heard(body, [cut])
    assert caught.value.body.startswith(body[:5])


def test_sound_that_begins_like_text_is_sound() -> None:
    data = b"{\x00" * 10 + bytes(10)
    assert heard(data, [3])[0].size == 15


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (bytes(1000), "more sound than"),
        (wav_header(16_000, 0, 1, 12), "cannot be read"),
        (wav_header(16_000, 0, 40), "cannot be read"),
        (b"RIFF\0\0\0\0WAVEjunk" + (1 << 30).to_bytes(4, "little"), "its chunk"),
        (b"RIFF\0\0\0\0WAVE" + (b"junk" + (1000).to_bytes(4, "little") + bytes(1000)) * 80, "no sound within"),
        (b"RIFF\0\0\0\0WAVEfmt \x02\0\0\0ab", "must have 16"),
        (b"OggS" + bytes(22) + b"\x01\x08" + b"speexhdr", "must be Opus or Vorbis"),
    ],
)
def test_what_cannot_be_read_is_said(data: bytes, words: str) -> None:
    limit = 999 if words.startswith("more") else HEADER_BYTES_MAX * 4
    with pytest.raises(ValueError, match=words):
        heard(data, [64], bytes_max=limit)


def test_nothing_gives_nothing() -> None:
    assert heard(b"", [1])[0].size == 0
    assert heard(wav_header(8_000), [3])[0].size == 0
