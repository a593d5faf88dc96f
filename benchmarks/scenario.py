"""What every scenario is given, and the waiting that several of them do."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import random
import time
from collections.abc import AsyncIterator

from benchmarks import analysis
from benchmarks.api import Api
from benchmarks.browser import Browser
from benchmarks.recording import Session
from benchmarks.server import Launcher, Server
from benchmarks.wire import WireSession

POLL_S = 0.05
REST_S = 6.0  # before the first command: one round of the idle motion, so that every resting look is known
QUIET_S = 0.8  # an utterance has ended
SPEECH_TIMEOUT_S = 30
CLIENTS = ("wire", "Chromium")


@dataclasses.dataclass(frozen=True)
class Plan:
    """How much is measured."""

    launcher: Launcher
    quick: bool = False

    @property
    def repeats(self) -> int:
        """Of each timed action."""
        return 4 if self.quick else 20

    @property
    def minutes(self) -> float:
        """Of the synchronisation scenario, after settling."""
        return 1 if self.quick else 10


@contextlib.asynccontextmanager
async def client(kind: str, server: Server, api: Api) -> AsyncIterator[Browser | None]:
    """What sessions of that kind share: the browser."""
    if kind == "wire":
        yield None
        return
    async with Browser(server.url) as browser:
        yield browser


def new_session(browser: Browser | None, api: Api) -> Session:
    """A session of the client that `client` gave."""
    return WireSession(api) if browser is None else browser.session()


@contextlib.asynccontextmanager
async def opened(browser: Browser | None, api: Api) -> AsyncIterator[Session]:
    """A connected session, closed in the end."""
    session = new_session(browser, api)
    try:
        await session.open()
        yield session
    finally:
        await session.close()


async def until_heard(session: Session, after: float) -> bool:
    """Wait for the first sound at or after `after`; False when there is none in time."""
    while time.monotonic() - after < SPEECH_TIMEOUT_S:
        await asyncio.sleep(POLL_S)
        sound = (await session.sound()).since(after)
        if analysis.first_sound(sound.t, sound.rms, after) is not None:
            return True
    return False


async def until_quiet(session: Session, api: Api, after: float) -> None:
    """Wait until the sound that has begun since `after` is over and nothing waits to be said, then a moment more.

    The moment is random, so that the next command meets the 40 ms clock of the playout at any phase.
    """
    while time.monotonic() - after < SPEECH_TIMEOUT_S:
        await asyncio.sleep(POLL_S)
        sound = (await session.sound()).since(after)
        quiet = analysis.last_sound(sound.t, sound.rms, after, QUIET_S) not in (None, after)
        if quiet and not await api.speaking(session.connection.sessionid):
            break
    await asyncio.sleep(random.uniform(0.3, 0.8))
