"""Twenty sessions on one engine in a process of its own: `python -m benchmarks.scheduler` prints what they get.

Everything but the drawing, the encoders and the network is the product: real sessions with their timelines, the
scheduler's threads, the remote engine with its process and shared memory, and a playout thread a session. The engine
takes exactly `BATCH_MS` for a batch of up to `BATCH` pictures, as a padded one on a device does. Arguments: seconds,
sessions, batches in flight.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import itertools
import json
import sys
import threading
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil  # type: ignore[import-untyped]

from avatar import Avatar
from baseasr import BaseASR
from basereal import BaseReal
from benchmarks.figures import Figure
from engines.base import LipRequest
from engines.remote import RemoteEngine
from engines.scheduler import Scheduler
from media import FPS, I420, SAMPLES_PER_UNIT, UNIT_S, MediaUnit, Pcm

if TYPE_CHECKING:
    from benchmarks.scenario import Plan

ROOT = Path(__file__).parent.parent
SESSIONS = 20
BATCH, BATCH_MS = 16, 8.0
LEFT, RIGHT = 14, 6  # speech frames, as LiveTalking's -l and -r for this pace
SETTLE_S = 3.0
WAIT_BAR_MS, FPS_BAR = 60.0, 24.5


class FixedEngine:
    """A device that takes the same time for any batch; it hands out idle pictures."""

    def __init__(self, batch_ms: float = BATCH_MS, max_batch: int = BATCH) -> None:
        self.max_batch = max_batch
        self._batch_s = batch_ms / 1000

    def prepare(self, avatar: Avatar) -> None:
        """It draws any."""

    def forget(self, avatar_id: str) -> None:
        """It has learnt nothing."""

    def render(self, requests: Sequence[LipRequest]) -> list[I420]:
        """Wait as a processor waits for its device."""
        time.sleep(self._batch_s)
        return [request.avatar.frame(request.frame_index) for request in requests]

    def describe(self) -> dict[str, Any]:
        """JSON-ready facts."""
        return {"engine": "fixed"}

    def close(self) -> None:
        """It holds nothing."""


class WatchedReal(BaseReal):
    """A session that notes how long it waited for each of its pictures."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.waits_s: list[float] = []
        """From the moment a session began to want pictures to the moment it had each of them.

        One that always wants more than it gets, as in overload, seems to wait for ever longer.
        """
        self._since: float | None = None
        self._asked: dict[int, float] = {}

    def _advance(self) -> bool:
        wanted = super()._advance()
        if not wanted:
            self._since = None
        elif self._since is None:
            self._since = self._clock()
        return wanted

    def next_request(self) -> LipRequest | None:
        """Take the next request."""
        since = self._since
        request = super().next_request()
        if request is not None:
            self._asked[id(request)] = self._clock() if since is None else since
        return request

    def accept(self, request: LipRequest, picture: I420 | None) -> None:
        """The picture of a request."""
        super().accept(request, picture)
        self.waits_s.append(self._clock() - self._asked.pop(id(request)))


@dataclasses.dataclass
class Got:
    """What one session's playout took."""

    shown: int = 0
    late: int = 0
    """Ticks at which a picture of speech was not there."""
    tick_late_max_s: float = 0.0
    """How late the playout thread itself came: the machine's doing."""

    def count(self, unit: MediaUnit | None) -> None:
        """One tick."""
        if unit is None:
            self.late += 1
        else:
            self.shown += 1


