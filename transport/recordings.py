"""`Recordings`: the finished recordings on disk, each under an id of its own; the oldest make room for new ones."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import datetime
import logging
import re
import time
from collections.abc import Iterator
from pathlib import Path

from errors import NotFound
from transport.recorder import PART_SUFFIX, SUFFIXES

ID_PATTERN = r"(\d{8}T\d{9}Z-)?[1-9]\d{0,14}"
"""When it began (UTC, to the millisecond) and the session's id; names of older recordings have the id alone."""
MEDIA_TYPES = {".mp4": "video/mp4", ".mkv": "video/x-matroska", ".webm": "video/webm"}
"""By codec: H.264 is kept as MP4, VP8 in its own container."""
TIDY_INTERVAL_S = 3600.0
_NAME = re.compile(ID_PATTERN)

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True)
class Recording:
    """One finished recording."""

    id: str
    sessionid: str
    began: float
    """Seconds since 1970."""
    ended: float
    size_bytes: int
    path: Path


class Recordings:
    """A directory of recordings.

    Its methods touch the disk and may run in any thread.

    Args:
        directory: made when the first recording begins.
        days: a recording older than this goes; 0 keeps it.
        size_bytes: the oldest go until all together take no more; 0 keeps them.
    """

    def __init__(self, directory: Path, *, days: float = 0.0, size_bytes: int = 0) -> None:
        self.directory = directory
        self._seconds = days * 86_400
        self._size_bytes = size_bytes

    def begin(self, sessionid: str) -> Path:
        """The path of a new recording, for `Recorder`, which sets the suffix; its stem is the recording's id."""
        now = datetime.datetime.now(datetime.UTC)
        return self.directory / f"{now:%Y%m%dT%H%M%S}{now.microsecond // 1000:03d}Z-{sessionid}{SUFFIXES['h264']}"

    def all(self) -> list[Recording]:
        """Those that are complete, newest first."""
        return sorted(self._complete(), key=lambda one: (one.began, one.id), reverse=True)

    def find(self, recording_id: str) -> Recording:
        """The recording of that id.

        Raises:
            NotFound: there is none.
        """
        if _NAME.fullmatch(recording_id):
            for suffix in MEDIA_TYPES:
                if found := _recording(self.directory / f"{recording_id}{suffix}"):
                    return found
        raise NotFound(
            f"there is no recording {recording_id[:60]!r}; GET /api/recordings lists those there are",
            f"没有录像 {recording_id[:60]!r}；GET /api/recordings 列出现有录像",
        )

    def newest(self, sessionid: str) -> Recording:
        """The last complete recording of a session.

        Raises:
            NotFound: there is none.
        """
        for recording in self.all():
            if recording.sessionid == sessionid:
                return recording
        raise NotFound(
            f"there is no recording of session {sessionid!r}; make one with POST /record",
            f"会话 {sessionid!r} 没有录像；请先用 POST /record 录制",
        )

    def remove(self, recording_id: str) -> None:
        """Delete a recording.

        Raises:
            NotFound: there is none of that id.
        """
        self.find(recording_id).path.unlink(missing_ok=True)

    def tidy(self) -> None:
        """Delete what is too old, and then the oldest until the rest is small enough; the newest always stays."""
        oldest = time.time() - self._seconds if self._seconds else float("-inf")
        recordings = self.all()
        room = self._size_bytes or float("inf")
        for recording in recordings:
            room -= recording.size_bytes
            if recording.ended < oldest or (room < 0 and recording is not recordings[0]):
                log.info("recording %s (%d MiB) makes room", recording.id, recording.size_bytes >> 20)
                _delete(recording.path)
        # What a crash left unfinished is no recording, but takes room all the same.
        for part in self.directory.glob(f"*{PART_SUFFIX}"):
            with contextlib.suppress(OSError):
                if part.stat().st_mtime < oldest:
                    _delete(part)

    async def tend(self) -> None:
        """Tidy now and then, until cancelled."""
        while True:
            await asyncio.to_thread(self.tidy)
            await asyncio.sleep(TIDY_INTERVAL_S)

    def _complete(self) -> Iterator[Recording]:
        if not self.directory.is_dir():
            return
        for path in self.directory.iterdir():
            if found := _recording(path):
                yield found


def _recording(path: Path) -> Recording | None:
    """What `path` is when it is a complete recording."""
    if path.suffix not in MEDIA_TYPES or not _NAME.fullmatch(path.stem):
        return None
    try:
        facts = path.stat()
    except OSError:  # deleted meanwhile
        return None
    stamp, _, sessionid = path.stem.rpartition("-")
    began = facts.st_mtime
    if stamp:
        try:
            began = datetime.datetime.strptime(f"{stamp[:-4]}{stamp[-4:-1]}000+0000", "%Y%m%dT%H%M%S%f%z").timestamp()
        except ValueError:  # 13 o'clock on the 32nd: not one of ours
            return None
    return Recording(path.stem, sessionid, began, facts.st_mtime, facts.st_size, path)


def _delete(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        log.warning("recording %s cannot be deleted: %s", path.name, error)
