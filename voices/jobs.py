"""`Jobs`: voices in the making, kept in the database, so that they outlive the process that makes them.

A process claims a job for a while and renews its claim. One that dies leaves a claim that runs out, and at once where
another process on the same machine can see that it is dead; the job is then taken up again.
"""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from errors import Busy, Conflict, NotFound
from voices.database import Database
from voices.people import User
from voices.schema import FileRow, JobRow, VoiceRow, new_id, utc_now
from voices.shared import Shared
from voices.worker import surely_dead, this_worker

LEASE_S = 60.0
ATTEMPTS_MAX = 3
OPEN_MAX = 20
"""Of one user."""
SHOWN = 20
STOPPED = {
    "code": "stopped",
    "message": f"the server was stopped {ATTEMPTS_MAX} times while this voice was being made",
    "details": {"zh": f"制作此音色时服务中断了 {ATTEMPTS_MAX} 次"},
}
DUPLICATED = "duplicated"
"""In `JobRow.request`: the voice was there when the job was asked for."""


def fingerprint(user_id: str, content_hash: str, maker: str, model: str) -> str:
    """What there is one voice of."""
    return hashlib.sha256("\n".join((user_id, content_hash, maker, model)).encode()).hexdigest()


class TakenOver(Conflict):
    """Another process works on the job by now."""


