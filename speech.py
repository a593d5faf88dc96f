"""Recorded sound as speech frames."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator

import numpy as np

from media import SAMPLES_PER_FRAME, Event, Pcm, SpeechFrame

BURST_FRAMES = 25  # 0.5 s: bounds what one step of the event loop frames at a time


async def frames_of(sound: Pcm | AsyncIterable[Pcm], turn: int) -> AsyncGenerator[list[SpeechFrame], None]:
    """Cut sound into exact 20 ms frames with `speech.started` on the first and `speech.ended` on the last.

    Every sample is kept in order; only the last frame is padded with zeros. Sound without samples yields nothing.

    Args:
        sound: 16 kHz mono float32, whole or as blocks of any length.
    """
    rest: Pcm = np.zeros(0, np.float32)
    events: tuple[Event, ...] = (Event("speech.started", turn),)
    async for block in _blocks(sound):
        rest = np.concatenate([rest, block])
        # The newest full frame is kept back: it may turn out to be the last, which carries the end.
        count = max(0, (len(rest) - 1) // SAMPLES_PER_FRAME)
        for start in range(0, count, BURST_FRAMES):
            burst = []
            for i in range(start, min(start + BURST_FRAMES, count)):
                pcm = rest[i * SAMPLES_PER_FRAME : (i + 1) * SAMPLES_PER_FRAME]
                burst.append(SpeechFrame(pcm, turn, events))
                events = ()
            yield burst
        rest = rest[count * SAMPLES_PER_FRAME :]
    if len(rest):
        pcm = np.zeros(SAMPLES_PER_FRAME, np.float32)
        pcm[: len(rest)] = rest
        yield [SpeechFrame(pcm, turn, (*events, Event("speech.ended", turn)), final=True)]


async def _blocks(sound: Pcm | AsyncIterable[Pcm]) -> AsyncIterator[Pcm]:
    if isinstance(sound, np.ndarray):
        yield sound
        return
    async for block in sound:
        yield block
