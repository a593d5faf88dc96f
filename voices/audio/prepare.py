"""A recording as it came -> a clip to make a voice of, with what pages show of it. Blocking."""

from __future__ import annotations

import dataclasses
import io
import wave

import av.error
import numpy as np
import soxr

from audiofile import Facts, decode, inspect
from errors import TooLarge, Unprocessable
from listening.vad import SileroVad
from media import SAMPLE_RATE_HZ, Pcm
from voices.audio.judge import Limits, clipped_ratio, judge
from voices.audio.loudness import loudness_lufs
from voices.audio.refusals import Refused

RATE_HZ = 24_000
"""Of what is kept: what cloning models and StepFun want; the speaker models' 16 kHz are made of it."""
TARGET_LUFS = -23.0
"""EBU R 128."""
CEILING = 10 ** (-1 / 20)
"""-1 dBFS: a recording whose peaks would pass it is made less loud instead."""
HARD_MAX_S = 60.0
"""More is not even decoded."""
CHANNELS_MAX, RATE_MAX_HZ = 8, 192_000
PEAKS = 200


@dataclasses.dataclass(frozen=True, slots=True)
class Prepared:
    """A recording that passed."""

    wav: bytes
    """Mono, 16 bit, `RATE_HZ`, trimmed, at `TARGET_LUFS`."""
    facts: Facts
    """Of the file as it came."""
    duration_s: float
    peaks: bytes
    """[PEAKS] uint8: the waveform."""
    speech_ratio: float
    loudness_lufs: float
    snr_db: float
    clipped_ratio: float


def prepare(data: bytes, limits: Limits, vad: SileroVad) -> Prepared:
    """Decode, judge, trim and level a recording.

    Raises:
        TooLarge: longer than `HARD_MAX_S`.
        Refused: no recording, or none that a voice can be made of.
    """
    if not data:
        raise Refused("empty")
    facts, pcm = _decoded(data)
    heard = np.asarray(soxr.resample(pcm, RATE_HZ, SAMPLE_RATE_HZ), np.float32)
    loudness = loudness_lufs(pcm, RATE_HZ)
    found = judge(heard, clipped_ratio(pcm), loudness, limits, vad)
    trimmed = pcm[round(found.begin_s * RATE_HZ) : round(found.end_s * RATE_HZ)]
    return Prepared(
        wav=wav_bytes(levelled(trimmed, RATE_HZ), RATE_HZ),
        facts=facts,
        duration_s=trimmed.size / RATE_HZ,
        peaks=peaks(trimmed),
        speech_ratio=found.speech_ratio,
        loudness_lufs=loudness,
        snr_db=found.snr_db,
        clipped_ratio=found.clipped_ratio,
    )


def _decoded(data: bytes) -> tuple[Facts, Pcm]:
    try:
        facts = inspect(io.BytesIO(data), HARD_MAX_S)
        if facts.channels > CHANNELS_MAX or facts.rate_hz > RATE_MAX_HZ:
            raise Refused("not_audio")
        blocks = list(decode(io.BytesIO(data), HARD_MAX_S, RATE_HZ))
    except (Refused, TooLarge):
        raise
    except Unprocessable as error:
        cut = any(word in str(error) for word in ("cut off after", "midway", "ms of sound"))
        raise Refused("broken" if cut else "not_audio") from error
    except (av.error.FFmpegError, MemoryError, ValueError) as error:
        raise Refused("broken") from error
    return facts, np.concatenate(blocks)


def levelled(pcm: Pcm, rate_hz: int) -> Pcm:
    """At `TARGET_LUFS`, or as near as its peaks let it."""
    gain = 10 ** ((TARGET_LUFS - loudness_lufs(pcm, rate_hz)) / 20)
    peak = float(np.abs(pcm).max(initial=1e-9))
    return pcm * np.float32(min(gain, CEILING / peak))


def peaks(pcm: Pcm) -> bytes:
    """The highest of each of `PEAKS` stretches, 0..255, the highest of all being 255."""
    edges = np.linspace(0, pcm.size, PEAKS + 1).astype(int)[:-1]
    highest = np.maximum.reduceat(np.abs(pcm), edges)
    return bytes(np.round(255 * highest / max(float(highest.max()), 1e-9)).astype(np.uint8))


def wav_bytes(pcm: Pcm, rate_hz: int) -> bytes:
    """A WAV file: mono, 16 bit."""
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(rate_hz)
        out.writeframes((np.clip(pcm, -1, 1) * 32767).astype("<i2").tobytes())
    return file.getvalue()


def read_wav(data: bytes) -> tuple[Pcm, int]:
    """What `wav_bytes` wrote, and its rate."""
    with wave.open(io.BytesIO(data)) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float32)
        return samples / np.float32(32768), file.getframerate()
