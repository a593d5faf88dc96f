"""`Scheduler`: one lip engine serves all sessions, earliest deadline first."""

from __future__ import annotations

import collections
import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from engines.base import LipEngine, LipRequest
from media import I420

log = logging.getLogger(__name__)

LATENCY_MEMORY = 64  # batches whose duration is remembered for `latency_s`
LATENCY_QUANTILE = 0.9  # a single batch that the machine held up must not delay the speech that follows


class Client(Protocol):
    """A session as the scheduler sees it. All methods are thread-safe and quick."""

    def due(self) -> float | None:
        """Deadline of the next picture this session wants drawn (monotonic s), None when it wants none."""
        ...

    def next_request(self) -> LipRequest | None:
        """Take the next request; None when the session was interrupted since `due`."""
        ...

    def accept(self, request: LipRequest, picture: I420 | None) -> None:
        """The picture of a request, or None when the engine failed."""
        ...


Batch = list[tuple[Client, LipRequest]]


class Scheduler:
    """Forms batches over sessions and draws them in a thread of its own.

    `begin` and `finish` are the two halves of a step; tests call them on a virtual clock.
    """

    def __init__(self, engine: LipEngine, clock: Callable[[], float] = time.monotonic) -> None:
        self.engine = engine
        self._clock = clock
        self._clients: tuple[Client, ...] = ()
        self._wanted = threading.Condition()
        self._woken = False
        self._closing = False
        self._thread: threading.Thread | None = None
        self._durations: collections.deque[float] = collections.deque(maxlen=LATENCY_MEMORY)
        self.pictures = 0
        self.failures = 0
        self.busy_s = 0.0

    def start(self) -> None:
        """Start drawing."""
        self._thread = threading.Thread(target=self._run, name="lip-scheduler", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop after the batch in flight; blocks for at most that long."""
        with self._wanted:
            self._closing = True
            self._wanted.notify()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def add(self, client: Client) -> None:
        """Serve this session."""
        with self._wanted:
            self._clients = (*self._clients, client)

    def remove(self, client: Client) -> None:
        """Serve it no longer; a picture in flight is still handed to it."""
        with self._wanted:
            self._clients = tuple(c for c in self._clients if c is not client)

    def wake(self) -> None:
        """Some session may have something to draw."""
        with self._wanted:
            self._woken = True
            self._wanted.notify()

    @property
    def latency_s(self) -> float:
        """What a picture may take from request to hand-over: nine of ten recent batches took no longer."""
        durations = sorted(self._durations.copy())
        return durations[int(LATENCY_QUANTILE * (len(durations) - 1))] if durations else 0.0

    def stats(self) -> dict[str, Any]:
        """Counters for `/metrics`."""
        return {
            "pictures": self.pictures,
            "failures": self.failures,
            "busy_s": self.busy_s,
            "latency_s": self.latency_s,
        }

    def begin(self) -> Batch:
        """Take the most urgent requests of all sessions, at most one batch of them."""
        batch: Batch = []
        while len(batch) < self.engine.max_batch:
            due = [(deadline, i) for i, c in enumerate(self._clients) if (deadline := c.due()) is not None]
            if not due:
                break
            client = self._clients[min(due)[1]]
            request = client.next_request()
            if request is not None:
                batch.append((client, request))
        return batch

    def finish(self, batch: Batch, pictures: Sequence[I420 | None], duration_s: float) -> None:
        """Hand the pictures of a batch to their sessions."""
        self._durations.append(duration_s)
        self.busy_s += duration_s
        for (client, request), picture in zip(batch, pictures, strict=True):
            self.pictures += picture is not None
            client.accept(request, picture)

    def _draw(self, batch: Batch) -> Sequence[I420 | None]:
        try:
            return self.engine.render([request for _, request in batch])
        except Exception:
            # Speech goes on with the idle mouth: a voice without lips is better than a session without a voice.
            self.failures += 1
            log.exception("lip engine failed on a batch of %d", len(batch))
            return [None] * len(batch)

    def _run(self) -> None:
        while True:
            with self._wanted:
                self._wanted.wait_for(lambda: self._woken or self._closing)
                self._woken = False
                if self._closing:
                    return
            while (batch := self.begin()) and not self._closing:
                started = self._clock()
                pictures = self._draw(batch)
                self.finish(batch, pictures, self._clock() - started)
