"""Builds from uploads: queued, followed, cancelled, refused; the builder is scripted, its process is real."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from avatarbuild.tasks import TASKS_MAX, AvatarTask, AvatarTasks, Status
from errors import Busy, Conflict, NotFound

BUILDER = """
import json, signal, sys, time
say = lambda **line: print(json.dumps(line), flush=True)
what = open(sys.argv[1]).read()
say(stage="decode", done=1, total=2)
print("not json", flush=True)
if what == "hang":
    signal.signal(signal.SIGTERM, lambda *_: (open(sys.argv[1] + ".cleaned", "w").close(), sys.exit(1)))
    say(stage="track", done=0, total=1)
    time.sleep(60)
if what == "crash":
    sys.exit("a decoder fell over")
if what == "refuse":
    say(error="frame 3 shows two faces", status=422)
    sys.exit(1)
say(stage="write", done=5, total=5)
say(avatar=sys.argv[3])
"""


class Notes:
    def __init__(self) -> None:
        self.seen: list[tuple[str, Status, int]] = []
        self.changed = asyncio.Event()

    async def __call__(self, task: AvatarTask) -> None:
        self.seen.append((task.avatar_id, task.status, task.progress))
        self.changed.set()

    async def until(self, avatar_id: str, status: Status) -> None:
        async with asyncio.timeout(20):
            while (avatar_id, status) not in [(one[0], one[1]) for one in self.seen]:
                self.changed.clear()
                await self.changed.wait()


def make_task(directory: Path, avatar_id: str, what: str = "fine") -> AvatarTask:
    source = directory / f"{avatar_id}.mp4"
    source.write_text(what)
    return AvatarTask(f"task-{avatar_id}", avatar_id, source, notify_url="http://hook")


def make_tasks() -> tuple[AvatarTasks, Notes]:
    notes = Notes()
    return AvatarTasks((sys.executable, "-c", BUILDER), notify=notes), notes


def cleaned(task: AvatarTask) -> bool:
    return Path(f"{task.source}.cleaned").exists()


async def test_a_build_is_followed_to_its_end_and_its_clip_removed(tmp_path: Path) -> None:
    tasks, notes = make_tasks()
    task = make_task(tmp_path, "ada")
    tasks.submit(task)
    await notes.until("ada", "completed")
    assert [status for _, status, _ in notes.seen] == ["pending", "running", "completed"]
    assert task.progress == 100 and task.error == "" and task.ended is not None
    await tasks.aclose()
    assert not task.source.exists()


@pytest.mark.parametrize(
    ("what", "error"), [("refuse", "frame 3 shows two faces"), ("crash", "the build ended with 1: a decoder fell over")]
)
async def test_a_build_that_fails_says_why_and_the_next_goes_on(tmp_path: Path, what: str, error: str) -> None:
    tasks, notes = make_tasks()
    bad, good = make_task(tmp_path, "bad", what), make_task(tmp_path, "good")
    tasks.submit(bad)
    tasks.submit(good)
    await notes.until("good", "completed")
    assert (bad.status, bad.error) == ("failed", error)
    assert tasks.all() == [good, bad]
    await tasks.aclose()


async def test_cancelling_ends_the_process_and_lets_it_clean_up(tmp_path: Path) -> None:
    tasks, notes = make_tasks()
    task = make_task(tmp_path, "ada", "hang")
    tasks.submit(task)
    await notes.until("ada", "running")
    async with asyncio.timeout(20):
        while task.stage != "track":  # noqa: ASYNC110 (said by another program, once it can be interrupted)
            await asyncio.sleep(0.01)
    await tasks.delete("task-ada")
    assert task.status == "cancelled" and cleaned(task)
    tasks.submit(make_task(tmp_path, "mei"))
    await notes.until("mei", "completed")
    await tasks.delete("task-ada")
    with pytest.raises(NotFound, match="task-ada"):
        tasks.get("task-ada")
    await tasks.aclose()


async def test_closing_the_house_ends_what_runs_and_drops_what_waits(tmp_path: Path) -> None:
    tasks, notes = make_tasks()
    running, waiting = make_task(tmp_path, "ada", "hang"), make_task(tmp_path, "mei")
    tasks.submit(running)
    tasks.submit(waiting)
    await notes.until("ada", "running")
    await tasks.aclose()
    assert not running.source.exists() and not waiting.source.exists()


async def test_one_avatar_is_not_built_twice_at_once_and_the_queue_ends(tmp_path: Path) -> None:
    tasks, _ = make_tasks()
    tasks.submit(make_task(tmp_path, "ada", "hang"))
    again = make_task(tmp_path, "ada")
    with pytest.raises(Conflict, match="ada"):
        tasks.submit(again)
    assert not again.source.exists()
    with pytest.raises(Busy, match=str(TASKS_MAX)):
        for i in range(TASKS_MAX + 2):
            tasks.submit(make_task(tmp_path, f"a{i}"))
    await tasks.aclose()
