"""Files in a folder."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import BinaryIO, TypeVar

from voices.storage.base import BLOCK_BYTES, Missing, StorageUnavailable

PART = ".part"
"""Ending of a file that is being written; deleting a key deletes what a dead process left of it too."""
FOLDER_TRIES = 5
T = TypeVar("T")


class LocalStorage:
    """See `Storage`.

    Args:
        root: the folder; made when it is first written to.
    """

    def __init__(self, root: Path) -> None:
        self._root = root.resolve()

    async def put(self, key: str, data: bytes) -> None:
        """See `Storage`."""
        await self._run(key, lambda path: _write(path, data))

    async def get(self, key: str) -> bytes:
        """See `Storage`."""
        return await self._run(key, Path.read_bytes)

    async def size(self, key: str) -> int:
        """See `Storage`."""
        return await self._run(key, lambda path: path.stat().st_size)

    async def read(self, key: str, start: int, end: int) -> AsyncIterator[bytes]:
        """See `Storage`."""
        for at in range(start, end, BLOCK_BYTES):
            count = min(BLOCK_BYTES, end - at)
            yield await self._run(key, lambda path, at=at, count=count: _block(path, at, count))  # type: ignore[misc]

    async def delete(self, key: str) -> None:
        """See `Storage`."""
        await self._run(key, lambda path: _delete(path, self._root))

    async def presigned(self, key: str, seconds: int) -> str | None:
        """See `Storage`."""
        return None

    async def check(self) -> None:
        """See `Storage`."""
        await self._run(".check", lambda path: _write(path, b""))
        await self.delete(".check")

    async def _run(self, key: str, work: Callable[[Path], T]) -> T:
        try:
            return await asyncio.to_thread(self._at, key, work)
        except FileNotFoundError as error:
            raise Missing(f"the file {key!r} is not in storage") from error
        except OSError as error:
            raise StorageUnavailable(f"the storage {self._root} cannot be used: {error.strerror}") from error

    def _at(self, key: str, work: Callable[[Path], T]) -> T:
        path = self._root / key
        if not path.resolve().is_relative_to(self._root):
            raise Missing(f"{key!r} lies outside the storage")
        return work(path)


def _write(path: Path, data: bytes) -> None:
    part = path.with_name(path.name + PART)
    try:
        with _opened(part) as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            part.unlink()
        raise
    _sync(path.parent)


def _opened(path: Path) -> BinaryIO:
    """A new file; its folder may be removed by another thread that finds it empty, just as it is made."""
    for _ in range(FOLDER_TRIES):
        path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            return path.open("wb")
    return path.open("wb")


def _sync(folder: Path) -> None:
    """Have the folder remember the file's name, whatever happens to the machine."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _block(path: Path, at: int, count: int) -> bytes:
    with path.open("rb") as file:
        file.seek(at)
        return file.read(count)


def _delete(path: Path, root: Path) -> None:
    path.with_name(path.name + PART).unlink(missing_ok=True)
    path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # other files are in it
        while path.parent != root:
            path = path.parent
            path.rmdir()
