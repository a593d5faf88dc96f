"""An engine in a process of its own: the same pictures, and what happens when the process does not do as it should."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from avatar import Avatar
from baseasr import BaseASR
from basereal import BaseReal
from engines.base import LipRequest
from engines.remote import Patience, RemoteEngine
from engines.scheduler import Scheduler
from engines.sharedmemory import Region
from errors import EngineError, Unavailable, Unprocessable
from tests.fakes.lips import DAWDLE, DAWDLE_S, DIE, FAIL, HANG, Painter, small_avatar

PAINTER = "tests.fakes.lips:Painter"
ROOT = Path(__file__).parent.parent
SAMPLES = 700


@pytest.fixture(scope="module")
def avatars(tmp_path_factory: pytest.TempPathFactory) -> tuple[Avatar, Avatar]:
    root = tmp_path_factory.mktemp("avatars")
    return small_avatar(root), small_avatar(root, "wide", width=64, height=48)


@pytest.fixture(scope="module")
def shared(avatars: tuple[Avatar, Avatar]) -> Iterator[RemoteEngine]:
    """An engine for tests that leave it as it was."""
    engine = RemoteEngine(PAINTER, {"mark": 9})
    engine.start()
    for avatar in avatars:
        engine.prepare(avatar)
    yield engine
    engine.close()


@pytest.fixture
def make(caplog: pytest.LogCaptureFixture) -> Iterator[Callable[..., RemoteEngine]]:
    """Engines of a test's own, started and closed; what they log is expected."""
    made: list[RemoteEngine] = []

    def start(patience: Patience | None = None, **kwargs: Any) -> RemoteEngine:
        engine = RemoteEngine(PAINTER, kwargs, patience=patience)
        made.append(engine)
        engine.start()
        return engine

    with caplog.at_level(logging.CRITICAL):
        yield start
        for engine in made:
            engine.close()


def window(first: float, last: float = 0.0) -> np.ndarray:
    pcm = np.zeros(SAMPLES, np.float32)
    pcm[0], pcm[-1] = first, last
    return pcm


def request(avatar: Avatar, first: float = 0.1, index: int = 0, blend: float = 1.0) -> LipRequest:
    return LipRequest(window(first), avatar, index, blend, 0.0)


def until(condition: Callable[[], object], patience_s: float = 30.0) -> None:
    """Wait for what another process is about to do."""
    end = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


def test_the_pictures_are_those_of_the_engine_itself(shared: RemoteEngine, avatars: tuple[Avatar, Avatar]) -> None:
    heard, other = window(0.3, 0.4), window(0.5, 0.6)
    requests = [
        LipRequest(heard, avatars[0], 0, 0.25, 0.0, 0),
        LipRequest(heard, avatars[1], 5, 1.0, 0.0, 1),
        LipRequest(other, avatars[0], 2, 0.5, 0.0, 0),
    ]
    pictures = shared.render(requests)
    for remote, local in zip(pictures, Painter(mark=9).render(requests), strict=True):
        assert remote is not None
        np.testing.assert_array_equal(remote, local)
        assert remote[0, 4] == 2, "a window that two pictures share must be one window"
        assert remote.flags.writeable and remote.flags.owndata
    assert shared.max_batch == 4


def test_pictures_stay_as_they_are_when_the_next_batch_is_drawn(
    shared: RemoteEngine, avatars: tuple[Avatar, Avatar]
) -> None:
    (first,) = shared.render([request(avatars[0], 0.1)])
    assert first is not None
    before = first.copy()
    for k in range(4):
        shared.render([request(avatars[0], 0.2 + k / 10)])
    np.testing.assert_array_equal(first, before)


