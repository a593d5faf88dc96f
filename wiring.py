"""Puts the rooms together: settings in, everything the HTTP application works with out."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

from actions import Action, load_actions
from avatar import Avatar, avatar_directory, list_avatars
from config import Settings
from engines.scheduler import Scheduler
from engines.testcard import TestcardReal
from errors import BadRequest, Unavailable
from litereal import LiteEngine, LiteReal
from llm import Conversation, LanguageModel
from server.endpoint import AvatarCard, Services
from server.metrics import Metrics
from session import Built, Wish
from sessions import SessionManager
from tts.base import Voice
from ttsreal import BaseTTS, Chain, build_chain
from webrtc import PeerSession, RtcOptions

log = logging.getLogger(__name__)

HERE = Path(__file__).parent
AVATARS = HERE / "data" / "avatars"
WEB = HERE / "web" / "dist"
RECORDINGS = HERE / "data" / "record"
DECODERS = 2  # threads that decode uploads; the lip engine and the encoders need the other cores


@dataclasses.dataclass(slots=True)
class ChainSettings:
    """What `build_chain` reads."""

    tts: str
    REF_FILE: str | None


class House(Protocol):
    """What all sessions share."""

    async def start(self) -> None:
        """Load what the first session needs, so that it need not wait."""
        ...

    async def build(self, sessionid: str, wish: Wish, on_closed: Callable[[], None]) -> Built:
        """One session for `SessionManager`."""
        ...

    def cards(self) -> Sequence[AvatarCard]:
        """What clients are told of the avatars."""
        ...

    def voices(self) -> Sequence[Voice]:
        """The voices that can be used now."""
        ...

    def describe(self) -> dict[str, Any]:
        """Facts about the engines."""
        ...

    def not_ready(self) -> str | None:
        """None once a session can be opened, else why not."""
        ...

    async def aclose(self) -> None:
        """Free everything."""
        ...


def rtc_options(settings: Settings) -> RtcOptions:
    """How this server meets its clients."""
    return RtcOptions(
        public_address=settings.public_address or None,
        udp_port_range=settings.udp_range,
        video_bitrate_bps=settings.video_bitrate,
    )


class TestcardHouse:
    """Sessions that show the test card: marks in picture and sound, for measuring."""

    __test__ = False  # not a test, whatever its name

    def __init__(self, settings: Settings) -> None:
        self._rtc = rtc_options(settings)

    async def start(self) -> None:
        """Nothing has to be loaded."""

    async def build(self, sessionid: str, wish: Wish, on_closed: Callable[[], None]) -> Built:
        """One session."""
        real = TestcardReal(sessionid)
        peer = PeerSession(real, self._rtc, lambda _: on_closed())
        return Built(real, peer, "testcard", record=peer.record)

    def cards(self) -> Sequence[AvatarCard]:
        """There are none to choose from."""
        return ()

    def voices(self) -> Sequence[Voice]:
        """The test card cannot speak."""
        return ()

    def describe(self) -> dict[str, Any]:
        """Facts."""
        return {"lips": {"engine": "testcard"}}

    def not_ready(self) -> str | None:
        """It is always ready."""
        return None

    async def aclose(self) -> None:
        """It holds nothing."""


class LiteHouse:
    """Sessions of the lite engine: its scheduler, the voices, the loaded avatars."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.engine = LiteEngine(settings.batch_size)
        self.scheduler = Scheduler(self.engine)
        self.chain: Chain = build_chain(ChainSettings(",".join(settings.tts), settings.ref_file or None))
        self._avatars: dict[str, Avatar] = {}
        self._loading = asyncio.Lock()
        self._warming: asyncio.Task[None] | None = None
        self._rtc = rtc_options(settings)

    async def start(self) -> None:
        """Load what the first session needs, so that it need not wait."""
        self.scheduler.start()
        await self.avatar("")
        # She can be seen and heard repeating recordings while her voices are loaded; the first sentence waits for them.
        self._warming = asyncio.create_task(self.chain.warm_up(), name="voices warm up")

    def voices(self) -> Sequence[Voice]:
        """The voices that can be used now."""
        return self.chain.voices()

    async def aclose(self) -> None:
        """End the engine's thread and free the voices."""
        if self._warming is not None:
            self._warming.cancel()
            await asyncio.gather(self._warming, return_exceptions=True)
        await asyncio.to_thread(self.scheduler.close)
        await self.chain.aclose()

    def cards(self) -> list[AvatarCard]:
        """What clients are told of the avatars on disk."""
        return [
            AvatarCard(
                id=info.id,
                names={"en": info.name.en, "zh": info.name.zh},
                width=info.width,
                height=info.height,
                fps=info.fps,
                licence=info.licence,
                poster=AVATARS / info.id / info.poster,
            )
            for info in list_avatars(AVATARS)
        ]

    async def avatar(self, avatar_id: str) -> Avatar:
        """The avatar of that id, or the default one, loaded once.

        Raises:
            NotFound: there is none of that id.
            Unavailable: there is none at all.
        """
        name = avatar_id or self.settings.avatar_id
        if not name:
            infos = await asyncio.to_thread(list_avatars, AVATARS)
            if not infos:
                raise Unavailable(
                    f"there is no avatar under {AVATARS.relative_to(HERE)}: restore it from the repository"
                )
            name = infos[0].id
        async with self._loading:
            if name not in self._avatars:
                self._avatars[name] = await asyncio.to_thread(self._load, name)
            return self._avatars[name]

    def _load(self, name: str) -> Avatar:
        avatar = Avatar.load(avatar_directory(AVATARS, name))
        self.engine.prepare(avatar)
        return avatar

    async def build(self, sessionid: str, wish: Wish, on_closed: Callable[[], None]) -> Built:
        """One session for `SessionManager`."""
        avatar = await self.avatar(wish.avatar)
        actions = await asyncio.to_thread(self._actions, wish.custom_config, avatar)
        real = build_real(self.settings, avatar, self.scheduler, self.chain, sessionid, wish, actions)
        peer = PeerSession(real, self._rtc, lambda _: on_closed())
        return Built(real, peer, avatar.id, tuple(sorted({0, *actions})), record=peer.record)

    def _actions(self, text: str, avatar: Avatar) -> dict[int, Action]:
        """The session's own custom actions, else those of `--customvideo_config`."""
        if not text and self.settings.customvideo_config:
            text = Path(self.settings.customvideo_config).read_text("utf-8")
        if not text:
            return {}
        try:
            items = json.loads(text)
        except ValueError as error:
            raise BadRequest(f"custom actions are not JSON: {error}") from error
        return load_actions(items, avatar.directory, avatar.width, avatar.height)

    def not_ready(self) -> str | None:
        """None once a session can be opened, else why not."""
        return None if self._avatars else "the avatar is being loaded"

    def describe(self) -> dict[str, Any]:
        """Facts about the engines for `/api/admin/config`."""
        return {"lips": self.engine.describe(), "scheduler": self.scheduler.stats(), "speech": self.chain.describe()}


