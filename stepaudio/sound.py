"""Sound on its way into the tokenizer and out of the vocoder, all of it in memory: rate, level, silence, pace.

How a recording is prepared is Step-Audio's own (`utils.py`: peak normalisation, a trim by librosa), because the codes
were learned behind it.
"""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path
from typing import IO

import av
import av.error
import numpy as np
import soxr

import audiofile
from errors import BadRequest, NotFound, Unprocessable
from media import SAMPLE_RATE_HZ, Pcm

LONGEST_S = 600.0
"""Of a recording; ten minutes are 25,000 tokens, more than a model attends to."""
RATE_MIN_HZ, RATE_MAX_HZ = 4_000, 384_000
PEAK = 0.999
QUIETEST_PEAK = 0.01
"""A recording with a lower peak is not raised as if it were speech."""
TRIM_DB = 20.0
"""Below the loudest frame: silence."""
TRIM_FRAME, TRIM_HOP = 512, 128
KEPT_BEFORE_S, KEPT_AFTER_S = 0.05, 0.22
BODY_STEP = 240
"""The speech between is a multiple of it long, in samples."""
SPEED_MIN, SPEED_MAX = 0.5, 2.0
VOLUME_MIN, VOLUME_MAX = 0.1, 10.0


def load_audio(source: str | Path | IO[bytes]) -> tuple[Pcm, int]:
    """A recording as mono float32, and its rate in Hz.

    Args:
        source: a path, or an open file, in any container that `audiofile` reads.

    Raises:
        NotFound: there is no such file.
        Unprocessable: it is no sound, or cut off.
        TooLarge: longer than LONGEST_S.
    """
    if not isinstance(source, str | Path):
        return _decoded(source)
    path = Path(source)
    if not path.is_file():
        raise NotFound(f"the recording {path} is not there", zh=f"录音 {path} 不存在")
    try:
        with path.open("rb") as file:
            return _decoded(file)
    except OSError as error:
        raise Unprocessable(f"the recording {path} cannot be read: {error}", zh=f"无法读取录音 {path}") from error


def _decoded(file: IO[bytes]) -> tuple[Pcm, int]:
    rate_hz = audiofile.inspect(file, LONGEST_S).rate_hz
    try:
        return np.concatenate(list(audiofile.decode(file, LONGEST_S, rate_hz))), rate_hz
    except av.error.FFmpegError as error:
        raise Unprocessable(f"the recording cannot be decoded: {error}", zh="录音无法解码") from error


def checked(pcm: Pcm) -> Pcm:
    """The samples as float32 [n], finite.

    Raises:
        Unprocessable: there are none, or they are not one channel.
    """
    mono = np.asarray(pcm, np.float32)
    if mono.ndim != 1 or not mono.size:
        raise Unprocessable(
            f"sound of shape {list(mono.shape)} cannot be heard; it must be samples of one channel",
            zh=f"形状为 {list(mono.shape)} 的音频无法处理，应为单声道采样",
        )
    return np.nan_to_num(mono, nan=0.0, posinf=1.0, neginf=-1.0)


def to_rate(pcm: Pcm, rate_hz: int, target_hz: int = SAMPLE_RATE_HZ) -> Pcm:
    """The same sound at another rate, higher or lower.

    Raises:
        Unprocessable: the rate is outside RATE_MIN_HZ to RATE_MAX_HZ.
    """
    if not RATE_MIN_HZ <= rate_hz <= RATE_MAX_HZ:
        raise Unprocessable(
            f"sound at {rate_hz} Hz cannot be heard; from {RATE_MIN_HZ} to {RATE_MAX_HZ} Hz is possible",
            zh=f"采样率 {rate_hz} Hz 不受支持，应在 {RATE_MIN_HZ} 至 {RATE_MAX_HZ} Hz 之间",
        )
    return pcm if rate_hz == target_hz else np.asarray(soxr.resample(pcm, rate_hz, target_hz), np.float32)


