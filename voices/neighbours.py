"""Voices of like speakers: by pgvector where the database has it, else by a matrix in memory.

Vectors are compared only with those of the same model and version, and never where they say nothing (placeholders).
"""

from __future__ import annotations

import asyncio
import dataclasses
import datetime
import logging
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import ColumnElement, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

from voices.catalogue import visible_to
from voices.database import Database
from voices.people import User
from voices.schema import EmbeddingRow, Time, VoiceRow

PAGE = 500
OVERLAP_S = 120.0
"""Rows of other processes may become visible later than younger ones: the last minutes are read again."""
LOOKS = (200, 2_000, 1_000_000)
"""So many of the nearest are looked up in the database until enough of them may be seen."""

log = logging.getLogger(__name__)
Scored = list[tuple[str, float]]
"""(voice id, cosine), nearest first."""


class Neighbours(Protocol):
    """Finds voices by vector."""

    async def keep(self, session: AsyncSession, row: EmbeddingRow) -> None:
        """Note a new vector, in the transaction that adds it."""
        ...

    async def near(self, row: EmbeddingRow, user: User, limit: int, without: str) -> Scored:
        """The voices a user may see that are nearest to a vector, but one.

        Args:
            row: the vector.
            user: who asks.
            limit: at most so many.
            without: id of a voice that is left out.
        """
        ...


