"""One reply: the language model's words as they come, spoken clause by clause, kept as far as they were heard."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from typing import Any

from clauses import ClauseCutter
from errors import Busy, VisageError
from llm import REPLY_CHARACTERS_MAX, Heard, Thinking
from media import Event
from server.endpoint import Services
from session import Session

log = logging.getLogger(__name__)

FULL_RETRY_S = 0.2
PLAYED_POLL_S = 0.05


async def reply(
    services: Services, session: Session, question: str, voice: str | None, options: dict[str, Any] | None
) -> None:
    """Ask, speak the answer as it is written, and wait until it has been heard.

    A failure is told to the session's listeners as an `error` event; being cancelled is an interruption.
    """
    turn = session.real.turn
    heard = Heard(turn)
    unsubscribe = session.real.events.subscribe(heard)
    messages = session.conversation.ask(question)
    try:
        await _speak(services, session, messages, turn, voice, options)
        await _played_out(session, turn)
    except VisageError as error:
        services.metrics.llm_failures.inc()
        log.warning("session %s: no reply: %s", session.id, error)
        session.real.events.publish(Event("error", turn, {"message": str(error)}), time.monotonic())
    finally:
        unsubscribe()
        session.conversation.answer(heard.text())


async def _played_out(session: Session, turn: int) -> None:
    """Wait until the turn is heard to its end; the playout says so on a thread of its own, so it is asked."""
    while session.real.speaking and session.real.turn == turn:  # noqa: ASYNC110
        await asyncio.sleep(PLAYED_POLL_S)


async def _speak(
    services: Services,
    session: Session,
    messages: list[dict[str, str]],
    turn: int,
    voice: str | None,
    options: dict[str, Any] | None,
) -> None:
    assert services.language_model is not None
    cutter, thinking = ClauseCutter(), Thinking()
    asked, written = time.monotonic(), 0
    async with contextlib.aclosing(services.language_model.stream(messages)) as texts:
        async for text in texts:
            if not written:
                services.metrics.llm_first_text_s.observe(time.monotonic() - asked)
            written += len(text)
            for clause in cutter.feed(thinking.feed(text)):
                await _say(session, clause, turn, voice, options)
            if written > REPLY_CHARACTERS_MAX:
                log.warning("session %s: reply cut after %d characters", session.id, written)
                break
    for clause in [*cutter.feed(thinking.flush()), *cutter.flush()]:
        await _say(session, clause, turn, voice, options)


async def _say(session: Session, clause: str, turn: int, voice: str | None, options: dict[str, Any] | None) -> None:
    """Queue a clause, waiting while the session's queue is full."""
    while session.real.turn == turn:
        try:
            await session.real.say(clause, voice=voice, options=options, turn=turn)
            return
        except Busy:
            await asyncio.sleep(FULL_RETRY_S)
