"""The process in which a `RemoteEngine`'s real engine lives: `python -m engines.worker CONNECTION SLOT...`.

The arguments are descriptors that the parent handed over: a socket for messages and one region of shared memory for
each batch that may be in flight. Messages are JSON; the first from the parent is the specification, then

    {"id": 7, "do": "prepare", "directory": "..."}
    {"id": 8, "do": "forget", "avatar": "..."}
    {"id": 9, "do": "warm_up"}
    {"id": 10, "do": "render", "slot": 0, "size": bytes, "windows": [[at, samples], ...],
     "rows": [[avatar id, frame index, blend, window, offset, deadline, at, [rows, columns]], ...]}
    {"do": "close"}

and each with an id is answered by {"id", "value"} or {"id", "error"}. A picture's `at` is the byte of the slot where it
is written. The main thread only listens, so that the end of the parent is seen at once whatever the engine does.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from avatar import Avatar
from engines.base import LipEngine, LipRequest, WarmEngine, lanes_of
from engines.sharedmemory import Region
from errors import VisageError
from logs import log_to_stderr
from media import I420
from reelstore import ReelStore

log = logging.getLogger("lips")

Message = dict[str, Any]
CLOSE_PATIENCE_S = 5.0  # for an engine to free what it holds; then the process ends without it
_PR_SET_PDEATHSIG = 1  # prctl(2)


class Worker:
    """Serves one engine to one parent; `reels` takes the idle pictures of avatars."""

    def __init__(self, engine: LipEngine, connection: Connection, slots: list[Region], reels: ReelStore) -> None:
        self._engine = engine
        self._connection = connection
        self._slots = slots
        self._reels = reels
        self._avatars: dict[str, Avatar] = {}
        self._sending = threading.Lock()
        # A warm-up is drawn in the thread that draws later: what a device's library caches may belong to its thread.
        self._lanes = ThreadPoolExecutor(lanes_of(engine), thread_name_prefix="draw")
        self._chores = ThreadPoolExecutor(1, thread_name_prefix="prepare")
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="hand over")

    def serve(self) -> None:
        """Answer until the parent says `close` or has gone."""
        places: dict[str, tuple[ThreadPoolExecutor, Callable[[Message], Any]]] = {
            "render": (self._lanes, self._render),
            "warm_up": (self._lanes, self._warm_up),
            "prepare": (self._chores, self._prepare),
            "forget": (self._chores, self._forget),
        }
        while (message := receive(self._connection)) is not None and message["do"] != "close":
            pool, work = places[message["do"]]
            pool.submit(self._answer, message, work)

    def _answer(self, message: Message, work: Callable[[Message], Any]) -> None:
        try:
            value = work(message)
            if message["do"] == "render":
                # The next batch is drawn while this one's pictures are copied.
                self._writer.submit(self._hand_over, message, value)
            else:
                self._send({"id": message["id"], "value": value, "facts": self._engine.describe()})
        except Exception as error:
            if not isinstance(error, VisageError):
                log.exception("%s failed", message["do"])
            self._send({"id": message["id"], "error": portable(error)})

    def _prepare(self, message: Message) -> None:
        avatar = Avatar.load(Path(message["directory"]), self._reels)
        self._engine.prepare(avatar)
        self._avatars[avatar.id] = avatar

    def _forget(self, message: Message) -> None:
        self._avatars.pop(message["avatar"], None)
        self._engine.forget(message["avatar"])

    def _warm_up(self, _: Message) -> float | None:
        return self._engine.warm_up() if isinstance(self._engine, WarmEngine) else None

    def _render(self, message: Message) -> list[I420 | None]:
        slot = self._slots[message["slot"]]
        slot.grow(message["size"])
        windows = [slot.array(at, (samples,), np.float32) for at, samples in message["windows"]]
        for window in windows:
            window.setflags(write=False)
        requests: dict[int, LipRequest] = {}
        for i, (avatar_id, index, blend, window, offset, deadline, *_) in enumerate(message["rows"]):
            # After a restart sessions ask for pictures before their avatar is prepared again.
            if (avatar := self._avatars.get(avatar_id)) is not None:
                requests[i] = LipRequest(windows[window], avatar, index, blend, deadline, offset)
        drawn = dict(zip(requests, self._engine.render(list(requests.values())), strict=True)) if requests else {}
        return [drawn.get(i) for i in range(len(message["rows"]))]

    def _hand_over(self, message: Message, pictures: list[I420 | None]) -> None:
        slot = self._slots[message["slot"]]
        try:
            for row, picture in zip(message["rows"], pictures, strict=True):
                if picture is not None:
                    slot.array(row[-2], tuple(row[-1]), np.uint8)[...] = picture
        except Exception as error:
            log.exception("pictures could not be handed over")
            self._send({"id": message["id"], "error": portable(error)})
        else:
            self._send({"id": message["id"], "value": [picture is not None for picture in pictures]})

    def _send(self, message: Message) -> None:
        with self._sending:
            send(self._connection, message)

    def close(self) -> None:
        """End the threads after what they are doing, then the engine."""
        for pool in (self._lanes, self._chores, self._writer):
            pool.shutdown(cancel_futures=True)
        self._engine.close()
        self._reels.close()


def send(connection: Connection, message: Message) -> None:
    """Send a message; to a process that has gone it is lost."""
    with contextlib.suppress(BrokenPipeError, ConnectionError):
        connection.send_bytes(json.dumps(message).encode())


def receive(connection: Connection) -> Message | None:
    """The next message; None when the other process has gone."""
    try:
        message: Message = json.loads(connection.recv_bytes())
    except (EOFError, OSError):
        return None
    return message


def portable(error: Exception) -> dict[str, Any]:
    """An error as JSON; `engines.child.rebuilt` makes one of it again."""
    if isinstance(error, VisageError):
        return {"type": type(error).__name__, "message": str(error), "retryable": error.retryable}
    return {"type": type(error).__name__, "message": str(error)}


def make_engine(name: str, kwargs: dict[str, Any]) -> LipEngine:
    """The engine `module:Class`, made with `kwargs`."""
    module, _, attribute = name.partition(":")
    engine: LipEngine = getattr(importlib.import_module(module), attribute)(**kwargs)
    return engine


def die_with_parent() -> None:
    """Have the kernel kill this process when the parent's thread that started it ends, even if every thread here hangs.

    Elsewhere than on Linux only the closed socket tells.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL))


