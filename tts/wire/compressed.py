"""Compressed sound as it arrives: MP3, AAC, FLAC, and Opus or Vorbis in Ogg. Every decoder keeps its state.

MP3 and Opus come out frame by frame; FFmpeg's parser of FLAC holds a second and a half back.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator
from typing import Any

import av
import av.error
import numpy as np

from media import Pcm

_MAGICS = ((b"OggS", "ogg"), (b"fLaC", "flac"), (b"ID3", "mp3"))
MEDIA_TYPES = {
    "audio/mpeg": "mp3",
    "audio/mp3": "mp3",
    "audio/aac": "aac",
    "audio/x-aac": "aac",
    "audio/flac": "flac",
    "audio/ogg": "ogg",
    "audio/opus": "ogg",
    "application/ogg": "ogg",
}
"""What a server may call them."""
PAGE_BYTES_MAX = 65_307
"""Of Ogg: RFC 3533 section 6."""


def kind_of(start: bytes) -> str | None:
    """What sound begins with these bytes, at least four of them; None where nothing says so."""
    return next((kind for magic, kind in _MAGICS if start.startswith(magic)), None)


class Decoder:
    """One stream of `mp3`, `aac`, `flac` or `ogg`; gives mono samples at `rate_hz`, which is known with the first."""

    def __init__(self, kind: str) -> None:
        self.rate_hz = 0
        self._ogg = OggPackets() if kind == "ogg" else None
        self._flac = b"" if kind == "flac" else None
        self._codec: Any = av.CodecContext.create(kind, "r") if kind in ("mp3", "aac") else None

    def feed(self, data: bytes) -> Iterator[Pcm]:
        """The samples of the frames that are now complete."""
        if self._ogg is not None:
            yield from self._feed_ogg(self._ogg, data)
            return
        if self._flac is not None:
            data = self._after_flac_header(data)
        if data and self._codec is not None:
            yield from self._decode(self._codec.parse(data))

    def flush(self) -> Iterator[Pcm]:
        """The samples that were still held back."""
        if self._codec is None:
            return
        while self._ogg is None and (rest := self._codec.parse(b"")):
            yield from self._decode(rest)
        yield from self._decode([None])

    def _decode(self, packets: Any) -> Iterator[Pcm]:
        for packet in packets:
            # A tag between the frames, or a damaged one, costs 24 ms and no more.
            with contextlib.suppress(av.error.InvalidDataError, av.error.EOFError):
                for frame in self._codec.decode(packet):
                    self.rate_hz = frame.sample_rate
                    yield _mono(frame)

    def _after_flac_header(self, data: bytes) -> bytes:
        """Take in the metadata blocks before the frames; what follows them."""
        if self._codec is not None:
            return data
        assert self._flac is not None
        self._flac += data
        at, last = 4, False
        while not last:
            if len(self._flac) < at + 4:
                return b""
            last = bool(self._flac[at] & 0x80)
            at += 4 + int.from_bytes(self._flac[at + 1 : at + 4], "big")
        if len(self._flac) < at:
            return b""
        self._codec = av.CodecContext.create("flac", "r")
        self._codec.extradata = self._flac[8:42]  # STREAMINFO, always the first block
        rest, self._flac = self._flac[at:], b""
        return rest

    def _feed_ogg(self, ogg: OggPackets, data: bytes) -> Iterator[Pcm]:
        for packet in ogg.feed(data):
            if self._codec is None:
                self._codec = ogg.codec(packet)
            elif not packet.startswith((b"OpusTags", b"\x03vorbis", b"\x05vorbis")):
                yield from self._decode([av.Packet(packet)])


class OggPackets:
    """Takes Ogg pages apart into packets, RFC 3533; one logical stream after the other."""

    def __init__(self) -> None:
        self._held = b""
        self._packet = b""
        self._vorbis: list[bytes] = []

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The packets that are now complete."""
        self._held += data
        while (at := self._held.find(b"OggS")) >= 0:
            self._held = self._held[at:]
            if len(self._held) < 27 or len(self._held) < 27 + self._held[26]:
                return
            lacing = self._held[27 : 27 + self._held[26]]
            begin, size = 27 + len(lacing), sum(lacing)
            if len(self._held) < begin + size:
                return
            body, self._held = self._held[begin : begin + size], self._held[begin + size :]
            yield from self._packets(lacing, body)
        self._held = self._held[-PAGE_BYTES_MAX:]

    def _packets(self, lacing: bytes, body: bytes) -> Iterator[bytes]:
        at = 0
        for size in lacing:
            self._packet += body[at : at + size]
            at += size
            if size < 255:
                packet, self._packet = self._packet, b""
                yield packet

    def codec(self, header: bytes) -> Any:
        """The decoder that a stream's headers ask for; None until they are complete (Vorbis has three).

        Raises:
            ValueError: it is neither Opus nor Vorbis.
        """
        if header.startswith(b"OpusHead"):
            made: Any = av.CodecContext.create("libopus", "r")
            made.extradata = header
            return made
        if not header[1:].startswith(b"vorbis"):
            raise ValueError(f"Ogg with {header[:8]!r}, but must be Opus or Vorbis")
        self._vorbis.append(header)
        if len(self._vorbis) < 3:
            return None
        made = av.CodecContext.create("vorbis", "r")
        made.extradata = _laced(self._vorbis)
        return made


def _laced(packets: list[bytes]) -> bytes:
    """Headers of Vorbis as FFmpeg wants them: how many less one, the sizes of all but the last, then all."""
    sizes = b"".join(b"\xff" * (len(packet) // 255) + bytes([len(packet) % 255]) for packet in packets[:-1])
    return struct.pack("B", len(packets) - 1) + sizes + b"".join(packets)


def _mono(frame: Any) -> Pcm:
    """Mono float32 of a frame of any layout."""
    samples = frame.to_ndarray()
    if not frame.format.is_planar:
        samples = samples.reshape(-1, frame.layout.nb_channels).T
    if samples.dtype.kind == "i":
        samples = samples / float(-np.iinfo(samples.dtype).min)
    mono: Pcm = np.ascontiguousarray(samples.mean(axis=0, dtype=np.float32), np.float32)
    return mono
