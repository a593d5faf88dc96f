"""What several processes share beside the database: a cache, and news of jobs. Redis, else this process's memory.

Both may lose what they hold at any time; nothing depends on it but speed. Redis that is gone is a cache that is empty.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Protocol

from config import ConfigError

CACHE_BYTES_MAX = 64 << 20
ITEM_BYTES_MAX = 4 << 20
TIMEOUT_S = 2.0
COMPLAIN_EVERY_S = 60.0
PREFIX = "visage:"
NEWS = f"{PREFIX}jobs"

log = logging.getLogger(__name__)


class Shared(Protocol):
    """Never raises for want of a server."""

    failures: int
    """How often the server did not answer."""

    async def get(self, key: str) -> bytes | None:
        """What is kept under a key."""
        ...

    async def set(self, key: str, value: bytes, seconds: int) -> None:
        """Keep it for so long at most."""
        ...

    async def forget(self, prefix: str) -> None:
        """Keep no longer what lies under keys that begin so."""
        ...

    async def tell(self, subject: str) -> None:
        """Wake whoever waits for news of `subject`, in every process."""
        ...

    def listening(self, subject: str) -> contextlib.AbstractAsyncContextManager[asyncio.Event]:
        """An event that is set at each news of `subject`; whoever waits clears it."""
        ...

    async def why_not(self) -> str | None:
        """None when it works."""
        ...

    async def aclose(self) -> None:
        """Close connections."""
        ...


class _Listeners:
    """Who waits for news in this process."""

    def __init__(self) -> None:
        self._events: dict[str, set[asyncio.Event]] = {}

    @contextlib.asynccontextmanager
    async def listening(self, subject: str) -> AsyncIterator[asyncio.Event]:
        event = asyncio.Event()
        self._events.setdefault(subject, set()).add(event)
        try:
            yield event
        finally:
            self._events[subject].discard(event)
            if not self._events[subject]:
                del self._events[subject]

    def wake(self, subject: str) -> None:
        for event in self._events.get(subject, ()):
            event.set()


class MemoryShared(_Listeners):
    """This process's own: the least recently used goes first."""

    def __init__(self, bytes_max: int = CACHE_BYTES_MAX, now: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self.failures = 0
        self._now = now
        self._bytes_max = bytes_max
        self._bytes = 0
        self._items: collections.OrderedDict[str, tuple[float, bytes]] = collections.OrderedDict()

    async def get(self, key: str) -> bytes | None:
        """See `Shared`."""
        until, value = self._items.get(key, (0.0, b""))
        if until <= self._now():
            self._drop(key)
            return None
        self._items.move_to_end(key)
        return value

    async def set(self, key: str, value: bytes, seconds: int) -> None:
        """See `Shared`."""
        self._drop(key)
        if len(value) > ITEM_BYTES_MAX:
            return
        self._items[key] = (self._now() + seconds, value)
        self._bytes += len(value)
        while self._bytes > self._bytes_max:
            self._drop(next(iter(self._items)))

    async def forget(self, prefix: str) -> None:
        """See `Shared`."""
        for key in [key for key in self._items if key.startswith(prefix)]:
            self._drop(key)

    def _drop(self, key: str) -> None:
        item = self._items.pop(key, None)
        self._bytes -= len(item[1]) if item else 0

    async def tell(self, subject: str) -> None:
        """See `Shared`."""
        self.wake(subject)

    async def why_not(self) -> str | None:
        """See `Shared`."""
        return None

    async def aclose(self) -> None:
        """See `Shared`."""


class RedisShared(_Listeners):
    """Redis's.

    Args:
        url: `redis://…`.

    Raises:
        ConfigError: its client is not installed.
    """

    def __init__(self, url: str) -> None:
        super().__init__()
        try:
            from redis.asyncio import Redis
            from redis.exceptions import RedisError
        except ModuleNotFoundError as error:
            raise ConfigError("redis_url needs a package more: make platform") from error
        self._failures: tuple[type[Exception], ...] = (RedisError, OSError, TimeoutError)
        self._redis: Any = Redis.from_url(url, socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S)
        self.failures = 0
        self._complained = -COMPLAIN_EVERY_S
        self._hearing: asyncio.Task[None] | None = None
        self._closed = False

    async def get(self, key: str) -> bytes | None:
        """See `Shared`."""
        with self._suppressed():
            found: bytes | None = await self._redis.get(PREFIX + key)
            return found
        return None

    async def set(self, key: str, value: bytes, seconds: int) -> None:
        """See `Shared`."""
        if len(value) <= ITEM_BYTES_MAX:
            with self._suppressed():
                await self._redis.set(PREFIX + key, value, ex=seconds)

    async def forget(self, prefix: str) -> None:
        """See `Shared`."""
        with self._suppressed():
            async for key in self._redis.scan_iter(match=f"{PREFIX}{prefix}*", count=1000):
                await self._redis.delete(key)

    async def tell(self, subject: str) -> None:
        """See `Shared`."""
        self.wake(subject)
        with self._suppressed():
            await self._redis.publish(NEWS, subject)

    @contextlib.asynccontextmanager
    async def listening(self, subject: str) -> AsyncIterator[asyncio.Event]:
        """See `Shared`."""
        if self._hearing is None or self._hearing.done():
            self._hearing = asyncio.create_task(self._hear(), name="redis news")
        async with super().listening(subject) as event:
            yield event

    async def _hear(self) -> None:
        """Pass other processes' news on until it is closed; the client may take being cancelled for a timeout."""
        while not self._closed:
            with self._suppressed():
                async with self._redis.pubsub(ignore_subscribe_messages=True) as news:
                    await news.subscribe(NEWS)
                    while not self._closed:
                        message = await news.get_message(timeout=None)
                        if message is not None:
                            self.wake(message["data"].decode("utf-8", "replace"))
            if not self._closed:
                await asyncio.sleep(TIMEOUT_S)

    async def why_not(self) -> str | None:
        """See `Shared`."""
        try:
            await self._redis.ping()
        except self._failures as error:
            return f"Redis does not answer: {error}"
        return None

    async def aclose(self) -> None:
        """See `Shared`."""
        self._closed = True
        if self._hearing is not None:
            self._hearing.cancel()
            await asyncio.gather(self._hearing, return_exceptions=True)
        with self._suppressed():
            await self._redis.aclose()

    @contextlib.contextmanager
    def _suppressed(self) -> Iterator[None]:
        """Redis that is gone is told once a minute, and otherwise nothing."""
        try:
            yield
        except self._failures as error:
            self.failures += 1
            if time.monotonic() - self._complained > COMPLAIN_EVERY_S:
                self._complained = time.monotonic()
                log.warning("Redis does not answer, so nothing is remembered there: %s", error)


def build_shared(redis_url: str) -> Shared:
    """Redis where it is configured, else memory.

    Raises:
        ConfigError: Redis's client is not installed.
    """
    return RedisShared(redis_url) if redis_url else MemoryShared()
