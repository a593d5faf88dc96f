"""`FaceHouse`: what all sessions of a lip engine share: its scheduler, the voices, the loaded avatars."""

from __future__ import annotations

import asyncio
import json
import logging
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from actions import Action, load_actions
from avatar import Avatar, AvatarInfo, avatar_directory, list_avatars
from config import ConfigError, Settings
from engines.base import LipEngine
from engines.scheduler import Scheduler
from errors import BadRequest, Conflict, Unavailable
from house.base import rtc_options
from house.lips import Lips, make_lips
from house.voices import make_chain, make_pace, why_no_voice
from media import FPS
from reelstore import ReelStore
from server.endpoint import AvatarCard
from sessions.session import Built, Wish
from transport.pacer import Pacer
from tts.base import SpeechEngine, Voice
from tts.chain import Chain
from ttsreal import BaseTTS
from webrtc import PeerSession

log = logging.getLogger(__name__)

AVATARS = Path(__file__).parent.parent / "data" / "avatars"


class FaceHouse:
    """Made on the event loop; `start` before the first session, `aclose` after the last.

    Args:
        settings: the configuration.
        lips: what draws; None: what the configuration names.
        more_voices: speech engines behind those that the configuration names.
    """

    def __init__(self, settings: Settings, lips: Lips | None = None, more_voices: Sequence[SpeechEngine] = ()) -> None:
        self.settings = settings
        self._lips = lips or make_lips(settings)
        self._drawing: tuple[LipEngine, Scheduler] | None = None
        self.chain = make_chain(settings, more_voices)
        self._reels = ReelStore(settings.avatar_memory // self._lips.processes)
        self._avatars: dict[str, Avatar] = {}
        self._actions: dict[str, dict[int, Action]] = {}
        """By avatar: the actions of `--customvideo_config`, loaded once and shared."""
        self._default = settings.avatar_id
        self._loading = asyncio.Lock()
        self._warming: asyncio.Task[None] | None = None
        self._rtc = rtc_options(settings)
        self._pacer = Pacer()
        self._pace = make_pace(settings)

    async def start(self) -> None:
        """Load what the first session needs, so that it need not wait.

        Raises:
            ConfigError: `--REF_FILE` or `--customvideo_config` names what is not there.
            NotFound: `--avatar_id` does, or weights are missing.
            Unprocessable: the avatar or the weights are damaged, or of another kind.
            Unavailable: there is no avatar at all, or the engine cannot run on this machine.
        """
        if not self._default:
            infos = await asyncio.to_thread(self._able)
            if not infos:
                raise Unavailable(f"there is no avatar for --model {self._lips.name} under data/avatars")
            self._default = infos[0].id
        await asyncio.to_thread(self._start_drawing)
        avatar = await self.avatar("")
        pace = await asyncio.to_thread(self.scheduler.warm_up)
        if pace is not None:
            log.info("%s draws %.0f pictures a second, %.0f are needed per speaker", self._lips.name, pace, FPS)
        try:
            await self.actions("", avatar)
        except (OSError, BadRequest) as error:
            raise ConfigError(f"customvideo_config {self.settings.customvideo_config}: {error}") from error
        if reason := why_no_voice(self.settings, self.chain):
            raise ConfigError(reason)
        # She can be seen and heard repeating recordings while her voices are loaded; the first sentence waits for them.
        self._warming = asyncio.create_task(self.chain.warm_up(), name="voices warm up")

    async def settled(self) -> None:
        """Wait for the voices."""
        if self._warming is not None:
            await asyncio.wait({self._warming})

    def _start_drawing(self) -> None:
        engine = self._lips.engine()
        scheduler = Scheduler(engine)
        self._drawing = (engine, scheduler)
        scheduler.start()

    @property
    def engine(self) -> LipEngine:
        """Draws for all sessions.

        Raises:
            Unavailable: it is not started.
        """
        return self._drawn_by()[0]

    @property
    def scheduler(self) -> Scheduler:
        """Shares the engine out.

        Raises:
            Unavailable: the engine is not started.
        """
        return self._drawn_by()[1]

    def _drawn_by(self) -> tuple[LipEngine, Scheduler]:
        if self._drawing is None:
            raise Unavailable(f"the lip engine {self._lips.name} is not started")
        return self._drawing

    async def aclose(self) -> None:
        """End the threads of engine and playout and free the voices."""
        if self._warming is not None:
            self._warming.cancel()
            await asyncio.gather(self._warming, return_exceptions=True)
        if self._drawing is not None:
            engine, scheduler = self._drawing
            await asyncio.to_thread(scheduler.close)
            await asyncio.to_thread(engine.close)
        await asyncio.to_thread(self._pacer.close)
        await asyncio.to_thread(self._reels.close)
        await self.chain.aclose()

    def voices(self) -> Sequence[Voice]:
        """The voices that can be used now."""
        return self.chain.voices()

    def find_voice(self, name: str) -> Voice | None:
        """The voice of that id or name, listed or not."""
        return self.chain.find_voice(name)

    def cards(self) -> list[AvatarCard]:
        """What clients are told of the avatars on disk that this engine can draw."""
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
            for info in self._able()
        ]

    def _able(self) -> list[AvatarInfo]:
        return [info for info in list_avatars(AVATARS) if self._lips.name in info.engines]

    async def avatar(self, avatar_id: str) -> Avatar:
        """The avatar of that id, or the default one, loaded once.

        Raises:
            NotFound: there is none of that id.
            Unprocessable: it is damaged, or the engine cannot draw it.
        """
        name = avatar_id or self._default
        async with self._loading:
            if name not in self._avatars:
                self._avatars[name] = await asyncio.to_thread(self._load, name)
            return self._avatars[name]

    def _load(self, name: str) -> Avatar:
        avatar = Avatar.load(avatar_directory(AVATARS, name), self._reels)
        self.engine.prepare(avatar)
        return avatar

    async def remove_avatar(self, avatar_id: str) -> None:
        """Delete an avatar that no session shows.

        Raises:
            NotFound: there is none of that id.
            Conflict: it is the one shown when none is named.
        """
        if avatar_id == self._default:
            raise Conflict(
                f"avatar {avatar_id} is the one shown when none is named: start with another --avatar_id",
                zh=f"{avatar_id} 是默认形象，不能删除：请先用另一个 --avatar_id 启动",
            )
        async with self._loading:
            directory = await asyncio.to_thread(avatar_directory, AVATARS, avatar_id)
            self._avatars.pop(avatar_id, None)
            self._actions.pop(avatar_id, None)
            await asyncio.to_thread(self.engine.forget, avatar_id)
            await asyncio.to_thread(_remove, directory)

    async def actions(self, text: str, avatar: Avatar) -> dict[int, Action]:
        """A session's own custom actions, else those of `--customvideo_config`.

        Raises:
            BadRequest: not a JSON list.
            Unprocessable: its files leave the avatar's directory or cannot be read.
        """
        if text:
            return await asyncio.to_thread(self._read_actions, text, avatar)
        if not self.settings.customvideo_config:
            return {}
        if avatar.id not in self._actions:
            config = await asyncio.to_thread(Path(self.settings.customvideo_config).read_text, "utf-8")
            self._actions[avatar.id] = await asyncio.to_thread(self._read_actions, config, avatar)
        return self._actions[avatar.id]

    def _read_actions(self, text: str, avatar: Avatar) -> dict[int, Action]:
        try:
            items = json.loads(text)
        except ValueError as error:
            raise BadRequest(f"custom actions are not JSON: {error}") from error
        if not isinstance(items, list):
            raise BadRequest(f"custom actions must be a JSON list, not {type(items).__name__}")
        return load_actions(items, avatar.directory, avatar.width, avatar.height, self._reels)

    async def build(self, sessionid: str, wish: Wish, on_closed: Callable[[], None]) -> Built:
        """One session for `SessionManager`.

        Raises:
            NotFound, Unprocessable: of the avatar; see `avatar`.
            Unavailable: the engine could not keep one more session at 25 fps, or its pictures have no room in memory.
        """
        avatar = await self.avatar(wish.avatar)
        self._reels.admit(avatar.reel)
        actions = await self.actions(wish.custom_config, avatar)
        voice = BaseTTS(self.chain, wish.voice or None, self._pace, wish.ref_text)
        self.scheduler.admit()
        if (place := avatar.place(time.monotonic())) is not None:
            await asyncio.to_thread(avatar.ready, place)
        real = self._lips.real(sessionid, avatar, self.scheduler, voice, actions)
        try:
            peer = PeerSession(real, self._rtc, lambda _: on_closed(), pacer=self._pacer)
        except BaseException:
            await real.aclose()
            raise
        return Built(real, peer, avatar.id, tuple(sorted({0, *actions})), record=peer.record)

    def not_ready(self) -> str | None:
        """None once a session can be opened, else why not."""
        return self.scheduler.why_not() if self._avatars else "the avatar is being loaded"

    def figures(self) -> dict[str, float]:
        """The scheduler's, for `/metrics`."""
        stats = self.scheduler.stats()
        return {
            "lip_pictures_total": stats["pictures"],
            "lip_failures_total": stats["failures"],
            "lip_busy_seconds_total": stats["busy_s"],
            "lip_latency_seconds": stats["latency_s"],
            **self._reels.figures(),
            **self.chain.figures(),
        }

    def speech(self) -> Chain | None:
        """The speech engines."""
        return self.chain

    def describe(self) -> dict[str, Any]:
        """Facts about the engines for `/api/admin/config`."""
        return {"lips": self.engine.describe(), "scheduler": self.scheduler.stats(), "speech": self.chain.describe()}


def _remove(directory: Path) -> None:
    """Out of sight at once, so that it is never half there."""
    doomed = directory.with_name(f".{directory.name}.deleted")
    shutil.rmtree(doomed, ignore_errors=True)
    directory.rename(doomed)
    shutil.rmtree(doomed)
