"""`Foresight`: the final text of an utterance, asked for as soon as it may have ended.

A pause is believed after 200 ms and a turn judged after that, but the recogniser needs longer than both together leave
it. So it is asked at the first silence that is longer than most stops within words; nearly always nothing is said in
between, and what was recognised is the text of the pause. Else it makes a caption.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING

from listening.utterance import Recording
from media import Pcm

if TYPE_CHECKING:
    from asr.base import Transcript

BLIP_S = 0.04
"""So much more speech (one window) is the release of a last consonant, or a click, and no reason to begin anew: what a
recogniser has begun cannot be stopped, and the next would wait for it."""

Recognise = Callable[[Pcm], Coroutine[None, None, "Transcript"]]


class Foresight:
    """One listener's; at most one recognition at a time is foreseen, so that little is lost where it was in vain.

    Args:
        recognise: asks for the text of [samples] at 16 kHz.
        heard: told every text that was recognised, when it is there.
    """

    def __init__(self, recognise: Recognise, heard: Callable[[Recording, Transcript], None]) -> None:
        self._recognise = recognise
        self._heard = heard
        self._recording: Recording | None = None
        self._voiced_s = 0.0
        """Speech in it when it was begun."""
        self._task: asyncio.Task[Transcript] | None = None

    @property
    def is_busy(self) -> bool:
        """Whether something is being recognised."""
        return self._task is not None and not self._task.done()

    def begin(self, recording: Recording) -> None:
        """The utterance may end here: recognise it, unless that was begun already. One that was begun before more was
        said is given up."""
        if not self._is_of(recording):
            self.drop()
            self._recording, self._voiced_s = recording, recording.voiced_s
            self._task = asyncio.create_task(self._work(recording, recording.pcm()), name="foresight")
            self._task.add_done_callback(_seen)

    async def text(self, recording: Recording) -> Transcript:
        """Of the utterance as it is; it is recognised on where nobody waits for this any more.

        Raises:
            VisageError: the recogniser's.
            TimeoutError: it gives nothing.
        """
        self.begin(recording)
        assert self._task is not None
        return await asyncio.shield(self._task)

    def take(self, recording: Recording) -> asyncio.Task[Transcript] | None:
        """What was begun with all that was said, done or not; from now on the caller's. None when there is nothing."""
        if not self._is_of(recording):
            self.drop()
            return None
        task, self._recording, self._task = self._task, None, None
        return task

    def drop(self) -> asyncio.Task[Transcript] | None:
        """Give up what was begun; returns it, to be waited for."""
        task, self._recording, self._task = self._task, None, None
        if task is not None:
            task.cancel()
        return task

    def _is_of(self, recording: Recording) -> bool:
        return self._recording is recording and recording.voiced_s - self._voiced_s <= BLIP_S

    async def _work(self, recording: Recording, pcm: Pcm) -> Transcript:
        transcript = await self._recognise(pcm)
        self._heard(recording, transcript)
        return transcript


def _seen(task: asyncio.Task[Transcript]) -> None:
    """What went wrong is raised where the text is wanted; where it no longer is, nobody asks."""
    if not task.cancelled():
        task.exception()
