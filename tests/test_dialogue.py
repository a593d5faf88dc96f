"""Whose turn it is: barge-in, false alarms, prepared answers; on a virtual clock, with scripted ears and answers."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable
from typing import Any, cast

import numpy as np
import pytest

from listening.settings import BALANCED
from listening.utterance import Utterance
from listening.words import only_listening, word_count
from llm import Conversation
from media import Event
from sessions.dialogue import Dialogue
from sessions.session import Built, Session, Wish
from tests.fakes.app import FakePeer, FakeReal
from tests.virtual_time import run_virtual


@dataclasses.dataclass
class FakeTranscript:
    text: str
    language: str = "en"
    confidence: float = 0.9


@dataclasses.dataclass
class FakeAnswer:
    question: str
    first_text_at: float | None = None
    dropped: bool = False

    def drop(self) -> None:
        self.dropped = True


class FakeAnswers:
    """Answers until it is told that she has finished."""

    def __init__(self, real: FakeReal) -> None:
        self.real = real
        self.prepared: list[FakeAnswer] = []
        self.spoken: list[tuple[str, FakeAnswer | None]] = []
        self.finished = asyncio.Event()

    def prepare(self, question: str) -> FakeAnswer:
        self.prepared.append(FakeAnswer(question))
        return self.prepared[-1]

    async def speak(self, question: str, answer: Any) -> None:
        self.spoken.append((question, answer))
        self.real.speaking = True
        await self.finished.wait()
        self.real.speaking = False


class FakeEcho:
    def __init__(self) -> None:
        self.hers = False

    def is_echo(self, began: float) -> bool:
        return self.hers


class Stage:
    def __init__(self) -> None:
        self.real = FakeReal("1")
        built = Built(cast(Any, self.real), FakePeer(lambda: None), "ada")
        self.session = Session("1", built, Wish(), Conversation())
        self.answers = FakeAnswers(self.real)
        self.echo = FakeEcho()
        loop = asyncio.get_running_loop()
        self.dialogue = Dialogue(self.session, self.answers, BALANCED, self.echo, now=loop.time)
        self.heard: list[tuple[str, dict[str, Any]]] = []
        self.real.events.subscribe(self._hear)

    def _hear(self, event: Event, at: float) -> None:
        self.heard.append((event.name, event.data))

    def names(self) -> list[str]:
        return [name for name, _ in self.heard]

    def say(self, text: str, *, over_s: float = 0.0, reason: str = "finished", likely: bool = False) -> None:
        """An utterance from its beginning to the end of the turn."""
        now = asyncio.get_running_loop().time()
        self.dialogue.speech_started(now)
        self.dialogue.speech_ongoing(now + over_s, over_s)
        self.dialogue.pause(now + over_s)
        if likely:
            self.dialogue.likely_end(self.utterance(text))
        self.dialogue.turn_ended(self.utterance(text, reason))

    def utterance(self, text: str, reason: str = "finished") -> Utterance:
        now = asyncio.get_running_loop().time()
        return Utterance(np.zeros(0, np.float32), now, now, cast(Any, FakeTranscript(text)), 0.4, cast(Any, reason))

    async def settle(self) -> None:
        for _ in range(5):
            await asyncio.sleep(0)


def staged(test: Callable[[Stage], Awaitable[None]]) -> Callable[[], None]:
    """Run the test on a stage and on virtual time."""

    def run() -> None:
        async def whole() -> None:
            stage = Stage()
            try:
                await test(stage)
            finally:
                await stage.dialogue.aclose()
                await stage.session.aclose()

        run_virtual(whole())

    run.__name__ = test.__name__
    return run


@staged
async def test_a_question_is_answered_and_shown(stage: Stage) -> None:
    stage.say("Where is the exit?")
    await stage.settle()
    assert [question for question, _ in stage.answers.spoken] == ["Where is the exit?"]
    assert stage.names() == ["user.started", "user.stopped", "transcript.final", "turn.ended"]


@staged
async def test_an_answer_is_prepared_while_the_pause_is_judged(stage: Stage) -> None:
    stage.say("Where is the exit?", likely=True)
    await stage.settle()
    assert stage.answers.spoken == [("Where is the exit?", stage.answers.prepared[0])]
    assert len(stage.answers.prepared) == 1


@staged
async def test_what_was_prepared_is_dropped_when_they_go_on(stage: Stage) -> None:
    stage.dialogue.speech_started(0.0)
    stage.dialogue.likely_end(stage.utterance("I would like"))
    stage.dialogue.speech_resumed(1.0)
    assert stage.answers.prepared[0].dropped
    stage.dialogue.turn_ended(stage.utterance("I would like a ticket."))
    await stage.settle()
    assert [question for question, _ in stage.answers.spoken] == ["I would like a ticket."]
    assert len(stage.answers.prepared) == 2


@staged
async def test_what_was_prepared_for_other_words_is_dropped(stage: Stage) -> None:
    stage.dialogue.likely_end(stage.utterance("Fifteen?"))
    stage.dialogue.turn_ended(stage.utterance("Fifty?"))
    await stage.settle()
    assert stage.answers.prepared[0].dropped
    assert stage.answers.spoken[0][0] == "Fifty?" and stage.answers.spoken[0][1] is stage.answers.prepared[1]


@staged
async def test_speech_over_her_silences_her_and_words_end_her_turn(stage: Stage) -> None:
    stage.real.speaking = True
    stage.dialogue.speech_started(0.0)
    stage.dialogue.speech_ongoing(0.2, 0.2)
    assert not stage.real.suspended
    stage.dialogue.speech_ongoing(0.3, 0.3)
    assert stage.real.suspended and stage.real.turn == 0
    stage.dialogue.partial("stop please", "en")
    assert stage.real.turn == 1
    stage.dialogue.turn_ended(stage.utterance("Stop, please."))
    await stage.settle()
    assert [question for question, _ in stage.answers.spoken] == ["Stop, please."]


@pytest.mark.parametrize("text", ["Mm-hm.", "嗯，好的", "yeah right", ""])
def test_she_goes_on_after_what_only_says_that_they_listen(text: str) -> None:
    @staged
    async def test(stage: Stage) -> None:
        stage.real.speaking = True
        stage.say(text, over_s=0.4)
        await stage.settle()
        assert not stage.real.suspended and stage.real.turn == 0 and stage.answers.spoken == []

    test()


@pytest.mark.parametrize(
    ("text", "confidence", "heard"),
    [("Men.", 0.5, False), ("认识", 0.29, False), ("Stop.", 0.55, True), ("停", 0.5, True), ("Music!", 0.9, True)],
)
def test_a_short_text_over_her_must_be_sure_or_urgent(text: str, confidence: float, heard: bool) -> None:
    @staged
    async def test(stage: Stage) -> None:
        stage.real.speaking = True
        stage.dialogue.speech_started(0.0)
        stage.dialogue.speech_ongoing(0.3, 0.3)
        stage.dialogue.pause(0.5)
        stage.dialogue.partial(text, "en")
        utterance = stage.utterance(text)
        sure = cast(Any, FakeTranscript(text, confidence=confidence))
        stage.dialogue.turn_ended(dataclasses.replace(utterance, transcript=sure))
        await stage.settle()
        assert heard or not stage.real.suspended
        assert stage.real.turn == int(heard)
        assert [question for question, _ in stage.answers.spoken] == [text] * heard

    test()


@staged
async def test_she_goes_on_when_nothing_is_recognised_for_two_seconds(stage: Stage) -> None:
    stage.real.speaking = True
    stage.dialogue.speech_started(0.0)
    stage.dialogue.speech_ongoing(0.3, 0.3)
    stage.dialogue.pause(0.4)
    await asyncio.sleep(1.9)
    assert stage.real.suspended
    await asyncio.sleep(0.2)
    assert not stage.real.suspended and stage.real.turn == 0


@staged
async def test_who_speaks_on_is_waited_for(stage: Stage) -> None:
    stage.real.speaking = True
    stage.dialogue.speech_started(0.0)
    stage.dialogue.speech_ongoing(0.3, 0.3)
    stage.dialogue.pause(0.4)
    await asyncio.sleep(1.5)
    stage.dialogue.speech_resumed(1.5)
    await asyncio.sleep(5)
    assert stage.real.suspended
    stage.dialogue.dropped("no words")
    assert not stage.real.suspended


@staged
async def test_her_own_echo_does_not_silence_her(stage: Stage) -> None:
    stage.real.speaking = stage.echo.hers = True
    stage.dialogue.speech_started(0.0)
    stage.dialogue.speech_ongoing(0.5, 0.5)
    assert not stage.real.suspended
    stage.echo.hers = False
    stage.dialogue.speech_ongoing(0.6, 0.6)
    assert stage.real.suspended


@staged
async def test_no_is_heard_however_short(stage: Stage) -> None:
    stage.real.speaking = True
    stage.say("No.", over_s=0.2)
    await stage.settle()
    assert stage.real.turn == 1 and [question for question, _ in stage.answers.spoken] == ["No."]


@staged
async def test_a_new_question_ends_the_answer_to_the_last_one(stage: Stage) -> None:
    stage.say("Where is the exit?")
    await stage.settle()
    stage.say("And the shop?", over_s=0.5)
    await stage.settle()
    assert stage.real.turn == 1
    assert [question for question, _ in stage.answers.spoken] == ["Where is the exit?", "And the shop?"]


@staged
async def test_a_request_to_wait_is_not_answered(stage: Stage) -> None:
    stage.real.speaking = True
    stage.say("Wait a moment.", over_s=0.4, reason="wait")
    await stage.settle()
    assert stage.real.turn == 1 and stage.answers.spoken == []
    assert ("listening", {"state": "waiting"}) in stage.heard


@staged
async def test_a_recogniser_that_is_gone_is_told_and_she_goes_on(stage: Stage) -> None:
    stage.real.speaking = True
    stage.dialogue.speech_started(0.0)
    stage.dialogue.speech_ongoing(0.4, 0.4)
    stage.dialogue.dropped("recogniser whisper: it has ended")
    assert not stage.real.suspended
    assert ("error", {"message": "recogniser whisper: it has ended"}) in stage.heard


@staged
async def test_every_stage_of_an_answers_delay_is_told(stage: Stage) -> None:
    stage.say("Where is the exit?", likely=True)
    await stage.settle()
    stage.answers.prepared[0].first_text_at = 0.2
    await asyncio.sleep(0.4)
    stage.real.voiced_at = asyncio.get_running_loop().time()
    await asyncio.sleep(0.1)
    stage.real.events.publish(Event("speech.started", 0), asyncio.get_running_loop().time())
    await stage.settle()
    stages = {"turn_s": 0.0, "first_text_s": 0.2, "first_voice_s": 0.2, "first_picture_s": 0.1}
    assert dict(stage.heard)["latency"] == {**stages, "first_sound_s": 0.3, "total_s": 0.5}


def test_words_are_counted_in_both_languages() -> None:
    assert [word_count(text) for text in ("", "…!", "It's 3.5 km", "你好，世界")] == [0, 0, 3, 4]
    assert only_listening("OK, okay.") and only_listening("嗯嗯") and only_listening("对，是的")
    assert not only_listening("不对") and not only_listening("okay but why") and not only_listening("")
