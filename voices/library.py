"""`Library`: the voice library of a server, opened behind its start.

A database may be gone for a while. So the server is ready without it; whoever wants it waits until it is open, or is
told why it cannot be. Only importing it comes before: on a thread beside the event loop that would hold the loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import importlib.util
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from config import ConfigError, Settings
from errors import Unavailable, VisageError
from tts.library import PREFIX, LibraryEngine
from voices.figures import LibraryFigures
from voices.opened import Opened, Plan, open_library
from voices.people import LOCAL, User

if TYPE_CHECKING:
    from tts.base import Voice
    from tts.chain import Chain
    from voices.audio.desk import Desk
    from voices.audio.judge import Limits
    from voices.cloning.build import Makers
    from voices.speakers.base import SpeakerModel

RETRY_S = 2.0
"""A library that could not be opened is tried again for a request that comes so much later."""
COUNT_PATIENCE_S = 2.0
"""Prometheus waits ten seconds for all figures."""
PACKAGES = {"postgresql": "asyncpg", "redis_url": "redis", "s3": "obstore"}
"""What the extra `platform` brings, by what needs it."""

log = logging.getLogger(__name__)


def _makers(settings: Settings, chain: Chain | None, speakers: SpeakerModel | None) -> Makers:
    from voices.cloning.build import build_makers

    return build_makers(settings, chain, speakers)


def _speaker_model(settings: Settings) -> SpeakerModel | None:
    from voices.speakers.build import build_speaker_model

    return build_speaker_model(settings)


def _desk(limits: Limits) -> Desk:
    from voices.audio.desk import AudioDesk

    return AudioDesk(limits)


@dataclasses.dataclass(frozen=True, slots=True)
class Sources:
    """Where voices come from, what tells speakers apart, and what judges recordings; made when the library opens."""

    makers: Callable[[Settings, Chain | None, SpeakerModel | None], Makers] = _makers
    speaker_model: Callable[[Settings], SpeakerModel | None] = _speaker_model
    desk: Callable[[Limits], Desk] = _desk


def check(settings: Settings) -> None:
    """Refuse a configuration that needs a package which is not installed.

    Raises:
        ConfigError: it does.
    """
    needs = {
        "postgresql": settings.database_url.startswith("postgres"),
        "redis_url": bool(settings.redis_url),
        "s3": settings.storage_type == "s3",
    }
    for what, needed in needs.items():
        if needed and importlib.util.find_spec(PACKAGES[what]) is None:
            raise ConfigError(f"{what} needs the package {PACKAGES[what]}, which is not installed: make platform")


class Library:
    """Made on the event loop; `start` when the server is ready, `aclose` in the end.

    Args:
        settings: the configuration.
        root: folder of its database and storage, where nothing else is configured.
        chain: the speech engines, where there are any.
        engine: speaks its voices in sessions.
        sources: where voices come from.
    """

    def __init__(
        self,
        settings: Settings,
        root: Path,
        chain: Callable[[], Chain | None],
        engine: LibraryEngine,
        sources: Sources | None = None,
    ) -> None:
        self._settings = settings
        self._root = root
        self._chain = chain
        self._engine = engine
        self._sources = sources or Sources()
        self.counted = LibraryFigures()
        self._stack = contextlib.AsyncExitStack()
        self._opened: Opened | None = None
        self._opening: asyncio.Task[Opened] | None = None
        self._failed_at = 0.0
        self._starting: asyncio.Task[None] | None = None
        self._warming: asyncio.Task[None] | None = None

    def start(self, after: Awaitable[None]) -> None:
        """Open it once `after` has come."""
        self._starting = asyncio.create_task(self._start(after), name="voice library start")

    async def _start(self, after: Awaitable[None]) -> None:
        await after
        try:
            await self.opened()
        except VisageError as error:  # told again to whoever wants it
            return log.warning("the voice library is not open: %s", error)
        if self._settings.ref_file.startswith(PREFIX):
            try:
                await self.admit(self._settings.ref_file, LOCAL)
            except VisageError as error:
                log.warning("REF_FILE: %s", error)

    async def opened(self) -> Opened:
        """It, open.

        Raises:
            DatabaseUnavailable: the database does not answer.
            Unavailable: it cannot be opened, and why.
        """
        if self._opened is not None:
            return self._opened
        if self._opening is None or (self._opening.done() and time.monotonic() - self._failed_at > RETRY_S):
            self._opening = asyncio.create_task(self._open(), name="voice library opening")
        return await asyncio.shield(self._opening)

    async def _open(self) -> Opened:
        try:
            plan = Plan(
                settings=self._settings,
                root=self._root,
                chain=self._chain,
                engine=self._engine,
                makers=self._sources.makers,
                speaker_model=self._sources.speaker_model,
                desk=self._sources.desk,
                figures=self.counted,
            )
            self._opened = await self._stack.enter_async_context(open_library(plan))
            return self._opened
        except ConfigError as error:
            self._failed_at = time.monotonic()
            raise Unavailable(f"the voice library cannot be opened: {error}") from error
        except BaseException:
            self._failed_at = time.monotonic()
            raise

    def expect_recordings(self) -> None:
        """Somebody looks at the page for new voices: load what their recording will need, once."""
        if self._warming is None and self._opened is not None:
            self._warming = asyncio.create_task(self._opened.warm_up(), name="voice library warm up")

    async def admit(self, name: str, user: User, *, public: bool = False) -> Voice:
        """Let a session have a voice of the library.

        Args:
            name: `library:voice-…`.
            user: who asks for it.
            public: the session is another user's, which may have public ones only.

        Raises:
            NotFound: there is none, or they may not have it.
            NoMaker: who speaks it cannot be asked now.
            Unavailable: the library is not open.
        """
        opened = await self.opened()
        reader = await opened.readers.find(name, user, public=public)
        voice = opened.readers.as_voice(reader)
        self._engine.admit(voice)
        return voice

    async def user_of_key(self, key: str) -> User | None:
        """Whose key it is; None for nobody's.

        Raises:
            Unavailable: the library is not open.
        """
        return await (await self.opened()).accounts.by_key(key)

    def figures(self) -> dict[str, float]:
        """For `/metrics`."""
        return {"voices_open": float(self._opened is not None), **(self._opened.figures() if self._opened else {})}

    async def counts(self) -> dict[str, float]:
        """For `/metrics`: what only the database knows, and whether it answers; nothing until the library is open."""
        if self._opened is None:
            return {}
        try:
            async with asyncio.timeout(COUNT_PATIENCE_S):
                return {"voices_database_up": 1.0, **await self._opened.counts()}
        except (VisageError, TimeoutError):
            return {"voices_database_up": 0.0}

    def describe(self) -> Mapping[str, Any]:
        """JSON-ready facts."""
        return self._opened.describe() if self._opened is not None else {"open": False}

    async def aclose(self) -> None:
        """Close it."""
        for task in (self._starting, self._warming, self._opening):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        await self._stack.aclose()
