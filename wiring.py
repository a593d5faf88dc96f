"""Puts the rooms together: settings in, everything the HTTP application works with out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

from avatartasks import AvatarTasks
from config import Settings
from house import House, TestcardHouse
from listenhouse import ListeningHouse
from llm import Conversation, LanguageModel
from server.answers import ModelAnswers
from server.endpoint import Services
from server.metrics import Metrics
from server.notify import Notifier
from sessions import SessionManager
from upkeep import Upkeep, settle_heap

HERE = Path(__file__).parent
WEB = HERE / "web" / "dist"
AVATARS = HERE / "data" / "avatars"
RECORDINGS = HERE / "data" / "record"
UPLOADS = HERE / "data" / "uploads"
DECODERS = 2  # threads that decode uploads; the lip engine and the encoders need the other cores


def make_house(settings: Settings) -> House:
    """What all sessions of `settings.model` share."""
    if settings.model == "testcard":
        return TestcardHouse(settings)
    from facehouse import FaceHouse  # its engines take a second to import, which the test card need not wait for

    return FaceHouse(settings)


def language_model(settings: Settings) -> LanguageModel | None:
    """The configured language model, None without one."""
    if not settings.llm_base_url:
        return None
    return LanguageModel(settings.llm_base_url, settings.llm_model, settings.llm_api_key)


@asynccontextmanager
async def open_house(settings: Settings) -> AsyncIterator[Services]:
    """Everything the HTTP application works with, for as long as it does."""
    house = make_house(settings)
    decoders = ThreadPoolExecutor(DECODERS, thread_name_prefix="audio-decode")
    model = language_model(settings)
    listening = ListeningHouse(settings, lambda session: ModelAnswers(services, session))
    sessions = SessionManager(
        house.build,
        max_session=settings.max_session,
        conversation=lambda: Conversation(settings.system_prompt),
        connect_timeout_s=settings.connect_timeout_s,
        idle_timeout_s=settings.idle_timeout_s,
        opened=listening.attach,
    )
    upkeep = Upkeep(lambda: sessions.ended)
    notifier = Notifier()
    tasks = AvatarTasks(notify=notifier)
    try:
        await asyncio.to_thread(RECORDINGS.mkdir, parents=True, exist_ok=True)
        await house.start()
        settle_heap()
        services = Services(
            settings=settings,
            sessions=sessions,
            metrics=Metrics(),
            decoders=decoders,
            avatars=house.cards,
            voices=house.voices,
            record_dir=RECORDINGS,
            language_model=model,
            describe=lambda: {**house.describe(), "listening": listening.describe()},
            figures=lambda: {
                **house.figures(),
                "event_loop_lag_seconds": upkeep.lag_s(),
                "event_loop_held_seconds": upkeep.held_s(),
            },
            not_ready=house.not_ready,
            avatar_root=AVATARS,
            upload_dir=UPLOADS,
            avatar_tasks=tasks,
            remove_avatar=house.remove_avatar,
            deaf=listening.why_not,
        )
        yield services
    finally:
        await upkeep.aclose()
        await tasks.aclose()
        await notifier.aclose()
        if model is not None:
            await model.aclose()
        await listening.aclose()
        await house.aclose()
        decoders.shutdown(wait=True)
