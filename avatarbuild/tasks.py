"""`AvatarTasks`: avatars built from uploads, one at a time, each in a process of its own.

Building runs at full load for many seconds. In a process of its own, with the lowest priority, it takes nothing from
the sessions, a clip that crashes a decoder takes nothing down, and cancelling is ending the process.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import dataclasses
import json
import logging
import os
import secrets
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from errors import Busy, Conflict, NotFound

log = logging.getLogger(__name__)

TASKS_MAX = 16  # waiting
NOTES_MAX = 10
KEPT_MAX = 100  # tasks remembered once they have ended
CANCEL_TIMEOUT_S = 10.0
NICENESS = 10
LINE_BYTES_MAX = 1 << 16
STAGES = {"decode": (0, 30), "track": (30, 60), "preview": (60, 65), "write": (65, 100)}
"""Where in 0..100 % each stage of a build begins and ends."""

Status = Literal["pending", "running", "completed", "failed", "cancelled"]
APP = Path(__file__).resolve().parent.parent / "app.py"


@dataclasses.dataclass(slots=True)
class AvatarTask:
    """One avatar to be built."""

    task_id: str
    avatar_id: str
    source: Path
    """The clip; removed when the task has ended."""
    arguments: tuple[str, ...] = ()
    """Further flags of `python app.py avatar build`."""
    model: str = ""
    notify_url: str = ""
    status: Status = "pending"
    stage: str = ""
    progress: int = 0
    """Percent."""
    error: str = ""
    notes: tuple[str, ...] = ()
    """What the build found worth saying: pictures without a face, colours that were converted, memory."""
    created: float = dataclasses.field(default_factory=time.time)
    started: float | None = None
    ended: float | None = None

    @property
    def over(self) -> bool:
        """True once nothing will change any more."""
        return self.status in ("completed", "failed", "cancelled")


class AvatarTasks:
    """The queue of builds and what became of them.

    Args:
        command: what builds, without its arguments; tests give their own.
        notify: told of every change of a task's status, when the task names an address.
    """

    def __init__(
        self,
        command: Sequence[str] = (sys.executable, str(APP), "avatar", "build"),
        *,
        notify: Callable[[AvatarTask], Awaitable[None]] | None = None,
    ) -> None:
        self._command = tuple(command)
        self._notify = notify
        self._tasks: collections.OrderedDict[str, AvatarTask] = collections.OrderedDict()
        self._queue: asyncio.Queue[AvatarTask] = asyncio.Queue(TASKS_MAX)
        self._process: asyncio.subprocess.Process | None = None
        self._running: AvatarTask | None = None
        self._notices: set[asyncio.Task[None]] = set()
        self._worker = asyncio.create_task(self._work(), name="avatar builds")

    def submit(self, task: AvatarTask) -> None:
        """Queue a build; its source belongs to the task from here on, even when it is refused.

        Raises:
            Conflict: the same avatar is being built already, or the id of the task is taken.
            Busy: `TASKS_MAX` builds are waiting.
        """
        try:
            if task.task_id in self._tasks:
                raise Conflict(f"task {task.task_id} exists already: choose another task_id or none")
            if any(other.avatar_id == task.avatar_id and not other.over for other in self._tasks.values()):
                raise Conflict(f"avatar {task.avatar_id} is being built already; DELETE its task first")
            try:
                self._queue.put_nowait(task)
            except asyncio.QueueFull:
                raise Busy(f"{TASKS_MAX} avatars are waiting to be built: try again later") from None
        except BaseException:
            task.source.unlink(missing_ok=True)
            raise
        self._tasks[task.task_id] = task
        self._tell(task)
        self._forget_old()

    def all(self) -> list[AvatarTask]:
        """Newest first."""
        return list(reversed(self._tasks.values()))

    def get(self, task_id: str) -> AvatarTask:
        """The task of that id.

        Raises:
            NotFound: there is none.
        """
        task = self._tasks.get(task_id)
        if task is None:
            raise NotFound(f"task {task_id!r} does not exist; GET /api/avatar/tasks lists those that do")
        return task

    async def delete(self, task_id: str) -> None:
        """Cancel a task that waits or runs; forget one that is over.

        Raises:
            NotFound: there is none of that id.
        """
        task = self.get(task_id)
        if task.over:
            del self._tasks[task_id]
            return
        self._end(task, "cancelled")
        if task is self._running:
            await self._stop_process()

    async def aclose(self) -> None:
        """End the build that runs and forget the rest."""
        self._worker.cancel()
        await asyncio.gather(self._worker, return_exceptions=True)
        await self._stop_process()
        while not self._queue.empty():
            self._queue.get_nowait().source.unlink(missing_ok=True)
        for notice in self._notices:
            notice.cancel()
        await asyncio.gather(*self._notices, return_exceptions=True)

    # ---- building

    async def _work(self) -> None:
        while True:
            task = await self._queue.get()
            try:
                if not task.over:
                    self._running = task
                    await self._build(task)
            except (OSError, ValueError) as error:  # not started, or a line of it is beyond all measure
                await self._stop_process()
                self._end(task, "failed", f"the build could not be followed: {error}")
            finally:
                self._running = None
                task.source.unlink(missing_ok=True)

    async def _build(self, task: AvatarTask) -> None:
        task.status, task.started = "running", time.time()
        self._tell(task)
        arguments = [str(task.source), "--avatar_id", task.avatar_id, "--json", *task.arguments]
        process = await asyncio.create_subprocess_exec(
            *self._command,
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=LINE_BYTES_MAX,
        )
        self._process = process
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, process.pid, NICENESS)
        try:
            tail = asyncio.create_task(_tail(process))
            last = await self._follow(task, process)
            stderr = await tail
            await process.wait()
        except asyncio.CancelledError:
            await self._stop_process()
            raise
        self._process = None
        if task.over:
            return
        if process.returncode == 0 and "avatar" in last:
            self._end(task, "completed")
        else:
            self._end(task, "failed", last.get("error") or f"the build ended with {process.returncode}: {stderr}")

    async def _follow(self, task: AvatarTask, process: asyncio.subprocess.Process) -> dict[str, Any]:
        """Read its lines into the task's progress; the last line that says how it ended."""
        assert process.stdout is not None
        last: dict[str, Any] = {}
        async for line in process.stdout:
            try:
                said = json.loads(line)
            except ValueError:
                continue
            if not isinstance(said, dict):
                continue
            if "stage" in said:
                task.stage = str(said["stage"])
                task.progress = max(task.progress, _percent(said))
                if said.get("note") and len(task.notes) < NOTES_MAX:
                    task.notes = (*task.notes, str(said["note"])[:500])
            else:
                last = said
        return last

    async def _stop_process(self) -> None:
        """Ask it to end, which removes what is half built; after a while do not ask any more."""
        process, self._process = self._process, None
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
            try:
                await asyncio.wait_for(process.wait(), CANCEL_TIMEOUT_S)
            except TimeoutError:
                process.kill()
                await process.wait()

    def _end(self, task: AvatarTask, status: Status, error: str = "") -> None:
        task.status, task.error, task.ended = status, error, time.time()
        if status == "completed":
            task.progress = 100
        log.info("avatar %s: build %s %s", task.avatar_id, status, error)
        self._tell(task)

    def _tell(self, task: AvatarTask) -> None:
        if self._notify is not None and task.notify_url:
            notice = asyncio.ensure_future(self._notify(dataclasses.replace(task)))  # as it is now
            self._notices.add(notice)
            notice.add_done_callback(self._notices.discard)

    def _forget_old(self) -> None:
        over = [task_id for task_id, task in self._tasks.items() if task.over]
        for task_id in over[: max(0, len(over) - KEPT_MAX)]:
            del self._tasks[task_id]


def new_task_id() -> str:
    """An unguessable id."""
    return secrets.token_hex(8)


def _percent(said: dict[str, Any]) -> int:
    low, high = STAGES.get(str(said.get("stage")), (0, 0))
    done, total = said.get("done"), said.get("total")
    if not isinstance(done, int) or not isinstance(total, int) or total <= 0:
        return low
    return int(low + (high - low) * min(1.0, max(0.0, done / total)))


async def _tail(process: asyncio.subprocess.Process) -> str:
    """The last line it wrote to its standard error."""
    assert process.stderr is not None
    last = b""
    while chunk := await process.stderr.read(LINE_BYTES_MAX):
        last = (last + chunk)[-LINE_BYTES_MAX:]
    lines = last.decode("utf-8", "replace").strip().splitlines()
    return lines[-1][:500] if lines else "it said nothing"