def test_batches_in_flight_at_once_do_not_mix(shared: RemoteEngine, avatars: tuple[Avatar, Avatar]) -> None:
    wrong: list[float] = []

    def draw(start: int) -> None:
        for k in range(40):
            level = start + k
            batch = [request(avatars[k % 2], level / 100, index=k) for _ in range(1 + k % 4)]
            wrong.extend(level for picture in shared.render(batch) if picture is None or picture[0, 0] != level)

    threads = [threading.Thread(target=draw, args=(start,)) for start in (10, 60, 110)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_an_engine_that_takes_two_batches_at_once_is_given_them(
    make: Callable[..., RemoteEngine], avatars: tuple[Avatar, Avatar]
) -> None:
    engine = make(lanes=2)
    engine.prepare(avatars[0])
    drawn: list[Any] = []
    threads = [threading.Thread(target=lambda: drawn.extend(engine.render([request(avatars[0])]))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(drawn) == 2 and all(picture is not None for picture in drawn)


def test_what_the_engine_says_of_itself_arrives(shared: RemoteEngine, avatars: tuple[Avatar, Avatar]) -> None:
    facts = shared.describe()
    assert facts["engine"] == "painter" and set(facts["prepared"]) == {"dot", "wide"}
    assert facts["process"]["trouble"] is None and facts["process"]["restarts"] == 0
    assert facts["process"]["pid"] != os.getpid()
    assert shared.warm_up() == 321.0
    assert shared.why_not() is None


def test_an_avatar_that_the_engine_refuses(shared: RemoteEngine, tmp_path: Path) -> None:
    with pytest.raises(Unprocessable, match="avatar bad has no face for engine painter"):
        shared.prepare(small_avatar(tmp_path, "bad"))


def test_an_avatar_that_cannot_be_loaded_any_more(shared: RemoteEngine, tmp_path: Path) -> None:
    avatar = small_avatar(tmp_path, "lost")
    (avatar.directory / "idle.mp4").write_bytes(b"cut")
    with pytest.raises(Unprocessable, match=r"idle\.mp4 is damaged"):
        shared.prepare(avatar)


def test_a_forgotten_avatar_is_drawn_no_more(make: Callable[..., RemoteEngine], avatars: tuple[Avatar, Avatar]) -> None:
    engine = make()
    engine.prepare(avatars[0])
    engine.prepare(avatars[1])
    engine.forget("dot")
    engine.prepare(avatars[1])
    assert engine.describe()["prepared"].count("dot") == 0
    first, second = engine.render([request(avatars[0]), request(avatars[1])])
    assert first is None and second is not None


def test_a_terminals_interruption_is_for_the_parent(shared: RemoteEngine, avatars: tuple[Avatar, Avatar]) -> None:
    pid = shared.describe()["process"]["pid"]
    assert os.getpgid(pid) != os.getpgid(0)
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(pid, number)
    assert shared.render([request(avatars[0])])[0] is not None
    assert shared.describe()["process"]["pid"] == pid


def test_an_engine_that_dies_is_started_again_with_its_avatars(
    make: Callable[..., RemoteEngine], avatars: tuple[Avatar, Avatar], caplog: pytest.LogCaptureFixture
) -> None:
    engine = make()
    engine.warm_up()
    engine.prepare(avatars[0])
    pid = engine.describe()["process"]["pid"]
    with caplog.at_level(logging.ERROR):
        assert engine.render([request(avatars[0]), request(avatars[0], DIE)]) == [None, None]
        until(lambda: engine.restarts == 1)
    assert "ended with status 7" in caplog.text
    until(lambda: engine.render([request(avatars[0])])[0] is not None)
    facts = engine.describe()
    assert facts["process"]["pid"] != pid and facts["prepared"] == ["dot"] and facts["warmed"] == 1


def test_a_killed_process_is_seen_while_nothing_is_drawn(
    make: Callable[..., RemoteEngine], avatars: tuple[Avatar, Avatar]
) -> None:
    engine = make()
    engine.prepare(avatars[0])
    os.kill(engine.describe()["process"]["pid"], signal.SIGKILL)
    until(lambda: engine.why_not() is not None)
    assert "is down: its process" in str(engine.why_not())
    until(lambda: engine.render([request(avatars[0])])[0] is not None)


def test_an_engine_that_hangs_is_killed_and_started_again(
    make: Callable[..., RemoteEngine], avatars: tuple[Avatar, Avatar], caplog: pytest.LogCaptureFixture
) -> None:
    engine = make(Patience(lips_s=0.2, lips_factor=0.0, least_s=1.0, factor=0.0))
    engine.prepare(avatars[0])
    assert engine.render([request(avatars[0])])[0] is not None
    with caplog.at_level(logging.ERROR):
        assert engine.render([request(avatars[0], HANG)]) == [None]
        assert engine.restarts == 0, "sessions go on long before the process is given up"
        until(lambda: engine.render([request(avatars[0])]) == [None] and engine.restarts == 1)
    assert "was killed: it did not answer for 1." in caplog.text
    until(lambda: engine.render([request(avatars[0])])[0] is not None)


def test_an_engine_that_is_late_once_costs_lips_and_not_its_life(
    make: Callable[..., RemoteEngine], avatars: tuple[Avatar, Avatar]
) -> None:
    engine = make(Patience(lips_s=0.2, lips_factor=0.0, least_s=60.0))
    engine.prepare(avatars[0])
    assert engine.render([request(avatars[0])])[0] is not None
    began = time.monotonic()
    assert engine.render([request(avatars[0], DAWDLE)]) == [None]
    assert engine.render([request(avatars[0])]) == [None]
    assert time.monotonic() - began < DAWDLE_S, "sessions waited for it"
    until(lambda: engine.render([request(avatars[0])])[0] is not None)
    assert time.monotonic() - began >= DAWDLE_S and engine.restarts == 0


def test_nothing_is_late_while_the_pace_is_unknown(
    make: Callable[..., RemoteEngine], avatars: tuple[Avatar, Avatar]
) -> None:
    engine = make(Patience(lips_s=0.0, lips_factor=4.0, least_s=0.0))
    engine.prepare(avatars[0])
    assert engine.render([request(avatars[0], DAWDLE)])[0] is not None, "the first batch may compile kernels"
    assert engine.render([request(avatars[0], DAWDLE)])[0] is not None, "a slow engine is waited for at its own pace"


def test_a_failing_batch_says_why_and_three_in_a_row_are_a_broken_engine(
    make: Callable[..., RemoteEngine], avatars: tuple[Avatar, Avatar]
) -> None:
    engine = make()
    engine.prepare(avatars[0])
    for _ in range(2):
        with pytest.raises(EngineError, match="RuntimeError: scripted failure"):
            engine.render([request(avatars[0], FAIL)])
    assert engine.render([request(avatars[0])])[0] is not None
    for _ in range(3):
        with pytest.raises(EngineError, match="scripted failure"):
            engine.render([request(avatars[0], FAIL)])
    until(lambda: engine.restarts == 1)
    until(lambda: engine.render([request(avatars[0])])[0] is not None)


def test_what_the_constructor_refuses_is_told_as_it_was_said() -> None:
    before = set(threading.enumerate())
    engine = RemoteEngine(PAINTER, {"refusal": "models/unet.pth is cut short"})
    with pytest.raises(Unprocessable, match=r"^models/unet\.pth is cut short$"):
        engine.start()
    assert set(threading.enumerate()) <= before


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("tests.fakes.lips:Nothing", "AttributeError: .*no attribute 'Nothing'"),
        ("no.such.module:Engine", "ModuleNotFoundError: No module named 'no'"),
    ],
)
def test_an_engine_that_does_not_exist(name: str, words: str) -> None:
    with pytest.raises(EngineError, match=words):
        RemoteEngine(name).start()


def test_a_process_that_dies_at_once_is_told(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="its process ended with status 3"):
        RemoteEngine(PAINTER, {"missing": str(tmp_path)}).start()


def test_an_engine_that_dies_again_and_again_is_not_ready_and_comes_back(
    make: Callable[..., RemoteEngine], avatars: tuple[Avatar, Avatar], tmp_path: Path
) -> None:
    missing = tmp_path / "missing"
    engine = make(missing=str(missing))
    engine.prepare(avatars[0])
    missing.touch()
    engine.render([request(avatars[0], DIE)])
    until(lambda: "2 times in a row" in str(engine.why_not()))
    assert "ended with status 3, the next start is in 0.5 s" in str(engine.why_not())
    assert engine.describe()["process"]["trouble"] == engine.why_not()
    assert engine.render([request(avatars[0])]) == [None], "sessions must not wait for it"
    with pytest.raises(Unavailable, match="is down"):
        engine.prepare(avatars[1])
    missing.unlink()
    until(lambda: engine.why_not() is None)
    until(lambda: engine.render([request(avatars[0])])[0] is not None)


def test_closing_leaves_nothing_behind(avatars: tuple[Avatar, Avatar]) -> None:
    def names() -> set[str]:
        return {f"{fd}:{os.readlink(f'/proc/self/fd/{fd}')}" for fd in os.listdir("/proc/self/fd") if _open(fd)}

    before, shared_before = names(), set(os.listdir("/dev/shm"))
    engine = RemoteEngine(PAINTER)
    engine.start()
    engine.prepare(avatars[0])
    engine.render([request(avatars[0])] * 4)
    pid = engine.describe()["process"]["pid"]
    engine.close()
    engine.close()
    assert not Path(f"/proc/{pid}").exists()
    assert names() - before == set() and set(os.listdir("/dev/shm")) <= shared_before
    assert engine.render([request(avatars[0])]) == [None]
    assert "is closed" in str(engine.why_not())


def _open(fd: str) -> bool:
    return os.path.lexists(f"/proc/self/fd/{fd}")


def test_a_process_that_cannot_be_started_leaves_nothing_open(monkeypatch: pytest.MonkeyPatch) -> None:
    before = set(os.listdir("/proc/self/fd"))
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    with pytest.raises(EngineError, match="its process cannot be started: .*No such file"):
        RemoteEngine(PAINTER).start()
    assert set(os.listdir("/proc/self/fd")) <= before


def test_closing_in_mid_batch_ends_it(make: Callable[..., RemoteEngine], avatars: tuple[Avatar, Avatar]) -> None:
    engine = make(batch_ms=50)
    engine.prepare(avatars[0])
    drawn: list[object] = []
    thread = threading.Thread(target=lambda: drawn.extend(engine.render([request(avatars[0])])))
    thread.start()
    engine.close()
    thread.join()
    assert len(drawn) == 1


PARENT = """
import sys, time
from engines.remote import RemoteEngine
engine = RemoteEngine("tests.fakes.lips:Painter")
engine.start()
print(engine.describe()["process"]["pid"], flush=True)
time.sleep(1000)
"""


def test_the_process_ends_when_its_parent_vanishes() -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT], cwd=ROOT, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert Path(f"/proc/{pid}").exists()
        parent.kill()
    until(lambda: not Path(f"/proc/{pid}").exists() or "Z" in Path(f"/proc/{pid}/stat").read_text().split()[2])


