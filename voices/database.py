"""`Database`: connections and transactions, on SQLite or PostgreSQL, and what happens when there is no database."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import URL, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, NoSuchModuleError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from config import ConfigError
from errors import Unavailable

BUSY_TIMEOUT_MS = 5_000
POOL_SIZE = 8
POOL_TIMEOUT_S = 10.0
COMMAND_TIMEOUT_S = 15.0
DRIVERS = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg", "postgres": "postgresql+asyncpg"}

log = logging.getLogger(__name__)


class DatabaseUnavailable(Unavailable):
    """The database does not answer."""

    code = "database_unavailable"
    zh = "数据库暂时不可用，请稍后重试；数据没有丢失"


def database_url(given: str, default: Path) -> URL:
    """The address as SQLAlchemy wants it, with an asynchronous driver.

    Args:
        given: `postgresql://…` or `sqlite:///…`; empty for SQLite at `default`.
        default: file of the database where none is named.

    Raises:
        ConfigError: another database, or no address at all.
    """
    if not given:
        return URL.create("sqlite+aiosqlite", database=str(default))
    try:
        url = make_url(given)
    except ArgumentError as error:
        raise ConfigError("database_url is no address; write postgresql://USER:PASSWORD@HOST/NAME") from error
    kind = url.get_backend_name() if "+" in url.drivername else url.drivername
    if kind not in DRIVERS:
        raise ConfigError(f"database_url names {url.drivername}; it must be sqlite or postgresql")
    return url.set(drivername=DRIVERS[kind])


def make_engine(url: URL) -> AsyncEngine:
    """Connections to the database, made when they are needed.

    Raises:
        ConfigError: the driver is not installed.
    """
    if url.get_backend_name() == "sqlite":
        if url.database:
            Path(url.database).parent.mkdir(parents=True, exist_ok=True)
        engine = create_async_engine(
            url, pool_size=POOL_SIZE, pool_timeout=POOL_TIMEOUT_S, connect_args={"timeout": BUSY_TIMEOUT_MS / 1000}
        )
        event.listen(engine.sync_engine, "connect", _prepare_sqlite)
        event.listen(engine.sync_engine, "begin", _begin_sqlite)
        event.listen(engine.sync_engine, "invalidate", _undo_sqlite)
        return engine
    try:
        return create_async_engine(
            url,
            pool_size=POOL_SIZE,
            pool_timeout=POOL_TIMEOUT_S,
            pool_pre_ping=True,
            connect_args={"timeout": POOL_TIMEOUT_S, "command_timeout": COMMAND_TIMEOUT_S},
        )
    except (ModuleNotFoundError, NoSuchModuleError) as error:
        raise ConfigError("PostgreSQL needs its driver: make platform") from error


def _prepare_sqlite(connection: Any, record: Any) -> None:
    # The driver begins no transactions of its own: `_begin_sqlite` does, so that a writer waits for its turn at once.
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", f"busy_timeout={BUSY_TIMEOUT_MS}"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Any) -> None:
    # A reader's statements stand for themselves, and save the driver a way to its thread and back.
    if connection.get_execution_options().get("writing", False):
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def _undo_sqlite(connection: Any, record: Any, error: BaseException | None) -> None:
    # Closed while one of its statements is unfinished, as where a task is cancelled, a connection goes on holding the
    # write lock until its cursor is collected; what it had begun is therefore undone first.
    with contextlib.suppress(Exception):
        connection.rollback()


class Database:
    """Sessions over one engine.

    Args:
        engine: of `make_engine`.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._writer = engine.execution_options(writing=True)
        self._turn: contextlib.AbstractAsyncContextManager[Any] = (
            asyncio.Lock() if self.is_sqlite else contextlib.nullcontext()
        )
        """SQLite has one writer at a time; waiting for it here costs no connection."""
        self.failures = 0
        """How often it did not answer."""

    @property
    def is_sqlite(self) -> bool:
        """Whether it is SQLite."""
        return self._engine.dialect.name == "sqlite"

    @property
    def engine(self) -> AsyncEngine:
        """For migrations."""
        return self._engine

    @property
    def connections(self) -> int:
        """How many are in use."""
        pool: Any = self._engine.pool
        return int(pool.checkedout())

    @contextlib.contextmanager
    def _counted(self) -> Iterator[None]:
        try:
            with explained():
                yield
        except DatabaseUnavailable:
            self.failures += 1
            raise

    @contextlib.asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncSession]:
        """A session that changes nothing.

        Raises:
            DatabaseUnavailable: the database does not answer.
        """
        with self._counted():
            async with AsyncSession(self._engine, expire_on_commit=False, autoflush=False) as session:
                yield session

    @contextlib.asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncSession]:
        """A transaction, committed at the end of the block unless that raises.

        Raises:
            DatabaseUnavailable: the database does not answer; nothing was changed.
        """
        with self._counted():
            async with self._turn, AsyncSession(self._writer, expire_on_commit=False) as session, session.begin():
                yield session

    async def aclose(self) -> None:
        """Close the connections."""
        await self._engine.dispose()


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """Database that is gone, and nothing else, as `DatabaseUnavailable`."""
    try:
        yield
    except (OperationalError, InterfaceError, PoolTimeout, ConnectionError, TimeoutError, OSError) as error:
        raise _unavailable(error) from error
    except DBAPIError as error:
        # asyncpg's errors that stand for no mistake in a statement (no such database, too many clients) have no class.
        if error.connection_invalidated or type(error) is DBAPIError:
            raise _unavailable(error) from error
        raise
    except Exception as error:
        if type(error).__module__.startswith("asyncpg."):  # raised as it is while it connects
            raise _unavailable(error) from error
        raise


def _unavailable(error: BaseException) -> DatabaseUnavailable:
    cause = getattr(error, "orig", None) or error
    log.warning("the database does not answer: %s: %s", type(cause).__name__, cause)
    return DatabaseUnavailable("the database does not answer; nothing was changed: try again in a few seconds")
