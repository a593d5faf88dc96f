"""One reply: the language model's words as they come, spoken as they come, kept as far as they were heard."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncGenerator
from typing import Any

from errors import VisageError
from llm import REPLY_CHARACTERS_MAX, Heard, Message, Thinking
from media import Event
from server.endpoint import Services
from sessions.session import Session
from text.clauses import language_of
from text.spoken import speakable

log = logging.getLogger(__name__)

PLAYED_POLL_S = 0.05


async def reply(
    services: Services,
    session: Session,
    question: str,
    voice: str | None,
    options: dict[str, Any] | None,
    texts: AsyncGenerator[str, None] | None = None,
) -> None:
    """Ask, speak the answer as it is written, and wait until it has been heard.

    Args:
        texts: an answer that is being written already, instead of asking.

    A failure is told to the session's listeners as an `error` event; being cancelled is an interruption.
    """
    turn = session.real.turn
    heard = Heard(turn)
    unsubscribe = session.real.events.subscribe(heard)
    messages = session.conversation.ask(question)
    try:
        # One text for the whole reply: the voice can prepare the next clause while one is heard.
        await session.real.say(
            speakable(_written(services, session, texts or _ask(services, messages), turn), language_of(question)),
            voice=voice,
            options=options,
            turn=turn,
        )
        await _played_out(session, turn)
    except VisageError as error:
        _tell(session, turn, error)
    finally:
        unsubscribe()
        session.conversation.answer(heard.text())
        if services.language_model is not None:
            services.language_model.prime(session.conversation.prompt())


async def _played_out(session: Session, turn: int) -> None:
    """Wait until the turn is heard to its end; the playout says so on a thread of its own, so it is asked."""
    while session.real.speaking and session.real.turn == turn:  # noqa: ASYNC110
        await asyncio.sleep(PLAYED_POLL_S)


def _ask(services: Services, messages: list[Message]) -> AsyncGenerator[str, None]:
    assert services.language_model is not None
    return services.language_model.stream(messages)


async def _written(
    services: Services, session: Session, answer: AsyncGenerator[str, None], turn: int
) -> AsyncGenerator[str, None]:
    """The reply as the model writes it, without its thoughts; listeners are shown it as `reply.text`.

    It ends early, with an `error` event, when the model fails.
    """
    thinking = Thinking()
    asked, written = time.monotonic(), 0
    try:
        async with contextlib.aclosing(answer) as texts:
            async for text in texts:
                if not written:
                    _publish(session, turn, "reply.started")
                    services.metrics.llm_first_text_s.observe(time.monotonic() - asked)
                written += len(text)
                yield _shown(session, turn, thinking.feed(text))
                if written > REPLY_CHARACTERS_MAX:
                    log.warning("session %s: reply cut after %d characters", session.id, written)
                    break
        yield _shown(session, turn, thinking.flush())
    except VisageError as error:
        services.metrics.llm_failures.inc()
        _tell(session, turn, error)
    finally:
        if written:
            _publish(session, turn, "reply.ended")


def _shown(session: Session, turn: int, text: str) -> str:
    """Tell the listeners what is written, with its marks; what is spoken is `clause.started`."""
    if text:
        _publish(session, turn, "reply.text", text=text)
    return text


def _tell(session: Session, turn: int, error: VisageError) -> None:
    log.warning("session %s: no reply: %s", session.id, error)
    _publish(session, turn, "error", message=str(error))


def _publish(session: Session, turn: int, name: str, **data: Any) -> None:
    session.real.events.publish(Event(name, turn, data), time.monotonic())
