"""`Scheduler`: one lip engine serves all sessions, earliest deadline first."""

from __future__ import annotations

import collections
import dataclasses
import heapq
import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from engines.base import LipEngine, LipRequest, WarmEngine, draws_in_thread, lanes_of
from engines.capacity import Capacity
from errors import VisageError
from media import I420
from priority import serve_first

log = logging.getLogger(__name__)

SLICE_S = 0.002
"""Of a core at a time: after event loop and playout, but before other processes, since the thread holds the
interpreter's lock again and again."""
LATENCY_MEMORY = 64  # batches whose duration is remembered for `latency_s`
LATENCY_QUANTILE = 0.9  # a single batch that the machine held up must not delay the speech that follows
SPEAKING_MEMORY_S = 1.0  # a session that had a picture drawn so recently is speaking
COMPLAINT_INTERVAL_S = 10.0  # between two lines in the log about an engine that goes on failing


class Client(Protocol):
    """A session as the scheduler sees it. All methods are thread-safe and quick."""

    def due(self) -> float | None:
        """Deadline of the next picture this session wants drawn (monotonic s), None when it wants none."""
        ...

    def next_request(self) -> LipRequest | None:
        """Take the next request; None when the session was interrupted since `due`."""
        ...

    def accept(self, request: LipRequest, picture: I420 | None) -> None:
        """The picture of a request, or None when the engine failed; not always in the order of the requests."""
        ...


Batch = list[tuple[Client, LipRequest]]


@dataclasses.dataclass(slots=True, eq=False)
class _Seat:
    """A client, and when it was served last."""

    client: Client
    served: int = 0
    """Number of its last request among all; of two that are due at once, who waited longer goes first."""
    served_at: float = float("-inf")


