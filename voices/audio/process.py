"""The process in which recordings are made ready; `voices.audio.desk` starts it.

What a stranger uploads meets FFmpeg here: with little memory to take, the lowest urgency, and nothing to lose. One
recording is worked on after the other. While one is, nothing else is answered: a recording that holds the process for
longer than its parent's patience has it killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import os
import resource
import signal
import socket
import sys
from typing import Any

import numpy as np

from errors import VisageError
from listening.vad import WINDOW, SileroVad
from logs import log_to_stderr
from tts import messages
from voices.audio.judge import Limits
from voices.audio.prepare import prepare
from voices.audio.refusals import Refused

NICENESS = 10
DATA_BYTES_MAX = 1 << 30
"""Of memory of its own, libraries included, which take a quarter of it."""


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer requests until the connection closes."""
    vad = SileroVad()
    while (message := await messages.receive(reader)) is not None:
        facts, data = message
        number = int(facts["id"])
        if facts["do"] == "ping":
            writer.write(messages.pack({"id": number, "is": "pong"}))
        elif facts["do"] == "warm_up":
            vad(np.zeros(WINDOW, np.float32))
            writer.write(messages.pack({"id": number, "is": "end"}))
        elif facts["do"] == "prepare":
            for answer in _answers(number, facts, data, vad):
                writer.write(answer)
            await writer.drain()


def _answers(number: int, facts: messages.Facts, data: bytes, vad: SileroVad) -> list[bytes]:
    try:
        made = prepare(data, Limits(**facts["limits"]), vad)
    except Refused as error:
        refusal = {"id": number, "is": "refused", "code": error.code, "facts": error.facts}
        return [messages.pack(refusal), messages.pack({"id": number, "is": "end"})]
    except Exception as error:  # a library may raise anything; the next recording must still be answered
        if not isinstance(error, VisageError):
            logging.getLogger("voices.audio.process").exception("a recording could not be made ready")
        return [messages.pack({"id": number, "is": "error", **messages.error_facts(error, "audio")})]
    told: dict[str, Any] = dataclasses.asdict(dataclasses.replace(made, wav=b"", peaks=b""))
    told |= {"wav": None, "peaks": list(made.peaks)}
    answer = messages.pack({"id": number, "is": "prepared", "prepared": told}, made.wav)
    return [answer, messages.pack({"id": number, "is": "end"})]


async def _serve(descriptor: int) -> None:
    connection = socket.socket(fileno=descriptor)
    reader, writer = await asyncio.open_connection(sock=connection, limit=messages.STREAM_LIMIT_BYTES)
    try:
        await serve(reader, writer)
    finally:
        logging.shutdown()
        os._exit(0)


def main(argv: list[str]) -> None:
    """Serve the socket of descriptor `argv[0]`, logging to standard error from level `argv[1]` on, as `argv[2]`."""
    for number in (signal.SIGINT, signal.SIGTERM):  # the parent ends it, by closing the socket
        signal.signal(number, signal.SIG_IGN)
    log_to_stderr(int(argv[1]), argv[2])
    os.nice(NICENESS)
    with contextlib.suppress(ValueError, OSError):  # a lower limit is set already
        resource.setrlimit(resource.RLIMIT_DATA, (DATA_BYTES_MAX, DATA_BYTES_MAX))
    asyncio.run(_serve(int(argv[0])))


if __name__ == "__main__":
    main(sys.argv[1:])