def build_real(
    settings: Settings,
    avatar: Avatar,
    scheduler: Scheduler,
    chain: Chain,
    sessionid: str,
    wish: Wish,
    actions: dict[int, Action],
) -> LiteReal:
    """The session's `BaseReal` for `settings.model`."""
    tts = BaseTTS(chain, wish.voice or settings.ref_file or None)
    return LiteReal(sessionid, avatar, scheduler, tts, actions=actions)


def language_model(settings: Settings) -> LanguageModel | None:
    """The configured language model, None without one."""
    if not settings.llm_base_url:
        return None
    return LanguageModel(settings.llm_base_url, settings.llm_model, settings.llm_api_key)


@asynccontextmanager
async def open_house(settings: Settings) -> AsyncIterator[Services]:
    """Everything the HTTP application works with, for as long as it does."""
    house: House = TestcardHouse(settings) if settings.model == "testcard" else LiteHouse(settings)
    decoders = ThreadPoolExecutor(DECODERS, thread_name_prefix="audio-decode")
    model = language_model(settings)
    sessions = SessionManager(
        house.build,
        max_session=settings.max_session,
        conversation=lambda: Conversation(settings.system_prompt),
        connect_timeout_s=settings.connect_timeout_s,
        idle_timeout_s=settings.idle_timeout_s,
    )
    try:
        await asyncio.to_thread(RECORDINGS.mkdir, parents=True, exist_ok=True)
        await house.start()
        yield Services(
            settings=settings,
            sessions=sessions,
            metrics=Metrics(),
            decoders=decoders,
            avatars=house.cards,
            voices=house.voices,
            record_dir=RECORDINGS,
            language_model=model,
            describe=house.describe,
            not_ready=house.not_ready,
        )
    finally:
        if model is not None:
            await model.aclose()
        await house.aclose()
        decoders.shutdown(wait=True)
