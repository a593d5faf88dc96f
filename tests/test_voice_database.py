"""The library's tables: made by migrations, as the models have them, on both databases, whatever interrupts."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection, event, select, text, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine

from config import ConfigError
from tests.fakes.databases import postgresql
from tests.fakes.library import migrated
from voices.database import Database, DatabaseUnavailable, database_url, make_engine
from voices.migrate import HEAD, migrate
from voices.schema import Base, FactRow, UserRow, utc_now

KINDS = ("sqlite", "postgresql")
CANCELLED = 120
ROOT = Path(__file__).parent.parent


@contextlib.asynccontextmanager
async def address(kind: str, folder: Path, *, empty: bool = False) -> AsyncIterator[str]:
    """Of a database of the test's own."""
    if kind == "sqlite":
        if not empty:
            await asyncio.to_thread(migrated, folder)
        yield f"sqlite:///{folder / 'library.db'}"
        return
    async with postgresql(empty=empty) as url:
        yield url


@contextlib.asynccontextmanager
async def database(kind: str, folder: Path) -> AsyncIterator[Database]:
    async with address(kind, folder) as given:
        made = Database(make_engine(database_url(given, folder)))
        try:
            yield made
        finally:
            await made.aclose()


def test_the_newest_migration_is_the_one_that_is_known_without_alembic() -> None:
    config = Config()
    config.set_main_option("script_location", str(ROOT / "voices" / "migrations"))
    assert ScriptDirectory.from_config(config).get_current_head() == HEAD


@pytest.mark.parametrize("kind", KINDS)
async def test_migrations_make_what_the_models_say(kind: str, tmp_path: Path) -> None:
    async with address(kind, tmp_path, empty=True) as given:
        url = database_url(given, tmp_path)
        assert await asyncio.to_thread(migrate, url) is True
        assert await asyncio.to_thread(migrate, url) is False

        def differences(connection: Connection) -> list[object]:
            context = MigrationContext.configure(connection, opts={"include_object": _ours})
            return list(compare_metadata(context, Base.metadata))

        engine = make_engine(url)
        async with engine.connect() as connection:
            assert await connection.run_sync(differences) == []
        await engine.dispose()


def _ours(thing: object, name: str | None, kind: str, reflected: bool, other: object) -> bool:
    """The trigram index is PostgreSQL's alone."""
    return not (kind == "index" and name is not None and name.endswith("_search"))


