"""`Link`: one speech process and the connection to it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path
from typing import Any

from logs import form_of_children
from tts import messages

PING_EVERY_S = 5.0
STUCK_S = 30.0
"""A process that says nothing for so long is ended. Its imports hold it for a second or two on a busy machine."""
LOADING_S = 15.0
"""A process may be loading for so long after its start; who asks it meanwhile is told to wait."""
HEARTBEAT_S = 1.0
END_TIMEOUT_S = 2.0
SPEECH = "tts.process"
ROOT = Path(__file__).resolve().parent.parent

log = logging.getLogger(__name__)

Answer = tuple[messages.Facts, bytes]


class Link:
    """Made by `open`; whoever does must `run` it, which ends the process in the end."""

    def __init__(
        self, process: subprocess.Popen[bytes], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._began = self._heard = time.monotonic()
        self._process = process
        self._reader = reader
        self._writer = writer
        self._requests: dict[int, asyncio.Queue[Answer | None]] = {}
        self._numbers = itertools.count(1)
        self._closed = False

    @classmethod
    async def open(cls, module: str = SPEECH) -> Link:
        """Start a process.

        Args:
            module: what it runs.

        Raises:
            OSError: it cannot be started.
        """
        here, there = socket.socketpair()
        try:
            with there:
                process = _start(there, module)
            reader, writer = await asyncio.open_connection(sock=here, limit=messages.STREAM_LIMIT_BYTES)
        except BaseException:
            here.close()  # which ends a process that was started
            raise
        return cls(process, reader, writer)

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    def ending(self) -> str:
        """How the process ended, for the log."""
        status = self._process.returncode
        return f"by signal {-status}" if status is not None and status < 0 else f"with status {status}"

    async def ask(self, facts: Mapping[str, Any], samples: bytes = b"") -> AsyncGenerator[Answer, None]:
        """The answers to a request, `end` excluded; closed before that, the request is cancelled.

        An answer that is `wait` comes every HEARTBEAT_S while the process may be loading.

        Raises:
            VisageError: what was raised there.
            ConnectionError: the process ended.
        """
        if self._closed:
            raise ConnectionError
        number = next(self._numbers)
        answers = self._requests[number] = asyncio.Queue()
        self._send({**facts, "id": number}, samples)
        ended = False
        try:
            while (answer := await self._next(answers)) is not None:
                ended = answer[0]["is"] in ("end", "error")
                if answer[0]["is"] == "error":
                    raise messages.error(answer[0])
                if ended:
                    return
                yield answer
            raise ConnectionError
        finally:
            del self._requests[number]
            if not ended:
                self._send({"do": "cancel", "id": number})

    async def _next(self, answers: asyncio.Queue[Answer | None]) -> Answer | None:
        while True:
            try:
                async with asyncio.timeout(HEARTBEAT_S):
                    return await answers.get()
            except TimeoutError:
                if time.monotonic() - self._began < LOADING_S:
                    return {"is": "wait"}, b""

    async def run(self) -> None:
        """Hand out answers until the process is gone; cancelled, end it."""
        watch = asyncio.create_task(self._watch(), name="speech-process-watch")
        try:
            while (answer := await messages.receive(self._reader)) is not None:
                self._heard = time.monotonic()
                if request := self._requests.get(int(answer[0]["id"])):
                    request.put_nowait(answer)
        except ValueError as error:
            log.error("speech process %d: %s", self.pid, error)
        finally:
            watch.cancel()
            await self._end()

    async def _watch(self) -> None:
        while time.monotonic() - self._heard < STUCK_S:
            self._send({"do": "ping", "id": 0})
            await asyncio.sleep(PING_EVERY_S)
        log.error("speech process %d has said nothing for %.0f s and is ended", self.pid, STUCK_S)
        self._process.kill()

    async def _end(self) -> None:
        """Close the connection, which ends the process; one that does not end is killed."""
        self._closed = True
        for request in self._requests.values():
            request.put_nowait(None)
        self._writer.close()
        try:
            await asyncio.to_thread(self._process.wait, END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            await asyncio.to_thread(self._process.wait)
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()

    def _send(self, facts: Mapping[str, Any], samples: bytes = b"") -> None:
        if not self._closed:
            self._writer.write(messages.pack(facts, samples))


def _start(connection: socket.socket, module: str) -> subprocess.Popen[bytes]:
    """A process on the other end of `connection`, which Ctrl-C does not reach: that is the server's business.

    It stays in the server's session, since Linux may share the cores out by session first and by niceness second.
    """
    path = os.pathsep.join(part for part in (str(ROOT), os.environ.get("PYTHONPATH")) if part)
    level, form = form_of_children()
    # -P: what lies in the working directory is not what the process means by its imports.
    command = [sys.executable, "-P", "-m", module, str(connection.fileno()), str(level), form]
    return subprocess.Popen(
        command,
        pass_fds=(connection.fileno(),),
        env={**os.environ, "PYTHONPATH": path},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        process_group=0,
    )
