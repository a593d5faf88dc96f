"""`Dialogue`: whose turn it is. Hears what the listener tells, lets her answer, and lets people speak over her.

    user speaks  ─ over her for a moment ─► she falls silent (suspended)
                       │ words were recognised        │ a cough, "mm-hm", her own echo, nothing for two seconds
                       ▼                              ▼
                 her turn ends, they are heard   she goes on from the very word

An answer is prepared while the pause is still being judged, and thrown away when they go on.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from listening.activity import WINDOW_S
from listening.listener import ListenerEvents
from listening.settings import ListeningSettings
from listening.utterance import Utterance
from listening.words import may_be_noise, only_listening, word_count
from media import Event
from sessions.session import Real, Session

if TYPE_CHECKING:
    from asr.base import Transcript

log = logging.getLogger(__name__)


class Answer(Protocol):
    """An answer that is being written."""

    first_text_at: float | None
    """Monotonic seconds of its first text; None before."""

    def drop(self) -> None:
        """It will not be spoken."""


class Answers(Protocol):
    """Who answers."""

    def prepare(self, question: str) -> Answer:
        """Begin to write, without a trace in the history; returns at once."""

    async def speak(self, question: str, answer: Answer | None) -> None:
        """Say the answer, prepared or not, until it is heard to its end; cancelled by an interruption."""


class Echo(Protocol):
    """What `EchoGuard` tells of her own sound in the microphone."""

    def is_echo(self, began: float) -> bool:
        """Whether what is heard since `began` is her own voice."""


@dataclasses.dataclass(slots=True)
class _Draft:
    question: str
    answer: Answer


class Dialogue(ListenerEvents):
    """One session's conversation by voice. On the event loop; `aclose` at its end.

    Args:
        session: its real is suspended, resumed and interrupted; its chats are queued there.
        answers: who answers.
        settings: times and thresholds.
        echo: None trusts the microphone.
        now: monotonic seconds.
    """

    def __init__(
        self,
        session: Session,
        answers: Answers,
        settings: ListeningSettings,
        echo: Echo | None = None,
        *,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._session = session
        self._answers = answers
        self._settings = settings
        self._echo = echo
        self._now = now
        self._began = 0.0
        """First sound of the utterance that is heard now."""
        self._suspended = False
        """She was silenced by what is being said."""
        self._draft: _Draft | None = None
        self._patience: asyncio.TimerHandle | None = None

    @property
    def _real(self) -> Real:
        return self._session.real

    def _publish(self, name: str, **data: Any) -> None:
        self._real.events.publish(Event(name, self._real.turn, data), self._now())

    # ---- what the listener tells

    def speech_started(self, at: float) -> None:
        """Somebody begins to speak."""
        self._began = at
        self._session.touch()
        self._publish("user.started")

    def speech_ongoing(self, at: float, voiced_s: float) -> None:
        """They speak on: long enough over her, and she falls silent."""
        self._keep_waiting()
        is_long = voiced_s >= self._settings.barge_in_s - WINDOW_S / 2  # it comes in windows: the nearest counts
        if self._suspended or not is_long or not self._real.speaking:
            return
        if self._echo is not None and self._echo.is_echo(self._began):
            return
        self._suspended = self._real.suspend()

    def speech_resumed(self, at: float) -> None:
        """They go on after a pause: what was prepared is void."""
        self._keep_waiting()
        self._drop_draft()

    def partial(self, text: str, language: str) -> None:
        """What was said so far: words over her end her turn."""
        self._publish("transcript.partial", text=text, language=language)
        if self._suspended and self._means_something(text, 0.0):
            self._interrupt()

    def pause(self, at: float) -> None:
        """They pause: without a word she goes on after a while."""
        self._publish("user.stopped", seconds=round(max(0.0, at - self._began), 3))
        if self._suspended and self._patience is None:
            loop = asyncio.get_running_loop()
            self._patience = loop.call_later(self._settings.false_barge_in_s, self._give_back)

    def likely_end(self, utterance: Utterance) -> None:
        """Prepare the answer while the pause is judged."""
        transcript = utterance.transcript
        if self._settings.speculate and self._is_question(transcript):
            self._drop_draft()
            self._draft = _Draft(transcript.text, self._answers.prepare(transcript.text))

    def turn_ended(self, utterance: Utterance) -> None:
        """Answer, or go on where she was."""
        self._keep_waiting()
        transcript = utterance.transcript
        draft, self._draft = self._draft, None
        if draft is not None and draft.question != transcript.text:
            draft.answer.drop()
            draft = None
        if not self._is_question(transcript):
            self._drop(draft)
            self._give_back()
            self._publish("listening", state="nothing was said" if not transcript.text else "backchannel")
            return
        self._publish(
            "transcript.final",
            text=transcript.text,
            language=transcript.language,
            confidence=round(transcript.confidence, 3),
        )
        self._publish("turn.ended", wait_s=round(utterance.wait_s, 3), reason=utterance.reason)
        if self._real.speaking:
            self._interrupt()
        self._suspended = False
        if utterance.reason == "wait":
            self._drop(draft)
            self._publish("listening", state="waiting")
            return
        answer = draft.answer if draft is not None else None
        self._session.chat(lambda: self._reply(utterance, answer))

    def dropped(self, reason: str) -> None:
        """It was nothing, or was lost."""
        self._drop_draft()
        self._give_back()
        if reason.startswith("recogniser"):
            self._publish("error", message=reason)
        else:
            self._publish("listening", state=reason)

    # ---- what follows

    async def _reply(self, utterance: Utterance, answer: Answer | None) -> None:
        decided = self._now()
        prepared = answer or self._answers.prepare(utterance.transcript.text)
        stopwatch = Stopwatch(self._session, utterance, decided, prepared, self._now)
        try:
            await self._answers.speak(utterance.transcript.text, prepared)
        finally:
            stopwatch.stop()
            prepared.drop()

    def _is_question(self, transcript: Transcript) -> bool:
        """Whether what was said wants an answer: over her, "mm-hm" does not."""
        if word_count(transcript.text) < 1:
            return False
        over_her = self._suspended or self._real.speaking
        return not over_her or self._means_something(transcript.text, transcript.confidence)

    def _means_something(self, text: str, confidence: float) -> bool:
        """Whether a text, so far believed, is said over her to be heard; a caption has no confidence yet."""
        if word_count(text) < self._settings.min_words or only_listening(text):
            return False
        return confidence >= self._settings.doubted or not may_be_noise(text)

    def _interrupt(self) -> None:
        self._keep_waiting()
        self._suspended = False
        self._session.interrupt()

    def _give_back(self) -> None:
        """She goes on where she was."""
        self._keep_waiting()
        if self._suspended:
            self._suspended = False
            self._real.resume()

    def _keep_waiting(self) -> None:
        patience, self._patience = self._patience, None
        if patience is not None:
            patience.cancel()

    def _drop_draft(self) -> None:
        draft, self._draft = self._draft, None
        self._drop(draft)

    @staticmethod
    def _drop(draft: _Draft | None) -> None:
        if draft is not None:
            draft.answer.drop()

    async def aclose(self) -> None:
        """Prepare nothing any more and let her go on."""
        self._drop_draft()
        self._give_back()


class Stopwatch:
    """Publishes `latency` when the first sound of an answer is played out, with its picture: seconds of every stage.

    `turn_s` from the end of speech to the end of the turn, `first_text_s` from there to the model's first text,
    `first_voice_s` on to the first sound that was made, `first_picture_s` on to that sound's picture as both are sent;
    `first_sound_s` is the last two together, `total_s` all. What is prepared in time takes none.
    """

    def __init__(
        self, session: Session, utterance: Utterance, decided: float, answer: Answer, now: Callable[[], float]
    ) -> None:
        self._session = session
        self._utterance = utterance
        self._decided = decided
        self._answer = answer
        self._now = now
        self._loop = asyncio.get_running_loop()
        self._turn = session.real.turn
        self.stop = session.real.events.subscribe(self._played)

    def _played(self, event: Event, at: float) -> None:
        """Runs on the playout's thread."""
        if event.name == "speech.started" and event.turn == self._turn:
            self.stop()
            self._loop.call_soon_threadsafe(self._tell, at)

    def _tell(self, sounded: float) -> None:
        ended, text_at = self._utterance.ended, self._answer.first_text_at
        written = max(self._decided, text_at or 0.0)
        voiced = min(sounded, max(written, self._session.real.voiced_at or 0.0))
        figures = {
            "turn_s": self._decided - ended,
            "first_text_s": None if text_at is None else max(0.0, text_at - self._decided),
            "first_voice_s": voiced - written,
            "first_picture_s": sounded - voiced,
            "first_sound_s": sounded - written,
            "total_s": sounded - ended,
        }
        data = {name: value if value is None else round(value, 3) for name, value in figures.items()}
        self._session.real.events.publish(Event("latency", self._turn, data), self._now())
