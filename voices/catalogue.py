"""`Catalogue`: the library's voices found, shown, changed."""

from __future__ import annotations

import dataclasses
import math
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any, Generic, TypeVar

from sqlalchemy import ColumnElement, Select, Text, cast, func, or_, select
from sqlalchemy.orm import InstrumentedAttribute, defer, joinedload

from errors import NotFound
from voices.database import Database
from voices.people import User
from voices.schema import FileRow, VoiceRow, utc_now

ESCAPE = "\\"
NAMES_SHOWN = 80
T = TypeVar("T")


def folded(*texts: str) -> str:
    """Texts as they are searched: without differences of case, width and spacing."""
    return " ".join(unicodedata.normalize("NFKC", " ".join(texts)).casefold().split())


def contains(column: InstrumentedAttribute[str], query: str) -> list[ColumnElement[bool]]:
    """Conditions that every word of a query is somewhere in a folded column; any part of a word will do."""
    words = folded(query).split()
    escaped = [word.replace(ESCAPE, ESCAPE * 2).replace("%", f"{ESCAPE}%").replace("_", f"{ESCAPE}_") for word in words]
    return [column.like(f"%{word}%", escape=ESCAPE) for word in escaped]


def visible_to(user: User) -> ColumnElement[bool]:
    """Whether a user may see a voice: their own, and public ones."""
    return or_(VoiceRow.user_id == user.id, VoiceRow.public)


@dataclasses.dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some of many."""

    rows: Sequence[T]
    total: int
    page: int
    size: int

    @property
    def pages(self) -> int:
        """How many there are."""
        return math.ceil(self.total / self.size)


@dataclasses.dataclass(frozen=True, slots=True)
class Query:
    """Which voices."""

    scope: str = "all"
    """`all`: the user's and public ones; `mine`; `public`."""
    q: str = ""
    language: str = ""
    gender: str = ""
    maker: str = ""
    model: str = ""
    sort: str = "newest"
    """`newest`, `popular` or `name`."""
    page: int = 1
    size: int = 24


