"""Databases of a test's own on the PostgreSQL of this machine."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from voices.database import database_url
from voices.migrate import HEAD, migrate

SERVER = os.environ.get("VISAGE_TEST_POSTGRES", "postgresql://postgres@127.0.0.1:5432")
TEMPLATE = f"visage_voices_template_{HEAD}"


async def _command(*statements: str) -> None:
    connection = await asyncpg.connect(f"{SERVER}/postgres", timeout=5)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


async def _template() -> None:
    """Have a database that is up to date, to be copied."""
    with contextlib.suppress(asyncpg.DuplicateDatabaseError, asyncpg.UniqueViolationError):
        await _command(f"CREATE DATABASE {TEMPLATE}")
    await asyncio.to_thread(migrate, database_url(f"{SERVER}/{TEMPLATE}", Path()))


@contextlib.asynccontextmanager
async def postgresql(*, empty: bool = False) -> AsyncIterator[str]:
    """Address of a new database; `empty` without tables. Skips the test where there is no server."""
    name = f"visage_voices_test_{secrets.token_hex(6)}"
    try:
        if not empty:
            await _template()
        await _command(f"CREATE DATABASE {name}" + ("" if empty else f" TEMPLATE {TEMPLATE}"))
    except (OSError, asyncpg.PostgresConnectionError) as error:
        pytest.skip(f"no PostgreSQL at {SERVER}: {error}")
    try:
        yield f"{SERVER}/{name}"
    finally:
        await _command(f"DROP DATABASE {name} WITH (FORCE)")
