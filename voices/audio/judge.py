"""Is this a recording of one voice that a voice can be made of? Where its speech lies, and what stands against it."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from listening.vad import WINDOW, SileroVad
from media import SAMPLE_RATE_HZ, Pcm
from voices.audio.refusals import Refused

SPEECH = 0.5
"""Silero's probability from which a window is speech."""
BRIDGE = 10
"""Windows (0.32 s) of a pause that belong to the speech around them: a comma is no silence."""
LEAD_S, TAIL_S = 0.10, 0.15
"""Kept around the speech, so that soft onsets and decays are not cut."""
SLACK_S = 0.05
"""A recording stopped at exactly ten seconds may be a buffer longer."""
SPEECH_RATIO_MIN = 0.60
QUIET_LUFS = -50.0
CLIPPED_MAX = 0.001
CLIP_LEVEL, CLIP_PEAK, CLIP_RUN = 0.985, 0.9, 3
"""Samples within CLIP_LEVEL of a peak over CLIP_PEAK, CLIP_RUN of them in a row, are cut off."""
SNR_MIN_DB = 12.0
NOISE_WINDOWS_MIN = 8
"""As many windows without speech tell the noise; with fewer the quietest tenth of a second within it has to."""
QUIETEST = 0.05
FRAME = SAMPLE_RATE_HZ // 50


@dataclasses.dataclass(frozen=True, slots=True)
class Limits:
    """What is taken."""

    seconds_min: float
    seconds_max: float


@dataclasses.dataclass(frozen=True, slots=True)
class Findings:
    """What was measured."""

    begin_s: float
    end_s: float
    """Of the speech, with what is kept around it."""
    speech_ratio: float
    snr_db: float
    clipped_ratio: float


def find_speech(pcm: Pcm, vad: SileroVad) -> NDArray[np.bool_]:
    """[windows]: whether somebody speaks in each 32 ms of 16 kHz sound."""
    vad.reset()
    whole = np.pad(pcm, (0, -pcm.size % WINDOW)).reshape(-1, WINDOW)
    return np.array([vad(window) > SPEECH for window in whole], np.bool_)


def judge(pcm: Pcm, native_clipped: float, loudness_lufs: float, limits: Limits, vad: SileroVad) -> Findings:
    """Judge a recording.

    Args:
        pcm: mono, 16 kHz.
        native_clipped: share of its samples that are cut off, of `clipped_ratio`.
        loudness_lufs: of `voices.audio.loudness`.

    Raises:
        Refused: it cannot become a voice.
    """
    speech = find_speech(pcm, vad)
    if not speech.any():
        raise Refused("no_speech")
    if loudness_lufs < QUIET_LUFS:
        raise Refused("too_quiet", loudness=loudness_lufs)
    first, last = int(np.argmax(speech)), speech.size - int(np.argmax(speech[::-1]))
    begin_s = max(0.0, first * WINDOW / SAMPLE_RATE_HZ - LEAD_S)
    end_s = min(pcm.size / SAMPLE_RATE_HZ, last * WINDOW / SAMPLE_RATE_HZ + TAIL_S)
    ratio = float(bridged(speech[first:last]).mean())
    if ratio < SPEECH_RATIO_MIN:
        raise Refused("not_mostly_speech", percent=100 * ratio, limit=100 * SPEECH_RATIO_MIN)
    seconds = end_s - begin_s
    if seconds < limits.seconds_min - SLACK_S:
        raise Refused("too_short", seconds=seconds, limit=limits.seconds_min)
    if seconds > limits.seconds_max + SLACK_S:
        raise Refused("too_long", seconds=seconds, limit=limits.seconds_max)
    if native_clipped > CLIPPED_MAX:
        raise Refused("clipped", percent=100 * native_clipped)
    snr = snr_db(pcm, speech)
    if snr < SNR_MIN_DB:
        raise Refused("noisy", snr=snr, limit=SNR_MIN_DB)
    return Findings(begin_s, end_s, ratio, snr, native_clipped)


def bridged(speech: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """With the short pauses between words counted as speech."""
    out = speech.copy()
    at = np.flatnonzero(speech)
    for before, after in zip(at[:-1], at[1:], strict=True):
        if 1 < after - before <= BRIDGE:
            out[before:after] = True
    return out


def clipped_ratio(pcm: Pcm) -> float:
    """Share of samples that are cut off at the level of the highest."""
    peak = float(np.abs(pcm).max(initial=0.0))
    if peak < CLIP_PEAK:
        return 0.0
    flat = np.abs(pcm) >= CLIP_LEVEL * peak
    edges = np.flatnonzero(np.diff(np.concatenate(([0], flat.astype(np.int8), [0]))))
    runs = edges[1::2] - edges[::2]
    return float(runs[runs >= CLIP_RUN].sum() / pcm.size)


def snr_db(pcm: Pcm, speech: NDArray[np.bool_]) -> float:
    """Speech against what is heard where nobody speaks, dB; at most 60."""
    windows = np.pad(pcm, (0, speech.size * WINDOW - pcm.size)).reshape(-1, WINDOW)
    power = np.mean(np.square(windows, dtype=np.float64), axis=1)
    # A window beside speech holds some of it, and the last one is filled up with nothing.
    apart = ~(speech | np.roll(speech, 1) | np.roll(speech, -1))
    apart[-1] = False
    if apart.sum() >= NOISE_WINDOWS_MIN:
        noise = float(power[apart].mean())
    else:
        frames = pcm[: pcm.size // FRAME * FRAME].reshape(-1, FRAME)
        noise = float(np.quantile(np.mean(np.square(frames, dtype=np.float64), axis=1), QUIETEST))
    signal = float(power[speech].mean())
    return float(min(60.0, 10 * np.log10(max(signal - noise, 1e-12) / max(noise, 1e-12))))
