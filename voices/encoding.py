"""`Encoder`: sound into a file of a common format, piece by piece. Blocking; called on a thread.

Every file says that a machine made it, in the way its format says such things.
"""

from __future__ import annotations

import dataclasses
import io
import struct
from collections.abc import Mapping
from typing import Any, Protocol, cast

import av
import av.audio
import numpy as np

from media import Pcm
from tts.library import RATE_HZ

UNKNOWN_BYTES = 0xFFFF_FFFF
"""Length of a WAV file that is sent while it is made, as players take it."""


@dataclasses.dataclass(frozen=True, slots=True)
class Format:
    """How a format is written."""

    media: str
    """MIME type."""
    suffix: str
    container: str = ""
    codec: str = ""
    rate_hz: int = RATE_HZ
    bit_rate: int | None = None
    sample_format: str = "s16"
    options: tuple[tuple[str, str], ...] = ()


FORMATS: Mapping[str, Format] = {
    "mp3": Format("audio/mpeg", ".mp3", "mp3", "libmp3lame", bit_rate=64_000, sample_format="s16p"),
    "opus": Format("audio/ogg", ".opus", "ogg", "libopus", rate_hz=48_000, bit_rate=40_000),
    "flac": Format("audio/flac", ".flac", "flac", "flac"),
    "aac": Format("audio/aac", ".aac", "adts", "aac", bit_rate=64_000, sample_format="fltp"),
    "wav": Format("audio/wav", ".wav"),
    "pcm": Format("audio/pcm", ".pcm"),
}


class _Sink(io.RawIOBase):
    """What is written and not yet taken; a player that gets it in pieces cannot go back."""

    def __init__(self) -> None:
        super().__init__()
        self._bytes = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._bytes += data
        return len(data)

    def take(self) -> bytes:
        taken = bytes(self._bytes)
        self._bytes.clear()
        return taken


class Passing(Protocol):
    """Something that sound goes through on its way into the file."""

    def feed(self, pcm: Pcm) -> Pcm:
        """Add sound; what has come through."""
        ...

    def finish(self) -> Pcm:
        """The rest."""
        ...


class Encoder:
    """One file.

    Args:
        name: of FORMATS.
        tags: what the file says of itself; pcm has no place for it.
        whole: it is kept, and may be written to at its beginning when its end is known; else `feed` gives it out.
        marker: what the sound goes through first.
    """

    def __init__(self, name: str, tags: Mapping[str, str], *, whole: bool, marker: Passing | None = None) -> None:
        self._marker = marker
        self._format = FORMATS[name]
        self._whole = whole
        self._file: io.BytesIO | _Sink = io.BytesIO() if whole else _Sink()
        self._samples = 0
        self._tags = dict(tags)
        self._container: Any = None
        if self._format.container:
            self._open(tags)
        elif name == "wav":
            self._file.write(wav_head(UNKNOWN_BYTES, self._tags))

    def _open(self, tags: Mapping[str, str]) -> None:
        made = self._format
        options = {"write_xing": "1" if self._whole else "0"} if made.container == "mp3" else {}
        self._container = av.open(self._file, "w", format=made.container, options=options)
        self._container.metadata.update(tags)
        self._stream = cast(av.AudioStream, self._container.add_stream(made.codec, rate=made.rate_hz))
        self._stream.layout = "mono"
        self._stream.format = made.sample_format
        if made.bit_rate:
            self._stream.bit_rate = made.bit_rate
        self._resampler = av.AudioResampler(format=made.sample_format, layout="mono", rate=made.rate_hz)

    def feed(self, pcm: Pcm) -> bytes:
        """Add sound at `RATE_HZ`; what of the file is there now, nothing where it is kept whole."""
        self._write(pcm if self._marker is None else self._marker.feed(pcm))
        return self._taken()

    def _write(self, pcm: Pcm) -> None:
        if not pcm.size:
            return
        if self._container is None:
            self._file.write(pcm_bytes(pcm))
            self._samples += pcm.size
            return
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(pcm, np.float32).reshape(1, -1), "flt", "mono")
        frame.rate = RATE_HZ
        frame.pts = self._samples
        self._samples += pcm.size
        for part in self._resampler.resample(frame):
            self._container.mux(self._stream.encode(part))

    def finish(self) -> bytes:
        """End it: the whole file, or what was not given out yet."""
        if self._marker is not None:
            self._write(self._marker.finish())
        if self._container is not None:
            if self._samples:
                for part in self._resampler.resample(None):
                    self._container.mux(self._stream.encode(part))
                self._container.mux(self._stream.encode(None))
            self._container.close()
        if isinstance(self._file, _Sink):
            return self._file.take()
        if self._format.suffix == ".wav":
            self._file.seek(0)
            self._file.write(wav_head(2 * self._samples, self._tags))
        return self._file.getvalue()

    @property
    def seconds(self) -> float:
        """Of sound so far."""
        return self._samples / RATE_HZ

    def _taken(self) -> bytes:
        return self._file.take() if isinstance(self._file, _Sink) else b""


WAV_TAGS = {"title": b"INAM", "artist": b"IART", "comment": b"ICMT", "encoder": b"ISFT", "copyright": b"ICOP"}
"""Names of the RIFF INFO list for those that the other formats know."""


def pcm_bytes(pcm: Pcm) -> bytes:
    """16 bit, little-endian."""
    return (np.clip(pcm, -1, 1) * 32767).astype("<i2").tobytes()


def wav_head(data_bytes: int, tags: Mapping[str, str], rate_hz: int = RATE_HZ) -> bytes:
    """The beginning of a WAV file (mono, 16 bit) up to its samples."""
    info = b"INFO"
    for name, value in tags.items():
        if name in WAV_TAGS:
            text = value.encode() + b"\0"
            info += WAV_TAGS[name] + struct.pack("<I", len(text)) + text + b"\0" * (len(text) % 2)
    listed = b"LIST" + struct.pack("<I", len(info)) + info if len(info) > 4 else b""
    shape = b"fmt " + struct.pack("<IHHIIHH", 16, 1, 1, rate_hz, 2 * rate_hz, 2, 16)
    body = b"WAVE" + shape + listed + b"data" + struct.pack("<I", data_bytes)
    riff_bytes = UNKNOWN_BYTES if data_bytes == UNKNOWN_BYTES else len(body) + data_bytes
    return b"RIFF" + struct.pack("<I", riff_bytes) + body
