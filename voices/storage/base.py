"""What every storage promises: whole files under keys, written at once or not at all."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

from errors import NotFound, Unavailable

BLOCK_BYTES = 1 << 18


class StorageUnavailable(Unavailable):
    """The storage does not answer, or is full."""

    code = "storage_unavailable"
    zh = "存储暂时不可用，请稍后重试；数据没有丢失"


class Missing(NotFound):
    """There is no file of that key."""

    code = "file_missing"
    zh = "存储中没有这个文件"


class Storage(Protocol):
    """Called on the event loop, never blocking it. A key is `part/part/name`, as `voices.storage.keys` makes them.

    All of them raise StorageUnavailable where the storage does not answer.
    """

    async def put(self, key: str, data: bytes) -> None:
        """Keep `data`; no reader ever sees a part of it."""
        ...

    async def get(self, key: str) -> bytes:
        """All of it.

        Raises:
            Missing: there is none.
        """
        ...

    async def size(self, key: str) -> int:
        """Its bytes.

        Raises:
            Missing: there is none.
        """
        ...

    def read(self, key: str, start: int, end: int) -> AsyncIterator[bytes]:
        """Bytes `start` up to `end`, block by block.

        Raises:
            Missing: there is none.
        """
        ...

    async def delete(self, key: str) -> None:
        """Delete it; no error when it is not there."""
        ...

    async def presigned(self, key: str, seconds: int) -> str | None:
        """An address from which a browser fetches it for so long; None where it has to come through this server."""
        ...

    async def check(self) -> None:
        """Raise what stands in the way of using it."""
        ...
