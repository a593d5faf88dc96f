"""`ModelAnswers`: what the language model says to what was heard, prepared ahead where it may."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator

from chat.conversation import Message
from errors import EngineError, Unavailable, VisageError
from server.chat import Reply, reply
from server.endpoint import Services
from sessions.dialogue import Answer
from sessions.session import Session

PREPARED_TEXTS_MAX = 64  # pieces written ahead of the end of a turn; the model waits then


class Draft:
    """A reply that is being written, and its first clause spoken, before it is known whether it will be heard."""

    def __init__(self, services: Services, session: Session, question: str) -> None:
        self.first_text_at: float | None = None
        self._services = services
        self._texts: asyncio.Queue[str | VisageError | None] = asyncio.Queue(PREPARED_TEXTS_MAX)
        self._writing = asyncio.create_task(self._write(session.conversation.asking(question)), name="draft")
        self.reply = Reply(services, session, question, self._read())

    async def _write(self, messages: list[Message]) -> None:
        model = self._services.language_model
        try:
            if model is None:
                raise Unavailable("chat needs a language model: start with --llm_base_url, or run `make chat` first")
            async with contextlib.aclosing(model.stream(messages)) as texts:
                async for text in texts:
                    if self.first_text_at is None:
                        self.first_text_at = time.monotonic()
                    await self._texts.put(text)
            await self._texts.put(None)
        except VisageError as error:
            await self._texts.put(error)
        except Exception as error:  # whatever a model's server brings about, the session hears of it and lives
            await self._texts.put(EngineError("llm", f"{type(error).__name__}: {error}"))

    async def _read(self) -> AsyncGenerator[str, None]:
        """What is written, as it is."""
        while (text := await self._texts.get()) is not None:
            if isinstance(text, VisageError):
                raise text
            yield text

    def drop(self) -> None:
        """Stop writing and speaking."""
        self._writing.cancel()
        self.reply.drop()


class ModelAnswers:
    """Answers of one session's language model."""

    def __init__(self, services: Services, session: Session) -> None:
        self._services = services
        self._session = session

    def prepare(self, question: str) -> Draft:
        """Begin to write an answer; the history does not know of it yet."""
        return Draft(self._services, self._session, question)

    async def speak(self, question: str, answer: Answer | None) -> None:
        """Say it and wait until it is heard to its end."""
        draft = answer if isinstance(answer, Draft) else self.prepare(question)
        try:
            await reply(self._services, self._session, question, prepared=draft.reply)
        finally:
            draft.drop()
