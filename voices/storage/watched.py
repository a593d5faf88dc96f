"""`WatchedStorage`: any storage, with what it is asked counted and timed."""

from __future__ import annotations

from collections.abc import AsyncIterator

from voices.figures import LibraryFigures, timed
from voices.storage.base import Storage


class WatchedStorage:
    """See `Storage`.

    Args:
        storage: what does the work.
        figures: where it is noted.
    """

    def __init__(self, storage: Storage, figures: LibraryFigures) -> None:
        self._storage = storage
        self._seconds = figures.storage_s

    async def put(self, key: str, data: bytes) -> None:
        """See `Storage`."""
        with timed(self._seconds, call="put"):
            await self._storage.put(key, data)

    async def get(self, key: str) -> bytes:
        """See `Storage`."""
        with timed(self._seconds, call="get"):
            return await self._storage.get(key)

    async def size(self, key: str) -> int:
        """See `Storage`."""
        with timed(self._seconds, call="size"):
            return await self._storage.size(key)

    async def read(self, key: str, start: int, end: int) -> AsyncIterator[bytes]:
        """See `Storage`; what is timed includes the reader's own pace."""
        with timed(self._seconds, call="read"):
            async for block in self._storage.read(key, start, end):
                yield block

    async def delete(self, key: str) -> None:
        """See `Storage`."""
        with timed(self._seconds, call="delete"):
            await self._storage.delete(key)

    async def presigned(self, key: str, seconds: int) -> str | None:
        """See `Storage`."""
        return await self._storage.presigned(key, seconds)

    async def check(self) -> None:
        """See `Storage`."""
        await self._storage.check()
