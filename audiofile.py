"""Recorded sound in any common container: judged by its packets, decoded to mono block by block.

Blocking; called on decoder threads.
"""

from __future__ import annotations

import dataclasses
import io
import struct
from collections.abc import Generator
from fractions import Fraction
from typing import IO

import av
import av.error
import numpy as np
import soxr
from av.stream import Discard
from numpy.typing import NDArray

from errors import TooLarge, Unprocessable
from media import SAMPLE_RATE_HZ, Pcm

FORMATS = "wav,w64,aiff,au,mp3,aac,flac,ogg,mov,matroska,amr,caf"
"""FFmpeg demuxers an upload may choose. Playlists (hls, concat, dash) are not among them: they open other files."""
FORMATS_TEXT = "WAV, MP3, M4A, OGG, FLAC or WebM"
FORMATS_ZH = "WAV、MP3、M4A、OGG、FLAC 或 WebM"
EXACT_FORMATS = frozenset({"wav", "w64", "aiff", "flac", "mov", "matroska"})
"""Containers whose header gives the exact length, so that a missing end is known."""
TRUNCATED_S = 0.25
STREAMED_BYTES = 0x7FFF_0000  # a WAV that was written to a pipe promises about this much or more
MP3_HEAD_BYTES = 16_384
RATE_MIN_HZ, RATE_MAX_HZ = 4_000, 384_000
CHANNELS_MAX = 32
DURATION_TICKS_MAX = 1 << 31  # FFmpeg's Ogg reader gives some last packets a duration that has wrapped below zero
FIRST_BLOCK_S = 0.1
BLOCK_S = 0.5
DURATION_MIN_S = 0.02


@dataclasses.dataclass(frozen=True, slots=True)
class Facts:
    """What the container says."""

    format: str
    codec: str
    rate_hz: int
    channels: int
    duration_s: float


def inspect(file: IO[bytes], max_s: float) -> Facts:
    """Read the container and, where its header is not to be trusted, walk its packets without decoding them.

    Raises:
        TooLarge: longer than `max_s`.
        Unprocessable: empty, not audio, or cut off.
    """
    file.seek(0)
    if not file.read(1):
        raise Unprocessable(
            f"file is empty; send a recording ({FORMATS_TEXT})", zh=f"文件为空；请上传录音（{FORMATS_ZH}）"
        )
    missing_bytes = riff_missing_bytes(file)
    file.seek(0)
    with _container(file) as container:
        stream = _stream(container)
        facts = _facts(container, stream)
        if facts.duration_s > max_s and facts.format in EXACT_FORMATS:
            raise TooLarge(
                f"file lasts {facts.duration_s:.0f} s; at most {max_s:.0f} s are taken",
                zh=f"录音长 {facts.duration_s:.0f} 秒，最多接收 {max_s:.0f} 秒",
            )
        if facts.format == "wav":
            cut, found_s = missing_bytes > 0, facts.duration_s
        else:
            found_s, cut = _length(container, stream, max_s)
            exact = facts.format in EXACT_FORMATS or (facts.format == "mp3" and _counts_frames(file))
            cut = cut or (exact and facts.duration_s - found_s > TRUNCATED_S)
    if cut:
        raise Unprocessable(
            f"file is cut off after {found_s:.1f} s: its header promises more than there is",
            zh=f"文件不完整：在 {found_s:.1f} 秒处中断",
        )
    if found_s < DURATION_MIN_S:
        raise Unprocessable(
            f"file holds {found_s * 1000:.0f} ms of sound; at least {DURATION_MIN_S * 1000:.0f} ms are needed",
            zh=f"文件只有 {found_s * 1000:.0f} 毫秒的声音，至少需要 {DURATION_MIN_S * 1000:.0f} 毫秒",
        )
    return dataclasses.replace(facts, duration_s=found_s)


def _facts(container: av.container.InputContainer, stream: av.AudioStream) -> Facts:
    codec = stream.codec_context
    if not RATE_MIN_HZ <= codec.sample_rate <= RATE_MAX_HZ or not 1 <= codec.channels <= CHANNELS_MAX:
        raise Unprocessable(
            f"file has {codec.channels} channels at {codec.sample_rate} Hz; allowed are 1 to {CHANNELS_MAX} "
            f"at {RATE_MIN_HZ} to {RATE_MAX_HZ} Hz",
            zh=f"文件为 {codec.sample_rate} Hz、{codec.channels} 声道；"
            f"允许 {RATE_MIN_HZ} 至 {RATE_MAX_HZ} Hz、1 至 {CHANNELS_MAX} 声道",
        )
    told_s = 0.0
    if stream.duration and stream.time_base:
        told_s = float(stream.duration * stream.time_base)
    elif container.duration:
        told_s = container.duration / av.time_base
    return Facts(container.format.name.split(",")[0], codec.name, codec.sample_rate, codec.channels, told_s)


