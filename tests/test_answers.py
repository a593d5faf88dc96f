"""An answer that is made before it is known whether it will be heard."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from media import Event
from server.answers import ModelAnswers
from sessions.session import Session
from tests.fakes.app import FakeReal, connect, serving, until
from tests.fakes.llm import FakeLlm, Step, talking

DONE = b"data: [DONE]\n\n"
WRITTEN: list[Step] = ["I am well. ", "And you?", DONE]


class Room:
    def __init__(self, real: FakeReal, session: Session, answers: ModelAnswers) -> None:
        self.real, self.session, self.answers = real, session, answers
        self.events: list[Event] = []
        real.events.subscribe(lambda event, at: self.events.append(event))

    @property
    def names(self) -> list[str]:
        return [event.name for event in self.events]


@asynccontextmanager
async def room(*replies: list[Step] | int) -> AsyncIterator[tuple[Room, FakeLlm]]:
    fake = FakeLlm(*replies)
    async with talking(fake) as model, serving(model) as (client, stage):
        sid = await connect(client)
        session = stage.services.sessions.get(sid)
        yield Room(stage.reals[sid], session, ModelAnswers(stage.services, session)), fake


async def test_its_sound_is_begun_and_nobody_is_told_before_it_is_taken() -> None:
    async with room(WRITTEN) as (it, _):
        draft = it.answers.prepare("How are you?")
        await until(lambda: it.real.prepared[0].is_read)
        assert draft.first_text_at is not None
        assert it.events == [] and it.real.said == [] and it.session.conversation.messages == ()
        it.real.interrupt()
        it.events.clear()
        saying = asyncio.create_task(it.answers.speak("How are you?", draft))
        await until(lambda: "reply.ended" in it.names and not it.real.speaking)
        assert it.names == ["reply.started", "reply.text", "reply.text", "reply.ended"]
        assert {event.turn for event in it.events} == {1}, "the turn it is heard in, which was not known before"
        assert "".join(said.text for said in it.real.said) == "I am well. And you?"
        await saying
        assert it.real.prepared[0].dropped


async def test_one_that_is_not_taken_leaves_no_trace() -> None:
    async with room(["I am well. ", asyncio.Event(), "never"]) as (it, fake):
        draft = it.answers.prepare("How are you?")
        await until(lambda: draft.first_text_at is not None)
        draft.drop()
        await asyncio.wait_for(fake.hung_up.wait(), 5)
        assert it.events == [] and it.real.said == [] and it.session.conversation.messages == ()
        assert it.real.prepared[0].dropped


async def test_an_interruption_while_it_is_heard_ends_its_sound() -> None:
    async with room(["I am well. ", asyncio.Event(), "never"]) as (it, fake):
        draft = it.answers.prepare("How are you?")
        saying = asyncio.create_task(it.answers.speak("How are you?", draft))
        await until(lambda: it.real.said)
        saying.cancel()
        with pytest.raises(asyncio.CancelledError):
            await saying
        await asyncio.wait_for(fake.hung_up.wait(), 5)
        assert it.real.prepared[0].dropped
        assert [message["role"] for message in it.session.conversation.messages] == ["user"], "nothing was heard"


async def test_a_failure_is_told_when_it_would_have_been_heard() -> None:
    async with room(401) as (it, fake):
        draft = it.answers.prepare("How are you?")
        await until(lambda: it.real.prepared[0].is_read)
        assert it.events == []
        await it.answers.speak("How are you?", draft)
        assert it.names == ["error"] and "answered 401" in it.events[0].data["message"]
