"""library: the voices of the voice library, in a session.

There may be ten thousand, so they are not listed: whoever lets a session have one admits it first, and from then on
the chain finds it by its id, `library:voice-…`.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import Protocol

import numpy as np
import soxr

from errors import EngineError, VisageError
from tts import traits
from tts.base import Sound, Voice

NAME = "library"
PREFIX = f"{NAME}:"
RATE_HZ = 24_000
KNOWN_MAX = 1_000
"""Voices that are remembered; one that is not is looked up when it is to speak."""


class Reader(Protocol):
    """A voice that can say something."""

    @property
    def rate_hz(self) -> int:
        """Of its sound, where that says nothing else."""

    def say(self, clause: str, language: str, speed: float) -> AsyncIterator[Sound]:
        """The clause's sound as it is made.

        Raises:
            EngineError: it failed.
        """
        ...


Resolve = Callable[[str], Awaitable[Reader]]
"""The voice of a library's id, or a VisageError."""
Spoken = Callable[[str, int, float], None]
"""`(voice id of the library, characters, seconds)`: told of every clause."""


class LibraryEngine:
    """See `SpeechEngine`. Until `connect` it has no library behind it."""

    name = NAME
    sample_rate_hz = RATE_HZ
    takes_speed = True
    may_be_kept = False
    """A voice that is deleted is to be gone from everywhere."""

    def __init__(self) -> None:
        self._known: collections.OrderedDict[str, Voice] = collections.OrderedDict()
        self._resolve: Resolve | None = None
        self._spoken: Spoken = lambda *_: None

    def connect(self, resolve: Resolve, spoken: Spoken) -> None:
        """Have a library behind it."""
        self._resolve, self._spoken = resolve, spoken

    def admit(self, voice: Voice) -> None:
        """Let a session have a voice of the library."""
        self._known[voice.id] = voice
        self._known.move_to_end(voice.id)
        if len(self._known) > KNOWN_MAX:
            self._known.popitem(last=False)

    def forget(self, voice_id: str) -> None:
        """A voice is no longer in the library."""
        self._known.pop(PREFIX + voice_id, None)

    def voices(self) -> tuple[Voice, ...]:
        """None are listed."""
        return ()

    def find_voice(self, name: str) -> Voice | None:
        """An admitted voice."""
        return self._known.get(name)

    def why_not(self) -> str | None:
        """It is always there; a single voice may not be."""
        return None

    async def speak(self, clause: str, voice: Voice, language: str, speed: float = 1.0) -> AsyncGenerator[Sound, None]:
        """See `SpeechEngine`."""
        voice_id = voice.id.removeprefix(PREFIX)
        if self._resolve is None:
            raise EngineError(NAME, "the voice library is not open yet")
        try:
            reader = await self._resolve(voice_id)
        except VisageError as error:
            raise EngineError(NAME, str(error)) from error
        samples = 0
        try:
            async with contextlib.aclosing(at_rate(reader, clause, language, speed)) as sounds:
                async for sound in sounds:
                    samples += sound.pcm.size
                    yield sound
        finally:
            if samples:
                self._spoken(voice_id, len(clause), samples / RATE_HZ)

    async def aclose(self) -> None:
        """The library closes itself."""


async def at_rate(reader: Reader, clause: str, language: str, speed: float) -> AsyncGenerator[Sound, None]:
    """What a reader says, at `RATE_HZ`."""
    sounds = reader.say(clause, language, speed)
    resampler: soxr.ResampleStream | None = None
    try:
        async for sound in sounds:
            rate_hz = sound.rate_hz or reader.rate_hz
            if rate_hz == RATE_HZ or not sound.pcm.size:
                yield sound
                continue
            resampler = resampler or soxr.ResampleStream(rate_hz, RATE_HZ, 1, dtype="float32")
            for at in range(0, sound.pcm.size, rate_hz):  # a second at a time, not to hold the event loop
                pcm = resampler.resample_chunk(sound.pcm[at : at + rate_hz])
                yield Sound(np.asarray(pcm, np.float32), sound.words if not at else ())
                await asyncio.sleep(0)
        if resampler is not None:
            yield Sound(np.asarray(resampler.resample_chunk(np.zeros(0, np.float32), last=True), np.float32))
    finally:
        await traits.close(sounds)
