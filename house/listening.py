"""`ListeningHouse`: what all sessions need to hear their visitors, and the attention each of them gets."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

from asr.build import build_recognisers
from config import ConfigError, Settings
from errors import BadRequest, VisageError
from listening.echo import EchoGuard
from listening.listener import Listener, ListenerEvents
from listening.microphone import Microphone
from listening.models import ListeningModels
from listening.settings import MODES, ListeningSettings
from media import Event
from server.ears import Ears
from sessions.attention import Attention, RecentSound
from sessions.dialogue import Answers, Dialogue
from sessions.session import Session

log = logging.getLogger(__name__)


def listening_settings(settings: Settings) -> ListeningSettings:
    """The constants of the configured mode, with what the configuration says otherwise."""
    mode = MODES[settings.performance_mode]
    return dataclasses.replace(mode, echo=settings.echo) if settings.echo else mode


@dataclasses.dataclass(frozen=True, slots=True)
class Recognition:
    """What `build_recognisers` reads: the configuration, and the mode where that says nothing."""

    asr: tuple[str, ...]
    asr_base_url: str
    asr_api_key: str
    asr_model: str
    asr_server: str
    asr_threads: int
    asr_beam: int
    asr_window: str

    @classmethod
    def of(cls, settings: Settings, mode: ListeningSettings) -> Recognition:
        """The names of the configuration, else the mode's model before the one that is always there."""
        named = {field.name: getattr(settings, field.name) for field in dataclasses.fields(cls)}
        models = tuple(dict.fromkeys((f"whisper-{mode.asr_model}", "whisper-base")))
        return cls(**{**named, "asr": settings.asr or models, "asr_beam": settings.asr_beam or mode.asr_beam})


class ListeningHouse:
    """Made on the event loop; `aclose` after the last session.

    Args:
        settings: the configuration.
        answers: who answers a session's visitor.

    Raises:
        ConfigError: the configured recognisers cannot be.
    """

    def __init__(self, settings: Settings, answers: Callable[[Session], Answers]) -> None:
        self.settings = listening_settings(settings)
        self._on = settings.listening == "on"
        self._language = settings.language or None
        self._answers = answers
        self._models = ListeningModels()
        try:
            self.recognisers = build_recognisers(Recognition.of(settings, self.settings))
        except BadRequest as error:
            raise ConfigError(str(error)) from error
        self._warming: asyncio.Task[None] | None = None
        self._loading = asyncio.Lock()
        self._loaded = False

    def why_not(self) -> str | None:
        """None when visitors can be heard, else one sentence with what would make it so."""
        return self.recognisers.why_not() if self._on else "this server takes no microphones (--listening off)"

    def start(self, after: Awaitable[None]) -> None:
        """Load what hears visitors once `after` has come, so that the first to speak need not wait."""
        self._warming = asyncio.create_task(self._warm_up(after), name="ears warm up")

    async def _warm_up(self, after: Awaitable[None]) -> None:
        await after
        if self.why_not() is None:
            try:
                await self._load()
            except VisageError as error:  # told again to whoever speaks
                log.warning("nobody can be heard: %s", error)

    def attach(self, session: Session) -> None:
        """Listen to the session's microphone when it comes; before its offer is answered."""
        if self._on:
            session.peer.on_microphone = lambda microphone: self._begin(session, microphone)

    def _begin(self, session: Session, microphone: Microphone) -> None:
        session.spawn(self._attend(session, microphone), "listening")

    async def _attend(self, session: Session, microphone: Microphone) -> None:
        """From the first sound of a microphone to its end."""
        await microphone.heard()
        if session.attention is not None:
            return _tell(session, "another microphone of this session is heard already: switch that off first")
        try:
            reason = self.why_not()
            if reason is not None:
                return _tell(session, f"she cannot hear: {reason}")
            await self._load()
            attention = await self._make(session, microphone)
        except VisageError as error:
            log.warning("session %s: nobody listens: %s", session.id, error)
            return _tell(session, f"she cannot hear: {error}")
        session.attention = attention
        _publish(session, "listening", state="ready")
        try:
            await attention.run()
        finally:
            session.attention = None

    async def _make(self, session: Session, microphone: Microphone) -> Attention:
        guard = EchoGuard(self.settings.echo)
        session.peer.on_sound(guard.play)
        recent = RecentSound(guard)
        dialogue = Dialogue(session, self._answers(session), self.settings, recent)
        listener = await self._models.listener(self.recognisers, self.settings, dialogue, language=self._language)
        return Attention(microphone, guard, recent, listener, dialogue)

    async def _load(self) -> None:
        async with self._loading:
            if not self._loaded:
                await self._models.warm_up()
                await self.recognisers.warm_up()
                self._loaded = True

    def ears(self) -> Ears:
        """With what clients are heard that have no session."""
        return Ears(self.recognisers, self._listener, self.why_not)

    async def _listener(self, events: ListenerEvents, language: str | None) -> Listener:
        await self._load()
        return await self._models.listener(self.recognisers, self.settings, events, language=language or self._language)

    def describe(self) -> dict[str, Any]:
        """JSON-ready facts."""
        return {"trouble": self.why_not(), "turns": self._models.why_not(), "loaded": self._loaded}

    async def aclose(self) -> None:
        """Free the models and their processes."""
        if self._warming is not None:
            self._warming.cancel()
            await asyncio.gather(self._warming, return_exceptions=True)
        await self.recognisers.aclose()
        await self._models.aclose()


def _publish(session: Session, name: str, **data: Any) -> None:
    session.real.events.publish(Event(name, session.real.turn, data), time.monotonic())


def _tell(session: Session, message: str) -> None:
    _publish(session, "error", message=message)
