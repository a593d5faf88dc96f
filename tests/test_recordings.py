"""The recordings on disk: ids of their own, newest first, old ones make room, nothing else is touched."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import pytest

from errors import NotFound
from transport.recordings import Recordings

DAY_S = 86_400


def film(directory: Path, name: str, *, days_old: float = 0.0, size: int = 10) -> Path:
    path = directory / name
    path.write_bytes(bytes(size))
    at = time.time() - days_old * DAY_S
    os.utime(path, (at, at))
    return path


def test_every_recording_has_a_name_of_its_own_and_is_found_by_it(tmp_path: Path) -> None:
    recordings = Recordings(tmp_path)
    path = recordings.begin("42")
    assert path.parent == tmp_path and path.suffix == ".mp4" and path.stem.endswith("-42")
    path.with_suffix(".webm").write_bytes(b"film")
    found = recordings.find(path.stem)
    assert (found.sessionid, found.size_bytes, found.path.suffix) == ("42", 4, ".webm")
    assert abs(found.began - time.time()) < 60 and found.ended >= found.began - 1


def test_the_newest_of_a_session_is_told_by_when_it_began(tmp_path: Path) -> None:
    film(tmp_path, "20260102T030405006Z-42.mp4")
    film(tmp_path, "20260102T030405007Z-42.mp4", days_old=3)
    film(tmp_path, "20270102T030405006Z-4.mp4")
    recordings = Recordings(tmp_path)
    assert recordings.newest("42").id == "20260102T030405007Z-42"
    assert recordings.newest("42").began == pytest.approx(1767323045.007)
    assert [one.sessionid for one in recordings.all()] == ["4", "42", "42"]
    with pytest.raises(NotFound):
        recordings.newest("2")


def test_recordings_from_before_they_had_ids_are_still_there(tmp_path: Path) -> None:
    film(tmp_path, "42.mp4", days_old=400)
    assert Recordings(tmp_path).newest("42").id == "42"


@pytest.mark.parametrize("name", ["../42", "..", "", "42.mp4", "notes", "20261399T999999999Z-42", "0", "x-42"])
def test_what_is_no_recording_is_not_found(tmp_path: Path, name: str) -> None:
    film(tmp_path, "notes.mp4")
    film(tmp_path, "20261399T999999999Z-42.mp4")
    film(tmp_path, "42.mp4.part")
    recordings = Recordings(tmp_path)
    with pytest.raises(NotFound):
        recordings.find(name)
    with pytest.raises(NotFound):
        recordings.remove(name)
    assert recordings.all() == []


def test_what_is_too_old_goes_and_nothing_else(tmp_path: Path) -> None:
    old = film(tmp_path, "20260102T030405006Z-1.mp4", days_old=8)
    left = film(tmp_path, "20260102T030405006Z-2.mp4.part", days_old=8)
    kept = [
        film(tmp_path, "20260102T030405006Z-3.mp4", days_old=6),
        film(tmp_path, "20260102T030405006Z-4.mp4.part"),
        film(tmp_path, "notes.txt", days_old=100),
    ]
    Recordings(tmp_path).tidy()
    assert old.exists() and left.exists(), "by default nothing is deleted"
    Recordings(tmp_path, days=7).tidy()
    assert not old.exists() and not left.exists()
    assert all(path.exists() for path in kept)


def test_the_oldest_make_room_but_the_newest_stays(tmp_path: Path) -> None:
    names = [f"20260102T03040{second}000Z-42.mp4" for second in range(5)]
    for name in names:
        film(tmp_path, name, size=100)
    Recordings(tmp_path, size_bytes=250).tidy()
    assert sorted(path.name for path in tmp_path.iterdir()) == names[3:]
    Recordings(tmp_path, size_bytes=1).tidy()
    assert [path.name for path in tmp_path.iterdir()] == names[4:]


async def test_a_directory_that_is_not_there_holds_nothing(tmp_path: Path) -> None:
    recordings = Recordings(tmp_path / "none", days=1, size_bytes=1)
    tending = asyncio.create_task(recordings.tend())
    assert recordings.all() == []
    await asyncio.sleep(0.05)
    assert not tending.done()
    tending.cancel()
    await asyncio.gather(tending, return_exceptions=True)