class Scheduler:
    """Forms batches over sessions and draws them in threads of its own, one for each batch the engine takes at once.

    Sessions bound what they ask for (a few units ahead of the playout), so nothing queues here: when the engine is
    slower than its sessions, they all wait alike. `begin` and `finish` are the two halves of a step; tests call them on
    a virtual clock.
    """

    def __init__(self, engine: LipEngine, clock: Callable[[], float] = time.monotonic) -> None:
        self.engine = engine
        self.capacity = Capacity(clock())
        self._clock = clock
        self._seats: tuple[_Seat, ...] = ()
        self._wanted = threading.Condition()
        self._work = threading.Lock()
        """Held while a batch is formed or counted."""
        self._woken = False
        self._closing = False
        self._threads: list[threading.Thread] = []
        self.latency_s = 0.0
        """What a picture may take from request to hand-over: nine of ten recent batches took no longer."""
        self._durations: collections.deque[float] = collections.deque(maxlen=LATENCY_MEMORY)
        self._finished_at = float("-inf")
        self._complained_at = float("-inf")
        self._served = 0
        self.batches = 0
        self.pictures = 0
        self.failures = 0
        self.busy_s = 0.0

    def start(self) -> None:
        """Start drawing."""
        lanes = lanes_of(self.engine)
        self._threads = [
            threading.Thread(target=self._run, name=f"lip-scheduler-{i}" if i else "lip-scheduler", daemon=True)
            for i in range(lanes)
        ]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Stop after the batches in flight; blocks for at most that long."""
        with self._wanted:
            self._closing = True
            self._wanted.notify_all()
        for thread in self._threads:
            thread.join()
        self._threads = []

    def warm_up(self) -> float | None:
        """Have the engine find out its pace, where it can; pictures per second. Blocks, before the first session.

        Raises:
            VisageError: the engine failed.
        """
        if not isinstance(self.engine, WarmEngine):
            return None
        pace = self.engine.warm_up()
        with self._work:
            self.capacity.warmed_up(pace)
        return pace

    def why_not(self) -> str | None:
        """None while the engine draws, else what is the matter with it; for `/readyz`."""
        ask: Callable[[], str | None] | None = getattr(self.engine, "why_not", None)
        return None if ask is None else ask()

    def add(self, client: Client) -> None:
        """Serve this session."""
        with self._work:
            self.capacity.pass_time(len(self._seats), self._clock())
            self._seats = (*self._seats, _Seat(client))

    def remove(self, client: Client) -> None:
        """Serve it no longer; a picture in flight is still handed to it."""
        with self._work:
            self.capacity.pass_time(len(self._seats), self._clock())
            self._seats = tuple(seat for seat in self._seats if seat.client is not client)

    def admit(self) -> None:
        """Refuse a session that could not be kept at 25 fps; call right before making it, with no await in between.

        Raises:
            Unavailable: it could not; the message has the figures.
        """
        with self._work:
            self.capacity.pass_time(len(self._seats), self._clock())
            self.capacity.check(len(self._seats), self._speaking())

    def wake(self) -> None:
        """Some session may have something to draw."""
        with self._wanted:
            self._woken = True
            self._wanted.notify()

    def stats(self) -> dict[str, Any]:
        """Counters for `/metrics`, and what `admit` goes by."""
        with self._work:
            return {
                "batches": self.batches,
                "pictures": self.pictures,
                "failures": self.failures,
                "busy_s": self.busy_s,
                "latency_s": self.latency_s,
                "sessions": len(self._seats),
                "speaking": self._speaking(),
                "duty": self.capacity.duty,
                "pictures_per_s": self.capacity.pictures_per_s,
            }

    def _speaking(self) -> int:
        recent = self._clock() - SPEAKING_MEMORY_S
        return sum(seat.served_at >= recent for seat in self._seats)

    def begin(self) -> Batch:
        """Take the most urgent requests of all sessions, at most one batch of them."""
        with self._work:
            now = self._clock()
            queue = [
                (deadline, seat.served, i)
                for i, seat in enumerate(self._seats)
                if (deadline := seat.client.due()) is not None
            ]
            heapq.heapify(queue)
            batch: Batch = []
            while queue and len(batch) < self.engine.max_batch:
                _, _, i = heapq.heappop(queue)
                seat = self._seats[i]
                request = seat.client.next_request()
                if request is None:
                    continue
                batch.append((seat.client, request))
                self._served += 1
                seat.served, seat.served_at = self._served, now
                if (deadline := seat.client.due()) is not None:
                    heapq.heappush(queue, (deadline, seat.served, i))
            return batch

    def finish(
        self, batch: Batch, pictures: Sequence[I420 | None], duration_s: float, work_s: float | None = None
    ) -> None:
        """Hand the pictures of a batch to their sessions, `duration_s` after it was begun.

        Args:
            work_s: processor time it took, where the engine draws in the thread that asks.
        """
        drawn = sum(picture is not None for picture in pictures)
        with self._work:
            now = self._clock()
            # The engine's own time: while two batches are in flight, the second waits for the end of the first.
            service_s = min(duration_s, now - self._finished_at)
            self._finished_at = now
            self.batches += 1
            self.pictures += drawn
            self.busy_s += service_s
            if drawn == len(batch):
                self._durations.append(duration_s)
                self.latency_s = sorted(self._durations)[int(LATENCY_QUANTILE * (len(self._durations) - 1))]
                # Waiting for a core is no work of the engine's: a server busy with encoding is not full of lips.
                self.capacity.drawn(drawn, self.engine.max_batch, service_s if work_s is None else work_s)
            else:
                self.failures += 1
        for (client, request), picture in zip(batch, pictures, strict=True):
            client.accept(request, picture)

    def _draw(self, batch: Batch) -> Sequence[I420 | None]:
        try:
            return self.engine.render([request for _, request in batch])
        except Exception as error:
            # Speech goes on with the idle mouth: a voice without lips is better than a session without a voice.
            if (now := self._clock()) - self._complained_at >= COMPLAINT_INTERVAL_S:
                self._complained_at = now
                # What the project raises says enough; anything else needs its traceback.
                unknown = None if isinstance(error, VisageError) else error
                log.error("lip engine failed on a batch of %d: %s", len(batch), error, exc_info=unknown)
            return [None] * len(batch)

    def _run(self) -> None:
        serve_first(SLICE_S)
        while True:
            with self._wanted:
                self._wanted.wait_for(lambda: self._woken or self._closing)
                self._woken = False
                if self._closing:
                    return
            while (batch := self.begin()) and not self._closing:
                if len(batch) == self.engine.max_batch:
                    self.wake()  # there may be more: for the next lane
                started, worked = self._clock(), time.thread_time()
                pictures = self._draw(batch)
                work_s = time.thread_time() - worked if draws_in_thread(self.engine) else None
                self.finish(batch, pictures, self._clock() - started, work_s)