def normalised(pcm: Pcm) -> Pcm:
    """The sound with its peak at PEAK; what never exceeds QUIETEST_PEAK stays as much below it."""
    peak = max(float(np.abs(pcm).max(initial=0.0)), QUIETEST_PEAK)
    return np.asarray(pcm / np.float32(peak) * np.float32(PEAK), np.float32)


def trimmed(pcm: Pcm) -> Pcm:
    """The speech with KEPT_BEFORE_S before and KEPT_AFTER_S behind it, silence where there was less, at 16 kHz."""
    first, last = _speech(pcm)
    body = math.ceil((last - first) / BODY_STEP) * BODY_STEP
    before = int(KEPT_BEFORE_S * SAMPLE_RATE_HZ)
    length = body + int((KEPT_BEFORE_S + KEPT_AFTER_S) * SAMPLE_RATE_HZ)
    kept = pcm[max(0, first - before) :]
    kept = np.pad(kept, (max(0, before - first), 0))[:length]
    return np.pad(kept, (0, length - len(kept)))


def _speech(pcm: Pcm) -> tuple[int, int]:
    """From which sample to which the sound is within TRIM_DB of its loudest frame, as librosa's `effects.trim` says."""
    padded = np.pad(pcm.astype(np.float64), TRIM_FRAME // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, TRIM_FRAME)[::TRIM_HOP]
    power = np.maximum((frames**2).mean(1), 1e-10)
    loud = np.flatnonzero(power > power.max() * 10 ** (-TRIM_DB / 10))
    return int(loud[0]) * TRIM_HOP, min(len(pcm), (int(loud[-1]) + 1) * TRIM_HOP)


def with_volume(pcm: Pcm, ratio: float) -> Pcm:
    """The sound `ratio` times as loud, cut off at full scale.

    Raises:
        BadRequest: the ratio is outside VOLUME_MIN to VOLUME_MAX.
    """
    _check_ratio("volume", "音量", ratio, VOLUME_MIN, VOLUME_MAX)
    return np.asarray(np.clip(pcm * np.float32(ratio), -1.0, 1.0), np.float32)


def with_speed(pcm: Pcm, rate_hz: int, ratio: float) -> Pcm:
    """The sound `ratio` times as fast at the same pitch (FFmpeg's `atempo`, a WSOLA).

    Raises:
        BadRequest: the ratio is outside SPEED_MIN to SPEED_MAX.
    """
    _check_ratio("speed", "语速", ratio, SPEED_MIN, SPEED_MAX)
    if ratio == 1.0 or not pcm.size:
        return pcm
    graph = av.filter.Graph()
    source = graph.add_abuffer(sample_rate=rate_hz, format="flt", layout="mono", time_base=Fraction(1, rate_hz))
    stretch, sink = graph.add("atempo", f"{ratio:.6f}"), graph.add("abuffersink")
    source.link_to(stretch)
    stretch.link_to(sink)
    graph.configure()
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(pcm[None]), format="flt", layout="mono")
    frame.sample_rate, frame.pts = rate_hz, 0
    graph.push(frame)
    graph.push(None)
    return np.concatenate([*_pulled(graph), np.zeros(0, np.float32)])


def _pulled(graph: av.filter.Graph) -> list[Pcm]:
    found: list[Pcm] = []
    while True:
        try:
            found.append(np.asarray(graph.pull().to_ndarray(), np.float32).reshape(-1))
        except (av.error.EOFError, av.error.BlockingIOError):
            return found


def check_ratios(speed: float, volume: float) -> None:
    """Refuse, before any work is done, what `with_speed` and `with_volume` would.

    Raises:
        BadRequest: one is out of its bounds.
    """
    _check_ratio("speed", "语速", speed, SPEED_MIN, SPEED_MAX)
    _check_ratio("volume", "音量", volume, VOLUME_MIN, VOLUME_MAX)


def _check_ratio(name: str, zh: str, ratio: float, least: float, most: float) -> None:
    if not least <= ratio <= most:
        raise BadRequest(
            f"{name} {ratio!r} must be from {least} to {most}", zh=f"{zh} {ratio!r} 应在 {least} 至 {most} 之间"
        )
