"""`Attention`: one session's ears. A microphone's frames, without her own voice, to the listener and its dialogue."""

from __future__ import annotations

import collections
from typing import Any

import numpy as np

from errors import Conflict
from listening.echo import EchoGuard
from listening.frames import MicFrame
from listening.listener import Listener
from listening.microphone import Microphone
from media import SPEECH_FRAMES_PER_S
from sessions.dialogue import Dialogue
from sessions.session import ButtonAction

JUDGED_FRAMES = SPEECH_FRAMES_PER_S  # 1 s of the microphone as it came, by which echoes are told


class RecentSound:
    """The microphone as it came, for the question whose voice it is."""

    def __init__(self, guard: EchoGuard) -> None:
        self._guard = guard
        self._frames: collections.deque[MicFrame] = collections.deque(maxlen=JUDGED_FRAMES)

    def note(self, frame: MicFrame) -> None:
        """Another 20 ms."""
        self._frames.append(frame)

    def is_echo(self, began: float) -> bool:
        """Whether what is heard since `began`, monotonic s, is her own voice."""
        frames = [frame for frame in self._frames if frame.at >= began]
        if not frames:
            return False
        return self._guard.likely_echo(np.concatenate([frame.pcm for frame in frames]), frames[0].at)


class Attention:
    """Listens to one microphone until it is closed.

    Args:
        microphone: this session's; closing it ends `run`.
        guard: keeps her own voice out.
        recent: given every frame as it came.
        listener: closed with this.
        dialogue: closed with this.
    """

    def __init__(
        self, microphone: Microphone, guard: EchoGuard, recent: RecentSound, listener: Listener, dialogue: Dialogue
    ) -> None:
        self._microphone = microphone
        self._guard = guard
        self._recent = recent
        self._listener = listener
        self._dialogue = dialogue
        self._muted = False
        self._by_button = False
        """Push-to-talk: heard only while the button is held."""

    async def run(self) -> None:
        """Hear until the microphone is closed or this is cancelled."""
        try:
            async for frame in self._microphone:
                self._recent.note(frame)
                cleaned = self._guard.clean(frame)
                if not self._muted:
                    await self._listener.feed(cleaned)
        finally:
            await self._listener.aclose()
            await self._dialogue.aclose()

    async def act(self, action: ButtonAction) -> None:
        """Do what a button says: `press` and `release` are push-to-talk.

        Raises:
            Conflict: released without having been pressed.
        """
        if action == "release":
            if not self._by_button:
                raise Conflict("the talk button was released, but had not been pressed")
            self._muted = True
            await self._listener.finish()
            return
        if action != "unmute" or self._by_button:
            await self._listener.cancel()
            self._dialogue.dropped(action)
        self._by_button = action == "press"
        self._muted = action == "mute"

    def describe(self) -> dict[str, Any]:
        """JSON-ready figures."""
        return {"muted": self._muted, "echo": self._guard.describe(), **self._microphone.describe()}
