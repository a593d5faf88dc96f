"""Voices of like speakers: both ways to find them find the same, and only what a user may see."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import hashlib
import warnings
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import func, select, text

from tests.fakes.databases import postgresql
from tests.fakes.library import migrated
from voices.database import Database, database_url, make_engine
from voices.migrate import migrate
from voices.neighbours import MemoryNeighbours, Neighbours, PgVectorNeighbours, find_neighbours
from voices.people import User
from voices.schema import EmbeddingRow, FileRow, UserRow, VoiceRow, new_id

DIMENSION = 16
ADA, BOB = User("user-a", "Ada"), User("user-b", "Bob")
RNG = np.random.default_rng(3)


@pytest.fixture(scope="module")
def pgvector(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Address of a PostgreSQL that has the extension."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pgserver = pytest.importorskip("pgserver")
        server = pgserver.get_server(tmp_path_factory.mktemp("pg"), cleanup_mode="stop")
    yield server.get_uri()
    server.cleanup()


@contextlib.asynccontextmanager
async def database(kind: str, folder: Path, request: pytest.FixtureRequest) -> AsyncIterator[Database]:
    async with contextlib.AsyncExitStack() as stack:
        if kind == "sqlite":
            await asyncio.to_thread(migrated, folder)
            given = f"sqlite:///{folder / 'library.db'}"
        elif kind == "postgresql":
            given = await stack.enter_async_context(postgresql())
        else:
            given = request.getfixturevalue("pgvector")
            await asyncio.to_thread(migrate, database_url(given, folder))
        db = Database(make_engine(database_url(given, folder)))
        stack.push_async_callback(db.aclose)
        async with db.writing() as session:
            for table in (VoiceRow, EmbeddingRow, FileRow, UserRow):
                await session.execute(text(f"DELETE FROM {table.__tablename__}"))
            session.add_all([UserRow(id=user.id, name=user.name) for user in (ADA, BOB)])
        yield db


def unit(vector: Any) -> Any:
    return np.asarray(vector / np.linalg.norm(vector), np.float32)


async def add(db: Database, near: Neighbours, user: User, vector: Any, **more: Any) -> tuple[EmbeddingRow, str]:
    """A voice with that vector: its row, and the voice's id."""
    data = np.asarray(vector, "<f4").tobytes()
    digest = hashlib.sha256(data + new_id("x").encode()).hexdigest()
    file = FileRow(
        id=new_id("file"), user_id=user.id, filename="a", file_path="a", prepared_path="b", file_size=1, duration=6.0,
        format="wav", sample_rate=1, channels=1, sha256=digest, peaks=b"", checks={},
    )  # fmt: skip
    facts = {"model_name": "m", "model_version": "1", "comparable": True, **more.pop("facts", {})}
    row = EmbeddingRow(
        id=new_id("emb"), file_id=file.id, vector=data, vector_hash=digest, dimension=len(vector), **facts
    )
    voice = VoiceRow(
        id=new_id("voice"), user_id=user.id, file_id=file.id, content_hash=digest, maker="m", model="m", recipe={},
        clones=True, languages=["en"], name="n", tags=[], search="n", extra={}, **more,
    )  # fmt: skip
    async with db.writing() as session:
        session.add(file)
        await session.flush()
        session.add_all([row, voice])
        await session.flush()
        await near.keep(session, row)
    return row, voice.id


@pytest.mark.parametrize("kind", ["sqlite", "postgresql", "pgvector"])
async def test_the_nearest_are_found_among_what_may_be_seen(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    async with database(kind, tmp_path, request) as db:
        near = await find_neighbours(db)
        assert isinstance(near, PgVectorNeighbours if kind == "pgvector" else MemoryNeighbours)
        base = unit(RNG.standard_normal(DIMENSION))
        rows = []
        for number in range(40):
            owner = ADA if number % 2 else BOB
            vector = unit(base + 0.1 * number * RNG.standard_normal(DIMENSION))
            rows.append((owner, number % 8 == 0, vector, *(await add(db, near, owner, vector, public=number % 8 == 0))))
        await add(db, near, ADA, base, facts={"model_version": "2"})
        await add(db, near, ADA, base, facts={"comparable": False, "model_name": "placeholder"})
        for user in (ADA, BOB):
            query, own = rows[1][3], rows[1][4]
            found = await near.near(query, user, 6, own)
            seen = [row for row in rows if (row[0] == user or row[1]) and row[4] != own]
            expected = sorted(((float(row[2] @ rows[1][2]), row[4]) for row in seen), reverse=True)[:6]
            assert [voice for voice, _ in found] == [voice for _, voice in expected]
            assert [score for _, score in found] == pytest.approx([score for score, _ in expected], abs=1e-5)
        late = await add(db, near, ADA, rows[1][2])
        assert (await near.near(rows[1][3], ADA, 1, rows[1][4]))[0][0] == late[1]
        async with db.writing() as session:
            await session.delete(await session.get_one(VoiceRow, late[1]))
        assert (await near.near(rows[1][3], ADA, 1, rows[1][4]))[0][0] != late[1]


async def test_vectors_that_were_there_before_the_extension_are_taken_in(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    async with database("pgvector", tmp_path, request) as db:
        before = MemoryNeighbours(db)
        rows = [await add(db, before, ADA, unit(RNG.standard_normal(DIMENSION))) for _ in range(5)]
        near = await find_neighbours(db)
        async with db.reading() as session:
            missing = select(func.count()).select_from(EmbeddingRow).where(text("point IS NULL"))
            assert await session.scalar(missing) == 0
        assert len(await near.near(rows[0][0], ADA, 9, rows[0][1])) == 4


async def test_rows_of_other_processes_are_seen_though_they_come_late(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    async with database("sqlite", tmp_path, request) as db:
        near = MemoryNeighbours(db)
        rows = [await add(db, near, ADA, unit(RNG.standard_normal(DIMENSION))) for _ in range(3)]
        assert len(await near.near(rows[0][0], ADA, 9, rows[0][1])) == 2
        late, _ = await add(db, near, ADA, unit(RNG.standard_normal(DIMENSION)))
        async with db.writing() as session:
            row = await session.get_one(EmbeddingRow, late.id)
            row.created_at = rows[0][0].created_at - datetime.timedelta(seconds=30)
        assert len(await near.near(rows[0][0], ADA, 9, rows[0][1])) == 3


async def test_many_that_may_not_be_seen_hide_none_that_may(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    async with database("sqlite", tmp_path, request) as db:
        near = MemoryNeighbours(db)
        base = unit(RNG.standard_normal(DIMENSION))
        first = await add(db, near, ADA, base)
        for _ in range(210):
            await add(db, near, BOB, unit(base + 0.01 * RNG.standard_normal(DIMENSION)))
        far = await add(db, near, ADA, unit(-base))
        assert [voice for voice, _ in await near.near(first[0], ADA, 3, first[1])] == [far[1]]
