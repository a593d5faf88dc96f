"""`Session`: one connected client, and the contract between the edge and the parts of a session."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from errors import Busy
from events import EventBus
from llm import Conversation
from media import Pcm, SpeechFrame

if TYPE_CHECKING:
    from listening.microphone import Microphone

log = logging.getLogger(__name__)

RECORDINGS_MAX = 8  # recordings of one session waiting to be spoken; each keeps its file open
CHATS_MAX = 16  # questions of one session waiting for a reply
CLOSE_TIMEOUT_S = 5.0


class Prepared(Protocol):
    """A text that is spoken before it is known whether it will be heard."""

    def frames(self, turn: int, /) -> AsyncGenerator[list[SpeechFrame], None]:
        """What is said, once."""

    def drop(self) -> None:
        """It will not be heard."""


class Real(Protocol):
    """What the edge asks of a `BaseReal`."""

    @property
    def events(self) -> EventBus:
        """Where played-out events are heard."""

    @property
    def turn(self) -> int:
        """The current turn."""

    @property
    def speaking(self) -> bool:
        """True until the last of what was asked for is played out."""

    @property
    def voiced_at(self) -> float | None:
        """When the first sound of what is said was made, monotonic s."""

    async def say(
        self,
        text: str | AsyncIterable[str],
        *,
        voice: str | None = None,
        options: dict[str, Any] | None = None,
        turn: int | None = None,
    ) -> None:
        """Queue text, whole or as it is written."""

    def prepare(
        self, text: str | AsyncIterable[str], *, voice: str | None = None, options: dict[str, Any] | None = None
    ) -> Prepared:
        """Begin to speak text before it is known whether and when it will be heard."""

    async def speak(self, speech: Any, *, turn: int) -> None:
        """Queue what its own `prepare` gave."""

    async def play(self, sound: Pcm | AsyncIterable[Pcm]) -> None:
        """Queue sound."""

    def interrupt(self) -> int:
        """End everything queued; returns the new turn."""

    def suspend(self) -> bool:
        """Fall silent and keep what was not heard; False when nothing is being said."""

    def resume(self) -> bool:
        """Go on after `suspend`; False when nothing was kept."""

    def act(self, audiotype: int) -> None:
        """Show a custom action."""

    async def aclose(self) -> None:
        """Free everything."""


class Peer(Protocol):
    """What the edge asks of a `PeerSession`."""

    async def answer(self, sdp: str, type_: str, /) -> tuple[str, str]:
        """Answer an offer: `(sdp, type)`."""

    @property
    def state(self) -> str:
        """`new`, `connecting`, `connected`, `failed` or `closed`."""

    on_microphone: Callable[[Microphone], None] | None
    """Called at most once, while an offer is answered that may send sound."""

    def on_sound(self, listener: Callable[[Pcm, float], None]) -> None:
        """Tell `listener`, on the playout's thread, of all sound and the monotonic time from which it is sent."""

    def stats(self) -> dict[str, Any]:
        """JSON-ready figures."""

    async def aclose(self) -> None:
        """Close the connection."""


ButtonAction = Literal["mute", "unmute", "press", "release"]


class Ears(Protocol):
    """Whoever listens to a session's microphone."""

    async def act(self, action: ButtonAction, /) -> None:
        """Do what a button says."""


class Playable(Protocol):
    """Sound that holds a file until it is closed."""

    def __aiter__(self) -> AsyncIterator[Pcm]:
        """Its blocks, once."""

    def close(self) -> None:
        """Free it, played or not."""


class Recorder(Protocol):
    """Writes what is played out to a file."""

    @property
    def path(self) -> Path:
        """Of the finished file."""
        ...

    async def stop(self) -> Path:
        """Finish the file and name it."""


@dataclasses.dataclass(frozen=True, slots=True)
class Wish:
    """What a client asked for when it connected."""

    avatar: str = ""
    voice: str = ""
    ref_text: str = ""
    custom_config: str = ""
    user: str = ""
    """Id of who asked."""


