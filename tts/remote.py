"""Speech engines in a process of their own: `SpeechProcess` keeps it running, `RemoteEngine` is an engine in it.

The libraries of most engines hold Python's global lock for up to a quarter of a second while they are imported and
loaded, and for tens of milliseconds at work. In the server that would hold the event loop, and with it every session's
packets.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncGenerator, Mapping
from typing import Any

import numpy as np

from errors import EngineError, VisageError
from tts import messages, traits
from tts.base import Sound, Voice
from tts.link import SPEECH, Answer, Link

REST_FIRST_S = 0.5
"""From the end of a process to the start of the next; twice as long each time one does not live for HEALTHY_S."""
REST_MAX_S = 60.0
HEALTHY_S = 60.0
WARM_UPS = 3
"""After so many short lives in a row, loading may be what ends them: an engine is then loaded when it is asked."""
_NOTHING = Sound(np.zeros(0, np.float32))

log = logging.getLogger(__name__)


class SpeechProcess:
    """One process for several engines; started by the first request, ended when the last engine leaves.

    Args:
        rest_s: see REST_FIRST_S.
        module: what it runs; another than that of the engines speaks the same language.
    """

    def __init__(self, rest_s: float = REST_FIRST_S, module: str = SPEECH) -> None:
        self._rest_s = rest_s
        self._module = module
        self._engines: set[str] = set()
        self._warm: dict[str, Mapping[str, Any]] = {}
        """By engine: the request that warmed it up."""
        self._link: Link | None = None
        self._resting: str | None = None
        self._settled = asyncio.Event()
        """Set while there is a process or a reason why there is none."""
        self._keeper: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """Of the process; None while there is none."""
        return self._link.pid if self._link else None

    def why_not(self) -> str | None:
        """None unless the process ended and is not started again yet."""
        return self._resting

    def join(self, engine: str) -> None:
        """An engine of that name will ask."""
        self._engines.add(engine)

    async def leave(self, engine: str) -> None:
        """It will not ask again; with the last one the process ends."""
        self._engines.discard(engine)
        if self._engines or self._keeper is None:
            return
        self._keeper.cancel()
        await asyncio.gather(self._keeper, return_exceptions=True)

    async def ask(self, engine: str, facts: Mapping[str, Any], samples: bytes = b"") -> AsyncGenerator[Answer, None]:
        """The answers of `engine` to a request; `samples` go with it.

        Raises:
            VisageError: what was raised there.
            EngineError: the process ended, or rests; another engine may try.
        """
        if self._keeper is None:
            self._keeper = asyncio.create_task(self._keep(), name="speech-process")
        await self._settled.wait()
        if self._link is None:
            raise EngineError(engine, self._resting or "its process ended")
        try:
            async with contextlib.aclosing(self._link.ask({**facts, "engine": engine}, samples)) as answers:
                async for answer in answers:
                    yield answer
        except ConnectionError as error:
            raise EngineError(engine, "its process ended") from error
        if facts["do"] == "warm_up":
            self._warm[engine] = facts

    async def _keep(self) -> None:
        """Have a process running for as long as this task."""
        short_lives = 0
        rewarming: asyncio.Task[None] | None = None
        try:
            while True:
                began = time.monotonic()
                try:
                    link = await Link.open(self._module)
                except OSError as error:
                    ended = f"the speech process cannot be started: {error}"
                else:
                    self._set(link, None)
                    if 0 < short_lives <= WARM_UPS:
                        rewarming = asyncio.create_task(self._rewarm(link), name="speech-process-warm-up")
                    await link.run()
                    ended = f"the speech process {link.pid} ended {link.ending()}"
                short_lives = 1 if time.monotonic() - began > HEALTHY_S else short_lives + 1
                rest_s = min(REST_MAX_S, self._rest_s * 2 ** min(short_lives - 1, 10))
                log.error("%s; the next one starts in %.1f s", ended, rest_s)
                self._set(None, ended)
                await asyncio.sleep(rest_s)
                self._set(None, None)
        finally:
            self._set(None, "the speech process is no longer kept")
            if rewarming is not None:
                rewarming.cancel()

    def _set(self, link: Link | None, resting: str | None) -> None:
        self._link, self._resting = link, resting
        if link or resting:
            self._settled.set()
        else:
            self._settled.clear()

    async def _rewarm(self, link: Link) -> None:
        """Load again what was loaded before, so that the next clause need not wait for it."""
        for engine, facts in list(self._warm.items()):
            try:
                async for _ in link.ask({**facts, "engine": engine}):
                    pass
            except ConnectionError:  # It ended again, which is told where it is noticed.
                return
            except VisageError as error:
                log.warning("speech engine could not be loaded again: %s", error)


class RemoteEngine:
    """An engine in `process`.

    Args:
        process: where it works; shared with others.
        maker: `module:Class` of the engine. It is made here too, to know its voices, so making it must be quick.
        options: keyword arguments of the class, JSON-ready.
    """

    takes_speed: bool = False
    takes_hurry: bool = False

    def __init__(self, process: SpeechProcess, maker: str, options: Mapping[str, Any] | None = None) -> None:
        self._process = process
        self._engine = messages.engine(maker, options or {})
        self._facts = {"maker": maker, "options": dict(options or {})}
        self.name = self._engine.name
        self.sample_rate_hz = self._engine.sample_rate_hz
        for trait in traits.NAMES:
            if hasattr(self._engine, trait):
                setattr(self, trait, getattr(self._engine, trait))
        process.join(self.name)

    def voices(self) -> tuple[Voice, ...]:
        """The engine's, as it knows them before it loads anything."""
        return self._engine.voices()

    def why_not(self) -> str | None:
        """The engine's reason, or that its process is not there just now."""
        if reason := self._engine.why_not():
            return reason
        reason = self._process.why_not()
        return f"{self.name}: {reason}" if reason else None

    async def warm_up(self) -> None:
        """Load the engine; one that loads nothing starts no process either."""
        if not hasattr(self._engine, "warm_up"):
            return
        async for _ in self._process.ask(self.name, {"do": "warm_up", **self._facts}):
            pass

    async def speak(self, clause: str, voice: Voice, language: str, **how: Any) -> AsyncGenerator[Sound, None]:
        """The clause as the engine makes it; closing the iterator stops it there.

        An empty sound says that the process is still loading.
        """
        asked = {"clause": clause, "voice": messages.voice_facts(voice), "language": language, "how": how}
        request = self._process.ask(self.name, {"do": "speak", **self._facts, **asked})
        async with contextlib.aclosing(request) as answers:
            async for facts, samples in answers:
                yield messages.sound(facts, samples) if facts["is"] == "sound" else _NOTHING

    async def aclose(self) -> None:
        """Leave the process, which ends with the last of its engines."""
        await self._process.leave(self.name)
        await self._engine.aclose()
