"""`TestcardReal`: a session that shows a clock and beeps, to check picture, sound and sync through the real tracks.

Every second a white square flashes at the lower left and a 60 ms tone sounds (1 kHz, every tenth 2 kHz), in the same
`MediaUnit`. For machines each picture carries three rows of 32 square blocks along its top edge, light for 1, dark for
0, most significant bit
first:

    row 0: sync byte 0xA5, 24-bit picture counter
    row 1: wall clock in ms when the picture was made, low 32 bits
    row 2: CRC-16/CCITT (start 0xFFFF) of rows 0 and 1, then 16 flag bits; bit 0 is the flash
"""

from __future__ import annotations

import binascii
import math
import time
from collections.abc import AsyncIterable, Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from errors import Conflict
from events import EventBus
from media import FPS, I420, SAMPLE_RATE_HZ, SAMPLES_PER_FRAME, SILENCE, MediaUnit, Pcm, SpeechFrame

Luma = NDArray[np.uint8]

BLOCKS_PER_ROW = 32
ROWS = 3
SYNC_BYTE = 0xA5
LIGHT, DARK, NEUTRAL = 220, 30, 128
FLASH_PICTURES = 2
BEEP_S = 0.06
BEEP_HZ, TENTH_BEEP_HZ = 1000, 2000
BEEP_RAMP_S = 0.001
BEEP_FRAMES = math.ceil(BEEP_S * SAMPLE_RATE_HZ / SAMPLES_PER_FRAME)  # 3
SEGMENTS = ((0, 1, 1, 4), (1, 5, 4, 1), (6, 5, 4, 1), (10, 1, 1, 4), (6, 0, 4, 1), (1, 0, 4, 1), (5, 1, 1, 4))
"""Row, column, rows and columns of segments a to g in units."""
LIT_SEGMENTS = ("012345", "12", "01346", "01236", "1256", "02356", "023456", "012", "0123456", "012356")
"""Segments that each figure lights."""
SIZE_MIN = 4 * BLOCKS_PER_ROW  # four pixels a block are the least that survives compression


def beep(frequency_hz: float) -> list[Pcm]:
    """`BEEP_FRAMES` frames of tone, the first sample of which is the beep's beginning."""
    n = np.arange(round(BEEP_S * SAMPLE_RATE_HZ))
    wave = 0.5 * np.sin(2 * np.pi * frequency_hz * n / SAMPLE_RATE_HZ)
    ramp = np.minimum(1, np.minimum(n + 1, len(n) - n) / (BEEP_RAMP_S * SAMPLE_RATE_HZ))
    padded = np.zeros(BEEP_FRAMES * SAMPLES_PER_FRAME, np.float32)
    padded[: len(n)] = wave * ramp
    return list(padded.reshape(BEEP_FRAMES, SAMPLES_PER_FRAME))


def mark_words(counter: int, wall_ms: int, flags: int) -> tuple[int, int, int]:
    """The 32-bit words of the three rows."""
    first = SYNC_BYTE << 24 | counter & 0xFFFFFF
    second = wall_ms & 0xFFFFFFFF
    crc = binascii.crc_hqx(first.to_bytes(4, "big") + second.to_bytes(4, "big"), 0xFFFF)
    return first, second, crc << 16 | flags & 0xFFFF


