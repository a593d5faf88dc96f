"""`RemoteEngine`: a lip engine that draws in a process of its own, which is started again when it dies.

The playout clocks and the event loop then share no interpreter lock with the engine, a crash in a device's driver costs
some seconds of lips instead of the server, and the scheduler meets the same `LipEngine` as without a process between.
"""

from __future__ import annotations

import dataclasses
import logging
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from engines.base import LipRequest
from engines.child import Child
from engines.worker import CLOSE_PATIENCE_S
from errors import EngineError, Unavailable
from media import I420
from reelstore import BUDGET_MIB

if TYPE_CHECKING:
    from avatar import Avatar

log = logging.getLogger(__name__)

LANES = 2  # one batch is drawn while the one before is copied and handed out, and the one after is sent
FAULTS_MAX = 3  # failed batches in a row after which the engine is taken for broken (a lost device never comes back)
STEADY_S = 60.0  # a process that lived as long is started again at once
BACK_OFF_S = 0.5  # before the second start in a row; doubled each time
BACK_OFF_MAX_S = 30.0


@dataclasses.dataclass(frozen=True, slots=True)
class Patience:
    """How long the engine's process may take before it counts as hung; seconds."""

    start_s: float = 600.0
    """To load its weights and say so."""
    prepare_s: float = 3600.0
    """To prepare an avatar or warm up; only the caller gives up, sessions that speak are left alone."""
    first_s: float = 300.0
    """For the first batch, which may compile kernels, and of which nothing is known."""
    lips_s: float = 2.0
    """Sessions wait so long for a batch, then they go on without lips until the engine answers again,"""
    lips_factor: float = 4.0
    """or as many times what its pictures would take as slowly as any before them."""
    least_s: float = 20.0
    """The process is killed after so long,"""
    factor: float = 10.0
    """or as many times what the pictures would take."""

    def wait_s(self, picture_s: float | None, count: int) -> float:
        """How long sessions wait for `count` pictures; `picture_s`: what one took at worst so far, None if unknown."""
        return self.first_s if picture_s is None else max(self.lips_s, self.lips_factor * picture_s * count)

    def kill_s(self, picture_s: float | None, count: int) -> float:
        """How long the process may draw it."""
        return self.first_s if picture_s is None else max(self.least_s, self.factor * picture_s * count)


