"""Puts the rooms together: settings in, everything the HTTP application works with out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avatarbuild.tasks import AvatarTasks
from chat import localmodel
from chat.conversation import SYSTEM_PROMPT, Conversation
from chat.localmodel import LocalModel
from chat.persona import persona
from chat.tools import Toolbox
from chat.toolsamples import clock, faq
from config import ConfigError, Settings
from house.base import House, TestcardHouse
from house.listening import ListeningHouse
from house.upkeep import Upkeep, settle_heap
from house.voices import guests
from llm import LanguageModel
from server import rtvi
from server.answers import ModelAnswers
from server.endpoint import Services
from server.metrics import Metrics
from server.notify import Notifier
from sessions.manager import SessionManager
from sessions.session import Session
from transport.recordings import Recordings
from tts.base import SpeechEngine
from tts.library import LibraryEngine

if TYPE_CHECKING:
    from voices.library import Library

HERE = Path(__file__).parent.parent
WEB = HERE / "web" / "dist"
AVATARS = HERE / "data" / "avatars"
RECORDINGS = HERE / "data" / "record"
UPLOADS = HERE / "data" / "uploads"
VOICES = HERE / "data" / "voices"
DECODERS = 2  # threads that decode uploads; the lip engine and the encoders need the other cores


def make_house(settings: Settings, more_voices: Sequence[SpeechEngine] = ()) -> House:
    """What all sessions of `settings.model` share; `more_voices` speak beside the configured engines."""
    if settings.model == "testcard":
        return TestcardHouse(settings)
    from house.face import FaceHouse  # its engines take a second to import, which the test card need not wait for

    return FaceHouse(settings, more_voices=more_voices)


def toolbox(settings: Settings) -> Toolbox:
    """What the language model may call.

    Raises:
        ConfigError: the function faq has no file.
    """
    if "faq" in settings.llm_tools and not Path(settings.llm_faq).is_file():
        raise ConfigError(f"llm_tools names faq, but llm_faq {settings.llm_faq!r} is no file")
    makers = {"clock": clock, "faq": lambda: faq(Path(settings.llm_faq))}
    return Toolbox(makers[name]() for name in settings.llm_tools)


def language_model(settings: Settings) -> LanguageModel | None:
    """The configured language model, else the local one where it is installed, else None."""
    tools = toolbox(settings)
    if settings.llm == "stepaudio":
        from stepaudio.served import StepAudioModel  # only for those who name it

        return StepAudioModel(settings.llm_base_url, settings.llm_model, settings.llm_api_key, tools=tools)
    if settings.llm_base_url:
        return LanguageModel(settings.llm_base_url, settings.llm_model, settings.llm_api_key, tools=tools)
    if localmodel.why_not() is not None:
        return None
    prompt = (settings.system_prompt or SYSTEM_PROMPT, persona(AVATARS, settings.avatar_id))
    return LocalModel(tools=tools, prompt="\n\n".join(filter(None, prompt)))


def make_library(settings: Settings, house: House, engine: LibraryEngine) -> Library | None:
    """The voice library, not yet open; None where there is to be none.

    Raises:
        ConfigError: it needs a package that is not installed.
    """
    if settings.library == "off":
        return None
    from voices.library import Library, check  # half a second, which a server without it need not wait for

    check(settings)
    return Library(settings, VOICES, house.speech, engine)


def make_sessions(settings: Settings, house: House, opened: Callable[[Session], None]) -> SessionManager:
    """The sessions of a house, none open yet; each is given to `opened` when it is."""
    return SessionManager(
        house.build,
        max_session=settings.max_session,
        conversation=lambda avatar_id: Conversation(settings.system_prompt, persona(AVATARS, avatar_id)),
        connect_timeout_s=settings.connect_timeout_s,
        idle_timeout_s=settings.idle_timeout_s,
        opened=opened,
    )


def described(house: House, listening: ListeningHouse, library: Library | None) -> dict[str, Any]:
    """Facts for `/api/admin/config`."""
    return {
        **house.describe(),
        "listening": listening.describe(),
        "library": library.describe() if library is not None else "off",
    }


def figures(house: House, listening: ListeningHouse, library: Library | None, upkeep: Upkeep) -> dict[str, float]:
    """Figures of the engines and the event loop for `/metrics`."""
    return {
        **house.figures(),
        **listening.recognisers.figures(),
        **(library.figures() if library is not None else {}),
        "event_loop_lag_seconds": upkeep.lag_s(),
        "event_loop_held_seconds": upkeep.held_s(),
    }


@asynccontextmanager
async def open_house(settings: Settings) -> AsyncIterator[Services]:
    """Everything the HTTP application works with, for as long as it does; closed in the reverse order."""
    library_voices = LibraryEngine()
    house = make_house(settings, [*guests(settings), library_voices] if settings.library == "on" else [])
    library = make_library(settings, house, library_voices)
    async with AsyncExitStack() as stack:
        decoders = stack.enter_context(ThreadPoolExecutor(DECODERS, thread_name_prefix="audio-decode"))
        stack.push_async_callback(house.aclose)
        if library is not None:
            stack.push_async_callback(library.aclose)
        listening = ListeningHouse(settings, lambda session: ModelAnswers(services, session))
        stack.push_async_callback(listening.aclose)
        if (model := language_model(settings)) is not None:
            stack.push_async_callback(model.aclose)
        notifier = Notifier()
        stack.push_async_callback(notifier.aclose)
        tasks = AvatarTasks(notify=notifier)
        stack.push_async_callback(tasks.aclose)
        recordings = Recordings(RECORDINGS, days=settings.record_days, size_bytes=round(settings.record_gib * 2**30))
        stack.push_async_callback(_end, asyncio.create_task(recordings.tend(), name="recordings"))

        def opened(session: Session) -> None:
            listening.attach(session)
            rtvi.attach(services, session)

        sessions = make_sessions(settings, house, opened)
        upkeep = Upkeep(lambda: sessions.ended)
        stack.push_async_callback(upkeep.aclose)
        await house.start()
        settle_heap()
        listening.start(house.settled())
        if library is not None:
            library.start(house.settled())
        if isinstance(model, LocalModel):
            model.start()
        services = Services(
            settings=settings,
            sessions=sessions,
            metrics=Metrics(),
            decoders=decoders,
            avatars=house.cards,
            voices=house.voices,
            find_voice=house.find_voice,
            recordings=recordings,
            language_model=model,
            describe=lambda: described(house, listening, library),
            figures=lambda: figures(house, listening, library, upkeep),
            not_ready=house.not_ready,
            avatar_root=AVATARS,
            upload_dir=UPLOADS,
            avatar_tasks=tasks,
            remove_avatar=house.remove_avatar,
            deaf=listening.why_not,
            ears=listening.ears(),
            library=library,
        )
        upkeep.start()
        yield services


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
