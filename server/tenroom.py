"""`Room`: one avatar that a TEN agent speaks through, from its start to its stop, with or without somebody watching."""

from __future__ import annotations

import asyncio
import base64
import binascii
import dataclasses
import secrets
import time
from collections.abc import AsyncIterator

import numpy as np
import soxr

from errors import BadRequest, Busy
from media import SAMPLE_RATE_HZ, Pcm
from sessions.session import Session

VOICE_QUEUE_S = 120.0  # of speech that waits to be played; an agent sends it as fast as its voice makes it
RATES_HZ = (8_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)


class Voice:
    """One utterance while it comes: 16 kHz sound for `Session.play`."""

    def __init__(self, rate_hz: int) -> None:
        self.rate_hz = rate_hz
        self.waiting_s = 0.0
        """Of sound not taken yet."""
        self._queue: asyncio.Queue[Pcm | None] = asyncio.Queue()
        self._resampler = soxr.ResampleStream(rate_hz, SAMPLE_RATE_HZ, 1, dtype="float32")
        self._odd = b""
        self.ended = False

    def put(self, data: bytes) -> None:
        """More s16le of its rate; half a sample waits for its other half.

        Raises:
            Busy: `VOICE_QUEUE_S` are waiting already.
        """
        data = self._odd + data
        whole = len(data) // 2 * 2
        self._odd = data[whole:]
        if self.waiting_s > VOICE_QUEUE_S:
            raise Busy(f"{VOICE_QUEUE_S:.0f} s of voice are waiting to be spoken, no more are taken")
        pcm = np.frombuffer(data, "<i2", whole // 2).astype(np.float32) / np.float32(32768)
        self._add(self._resampler.resample_chunk(pcm))

    def end(self) -> None:
        """No more will come."""
        if not self.ended:
            self.ended = True
            self._add(self._resampler.resample_chunk(np.zeros(0, np.float32), last=True))
            self._queue.put_nowait(None)

    def close(self) -> None:
        """It was spoken, or never will be."""
        self.ended = True
        self._queue.put_nowait(None)

    def _add(self, pcm: Pcm) -> None:
        if pcm.size:
            self.waiting_s += pcm.size / SAMPLE_RATE_HZ
            self._queue.put_nowait(pcm)

    async def __aiter__(self) -> AsyncIterator[Pcm]:
        """Its blocks, once."""
        while (pcm := await self._queue.get()) is not None:
            self.waiting_s -= pcm.size / SAMPLE_RATE_HZ
            yield pcm


@dataclasses.dataclass(slots=True)
class Room:
    """What an agent started."""

    id: str
    avatar: str
    idle_timeout_s: float
    token: str = dataclasses.field(default_factory=lambda: secrets.token_urlsafe(24))
    """Lets the agent speak and stop."""
    watch_token: str = dataclasses.field(default_factory=lambda: secrets.token_urlsafe(24))
    """Lets somebody watch."""
    session: Session | None = None
    """Of whoever watches; None until somebody does."""
    used: float = dataclasses.field(default_factory=time.monotonic)
    unheard_s: float = 0.0
    """Of voice that came while nobody watched."""
    connections: int = 0
    """How often the agent has connected; the newest connection speaks."""
    voice: Voice | None = None

    @property
    def watched(self) -> Session | None:
        """The session of whoever watches now."""
        if self.session is not None and self.session.closed.is_set():
            self.session = None
        return self.session

    def touch(self) -> None:
        """The agent is there."""
        self.used = time.monotonic()
        if self.watched is not None:
            self.watched.touch()

    async def speak(self, audio: str, rate_hz: int) -> None:
        """Play more of what the agent says; without anyone who watches it is lost, as on any channel.

        Raises:
            BadRequest: not base64, or a rate that is not one of `RATES_HZ`.
            Busy: too much waits already.
        """
        if rate_hz not in RATES_HZ:
            raise BadRequest(f"sampleRate was {rate_hz}; it should be one of {', '.join(map(str, RATES_HZ))}")
        try:
            data = base64.b64decode(audio, validate=True)
        except (binascii.Error, ValueError) as error:
            raise BadRequest(f"audio is not base64: {error}") from error
        session = self.watched
        if session is None:
            self.voice = None
            self.unheard_s += len(data) / 2 / rate_hz
            return
        voice = self.voice
        if voice is None or voice.ended or voice.rate_hz != rate_hz:
            self.end_voice()
            voice = self.voice = Voice(rate_hz)
            await session.play(voice)
        voice.put(data)

    def end_voice(self) -> None:
        """The utterance is complete."""
        if self.voice is not None:
            self.voice.end()
            self.voice = None

    def interrupt(self) -> None:
        """Fall silent."""
        self.voice = None
        if self.watched is not None:
            self.watched.interrupt()


@dataclasses.dataclass(slots=True)
class Rooms:
    """All of them, by id. Lives on the event loop."""

    rooms: dict[str, Room] = dataclasses.field(default_factory=dict)

    def open(self, avatar: str, idle_timeout_s: float, limit: int) -> Room:
        """Start an avatar.

        Raises:
            Busy: there are `limit` of them.
        """
        if len(self.rooms) >= limit:
            raise Busy(f"all {limit} avatars that agents may start are started: stop one, or try again later")
        room = Room(secrets.token_hex(8), avatar, idle_timeout_s)
        self.rooms[room.id] = room
        return room

    def close(self, room: Room) -> Session | None:
        """Stop it; the session that is to be closed, if somebody watches."""
        room.end_voice()
        self.rooms.pop(room.id, None)
        return room.watched

    def idle(self, now: float) -> list[Room]:
        """Those whose agent has said nothing for longer than it asked for, at monotonic time `now`."""
        return [room for room in self.rooms.values() if now - room.used > room.idle_timeout_s]
