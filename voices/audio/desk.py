"""`AudioDesk`: hands recordings to the process that makes them ready."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from typing import Protocol

from audiofile import Facts
from errors import Busy, EngineError, Unavailable
from tts.remote import SpeechProcess
from voices.audio.judge import Limits
from voices.audio.prepare import Prepared
from voices.audio.refusals import Refused

MODULE = "voices.audio.process"
NAME = "audio"
WAITING_MAX = 256
"""Recordings handed in and not answered; one more is refused."""
PATIENCE_S = 120.0
TRIES = 3
"""A recording that was only waiting when another one ended the process is handed in again."""


class Desk(Protocol):
    """Makes recordings ready; called on the event loop, never blocking it."""

    waiting: int
    """Recordings handed in and not answered."""

    async def prepare(self, data: bytes) -> Prepared:
        """See `voices.audio.prepare`.

        Raises:
            Refused: no recording, or none that a voice can be made of.
            TooLarge: longer than anything that is decoded.
            Busy: too many are waiting.
            Unavailable: what looks at them is not there just now.
        """
        ...

    async def warm_up(self) -> None:
        """Be quick with the first one.

        Raises:
            EngineError: it cannot be.
        """
        ...

    async def aclose(self) -> None:
        """Free what it works with."""
        ...


class AudioDesk:
    """`Desk` over one process; started with the first recording.

    Args:
        limits: of what is taken.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._process = SpeechProcess(module=MODULE)
        self._process.join(NAME)
        self.waiting = 0

    async def prepare(self, data: bytes) -> Prepared:
        """See `Desk`; a recording that ends the process is refused."""
        if self.waiting >= WAITING_MAX:
            raise Busy(f"{WAITING_MAX} recordings are waiting to be looked at: try again in a few seconds")
        self.waiting += 1
        try:
            async with asyncio.timeout(PATIENCE_S):
                return await self._tried(data)
        except TimeoutError as error:
            raise Busy(f"the recording was not looked at within {PATIENCE_S:.0f} s: try again later") from error
        finally:
            self.waiting -= 1

    async def warm_up(self) -> None:
        """See `Desk`."""
        async with contextlib.aclosing(self._process.ask(NAME, {"do": "warm_up"})) as answers:
            async for _ in answers:
                pass

    async def _tried(self, data: bytes) -> Prepared:
        resting = None
        for attempt in range(TRIES):
            resting = self._process.why_not()
            try:
                return await self._ask(data)
            except EngineError as error:
                failure = error
            await asyncio.sleep(0.5 * 2**attempt)
        if resting is not None:
            raise Unavailable(f"recordings cannot be looked at just now: {resting}") from failure
        raise Refused("broken") from failure

    async def _ask(self, data: bytes) -> Prepared:
        request = self._process.ask(NAME, {"do": "prepare", "limits": dataclasses.asdict(self.limits)}, data)
        async with contextlib.aclosing(request) as answers:
            async for facts, samples in answers:
                if facts["is"] == "refused":
                    raise Refused(facts["code"], **facts["facts"])
                if facts["is"] == "prepared":
                    told = facts["prepared"]
                    made = {**told, "wav": samples, "peaks": bytes(told["peaks"]), "facts": Facts(**told["facts"])}
                    return Prepared(**made)
        raise EngineError(NAME, "the process gave no answer")

    async def aclose(self) -> None:
        """End the process."""
        await self._process.leave(NAME)