class RemoteEngine:
    """Implements `LipEngine` and `WarmEngine` by an engine in a child process. Thread-safe.

    `start` before the first call, `close` after the last.

    Args:
        engine: the real engine, `module:Class`.
        kwargs: what it is made with, JSON-ready.
        lanes: batches that may be in flight.
        memory_mib: for the idle pictures of avatars in the process (see `ReelStore`).
    """

    def __init__(
        self,
        engine: str,
        kwargs: Mapping[str, Any] | None = None,
        *,
        lanes: int = LANES,
        memory_mib: int = BUDGET_MIB,
        patience: Patience | None = None,
    ) -> None:
        self.lanes = lanes
        self.max_batch = 1
        """The real engine's, once it is started."""
        self.restarts = 0
        self._name = engine
        self._kwargs = dict(kwargs or {})
        self._memory_mib = memory_mib
        self._patience = patience or Patience()
        self._avatars: dict[str, Avatar] = {}
        self._warm = False
        self._lock = threading.Lock()
        self._child: Child | None = None
        """The process while it serves."""
        self._starting: Child | None = None
        """The process while it exists."""
        self._facts: dict[str, Any] = {}
        self._trouble: str | None = f"the lip engine {engine} is not started"
        self._faults = 0
        self._closing = threading.Event()
        self._made: Future[None] = Future()
        self._keeper = threading.Thread(target=self._keep, name="lip-keeper", daemon=True)

    def start(self) -> None:
        """Start the process; blocks until its engine is made.

        Raises:
            VisageError: what the engine's constructor refused; nothing is left running then.
        """
        self._keeper.start()
        try:
            self._made.result()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End the process, its pictures in flight answer None; blocks for at most some seconds. Idempotent."""
        self._closing.set()
        with self._lock:
            child, serving = self._starting, self._child is not None
        if child is not None and serving:
            child.close()
        elif child is not None:
            child.kill("was not needed any more")
        if self._keeper.ident is not None:
            self._keeper.join(CLOSE_PATIENCE_S)
            if self._keeper.is_alive() and (child := self._starting) is not None:
                child.kill("did not end when told to")
            self._keeper.join()
        self._trouble = f"the lip engine {self._name} is closed"

    # ---- LipEngine

    def prepare(self, avatar: Avatar) -> None:
        """Have the process load the avatar from its directory and prepare it, again after each restart.

        Raises:
            VisageError: what the engine refused.
            Unavailable: the process is not there at this moment.
        """
        self._serving().ask("prepare", directory=str(avatar.directory.resolve())).result(self._patience.prepare_s)
        with self._lock:
            self._avatars[avatar.id] = avatar

    def forget(self, avatar_id: str) -> None:
        """Have the process free what it loaded for an avatar."""
        with self._lock:
            self._avatars.pop(avatar_id, None)
        if (child := self._child) is not None:
            child.ask("forget", avatar=avatar_id).add_done_callback(_log_failure)

    def warm_up(self) -> float | None:
        """Have the engine draw full batches; pictures per second, None when it cannot tell. Again after a restart.

        Raises:
            VisageError: the engine failed.
            Unavailable: the process is not there at this moment.
        """
        self._warm = True
        rate: float | None = self._serving().ask("warm_up").result(self._patience.prepare_s)
        return rate

    def render(self, requests: Sequence[LipRequest]) -> list[I420 | None]:
        """Draw a batch; pictures are None while the process is away or silent, and for avatars not prepared again yet.

        Raises:
            EngineError: the engine failed on this batch and its process lives on.
        """
        child, count, patience = self._child, len(requests), self._patience
        if child is None:
            return [None] * count
        if (late_s := child.late_s) > 0:
            if late_s > patience.kill_s(child.picture_s, self.max_batch):
                child.kill(f"did not answer for {late_s:.1f} s")
            return [None] * count
        try:
            pictures = child.render(requests, patience.wait_s(child.picture_s, count))
        except TimeoutError:
            log.warning("the lip engine %s draws %d pictures for over %.1f s", self._name, count, child.late_s)
            return [None] * count
        except EngineError as error:
            if self._child is not child or child.fault is not None:
                return [None] * count  # its keeper has said why, or will
            self._count_fault(child, error)
            raise
        self._faults = 0
        return pictures

    def describe(self) -> dict[str, Any]:
        """What the engine says of itself, and how its process is."""
        child = self._starting
        process = {
            "pid": None if child is None else child.pid,
            "restarts": self.restarts,
            "trouble": self.why_not(),
            "lanes": self.lanes,
        }
        return {**(self._facts if child is None else child.facts or self._facts), "process": process}

    def why_not(self) -> str | None:
        """None while pictures can be drawn, else what is the matter."""
        return None if self._child is not None else self._trouble

    def _serving(self) -> Child:
        child = self._child
        if child is None:
            raise Unavailable(self._trouble or "the lip engine is being started")
        return child

    def _count_fault(self, child: Child, error: EngineError) -> None:
        self._faults += 1
        if self._faults >= FAULTS_MAX:
            child.kill(f"failed {self._faults} batches in a row, the last with {error}")

    # ---- the keeper's thread

    def _keep(self) -> None:
        """Start the process, and again whenever it has ended, until closed."""
        short_lives = 0
        while not self._closing.is_set():
            began = time.monotonic()
            cause = self._live()
            if self._closing.is_set() or self._made.exception() is not None:
                return
            short_lives = 0 if time.monotonic() - began >= STEADY_S else short_lives + 1
            pause_s = 0.0 if short_lives < 2 else min(BACK_OFF_MAX_S, BACK_OFF_S * 2 ** (short_lives - 2))
            again = f", the next start is in {pause_s:g} s" if pause_s else ", it is being started again"
            times = f" ({short_lives} times in a row)" if short_lives > 1 else ""
            self._trouble = f"the lip engine {self._name} is down{times}: its process {cause}{again}"
            log.error("%s", self._trouble)
            self._closing.wait(pause_s)
            self.restarts += 1

    def _live(self) -> str:
        """One process from its start to its end: what ended it."""
        try:
            child = Child(self._name, self._kwargs, self.lanes, self._memory_mib)
        except OSError as error:
            cause = f"cannot be started: {error}"
        else:
            with self._lock:
                self._starting = child
            try:
                self._serve(child)
            finally:
                with self._lock:
                    self._child = None
                child.end()
                with self._lock:
                    self._starting = None
            cause = child.cause()
        if not self._made.done():
            self._made.set_exception(EngineError(self._name, f"its process {cause}"))
        return cause

    def _serve(self, child: Child) -> None:
        """From the start of a process to its end."""
        try:
            self.max_batch = child.hello(self._patience.start_s)
        except Exception as error:
            if self._made.done():
                child.fault = child.fault or f"could not make the engine: {error}"
            else:
                self._made.set_exception(error)
            return
        self._faults = 0
        self._facts = child.facts
        self._restore(child)
        self._trouble = f"the lip engine {self._name} is down: its process has just ended"
        with self._lock:
            self._child = child
        if self._closing.is_set():
            child.close()
        if not self._made.done():
            self._made.set_result(None)
        elif self.restarts:
            log.warning("the lip engine %s draws again", self._name)
        child.listen()
        self._facts = child.facts

    def _restore(self, child: Child) -> None:
        """Have a new process do again what the one before it was told."""
        if self._warm:
            child.ask("warm_up").add_done_callback(_log_failure)
        with self._lock:
            avatars = list(self._avatars.values())
        for avatar in avatars:
            asked = child.ask("prepare", directory=str(avatar.directory.resolve()))
            asked.add_done_callback(_log_failure)


def _log_failure(done: Future[Any]) -> None:
    if (error := done.exception()) is not None:
        log.error("the lip engine could not do what it was told: %s", error)
