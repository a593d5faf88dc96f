"""What a session tells of itself: its server-sent events, on our clock."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import time
from types import TracebackType
from typing import Any

import aiohttp


@dataclasses.dataclass(frozen=True, slots=True)
class Told:
    """One event."""

    name: str
    at: float
    """When it happened, monotonic s."""
    data: dict[str, Any]


class EventLog:
    """Collects a session's events; use as an async context manager once the session is open."""

    def __init__(self, url: str, sessionid: str) -> None:
        self.events: list[Told] = []
        self._url = f"{url}/sse?sessionid={sessionid}"

    async def __aenter__(self) -> EventLog:
        self._http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None, sock_connect=5))
        self._reading = asyncio.create_task(self._read())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)
        await self._http.close()

    async def _read(self) -> None:
        with contextlib.suppress(aiohttp.ClientError):
            async with self._http.get(self._url) as response:
                async for line in response.content:
                    if line.startswith(b"data:"):
                        self._note(json.loads(line[5:]))

    def _note(self, data: dict[str, Any]) -> None:
        unix_s = data.pop("time", None)
        at = time.monotonic() if unix_s is None else float(unix_s) + time.monotonic() - time.time()
        self.events.append(Told(str(data.pop("event", "")), at, data))

    def named(self, name: str, begins: float = float("-inf"), ends: float = float("inf")) -> list[Told]:
        """Those of that name of begins <= at < ends, in order."""
        return [event for event in self.events if event.name == name and begins <= event.at < ends]
