"""`AvatarClient`: starts an avatar on a Visage server and speaks through it. Python 3.10, as TEN's runtime."""

from __future__ import annotations

import asyncio
import base64
import collections
import contextlib
import json
import time
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp

HEARTBEAT_S = 10.0
VOICE_END_S = 0.5  # without sound: the utterance is complete, if nobody says so before
PENDING_BYTES_MAX = 4 << 20  # of sound that waits for a connection: 40 s at 48 kHz
RECONNECT_DELAYS_S = (0.5, 1.0, 2.0, 4.0, 8.0)  # the last for ever
REQUEST_TIMEOUT_S = 10.0
MESSAGE_BYTES_MAX = 1 << 20

Log = Callable[[str], None]
Started = Callable[[str], Awaitable[None]]


class AvatarClient:
    """One avatar. Call on one event loop; `start` first, `close` at the end.

    Args:
        base_url: of the Visage server.
        api_key: the server's, empty when it has none.
        avatar_id: empty for the server's default.
        idle_timeout_s: after which the server stops an avatar whose agent has gone.
        started: told the address of a page that shows the avatar, whenever one was started.
        log: told what goes wrong.
    """

    def __init__(
        self, base_url: str, api_key: str, avatar_id: str, idle_timeout_s: int, started: Started, log: Log
    ) -> None:
        self.dropped_bytes = 0
        """Of sound, because there was no connection for long."""
        self._base_url = base_url.rstrip("/")
        self._headers = {"x-api-key": api_key} if api_key else {}
        self._start = {"avatar_id": avatar_id, "activity_idle_timeout": idle_timeout_s}
        self._started = started
        self._log = log
        self._http: aiohttp.ClientSession | None = None
        self._given: dict[str, Any] = {}
        self._pending: collections.deque[tuple[dict[str, Any], int]] = collections.deque()
        self._pending_bytes = 0
        self._changed = asyncio.Event()
        self._voiced_at: float | None = None
        """When the last sound of an utterance came that has not ended yet."""
        self._running: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start the avatar and begin to connect.

        Raises:
            aiohttp.ClientError: the server cannot be reached or refuses; the message is its own.
        """
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=REQUEST_TIMEOUT_S)
        self._http = aiohttp.ClientSession(headers=self._headers, timeout=timeout)
        try:
            await self._begin()
        except BaseException:
            await self._http.close()
            raise
        self._running = asyncio.create_task(self._run(), name="visage avatar")

    def speak(self, pcm: bytes, rate_hz: int) -> None:
        """More of an utterance: s16le mono."""
        if self._pending_bytes + len(pcm) > PENDING_BYTES_MAX:
            if not self.dropped_bytes:
                self._log(f"the avatar has not been reached for long; sound is dropped ({self._base_url})")
            self.dropped_bytes += len(pcm)
            return
        self._voiced_at = time.monotonic()
        audio = base64.b64encode(pcm).decode()
        self._put({"command": "voice", "audio": audio, "sampleRate": rate_hz, "encoding": "PCM16"}, len(pcm))

    def end(self) -> None:
        """The utterance is complete."""
        if self._voiced_at is not None:
            self._voiced_at = None
            self._put({"command": "voice_end"})

    def interrupt(self) -> None:
        """Fall silent at once: what waits here is dropped, what was sent is ended there."""
        self._pending.clear()
        self._pending_bytes = 0
        self._voiced_at = None
        self._put({"command": "voice_interrupt"})

    async def close(self) -> None:
        """Stop the avatar."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)
        if self._http is None:
            return
        headers = {"Authorization": f"Bearer {self._given.get('session_token', '')}"}
        body = {"session_id": self._given.get("session_id")}
        try:
            timeout = aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_S)
            async with self._http.delete(
                f"{self._base_url}/api/ten/stop", json=body, headers=headers, timeout=timeout
            ) as answer:
                if answer.status not in (200, 404):
                    self._log(f"the avatar was not stopped: {answer.status} {(await answer.text())[:200]}")
        except (aiohttp.ClientError, asyncio.TimeoutError, OSError) as error:  # noqa: UP041 (3.10 tells them apart)
            self._log(f"the avatar was not stopped: {error or type(error).__name__}")
        finally:
            await self._http.close()

    def _put(self, command: dict[str, Any], size: int = 0) -> None:
        self._pending.append(({**command, "event_id": uuid.uuid4().hex}, size))
        self._pending_bytes += size
        self._changed.set()

    async def _begin(self) -> None:
        """Start an avatar, and thereby know its address."""
        assert self._http is not None
        async with self._http.post(f"{self._base_url}/api/ten/start", json=self._start) as answer:
            body: dict[str, Any] = await answer.json(content_type=None)
            if answer.status != 200:
                reason = str(body.get("msg", answer.reason)) if isinstance(body, dict) else str(answer.reason)
                raise aiohttp.ClientResponseError(
                    answer.request_info, answer.history, status=answer.status, message=reason
                )
        self._given = body
        await self._started(str(body["watch_url"]))

    async def _run(self) -> None:
        """Keep a connection until cancelled."""
        failures = 0
        while True:
            try:
                await self._connect()
                failures = 0
            except aiohttp.WSServerHandshakeError as error:
                self._log(f"the avatar's connection was refused: {error.status} {error.message}")
                if error.status in (401, 404):  # it was stopped there, or the server is another by now
                    with contextlib.suppress(aiohttp.ClientError, OSError, ValueError, KeyError):
                        await self._begin()
            except (aiohttp.ClientError, OSError) as error:
                self._log(f"the avatar's connection is lost: {error or type(error).__name__}")
            delay_s = RECONNECT_DELAYS_S[min(failures, len(RECONNECT_DELAYS_S) - 1)]
            failures += 1
            await asyncio.sleep(delay_s)

    async def _connect(self) -> None:
        """One connection, to its end."""
        assert self._http is not None
        headers = {"Authorization": f"Bearer {self._given['session_token']}"}
        address = str(self._given["websocket_address"])
        async with self._http.ws_connect(address, headers=headers, max_msg_size=MESSAGE_BYTES_MAX) as socket:
            await socket.send_json({"command": "init", "session_id": self._given["session_id"], **self._start})
            reading = asyncio.ensure_future(self._read(socket))
            writing = asyncio.ensure_future(self._write(socket))
            try:
                done, _ = await asyncio.wait({reading, writing}, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
            finally:
                reading.cancel()
                writing.cancel()
                await asyncio.gather(reading, writing, return_exceptions=True)

    async def _read(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        async for message in socket:
            if message.type is aiohttp.WSMsgType.TEXT:
                with contextlib.suppress(ValueError, AttributeError):
                    told = json.loads(message.data)
                    if told.get("event") in ("error", "unheard"):
                        self._log(f"the avatar says: {told.get('message')}")

    async def _write(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        beat_at = time.monotonic() + HEARTBEAT_S
        while True:
            self._changed.clear()
            while self._pending:
                command, size = self._pending.popleft()
                self._pending_bytes -= size
                await socket.send_json(command)
            now = time.monotonic()
            if self._voiced_at is not None and now - self._voiced_at >= VOICE_END_S:
                self.end()
                continue
            if now >= beat_at:
                beat_at = now + HEARTBEAT_S
                self._put({"command": "heartbeat", "timestamp": int(time.time() * 1000)})
                continue
            due = beat_at if self._voiced_at is None else min(beat_at, self._voiced_at + VOICE_END_S)
            await self._wait(due - now)

    async def _wait(self, seconds: float) -> None:
        """Until there is something to send, or for so long."""
        waiting = asyncio.ensure_future(self._changed.wait())
        try:
            await asyncio.wait({waiting}, timeout=seconds)
        finally:
            waiting.cancel()