class Viewer:
    """Takes a unit every 40 ms, in a thread of its own as the playout clock does."""

    def __init__(self, real: BaseReal, start: float) -> None:
        self.got = Got()
        self._real = real
        self._start = start
        self._measured_from: float | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"viewer {real.sessionid}", daemon=True)
        self._thread.start()

    def measure_from(self, at: float) -> None:
        """Count from monotonic time `at`."""
        self._measured_from = at

    def stop(self) -> None:
        """End the thread."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        for tick in itertools.count():
            at = self._start + tick * UNIT_S
            if self._stop.wait(max(0.0, at - time.monotonic())):
                return
            late_s = time.monotonic() - at
            unit = self._real.take()
            if self._measured_from is not None and at >= self._measured_from:
                self.got.tick_late_max_s = max(self.got.tick_late_max_s, late_s)
                self.got.count(unit)


async def noise(seconds: float) -> AsyncIterator[Pcm]:
    """Loud sound without a pause, so that every picture has to be drawn."""
    random = np.random.default_rng(0)
    for _ in range(round(seconds * FPS)):
        yield random.uniform(-0.3, 0.3, SAMPLES_PER_UNIT).astype(np.float32)


async def run(seconds: float, sessions: int, lanes: int) -> dict[str, Any]:
    """Have all speak for `seconds`; what they got, JSON-ready."""
    avatar = Avatar.load(sorted((ROOT / "data" / "avatars").glob("*/avatar.json"))[0].parent)
    async with contextlib.AsyncExitStack() as stack:
        engine = RemoteEngine("benchmarks.scheduler:FixedEngine", {}, lanes=lanes)
        await asyncio.to_thread(engine.start)
        stack.push_async_callback(asyncio.to_thread, engine.close)
        await asyncio.to_thread(engine.prepare, avatar)
        scheduler = Scheduler(engine)
        scheduler.start()
        stack.push_async_callback(asyncio.to_thread, scheduler.close)
        start = time.monotonic() + 0.5
        reals, viewers = [], []
        for i in range(sessions):
            reals.append(WatchedReal(str(i), avatar, scheduler, BaseASR(LEFT, RIGHT)))
            stack.push_async_callback(reals[i].aclose)
            viewers.append(Viewer(reals[i], start + i * UNIT_S / sessions))
            stack.push_async_callback(asyncio.to_thread, viewers[i].stop)
            await reals[i].play(noise(seconds + 2 * SETTLE_S))
        await asyncio.sleep(SETTLE_S)
        return await _measured(seconds, reals, viewers, scheduler, engine)


async def _measured(
    seconds: float, reals: list[WatchedReal], viewers: list[Viewer], scheduler: Scheduler, engine: RemoteEngine
) -> dict[str, Any]:
    child, parent = psutil.Process(engine.describe()["process"]["pid"]), psutil.Process()
    before = [sum(process.cpu_times()[:2]) for process in (parent, child)]
    stats, skipped, began = scheduler.stats(), [len(real.waits_s) for real in reals], time.monotonic()
    for viewer in viewers:
        viewer.measure_from(began)
    await asyncio.sleep(seconds)
    counts = [dataclasses.replace(viewer.got) for viewer in viewers]
    took = time.monotonic() - began
    after = scheduler.stats()
    cores = [(sum(p.cpu_times()[:2]) - b) / took for p, b in zip((parent, child), before, strict=True)]
    waits_ms = 1000 * np.concatenate([real.waits_s[n:] for real, n in zip(reals, skipped, strict=True)])
    batches = after["batches"] - stats["batches"]
    return {
        "seconds": took,
        "fps": [count.shown / took for count in counts],
        "late": sum(count.late for count in counts),
        "tick_late_max_ms": 1000 * max(count.tick_late_max_s for count in counts),
        "waits_ms": {f"p{q:g}": float(np.percentile(waits_ms, q)) for q in (50, 95, 99, 99.9, 100)},
        "batch_mean": (after["pictures"] - stats["pictures"]) / batches,
        "engine_busy": (after["busy_s"] - stats["busy_s"]) / took,
        "pictures_per_s": after["pictures_per_s"],
        "cores_parent": cores[0],
        "cores_child": cores[1],
    }


async def scheduler(plan: Plan) -> list[Figure]:
    """As a process of its own, so that nothing else shares its interpreter."""
    command = [sys.executable, "-m", "benchmarks.scheduler", "10" if plan.quick else "60"]
    process = await asyncio.create_subprocess_exec(
        *command, cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, said = await process.communicate()
    if process.returncode != 0:
        raise RuntimeError(f"the scheduler's benchmark failed: {said.decode(errors='replace')[-1000:]}")
    got = json.loads(out)
    name = f"{SESSIONS} speaking sessions, engine of {BATCH_MS:g} ms a batch of {BATCH}"
    note = f"playout threads late by up to {got['tick_late_max_ms']:.0f} ms"
    return [
        Figure("scheduler", f"{name}, late pictures", "pictures", [got["late"]], 0, "worst", note),
        Figure("scheduler", f"{name}, p99 of the wait for a picture", "ms", [got["waits_ms"]["p99"]], WAIT_BAR_MS),
        Figure("scheduler", f"{name}, pictures a second of a session", "fps", got["fps"], FPS_BAR, "least"),
        Figure("scheduler", f"{name}, server without encoders", "cores", [got["cores_parent"]]),
        Figure("scheduler", f"{name}, engine's process", "cores", [got["cores_child"]]),
    ]


if __name__ == "__main__":
    seconds_, sessions_, lanes_ = (
        int(text) for text in (*sys.argv[1:], *("60", str(SESSIONS), "2")[len(sys.argv) - 1 :])
    )
    print(json.dumps(asyncio.run(run(seconds_, sessions_, lanes_)), indent=1))