def riff_missing_bytes(file: IO[bytes]) -> int:
    """How many bytes of sound a WAV file promises and does not have; 0 for other files and for streamed ones.

    FFmpeg trusts the file's size more than its header, so it does not tell.
    """
    file.seek(0, io.SEEK_END)
    size = file.tell()
    file.seek(0)
    head = file.read(12)
    if head[:4] != b"RIFF" or head[8:] != b"WAVE":
        return 0
    while len(chunk := file.read(8)) == 8:
        name, length = struct.unpack("<4sI", chunk)
        if name == b"data":
            return max(0, length - (size - file.tell())) if length < STREAMED_BYTES else 0
        file.seek(length + length % 2, io.SEEK_CUR)
    return 0


def _counts_frames(file: IO[bytes]) -> bool:
    """Whether an MP3 begins with a frame that tells how many follow; without one its length is an estimate."""
    file.seek(0)
    head = file.read(MP3_HEAD_BYTES)
    return b"Xing" in head or b"Info" in head


def _container(file: IO[bytes]) -> av.container.InputContainer:
    try:
        return av.open(file, "r", options={"format_whitelist": FORMATS}, metadata_errors="replace")
    except av.error.FFmpegError as error:
        raise Unprocessable(
            f"file is not audio that can be read, or is cut off; send {FORMATS_TEXT}",
            zh=f"文件不是可读取的音频，或不完整；请上传 {FORMATS_ZH}",
        ) from error


def _stream(container: av.container.InputContainer) -> av.AudioStream:
    if not container.streams.audio:
        raise Unprocessable("file has no audio in it", zh="文件中没有音频")
    stream = container.streams.audio[0]
    if stream.codec_context is None:
        raise Unprocessable("file holds sound in a codec that cannot be decoded", zh="文件的音频编码无法解码")
    for other in container.streams:
        other.discard = Discard.default if other is stream else Discard.all
    return stream


def _length(container: av.container.InputContainer, stream: av.AudioStream, max_s: float) -> tuple[float, bool]:
    """Seconds of packets, and whether one of them is broken off."""
    base = stream.time_base or Fraction(1, 1000)
    start, end, summed = None, 0.0, 0.0
    cut = False
    for packet in container.demux(stream):
        if not packet.size:
            continue
        cut = cut or packet.is_corrupt
        duration = packet.duration or 0
        length_s = float(duration * base) if duration < DURATION_TICKS_MAX else 0.0
        summed += length_s
        if packet.pts is not None:
            start = float(packet.pts * base) if start is None else start
            end = max(end, float(packet.pts * base) + length_s - start)
        if max(end, summed) > max_s:
            raise TooLarge(
                f"file lasts more than the {max_s:.0f} s that are taken", zh=f"录音超过 {max_s:.0f} 秒的上限"
            )
    return max(end, summed), cut


def decode(file: IO[bytes], max_s: float, target_hz: int = SAMPLE_RATE_HZ) -> Generator[Pcm, None, None]:
    """The file's sound as mono blocks at `target_hz`: a short one first, so that it starts soon, then `BLOCK_S` each.

    Raises:
        Unprocessable: the format changes midway.
        FFmpegError: the codec gave up.
    """
    file.seek(0)
    with _container(file) as container:
        stream = _stream(container)
        rate_hz = stream.codec_context.sample_rate
        # Interleaved, never planar: PyAV 18 crashes in `to_ndarray` of a planar frame of 8 or more channels.
        to_float = av.AudioResampler(format="flt")
        resampler = soxr.ResampleStream(rate_hz, target_hz, 1, dtype="float32")
        held: list[NDArray[np.float32]] = []
        count, total = 0, 0
        wanted = int(FIRST_BLOCK_S * rate_hz)
        for frame in container.decode(stream):
            try:
                parts = to_float.resample(frame)
            except ValueError as error:
                raise Unprocessable("file changes its rate or channels midway") from error
            for part in parts:
                mono = _mono(np.asarray(part.to_ndarray(), np.float32).reshape(part.samples, -1))
                held.append(mono)
                count += len(mono)
            total += frame.samples
            if count >= wanted:
                yield resampler.resample_chunk(np.concatenate(held))
                held, count, wanted = [], 0, int(BLOCK_S * rate_hz)
            if total > max_s * rate_hz:
                break
        last = np.concatenate(held) if held else np.zeros(0, np.float32)
        yield resampler.resample_chunk(last, last=True)


def _mono(samples: NDArray[np.float32]) -> Pcm:
    """[samples, channels] -> their mean, [samples], within -1..1; what is not a number is silence."""
    with np.errstate(invalid="ignore", over="ignore"):
        mono = np.nan_to_num(samples.mean(axis=1, dtype=np.float32), nan=0.0, posinf=1.0, neginf=-1.0)
    return np.asarray(np.clip(mono, -1.0, 1.0), np.float32)