class Catalogue:
    """Voices in the database.

    Args:
        database: where they are.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(self, query: Query, user: User) -> Page[VoiceRow]:
        """A page of the voices a user may see."""
        conditions = _conditions(query, user, self._database.is_sqlite)
        # What is wanted is told by narrow columns, of which SQLite has an index; only then are whole rows read.
        wanted = (
            select(VoiceRow.id, func.count().over().label("total"))
            .where(*conditions)
            .order_by(*_order(query.sort))
            .offset((query.page - 1) * query.size)
            .limit(query.size)
            .subquery()
        )
        async with self._database.reading() as session:
            found = await session.execute(
                _cards()
                .add_columns(wanted.c.total)
                .join(wanted, VoiceRow.id == wanted.c.id)
                .order_by(*_order(query.sort))
            )
            rows = found.all()
            total = rows[0][1] if rows else 0
            if not rows and query.page > 1:
                total = await session.scalar(select(func.count()).select_from(VoiceRow).where(*conditions)) or 0
            return Page([row for row, _ in rows], total, query.page, query.size)

    async def popular(self, user: User, limit: int) -> Sequence[VoiceRow]:
        """Those that spoke most; none that never did."""
        async with self._database.reading() as session:
            rows = await session.scalars(
                _cards().where(visible_to(user), VoiceRow.uses > 0).order_by(*_order("popular")).limit(limit)
            )
            return rows.all()

    async def some(self, ids: Sequence[str]) -> dict[str, VoiceRow]:
        """Voices by id, as far as they are there."""
        async with self._database.reading() as session:
            rows = await session.scalars(_cards().where(VoiceRow.id.in_(ids)))
            return {row.id: row for row in rows}

    async def get(self, voice_id: str, user: User | None) -> VoiceRow:
        """A voice whole, with its consent.

        Args:
            voice_id: which.
            user: who must be allowed to see it; None for whoever has a signed address.

        Raises:
            NotFound: there is none, or it is another user's and not public.
        """
        async with self._database.reading() as session:
            row = await session.scalar(
                select(VoiceRow)
                .where(VoiceRow.id == voice_id, *([] if user is None else [visible_to(user)]))
                .options(joinedload(VoiceRow.user), joinedload(VoiceRow.consent))
            )
        if row is None:
            raise no_voice(voice_id)
        return row

    async def of_file(self, file_id: str) -> Sequence[str]:
        """Ids of the voices made of a recording."""
        async with self._database.reading() as session:
            return (await session.scalars(select(VoiceRow.id).where(VoiceRow.file_id == file_id))).all()

    async def change(self, voice_id: str, user: User, changes: Mapping[str, Any]) -> VoiceRow:
        """Change what is said about a voice of the user's own.

        Args:
            changes: of name, description, tags, gender, public, metadata.

        Raises:
            NotFound: it is not there, or not theirs.
        """
        async with self._database.writing() as session:
            row = await session.scalar(select(VoiceRow).where(VoiceRow.id == voice_id, VoiceRow.user_id == user.id))
            if row is None:
                raise no_voice(voice_id)
            for name, value in changes.items():
                setattr(row, "extra" if name == "metadata" else name, value)
            row.search = folded(row.name, row.description, *row.tags)
            row.updated_at = utc_now()
        return await self.get(voice_id, user)

    async def counts(self, user: User) -> tuple[int, int, int]:
        """Voices, recordings, and bytes of recordings a user keeps."""
        async with self._database.reading() as session:
            voices = await session.scalar(select(func.count()).where(VoiceRow.user_id == user.id))
            files = (
                await session.execute(
                    select(func.count(), func.coalesce(func.sum(FileRow.file_size), 0)).where(
                        FileRow.user_id == user.id
                    )
                )
            ).one()
            return voices or 0, int(files[0]), int(files[1])


def no_voice(voice_id: str) -> NotFound:
    """What is said of a voice that is not there, or that somebody may not see."""
    return NotFound(f"voice {voice_id[:NAMES_SHOWN]!r} does not exist; GET /api/voices lists those that do")


def _cards() -> Select[VoiceRow]:
    """Voices as lists show them, without what may be long."""
    long = (VoiceRow.recipe, VoiceRow.search, VoiceRow.text, VoiceRow.extra)
    return select(VoiceRow).options(*(defer(column, raiseload=True) for column in long), joinedload(VoiceRow.user))


def _order(sort: str) -> tuple[ColumnElement[Any], ...]:
    newest = (VoiceRow.created_at.desc(), VoiceRow.id.desc())
    if sort == "popular":
        return (VoiceRow.uses.desc(), *newest)
    if sort == "name":
        return (VoiceRow.name.asc(), *newest)
    return newest


def _conditions(query: Query, user: User, is_sqlite: bool) -> list[ColumnElement[bool]]:
    scopes: dict[str, ColumnElement[bool]] = {
        "all": visible_to(user),
        "mine": VoiceRow.user_id == user.id,
        "public": VoiceRow.public.is_(True),
    }
    found = [scopes[query.scope], *contains(VoiceRow.search, query.q)]
    for column, value in (
        (VoiceRow.gender, query.gender),
        (VoiceRow.maker, query.maker),
        (VoiceRow.model, query.model),
    ):
        if value:
            found.append(column == value)
    if query.language:
        found.append(_speaks(query.language, is_sqlite))
    return found


def _speaks(language: str, is_sqlite: bool) -> ColumnElement[bool]:
    """Whether a language is among a voice's, which are a JSON list."""
    if not is_sqlite:
        return VoiceRow.languages.op("?")(language)
    # A tag is letters only, so that its quoted form is found nowhere else in the text.
    return cast(VoiceRow.languages, Text).like(f'%"{language}"%')
