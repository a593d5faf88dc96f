"""Addresses that open one file for an hour without a key, for players that cannot send one."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from voices.database import Database
from voices.schema import FactRow

VALID_S = 3_600
STEP_S = 600
"""Addresses signed within it are equal, so that a browser that has the file need not fetch it anew."""
FACT = "signing_key"


async def signing_key(database: Database) -> bytes:
    """The key all processes over this database sign with; made by the first."""
    for _ in range(2):
        async with database.reading() as session:
            found = await session.scalar(select(FactRow.value).where(FactRow.name == FACT))
        if found is not None:
            return bytes.fromhex(found)
        try:
            async with database.writing() as session:
                session.add(FactRow(name=FACT, value=secrets.token_hex(32)))
        except IntegrityError:  # another process was quicker
            continue
    return await signing_key(database)


class Signer:
    """Signs addresses and checks them.

    Args:
        key: of `signing_key`.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key

    def sign(self, path: str, query: str = "") -> str:
        """The address, relative to the page, with its signature.

        Args:
            path: `api/files/…/content`.
            query: `variant=original`, which the signature covers too.
        """
        expires = (int(time.time()) // STEP_S + 1) * STEP_S + VALID_S
        more = f"{query}&" if query else ""
        return f"{path}?{more}expires={expires}&signature={self._signature(path, query, expires)}"

    def valid(self, path: str, query: str, expires: int, signature: str) -> bool:
        """Whether `sign` gave it, and not too long ago."""
        given = signature.encode("ascii", "replace")
        expected = self._signature(path, query, expires).encode()
        return expires > time.time() and hmac.compare_digest(given, expected)

    def _signature(self, path: str, query: str, expires: int) -> str:
        text = f"{path}\n{query}\n{expires}".encode()
        return hmac.new(self._key, text, hashlib.sha256).hexdigest()[:40]
