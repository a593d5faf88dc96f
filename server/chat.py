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
from sessions.session import Prepared, Session
from text.clauses import language_of
from text.spoken import speakable

log = logging.getLogger(__name__)

PLAYED_POLL_S = 0.05


class Telling:
    """Tells a session's listeners what is written of a reply; what is before its turn is known is told then."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._turn: int | None = None
        self._kept: list[tuple[str, dict[str, Any]]] = []

    def __call__(self, name: str, **data: Any) -> None:
        """Another event."""
        if self._turn is None:
            self._kept.append((name, data))
        else:
            self._session.real.events.publish(Event(name, self._turn, data), time.monotonic())

    def begin(self, turn: int) -> None:
        """The reply is said in this turn."""
        self._turn = turn
        kept, self._kept = self._kept, []
        for name, data in kept:
            self(name, **data)

    def failed(self, error: VisageError) -> None:
        """There is no reply, or no more of it."""
        log.warning("session %s: no reply: %s", self._session.id, error)
        self("error", message=str(error))


class Reply:
    """A reply whose first sound is made as soon as there are words for it, whether or not it will be heard.

    On the event loop; `drop` in the end.

    Args:
        question: which it answers.
        answer: the model's text, as it is written.
        voice: id of the voice; None is the session's own.
        options: engine options.
    """

    def __init__(
        self,
        services: Services,
        session: Session,
        question: str,
        answer: AsyncGenerator[str, None],
        voice: str | None = None,
        options: dict[str, Any] | None = None,
    ) -> None:
        self.telling = Telling(session)
        self._real = session.real
        self._speech: Prepared | None = None
        self._refusal: VisageError | None = None
        # One text for the whole reply: the voice can prepare the next clause while one is heard.
        text = speakable(_written(services, self.telling, answer), language_of(question))
        try:
            self._speech = self._real.prepare(text, voice=voice, options=options)
        except VisageError as error:  # told when it would be heard
            self._refusal = error

    async def say(self, turn: int) -> None:
        """Let it be heard, once.

        Raises:
            VisageError: it cannot be spoken.
        """
        self.telling.begin(turn)
        if self._speech is None:
            assert self._refusal is not None
            raise self._refusal
        await self._real.speak(self._speech, turn=turn)

    def drop(self) -> None:
        """It will not be heard, or was."""
        if self._speech is not None:
            self._speech.drop()


async def reply(
    services: Services,
    session: Session,
    question: str,
    voice: str | None = None,
    options: dict[str, Any] | None = None,
    prepared: Reply | None = None,
) -> None:
    """Ask, speak the answer as it is written, and wait until it has been heard.

    Args:
        prepared: an answer that is being made already, instead of asking.

    A failure is told to the session's listeners as an `error` event; being cancelled is an interruption.
    """
    turn = session.real.turn
    heard = Heard(turn)
    unsubscribe = session.real.events.subscribe(heard)
    messages = session.conversation.ask(question)
    answer = prepared or Reply(services, session, question, _ask(services, messages), voice, options)
    try:
        await answer.say(turn)
        await _played_out(session, turn)
    except VisageError as error:
        answer.telling.failed(error)
    finally:
        answer.drop()
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
    services: Services, telling: Telling, answer: AsyncGenerator[str, None]
) -> AsyncGenerator[str, None]:
    """The reply as the model writes it, without its thoughts; listeners are shown it, with its marks, as `reply.text`.
    What is spoken is `clause.started`.

    It ends early, with an `error` event, when the model fails.
    """

    def shown(text: str) -> str:
        if text:
            telling("reply.text", text=text)
        return text

    thinking = Thinking()
    asked, written = time.monotonic(), 0
    try:
        async with contextlib.aclosing(answer) as texts:
            async for text in texts:
                if not written:
                    telling("reply.started")
                    services.metrics.llm_first_text_s.observe(time.monotonic() - asked)
                written += len(text)
                yield shown(thinking.feed(text))
                if written > REPLY_CHARACTERS_MAX:
                    log.warning("reply cut after %d characters", written)
                    break
        yield shown(thinking.flush())
    except VisageError as error:
        services.metrics.llm_failures.inc()
        telling.failed(error)
    finally:
        if written:
            telling("reply.ended")
