"""A whole session on scripted fakes and a virtual clock: voice, engine, playout."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
from collections.abc import AsyncGenerator, Sequence
from typing import Any, cast

import numpy as np

from avatar import Avatar
from baseasr import BaseASR
from basereal import BaseReal
from engines.base import LipRequest
from engines.scheduler import Scheduler
from media import I420, SAMPLES_PER_FRAME, UNIT_S, Event, MediaUnit, SpeechFrame

LEFT, RIGHT = 4, 6
HEIGHT, WIDTH = 4, 2


class FakeAvatar:
    """Ten tiny pictures whose first byte is their place in the loop."""

    id = "fake"
    width, height, count = WIDTH, HEIGHT, 10

    def frame(self, index: int) -> I420:
        picture = np.zeros((HEIGHT * 3 // 2, WIDTH), np.uint8)
        picture[0, 0] = index % self.count
        return picture

    frame_now = frame

    def live(self, now: float) -> int | None:
        return None

    place = live


class FakeEngine:
    """Draws a picture whose pixel [0, 1] is the blend in percent.

    Takes `ms_per_picture` of virtual time; of a sequence, each batch takes the next value, round and round.
    """

    def __init__(self, ms_per_picture: float | Sequence[float] = 2.0, max_batch: int = 4) -> None:
        self.max_batch = max_batch
        self._ms = [ms_per_picture] if isinstance(ms_per_picture, int | float) else list(ms_per_picture)
        self.batches: list[int] = []
        self.fail_batches: set[int] = set()

    def duration_s(self, count: int) -> float:
        return count * self._ms[len(self.batches) % len(self._ms)] / 1000

    def render(self, requests: Sequence[LipRequest]) -> list[I420]:
        self.batches.append(len(requests))
        if len(self.batches) - 1 in self.fail_batches:
            raise RuntimeError("scripted engine failure")
        pictures = []
        for request in requests:
            picture = request.avatar.frame(request.frame_index)
            picture[0, 1] = round(100 * request.blend)
            pictures.append(picture)
        return pictures

    def prepare(self, avatar: Avatar) -> None:
        """It draws any avatar."""

    def forget(self, avatar_id: str) -> None:
        """It has learnt nothing."""

    def close(self) -> None:
        """It holds nothing."""

    def describe(self) -> dict[str, Any]:
        return {"engine": "fake"}


@dataclasses.dataclass
class FakeVoice:
    """Speaks a text of n characters as n frames, numbered in their samples.

    The first chunk comes after `first_s`; chunks of `chunk_frames` follow at `rate` times real time.
    """

    first_s: float = 0.1
    rate: float = 10.0
    chunk_frames: int = 10
    marks_final: bool = True
    stalls: dict[int, float] = dataclasses.field(default_factory=dict)  # extra seconds before a chunk, by its number

    async def speak(
        self, text: str, *, turn: int, voice: str | None = None, options: dict[str, Any] | None = None
    ) -> AsyncGenerator[list[SpeechFrame], None]:
        await asyncio.sleep(self.first_s)
        for k, start in enumerate(range(0, len(text), self.chunk_frames)):
            await asyncio.sleep(self.stalls.get(k, 0.0))
            part = range(start, min(start + self.chunk_frames, len(text)))
            yield [
                numbered(i + 1, turn, events_at(i, text, turn), self.marks_final and i == len(text) - 1) for i in part
            ]
            await asyncio.sleep(self.chunk_frames * 0.02 / self.rate)


def events_at(i: int, text: str, turn: int) -> tuple[Event, ...]:
    events = []
    if i == 0:
        events.append(Event("speech.started", turn, {"text": text}))
    if i == len(text) - 1:
        events.append(Event("speech.ended", turn))
    return tuple(events)


def numbered(number: int, turn: int, events: tuple[Event, ...] = (), final: bool = False) -> SpeechFrame:
    return SpeechFrame(np.full(SAMPLES_PER_FRAME, number / 1000, np.float32), turn, events, final)


def number_of(frame: SpeechFrame) -> int:
    """0 for silence."""
    return round(float(frame.pcm[0]) * 1000)


def fake_real(sessionid: str, scheduler: Scheduler, voice: FakeVoice, **options: Any) -> BaseReal:
    """A `BaseReal` of the fake avatar with the fakes' window."""
    return BaseReal(sessionid, cast(Any, FakeAvatar()), scheduler, BaseASR(LEFT, RIGHT), cast(Any, voice), **options)


