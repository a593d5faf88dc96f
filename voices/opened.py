"""`open_library`: the voice library put together over its database.

The parts know nothing of HTTP; what a request may do is told by the user it is given.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import configure_mappers

from config import Settings
from errors import VisageError
from tts.chain import Chain
from tts.library import LibraryEngine
from voices.accounts import Accounts
from voices.audio.desk import Desk
from voices.audio.judge import Limits
from voices.catalogue import Catalogue
from voices.cloning.build import Makers, figures_of
from voices.creation import Creator, Parts
from voices.database import Database, database_url, make_engine
from voices.embeddings import Embeddings
from voices.figures import LibraryFigures, timed
from voices.files import Files
from voices.generation import Generation
from voices.jobs import Jobs
from voices.migrate import migrate
from voices.neighbours import Neighbours, find_neighbours
from voices.outbox import Outbox
from voices.people import LOCAL
from voices.readers import Readers
from voices.removal import Removal
from voices.schema import VoiceRow
from voices.shared import Shared, build_shared
from voices.signing import Signer, signing_key
from voices.speakers.base import SpeakerModel
from voices.storage.base import Storage
from voices.storage.build import build_storage
from voices.storage.watched import WatchedStorage
from voices.usage import Spoken, UsageBook
from voices.watermark import Watermark

TIDY_EVERY_S = 3_600.0
DATABASE = "library.db"
STORAGE = "storage"

configure_mappers()  # here, and not when the first request comes

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True)
class Opened:
    """The library, open."""

    settings: Settings
    database: Database
    storage: Storage
    shared: Shared
    outbox: Outbox
    accounts: Accounts
    desk: Desk
    makers: Makers
    neighbours: Neighbours
    embeddings: Embeddings
    catalogue: Catalogue
    files: Files
    jobs: Jobs
    creator: Creator
    readers: Readers
    usage: UsageBook
    generation: Generation
    removal: Removal
    signer: Signer
    watermark: Watermark
    engine: LibraryEngine

    async def warm_up(self) -> None:
        """Load what the first recording of somebody who looks at the page for it will need."""
        warm_up: Callable[[], Awaitable[None]] | None = getattr(self.embeddings.model, "warm_up", None)
        with contextlib.suppress(VisageError):  # told to whoever needs it
            await self.desk.warm_up()
            if warm_up is not None and self.embeddings.usable:
                await warm_up()

    def figures(self) -> dict[str, float]:
        """For `/metrics`."""
        return {
            "voices_speech_seconds_total": self.generation.seconds,
            "voices_speech_cached_total": float(self.generation.cached),
            "voices_uploads_waiting": float(self.desk.waiting),
            "voices_database_connections": float(self.database.connections),
            "voices_database_failures_total": float(self.database.failures),
            "voices_cache_failures_total": float(self.shared.failures),
            **{name: value for maker in self.makers.all for name, value in figures_of(maker).items()},
        }

    async def counts(self) -> dict[str, float]:
        """For `/metrics`: what only the database knows.

        Raises:
            DatabaseUnavailable: it does not answer.
        """
        jobs, deletions = await self.jobs.open(), await self.outbox.waiting()
        return {
            "voices_jobs_waiting": float(jobs["pending"]),
            "voices_jobs_running": float(jobs["running"]),
            "voices_deletions_waiting": float(deletions),
        }

    def describe(self) -> Mapping[str, Any]:
        """JSON-ready facts."""
        model = self.embeddings.model
        return {
            "database": "sqlite" if self.database.is_sqlite else "postgresql",
            "storage": self.settings.storage_type,
            "shared": type(self.shared).__name__,
            "neighbours": type(self.neighbours).__name__,
            "makers": {maker.name: maker.why_not() or "ready" for maker in self.makers.all},
            "speakers": model.id.name if model is not None else "none",
        }


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """What a library is opened with."""

    settings: Settings
    root: Path
    """Folder of the database and of storage, where nothing else is configured."""
    chain: Callable[[], Chain | None]
    engine: LibraryEngine
    makers: Callable[[Settings, Chain | None, SpeakerModel | None], Makers]
    speaker_model: Callable[[Settings], SpeakerModel | None]
    desk: Callable[[Limits], Desk]
    figures: LibraryFigures = dataclasses.field(default_factory=LibraryFigures)


@contextlib.asynccontextmanager
async def open_library(plan: Plan, *, working: bool = True) -> AsyncIterator[Opened]:
    """The library, for as long as the block runs.

    Args:
        plan: with what.
        working: also make voices, delete and tidy up; False for a command that looks or changes something.

    Raises:
        ConfigError: it cannot be, as configured.
        DatabaseUnavailable: the database does not answer.
    """
    settings = plan.settings
    url = database_url(settings.database_url, plan.root / DATABASE)
    await asyncio.to_thread(migrate, url)
    async with contextlib.AsyncExitStack() as stack:
        database = Database(make_engine(url))
        stack.push_async_callback(database.aclose)
        shared = build_shared(settings.redis_url)
        stack.push_async_callback(shared.aclose)
        opened = await _put_together(plan, database, shared, stack)
        plan.engine.connect(opened.readers.admitted, _counting(opened))
        if working:
            await _start(opened, stack)
        yield opened


async def _put_together(plan: Plan, database: Database, shared: Shared, stack: contextlib.AsyncExitStack) -> Opened:
    settings = plan.settings
    storage = WatchedStorage(build_storage(settings, plan.root / STORAGE), plan.figures)
    accounts = Accounts(database)
    await accounts.ensure_owner()
    signer = Signer(await signing_key(database))
    neighbours = await find_neighbours(database)
    model = await asyncio.to_thread(plan.speaker_model, settings)
    if model is not None:
        stack.push_async_callback(model.aclose)
    makers = await asyncio.to_thread(plan.makers, settings, plan.chain(), model)
    stack.push_async_callback(makers.aclose)
    outbox = Outbox(database, storage, lambda payload: forget(database, makers, payload, plan.figures))
    desk = plan.desk(Limits(settings.voice_seconds_min, settings.voice_seconds_max))
    stack.push_async_callback(desk.aclose)
    embeddings = Embeddings(database, storage, model, neighbours)
    jobs = Jobs(database, shared)
    readers = Readers(database, makers, plan.chain, plan.figures)
    usage = UsageBook(database)
    watermark = Watermark()
    generation = Generation(database, storage, outbox, readers, usage, shared, watermark)
    stack.push_async_callback(generation.aclose)
    return Opened(
        settings=settings,
        database=database,
        storage=storage,
        shared=shared,
        outbox=outbox,
        accounts=accounts,
        desk=desk,
        makers=makers,
        neighbours=neighbours,
        embeddings=embeddings,
        catalogue=Catalogue(database),
        files=Files(database, outbox, desk, plan.figures),
        jobs=jobs,
        creator=Creator(Parts(database, storage, outbox, jobs, embeddings, makers, watermark, plan.figures)),
        readers=readers,
        usage=usage,
        generation=generation,
        removal=Removal(database, outbox, shared),
        signer=signer,
        watermark=watermark,
        engine=plan.engine,
    )


async def _start(opened: Opened, stack: contextlib.AsyncExitStack) -> None:
    opened.usage.start()
    stack.push_async_callback(opened.usage.aclose)
    opened.outbox.start()
    stack.push_async_callback(opened.outbox.aclose)
    tidying = asyncio.create_task(_tidy(opened), name="voice library upkeep")
    stack.push_async_callback(_cancelled, tidying)
    opened.creator.start()
    stack.push_async_callback(opened.creator.aclose)


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def _tidy(opened: Opened) -> None:
    """What has grown old goes, now and every hour."""
    settings = opened.settings
    while True:
        try:
            removed = await opened.removal.aged(settings.keep_uploads_h, settings.keep_speech_days)
            if removed.files:
                log.info("%d files had grown old and are deleted", removed.files)
        except VisageError as error:
            log.warning("the library is tidied up later: %s", error)
        except Exception:
            log.exception("the library is tidied up later")
        await asyncio.sleep(TIDY_EVERY_S)


async def forget(database: Database, makers: Makers, payload: Mapping[str, Any], figures: LibraryFigures) -> None:
    """Delete a voice at its maker, unless a voice of the library is that very one.

    Raises:
        VisageError: the maker could not be asked; it is to be tried again.
    """
    name, voice_id = payload["maker"], payload["voice_id"]
    async with database.reading() as session:
        same = VoiceRow.maker == name, VoiceRow.step_voice_id == voice_id
        if voice_id and await session.scalar(select(VoiceRow.id).where(*same).limit(1)):
            return
    maker = makers.named(name)
    if maker is None:
        log.warning("voice %s of %s stays there: that maker is configured no more", voice_id, name)
        return
    with timed(figures.calls_s, maker=name, call="forget"):
        await maker.forget(voice_id, payload["recipe"])


def _counting(opened: Opened) -> Callable[[str, int, float], None]:
    """Counts what sessions have the library's voices say, for the voice and its owner."""

    def spoken(voice_id: str, characters: int, seconds: float) -> None:
        owner = opened.readers.owners.get(voice_id, LOCAL.id)
        opened.usage.note(owner, voice_id, Spoken(1, characters, seconds))

    return spoken
