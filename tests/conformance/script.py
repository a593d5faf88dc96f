"""`Script`: what a scripted speech server does, and what was asked of it."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import itertools
import struct
from collections.abc import AsyncIterator, Iterator
from typing import Any

import numpy as np

RATE_HZ = 24_000
KEY = "key-that-nobody-may-read"
TONE_HZ = 220


def tone(seconds: float, rate_hz: int = RATE_HZ) -> bytes:
    """16-bit samples."""
    at = np.arange(round(seconds * rate_hz)) / rate_hz
    return (0.3 * 32767 * np.sin(2 * np.pi * TONE_HZ * at)).astype("<i2").tobytes()


def wav_header(rate_hz: int, size: int = 0, channels: int = 1, bits: int = 16, code: int = 1) -> bytes:
    """A WAV header; a size of 0 is what streaming servers write."""
    frame = channels * bits // 8
    form = struct.pack("<HHIIHH", code, channels, rate_hz, rate_hz * frame, frame, bits)
    return (
        b"RIFF"
        + struct.pack("<I", 36 + size)
        + b"WAVEfmt "
        + struct.pack("<I", 16)
        + form
        + struct.pack("<4sI", b"data", size)
    )


class Reset(Exception):
    """The connection is to be cut."""


@dataclasses.dataclass
class Script:
    """One server's behaviour; what is not set is what a good one does."""

    sound: bytes = dataclasses.field(default_factory=lambda: tone(0.5))
    cuts: tuple[int, ...] = (4_800,)
    """Sizes of the pieces in bytes, over and over."""
    held: bool = False
    """The last piece waits until `release` is set."""
    status: int = 0
    """Refuse with it."""
    retry_after: str = ""
    error_as_answer: bool = False
    """Answer 200, or the socket's like, and an error as JSON."""
    stall_after: int | None = None
    """Pieces; then nothing more comes."""
    reset_after: int | None = None
    """Pieces; then the connection breaks."""

    def __post_init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        """Of every request: `text`, and what else the protocol says."""
        self.release = asyncio.Event()
        self.gone = asyncio.Event()
        """The client left while it was being spoken to."""
        self.both = asyncio.Event()
        """Two requests are being worked on at once."""
        self.at_work = 0

    @property
    def texts(self) -> list[str]:
        """What was to be said."""
        return [str(facts["text"]) for facts in self.asked]

    async def pieces(self, sound: bytes | None = None) -> AsyncIterator[bytes]:
        """The sound, cut and paced as the script says.

        Raises:
            Reset: the connection is to be cut.
        """
        self.at_work += 1
        if self.at_work == 2:
            self.both.set()
        try:
            cut = list(self._cut(self.sound if sound is None else sound))
            for number, piece in enumerate(cut):
                if number == self.stall_after:
                    await asyncio.sleep(60)
                if number == self.reset_after:
                    raise Reset
                if self.held and number == len(cut) - 1:
                    await self.release.wait()
                yield piece
                await asyncio.sleep(0)
        except (asyncio.CancelledError, ConnectionError, GeneratorExit):
            self.gone.set()
            raise
        finally:
            self.at_work -= 1

    def _cut(self, sound: bytes) -> Iterator[bytes]:
        at = 0
        for size in itertools.cycle(self.cuts):
            if at >= len(sound):
                return
            yield sound[at : at + size]
            at += size

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Notes a client that leaves."""
        try:
            yield
        except (asyncio.CancelledError, ConnectionError):
            self.gone.set()
            raise
