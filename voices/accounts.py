"""`Accounts`: who may use this server besides its owner; each with a key of their own."""

from __future__ import annotations

import hashlib
import re
import secrets
import time

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from errors import BadRequest, Conflict, NotFound
from voices.database import Database
from voices.people import LOCAL, USER_KEY_PREFIX, User
from voices.schema import UserRow, new_id

REMEMBERED_S = 15.0
"""For so long a key is believed without asking the database, and one taken away still works."""
REMEMBERED_MAX = 1_000
NAME_PATTERN = re.compile(r"[\w.@ -]{1,80}")


class Accounts:
    """The users.

    Args:
        database: where they are kept.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: dict[str, tuple[float, User | None]] = {}
        """By hash: until when it is believed, and whose it is."""

    async def ensure_owner(self) -> None:
        """Have a row for whoever runs this server."""
        async with self._database.reading() as session:
            if await session.get(UserRow, LOCAL.id) is not None:
                return
        try:
            async with self._database.writing() as session:
                session.add(UserRow(id=LOCAL.id, name=LOCAL.name))
        except IntegrityError:
            pass  # another process was quicker

    async def by_key(self, key: str) -> User | None:
        """Whose key it is; None for nobody's."""
        if not key.startswith(USER_KEY_PREFIX):
            return None
        digest = _hashed(key)
        until, user = self._known.get(digest, (0.0, None))
        if until > time.monotonic():
            return user
        async with self._database.reading() as session:
            row = await session.scalar(select(UserRow).where(UserRow.key_hash == digest))
        user = None if row is None else User(row.id, row.name)
        if len(self._known) >= REMEMBERED_MAX:
            self._known.clear()
        self._known[digest] = (time.monotonic() + REMEMBERED_S, user)
        return user

    async def add(self, name: str, email: str = "") -> str:
        """A new user's key, which is told this once and kept only as its hash.

        Raises:
            BadRequest: a name that cannot be.
            Conflict: the name or the address is taken.
        """
        if not NAME_PATTERN.fullmatch(name):
            raise BadRequest(f"name {name[:80]!r} must be 1 to 80 letters, digits, spaces, _ . @ -")
        key = USER_KEY_PREFIX + secrets.token_urlsafe(32)
        row = UserRow(id=new_id("user"), name=name, email=email or None, key_hash=_hashed(key))
        try:
            async with self._database.writing() as session:
                session.add(row)
        except IntegrityError as error:
            raise Conflict(f"there is a user {name!r} already, or one with that address") from error
        return key

    async def renew(self, name: str) -> str:
        """A new key for a user whose old one then no longer works.

        Raises:
            NotFound: there is none of that name.
        """
        key = USER_KEY_PREFIX + secrets.token_urlsafe(32)
        async with self._database.writing() as session:
            row = await session.scalar(select(UserRow).where(UserRow.name == name, UserRow.key_hash.is_not(None)))
            if row is None:
                raise NotFound(f"there is no user {name!r} with a key; python app.py users list")
            row.key_hash = _hashed(key)
        self._known.clear()
        return key

    def as_user(self, row: UserRow) -> User:
        """Whom a row stands for."""
        return User(row.id, row.name, owner=row.id == LOCAL.id)

    async def all(self) -> list[UserRow]:
        """Everybody, oldest first."""
        async with self._database.reading() as session:
            return list(await session.scalars(select(UserRow).order_by(UserRow.created_at)))

    async def named(self, name: str) -> UserRow:
        """The user of that name.

        Raises:
            NotFound: there is none.
        """
        async with self._database.reading() as session:
            row = await session.scalar(select(UserRow).where(UserRow.name == name))
        if row is None:
            raise NotFound(f"there is no user {name!r}; python app.py users list")
        return row


def _hashed(key: str) -> str:
    """Keys are 256 random bits: what slows guessing of passwords down would only slow the server."""
    return hashlib.sha256(key.encode("utf-8", "replace")).hexdigest()