@pytest.mark.parametrize("kind", KINDS)
async def test_a_migration_that_breaks_off_leaves_nothing(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with address(kind, tmp_path, empty=True) as given:
        url = database_url(given, tmp_path)
        with monkeypatch.context() as patch:

            def breaking(url: URL) -> AsyncEngine:
                engine = make_engine(url)

                @event.listens_for(engine.sync_engine, "before_cursor_execute")
                def execute(connection: object, cursor: object, statement: str, *rest: object) -> None:
                    if "CREATE TABLE voices" in statement:
                        raise RuntimeError("killed")

                return engine

            patch.setattr("voices.migrate.make_engine", breaking)
            with pytest.raises(RuntimeError, match="killed"):
                await asyncio.to_thread(migrate, url)
        assert await asyncio.to_thread(migrate, url) is True


async def test_processes_that_start_together_migrate_once(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from voices.migrate import migrate; from voices.database import *\n"
        "for where in sys.argv[1:]: print(migrate(database_url(where, Path('x'))))"
    )
    async with postgresql(empty=True) as given:
        where = (given, f"sqlite:///{tmp_path / 'library.db'}")
        running = [
            await asyncio.create_subprocess_exec(
                sys.executable, "-c", code, *where, cwd=ROOT, stdout=asyncio.subprocess.PIPE
            )
            for _ in range(2)
        ]
        told = [(await process.communicate())[0].decode().split() for process in running]
        assert [sorted(answers) for answers in zip(*told, strict=True)] == [["False", "True"]] * 2


async def test_tables_newer_than_the_program_are_left_alone(tmp_path: Path) -> None:
    await asyncio.to_thread(migrated, tmp_path)
    with contextlib.closing(sqlite3.connect(tmp_path / "library.db")) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.commit()
    with pytest.raises(Exception, match="newer than this program"):
        await asyncio.to_thread(migrate, database_url("", tmp_path / "library.db"))


@pytest.mark.parametrize("kind", KINDS)
async def test_a_transaction_that_fails_changes_nothing(kind: str, tmp_path: Path) -> None:
    async with database(kind, tmp_path) as db:
        with pytest.raises(ValueError, match="midway"):
            async with db.writing() as session:
                session.add(UserRow(id="user-1", name="Ada"))
                await session.flush()
                raise ValueError("midway")
        with pytest.raises(IntegrityError):
            async with db.writing() as session:
                session.add_all([UserRow(id="user-1", name="Ada"), UserRow(id="user-2", name="Ada")])
        async with db.reading() as session:
            assert (await session.scalars(select(UserRow))).all() == []


@pytest.mark.parametrize("kind", KINDS)
async def test_moments_come_back_as_they_were(kind: str, tmp_path: Path) -> None:
    async with database(kind, tmp_path) as db:
        now = utc_now()
        async with db.writing() as session:
            session.add(UserRow(id="user-1", name="Ada", created_at=now))
        async with db.reading() as session:
            found = await session.get_one(UserRow, "user-1")
        assert found.created_at == now and found.created_at.tzinfo is not None


@pytest.mark.parametrize("kind", KINDS)
async def test_writers_wait_for_each_other(kind: str, tmp_path: Path) -> None:
    async with database(kind, tmp_path) as db:

        async def count_up() -> None:
            async with db.writing() as session:
                row = await session.get(FactRow, "count", with_for_update=True)
                assert row is not None
                row.value = str(int(row.value) + 1)

        async with db.writing() as session:
            session.add(FactRow(name="count", value="0"))
        await asyncio.gather(*(count_up() for _ in range(20)))
        async with db.reading() as session:
            assert (await session.get_one(FactRow, "count")).value == "20"


async def test_sqlite_keeps_references_whole_and_writes_ahead(tmp_path: Path) -> None:
    async with database("sqlite", tmp_path) as db, db.reading() as session:
        assert (await session.execute(text("PRAGMA foreign_keys"))).scalar() == 1
        assert (await session.execute(text("PRAGMA journal_mode"))).scalar() == "wal"


@pytest.mark.parametrize(
    "given", ["postgresql://nobody@127.0.0.1:1/x", "postgresql://postgres@127.0.0.1:5432/not_there"]
)
async def test_a_database_that_is_not_there_is_told(given: str, tmp_path: Path) -> None:
    with pytest.raises(DatabaseUnavailable) as gone:
        await asyncio.to_thread(migrate, database_url(given, tmp_path))
    assert gone.value.code == "database_unavailable" and gone.value.zh and gone.value.retryable


async def test_a_database_that_goes_in_the_middle_is_told_and_comes_back(tmp_path: Path) -> None:
    async with postgresql() as given:
        db = Database(make_engine(database_url(given, tmp_path)))
        name = given.rpartition("/")[2]
        async with db.reading() as session:
            await session.execute(text("SELECT 1"))
        with pytest.raises(DatabaseUnavailable):
            async with db.writing() as session:
                session.add(FactRow(name="half", value="made"))
                await session.flush()
                await _end_connections(name)
                await session.execute(text("SELECT 1"))
        async with db.reading() as session:
            assert await session.get(FactRow, "half") is None
        await db.aclose()


async def _end_connections(name: str) -> None:
    import asyncpg

    from tests.fakes.databases import SERVER

    connection = await asyncpg.connect(f"{SERVER}/postgres")
    await connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 AND pid != pg_backend_pid()", name
    )
    await connection.close()


async def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises((DatabaseUnavailable, OSError)):
        await asyncio.to_thread(migrate, database_url("", tmp_path / "file" / "library.db"))


@pytest.mark.parametrize("given", ["mysql://x/y", "nonsense", "oracle+cx_oracle://x"])
def test_other_databases_are_refused(given: str) -> None:
    with pytest.raises(ConfigError, match="database_url"):
        database_url(given, Path())


def test_addresses_get_their_driver() -> None:
    assert database_url("postgres://u:p@h/d", Path()).drivername == "postgresql+asyncpg"
    assert database_url("postgresql+psycopg://u@h/d", Path()).drivername == "postgresql+asyncpg"
    assert database_url("", Path("/x/library.db")).database == "/x/library.db"
    assert os.sep in str(database_url("sqlite:////x/y.db", Path()).database)


@pytest.mark.parametrize("kind", KINDS)
async def test_writers_that_are_cancelled_anywhere_leave_the_database_to_others(kind: str, tmp_path: Path) -> None:
    async with database(kind, tmp_path) as made:

        async def write(number: int) -> None:
            row = FactRow(name=f"k{number}", value="v")
            async with made.writing() as session:
                session.add(row)
                await session.flush()
                await session.execute(
                    update(FactRow).where(FactRow.name == row.name).values(value="").returning(FactRow.name)
                )

        for number in range(CANCELLED):
            tasks = [asyncio.create_task(write(2 * number + which)) for which in (0, 1)]
            for _ in range(number % 50):
                await asyncio.sleep(0)
            await asyncio.sleep(number % 7 * 0.0005)
            tasks[0].cancel()
            first, second = await asyncio.gather(*tasks, return_exceptions=True)
            assert first is None or isinstance(first, asyncio.CancelledError)
            assert second is None, "it waits for nothing that the other one left behind"
