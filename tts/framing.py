"""Clauses' shaped sound into 20 ms speech frames, each event on the frame at which it happens."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from errors import EngineError
from media import SAMPLE_RATE_HZ, SAMPLES_PER_FRAME, Event, Pcm, SpeechFrame
from tts.base import Voice, Word

MOST_CHARACTERS = 2000
"""An event carries no more of a text than this; every clause brings its own."""
_EMPTY: Pcm = np.zeros(0, np.float32)


@dataclasses.dataclass(frozen=True, slots=True)
class Clause:
    """What is to be said next."""

    text: str
    language: str
    last: bool | None
    """True for the last of the text, None while more text may come."""


@dataclasses.dataclass(frozen=True, slots=True)
class Begin:
    """A clause begins, or goes on in another engine's voice."""

    clause: Clause
    text: str
    """What this voice says: the clause, or the rest of it."""
    voice: Voice


@dataclasses.dataclass(frozen=True, slots=True)
class Part:
    """Shaped sound and the words that begin in it, in seconds since the clause's first sample."""

    pcm: Pcm
    words: tuple[Word, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class End:
    """The clause is complete, or no engine could say it."""

    clause: Clause
    error: EngineError | None = None


class Framer:
    """Frames one utterance.

    Args:
        turn: put on every frame and event.
        text: the whole text when it is known; else `speech.started` carries the first clause.
    """

    def __init__(self, turn: int, text: str | None) -> None:
        self._turn = turn
        self._text = text
        self._pcm = _EMPTY
        self._framed = 0
        self._received = 0
        self._due: list[tuple[int, Event]] = []
        self._started = False
        self._ended = False

    def take(self, item: Begin | Part | End) -> list[SpeechFrame]:
        """The frames that this completes."""
        if isinstance(item, Begin):
            self._begin(item)
            return []
        if isinstance(item, Part):
            self._pcm = np.concatenate((self._pcm, item.pcm))
            self._received += item.pcm.size
            for word in item.words:
                data: dict[str, Any] = {"text": word.text}
                data |= {"start_s": round(word.start_s, 3), "end_s": round(word.end_s, 3)}
                if word.estimated:
                    data["estimated"] = True
                self._due.append((int(word.start_s * SAMPLE_RATE_HZ), self._event("word", data)))
            # One frame stays behind to be the clause's last.
            return self._frames((self._pcm.size - 1) // SAMPLES_PER_FRAME)
        return self._end(item)

    def end(self) -> list[SpeechFrame]:
        """The text is over: a frame that says so, unless the last clause's did or nothing was said."""
        if self._ended or not self._started:
            return []
        self._due.append((0, self._event("speech.ended")))
        return self._last()

    def _begin(self, item: Begin) -> None:
        if not self._started:
            self._started = True
            text = item.clause.text if self._text is None else self._text
            self._due.append((0, self._event("speech.started", {"text": text[:MOST_CHARACTERS]})))
        data = {
            "text": item.text,
            "language": item.clause.language,
            "voice": item.voice.id,
            "engine": item.voice.engine,
        }
        self._due.append((self._received, self._event("clause.started", data)))

    def _end(self, item: End) -> list[SpeechFrame]:
        self._started = True
        if item.error:
            data = {"text": item.clause.text, "message": str(item.error)}
            self._due.append((self._received, self._event("error", data)))
        if item.clause.last:
            self._ended = True
            self._due.append((self._received, self._event("speech.ended")))
        return self._last()

    def _last(self) -> list[SpeechFrame]:
        """The rest of the clause, padded, its last frame marked; the next clause starts anew."""
        missing = -self._pcm.size % SAMPLES_PER_FRAME or (0 if self._pcm.size else SAMPLES_PER_FRAME)
        self._pcm = np.concatenate((self._pcm, np.zeros(missing, np.float32)))
        count = self._pcm.size // SAMPLES_PER_FRAME
        end = self._framed + self._pcm.size - 1
        self._due = [(min(at, end), event) for at, event in self._due]
        frames = self._frames(count)
        frames[-1] = dataclasses.replace(frames[-1], final=True)
        self._framed = self._received = 0
        return frames

    def _frames(self, count: int) -> list[SpeechFrame]:
        frames = []
        for number in range(count):
            pcm = self._pcm[number * SAMPLES_PER_FRAME : (number + 1) * SAMPLES_PER_FRAME]
            self._framed += SAMPLES_PER_FRAME
            events = tuple(event for at, event in self._due if at < self._framed)
            if events:
                self._due = [(at, event) for at, event in self._due if at >= self._framed]
            frames.append(SpeechFrame(pcm, self._turn, events))
        self._pcm = self._pcm[max(0, count) * SAMPLES_PER_FRAME :]
        return frames

    def _event(self, name: str, data: dict[str, Any] | None = None) -> Event:
        return Event(name, self._turn, data or {})
