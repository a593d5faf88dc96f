"""The speech process: engines whose libraries would hold the server's event loop run here. `tts.remote` starts it.

It reads requests from the socket whose descriptor it is given and answers each as it is worked on. It has no state to
lose: when the socket closes, however the server ended, it ends at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import numpy as np

from errors import VisageError
from house.upkeep import limit_arenas, settle_heap
from logs import log_to_stderr
from priority import give_way
from tts import messages
from tts.base import Sound, SpeechEngine

if TYPE_CHECKING:
    from asr.base import RecognitionEngine

NICE = 5
"""Speech is made a clause ahead and heard after it was said, both in bursts; pictures and packets are due now."""

log = logging.getLogger("tts.process")  # run as a program, it is called __main__


class SpeechServer:
    """Works on the requests of one connection, all at once; each engine orders its own work.

    Requests, each with a number `id` that its answers bear:
        warm_up: `engine`, `maker`, `options` (as `messages.engine` takes them); answered by `end`.
        speak: the same and `clause`, `voice`, `language`, `how` (keyword arguments); answered by `sound`s and `end`.
        transcribe: of an engine of `asr`: the same, `how` and samples; answered by `transcript` and `end`.
        cancel: ends the request of that number, which is then not answered any more.
        ping: answered by `pong`.
    Instead of `end` there may be an `error`.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._engines: dict[str, Any] = {}
        """Of `tts` or of `asr`; what it is asked for says which."""
        self._jobs: dict[int, asyncio.Task[None]] = {}

    async def serve(self) -> None:
        """Until the connection closes; what is still worked on is cancelled."""
        while (message := await messages.receive(self._reader)) is not None:
            facts, samples = message
            number = int(facts["id"])
            if facts["do"] == "cancel":
                if job := self._jobs.get(number):
                    job.cancel()
            elif facts["do"] == "ping":
                self._writer.write(messages.pack({"id": number, "is": "pong"}))
            else:
                job = self._jobs[number] = asyncio.create_task(self._answer(number, facts, samples))
                job.add_done_callback(functools.partial(self._jobs.pop, number))
        for job in self._jobs.values():
            job.cancel()
        await asyncio.gather(*self._jobs.values(), return_exceptions=True)

    async def _answer(self, number: int, facts: messages.Facts, samples: bytes) -> None:
        """Do what is asked and say how it ended."""
        try:
            if facts["do"] == "warm_up":
                await self._warm_up(self._engine(facts))
            elif facts["do"] == "transcribe":
                await self._transcribe(number, self._engine(facts), facts, samples)
            else:
                await self._speak(number, self._engine(facts), facts)
        except Exception as error:  # A library may raise anything; the other requests must still be answered.
            if not isinstance(error, VisageError):
                log.exception("speech engine %s failed", facts["engine"])
            self._writer.write(
                messages.pack({"id": number, "is": "error", **messages.error_facts(error, facts["engine"])})
            )
            return
        self._writer.write(messages.pack({"id": number, "is": "end"}))

    def _engine(self, facts: messages.Facts) -> Any:
        name = facts["engine"]
        if name not in self._engines:
            self._engines[name] = messages.engine(facts["maker"], facts["options"])
        return self._engines[name]

    async def _warm_up(self, engine: Any) -> None:
        warm_up = getattr(engine, "warm_up", None)
        if warm_up is not None:
            await warm_up()
        gc.collect()
        settle_heap()

    async def _speak(self, number: int, engine: SpeechEngine, facts: messages.Facts) -> None:
        voice = messages.voice(facts["voice"])
        sounds = engine.speak(facts["clause"], voice, facts["language"], **facts["how"])
        async with _closing(sounds):
            async for sound in sounds:
                self._writer.write(messages.sound_message(number, sound))
                await self._writer.drain()

    async def _transcribe(self, number: int, engine: RecognitionEngine, facts: messages.Facts, samples: bytes) -> None:
        transcript = await engine.transcribe(np.frombuffer(samples, messages.SAMPLE), **facts["how"])
        answer = {"id": number, "is": "transcript", "transcript": dataclasses.asdict(transcript)}
        self._writer.write(messages.pack(answer))


@contextlib.asynccontextmanager
async def _closing(sounds: AsyncIterator[Sound]) -> AsyncIterator[None]:
    """Closes them in the end, where they can be closed."""
    try:
        yield
    finally:
        close: Any = getattr(sounds, "aclose", None)
        if close is not None:
            await close()


async def _serve(descriptor: int) -> None:
    reader, writer = await asyncio.open_connection(
        sock=socket.socket(fileno=descriptor), limit=messages.STREAM_LIMIT_BYTES
    )
    try:
        await SpeechServer(reader, writer).serve()
    finally:
        logging.shutdown()
        # A thread may be deep in a network or a dictionary; nobody waits for what it makes.
        os._exit(0)


def main(argv: list[str]) -> None:
    """Serve the socket of descriptor `argv[0]`, logging to standard error from level `argv[1]` on, as `argv[2]`."""
    # The server is asked to stop, drains, and closes the socket: until then a signal to both must not silence it.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    log_to_stderr(int(argv[1]), argv[2])
    limit_arenas()
    give_way(NICE)
    asyncio.run(_serve(int(argv[0])))


if __name__ == "__main__":
    main(sys.argv[1:])
