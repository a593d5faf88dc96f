"""Bytes of uncompressed sound into samples, whatever the cuts between the pieces."""

from __future__ import annotations

import dataclasses
import struct

import numpy as np

from media import Pcm

_EMPTY: Pcm = np.zeros(0, np.float32)
RATES_HZ = range(4_000, 192_001)
"""A header that says otherwise is damaged."""
CHANNELS_MAX = 8
HEADER_BYTES_MAX = 65_536
"""Chunks before the sound of a WAV file: pictures and texts come behind it."""
_UNKNOWN_SIZES = (0, 0xFFFFFFFF)
"""What a server writes that does not know the length yet; one writes 0x7FFFFFFF less the header's 36 bytes."""
_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE


@dataclasses.dataclass(frozen=True, slots=True)
class Layout:
    """How samples are written."""

    rate_hz: int
    channels: int = 1
    kind: str = "i16"
    """`u8`, `i16`, `i24`, `i32`, `f32` or `f64`, little-endian."""

    @property
    def frame_bytes(self) -> int:
        """Of one sample of all channels."""
        return self.channels * int(self.kind[1:]) // 8


class Samples:
    """Turns bytes of one layout into mono samples; a sample cut in two waits for its rest."""

    def __init__(self, layout: Layout, bytes_max: int | None = None) -> None:
        self.layout = layout
        self._left = bytes_max
        """Bytes that still belong to the sound; None for all that come."""
        self._held = b""

    def feed(self, data: bytes) -> Pcm:
        """The samples that are complete."""
        if self._left is not None:
            data = data[: self._left]
            self._left -= len(data)
        data = self._held + data
        whole = len(data) // self.layout.frame_bytes * self.layout.frame_bytes
        data, self._held = data[:whole], data[whole:]
        if not data:
            return _EMPTY
        pcm = _numbers(data, self.layout.kind)
        if self.layout.channels > 1:
            pcm = pcm.reshape(-1, self.layout.channels).mean(axis=1, dtype=np.float32)
        return pcm


def _numbers(data: bytes, kind: str) -> Pcm:
    """-1..1, float32."""
    if kind == "i16":
        return np.frombuffer(data, "<i2").astype(np.float32) / np.float32(1 << 15)
    if kind == "f32":
        return np.frombuffer(data, "<f4").astype(np.float32)
    if kind == "f64":
        return np.frombuffer(data, "<f8").astype(np.float32)
    if kind == "i32":
        return (np.frombuffer(data, "<i4") / float(1 << 31)).astype(np.float32)
    if kind == "i24":
        padded = np.zeros((len(data) // 3, 4), np.uint8)
        padded[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
        return (padded.reshape(-1).view("<i4") / float(1 << 31)).astype(np.float32)
    return (np.frombuffer(data, np.uint8).astype(np.float32) - np.float32(128)) / np.float32(128)


class WavHeader:
    """Reads the header of a WAV file as it comes.

    Args:
        rate_hz: taken where the header's own makes no sense.
    """

    def __init__(self, rate_hz: int) -> None:
        self._rate_hz = rate_hz
        self._held = b""
        self._layout: Layout | None = None

    def feed(self, data: bytes) -> tuple[Samples, bytes] | None:
        """Once the header is complete, its reader of samples and what follows the header; None before.

        Raises:
            ValueError: it is no header of sound that can be read.
        """
        self._held += data
        at = 12
        while len(self._held) >= at + 8:
            name, size = struct.unpack_from("<4sI", self._held, at)
            if name == b"data":
                layout = self._layout or Layout(self._rate_hz)
                unknown = size in _UNKNOWN_SIZES or size >= 0x7FFF0000
                return Samples(layout, None if unknown else size), self._held[at + 8 :]
            if size > HEADER_BYTES_MAX:
                raise ValueError(f"its chunk {name!r} has {size} bytes, but may have {HEADER_BYTES_MAX}")
            if len(self._held) < at + 8 + size:
                break
            if name == b"fmt ":
                self._layout = self._read(self._held[at + 8 : at + 8 + size])
            at += 8 + size + size % 2
        if len(self._held) > HEADER_BYTES_MAX:
            raise ValueError(f"its header has no sound within {HEADER_BYTES_MAX} bytes")
        return None

    def _read(self, chunk: bytes) -> Layout:
        if len(chunk) < 16:
            raise ValueError(f"its format has {len(chunk)} bytes, but must have 16")
        code, channels, rate_hz, _, _, bits = struct.unpack_from("<HHIIHH", chunk)
        if code == _EXTENSIBLE and len(chunk) >= 26:
            code = struct.unpack_from("<H", chunk, 24)[0]
        kinds = {(_PCM, 8): "u8", (_PCM, 16): "i16", (_PCM, 24): "i24", (_PCM, 32): "i32"}
        kinds |= {(_FLOAT, 32): "f32", (_FLOAT, 64): "f64"}
        kind = kinds.get((code, bits))
        if kind is None or not 1 <= channels <= CHANNELS_MAX:
            raise ValueError(f"its format is {code} with {bits} bits and {channels} channels, which cannot be read")
        return Layout(rate_hz if rate_hz in RATES_HZ else self._rate_hz, channels, kind)
