"""`UsageBook`: how much each user had each voice say, by day."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import datetime
import logging
from collections.abc import Sequence

from sqlalchemy import ColumnElement, func, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession

from errors import VisageError
from voices.database import Database
from voices.people import User
from voices.schema import UsageRow, UserRow, VoiceRow, utc_now

FLUSH_S = 2.0
VOICES_SHOWN = 20

log = logging.getLogger(__name__)


@dataclasses.dataclass(slots=True)
class Spoken:
    """How much was said."""

    calls: int = 0
    characters: int = 0
    seconds: float = 0.0

    def add(self, other: Spoken) -> None:
        """Count another amount in."""
        self.calls += other.calls
        self.characters += other.characters
        self.seconds += other.seconds


@dataclasses.dataclass(frozen=True, slots=True)
class Summary:
    """A user's usage."""

    total: Spoken
    days: Sequence[tuple[str, Spoken]]
    voices: Sequence[tuple[str, Spoken]]


class UsageBook:
    """Usage in the database; that of sessions is gathered for a moment first.

    Args:
        database: where it is kept.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._gathered: dict[tuple[str, str], Spoken] = {}
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to write down what is gathered."""
        self._task = asyncio.create_task(self._run(), name="voice usage")

    async def aclose(self) -> None:
        """Write down what is left."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        with contextlib.suppress(VisageError):
            await self.flush()

    def note(self, user_id: str, voice: str, spoken: Spoken) -> None:
        """Something was said; written down soon."""
        self._gathered.setdefault((user_id, voice), Spoken()).add(spoken)

    async def flush(self) -> None:
        """Write down what is gathered."""
        gathered, self._gathered = self._gathered, {}
        if not gathered:
            return
        try:
            async with self._database.writing() as session:
                known = set(await session.scalars(select(UserRow.id)))
                for (user_id, voice), spoken in gathered.items():
                    if user_id in known:  # else they were removed meanwhile
                        await self.write(session, user_id, voice, spoken)
        except VisageError:
            for (user_id, voice), spoken in gathered.items():
                self.note(user_id, voice, spoken)
            raise

    async def write(self, session: AsyncSession, user_id: str, voice: str, spoken: Spoken) -> None:
        """Write it down in a transaction."""
        now = utc_now()
        insert = sqlite.insert if self._database.is_sqlite else postgresql.insert
        values = dataclasses.asdict(spoken)
        statement = insert(UsageRow).values(user_id=user_id, voice=voice, day=f"{now:%Y-%m-%d}", **values)
        added = {name: getattr(UsageRow, name) + value for name, value in values.items()}
        await session.execute(statement.on_conflict_do_update(index_elements=["user_id", "voice", "day"], set_=added))
        await session.execute(
            update(VoiceRow)
            .where(VoiceRow.id == voice)
            # Speaking is no change of the voice.
            .values(uses=VoiceRow.uses + spoken.calls, last_used_at=now, updated_at=VoiceRow.updated_at)
        )

    async def of_voice(self, voice: str) -> Spoken:
        """What a voice said, for everybody."""
        async with self._database.reading() as session:
            row = (await session.execute(select(*_sums()).where(UsageRow.voice == voice))).one()
            return Spoken(*row)

    async def summary(self, user: User, days: int) -> Summary:
        """What a user had said in the last `days` days."""
        since = f"{utc_now() - datetime.timedelta(days=days - 1):%Y-%m-%d}"
        mine = UsageRow.user_id == user.id, UsageRow.day >= since
        async with self._database.reading() as session:
            total = (await session.execute(select(*_sums()).where(*mine))).one()
            by_day = await session.execute(
                select(UsageRow.day, *_sums()).where(*mine).group_by(UsageRow.day).order_by(UsageRow.day)
            )
            by_voice = await session.execute(
                select(UsageRow.voice, *_sums())
                .where(*mine)
                .group_by(UsageRow.voice)
                .order_by(func.sum(UsageRow.calls).desc(), UsageRow.voice)
                .limit(VOICES_SHOWN)
            )
            return Summary(
                Spoken(*total),
                [(day, Spoken(calls, characters, seconds)) for day, calls, characters, seconds in by_day],
                [(voice, Spoken(calls, characters, seconds)) for voice, calls, characters, seconds in by_voice],
            )

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_S)
            try:
                await self.flush()
            except VisageError as error:
                log.warning("usage waits to be written down: %s", error)
            except Exception:
                log.exception("usage is lost")


def _sums() -> tuple[ColumnElement[int], ColumnElement[int], ColumnElement[float]]:
    return (
        func.coalesce(func.sum(UsageRow.calls), 0),
        func.coalesce(func.sum(UsageRow.characters), 0),
        func.coalesce(func.sum(UsageRow.seconds), 0.0),
    )
