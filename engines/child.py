"""`Child`: one life of the process in which a `RemoteEngine`'s real engine draws, as its parent sees it."""

from __future__ import annotations

import contextlib
import itertools
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from engines.base import LipRequest
from engines.sharedmemory import Region, aligned
from engines.worker import CLOSE_PATIENCE_S, Message, receive, send
from errors import EngineError, VisageError
from logs import form_of_children
from media import I420

ROOT = Path(__file__).resolve().parent.parent


class Child:
    """Starts the process; `end` ends it. `listen` belongs to one thread, the rest may be called from any.

    The thread that makes it must outlive it: the kernel kills the process when that thread ends.

    Args:
        engine: `module:Class` of the real engine.
        kwargs: what it is made with, JSON-ready.
        slots: batches that may be in flight.
        memory_mib: for the idle pictures of avatars.
    """

    def __init__(self, engine: str, kwargs: dict[str, Any], slots: int, memory_mib: int) -> None:
        self.fault: str | None = None
        """Why this side killed it."""
        self.facts: dict[str, Any] = {}
        """What the engine last said of itself."""
        self.picture_s: float | None = None
        """What a picture took in the slowest batch; None before the first."""
        self._name = engine
        self._slots = [Region() for _ in range(slots)]
        self._free: queue.SimpleQueue[int] = queue.SimpleQueue()
        for i in range(slots):
            self._free.put(i)
        self._late: dict[int, float] = {}
        """Slots whose batch is late, and when it was begun."""
        self._asked: dict[int, Future[Any]] = {}
        self._ids = itertools.count()
        self._lock = threading.Lock()
        self._over = False
        ours, theirs = socket.socketpair()
        self._connection = Connection(ours.detach())
        try:
            with theirs:
                self._process = self._spawn([theirs.fileno(), *(slot.fd for slot in self._slots)])
        except OSError:
            self._free_shared()
            raise
        level, form = form_of_children()
        log = {"level": level, "form": form}
        self._say({"engine": engine, "kwargs": kwargs, "memory_mib": memory_mib, "log": log})

    def _spawn(self, descriptors: list[int]) -> subprocess.Popen[bytes]:
        path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH", ""))))
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "engines.worker", *map(str, descriptors)],
            pass_fds=descriptors,
            env={**os.environ, "PYTHONPATH": path},
            stdin=subprocess.DEVNULL,
            process_group=0,  # a terminal's Ctrl-C is for the parent, which drains its sessions before it ends this
        )

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    def hello(self, patience_s: float) -> int:
        """Wait until the engine is made; its `max_batch`.

        Raises:
            VisageError: what the engine's constructor refused, as it said it.
            EngineError: it failed otherwise, or took longer than `patience_s`.
        """
        if not self._connection.poll(patience_s):
            self.kill(f"was not ready after {patience_s:.0f} s")
        message = receive(self._connection)
        if message is None:
            self._process.wait()
            raise EngineError(self._name, f"its process {self.cause()}")
        if "error" in message:
            raise rebuilt(message["error"], self._name)
        self.facts = message["facts"]
        return int(message["max_batch"])

    def listen(self) -> None:
        """Take answers until the process has ended."""
        while (message := receive(self._connection)) is not None:
            with self._lock:
                future = self._asked.pop(message["id"], None)
            self.facts = message.get("facts", self.facts)
            if future is None:
                continue
            if "error" in message:
                future.set_exception(rebuilt(message["error"], self._name))
            else:
                future.set_result(message["value"])

    def ask(self, do: str, **details: Any) -> Future[Any]:
        """Have something done: the future of its value, or of its error."""
        future: Future[Any] = Future()
        with self._lock:
            if self._over:
                future.set_exception(EngineError(self._name, f"its process {self.cause()}"))
                return future
            number = next(self._ids)
            self._asked[number] = future
        self._say({"id": number, "do": do, **details})
        return future

    def render(self, requests: Sequence[LipRequest], patience_s: float) -> list[I420 | None]:
        """Draw a batch; blocks until a slot is free and the pictures are here.

        Raises:
            EngineError: the engine failed, or its process ended.
            TimeoutError: they are not here after `patience_s`; nobody waits for them any more, but see `late_s`.
        """
        number = self._free.get()
        future: Future[Any] = Future()
        began = time.monotonic()
        try:
            if self._over:
                raise EngineError(self._name, f"its process {self.cause()}")
            slot = self._slots[number]
            message = _packed(requests, slot)
            future = self.ask("render", slot=number, **message)
            drawn = future.result(patience_s)
            self._learn(drawn, began)
            return [
                slot.array(row[-2], row[-1], np.uint8).copy() if there else None
                for row, there in zip(message["rows"], drawn, strict=True)
            ]
        except TimeoutError:
            with self._lock:
                self._late[number] = began
            raise
        finally:
            if number in self._late:
                future.add_done_callback(lambda done: self._arrived(number, done))
            else:
                self._free.put(number)

    @property
    def late_s(self) -> float:
        """For how long a batch has been drawn that nobody waits for any more; 0 when there is none."""
        with self._lock:
            return time.monotonic() - min(self._late.values()) if self._late else 0.0

    def _arrived(self, number: int, future: Future[Any]) -> None:
        with self._lock:
            began = self._late.pop(number)
        if future.exception() is None:
            self._learn(future.result(), began)
        self._free.put(number)

    def _learn(self, drawn: list[bool], began: float) -> None:
        """Note a batch's pace, unless pictures were left out."""
        if all(drawn):
            self.picture_s = max(self.picture_s or 0.0, (time.monotonic() - began) / len(drawn))

    def close(self) -> None:
        """Ask it to end."""
        self._say({"do": "close"})

    def kill(self, fault: str) -> None:
        """End it at once; `fault` says why."""
        self.fault = self.fault or fault
        self._process.kill()

    def end(self) -> None:
        """Free everything, after `listen` or `hello` returned; what was still asked fails."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(CLOSE_PATIENCE_S)
        self._process.kill()
        self._process.wait()
        with self._lock:
            self._over = True
            asked = list(self._asked.values())
            self._asked.clear()
        for future in asked:
            future.set_exception(EngineError(self._name, f"its process {self.cause()}"))
        numbers = [self._free.get() for _ in self._slots]  # whoever still copies pictures out of one finishes first
        self._free_shared()
        for number in numbers:
            self._free.put(number)

    def _free_shared(self) -> None:
        self._connection.close()
        for slot in self._slots:
            slot.close()

    def cause(self) -> str:
        """How it ended, in words that follow `its process`."""
        if self.fault is not None:
            return f"was killed: it {self.fault}"
        status = self._process.poll()
        if status is not None and status < 0:
            return f"was ended by {signal.Signals(-status).name}"
        return "is ending" if status is None else f"ended with status {status}"

    def _say(self, message: Message) -> None:
        with self._lock:
            if not self._over:
                send(self._connection, message)


def _packed(requests: Sequence[LipRequest], slot: Region) -> Message:
    """Lay a batch out in a slot, a window that several pictures share once, and write the windows."""
    at, rows, places = 0, [], {}
    windows: list[tuple[int, LipRequest]] = []
    for request in requests:
        if id(request.window) not in places:
            places[id(request.window)] = len(windows)
            windows.append((at, request))
            at += aligned(request.window.size * 4)
    for r in requests:
        shape = (r.avatar.height * 3 // 2, r.avatar.width)
        window = places[id(r.window)]
        rows.append((r.avatar.id, r.frame_index, r.blend, window, r.offset, r.deadline, at, shape))
        at += aligned(shape[0] * shape[1])
    slot.grow(at)
    for start, request in windows:
        slot.array(start, (request.window.size,), np.float32)[...] = request.window
    return {"size": slot.size, "windows": [(start, r.window.size) for start, r in windows], "rows": rows}


def rebuilt(error: dict[str, Any], engine: str) -> VisageError:
    """The error that the process met: of the same class when it is one of ours, else an `EngineError` that names it."""
    known = {cls.__name__: cls for cls in _family(VisageError)}
    cls = known.get(error["type"])
    if cls is None:
        return EngineError(engine, f"{error['type']}: {error['message']}")
    again = cls.__new__(cls)
    Exception.__init__(again, error["message"])
    again.retryable = error["retryable"]
    if isinstance(again, EngineError):
        again.engine = engine
    return again


def _family(cls: type[VisageError]) -> Iterator[type[VisageError]]:
    yield cls
    for child in cls.__subclasses__():
        yield from _family(child)
