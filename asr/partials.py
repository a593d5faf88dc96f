"""Captions of an utterance that goes on: LocalAgreement-2 over its growing sound.

What two transcriptions one behind the other begin with alike stands (Macháček et al., Turning Whisper into Real-Time
Transcription System, 2023); the rest may still change and is shown all the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import re
import time
from collections.abc import Callable

from asr.base import Recogniser, Transcript
from asr.pieces import quietest
from errors import VisageError
from media import SAMPLE_RATE_HZ, Pcm

FIRST_S = 0.8
"""Of sound before the first caption: less has hardly a word in it."""
EVERY_S = 0.8
COST_MAX = 0.4
"""Share of the time that may go into one session's captions; a slow recogniser captions more rarely."""
LONGEST_S = 10.0
"""Of sound transcribed at once. Behind it the oldest part, up to a pause, is transcribed a last time and stands."""
KEPT_S = 3.0
"""Of sound that such a cut leaves behind it: the last words need what follows them."""

log = logging.getLogger(__name__)

_HAN = r"\u3400-\u9fff\uf900-\ufaff"
_UNITS = re.compile(rf"[{_HAN}]|[^\W{_HAN}]+(?:['’.-][^\W{_HAN}]+)*")
"""A Chinese character or a word, without the marks around it: those change with what follows."""


@dataclasses.dataclass(frozen=True, slots=True)
class Caption:
    """What was said so far."""

    stable: str
    """Its beginning, which does not change any more."""
    text: str
    """All of it; begins with `stable`."""
    language: str


class Agreement:
    """LocalAgreement-2 over the transcriptions of one growing piece of sound."""

    def __init__(self) -> None:
        self._stable = ""
        self._count = 0
        """Words of `_stable`."""
        self._before: list[str] = []

    def add(self, text: str) -> tuple[str, str]:
        """What stands and the whole caption, now that the sound so far was transcribed as `text`."""
        units = list(_UNITS.finditer(text))
        words = [unit[0].lower() for unit in units]
        agreed = 0
        while agreed < min(len(words), len(self._before)) and words[agreed] == self._before[agreed]:
            agreed += 1
        self._before = words
        if agreed > self._count:
            self._count = agreed
            self._stable = text[: units[agreed - 1].end()].lstrip()
        # A transcription may take back what stands. Who reads along is not told: the final text will say.
        rest = text[units[self._count - 1].end() :] if 0 < self._count <= len(units) else text * (self._count == 0)
        return self._stable, (self._stable + rest).strip()


class Captions:
    """Transcribes an utterance again and again while it grows: at most one request is on its way.

    Args:
        recogniser: asked with `final=False`.
        publish: called on the event loop with every caption that differs from the one before.
        language: BCP 47 primary tag, or None.
        now: monotonic seconds.
    """

    def __init__(
        self,
        recogniser: Recogniser,
        publish: Callable[[Caption], None],
        language: str | None = None,
        *,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._recogniser = recogniser
        self._publish = publish
        self._language = language
        self._now = now
        self._agreement = Agreement()
        self._settled = ""
        self._origin = 0
        """Sample of the utterance at which the part begins that is still transcribed."""
        self._heard = 0
        self._due = round(FIRST_S * SAMPLE_RATE_HZ)
        self._not_before = 0.0
        self._shown = ""
        self._task: asyncio.Task[None] | None = None

    def hear(self, pcm: Pcm) -> None:
        """The utterance so far, from its beginning; transcribed when it is time and nothing else is."""
        if self._task is not None and not self._task.done():
            return
        if pcm.size >= self._due and self._now() >= self._not_before:
            self._due = pcm.size + round(EVERY_S * SAMPLE_RATE_HZ)
            self._task = asyncio.create_task(self._caption(pcm), name="caption")

    async def aclose(self) -> None:
        """End what is on its way, so that the final transcription does not wait for it."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _caption(self, pcm: Pcm) -> None:
        began = self._now()
        try:
            if pcm.size - self._origin > LONGEST_S * SAMPLE_RATE_HZ:
                await self._settle(pcm)
            transcript = await self._ask(pcm[self._origin :])
        except VisageError as error:
            log.info("no caption: %s", error)
        else:
            if transcript.text:
                self._show(transcript)
        self._not_before = self._now() + (self._now() - began) * (1 / COST_MAX - 1)

    async def _settle(self, pcm: Pcm) -> None:
        """Transcribe the oldest part a last time."""
        last = pcm.size - round(KEPT_S * SAMPLE_RATE_HZ)
        at = quietest(pcm, (self._origin + last) // 2, last)
        transcript = await self._ask(pcm[self._origin : at])
        self._settled = _joined(self._settled, transcript.text)
        self._origin, self._agreement = at, Agreement()

    async def _ask(self, pcm: Pcm) -> Transcript:
        return await self._recogniser.transcribe(pcm, language=self._language, final=False)

    def _show(self, transcript: Transcript) -> None:
        stable, text = self._agreement.add(transcript.text)
        text = _joined(self._settled, text)
        if text != self._shown:
            self._shown = text
            self._publish(Caption(_joined(self._settled, stable), text, transcript.language))


def _joined(first: str, second: str) -> str:
    """Two parts of a text, with a space where they are written with spaces."""
    first, second = first.strip(), second.strip()
    return f"{first} {second}" if first and second and (first + second).isascii() else first + second
