"""How soon the presenter is there, speaks, and stops."""

from __future__ import annotations

import asyncio
import dataclasses
import random
import time
from collections.abc import Awaitable, Callable

from benchmarks import analysis, scenes
from benchmarks.api import Api, Reply
from benchmarks.figures import Figure
from benchmarks.recording import Session
from benchmarks.scenario import CLIENTS, REST_S, Plan, client, opened, until_heard, until_quiet

STOP_WATCH_S = 1.5
SPOKEN_S = (1.0, 2.0)  # of speech before it is interrupted

Command = Callable[[str], Awaitable[Reply]]
"""Given a session id, has it speak."""


async def start(plan: Plan) -> list[Figure]:
    """From the command to a server that is ready."""
    ready, quiet = [], []
    for _ in range(2 if plan.quick else 4):
        with plan.launcher.run() as server:
            ready.append(server.ready_s)
            quiet.append(server.ready_s + await server.settle())
    return [
        Figure("start", "start to ready", "s", ready, 6.0, "worst"),
        Figure("start", "start to the end of all preparation", "s", quiet),
    ]


async def connect(plan: Plan) -> list[Figure]:
    """From the offer to the first picture, one session after another."""
    figures = []
    with plan.launcher.run() as server:
        await server.settle()
        async with Api(server.url) as api:
            for kind in CLIENTS:
                name = {"wire": "last packet of the first picture", "Chromium": "first decoded picture"}[kind]
                figure = Figure("connect", f"/offer to {name}, {kind}", "ms", [])
                figure.bar = 400 if kind == "Chromium" else None
                async with client(kind, server, api) as browser:
                    for _ in range(plan.repeats):
                        try:
                            async with opened(browser, api) as session:
                                figure.values.append(session.connection.first_picture_ms)
                        except ConnectionError as error:
                            figure.failed.append(str(error))
                        await asyncio.sleep(0.3)
                figures.append(figure)
    return figures


@dataclasses.dataclass
class Utterance:
    """When a command was sent and what came of it (monotonic s)."""

    sent: float
    sound: float | None = None
    motion: float | None = None


async def utterances(session: Session, api: Api, commands: list[Command]) -> list[Utterance]:
    """Rest, then have everything said, one after the other; closes the session."""
    said: list[Utterance] = []
    await asyncio.sleep(REST_S)
    for command in commands:
        reply = await command(session.connection.sessionid)
        said.append(Utterance(reply.sent))
        if await until_heard(session, reply.sent):
            await until_quiet(session, api, reply.sent)
    end = time.monotonic()
    await session.close()
    sound, pictures = await session.sound(), await session.pictures()
    mouth = analysis.RestingMouth.learn(pictures.between(said[0].sent - REST_S, said[0].sent).patch)
    for one, until in zip(said, [*(s.sent for s in said[1:]), end], strict=True):
        one.sound = analysis.first_sound(sound.t, sound.rms, one.sent)
        shown = pictures.between(one.sent, until)
        one.motion = analysis.first_motion(shown.t, mouth.moving(shown.patch), one.sent)
        if one.sound is not None and one.sound >= until:
            one.sound = None
    return said


def first_sounds(figure: Figure, said: list[Utterance]) -> Figure:
    """Fill in the delays of first sounds."""
    figure.values = [(one.sound - one.sent) * 1000 for one in said if one.sound is not None]
    figure.failed += ["no sound" for one in said if one.sound is None]
    return figure


async def humanaudio(plan: Plan) -> list[Figure]:
    """From an uploaded recording to its sound, and the mouth against the sound."""
    figures = []
    wav = scenes.recording()
    with plan.launcher.run() as server:
        await server.settle()
        async with Api(server.url) as api:
            for kind, bar in zip(CLIENTS, (250, 400), strict=True):
                async with client(kind, server, api) as browser, opened(browser, api) as session:
                    said = await utterances(session, api, [lambda sid: api.human_audio(sid, wav)] * plan.repeats)
                figures.append(
                    first_sounds(Figure("humanaudio", f"/humanaudio to first sound, {kind}", "ms", [], bar), said)
                )
                moved = Figure("humanaudio", f"first mouth motion after first sound, {kind}", "ms", [], 40)
                for one in said:
                    if one.sound is None or one.motion is None:
                        moved.failed.append("no sound" if one.sound is None else "no motion")
                    else:
                        moved.values.append((one.motion - one.sound) * 1000)
                figures.append(moved)
    return figures


async def echo(plan: Plan) -> list[Figure]:
    """From a sentence to its first sound."""
    sentences = (
        ("10 English words", scenes.english_words, 400),
        ("12 Chinese characters", scenes.chinese_characters, 1500),
    )
    figures = []
    with plan.launcher.run() as server:
        await server.settle()
        async with Api(server.url) as api:
            for name, sentence, bar in sentences:

                async def say(sid: str, sentence: Callable[[], str] = sentence) -> Reply:
                    return await api.human(sid, sentence())

                async with opened(None, api) as session:
                    said = await utterances(session, api, [say] * plan.repeats)
                figures.append(
                    first_sounds(Figure("echo", f"/human to first sound, {name}, wire", "ms", [], bar), said)
                )
    return figures


@dataclasses.dataclass(frozen=True)
class Stop:
    """Sent an interruption at `sent`; what came before the next command at `until`."""

    sent: float
    until: float


async def interrupt(plan: Plan) -> list[Figure]:
    """From an interruption to silence and to a closed mouth."""
    figures = []
    with plan.launcher.run() as server:
        await server.settle()
        async with Api(server.url) as api:
            for kind, bars in zip(CLIENTS, ((80, 200), (300, 420)), strict=True):
                async with client(kind, server, api) as browser, opened(browser, api) as session:
                    figures += await stops(api, session, plan.repeats, kind, bars)
    return figures


async def stops(api: Api, session: Session, repeats: int, kind: str, bars: tuple[int, int]) -> list[Figure]:
    """Interrupt `repeats` times in mid-speech; closes the session."""
    silence = Figure("interrupt", f"/interrupt_talk to silence, {kind}", "ms", [], bars[0])
    closed = Figure("interrupt", f"/interrupt_talk to closed mouth, {kind}", "ms", [], bars[1])
    sid, done = session.connection.sessionid, []
    begun = time.monotonic()
    await asyncio.sleep(REST_S)
    rested = time.monotonic()
    for _ in range(repeats):
        spoken = await api.human(sid, scenes.LONG_TEXT)
        if not await until_heard(session, spoken.sent):
            silence.failed.append("no sound to interrupt")
            continue
        await asyncio.sleep(random.uniform(*SPOKEN_S))
        reply = await api.interrupt(sid)
        await asyncio.sleep(STOP_WATCH_S)
        done.append(Stop(reply.sent, time.monotonic()))
    await session.close()
    sound, pictures = await session.sound(), await session.pictures()
    mouth = analysis.RestingMouth.learn(pictures.between(begun, rested).patch)
    for stop in done:
        heard = sound.since(stop.sent - STOP_WATCH_S)
        heard = dataclasses.replace(heard, t=heard.t[heard.t < stop.until], rms=heard.rms[heard.t < stop.until])
        quiet = analysis.last_sound(heard.t, heard.rms, stop.sent)
        shown = pictures.between(stop.sent - 0.1, stop.until)
        rest = analysis.rest_again(shown.t, mouth.moving(shown.patch), stop.sent)
        for figure, at in ((silence, quiet), (closed, rest)):
            if at is None:
                figure.failed.append("did not stop in time")
            else:
                figure.values.append((at - stop.sent) * 1000)
    return [silence, closed]
