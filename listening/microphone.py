"""`Microphone`: one client's sound on its way to whoever listens, bounded, with a level meter."""

from __future__ import annotations

import asyncio
import dataclasses
import math
from collections import deque

import numpy as np

from listening.frames import MicFrame
from media import SAMPLES_PER_FRAME, SPEECH_FRAME_S

QUEUE_FRAMES = 100  # 2 s: a listener takes a frame in 0.1 ms, so more than a few waiting means that nobody listens
FLOOR_DBFS = -100.0  # below the last bit of 16-bit sound
RELEASE_S = 0.3  # time constant of the meter's fall, as of a VU meter; it rises at once


class Microphone:
    """20 ms frames of 16 kHz mono: put in by a reader, taken by one listener, `async for frame in microphone`.

    All methods belong to the event loop. Frames that nobody takes are dropped, the oldest first, and counted.
    """

    def __init__(self, limit: int = QUEUE_FRAMES) -> None:
        """Make one that waits for frames; it holds `limit` of them at most."""
        self.frames = 0
        """Put in so far."""
        self.dropped = 0
        """Of those, never taken."""
        self.closed = False
        self._queue: deque[MicFrame] = deque()
        self._limit = limit
        self._changed = asyncio.Event()
        self._begun = asyncio.Event()
        self._power = 0.0
        self._clipped = 0

    def __len__(self) -> int:
        """Frames that wait."""
        return len(self._queue)

    def __bool__(self) -> bool:
        """Always: an empty one is still a microphone."""
        return True

    def put_frame(self, frame: MicFrame) -> None:
        """Add the next 20 ms; nothing happens once closed. Values that are no numbers become silence, large ones ±1.

        Raises:
            ValueError: not [SAMPLES_PER_FRAME] samples.
        """
        if frame.pcm.shape != (SAMPLES_PER_FRAME,):
            raise ValueError(f"microphone frame: shape is {list(frame.pcm.shape)}, must be [{SAMPLES_PER_FRAME}]")
        if self.closed:
            return
        pcm = frame.pcm
        peak = float(np.abs(pcm).max())
        if not peak <= 1:
            frame = dataclasses.replace(frame, pcm=np.clip(np.nan_to_num(pcm, posinf=1, neginf=-1), -1, 1))
            pcm = frame.pcm
        self.frames += 1
        self._clipped += peak > 0.999
        self._power = max(float(np.dot(pcm, pcm)) / len(pcm), self._power * math.exp(-SPEECH_FRAME_S / RELEASE_S))
        if len(self._queue) >= self._limit:
            self._queue.popleft()
            self.dropped += 1
        self._queue.append(frame)
        self._changed.set()
        self._begun.set()

    def close(self) -> None:
        """No more will come; what waits can still be taken. May be called more than once."""
        self.closed = True
        self._changed.set()
        self._begun.set()

    async def heard(self) -> bool:
        """Wait for the first frame; False when it is closed without one. Any number may wait."""
        await self._begun.wait()
        return self.frames > 0

    def __aiter__(self) -> Microphone:
        """Itself: every frame is taken once."""
        return self

    async def __anext__(self) -> MicFrame:
        """The next frame; ends when all are taken and it is closed."""
        while not self._queue:
            if self.closed:
                raise StopAsyncIteration
            self._changed.clear()
            await self._changed.wait()
        return self._queue.popleft()

    @property
    def level_dbfs(self) -> float:
        """How loud it is, -100..0, as a meter shows it: a full-scale sine is -3."""
        return 10 * math.log10(self._power) if self._power > 10 ** (FLOOR_DBFS / 10) else FLOOR_DBFS

    def describe(self) -> dict[str, float | int | bool]:
        """JSON-ready figures."""
        return {
            "frames": self.frames,
            "waiting": len(self._queue),
            "dropped": self.dropped,
            "clipped": self._clipped,
            "level_dbfs": round(self.level_dbfs, 1),
            "closed": self.closed,
        }
