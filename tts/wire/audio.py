"""`AudioStream`: a server's bytes into samples, whatever they turn out to be: PCM, WAV, MP3, Opus, or an error.

What a server sends is told by how it begins, not by what it calls it: CosyVoice and fish-speech send bare samples as
`audio/wav`, GPT-SoVITS and XTTS put a header with size 0 before them, Tencent sends an error as if it were sound.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import av.error

from media import Pcm
from tts.wire.compressed import MEDIA_TYPES, Decoder, kind_of
from tts.wire.pcm import Layout, Samples, WavHeader

SNIFF_BYTES = 12
TEXT_BYTES_MAX = 65_536
"""An error is not longer; sound that begins like JSON by chance is known for sound within a few samples."""


class NotSound(Exception):
    """A server sent something else. `body` is its beginning."""

    def __init__(self, body: bytes) -> None:
        super().__init__(repr(body[:200]))
        self.body = body


class AudioStream:
    """The sound of one answer.

    Args:
        rate_hz: where nothing in the stream says it.
        media_type: of the answer, e.g. `audio/mpeg`; what MP3 and AAC without a header are known by.
        bytes_max: of the whole answer.
        kind: how bare samples are written, as `Layout.kind`.
    """

    def __init__(self, rate_hz: int, media_type: str = "", *, bytes_max: int = 1 << 26, kind: str = "i16") -> None:
        self._layout = Layout(rate_hz, kind=kind)
        self._media = MEDIA_TYPES.get(media_type.lower())
        self._bytes_left = bytes_max
        self._held: bytes | None = b""
        """The beginning, until it is known what it is."""
        self._header: WavHeader | None = None
        self._samples: Samples | None = None
        self._decoder: Decoder | None = None

    @property
    def rate_hz(self) -> int:
        """Of the samples given so far; changes at most once, before the first."""
        if self._decoder is not None:
            return self._decoder.rate_hz or self._layout.rate_hz
        return self._samples.layout.rate_hz if self._samples else self._layout.rate_hz

    def feed(self, data: bytes) -> Iterator[Pcm]:
        """Samples as far as they are complete.

        Raises:
            NotSound: it is no sound.
            ValueError: it is longer than allowed, or sound of a kind that cannot be read.
        """
        self._bytes_left -= len(data)
        if self._bytes_left < 0:
            raise ValueError("it sends more sound than the text can have")
        if self._held is not None:
            data = self._sniff(self._held + data, at_end=False)
        yield from self._read(data)

    def flush(self) -> Iterator[Pcm]:
        """The last samples; half a sample at the end is dropped.

        Raises:
            NotSound: see `feed`.
        """
        if self._held is not None:
            yield from self._read(self._sniff(self._held, at_end=True))
        if self._decoder is not None:
            yield from _safely(self._decoder.flush())

    def _read(self, data: bytes) -> Iterator[Pcm]:
        if self._header is not None and data:
            found = self._header.feed(data)
            if found is None:
                return
            self._samples, data = found
            self._header = None
        if self._decoder is not None and data:
            yield from _safely(self._decoder.feed(data))
        elif self._samples is not None and data:
            pcm = self._samples.feed(data)
            if pcm.size:
                yield pcm

    def _sniff(self, start: bytes, *, at_end: bool) -> bytes:
        """Choose the reader for what begins so; returns what it is to read now, nothing while that is open."""
        if (len(start) < SNIFF_BYTES and not at_end) or not start:
            self._held = start
            return b""
        if start.startswith(b"RIFF") and start[8:12] == b"WAVE":
            self._header = WavHeader(self._layout.rate_hz)
        elif kind := kind_of(start) or self._media:
            self._decoder = Decoder(kind)
        elif start.lstrip()[:1] in (b"{", b"[", b"<") and _is_text(start):
            if at_end or len(start) > TEXT_BYTES_MAX or _is_json(start):
                raise NotSound(start)
            self._held = start
            return b""
        else:
            self._samples = Samples(self._layout)
        self._held = None
        return start


def _is_text(data: bytes) -> bool:
    """Whether this is text: no control characters, and UTF-8 but for a character that is cut at the end."""
    if any(byte < 9 or 13 < byte < 32 for byte in data):
        return False
    try:
        data.decode()
    except UnicodeDecodeError as error:
        return error.end == len(data) and error.reason == "unexpected end of data"
    return True


def _is_json(data: bytes) -> bool:
    try:
        json.loads(data)
    except RecursionError:
        return True
    except ValueError:
        return False
    return True


def _safely(samples: Iterator[Pcm]) -> Iterator[Pcm]:
    """FFmpeg's errors as ValueError."""
    try:
        yield from samples
    except av.error.FFmpegError as error:
        raise ValueError(f"its sound cannot be decoded: {error}") from error
