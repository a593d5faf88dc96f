"""`Outbox`: what has to happen outside the database, written down in it, so that no crash can lose it.

A file's key is noted before its first byte is written, and struck out in the transaction that names the file. What is
to be deleted is noted in the transaction that forgets it. Whatever is still noted when its time has come is deleted,
as often as it takes: the storage or a maker may be gone for a day.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import delete, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from errors import VisageError
from voices.database import Database
from voices.schema import OutboxRow, new_id, utc_now
from voices.storage.base import Storage
from voices.worker import surely_dead, this_worker

WRITING_S = 600.0
"""A file that is not named by then is taken for left behind, whoever was writing it."""
SWEEP_S = 30.0
BATCH = 50
RETRY_FIRST_S, RETRY_MAX_S = 10.0, 3_600.0

Forget = Callable[[Mapping[str, Any]], Awaitable[None]]
"""Deletes a voice at its maker, by what `forget` was given."""

log = logging.getLogger(__name__)


class Written:
    """Files that are in storage and not yet named by a row."""

    def __init__(self, ids: Sequence[str]) -> None:
        self._ids = ids

    async def keep(self, session: AsyncSession) -> None:
        """Keep them, if the transaction of `session` does."""
        await session.execute(delete(OutboxRow).where(OutboxRow.id.in_(self._ids)))


class Outbox:
    """One for each process over a database.

    Args:
        database: where it is kept.
        storage: where files are deleted.
        forget: how a voice is deleted at its maker.
    """

    def __init__(self, database: Database, storage: Storage, forget: Forget) -> None:
        self._database = database
        self._storage = storage
        self._forget = forget
        self._woken = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @contextlib.asynccontextmanager
    async def writing(self, files: Mapping[str, bytes]) -> AsyncIterator[Written]:
        """Put files into storage; those that the block does not keep are deleted again.

        Raises:
            StorageUnavailable, DatabaseUnavailable: nothing is kept.
        """
        due = utc_now() + datetime.timedelta(seconds=WRITING_S)
        rows = [
            OutboxRow(id=new_id("out"), kind="file", key=key, payload={}, worker=this_worker(), due_at=due)
            for key in files
        ]
        ids = [row.id for row in rows]
        async with self._database.writing() as session:
            session.add_all(rows)
        try:
            for key, data in files.items():
                await self._storage.put(key, data)
            yield Written(ids)
        except BaseException:
            await asyncio.shield(self._release(ids))
            raise

    async def _release(self, ids: Sequence[str]) -> None:
        """Have what is still noted deleted now; struck out by a transaction that did commit, it is not."""
        with contextlib.suppress(VisageError):  # the database is gone: it is deleted when its time has come
            async with self._database.writing() as session:
                await session.execute(update(OutboxRow).where(OutboxRow.id.in_(ids)).values(due_at=utc_now()))
        self.wake()

    def doom(self, session: AsyncSession, keys: Sequence[str]) -> None:
        """Delete files once the transaction of `session` has committed; call `wake` then."""
        session.add_all(OutboxRow(id=new_id("out"), kind="file", key=key, payload={}) for key in keys if key)

    def forget(self, session: AsyncSession, maker: str, voice_id: str, recipe: Mapping[str, Any]) -> None:
        """Delete a voice at its maker, likewise."""
        payload = {"maker": maker, "voice_id": voice_id, "recipe": dict(recipe)}
        session.add(OutboxRow(id=new_id("out"), kind="forget", key=f"{maker}/{voice_id}"[:512], payload=payload))

    def wake(self) -> None:
        """Look now."""
        self._woken.set()

    def start(self) -> None:
        """Begin to look, now and regularly."""
        self._task = asyncio.create_task(self._run(), name="voice library outbox")

    async def aclose(self) -> None:
        """Stop looking; what is noted stays noted."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def recover(self) -> None:
        """Have deleted what processes of this machine were writing when they died."""
        async with self._database.reading() as session:
            found = await session.execute(
                select(OutboxRow.id, OutboxRow.worker).where(
                    OutboxRow.worker.is_not(None), OutboxRow.due_at > utc_now()
                )
            )
            dead = [id_ for id_, worker in found if surely_dead(worker or "")]
        if dead:
            async with self._database.writing() as session:
                await session.execute(update(OutboxRow).where(OutboxRow.id.in_(dead)).values(due_at=utc_now()))

    async def sweep(self) -> int:
        """Do what is due; how much was done."""
        async with self._database.reading() as session:
            due = (await session.scalars(select(OutboxRow).where(OutboxRow.due_at <= utc_now()).limit(BATCH))).all()
        done = [row.id for row in due if await self._do(row)]
        if done:
            async with self._database.writing() as session:
                await session.execute(delete(OutboxRow).where(OutboxRow.id.in_(done)))
        return len(done)

    async def _do(self, row: OutboxRow) -> bool:
        try:
            if row.kind == "file":
                await self._storage.delete(row.key)
            else:
                await self._forget(row.payload)
            return True
        except VisageError as error:
            wait_s = min(RETRY_MAX_S, RETRY_FIRST_S * 2 ** min(row.attempts, 12))
            log.warning("%s %s: not deleted yet, again in %.0f s: %s", row.kind, row.key, wait_s, error)
        except Exception:  # of a maker's library: the others still have their turn
            wait_s = RETRY_MAX_S
            log.exception("%s %s: not deleted yet, again in %.0f s", row.kind, row.key, wait_s)
        due = utc_now() + datetime.timedelta(seconds=wait_s)
        async with self._database.writing() as session:
            values = {"attempts": OutboxRow.attempts + 1, "due_at": due}
            await session.execute(update(OutboxRow).where(OutboxRow.id == row.id).values(values))
        return False

    async def _run(self) -> None:
        while True:
            self._woken.clear()
            try:
                await self.recover()
                while await self.sweep() == BATCH:
                    pass
            except VisageError as error:
                log.warning("the library's outbox waits: %s", error)
            except Exception:
                log.exception("the library's outbox waits")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SWEEP_S):
                    await self._woken.wait()

    async def waiting(self) -> int:
        """How much is noted that is due or was tried in vain."""
        async with self._database.reading() as session:
            rows = await session.scalars(
                select(OutboxRow.id).where(or_(OutboxRow.due_at <= utc_now(), OutboxRow.attempts > 0))
            )
            return len(rows.all())
