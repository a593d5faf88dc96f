"""`BaseReal`: one session. Takes text and speech, yields `MediaUnit`s in order, owns turns and interruption.

Three threads meet here: the event loop (what to say), the scheduler (what to draw) and the playout clock (what is
shown). They share the session's `Timeline` under one lock that is never held across a call out of this module.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Sequence
from typing import TYPE_CHECKING, Any

from actions import Action
from baseasr import BaseASR
from engines.base import LipRequest
from engines.scheduler import Scheduler
from errors import Busy, Unavailable, VisageError
from events import EventBus
from media import I420, SPEECH_FRAMES_PER_S, Event, MediaUnit, Pcm, SpeechFrame
from speech import frames_of
from timeline import Timeline, start_units

if TYPE_CHECKING:
    from avatar import Avatar
    from ttsreal import BaseTTS, Speech

log = logging.getLogger(__name__)

SPEECH_QUEUE_FRAMES = 2 * SPEECH_FRAMES_PER_S  # 2 s between the voice and the renderer
JOBS_MAX = 256  # texts and recordings waiting their turn

Source = Callable[[], AsyncGenerator[Sequence[SpeechFrame], None]]


@dataclasses.dataclass(frozen=True, slots=True)
class _Job:
    turn: int
    source: Source


class BaseReal:
    """One session of any lip engine.

    Construct and call it on the event loop, except `due`, `next_request` and `accept` (scheduler) and `take` and
    `played` (clock).
    """

    def __init__(
        self,
        sessionid: str,
        avatar: Avatar,
        scheduler: Scheduler,
        asr: BaseASR,
        tts: BaseTTS | None = None,
        *,
        actions: dict[int, Action] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.sessionid = sessionid
        self.avatar = avatar
        self.tts = tts
        self.events = EventBus()
        self.turn = 0
        self.voiced_at: float | None = None
        """When the first sound of what is said was there to be drawn, monotonic s; None before any was."""
        self._actions = actions or {}
        self._action: Action | None = None
        self._clock = clock
        self._scheduler = scheduler
        self._lock = threading.Lock()
        self._timeline = Timeline(avatar, asr, clock())
        self._loop = asyncio.get_running_loop()
        self._room = asyncio.Event()
        self._jobs: asyncio.Queue[_Job] = asyncio.Queue(JOBS_MAX)
        self._performing: asyncio.Task[None] | None = None
        self._audible = False
        scheduler.add(self)
        self._worker = asyncio.create_task(self._work(), name=f"speech {sessionid}")

    @property
    def width(self) -> int:
        """Picture width in pixels."""
        return self.avatar.width

    @property
    def height(self) -> int:
        """Picture height in pixels."""
        return self.avatar.height

    # ---- what to say (event loop)

    async def say(
        self,
        text: str | AsyncIterable[str],
        *,
        voice: str | None = None,
        options: dict[str, Any] | None = None,
        turn: int | None = None,
    ) -> None:
        """Speak `text` after what is already queued; returns at once.

        Args:
            text: whole, or in pieces as it is written (a language model's reply).
            voice: id of a voice; None is the session's own.
            options: engine options of `/human`'s `tts` object.
            turn: the turn this text belongs to (a streamed reply's); text of an older turn is dropped.

        Raises:
            Busy: `JOBS_MAX` texts and recordings are waiting already.
            Unavailable: the session has no speech engine.
        """
        tts = self._voice()
        mine = self.turn if turn is None else turn
        self._submit(_Job(mine, lambda: tts.speak(text, turn=mine, voice=voice, options=options)))

    def prepare(
        self, text: str | AsyncIterable[str], *, voice: str | None = None, options: dict[str, Any] | None = None
    ) -> Speech:
        """Begin to speak `text` before it is known whether it will be heard, and in which turn.

        What is returned is for `speak`, or to be dropped.

        Raises:
            Unavailable: the session has no speech engine.
            NotFound: an unknown voice.
            BadRequest: a bad speed.
        """
        return self._voice().prepare(text, voice=voice, options=options)

    async def speak(self, speech: Speech, *, turn: int) -> None:
        """As `say`, with what was prepared.

        Raises:
            Busy: `JOBS_MAX` texts and recordings are waiting already.
        """
        self._submit(_Job(turn, lambda: speech.frames(turn)))

    async def play(self, sound: Pcm | AsyncIterable[Pcm]) -> None:
        """Speak recorded sound (16 kHz mono float32, whole or in blocks) after what is already queued; returns at once.

        Raises:
            Busy: `JOBS_MAX` texts and recordings are waiting already.
        """
        mine = self.turn
        self._submit(_Job(mine, lambda: frames_of(sound, mine)))

    def interrupt(self) -> int:
        """End everything said and queued so far, at once and at every stage; returns the new turn."""
        was_speaking = self.speaking
        with self._lock:
            self.turn += 1
            self._timeline.interrupt(self.turn)
            self._action = None
            self._audible = False
        while not self._jobs.empty():
            self._jobs.get_nowait()
        if self._performing is not None:
            self._performing.cancel()
        self._room.set()
        self._scheduler.wake()
        if was_speaking:
            self.events.publish(Event("interrupted", self.turn), self._clock())
        return self.turn

    def suspend(self) -> bool:
        """Fall silent at once and keep what was not heard yet, and what comes; False when nothing is being said.

        `resume` goes on from there, `interrupt` drops it.
        """
        if not self.speaking:
            return False
        with self._lock:
            if self._timeline.suspended:
                return False
            self._timeline.suspend()
        self._scheduler.wake()
        self.events.publish(Event("paused", self.turn), self._clock())
        return True

    def resume(self) -> bool:
        """Go on after `suspend`; False when nothing was kept."""
        with self._lock:
            if not self._timeline.suspended:
                return False
            self._timeline.resume()
            self._tell_room()
        self._scheduler.wake()
        self.events.publish(Event("resumed", self.turn), self._clock())
        return True

    @property
    def speaking(self) -> bool:
        """True from the acceptance of text or sound until the last of it is played out."""
        performing = self._performing is not None and not self._performing.done() and not self._performing.cancelling()
        if performing or not self._jobs.empty():
            return True
        with self._lock:
            return self._audible

    def act(self, audiotype: int) -> None:
        """Show a custom action (LiveTalking's `set_audiotype`); unknown numbers return to the avatar's own motion."""
        with self._lock:
            action = self._actions.get(audiotype)
            self._action = action.fresh() if action is not None else None

    def _voice(self) -> BaseTTS:
        if self.tts is None:
            raise Unavailable(f"session {self.sessionid} has no speech engine: start the server with --tts")
        return self.tts

    def _submit(self, job: _Job) -> None:
        if job.turn != self.turn:
            return
        try:
            self._jobs.put_nowait(job)
        except asyncio.QueueFull:
            raise Busy(
                f"session {self.sessionid}: {JOBS_MAX} texts are waiting to be spoken, no more are taken",
                zh=f"会话 {self.sessionid}：已有 {JOBS_MAX} 段内容等待播放，请稍后再试",
            ) from None

    async def _work(self) -> None:
        while True:
            job = await self._jobs.get()
            if job.turn != self.turn:
                continue
            self._performing = asyncio.create_task(self._perform(job))
            try:
                await asyncio.wait({self._performing})
            finally:
                self._performing.cancel()
            self._finish(job, self._performing)

    async def _perform(self, job: _Job) -> None:
        async with contextlib.aclosing(job.source()) as bursts:
            async for burst in bursts:
                await self._put(burst)

    def _finish(self, job: _Job, task: asyncio.Task[None]) -> None:
        with self._lock:
            if job.turn == self.turn:
                self._timeline.end()
        self._scheduler.wake()
        if task.cancelled() or (error := task.exception()) is None:
            return
        if isinstance(error, VisageError):
            log.warning("session %s: speech failed: %s", self.sessionid, error)
        else:
            log.error("session %s: speech failed", self.sessionid, exc_info=error)
        self.events.publish(Event("error", job.turn, {"message": str(error)}), self._clock())

    async def _put(self, burst: Sequence[SpeechFrame]) -> None:
        """Queue frames of the current turn, waiting while the queue is full."""
        rest = list(burst)
        if any(event.name == "speech.started" for event in rest[0].events):
            self.voiced_at = self._clock()
        while rest:
            with self._lock:
                room = max(0, SPEECH_QUEUE_FRAMES - self._timeline.waiting)
                for frame in rest[:room]:
                    if frame.turn == self.turn:
                        self._timeline.put(frame)
                        self._audible = True
                self._room.clear()
            del rest[:room]
            self._scheduler.wake()
            if rest:
                await self._room.wait()

    # ---- what to draw (scheduler thread)

    def due(self) -> float | None:
        """Deadline of the next picture wanted (monotonic s), None when none is."""
        now = self._clock()
        with self._lock:
            return self._timeline.deadline(now) if self._advance() else None

    def next_request(self) -> LipRequest | None:
        """Take the next request."""
        with self._lock:
            if not self._advance():
                return None
            request = self._timeline.next_request(self._clock(), self._scheduler.latency_s)
            self._tell_room()
            return request

    def _advance(self) -> bool:
        """Pass pauses by, whichever thread looks; True when something should be drawn."""
        wanted = self._timeline.advance(self._scheduler.latency_s)
        self._tell_room()
        return wanted

    def _tell_room(self) -> None:
        """Let `_put` go on once half of the queue is free."""
        if self._timeline.waiting < SPEECH_QUEUE_FRAMES // 2 and not self._room.is_set():
            self._loop.call_soon_threadsafe(self._room.set)

    def accept(self, request: LipRequest, picture: I420 | None) -> None:
        """The picture of a request, or None when the engine failed."""
        with self._lock:
            self._timeline.accept(request, picture)

    # ---- what is shown (pacer's threads)

    def take(self) -> MediaUnit | None:
        """The next 40 ms: speech, idle motion or a custom action; None holds the last picture in silence."""
        with self._lock:
            if self._action is not None and not self._timeline.pending:
                unit = self._action.take(self.turn)
                if unit is not None:
                    return unit
                self._action = None
                self._timeline.rejoin(self._clock())
            unit = self._timeline.take(start_units(self._scheduler.latency_s), self._clock())
            wanted = self._advance()
            self._audible = self._timeline.pending
        if wanted:
            self._scheduler.wake()
        return unit

    def played(self, frame: SpeechFrame, at: float) -> None:
        """The clock sent this frame at monotonic time `at`: fire its events."""
        for event in frame.events:
            self.events.publish(event, at)

    # ---- the end

    async def aclose(self) -> None:
        """End the session's task, leave the scheduler and free the queues."""
        self._scheduler.remove(self)
        self._worker.cancel()
        await asyncio.gather(self._worker, return_exceptions=True)
        if self._performing is not None:
            self._performing.cancel()
            await asyncio.gather(self._performing, return_exceptions=True)
        with self._lock:
            self.turn += 1
            self._timeline.interrupt(self.turn)