@dataclasses.dataclass(slots=True)
class Built:
    """The parts of a session, as the wiring made them."""

    real: Real
    peer: Peer
    avatar_id: str
    audiotypes: tuple[int, ...] = (0,)
    """Custom actions that `/set_audiotype` may name; 0 is the avatar's own motion."""
    record: Callable[[Path], Recorder] | None = None
    """Begins a recording, where the build can."""
    owned: tuple[Callable[[], Awaitable[None]], ...] = ()
    """Called in order when the session has ended."""


Build = Callable[[str, Wish, Callable[[], None]], Awaitable[Built]]
"""`build(sessionid, wish, on_closed)`; `on_closed` is called when the peer has gone."""


class Session:
    """One connected client: its real, its peer, its conversation and its tasks."""

    def __init__(self, sessionid: str, built: Built, wish: Wish, conversation: Conversation) -> None:
        self.id = sessionid
        self.built = built
        self.real = built.real
        self.peer = built.peer
        self.wish = wish
        self.conversation = conversation
        self.created = time.monotonic()
        self.used = self.created
        self.recorder: Recorder | None = None
        self.attention: Ears | None = None
        """While somebody listens to its microphone."""
        self.closed = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._chats: set[asyncio.Task[None]] = set()
        self._chat_order = asyncio.Lock()
        self._recordings: set[Playable] = set()

    def touch(self) -> None:
        """Note that the client did something."""
        self.used = time.monotonic()

    @property
    def speaking(self) -> bool:
        """True from the acceptance of a request until the last of its speech is played out."""
        return self.real.speaking or bool(self._chats)

    @property
    def connected(self) -> bool:
        """True once media can flow."""
        return self.peer.state == "connected"

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Run `work` until it ends or the session does."""
        task = asyncio.create_task(work, name=f"{name} {self.id}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def chat(self, reply: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run `reply` after the replies before it; an interruption cancels it.

        Raises:
            Busy: `CHATS_MAX` questions wait already.
        """
        if len(self._chats) >= CHATS_MAX:
            raise Busy(
                f"session {self.id}: {CHATS_MAX} questions are waiting for their reply, no more are taken",
                zh=f"会话 {self.id}：已有 {CHATS_MAX} 个问题等待回答，请稍后再试",
            )

        async def in_order() -> None:
            async with self._chat_order:
                await reply()

        task = self.spawn(in_order(), "chat")
        self._chats.add(task)
        task.add_done_callback(self._chats.discard)

    async def play(self, recording: Playable) -> None:
        """Queue a recording, which is closed when it was played, interrupted or the session ended.

        Raises:
            Busy: `RECORDINGS_MAX` recordings wait already.
        """
        if len(self._recordings) >= RECORDINGS_MAX:
            raise Busy(
                f"session {self.id}: {RECORDINGS_MAX} recordings wait to be spoken, no more are taken",
                zh=f"会话 {self.id}：已有 {RECORDINGS_MAX} 段录音等待播放，请稍后再试",
            )

        async def tracked() -> AsyncIterator[Pcm]:
            try:
                async for block in recording:
                    yield block
            finally:
                self._release(recording)

        self._recordings.add(recording)
        try:
            await self.real.play(tracked())
        except BaseException:
            self._release(recording)
            raise

    def _release(self, recording: Playable) -> None:
        self._recordings.discard(recording)
        recording.close()

    def interrupt(self) -> int:
        """End everything said, queued and being thought of; returns the new turn."""
        for task in self._chats:
            task.cancel()
        turn = self.real.interrupt()
        for recording in list(self._recordings):
            self._release(recording)
        return turn

    async def aclose(self) -> None:
        """End the tasks, then the peer, then the real, whatever one of them raises."""
        self.closed.set()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for recording in list(self._recordings):
            self._release(recording)
        if self.recorder is not None:
            await _quietly(self.recorder.stop(), f"recorder of {self.id}")
        await _quietly(self.peer.aclose(), f"peer of {self.id}")
        await _quietly(self.real.aclose(), f"real of {self.id}")
        for release in self.built.owned:
            await _quietly(release(), f"part of {self.id}")


async def _quietly(work: Awaitable[Any], what: str) -> None:
    """Await `work`; a failure or a hang is logged, so that the rest of a clean-up still happens."""
    try:
        async with asyncio.timeout(CLOSE_TIMEOUT_S):
            await work
    except Exception:
        log.exception("closing the %s failed", what)
