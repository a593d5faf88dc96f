"""Refusals, texts in parts, protobuf, cross-fades, rates in headers, recordings."""

from __future__ import annotations

import contextlib
import json
import os
import wave
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from errors import EngineError
from tts.breaker import BACKOFF_MAX_S
from tts.sparktts import CrossFade
from tts.wire import protobuf, refusals
from tts.wire.http import stated_rate_hz
from tts.wire.recordings import Recordings, content, samples
from tts.wire.texts import parts


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"error": {"message": "bad voice", "code": "voice_not_found"}}, "bad voice (voice_not_found)"),
        ({"detail": [{"loc": ["body"], "msg": "field required"}]}, "field required"),
        ({"detail": {"error": "x", "message": "no voice 'y'", "type": "t"}}, "no voice 'y'"),
        (
            {"Response": {"Error": {"Code": "AuthFailure", "Message": "signature expired"}}},
            "signature expired (AuthFailure)",
        ),
        ({"message": "tts failed", "Exception": "shape mismatch"}, "shape mismatch"),
        ({"code": 3001, "message": "illegal input"}, "illegal input (3001)"),
        ({"error": "plain"}, "plain"),
        ({"unknown": 1}, '{"unknown": 1}'),
    ],
)
def test_the_reason_is_found_in_every_form(body: object, said: str) -> None:
    assert refusals.reason(json.dumps(body)) == said


def test_a_long_or_strange_reason_is_one_short_line() -> None:
    assert refusals.reason("<html>\n<h1>502</h1>\n" + "x" * 999) == ("<html> <h1>502</h1> " + "x" * 999)[:200]
    assert refusals.reason(b"\xff\xfe") and "\n" not in refusals.reason("a\nb")


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7.0),
        ("0", 0.1),
        ("1.5", 1.5),
        ("", None),
        ("soon", None),
        ("inf", None),
        ("Thu, 01 Jan 1970 00:01:40 GMT", 60.0),
    ],
)
def test_retry_after(value: str, seconds: float | None) -> None:
    assert refusals.retry_after_s({"Retry-After": value}, now=40.0) == seconds


@pytest.mark.parametrize(
    ("status", "again_s"),
    [(401, BACKOFF_MAX_S), (403, BACKOFF_MAX_S), (404, None), (422, 0.0), (500, None), (301, None)],
)
def test_when_to_ask_again(status: int, again_s: float | None) -> None:
    error = refusals.by_status(
        "e", "http://h/tts", status, "because", headers={"Location": "http://x/"}, key_hint="E_KEY"
    )
    assert isinstance(error, EngineError) and error.retryable and error.retry_after_s == again_s
    assert "because" in str(error) and str(status) in str(error)
    assert ("E_KEY" in str(error)) is (status in (401, 403)) and ("http://x/" in str(error)) is (status == 301)


@given(st.text(max_size=300), st.integers(1, 40), st.one_of(st.none(), st.integers(4, 60)))
def test_parts_hold_everything_within_the_limits(text: str, characters: int, size: int | None) -> None:
    found = parts(text, characters, size)
    assert "".join(found) == text and all(found)
    assert all(len(part) <= characters for part in found)
    if size is not None:
        assert all(len(part.encode("utf-8", "surrogatepass")) <= max(size, 4) for part in found)


def test_parts_end_behind_marks() -> None:
    assert parts("One two. Three four, five six", 12) == ["One two.", " Three four,", " five six"]
    assert parts("今天天气很好。我们去公园", 8) == ["今天天气很好。", "我们去公园"]


@given(st.dictionaries(st.integers(1, 2000), st.one_of(
    st.integers(0, 1 << 63), st.text(max_size=9), st.binary(max_size=9), st.lists(st.binary(max_size=5), max_size=3),
)))  # fmt: skip
def test_protobuf_round_trip(values: dict[int, int | str | bytes | list[bytes]]) -> None:
    found = protobuf.fields(protobuf.message(values))
    for number, value in values.items():
        one = value if isinstance(value, list) else [value.encode() if isinstance(value, str) else value]
        wanted = one if isinstance(value, list) else [part for part in one if part]
        assert found.get(number, []) == wanted


@given(st.binary(max_size=40))
def test_no_bytes_make_protobuf_fail_otherwise(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        protobuf.fields(data)


def test_protobuf_against_a_message_written_by_protoc() -> None:
    # developers.google.com/protocol-buffers/docs/encoding: Test1 {a: 150}, Test2 {b: "testing"}
    assert protobuf.message({1: 150}) == b"\x08\x96\x01" and protobuf.message({2: "testing"}) == b"\x12\x07testing"
    assert protobuf.message({6: protobuf.packed([3, 270, 86942])}) == bytes.fromhex("3206038e029ea705")


@given(st.lists(st.integers(1, 400), min_size=1, max_size=8), st.integers(0, 100))
def test_chunks_that_repeat_their_end_are_joined(sizes: list[int], overlap: int) -> None:
    pcm = np.sin(np.arange(sum(sizes)) / 9).astype(np.float32)
    fade, out, at = CrossFade(overlap), [], 0
    for size in sizes:
        out.append(fade.feed(pcm[max(0, at - overlap) if at else 0 : at + size]))
        at += size
    joined = np.concatenate([*out, fade.flush()])
    assert joined.size == pcm.size and np.allclose(joined, pcm, atol=1e-5)


def test_a_fade_has_no_step() -> None:
    fade = CrossFade(100)
    joined = np.concatenate([fade.feed(np.ones(300, np.float32)), fade.feed(-np.ones(300, np.float32)), fade.flush()])
    assert joined.size == 500 and np.abs(np.diff(joined)).max() < 0.021


@pytest.mark.parametrize(
    ("headers", "rate_hz"),
    [
        ({"Content-Type": "audio/L16; rate=22050; channels=1"}, 22_050),
        ({"Content-Type": "audio/pcm;rate=5"}, None),
        ({"Content-Type": "audio/wav", "X-Sample-Rate": "32000"}, 32_000),
        ({"X-Custom-Header-sampleRate": "24000"}, 24_000),
        ({"X-Sample-Rate": "fast"}, None),
        ({}, None),
    ],
)
def test_the_rate_in_headers(headers: dict[str, str], rate_hz: int | None) -> None:
    assert stated_rate_hz(headers) == rate_hz


async def test_recordings_are_read_once_and_again_when_they_change(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    made: list[Path] = []

    def make(file: Path) -> int:
        made.append(file)
        return len(content(file))

    path.write_bytes(b"abc")
    kept = Recordings("e", make)
    assert [await kept.get(str(path)) for _ in range(2)] == [3, 3] and len(made) == 1
    path.write_bytes(b"abcd")
    os.utime(path, (1, 1))
    assert await kept.get(str(path)) == 4
    with pytest.raises(EngineError, match=r"the recording .*none\.wav cannot be read"):
        await kept.get(str(tmp_path / "none.wav"))
    (tmp_path / "no.wav").write_bytes(b"not sound at all")
    with pytest.raises(EngineError, match="cannot be read"):
        await Recordings("e", samples).get(str(tmp_path / "no.wav"))


def test_samples_of_a_recording_are_16_khz_mono_and_bounded(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    with wave.open(str(path), "wb") as out:
        out.setnchannels(2)
        out.setsampwidth(2)
        out.setframerate(8_000)
        out.writeframes(np.full((8_000 * 40, 2), 8_000, "<i2").tobytes())
    pcm = samples(path)
    assert pcm.size == 16_000 * 30 and pcm.dtype == np.float32
    assert float(np.median(pcm)) == pytest.approx(8_000 / 32768, rel=0.01)