@dataclasses.dataclass
class Shown:
    """What the playout did in one 40 ms tick."""

    at: float
    unit: MediaUnit | None

    @property
    def numbers(self) -> tuple[int, int]:
        return (0, 0) if self.unit is None else (number_of(self.unit.speech[0]), number_of(self.unit.speech[1]))

    @property
    def held(self) -> bool:
        return self.unit is None

    @property
    def blend(self) -> int:
        return 0 if self.unit is None else int(self.unit.picture[0, 1])


class Stage:
    """Runs a session's three parties on the virtual loop."""

    def __init__(self, voice: FakeVoice | None = None, engine: FakeEngine | None = None) -> None:
        self.loop = asyncio.get_running_loop()
        self.engine = engine or FakeEngine()
        self.scheduler = Scheduler(self.engine, clock=self.loop.time)
        self.voice = voice or FakeVoice()
        self.real = fake_real("1", self.scheduler, self.voice, clock=self.loop.time)
        self.shown: list[Shown] = []
        self.heard: list[tuple[float, Event]] = []
        self.real.events.subscribe(lambda event, at: self.heard.append((at, event)))
        self._tasks = [self.loop.create_task(self._draw()), self.loop.create_task(self._playout())]

    async def _draw(self) -> None:
        while True:
            batch = self.scheduler.begin()
            if not batch:
                await asyncio.sleep(0.001)
                continue
            duration = self.engine.duration_s(len(batch))
            await asyncio.sleep(duration)
            self.scheduler.finish(batch, self.scheduler._draw(batch), duration)

    async def _playout(self) -> None:
        tick = 0
        while True:
            await asyncio.sleep(max(0.0, tick * UNIT_S - self.loop.time()))
            unit = self.real.take()
            self.shown.append(Shown(self.loop.time(), unit))
            if unit is not None:
                for k, frame in enumerate(unit.speech):
                    if frame.turn == self.real.turn:
                        self.real.played(frame, self.loop.time() + k * 0.02)
            tick += 1

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.real.aclose()

    def holds(self) -> list[int]:
        """Lengths in ticks of the holds between the first and the last speech shown."""
        speaking = [i for i, s in enumerate(self.shown) if any(s.numbers)]
        runs = "".join("h" if s.held else " " for s in self.shown[speaking[0] : speaking[-1]]).split()
        return [len(run) for run in runs]

    @property
    def spoken(self) -> list[int]:
        """Numbers of the speech frames played, in order, silence left out."""
        return [n for s in self.shown for n in s.numbers if n]

    def names(self) -> list[str]:
        return [event.name for _, event in self.heard]


class Crowd:
    """Sessions that share a scheduler and an engine of one time for any batch, on the virtual loop.

    Args:
        sessions: how many.
        batch_s: what a batch takes, however full.
        max_batch: of the engine.
        lanes: batches that the engine takes at once; it draws one after the other.
        real: kind of session.
    """

    def __init__(
        self, sessions: int, batch_s: float, max_batch: int = 16, lanes: int = 2, real: type[BaseReal] = BaseReal
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.scheduler = Scheduler(FakeEngine(max_batch=max_batch), clock=self.loop.time)
        self.reals = [
            real(str(i), cast(Any, FakeAvatar()), self.scheduler, BaseASR(LEFT, RIGHT), clock=self.loop.time)
            for i in range(sessions)
        ]
        self.shown: list[list[bool]] = [[] for _ in self.reals]
        """For each session and tick, whether there was a unit."""
        self._batch_s = batch_s
        self._device = asyncio.Lock()
        self._woken = asyncio.Event()
        self.scheduler.wake = self._woken.set  # type: ignore[method-assign]
        self._tasks = [self.loop.create_task(self._draw()) for _ in range(lanes)]
        self._tasks += [self.loop.create_task(self._playout(i)) for i in range(sessions)]

    async def _draw(self) -> None:
        while True:
            await self._woken.wait()
            self._woken.clear()
            while batch := self.scheduler.begin():
                self._woken.set()
                began = self.loop.time()
                async with self._device:
                    await asyncio.sleep(self._batch_s)
                self.scheduler.finish(batch, self.scheduler._draw(batch), self.loop.time() - began)

    async def _playout(self, i: int) -> None:
        start = self.loop.time() + i * UNIT_S / len(self.reals)
        for tick in itertools.count():
            await asyncio.sleep(max(0.0, start + tick * UNIT_S - self.loop.time()))
            self.shown[i].append(self.reals[i].take() is not None)

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for real in self.reals:
            await real.aclose()
