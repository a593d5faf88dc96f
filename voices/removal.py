"""Deleting everywhere: rows at once, and by the outbox whatever lies in storage and at makers."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Iterable

from sqlalchemy import ColumnElement, delete, exists, select
from sqlalchemy.ext.asyncio import AsyncSession

from errors import Conflict, NotFound
from voices.catalogue import no_voice
from voices.database import Database
from voices.outbox import Outbox
from voices.people import User
from voices.schema import FileRow, JobRow, SpeechRow, UsageRow, UserRow, VoiceRow, utc_now
from voices.shared import Shared

KEEP_JOBS_DAYS = 7.0
BATCH = 200
OPEN = ("pending", "running")


def cache_prefix(voice: str) -> str:
    """Under what a voice's cached speech lies."""
    return f"speech:{voice}:"


@dataclasses.dataclass(slots=True)
class Removed:
    """What went."""

    files: int = 0
    generations: int = 0


class Removal:
    """Deletes for users, and what has grown old.

    Args:
        database: the rows.
        outbox: what lies elsewhere.
        shared: whose cache forgets too.
    """

    def __init__(self, database: Database, outbox: Outbox, shared: Shared) -> None:
        self._database = database
        self._outbox = outbox
        self._shared = shared

    async def voice(self, voice_id: str, user: User) -> Removed:
        """A voice of the user's, with its recording (unless another voice is made of it), preview and speech.

        Raises:
            NotFound: it is not there, or not theirs.
        """
        removed = Removed()
        async with self._database.writing() as session:
            row = await session.scalar(select(VoiceRow).where(VoiceRow.id == voice_id, VoiceRow.user_id == user.id))
            if row is None:
                raise no_voice(voice_id)
            await self._remove_voice(session, row, removed)
        await self._tidy([voice_id])
        return removed

    async def _remove_voice(self, session: AsyncSession, row: VoiceRow, removed: Removed) -> None:
        paths = (await session.scalars(select(SpeechRow.audio_path).where(SpeechRow.voice_id == row.id))).all()
        self._outbox.doom(session, [*paths, row.sample_audio_path])
        self._outbox.forget(session, row.maker, row.step_voice_id, row.recipe)
        removed.generations += len(paths)
        removed.files += len(paths) + bool(row.sample_audio_path)
        await session.execute(delete(SpeechRow).where(SpeechRow.voice_id == row.id))
        await session.execute(delete(UsageRow).where(UsageRow.voice == row.id))
        await session.execute(delete(JobRow).where(JobRow.voice_id == row.id))
        await session.execute(delete(VoiceRow).where(VoiceRow.id == row.id))
        file = await session.scalar(select(FileRow).where(FileRow.id == row.file_id, ~_needed()))
        if file is not None:
            await self._remove_file(session, file, removed)

    async def file(self, file_id: str, user: User) -> Removed:
        """A recording of the user's.

        Raises:
            NotFound: it is not there, or not theirs.
            Conflict: a voice is made of it, or is being made.
        """
        removed = Removed()
        async with self._database.writing() as session:
            row = await session.scalar(select(FileRow).where(FileRow.id == file_id, FileRow.user_id == user.id))
            if row is None:
                raise NotFound(f"file {file_id!r} does not exist")
            if await session.scalar(select(FileRow.id).where(FileRow.id == file_id, _needed())):
                raise Conflict(f"file {file_id} is what a voice is made of: delete that voice, and it goes too")
            await self._remove_file(session, row, removed)
        self._outbox.wake()
        return removed

    async def _remove_file(self, session: AsyncSession, row: FileRow, removed: Removed) -> None:
        self._outbox.doom(session, [row.file_path, row.prepared_path])
        removed.files += 2
        await session.execute(delete(FileRow).where(FileRow.id == row.id))  # its vectors and jobs go with it

    async def generation(self, request_id: str, user: User) -> Removed:
        """Speech that the user generated.

        Raises:
            NotFound: it is not there, or not theirs.
        """
        async with self._database.writing() as session:
            found = SpeechRow.id == request_id, SpeechRow.user_id == user.id
            row = await session.scalar(select(SpeechRow).where(*found))
            if row is None:
                raise NotFound(f"generation {request_id!r} does not exist")
            self._outbox.doom(session, [row.audio_path])
            await session.execute(delete(SpeechRow).where(*found))
        await self._tidy([row.voice])
        return Removed(1, 1)

    async def user(self, user_id: str) -> Removed:
        """A user and all that is theirs.

        Raises:
            Conflict: a voice of theirs is being made.
        """
        removed = Removed()
        async with self._database.writing() as session:
            if await session.scalar(select(JobRow.id).where(JobRow.user_id == user_id, JobRow.status.in_(OPEN))):
                raise Conflict("a voice of this user is being made: try again when it is done")
            voices = (await session.scalars(select(VoiceRow).where(VoiceRow.user_id == user_id))).all()
            for voice in voices:
                await self._remove_voice(session, voice, removed)
            speech = (await session.scalars(select(SpeechRow.audio_path).where(SpeechRow.user_id == user_id))).all()
            self._outbox.doom(session, speech)
            removed.generations += len(speech)
            removed.files += len(speech)
            for file in await session.scalars(select(FileRow).where(FileRow.user_id == user_id)):
                await self._remove_file(session, file, removed)
            for table in (SpeechRow, UsageRow, JobRow):
                await session.execute(delete(table).where(table.user_id == user_id))
            await session.execute(delete(UserRow).where(UserRow.id == user_id))
        await self._tidy([voice.id for voice in voices])
        return removed

    async def aged(self, keep_uploads_h: float, keep_speech_days: float) -> Removed:
        """What has grown old: recordings no voice is made of, generated speech, jobs that ended. 0 keeps for ever."""
        removed = Removed()
        async with self._database.writing() as session:
            if keep_uploads_h:
                old = FileRow.created_at < utc_now() - datetime.timedelta(hours=keep_uploads_h)
                for file in await session.scalars(select(FileRow).where(old, ~_needed()).limit(BATCH)):
                    await self._remove_file(session, file, removed)
            if keep_speech_days:
                before = utc_now() - datetime.timedelta(days=keep_speech_days)
                speech = await session.scalars(select(SpeechRow).where(SpeechRow.created_at < before).limit(BATCH))
                rows = speech.all()
                self._outbox.doom(session, [row.audio_path for row in rows])
                await session.execute(delete(SpeechRow).where(SpeechRow.id.in_([row.id for row in rows])))
                removed.generations += len(rows)
                removed.files += len(rows)
            ended = JobRow.updated_at < utc_now() - datetime.timedelta(days=KEEP_JOBS_DAYS)
            await session.execute(delete(JobRow).where(ended, JobRow.status.not_in(OPEN)))
        self._outbox.wake()
        return removed

    async def _tidy(self, voices: Iterable[str]) -> None:
        self._outbox.wake()
        for voice in voices:
            await self._shared.forget(cache_prefix(voice))


def _needed() -> ColumnElement[bool]:
    """Whether a voice is made of a recording, or is being made."""
    voice = exists().where(VoiceRow.file_id == FileRow.id)
    job = exists().where(JobRow.file_id == FileRow.id, JobRow.status.in_(OPEN))
    return voice | job