class Jobs:
    """The jobs in the database.

    Args:
        database: where they are.
        shared: through what their news spread.
    """

    def __init__(self, database: Database, shared: Shared) -> None:
        self._database = database
        self.shared = shared

    async def submit(
        self, user: User, file: FileRow, maker: str, model: str, request: Mapping[str, Any]
    ) -> tuple[JobRow, bool]:
        """Ask for a voice: the job, and whether that voice was there or in the making already.

        Raises:
            Busy: the user has too many in the making.
        """
        mark = fingerprint(user.id, file.sha256, maker, model)
        while True:
            try:
                async with self._database.writing() as session:
                    origin = (VoiceRow.user_id == user.id, VoiceRow.content_hash == file.sha256)
                    made = await session.scalar(
                        select(VoiceRow.id).where(*origin, VoiceRow.maker == maker, VoiceRow.model == model)
                    )
                    if made is not None:
                        return self._add(session, user, file, mark, request, made), True
                    found = await session.scalar(select(JobRow).where(JobRow.fingerprint == mark, _open()))
                    if found is not None:
                        return found, True
                    await self._admit(session, user)
                    job = self._add(session, user, file, mark, request, None)
                await self.shared.tell("new")
                return job, False
            except IntegrityError:  # another request was quicker: its job is found now
                continue

    def _add(
        self,
        session: AsyncSession,
        user: User,
        file: FileRow,
        mark: str,
        request: Mapping[str, Any],
        made: str | None,
    ) -> JobRow:
        done: dict[str, Any] = {"status": "completed", "stage": "done", "progress": 1.0} if made else {}
        job = JobRow(
            id=new_id("job"),
            user_id=user.id,
            file_id=file.id,
            voice_id=made or new_id("voice"),
            fingerprint=mark,
            request={**request, DUPLICATED: bool(made)},
            **{"status": "pending", "stage": "queued", "progress": 0.0, **done},
            retryable=False,
            attempts=0,
            created_at=utc_now(),
            updated_at=utc_now(),
        )
        session.add(job)
        return job

    async def _admit(self, session: AsyncSession, user: User) -> None:
        count = await session.scalar(select(func.count()).where(JobRow.user_id == user.id, _open()))
        if (count or 0) >= OPEN_MAX:
            raise Busy(f"{OPEN_MAX} voices of yours are being made: wait for one of them")

    async def get(self, job_id: str, user: User) -> JobRow:
        """A job of the user's.

        Raises:
            NotFound: it is not there, or not theirs.
        """
        async with self._database.reading() as session:
            row = await session.scalar(select(JobRow).where(JobRow.id == job_id, JobRow.user_id == user.id))
        if row is None:
            raise NotFound(f"job {job_id!r} does not exist, or ended more than a week ago")
        return row

    async def latest(self, user: User) -> Sequence[JobRow]:
        """The user's, newest first."""
        async with self._database.reading() as session:
            rows = await session.scalars(
                select(JobRow)
                .where(JobRow.user_id == user.id)
                .order_by(JobRow.created_at.desc(), JobRow.id.desc())
                .limit(SHOWN)
            )
            return rows.all()

    async def retry(self, job_id: str, user: User) -> JobRow:
        """Begin a failed job anew.

        Raises:
            NotFound: it is not there, or not theirs.
            Conflict: it has not failed, or the same is being made by another job.
        """
        await self.get(job_id, user)
        begin = {"status": "pending", "stage": "queued", "progress": 0.0, "error": None, "attempts": 0}
        try:
            async with self._database.writing() as session:
                await self._admit(session, user)
                changed = await session.execute(
                    update(JobRow)
                    .where(JobRow.id == job_id, JobRow.status == "failed")
                    .values(**begin, retryable=False, worker=None, lease_until=None, updated_at=utc_now())
                    .returning(JobRow.id)
                )
                if changed.scalar() is None:
                    raise Conflict(f"job {job_id} has not failed, so there is nothing to try again")
        except IntegrityError as error:
            raise Conflict("another job is making this voice already") from error
        await self.shared.tell("new")
        return await self.get(job_id, user)

    # ---- of the process that makes them

    async def claim(self) -> JobRow | None:
        """The oldest job that waits, from now on this process's; None when none does."""
        me = this_worker()
        async with self._database.writing() as session:
            waiting = select(JobRow.id).where(JobRow.status == "pending").order_by(JobRow.created_at)
            oldest = waiting.limit(1).with_for_update(skip_locked=True)  # another process may be claiming the first
            claimed = await session.execute(
                update(JobRow)
                .where(JobRow.id == oldest.scalar_subquery(), JobRow.status == "pending")
                .values(status="running", worker=me, lease_until=_lease(), attempts=JobRow.attempts + 1)
                .returning(JobRow.id)
            )
            job_id = claimed.scalar()
            return None if job_id is None else await session.get(JobRow, job_id)

    async def advance(self, job: JobRow, stage: str, progress: float) -> None:
        """Note how far a job is, and go on claiming it.

        Raises:
            TakenOver: it is another process's by now.
        """
        async with self._database.writing() as session:
            changed = await session.execute(
                update(JobRow)
                .where(*self._mine(job))
                .values(stage=stage, progress=progress, lease_until=_lease(), updated_at=utc_now())
                .returning(JobRow.id)
            )
            if changed.scalar() is None:
                raise TakenOver(f"job {job.id} was taken over by another process")
        await self.shared.tell(job.id)

    async def renew(self, job: JobRow) -> None:
        """Go on claiming it."""
        async with self._database.writing() as session:
            await session.execute(update(JobRow).where(*self._mine(job)).values(lease_until=_lease()))

    async def complete(self, session: AsyncSession, job: JobRow, voice_id: str) -> None:
        """Note that the voice is there, in the transaction that makes it so; tell afterwards.

        Raises:
            TakenOver: it is another process's by now.
        """
        changed = await session.execute(
            update(JobRow)
            .where(*self._mine(job))
            .values(status="completed", stage="done", progress=1.0, voice_id=voice_id, updated_at=utc_now())
            .returning(JobRow.id)
        )
        if changed.scalar() is None:
            raise TakenOver(f"job {job.id} was taken over by another process")

    async def fail(self, job: JobRow, error: Mapping[str, Any], *, retryable: bool) -> None:
        """Note why there will be no voice."""
        async with self._database.writing() as session:
            await session.execute(
                update(JobRow)
                .where(*self._mine(job))
                .values(status="failed", error=dict(error), retryable=retryable, updated_at=utc_now())
            )
        await self.shared.tell(job.id)

    async def give_back(self, job: JobRow) -> None:
        """Let another process, or this one's next life, make it; this attempt does not count."""
        async with self._database.writing() as session:
            await session.execute(
                update(JobRow)
                .where(*self._mine(job))
                .values(status="pending", worker=None, lease_until=None, attempts=JobRow.attempts - 1)
            )

    async def open(self) -> dict[str, int]:
        """How many wait (`pending`) and how many are being made (`running`), by whichever server."""
        async with self._database.reading() as session:
            rows = await session.execute(select(JobRow.status, func.count()).where(_open()).group_by(JobRow.status))
            return {"pending": 0, "running": 0, **{str(status): int(count) for status, count in rows}}

    async def recover(self) -> None:
        """Have jobs of dead processes taken up again, or failed with a reason when that has happened too often."""
        async with self._database.reading() as session:
            running = await session.execute(
                select(JobRow.id, JobRow.worker, JobRow.lease_until, JobRow.attempts).where(JobRow.status == "running")
            )
            now = utc_now()
            left = [
                (id_, worker, attempts)
                for id_, worker, until, attempts in running
                if until is None or until < now or surely_dead(worker or "")
            ]
        for id_, worker, attempts in left:
            values: dict[str, Any] = {"status": "pending", "worker": None, "lease_until": None}
            if attempts >= ATTEMPTS_MAX:
                values = {"status": "failed", "error": STOPPED, "retryable": True}
            async with self._database.writing() as session:
                await session.execute(
                    update(JobRow)
                    .where(JobRow.id == id_, JobRow.status == "running", JobRow.worker == worker)
                    .values(**values, updated_at=utc_now())
                )
            await self.shared.tell(id_)

    def _mine(self, job: JobRow) -> tuple[Any, ...]:
        return JobRow.id == job.id, JobRow.status == "running", JobRow.worker == this_worker()


def _open() -> Any:
    return JobRow.status.in_(("pending", "running"))


def _lease() -> datetime.datetime:
    return utc_now() + datetime.timedelta(seconds=LEASE_S)
