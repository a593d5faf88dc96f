"""Recordings made ready: what passes comes out trimmed and levelled, what does not is refused by its reason."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import struct
import zlib
from typing import Any, cast

import av
import numpy as np
import pytest

from audiofile import decode
from errors import Busy, TooLarge
from listening.vad import SileroVad, load_silero
from media import Pcm
from tests.fakes.library import CLIP_RATE_HZ, clip, speech
from tests.fakes.sounds import encoded, written
from voices.audio.desk import AudioDesk
from voices.audio.judge import Limits, clipped_ratio
from voices.audio.loudness import loudness_lufs
from voices.audio.prepare import PEAKS, RATE_HZ, TARGET_LUFS, Prepared, prepare, read_wav, wav_bytes
from voices.audio.refusals import SENTENCES, Refused

LIMITS = Limits(5.0, 10.0)
NETWORK = load_silero()
RNG = np.random.default_rng(7)


def prepared(data: bytes) -> Prepared:
    return prepare(data, LIMITS, SileroVad(NETWORK))


def wav(pcm: Pcm) -> bytes:
    return wav_bytes(np.asarray(pcm, np.float32), CLIP_RATE_HZ)


def silence(seconds: float) -> Pcm:
    return np.zeros(int(seconds * CLIP_RATE_HZ), np.float32)


def noise(pcm: Pcm, snr_db: float) -> Pcm:
    level = np.sqrt(np.mean(np.square(speech())) / 10 ** (snr_db / 10))
    return np.asarray(level * RNG.standard_normal(pcm.size), np.float32)


def music(seconds: float) -> Pcm:
    """Broken chords, plucked."""
    t = np.arange(int(seconds * CLIP_RATE_HZ)) / CLIP_RATE_HZ
    notes = sum(np.sin(2 * np.pi * hz * t) for hz in (261.6, 329.6, 392.0, 523.3))
    return np.asarray(0.1 * notes * np.exp(-3 * (2 * t % 1)), np.float32)


def as_container(container: str, codec: str, layout: str = "mono", rate_hz: int = 48_000) -> bytes:
    """The recording as FFmpeg writes it."""
    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        stream = output.add_stream(codec, rate=rate_hz)
        assert isinstance(stream, av.AudioStream)
        stream.layout = layout
        frame = av.AudioFrame.from_ndarray(speech().reshape(1, -1), "flt", "mono")
        frame.rate, frame.pts = CLIP_RATE_HZ, 0
        resampler = av.AudioResampler(stream.format.name, layout, rate_hz, stream.frame_size or None)
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            output.mux(stream.encode(part))
        output.mux(stream.encode(None))
    return file.getvalue()


@pytest.mark.parametrize(
    ("container", "codec", "layout"),
    [
        ("webm", "libopus", "mono"),
        ("mp4", "aac", "stereo"),
        ("ipod", "aac", "mono"),
        ("mp3", "libmp3lame", "stereo"),
        ("ogg", "libopus", "mono"),
        ("flac", "flac", "mono"),
        ("wav", "pcm_s16le", "stereo"),
        ("adts", "aac", "mono"),
    ],
)
def test_whatever_a_browser_records_passes(container: str, codec: str, layout: str) -> None:
    made = prepared(as_container(container, codec, layout))
    pcm, rate_hz = read_wav(made.wav)
    assert rate_hz == RATE_HZ and abs(made.duration_s - pcm.size / RATE_HZ) < 0.01
    assert 5.0 < made.duration_s < 10.0 and made.speech_ratio > 0.8
    assert abs(loudness_lufs(pcm, rate_hz) - TARGET_LUFS) < 0.2
    assert len(made.peaks) == PEAKS and max(made.peaks) == 255 and min(made.peaks) < 200


def test_silence_around_the_speech_is_cut() -> None:
    whole = prepared(wav(np.concatenate((silence(3), speech(), silence(2)))))
    assert abs(whole.duration_s - prepared(clip()).duration_s) < 0.25


def test_ten_seconds_of_speech_in_a_longer_recording_are_no_more_than_ten() -> None:
    made = prepared(wav(np.concatenate((silence(2), speech(), silence(2)))))
    assert made.duration_s < 10 < 2 + speech().size / CLIP_RATE_HZ + 2


REFUSED: list[tuple[str, bytes, str]] = [
    ("nothing", b"", "empty"),
    ("text", b"not a recording " * 400, "not_audio"),
    ("a picture", b"\x89PNG\r\n\x1a\n" + bytes(4_000), "not_audio"),
    ("a playlist", b"#EXTM3U\n#EXTINF:10,\nhttp://127.0.0.1/secret\n", "not_audio"),
    ("a concat list", b"ffconcat version 1.0\nfile /etc/passwd\n", "not_audio"),
    ("half a file", clip()[: len(clip()) // 2], "broken"),
    ("4 s", wav(speech()[: 4 * CLIP_RATE_HZ]), "too_short"),
    ("11 s", wav(np.concatenate((speech(), speech(1)))[: 11 * CLIP_RATE_HZ]), "too_long"),
    ("silence", wav(silence(8)), "no_speech"),
    ("noise", wav(noise(silence(8), 0)), "no_speech"),
    ("music", wav(music(8)), "no_speech"),
    ("a word in music", wav(np.concatenate((speech()[:36_000], music(5), speech()[:36_000]))), "not_mostly_speech"),
    ("too quiet", wav(speech() * np.float32(0.01)), "too_quiet"),
    ("overdriven", wav(np.clip(8 * speech(), -1, 1)), "clipped"),
    ("noisy", wav(speech() + noise(speech(), 3)), "noisy"),
    ("24 channels", written(6, 8_000, 24), "not_audio"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "data", "code"), REFUSED, ids=[name for name, *_ in REFUSED])
def test_what_no_voice_can_be_made_of_is_refused_by_its_reason(name: str, data: bytes, code: str) -> None:
    with pytest.raises(Refused) as refused:
        prepared(data)
    error = refused.value
    assert error.code == code and error.status == 422
    assert str(error) and error.zh and "{" not in str(error) + error.zh


def test_every_sentence_is_there_in_both_languages() -> None:
    facts = {"seconds": 4.2, "limit": 5.0, "percent": 12.0, "loudness": -61.0, "snr": 3.0}
    for code in SENTENCES:
        error = Refused(code, **facts)
        assert any("\u4e00" <= character <= "\u9fff" for character in error.zh)
        assert str(error).isascii()


def test_what_is_far_too_long_is_not_even_decoded() -> None:
    with pytest.raises(TooLarge, match="60 s"):
        prepared(written(70, 8_000))


def zipped_webm() -> bytes:
    """A Matroska file of a few kilobytes whose one packet unpacks to hundreds of megabytes of zeros."""

    def element(tag: bytes, body: bytes) -> bytes:
        return tag + b"\x08" + struct.pack(">I", len(body)) + body  # a length of five bytes

    packer = zlib.compressobj(9)
    packed = b"".join(packer.compress(bytes(1 << 20)) for _ in range(300)) + packer.flush()
    compression = element(b"\x50\x34", element(b"\x42\x54", b"\x00"))
    encoding = element(b"\x6d\x80", element(b"\x62\x40", element(b"\x50\x33", b"\x00") + compression))
    audio = element(b"\xe1", element(b"\xb5", struct.pack(">d", 48_000.0)) + element(b"\x9f", b"\x01"))
    entry = element(
        b"\xae",
        element(b"\xd7", b"\x01") + element(b"\x73\xc5", b"\x01") + element(b"\x83", b"\x02")
        + element(b"\x86", b"A_PCM/INT/LIT") + audio + encoding,
    )  # fmt: skip
    block = element(b"\xa3", b"\x81\x00\x00\x80" + packed)
    cluster = element(b"\x1f\x43\xb6\x75", element(b"\xe7", b"\x00") + block)
    head = element(b"\x1a\x45\xdf\xa3", element(b"\x42\x82", b"matroska") + element(b"\x42\x87", b"\x04"))
    info = element(b"\x15\x49\xa9\x66", element(b"\x2a\xd7\xb1", struct.pack(">I", 1_000_000)))
    return head + element(b"\x18\x53\x80\x67", info + element(b"\x16\x54\xae\x6b", entry) + cluster)


def test_a_packet_that_unpacks_to_hundreds_of_megabytes_is_refused() -> None:
    bomb = zipped_webm()
    assert len(bomb) < 1 << 20
    with pytest.raises((Refused, TooLarge)):
        prepared(bomb)


@pytest.mark.parametrize("rate_hz", [16_000, 24_000, 44_100, 48_000])
def test_loudness_is_what_ffmpeg_measures(rate_hz: int) -> None:
    recording = io.BytesIO(wav(np.concatenate((speech(), silence(1)))))
    pcm = np.concatenate(list(decode(recording, 60, rate_hz)))
    assert abs(loudness_lufs(pcm, rate_hz) - ffmpeg_lufs(pcm, rate_hz)) < 0.1


def ffmpeg_lufs(pcm: Pcm, rate_hz: int) -> float:
    """By libavfilter's own meter."""
    graph = av.filter.Graph()
    source = graph.add_abuffer(sample_rate=rate_hz, format="flt", layout="mono", time_base=f"1/{rate_hz}")  # type: ignore[arg-type]
    meter = graph.add("ebur128", "metadata=1")
    sink = graph.add("abuffersink")
    source.link_to(meter)
    meter.link_to(sink)
    graph.configure()
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(pcm).reshape(1, -1), "flt", "mono")
    frame.rate, frame.pts = rate_hz, 0
    source.push(frame)
    source.push(None)
    told = ""
    while True:
        try:
            told = cast(Any, sink.pull()).metadata.get("lavfi.r128.I", told)
        except (av.error.EOFError, av.error.BlockingIOError):
            return float(told)


