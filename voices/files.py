"""`Files`: recordings taken in, judged before they are kept, each content once for each user."""

from __future__ import annotations

import asyncio
import hashlib

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from errors import NotFound
from voices.audio.desk import Desk
from voices.audio.prepare import Prepared
from voices.audio.refusals import Refused
from voices.database import Database
from voices.figures import LibraryFigures, outcome_of
from voices.outbox import Outbox
from voices.people import User
from voices.schema import FileRow, new_id, utc_now
from voices.storage.keys import prepared_key, upload_key

FILENAME_CHARACTERS_MAX = 255
SUFFIXES = {
    "wav": ".wav",
    "mp3": ".mp3",
    "mov": ".m4a",
    "ogg": ".ogg",
    "flac": ".flac",
    "matroska": ".webm",
    "aac": ".aac",
}


AT_ONCE = 8
"""Recordings being received or judged; each is held in memory, and all of them want the event loop now and then."""


class Files:
    """Recordings in the database and in storage.

    Args:
        database: their rows.
        outbox: through which they get into storage.
        desk: what judges them.
        figures: where they are counted.
    """

    def __init__(self, database: Database, outbox: Outbox, desk: Desk, figures: LibraryFigures) -> None:
        self._database = database
        self._outbox = outbox
        self._desk = desk
        self._uploads = figures.uploads
        self.places = asyncio.Semaphore(AT_ONCE)
        """To be held by whoever receives a recording, until it is taken."""

    async def take(self, user: User, filename: str, data: bytes) -> tuple[FileRow, bool]:
        """Take a recording: its row, and whether the user had uploaded these bytes before.

        Raises:
            Refused: no voice can be made of it, with the reason.
            TooLarge: it is longer than anything that is decoded.
            Busy: too many are waiting to be judged.
            StorageUnavailable, DatabaseUnavailable: it was not taken.
        """
        try:
            row, known = await self._take(user, filename, data)
        except BaseException as error:
            self._uploads.labels(outcome_of(error)).inc()
            raise
        self._uploads.labels("known" if known else "done").inc()
        return row, known

    async def _take(self, user: User, filename: str, data: bytes) -> tuple[FileRow, bool]:
        if not data:
            raise Refused("empty")
        sha256 = await asyncio.to_thread(lambda: hashlib.sha256(data).hexdigest())
        known = await self._known(user, sha256)
        if known is not None:
            return known, True
        made = await self._desk.prepare(data)
        row = file_row(user, filename, data, sha256, made)
        try:
            async with (
                self._outbox.writing({row.file_path: data, row.prepared_path: made.wav}) as written,
                self._database.writing() as session,
            ):
                session.add(row)
                await session.flush()
                await written.keep(session)
        except IntegrityError:  # the same upload at the same time was quicker
            known = await self._known(user, sha256)
            if known is None:
                raise
            return known, True
        return row, False

    async def get(self, file_id: str, user: User | None) -> FileRow:
        """A recording.

        Args:
            file_id: which.
            user: whose it must be; None for whoever has a signed address.

        Raises:
            NotFound: it is not there, or not theirs.
        """
        async with self._database.reading() as session:
            row = await session.get(FileRow, file_id)
        if row is None or (user is not None and row.user_id != user.id):
            raise NotFound(f"file {file_id!r} does not exist, or was deleted because no voice was made of it")
        return row

    async def _known(self, user: User, sha256: str) -> FileRow | None:
        async with self._database.reading() as session:
            found: FileRow | None = await session.scalar(
                select(FileRow).where(FileRow.user_id == user.id, FileRow.sha256 == sha256)
            )
            return found


def file_row(user: User, filename: str, data: bytes, sha256: str, made: Prepared) -> FileRow:
    """A recording as it is kept."""
    key = upload_key(user.id, filename, SUFFIXES.get(made.facts.format, ".bin"), utc_now())
    shown = "".join(character for character in filename if character.isprintable())
    return FileRow(
        id=new_id("file"),
        user_id=user.id,
        filename=shown.rpartition("/")[2].rpartition("\\")[2][:FILENAME_CHARACTERS_MAX] or "recording",
        file_path=key,
        prepared_path=prepared_key(key),
        file_size=len(data),
        duration=made.duration_s,
        format=made.facts.format,
        sample_rate=made.facts.rate_hz,
        channels=made.facts.channels,
        sha256=sha256,
        peaks=made.peaks,
        checks={
            "speech_ratio": round(made.speech_ratio, 3),
            "loudness_lufs": round(made.loudness_lufs, 1),
            "snr_db": round(made.snr_db, 1),
            "clipped_ratio": round(made.clipped_ratio, 5),
        },
        created_at=utc_now(),
    )
