"""Recordings of a 440 Hz tone in every container that clients send."""

from __future__ import annotations

import io

import av
import numpy as np
import soundfile
from numpy.typing import NDArray

TONE_HZ = 440.0


def tone(seconds: float, rate_hz: int, channels: int = 1) -> NDArray[np.float64]:
    """[samples, channels], peak 0.5."""
    t = np.arange(int(seconds * rate_hz)) / rate_hz
    return np.repeat(0.5 * np.sin(2 * np.pi * TONE_HZ * t)[:, None], channels, axis=1)


def written(seconds: float, rate_hz: int, channels: int = 1, subtype: str = "PCM_16", kind: str = "WAV") -> bytes:
    """As libsndfile writes it."""
    file = io.BytesIO()
    soundfile.write(file, tone(seconds, rate_hz, channels), rate_hz, subtype=subtype, format=kind)
    return file.getvalue()


def encoded(container: str, codec: str, seconds: float = 1.0, rate_hz: int = 48_000, layout: str = "mono") -> bytes:
    """As FFmpeg writes it."""
    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        stream = output.add_stream(codec, rate=rate_hz)
        assert isinstance(stream, av.AudioStream)
        stream.layout = layout
        channels = stream.codec_context.channels
        samples = tone(seconds, rate_hz, channels).astype(np.float32)
        size = 960 if "opus" in codec else 1024
        for start in range(0, len(samples), size):
            part = np.ascontiguousarray(samples[start : start + size]).reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(part, format="flt", layout=layout)
            frame.rate, frame.pts = rate_hz, start
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return file.getvalue()


def pitch_hz(pcm: NDArray[np.float32], rate_hz: int) -> float:
    """The strongest frequency."""
    spectrum = np.abs(np.fft.rfft(pcm * np.hanning(len(pcm))))
    return float(np.argmax(spectrum) * rate_hz / len(pcm))
