"""What happens to a recording on its way: noise, codecs, the telephone."""

from __future__ import annotations

import io
from typing import Any

import av
import numpy as np
import soxr

from media import SAMPLE_RATE_HZ, Pcm

_CODECS = {"opus": ("ogg", "libopus"), "mp3": ("mp3", "libmp3lame"), "aac": ("adts", "aac")}


def noisy(pcm: Pcm, ratio_db: float) -> Pcm:
    """Pink noise so far under the speech."""
    rng = np.random.default_rng(pcm.size)
    spectrum = np.fft.rfft(rng.normal(size=pcm.size))
    noise = np.fft.irfft(spectrum / np.sqrt(np.maximum(np.arange(spectrum.size), 1)), pcm.size)
    return np.asarray(pcm + noise * pcm.std() / noise.std() * 10 ** (-ratio_db / 20), np.float32)


def coded(pcm: Pcm, name: str, bit_rate: int) -> Pcm:
    """Through a codec and back; `pcm` is at 16 kHz."""
    container_name, codec = _CODECS[name]
    file = io.BytesIO()
    with av.open(file, "w", format=container_name) as container:
        stream: Any = container.add_stream(codec, rate=SAMPLE_RATE_HZ, layout="mono")
        stream.bit_rate = bit_rate
        frame = av.AudioFrame.from_ndarray((np.clip(pcm, -1, 1) * 32767).astype(np.int16)[None], "s16", "mono")
        frame.sample_rate = SAMPLE_RATE_HZ
        resampler = av.AudioResampler(stream.codec_context.format, "mono", SAMPLE_RATE_HZ)
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(stream.encode(part))
        container.mux(stream.encode(None))
    file.seek(0)
    with av.open(file, "r") as container:
        resampler = av.AudioResampler("flt", "mono", SAMPLE_RATE_HZ)
        parts = [part.to_ndarray()[0] for frame in container.decode(audio=0) for part in resampler.resample(frame)]
    return np.asarray(np.concatenate(parts), np.float32)


def telephone(pcm: Pcm) -> Pcm:
    """300 to 3400 Hz of sound at 16 kHz."""
    narrow = soxr.resample(soxr.resample(pcm, SAMPLE_RATE_HZ, 6_800), 6_800, SAMPLE_RATE_HZ)
    spectrum = np.fft.rfft(narrow)
    spectrum[np.fft.rfftfreq(narrow.size, 1 / SAMPLE_RATE_HZ) < 300] = 0
    return np.asarray(np.fft.irfft(spectrum, narrow.size), np.float32)