class Card:
    """Draws the pictures of one size."""

    def __init__(self, width: int, height: int) -> None:
        if width < SIZE_MIN or height < SIZE_MIN or width % 2 or height % 2:
            raise ValueError(f"test card size {width}x{height}: both must be even and at least {SIZE_MIN}")
        self.width, self.height = width, height
        self._block = width // BLOCKS_PER_ROW
        self._radius = min(width, height) // 4
        self._background = self._bars()

    def draw(self, counter: int, wall_ms: int) -> I420:
        """Picture number `counter`, [height * 3 // 2, width]."""
        picture = self._background.copy()
        luma = picture[: self.height]
        flash = counter % FPS < FLASH_PICTURES
        self._hand(luma, counter)
        if flash:
            side = self.width // 5
            luma[self.height - side - 4 : self.height - 4, 4 : 4 + side] = 235
        self._marks(luma, mark_words(counter, wall_ms, int(flash)))
        return picture

    def _bars(self) -> I420:
        """Eight colour bars; no colour under the marks, the figures, the dial and the flash."""
        bgr = np.zeros((self.height, self.width, 3), np.uint8)
        colours = [(191 * (k & 1), 191 * (k >> 2 & 1), 191 * (k >> 1 & 1)) for k in range(7, -1, -1)]
        edges = np.linspace(0, self.width, len(colours) + 1).astype(int)
        for left, right, colour in zip(edges[:-1], edges[1:], colours, strict=True):
            bgr[:, left:right] = colour
        picture: I420 = cv2.cvtColor(bgr, cv2.COLOR_BGR2YUV_I420).astype(np.uint8)
        half_height, half_width = self.height // 2, self.width // 2
        side = self.width // 10 + 3
        for plane in picture[self.height :].reshape(2, half_height, half_width):
            plane[: ROWS * self._block // 2 + 1] = NEUTRAL
            plane[self.height // 8 - 4 : self.height // 8 + 6 * (self.width // 64), : self.width // 64 * 9] = NEUTRAL
            plane[half_height - side :, :side] = NEUTRAL
            cv2.circle(plane, (half_width // 2, half_height * 3 // 5), self._radius // 2 + 1, NEUTRAL, -1)
        return picture

    def _hand(self, luma: Luma, counter: int) -> None:
        """A dial whose hand goes round once a second, and the seconds in figures."""
        centre = (self.width // 2, self.height * 3 // 5)
        radius = self._radius
        cv2.circle(luma, centre, radius, 16, -1, cv2.LINE_AA)
        angle = 2 * math.pi * (counter % FPS) / FPS
        tip = (round(centre[0] + radius * math.sin(angle)), round(centre[1] - radius * math.cos(angle)))
        cv2.line(luma, centre, tip, 235, max(2, radius // 16), cv2.LINE_AA)
        self._figures(luma, counter // FPS % 100)

    def _figures(self, luma: Luma, number: int) -> None:
        """Two seven-segment figures. `cv2.putText` loads its font anew in every thread, 80 ms each time."""
        unit = self.width // 64
        top = self.height // 4
        for place, digit in enumerate(divmod(number, 10)):
            left = unit * (2 + 8 * place)
            for segment, (row, column, rows, columns) in enumerate(SEGMENTS):
                level = 235 if str(segment) in LIT_SEGMENTS[digit] else 40
                y, x = top + row * unit, left + column * unit
                luma[y : y + rows * unit, x : x + columns * unit] = level

    def _marks(self, luma: Luma, words: tuple[int, int, int]) -> None:
        for row, word in enumerate(words):
            bits = np.unpackbits(np.frombuffer(word.to_bytes(4, "big"), np.uint8))
            line = np.repeat(np.where(bits, LIGHT, DARK).astype(np.uint8), self._block)
            luma[row * self._block : (row + 1) * self._block, : len(line)] = line


class TestcardReal:
    """A session with the interface of `BaseReal` that shows the test card. It never speaks."""

    __test__ = False  # not a test, whatever its name

    def __init__(
        self, sessionid: str, width: int = 512, height: int = 512, *, wall: Callable[[], float] = time.time
    ) -> None:
        self.sessionid = sessionid
        self.events = EventBus()
        self.turn = 0
        self.voiced_at: float | None = None
        self.width, self.height = width, height
        self._card = Card(width, height)
        self._wall = wall
        self._counter = 0
        self._beeps = {hz: beep(hz) for hz in (BEEP_HZ, TENTH_BEEP_HZ)}

    @property
    def speaking(self) -> bool:
        """False: beeps are no speech."""
        return False

    async def say(self, text: str | AsyncIterable[str], **options: Any) -> None:
        """Refuse.

        Raises:
            Conflict: always.
        """
        self.prepare("")

    def prepare(self, text: str | AsyncIterable[str], **options: Any) -> Any:
        """Refuse.

        Raises:
            Conflict: always.
        """
        raise Conflict("the test card cannot speak: start the server with another --model, for example --model lite")

    async def speak(self, speech: Any, *, turn: int) -> None:
        """Refuse.

        Raises:
            Conflict: always.
        """
        self.prepare("")

    async def play(self, sound: Any) -> None:
        """Refuse.

        Raises:
            Conflict: always.
        """
        await self.say("")

    def interrupt(self) -> int:
        """There is nothing to end; returns the new turn."""
        self.turn += 1
        return self.turn

    def suspend(self) -> bool:
        """There is nothing to keep."""
        return False

    def resume(self) -> bool:
        """There is nothing kept."""
        return False

    def act(self, audiotype: int) -> None:
        """The test card has no custom actions; the call is ignored."""

    def take(self) -> MediaUnit:
        """The next 40 ms."""
        counter, self._counter = self._counter, self._counter + 1
        picture = self._card.draw(counter, int(self._wall() * 1000))
        first, second = (SpeechFrame(self._pcm(2 * counter + k), self.turn) for k in (0, 1))
        return MediaUnit(picture, (first, second), self.turn, counter)

    def played(self, frame: SpeechFrame, at: float) -> None:
        """Its frames carry no events."""

    async def aclose(self) -> None:
        """It holds nothing."""

    def _pcm(self, frame: int) -> Pcm:
        second, within = divmod(frame, 2 * FPS)
        sound = self._beeps[TENTH_BEEP_HZ if second % 10 == 0 else BEEP_HZ]
        return sound[within] if within < len(sound) else SILENCE