def main(descriptors: list[int]) -> int:
    """Serve until told to end; the exit status."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the parent drains its sessions first, then says `close`
    die_with_parent()
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a library prints must not mix with the parent's output
    connection, slots = Connection(descriptors[0]), [Region(fd) for fd in descriptors[1:]]
    specification = receive(connection)
    if specification is None:
        return 1
    log_to_stderr(**specification["log"])
    try:
        engine = make_engine(specification["engine"], specification["kwargs"])
    except Exception as error:
        if not isinstance(error, VisageError):
            log.exception("%s cannot be made", specification["engine"])
        send(connection, {"error": portable(error)})
        return 1
    send(connection, {"max_batch": engine.max_batch, "facts": engine.describe()})
    worker = Worker(engine, connection, slots, ReelStore(specification["memory_mib"]))
    worker.serve()
    end = threading.Timer(CLOSE_PATIENCE_S, os._exit, (1,))
    end.daemon = True
    end.start()
    worker.close()
    return 0


if __name__ == "__main__":
    # Imported under its own name, so that engines which import this module meet the same one.
    from engines import worker

    status = worker.main([int(fd) for fd in sys.argv[1:]])
    sys.stderr.flush()
    os._exit(status)  # the interpreter's own end would wait for threads that a device's library left behind
