"""`SocketVoice`: WebSockets to a speech server, some of them opened ahead of the clause that needs one."""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any

import aiohttp

from errors import EngineError
from tts.wire import refusals
from tts.wire.http import CONNECT_TIMEOUT_S, HttpVoice

SPARE_S = 40.0
"""How long one is kept unused: servers close theirs after a minute."""
SPARES_MAX = 2
CLOSE_S = 0.05
"""For the server's half of the closing handshake. Whoever interrupts does not wait for it."""
MESSAGE_BYTES_MAX = 1 << 24
"""Some repeat the whole sound in their last message."""

Ready = Callable[["Line"], Awaitable[None]]


class Stale(EngineError):
    """A connection that was kept for later proved closed: the clause can be asked for again on another one."""


class Line:
    """One WebSocket."""

    def __init__(self, voice: SocketVoice, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._voice = voice
        self._socket = socket
        self.was_kept = False
        """It waited for this clause, and nothing has come on it since."""
        self.reusable = False
        """Set by the engine when a clause ended so that the next one may come."""
        self.facts: dict[str, Any] = {}
        """What the engine remembers of this connection."""

    @property
    def is_open(self) -> bool:
        """False once either side closed it, read or not."""
        return not self._socket.closed and self._socket.get_extra_info("peername") is not None

    async def send(self, facts: dict[str, Any] | bytes) -> None:
        """A JSON object as text, or bytes as they are.

        Raises:
            EngineError: the connection is closed.
        """
        try:
            if isinstance(facts, bytes):
                await self._socket.send_bytes(facts)
            else:
                await self._socket.send_str(json.dumps(facts, ensure_ascii=False))
        except ConnectionError as error:
            raise self._closed(str(error)) from error

    async def receive(self) -> dict[str, Any] | bytes:
        """The next message.

        Raises:
            EngineError: the connection was closed or broke, or what came is no JSON object.
        """
        message = await self._socket.receive()
        if message.type == aiohttp.WSMsgType.BINARY:
            self.was_kept = False
            data: bytes = message.data
            return data
        if message.type == aiohttp.WSMsgType.TEXT:
            self.was_kept = False
            return self._voice.facts(message.data)
        if message.type == aiohttp.WSMsgType.ERROR:
            raise EngineError(self._voice.engine, f"{self._voice.url}: {message.data}")
        why = f" ({message.extra})" if message.extra else ""
        raise self._closed(f"closed with {self._socket.close_code} before the sound was complete{why}")

    async def receive_object(self) -> dict[str, Any]:
        """The next message, a JSON object.

        Raises:
            EngineError: see `receive`.
        """
        message = await self.receive()
        if isinstance(message, bytes):
            raise EngineError(self._voice.engine, f"{self._voice.url} sent bytes, but must send JSON")
        return message

    def _closed(self, how: str) -> EngineError:
        kind = Stale if self.was_kept else EngineError
        return kind(self._voice.engine, f"{self._voice.url}: {how}")

    async def close(self) -> None:
        """Say goodbye, or hang up."""
        await self._socket.close()


class SocketVoice:
    """The WebSockets of one engine.

    Args:
        http: makes the connections, and the errors.
        url: `ws://` or `wss://`.
        headers: made for each connection.
        ready: what is said on a new connection before it can be used.
        ahead: whether the next one is opened while this one speaks.
    """

    def __init__(
        self,
        http: HttpVoice,
        url: str,
        headers: Callable[[], dict[str, str]] = dict,
        ready: Ready | None = None,
        *,
        ahead: bool = False,
    ) -> None:
        self.url = url
        self.engine = http.engine
        self._http = http
        self._headers = headers
        self._ready = ready
        self._ahead = ahead
        self._spares: list[tuple[Line, float]] = []
        self._preparing: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @contextlib.asynccontextmanager
    async def line(self, suits: Callable[[Line], bool] = lambda _: True) -> AsyncIterator[Line]:
        """A connection for one clause. It is closed at the end unless it was marked reusable.

        Args:
            suits: whether one that was used before can be used again.

        Raises:
            EngineError: the server cannot be reached, refuses, or breaks off.
        """
        line = self._spare(suits) or await self._open()
        if self._ahead and not self._spares and (self._preparing is None or self._preparing.done()):
            self._preparing = asyncio.create_task(self._prepare(), name=f"{self.engine} spare")
        try:
            with self._http.named(self.url):
                yield line
        finally:
            if line.reusable and line.is_open:
                line.reusable = False
                self._keep(line)
            else:
                self._later(line.close())

    async def aclose(self) -> None:
        """Close all that are open."""
        if self._preparing is not None:
            self._preparing.cancel()
            await asyncio.gather(self._preparing, return_exceptions=True)
        for line, _ in self._spares:
            self._later(line.close())
        self._spares.clear()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def facts(self, text: str) -> dict[str, Any]:
        """A message as the object it is.

        Raises:
            EngineError: it is none.
        """
        try:
            facts = json.loads(text)
        except ValueError:
            facts = None
        if not isinstance(facts, dict):
            raise EngineError(self.engine, f"{self.url} sent what is no JSON object: {text[:80]!r}")
        return facts

    def _spare(self, suits: Callable[[Line], bool]) -> Line | None:
        """The newest that suits; those that are too old or closed are let go."""
        now = asyncio.get_running_loop().time()
        alive = [(line, since) for line, since in self._spares if line.is_open and now - since < SPARE_S]
        for line in {line for line, _ in self._spares} - {line for line, _ in alive}:
            self._later(line.close())
        self._spares = alive
        found = next((line for line, _ in reversed(alive) if suits(line)), None)
        if found is not None:
            found.was_kept = True
        self._spares = [(line, since) for line, since in alive if line is not found]
        return found

    def _keep(self, line: Line) -> None:
        self._spares.append((line, asyncio.get_running_loop().time()))
        while len(self._spares) > SPARES_MAX:
            self._later(self._spares.pop(0)[0].close())

    async def _prepare(self) -> None:
        """Have a spare; that it cannot be had is told by the clause that needs one."""
        with contextlib.suppress(EngineError):
            self._keep(await self._open())

    async def _open(self) -> Line:
        timeout = aiohttp.ClientWSTimeout(ws_close=CLOSE_S)
        try:
            with self._http.named(self.url):
                async with asyncio.timeout(CONNECT_TIMEOUT_S):
                    socket = await self._http.session.ws_connect(
                        self.url, headers=self._headers(), max_msg_size=MESSAGE_BYTES_MAX, timeout=timeout
                    )
        except EngineError as error:
            refused = error.__cause__
            if isinstance(refused, aiohttp.WSServerHandshakeError):
                raise self._refusal(refused) from error
            raise
        line = Line(self, socket)
        if self._ready is None:
            return line
        try:
            with self._http.named(self.url):
                async with asyncio.timeout(CONNECT_TIMEOUT_S):
                    await self._ready(line)
        except BaseException:
            self._later(line.close())
            raise
        return line

    def _refusal(self, refused: aiohttp.WSServerHandshakeError) -> EngineError:
        return self._http.masked(
            refusals.by_status(
                self.engine,
                self.url,
                refused.status,
                "",
                headers=refused.headers or {},
                key_hint=self._http.key_hint,
            )
        )

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        """Do it without keeping anyone waiting."""
        task = asyncio.create_task(work, name=f"{self.engine} socket")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def unpacked(engine: str, text: Any) -> bytes:
    """The bytes that a message holds as base64.

    Raises:
        EngineError: it is none.
    """
    try:
        return base64.b64decode(text or "", validate=True)
    except (binascii.Error, ValueError, TypeError) as error:
        raise EngineError(engine, f"sound that is no base64: {str(text)[:40]!r}") from error