async def test_a_session_goes_on_when_its_engine_dies(
    make: Callable[..., RemoteEngine], avatars: tuple[Avatar, Avatar]
) -> None:
    engine = await asyncio.to_thread(make, max_batch=2)
    await asyncio.to_thread(engine.prepare, avatars[0])
    scheduler = Scheduler(engine)
    scheduler.start()
    real = BaseReal("1", avatars[0], scheduler, BaseASR(0, 4))
    frames = 200
    pcm = np.repeat(np.arange(1, frames + 1) / 1000 + 0.1, 320).astype(np.float32)
    pcm[60 * 320] = DIE
    heard: list[int] = []
    lips: list[bool] = []
    try:
        await real.play(pcm)
        async with asyncio.timeout(60):
            while len(heard) < frames:
                unit = real.take()
                if unit is not None and unit.speech[0].pcm[1]:
                    heard += [round((float(f.pcm[1]) - 0.1) * 1000) for f in unit.speech]
                    lips.append(bool(unit.picture[0, 5] <= 2))  # the painter's: how large the batch was
                # While the engine is away, speech is played at its own pace.
                await asyncio.sleep(0.04 if engine.why_not() else 0.001)
    finally:
        await real.aclose()
        await asyncio.to_thread(scheduler.close)
    assert heard == list(range(1, frames + 1))
    assert lips[0] and lips[-1] and not all(lips), "lips, then none, then lips again"
    assert engine.restarts == 1


def test_a_region_grows_and_keeps_what_it_held() -> None:
    region, other = Region(), None
    try:
        region.grow(100)
        region.array(0, (5,), np.float32)[...] = np.arange(5)
        old = region.array(0, (5,), np.float32)
        region.grow(1 << 20)
        other = Region(os.dup(region.fd))
        other.grow(region.size)
        np.testing.assert_array_equal(other.array(0, (5,), np.float32), np.arange(5))
        old[0] = 7
        assert other.array(0, (1,), np.float32)[0] == 7
        with pytest.raises(ValueError, match="does not fit"):
            region.array((1 << 20) - 4, (2,), np.float32)
    finally:
        region.close()
        if other is not None:
            other.close()
