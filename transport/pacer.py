"""`Pacer`: the threads in which the playout clocks of all sessions tick, as many as there are cores.

A thread for each session would be simpler, and with a dozen of them most of their time would go by in waiting for one
another: each tick takes the interpreter's lock some eight times, and a thread that finds it taken goes to sleep and is
woken again. A few threads that go from clock to clock meet it taken by one another at most.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import time
from typing import Protocol

from priority import cores, serve_first

SLICE_S = 0.001
"""Of a core at a time: before the engines, whose work is due later, and after the event loop."""

log = logging.getLogger(__name__)


class Ticking(Protocol):
    """What a pacer drives."""

    def step(self) -> float | None:
        """Do what is due; the monotonic time of the next call, None when there is none. Never raises."""
        ...


class Pacer:
    """Calls each clock's `step` when it is due, one call at a time for each clock, the longest due first. Thread-safe.

    Threads are started as clocks come and end with `close`.

    Args:
        threads: at most; None is one for each core.
    """

    def __init__(self, threads: int | None = None) -> None:
        self._most = threads or cores()
        self._lock = threading.Lock()
        self._due = threading.Condition(self._lock)
        """Waited on by the one thread that waits for the next clock to be due."""
        self._idle = threading.Condition(self._lock)
        """Waited on by the others."""
        self._keeping_time = False
        self._queue: list[tuple[float, int, Ticking]] = []
        self._numbers = itertools.count()
        self._threads: list[threading.Thread] = []
        self._driven = 0
        self._closed = False

    def add(self, clock: Ticking) -> None:
        """Drive `clock` from now on until its `step` returns None.

        Raises:
            RuntimeError: the process may have no more threads, or the pacer is closed.
        """
        with self._lock:
            if self._closed:
                raise RuntimeError("the pacer is closed")
            if len(self._threads) < min(self._most, self._driven + 1):
                self._start()
            self._driven += 1
            self._put(time.monotonic(), clock)

    def close(self) -> None:
        """End the threads after the steps they are in; clocks that still tick stand still. Blocks for that long."""
        with self._lock:
            self._closed = True
            self._due.notify_all()
            self._idle.notify_all()
        for thread in self._threads:
            thread.join()

    def _start(self) -> None:
        thread = threading.Thread(target=self._run, name=f"playout-{len(self._threads)}", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            if not self._threads:
                raise
            log.warning("no more threads can be had: %d drive the playout", len(self._threads))
            self._most = len(self._threads)
        else:
            self._threads.append(thread)

    def _run(self) -> None:
        serve_first(SLICE_S)
        while (clock := self._next()) is not None:
            due = clock.step()
            with self._lock:
                if due is None:
                    self._driven -= 1
                else:
                    self._put(due, clock)

    def _put(self, due: float, clock: Ticking) -> None:
        entry = (due, next(self._numbers), clock)
        heapq.heappush(self._queue, entry)
        if self._queue[0] is entry:
            (self._due if self._keeping_time else self._idle).notify()

    def _next(self) -> Ticking | None:
        """Wait for a clock to be due; None when closed."""
        with self._lock:
            while not self._closed:
                if self._keeping_time or not self._queue:
                    self._idle.wait()
                    continue
                if (wait_s := self._queue[0][0] - time.monotonic()) > 0:
                    self._keeping_time = True
                    self._due.wait(wait_s)
                    self._keeping_time = False
                    continue
                _, _, clock = heapq.heappop(self._queue)
                if self._queue:
                    self._idle.notify()  # for the next one
                return clock
            return None
