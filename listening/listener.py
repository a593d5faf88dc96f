"""`Listener`: microphone frames in; who speaks, what, and when their turn has ended, out.

    frames -> Activity -> Recording -> pause -> recogniser + TurnDetector -> turn_ended(Utterance)

At a pause the whole utterance is judged at once, and recognised a little before that (`foresight.py`), so that both are
there when enough silence has passed; speech that resumes before drops them, and one utterance is what was said before
and after. All methods belong to one event loop; nothing here takes longer than judging a window (0.1 ms).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING

from asr.partials import Agreement
from errors import VisageError
from listening.activity import WINDOW_S, Activity, Heard
from listening.foresight import Foresight
from listening.frames import MicFrame
from listening.listenerevents import ListenerEvents
from listening.settings import ListeningSettings
from listening.turns import Judgement, Reason, TurnDetector
from listening.turntext import Verdict
from listening.utterance import Recording, Utterance
from listening.vad import SpeechProbability

if TYPE_CHECKING:
    from asr.base import ListenersRecogniser, Transcript
    from media import Pcm

READING_LEAST_S = 0.2
"""A classifier has this long in any case."""

log = logging.getLogger(__name__)

__all__ = ["Listener", "ListenerEvents"]


class Listener:
    """One session's ears.

    Args:
        vad: tells speech from other sounds; this session's own.
        turns: tells ends from pauses.
        recogniser: shared; asked for one thing at a time by each session.
        settings: thresholds and times.
        events: told what is heard.
        language: BCP 47 primary tag when it is known which will be spoken.
        now: monotonic seconds, the clock of `MicFrame.at`.
    """

    def __init__(
        self,
        vad: SpeechProbability,
        turns: TurnDetector,
        recogniser: ListenersRecogniser,
        settings: ListeningSettings,
        events: ListenerEvents,
        *,
        language: str | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.language = language
        self._activity = Activity(vad, settings)
        self._turns = turns
        self._recogniser = recogniser
        self._settings = settings
        self._events = events
        self._now = now
        self._before: deque[Heard] = deque(maxlen=round(settings.prefix_s / WINDOW_S))
        self._recording: Recording | None = None
        self._heard_until = 0.0
        self._fed_at = 0.0
        self._progress = asyncio.Event()
        self._partial_due_s = 0.0
        self._agreement = Agreement()
        self._empty_partials = 0
        self._foresight = Foresight(self._recognise, self._foreseen)
        self._judging: asyncio.Task[None] | None = None
        self._captioning: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None
        """Of an utterance that was taken whole while the next may already be spoken."""
        self._watching: asyncio.Task[None] | None = None

    @property
    def is_speaking(self) -> bool:
        """Whether an utterance is on its way: spoken, or paused."""
        return self._recording is not None

    async def feed(self, frame: MicFrame) -> None:
        """Hear the next 20 ms; never waits."""
        self._fed_at = self._now()
        for heard in self._activity.hear(frame):
            self._heard_until = heard.ends
            self._take(heard)
        self._progress.set()

    async def finish(self) -> None:
        """The utterance ends here, whatever it sounds like: a button was let go."""
        if self._recording is None:
            self._events.dropped("nothing was said")
        else:
            self._close("released")

    async def cancel(self) -> None:
        """Forget the utterance without a word: the microphone was muted, or another stream begins."""
        self._forget()
        self._activity.reset()
        self._before.clear()

    async def aclose(self) -> None:
        """End all its tasks."""
        foreseen = self._foresight.drop()
        tasks = (self._judging, self._captioning, self._closing, self._watching, foreseen)
        self._forget()
        if self._closing is not None:
            self._closing.cancel()
        await asyncio.gather(*filter(None, tasks), return_exceptions=True)

    def _take(self, heard: Heard) -> None:
        """One window into the utterance."""
        recording = self._recording
        if recording is None:
            self._before.append(heard)
            if heard.state == "speech":
                self._begin(heard)
            return
        recording.add(heard)
        if heard.state == "speech":
            if heard.changed:
                self._cancel(self._judging)
                self._foresight.drop()
                self._events.speech_resumed(heard.at)
            self._events.speech_ongoing(heard.at, recording.voiced_s)
            if self._may_end(recording, heard):
                self._cancel(self._captioning)
                self._foresight.begin(recording)
            else:
                self._caption(recording)
        elif heard.changed:
            self._events.pause(recording.ended)
            self._cancel(self._captioning)
            self._judging = self._start(self._judge(recording), "turn")
        # `speech_ongoing` may have led to `cancel`.
        if self._recording is recording and recording.seconds >= self._settings.utterance_limit_s:
            self._close("limit")

    def _begin(self, heard: Heard) -> None:
        self._recording = recording = Recording(self._before)
        self._before.clear()
        self._partial_due_s = self._settings.partial_first_s
        self._agreement = Agreement()
        self._empty_partials = 0
        if self._watching is None or self._watching.done():
            self._watching = self._start(self._watch(), "microphone-watch")
        self._events.speech_started(recording.began)
        self._events.speech_ongoing(heard.at, recording.voiced_s)

    def _may_end(self, recording: Recording, heard: Heard) -> bool:
        """Whether it is worth while to recognise the utterance before its pause is believed."""
        settings = self._settings
        is_quiet = heard.ends - recording.ended >= settings.hush_s - WINDOW_S / 2
        return is_quiet and recording.voiced_s >= settings.min_speech_s and self._recogniser.foresees

    def _foreseen(self, recording: Recording, transcript: Transcript) -> None:
        """A text that is the final one unless they go on; then it is a caption."""
        self._partial_due_s = recording.seconds + self._settings.partial_every_s
        if recording is self._recording and _says_something(transcript):
            self._events.partial(self._agreement.add(transcript.text)[1], transcript.language)

    def _forget(self) -> None:
        """The utterance is over."""
        self._recording = None
        self._activity.end()
        self._foresight.drop()
        for task in (self._judging, self._captioning, self._watching):
            self._cancel(task)

    def _start(self, work: Coroutine[None, None, None], name: str) -> asyncio.Task[None]:
        task = asyncio.create_task(work, name=name)
        task.add_done_callback(self._report)
        return task

    def _report(self, task: asyncio.Task[None]) -> None:
        """A task that failed: the utterance is lost, the listener goes on."""
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("listening: %s failed", task.get_name(), exc_info=error)
            self._forget()
            self._events.dropped(f"recogniser failed: {type(error).__name__}")

    def _cancel(self, task: asyncio.Task[None] | None) -> None:
        """End a task, unless it is the one that asks."""
        if task is not None and task is not asyncio.current_task():
            task.cancel()

    def _caption(self, recording: Recording) -> None:
        """Recognise what was said so far, when it is time and nothing else is being recognised."""
        if self._foresight.is_busy or (self._captioning is not None and not self._captioning.done()):
            self._partial_due_s = recording.seconds + self._settings.partial_every_s
        elif recording.seconds >= self._partial_due_s and self._empty_partials < self._settings.empty_partials:
            self._captioning = self._start(self._say_partial(recording.pcm()), "caption")

    async def _say_partial(self, pcm: Pcm) -> None:
        # A caption that fails is no loss: the final text tells what is wrong.
        with contextlib.suppress(VisageError, TimeoutError):
            transcript = await self._recognise(pcm, final=False)
            self._empty_partials = 0 if _says_something(transcript) else self._empty_partials + 1
            if _says_something(transcript):
                # Words that stood before are not taken back by the next transcription.
                self._events.partial(self._agreement.add(transcript.text)[1], transcript.language)

    async def _recognise(self, pcm: Pcm, *, final: bool = True) -> Transcript:
        async with asyncio.timeout(self._settings.recogniser_timeout_s):
            return await self._recogniser.transcribe(pcm, language=self.language, final=final)

    async def _judge(self, recording: Recording) -> None:
        """A pause: recognise, judge, wait for more; what resumes cancels this."""
        settings, pcm = self._settings, recording.pcm()
        if recording.voiced_s < settings.min_speech_s:
            await self._silence(recording.ended + settings.likely_s)
            self._drop(f"too short for a word: {recording.voiced_s:.2f} s")
            return
        sounds = asyncio.create_task(self._turns.sounds_finished(pcm), name="smart-turn")
        try:
            transcript = await self._recognised(self._foresight.text(recording))
            if transcript is None:
                self._forget()
                return
            judgement = await self._judgement(recording, transcript, sounds)
        finally:
            sounds.cancel()
        if _says_something(transcript):
            self._events.partial(transcript.text, transcript.language)
            if judgement.is_likely:
                likely = (transcript, judgement.wait_s, judgement.reason)
                self._events.likely_end(_utterance(recording, pcm, *likely))
        await self._silence(recording.ended + judgement.wait_s)
        self._end(recording, pcm, transcript, judgement.reason)

    async def _judgement(
        self, recording: Recording, transcript: Transcript, sounds: asyncio.Task[float | None]
    ) -> Judgement:
        """A classifier that has not answered when no turn waits any longer is not waited for either."""
        left_s = max(READING_LEAST_S, recording.ended + self._settings.limit_s - self._now())
        verdict: Verdict = "unfinished"
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(left_s):
                verdict = await self._turns.reads_finished(transcript.text, transcript.language)
        return self._turns.judgement(await sounds, verdict, transcript)

    async def _recognised(self, text: Awaitable[Transcript]) -> Transcript | None:
        """The final text; None when there is none, which was told."""
        try:
            return await text
        except TimeoutError:
            self._events.dropped(f"recogniser gave nothing for {self._settings.recogniser_timeout_s:.0f} s")
        except VisageError as error:
            self._events.dropped(f"recogniser failed: {error}")
        except Exception as error:  # A recogniser's library may raise anything; the session must go on.
            log.exception("recogniser failed")
            self._events.dropped(f"recogniser failed: {type(error).__name__}: {error}")
        return None

    async def _silence(self, until: float) -> None:
        """Until so much was heard, or should have been by the clock when the microphone gives nothing any more."""
        while self._heard_until < until:
            self._progress.clear()
            left_s = max(until, self._fed_at + self._settings.lost_s) - self._now()
            if left_s <= 0:
                return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left_s):
                    await self._progress.wait()

    def _close(self, reason: Reason) -> None:
        """Take the utterance as it is; what follows is another."""
        recording = self._recording
        assert recording is not None
        pcm, begun = recording.pcm(), self._foresight.take(recording)
        self._forget()
        self._cancel(self._closing)
        self._closing = self._start(self._finish(recording, pcm, begun, reason), "utterance")

    async def _finish(
        self, recording: Recording, pcm: Pcm, begun: asyncio.Task[Transcript] | None, reason: Reason
    ) -> None:
        transcript = await self._recognised(begun or self._recognise(pcm))
        if transcript is not None:
            self._tell(recording, pcm, transcript, reason)

    def _end(self, recording: Recording, pcm: Pcm, transcript: Transcript, reason: Reason) -> None:
        """The turn is over."""
        self._forget()
        self._tell(recording, pcm, transcript, reason)

    def _tell(self, recording: Recording, pcm: Pcm, transcript: Transcript, reason: Reason) -> None:
        if _says_something(transcript):
            wait_s = self._now() - recording.ended
            self._events.turn_ended(_utterance(recording, pcm, transcript, wait_s, reason))
        else:
            self._events.dropped("nothing was recognised")

    def _drop(self, reason: str) -> None:
        self._forget()
        self._events.dropped(reason)

    async def _watch(self) -> None:
        """End an utterance whose microphone has gone."""
        while self._recording is not None:
            await asyncio.sleep(self._settings.lost_s)
            is_lost = self._now() - self._fed_at >= self._settings.lost_s
            if is_lost and self._recording is not None and self._activity.state == "speech":
                self._close("silence")


def _says_something(transcript: Transcript) -> bool:
    """Whether there is more than marks in it."""
    return any(c.isalnum() for c in transcript.text)


def _utterance(recording: Recording, pcm: Pcm, transcript: Transcript, wait_s: float, reason: Reason) -> Utterance:
    return Utterance(pcm, recording.began, recording.ended, transcript, wait_s, reason)
