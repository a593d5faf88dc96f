"""One session with a user on tape: a real browser whose microphone is a recording talks to the server.

The recording is played into the page once. Web Audio taps of both tracks, the one that leaves and the one that comes,
tell on one clock when the user said what and when she sounded.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from benchmarks import analysis, heard
from benchmarks.api import Api
from benchmarks.browser import Browser, BrowserSession, recorded_microphone
from benchmarks.recording import Sound
from benchmarks.scenario import Plan
from benchmarks.scripted_model import ScriptedModel
from benchmarks.server import Server
from benchmarks.tape import RATE_HZ, Cue, Tape
from benchmarks.told import EventLog

LEAD_S = 4.0
"""Before the first word: the session connects meanwhile."""
LOADING_S = 90.0
"""For a server to load what it hears with, when it is asked for the first time."""
END_S = 1.0
HUSH_MS = {"paused": 300, "interrupted": 300}
"""For so long the product's page plays nothing after these events (`web/src/hush.ts`)."""


@dataclasses.dataclass(frozen=True)
class Talk:
    """What came of a tape."""

    cues: list[Cue]
    """With the times at which they were said, monotonic s."""
    ends: float
    sound: Sound
    """Hers."""
    events: EventLog

    def without_first(self) -> Talk:
        """All cues but the first."""
        return dataclasses.replace(self, cues=self.cues[1:])

    def until(self, number: int) -> float:
        """When the next cue begins, or the session ended."""
        return self.cues[number + 1].begins_s if number + 1 < len(self.cues) else self.ends

    def sounded(self, begins: float, ends: float) -> bool:
        """Whether she was heard in between."""
        late = self.sound.since(begins)
        return bool((analysis.dbfs(late.rms[late.t < ends]) > analysis.SILENCE_DBFS).any())

    def first_sound(self, after: float) -> float | None:
        """Of hers at or after that."""
        return analysis.first_sound(self.sound.t, self.sound.rms, after)


async def until_listening(api: Api, sessionid: str, patience_s: float) -> None:
    """Wait until somebody listens to the session's microphone.

    Raises:
        RuntimeError: nobody did in time; carries why.
    """
    limit = time.monotonic() + patience_s
    while True:
        try:
            await api.post("/api/listening", json={"sessionid": sessionid, "action": "unmute"})
            return
        except ConnectionError as error:
            if time.monotonic() > limit:
                raise RuntimeError(f"nobody listens to the microphone: {error}") from error
        await asyncio.sleep(0.2)


async def load(server: Server, api: Api) -> float:
    """Have the server load what it hears with; seconds from a first visitor's microphone to being listened to."""
    tape = Tape(LEAD_S)
    async with _browser(server, tape) as browser:
        session = browser.session(microphone=True, pictures=False)
        await session.open()
        began = time.monotonic()
        try:
            await until_listening(api, session.connection.sessionid, LOADING_S)
        finally:
            await session.close()
    return time.monotonic() - began


@contextlib.asynccontextmanager
async def _browser(server: Server, tape: Tape) -> AsyncIterator[Browser]:
    """A browser whose microphone is the tape."""
    with tempfile.TemporaryDirectory(prefix="visage-tape-") as folder:
        recording = tape.write(Path(folder) / "tape.wav")
        async with Browser(server.url, recorded_microphone(recording)) as browser:
            yield browser


async def play(server: Server, api: Api, tape: Tape, **options: Any) -> Talk:
    """One session that is told the tape from its beginning to its end.

    Args:
        options: of the page: `echo` mixes her voice into the microphone.

    Raises:
        RuntimeError: nobody listened when the first word was said.
        ValueError: the browser did not play the tape.
    """
    async with _browser(server, tape) as browser:
        session = browser.session(microphone=True, pictures=False, hushMs=HUSH_MS, **options)
        opening = time.monotonic()
        await session.open()
        try:
            sessionid = session.connection.sessionid
            async with EventLog(server.url, sessionid) as events:
                await until_listening(api, sessionid, max(0.0, opening + LEAD_S - time.monotonic()))
                await asyncio.sleep(max(0.0, opening + tape.seconds + END_S - time.monotonic()))
                ends = time.monotonic()
                await asyncio.sleep(0.2)  # of the last events
        finally:
            await session.close()
        return await _talk(session, tape, ends, events)


async def _talk(session: BrowserSession, tape: Tape, ends: float, events: EventLog) -> Talk:
    spoken = await session.spoken()
    played = analysis.envelope(tape.pcm(), RATE_HZ)
    about = heard.beginning(played, spoken.t, spoken.rms)
    cues = []
    for cue in tape.cues:
        begins = heard.place(played, cue.begins_s, cue.ends_s, spoken.t, spoken.rms, about)
        cues.append(dataclasses.replace(cue, begins_s=begins + cue.begins_s, ends_s=begins + cue.ends_s))
    return Talk(cues, ends, await session.sound(), events)


@contextlib.asynccontextmanager
async def house(plan: Plan, answer: Callable[[str], str] | None) -> AsyncIterator[tuple[Server, Api]]:
    """A server that has heard somebody before.

    Args:
        answer: the scripted language model's; None leaves the server to its own.
    """
    async with contextlib.AsyncExitStack() as stack:
        options: list[str] = []
        if answer is not None:
            model = await stack.enter_async_context(ScriptedModel(answer))
            options = ["--llm_base_url", model.url, "--llm_model", "scripted"]
        server = stack.enter_context(plan.launcher.run(*options))
        await server.settle()
        api = await stack.enter_async_context(Api(server.url))
        await load(server, api)
        yield server, api
