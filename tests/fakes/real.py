"""`FakeReal`: a session that says what a test scripts, without voices, engines or threads."""

from __future__ import annotations

import collections

import numpy as np

from events import EventBus
from media import I420, SAMPLE_RATE_HZ, SAMPLES_PER_FRAME, Event, MediaUnit, Pcm, SpeechFrame, silent_frame


def picture(width: int = 64, height: int = 48, luma: int = 128) -> I420:
    """A plain grey picture."""
    image = np.full((height * 3 // 2, width), 128, np.uint8)
    image[:height] = luma
    return image


def tone(frames: int, frequency_hz: float = 440.0, amplitude: float = 0.5) -> list[Pcm]:
    """A sine cut into 20 ms frames."""
    n = np.arange(frames * SAMPLES_PER_FRAME)
    wave = (amplitude * np.sin(2 * np.pi * frequency_hz * n / SAMPLE_RATE_HZ)).astype(np.float32)
    return list(wave.reshape(frames, SAMPLES_PER_FRAME))


class FakeReal:
    """Idle units for ever, unless units are scripted with `script` or `speak`."""

    def __init__(self, sessionid: str = "1", width: int = 64, height: int = 48) -> None:
        self.sessionid = sessionid
        self.turn = 0
        self.events = EventBus()
        self.width, self.height = width, height
        self.heard: list[tuple[SpeechFrame, float]] = []
        self.keep_heard = 2000
        self.taken = 0
        self._units: collections.deque[MediaUnit | None] = collections.deque()
        self._idle = [picture(width, height, 90 + 10 * k) for k in range(8)]

    def script(self, *units: MediaUnit | None) -> None:
        """Units to give out next; None holds."""
        self._units.extend(units)

    def unit(self, first: Pcm, second: Pcm, *, events: tuple[Event, ...] = (), final: bool = False) -> MediaUnit:
        """A speaking unit of the current turn; its events are on the first frame."""
        frames = SpeechFrame(first, self.turn, events), SpeechFrame(second, self.turn, final=final)
        return MediaUnit(self._idle[self.taken % 8], frames, self.turn, 0)

    def speak(self, units: int, *, text: str = "hello") -> None:
        """Queue a tone with `speech.started` and `speech.ended` at its ends."""
        sound = tone(2 * units)
        for k in range(units):
            events = (Event("speech.started", self.turn, {"text": text}),) if k == 0 else ()
            self.script(self.unit(sound[2 * k], sound[2 * k + 1], events=events, final=k == units - 1))
        ended = silent_frame(self.turn, (Event("speech.ended", self.turn),))
        self.script(MediaUnit(self._idle[0], (ended, silent_frame(self.turn)), self.turn, 0))

    def interrupt(self) -> int:
        self.turn += 1
        self._units.clear()
        return self.turn

    def take(self) -> MediaUnit | None:
        self.taken += 1
        if self._units:
            return self._units.popleft()
        silent = silent_frame(self.turn)
        return MediaUnit(self._idle[self.taken % 8], (silent, silent), self.turn, self.taken)

    def played(self, frame: SpeechFrame, at: float) -> None:
        if len(self.heard) < self.keep_heard:
            self.heard.append((frame, at))
        for event in frame.events:
            self.events.publish(event, at)

    async def aclose(self) -> None:
        self._units.clear()
