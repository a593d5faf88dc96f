"""The tables brought up to date, by one process at a time; `python app.py voices migrate` does it by hand."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import URL, Connection, text
from sqlalchemy.exc import DBAPIError

from errors import Unavailable
from voices.database import explained, make_engine

HEAD = "0001"
"""The newest migration under `voices/migrations`; a test holds it to them. Known here, a database that is up to date
is told without Alembic, which takes a second to import."""
LOCK = 0x56697361
"""Of PostgreSQL's advisory locks, ours."""

log = logging.getLogger(__name__)


def migrate(url: URL) -> bool:
    """Bring the tables up to date; blocking. True when there was anything to do.

    Raises:
        DatabaseUnavailable: the database does not answer.
        Unavailable: its tables are newer than this program.
    """
    return asyncio.run(_migrate(url))


async def _migrate(url: URL) -> bool:
    engine = make_engine(url)
    try:
        with explained(), _alone(url):
            async with engine.execution_options(writing=True).connect() as connection:
                if connection.dialect.name == "postgresql":
                    await connection.execute(text("SELECT pg_advisory_lock(:lock)"), {"lock": LOCK})
                    await connection.commit()
                return await connection.run_sync(_upgrade)
    finally:
        await engine.dispose()


def version(connection: Connection) -> str:
    """The migration a database stands at; empty for one without tables."""
    try:
        found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    except DBAPIError:
        connection.rollback()
        return ""
    connection.rollback()
    return str(found or "")


def _upgrade(connection: Connection) -> bool:
    found = version(connection)
    if found == HEAD:
        return False
    if found > HEAD:
        raise Unavailable(f"the database stands at {found}, newer than this program's {HEAD}: run a newer Visage")
    logging.getLogger("alembic").setLevel(logging.WARNING)  # it tells of every plugin it has
    from alembic import command
    from alembic.config import Config

    log.info("the library's database goes from %s to %s", found or "nothing", HEAD)
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, HEAD)
    connection.commit()
    return True


@contextlib.contextmanager
def _alone(url: URL) -> Iterator[None]:
    """One process at a time for SQLite; PostgreSQL has locks of its own."""
    if url.get_backend_name() != "sqlite" or not url.database or url.database == ":memory:":
        yield
        return
    with Path(f"{url.database}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
