"""`HttpVoice`: requests to a speech server, their answers as sound, and their failures as `EngineError`."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from typing import Any

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError

from errors import EngineError
from tts.base import Sound
from tts.wire import refusals
from tts.wire.audio import AudioStream, NotSound

CONNECT_TIMEOUT_S = 3.0
ANSWER_TIMEOUT_S = 30.0
"""For a whole answer that is no sound: a list of voices, a reference taken in."""
STALE_S = 0.5
"""A connection that was kept open and is closed so soon after a request was closed before it."""
JSON_BYTES_MAX = 1 << 22
"""XTTS describes a speaker by 32,768 numbers, a third of a megabyte."""
ERROR_BYTES_MAX = 65_536
SOUND_BYTES_MIN = 8 << 20
SOUND_BYTES_PER_CHARACTER = 96_000
"""A second of 16 bits at 48 kHz: nobody speaks so slowly."""
_TEXTS = ("application/json", "text/html", "text/plain", "application/problem+json")
_FAILURES = (aiohttp.ClientError, HttpProcessingError, OSError, TimeoutError)


def most_bytes(text: str) -> int:
    """More than any sound of `text` has."""
    return SOUND_BYTES_MIN + SOUND_BYTES_PER_CHARACTER * len(text)


class HttpVoice:
    """The connections of one engine.

    Args:
        engine: its name, for its errors.
        key_hint: what its key comes from, for a refusal of it.
        secrets: never shown, wherever a server repeats them.
    """

    def __init__(self, engine: str, key_hint: str = "", secrets: Sequence[str] = ()) -> None:
        self.engine = engine
        self.key_hint = key_hint
        self._secrets = tuple(secret for secret in secrets if secret)
        self._session: aiohttp.ClientSession | None = None

    @property
    def session(self) -> aiohttp.ClientSession:
        """Made with the first request, on the event loop."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S),
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=60),
            )
        return self._session

    async def aclose(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    @contextlib.asynccontextmanager
    async def asked(self, method: str, url: str, **how: Any) -> AsyncIterator[aiohttp.ClientResponse]:
        """An answer with status 2xx; leaving the context closes the connection unless all of it was read.

        Args:
            how: as `aiohttp.ClientSession.request` takes it; `form` makes the `data`, which can be sent but once.

        Raises:
            EngineError: the server cannot be reached, or refuses.
        """
        with self.named(url):
            response = await self._request(method, url, how)
        try:
            if not 200 <= response.status < 300:
                raise self.masked(
                    refusals.by_status(
                        self.engine,
                        url,
                        response.status,
                        refusals.reason(await self._beginning(response)),
                        headers=response.headers,
                        key_hint=self.key_hint,
                    )
                )
            with self.named(url):
                yield response
        finally:
            response.close()

    async def _request(self, method: str, url: str, how: Mapping[str, Any]) -> aiohttp.ClientResponse:
        """Ask, and once more where a connection that was kept open proves closed."""
        for last in (False, True):
            began = asyncio.get_running_loop().time()
            form = how["form"]() if "form" in how else how.get("data")
            options = {name: value for name, value in how.items() if name not in ("form", "data")}
            try:
                return await self.session.request(method, url, allow_redirects=False, data=form, **options)
            except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
                at_once = asyncio.get_running_loop().time() - began < STALE_S
                if last or not at_once or isinstance(error, aiohttp.ClientConnectorError):
                    raise
        raise AssertionError("unreachable")

    async def spoken(
        self, method: str, url: str, rate_hz: int, text: str, *, kind: str = "i16", **how: Any
    ) -> AsyncGenerator[Sound, None]:
        """The sound that answers a request, as it arrives; closing the iterator closes the connection.

        Args:
            rate_hz: where the answer does not say it.
            text: what it says; bounds how long it may be.
            kind: how bare samples are written, as `Layout.kind`.
            how: as `asked` takes it.

        Raises:
            EngineError: the server cannot be reached, refuses, breaks off, or sends no sound.
        """
        async with self.asked(method, url, **how) as response:
            if response.content_type in _TEXTS:
                raise self.not_sound(url, await self._beginning(response))
            rate_hz = stated_rate_hz(response.headers) or rate_hz
            stream = AudioStream(rate_hz, response.content_type, bytes_max=most_bytes(text), kind=kind)
            try:
                async for data in response.content.iter_any():
                    for pcm in stream.feed(data):
                        yield Sound(pcm, rate_hz=stream.rate_hz)
                for pcm in stream.flush():
                    yield Sound(pcm, rate_hz=stream.rate_hz)
            except NotSound as error:
                raise self.not_sound(url, error.body) from error
            except ValueError as error:
                raise EngineError(self.engine, f"{url}: {error}", answered=200) from error

    async def json(self, method: str, url: str, **how: Any) -> Any:
        """What an answer says, at most JSON_BYTES_MAX of it.

        Raises:
            EngineError: the server cannot be reached, refuses, or answers what is no JSON.
        """
        _, data = await self.body(method, url, JSON_BYTES_MAX, **how)
        try:
            return await asyncio.to_thread(json.loads, data)
        except (ValueError, RecursionError) as error:
            said = f"{url} answered what is no JSON: {data[:80]!r}"
            raise self.masked(EngineError(self.engine, said, answered=200)) from error

    async def body(self, method: str, url: str, bytes_max: int, **how: Any) -> tuple[str, bytes]:
        """An answer's media type and all of its bytes.

        Raises:
            EngineError: the server cannot be reached, refuses, or answers more than `bytes_max`.
        """
        with self.named(url):
            async with asyncio.timeout(ANSWER_TIMEOUT_S), self.asked(method, url, **how) as response:
                data = await _read(response, bytes_max)
        if len(data) > bytes_max:
            raise EngineError(self.engine, f"{url} answers more than {bytes_max} bytes", answered=200)
        return response.content_type, data

    def not_sound(self, where: str, body: bytes) -> EngineError:
        """The error for an answer with status 200 that is an error all the same."""
        said = f"{where} sent no sound, but: {refusals.reason(body)}"
        return self.masked(EngineError(self.engine, said, answered=200))

    def masked(self, error: EngineError) -> EngineError:
        """The error without the secrets that a server repeated."""
        message = str(error).removeprefix(f"{self.engine}: ")
        if not any(secret in message for secret in self._secrets):
            return error
        for secret in self._secrets:
            message = message.replace(secret, "***")
        how: dict[str, Any] = {"retry_after_s": error.retry_after_s, "answered": error.answered}
        return EngineError(self.engine, message, retryable=error.retryable, **how)

    @contextlib.contextmanager
    def named(self, where: str) -> Iterator[None]:
        """Failures of the connection as EngineError."""
        try:
            yield
        except _FAILURES as error:
            raise self.masked(EngineError(self.engine, f"{where}: {error or type(error).__name__}")) from error

    async def _beginning(self, response: aiohttp.ClientResponse) -> bytes:
        """The beginning of an answer, or what could be read of it."""
        with contextlib.suppress(*_FAILURES):
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                return await _read(response, ERROR_BYTES_MAX)
        return b""


async def _read(response: aiohttp.ClientResponse, most: int) -> bytes:
    """All of an answer, or a little more than `most` of it."""
    data = bytearray()
    async for chunk in response.content.iter_any():
        data += chunk
        if len(data) > most:
            break
    return bytes(data)


def stated_rate_hz(headers: Mapping[str, str]) -> int | None:
    """The sample rate that an answer's headers state: `audio/L16;rate=24000`, `X-Sample-Rate: 24000`."""
    for parameter in headers.get("Content-Type", "").split(";")[1:]:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "rate" and value.strip().isdecimal():
            return _plausible(int(value))
    value = headers.get("X-Sample-Rate") or headers.get("X-Custom-Header-sampleRate") or ""
    return _plausible(int(value)) if value.isdecimal() else None


def _plausible(rate_hz: int) -> int | None:
    return rate_hz if 4_000 <= rate_hz <= 192_000 else None