@dataclasses.dataclass(slots=True)
class _Matrix:
    """The vectors of one model."""

    vectors: NDArray[np.float32]
    """[rows, dimension]; more rows than are in use, so that it need not grow with each."""
    files: list[str] = dataclasses.field(default_factory=list)
    """By row: the recording."""
    known: set[str] = dataclasses.field(default_factory=set)
    """Ids of the rows."""
    newest: Time = datetime.datetime.fromtimestamp(0, datetime.UTC)

    def add(self, id_: str, file_id: str, vector: bytes) -> None:
        if id_ in self.known:
            return
        if len(self.files) == len(self.vectors):
            grown = np.zeros((max(PAGE, 2 * len(self.files)), self.vectors.shape[1]), np.float32)
            grown[: len(self.files)] = self.vectors
            self.vectors = grown
        self.vectors[len(self.files)] = np.frombuffer(vector, "<f4")
        self.files.append(file_id)
        self.known.add(id_)

    def ranked(self, vector: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Rows, nearest first, and all rows' cosines."""
        scores = self.vectors[: len(self.files)] @ vector
        return np.argsort(-scores, kind="stable"), scores


class MemoryNeighbours:
    """All vectors of a model in memory, read as they come; ten thousand take 8 MB and a millisecond."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._matrices: dict[tuple[str, str, int], _Matrix] = {}
        self._reading = asyncio.Lock()

    async def keep(self, session: AsyncSession, row: EmbeddingRow) -> None:
        """See `Neighbours`."""

    async def near(self, row: EmbeddingRow, user: User, limit: int, without: str) -> Scored:
        """See `Neighbours`."""
        matrix = await self._matrix(row)
        order, scores = await asyncio.to_thread(matrix.ranked, np.frombuffer(row.vector, "<f4"))
        found: Scored = []
        begin = 0
        for end in LOOKS:
            rows = order[begin:end]
            if len(found) >= limit or not rows.size:
                break
            by_file = {matrix.files[index]: float(scores[index]) for index in rows}
            found += await self._visible(by_file, user, without)
            begin = end
        return sorted(found, key=lambda pair: -pair[1])[:limit]

    async def _visible(self, by_file: dict[str, float], user: User, without: str) -> Scored:
        found: Scored = []
        files = list(by_file)
        async with self._database.reading() as session:
            for at in range(0, len(files), PAGE):
                wanted: ColumnElement[bool] = VoiceRow.file_id.in_(files[at : at + PAGE])
                rows = await session.execute(
                    select(VoiceRow.id, VoiceRow.file_id).where(wanted, visible_to(user), VoiceRow.id != without)
                )
                found += [(id_, by_file[file_id]) for id_, file_id in rows]
        return found

    async def _matrix(self, row: EmbeddingRow) -> _Matrix:
        """The vectors of the row's model, with those that have come since."""
        key = (row.model_name, row.model_version, row.dimension)
        async with self._reading:
            matrix = self._matrices.setdefault(key, _Matrix(np.zeros((0, row.dimension), np.float32)))
            since, after = matrix.newest - datetime.timedelta(seconds=OVERLAP_S) if matrix.files else matrix.newest, ""
            while True:
                page = await self._page(key, since, after)
                for id_, file_id, vector, created_at in page:
                    matrix.add(id_, file_id, vector)
                    since, after = created_at, id_
                    matrix.newest = max(matrix.newest, created_at)
                if len(page) < PAGE:
                    return matrix

    async def _page(self, key: tuple[str, str, int], since: Time, after: str) -> list[tuple[str, str, bytes, Time]]:
        name, version, dimension = key
        columns = EmbeddingRow.id, EmbeddingRow.file_id, EmbeddingRow.vector, EmbeddingRow.created_at
        later = (EmbeddingRow.created_at > since) | ((EmbeddingRow.created_at == since) & (EmbeddingRow.id > after))
        of_model = (
            EmbeddingRow.model_name == name,
            EmbeddingRow.model_version == version,
            EmbeddingRow.dimension == dimension,
            EmbeddingRow.comparable,
        )
        async with self._database.reading() as session:
            rows = await session.execute(
                select(*columns).where(*of_model, later).order_by(EmbeddingRow.created_at, EmbeddingRow.id).limit(PAGE)
            )
            return [(id_, file_id, vector, at) for id_, file_id, vector, at in rows]


class PgVectorNeighbours:
    """The database's own search."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def keep(self, session: AsyncSession, row: EmbeddingRow) -> None:
        """See `Neighbours`."""
        await session.execute(
            text("UPDATE embeddings SET point = CAST(CAST(:point AS text) AS vector) WHERE id = :id"),
            {"point": _literal(row.vector), "id": row.id},
        )

    async def near(self, row: EmbeddingRow, user: User, limit: int, without: str) -> Scored:
        """See `Neighbours`."""
        statement = text(
            "SELECT voices.id, 1 - (embeddings.point <=> CAST(CAST(:point AS text) AS vector)) AS score "
            "FROM embeddings JOIN voices ON voices.file_id = embeddings.file_id "
            "WHERE embeddings.model_name = :name AND embeddings.model_version = :version "
            "AND embeddings.dimension = :dimension AND embeddings.comparable AND voices.id != :without "
            "AND (voices.public OR voices.user_id = :user) "
            "ORDER BY embeddings.point <=> CAST(CAST(:point AS text) AS vector) LIMIT :limit"
        )
        given = {
            "point": _literal(row.vector),
            "name": row.model_name,
            "version": row.model_version,
            "dimension": row.dimension,
            "without": without,
            "user": user.id,
            "limit": limit,
        }
        async with self._database.reading() as session:
            return [(id_, float(score)) for id_, score in await session.execute(statement, given)]


def _literal(vector: bytes) -> str:
    return "[" + ",".join(map(repr, np.frombuffer(vector, "<f4").tolist())) + "]"


async def find_neighbours(database: Database) -> Neighbours:
    """pgvector's search where the extension is there or may be added, else the one in memory.

    The extension's column is not among the migrations': it may come later than they do, and then holds all vectors.
    """
    if database.is_sqlite or not await _extension(database):
        return MemoryNeighbours(database)
    found = PgVectorNeighbours(database)
    async with database.writing() as session:
        await session.execute(text("ALTER TABLE embeddings ADD COLUMN IF NOT EXISTS point vector"))
    while True:
        async with database.writing() as session:
            missing = await session.scalars(
                select(EmbeddingRow).where(text("point IS NULL"), EmbeddingRow.comparable).limit(PAGE)
            )
            rows = missing.all()
            for row in rows:
                await found.keep(session, row)
        if len(rows) < PAGE:
            return found


async def _extension(database: Database) -> bool:
    async with database.writing() as session:
        if await session.scalar(text("SELECT 1 FROM pg_extension WHERE extname = 'vector'")):
            return True
        if not await session.scalar(text("SELECT 1 FROM pg_available_extensions WHERE name = 'vector'")):
            return False
        try:
            async with session.begin_nested():
                await session.execute(text("CREATE EXTENSION IF NOT EXISTS vector"))
        except DBAPIError as error:
            log.info("pgvector is there, but this user may not add it: %s", error.orig)
            return False
        return True
