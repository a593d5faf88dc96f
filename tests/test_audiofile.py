"""Uploads: every common container becomes 16 kHz mono; what cannot be spoken is refused by name."""

from __future__ import annotations

import io
import struct
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audiofile import decode, inspect, riff_missing_bytes
from errors import TooLarge, Unprocessable
from media import SAMPLE_RATE_HZ
from server.upload import Recording
from tests.fakes.sounds import TONE_HZ, encoded, pitch_hz, written

MAX_S = 600.0
GOOD = {
    "wav 16 bit": written(1, 16_000),
    "wav 24 bit": written(1, 48_000, subtype="PCM_24"),
    "wav float stereo": written(1, 44_100, 2, "FLOAT"),
    "wav double": written(1, 44_100, 1, "DOUBLE"),
    "wav 8 bit": written(1, 16_000, subtype="PCM_U8"),
    "wav 8 kHz": written(1, 8_000),
    "wav mu-law": written(1, 8_000, subtype="ULAW"),
    "wav 96 kHz, 8 channels, 24 bit": written(1, 96_000, 8, "PCM_24"),
    "flac": written(1, 44_100, 2, "PCM_16", "FLAC"),
    "flac 8 channels": written(1, 44_100, 8, "PCM_24", "FLAC"),
    "ogg vorbis": written(1, 44_100, 1, "VORBIS", "OGG"),
    "ogg vorbis 8 channels": written(1, 44_100, 8, "VORBIS", "OGG"),
    "ogg opus": encoded("ogg", "libopus"),
    "webm opus": encoded("webm", "libopus"),
    "mp3": written(1, 44_100, 1, "MPEG_LAYER_III", "MP3"),
    "m4a": encoded("mp4", "aac"),
    "m4a 7.1": encoded("mp4", "aac", layout="7.1"),
    "aac": encoded("adts", "aac"),
}
WAV = GOOD["wav 16 bit"]
BAD = {
    "empty": (b"", "empty"),
    "text": (b"this is not audio " * 200, "not audio"),
    "zeros": (bytes(5_000), "not audio"),
    "picture": (b"\x89PNG\r\n\x1a\n" + bytes(500), "not audio"),
    "playlist": (b"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n/etc/passwd\n#EXT-X-ENDLIST\n", "not audio"),
    "header only": (WAV[:44], "cut off"),
    "wav cut": (WAV[: len(WAV) // 2], "cut off after 0.5 s"),
    "wav 24 bit cut": (GOOD["wav 24 bit"][: 3 * 24_000 + 44], "cut off after 0.5 s"),
    "flac cut": (GOOD["flac"][: len(GOOD["flac"]) // 2], "cut off"),
    "mp3 cut": (written(4, 44_100, 1, "MPEG_LAYER_III", "MP3")[:-8_000], "cut off"),
    "webm cut": (encoded("webm", "libopus", 4)[:-10_000], "cut off"),
    "m4a cut": (encoded("mp4", "aac", 4)[:-10_000], "cut off"),
    "too short": (written(0.01, 16_000), "10 ms"),
    "1 Hz": (WAV[:24] + struct.pack("<I", 1) + WAV[28:], "1 Hz"),
}


def spoken(data: bytes) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.concatenate(list(decode(io.BytesIO(data), MAX_S)))


@pytest.mark.parametrize("name", GOOD)
def test_every_container_becomes_the_same_tone(name: str) -> None:
    facts = inspect(io.BytesIO(GOOD[name]), MAX_S)
    pcm = spoken(GOOD[name])
    assert pcm.dtype == np.float32 and pcm.ndim == 1
    assert facts.duration_s == pytest.approx(1.0, abs=0.06)  # lossy codecs pad by up to two frames
    assert len(pcm) == pytest.approx(SAMPLE_RATE_HZ, abs=0.06 * SAMPLE_RATE_HZ)
    middle = pcm[2_000:14_000]
    assert pitch_hz(middle, SAMPLE_RATE_HZ) == pytest.approx(TONE_HZ, abs=2)
    assert 0.3 < np.abs(middle).max() <= 1.0


def test_pcm_keeps_every_sample() -> None:
    for rate_hz in (8_000, 16_000, 44_100, 48_000, 96_000):
        assert len(spoken(written(1, rate_hz))) == SAMPLE_RATE_HZ


def test_the_first_block_is_short_and_blocks_join_without_a_seam() -> None:
    blocks = list(decode(io.BytesIO(written(3, 44_100)), MAX_S))
    assert len(blocks[0]) < 0.3 * SAMPLE_RATE_HZ < len(blocks[1])
    pcm = np.concatenate(blocks)
    step = np.abs(np.diff(pcm)).max()
    assert (
        step < 1.1 * 0.5 * 2 * np.pi * TONE_HZ / SAMPLE_RATE_HZ
    )  # no sample jumps more than the sine's steepest slope


def test_wild_floats_are_tamed() -> None:
    import soundfile

    wild = np.zeros(16_000, np.float32)
    wild[::7], wild[1::7], wild[2::7] = np.nan, np.inf, -1e30
    file = io.BytesIO()
    soundfile.write(file, wild, 16_000, subtype="FLOAT", format="WAV")
    pcm = spoken(file.getvalue())
    assert np.isfinite(pcm).all() and np.abs(pcm).max() <= 1.5


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_spoken_is_refused_with_a_sentence(name: str) -> None:
    data, reason = BAD[name]
    with pytest.raises(Unprocessable, match=reason):
        inspect(io.BytesIO(data), MAX_S)


def test_too_long_is_known_from_the_header() -> None:
    with pytest.raises(TooLarge, match="12 s; at most 10 s"):
        inspect(io.BytesIO(written(12, 8_000)), 10)


def test_too_long_is_known_from_the_packets_when_no_header_tells() -> None:
    with pytest.raises(TooLarge, match="more than the 2 s"):
        inspect(io.BytesIO(encoded("adts", "aac", 3)), 2)


def test_a_wav_written_to_a_pipe_is_whole() -> None:
    piped = WAV[:40] + struct.pack("<I", 0xFFFF_FFFF) + WAV[44:]
    assert riff_missing_bytes(io.BytesIO(piped)) == 0
    assert inspect(io.BytesIO(piped), MAX_S).duration_s == pytest.approx(1.0)


def test_a_codec_nobody_knows_is_refused() -> None:
    unknown = WAV[:20] + b"\x99\x99" + WAV[22:]
    with pytest.raises(Unprocessable, match="codec"):
        inspect(io.BytesIO(unknown), MAX_S)


@settings(max_examples=60, deadline=None)
@given(name=st.sampled_from(sorted(GOOD)), data=st.data())
def test_damage_is_decoded_or_refused_never_worse(name: str, data: st.DataObject) -> None:
    content = bytearray(GOOD[name])
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, min(len(content) - 1, 4_000)))] = data.draw(st.integers(0, 255))
    import av.error

    try:
        inspect(io.BytesIO(bytes(content)), 5)
        assert all(np.isfinite(block).all() for block in decode(io.BytesIO(bytes(content)), 5))
    except (Unprocessable, TooLarge, av.error.FFmpegError):
        pass


async def test_a_recording_frees_its_file_wherever_it_is_left() -> None:
    with ThreadPoolExecutor(1) as decoders:
        unopened, opened, begun, ended = (Recording(io.BytesIO(WAV), decoders, MAX_S) for _ in range(4))
        for recording in (opened, begun, ended):
            await recording.open()
        async for _ in begun:
            break
        async for _ in ended:
            pass
        for recording in (unopened, opened, begun):
            recording.close()
        recordings = (unopened, opened, begun, ended)
    assert all(recording._file.closed for recording in recordings)


async def test_closing_while_a_block_is_awaited_ends_the_sound() -> None:
    with ThreadPoolExecutor(1) as decoders:
        recording = Recording(io.BytesIO(written(30, 16_000)), decoders, MAX_S)
        await recording.open()
        count = 0
        async for _ in recording:
            count += 1
            if count == 3:
                recording.close()
        assert 3 <= count <= 4