def test_full_scale_alone_is_no_clipping() -> None:
    t = np.arange(48_000) / 48_000
    sine = np.asarray(np.sin(2 * np.pi * 440 * t), np.float32)
    assert clipped_ratio(0.5 * sine) == 0.0
    assert clipped_ratio(np.clip(2 * sine, -1, 1)) > 0.3


async def test_the_process_prepares_as_the_function_does_and_lives_on_after_rubbish() -> None:
    desk = AudioDesk(LIMITS)
    try:
        with pytest.raises(Refused) as refused:
            await desk.prepare(b"rubbish" * 100)
        assert refused.value.code == "not_audio" and refused.value.zh
        with pytest.raises(TooLarge):
            await desk.prepare(written(70, 8_000))
        several = await asyncio.gather(*(desk.prepare(clip()) for _ in range(3)))
        assert several[0] == several[1] == several[2]
        assert several[0].wav == prepared(clip()).wav
    finally:
        await desk.aclose()


async def test_recordings_that_waited_when_the_process_died_are_looked_at_by_the_next() -> None:
    desk = AudioDesk(LIMITS)
    try:
        await desk.prepare(clip())
        pid = desk._process.pid
        assert pid is not None
        waiting = [asyncio.create_task(desk.prepare(clip())) for _ in range(3)]
        await asyncio.sleep(0.05)
        os.kill(pid, signal.SIGKILL)
        assert {made.duration_s for made in await asyncio.gather(*waiting)} == {prepared(clip()).duration_s}
        assert desk._process.pid not in (None, pid)
    finally:
        await desk.aclose()


async def test_more_than_can_be_looked_at_soon_is_refused_for_now() -> None:
    desk = AudioDesk(LIMITS)
    desk.waiting = 1_000
    with pytest.raises(Busy):
        await desk.prepare(clip())
    await desk.aclose()


def test_a_tone_in_each_container_is_no_speech() -> None:
    for container, codec in (("webm", "libopus"), ("mp3", "libmp3lame")):
        with pytest.raises(Refused) as refused:
            prepared(encoded(container, codec, 6))
        assert refused.value.code == "no_speech"
