"""Files on a server that speaks S3, by obstore."""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import AsyncIterator, Iterator
from typing import Any

from config import ConfigError
from config.library import LibrarySettings
from voices.storage.base import BLOCK_BYTES, Missing, StorageUnavailable

CONNECT_TIMEOUT = "5s"
TIMEOUT = "30s"
RETRY: dict[str, Any] = {"max_retries": 3, "retry_timeout": datetime.timedelta(seconds=15)}


class S3Storage:
    """See `Storage`.

    Args:
        settings: bucket, endpoint and keys.

    Raises:
        ConfigError: no bucket, or obstore is not installed.
    """

    def __init__(self, settings: LibrarySettings) -> None:
        try:
            import obstore
        except ModuleNotFoundError as error:
            raise ConfigError("storage_type s3 needs a package more: make platform") from error
        if not settings.storage_path:
            raise ConfigError("storage_path is empty; storage_type s3 wants BUCKET or BUCKET/PREFIX in it")
        self._obstore = obstore
        self._store = _store(settings, settings.storage_endpoint)
        public = settings.storage_public_endpoint
        # A signature holds the host's name: it must be the one that browsers use.
        self._public = _store(settings, public) if public else None

    async def put(self, key: str, data: bytes) -> None:
        """See `Storage`."""
        with _explained(key):
            try:
                await self._obstore.put_async(self._store, key, data)
            except FileNotFoundError as error:
                raise StorageUnavailable("the S3 server has no such bucket as storage_path names") from error

    async def get(self, key: str) -> bytes:
        """See `Storage`."""
        with _explained(key):
            found = await self._obstore.get_async(self._store, key)
            return bytes(await found.bytes_async())

    async def size(self, key: str) -> int:
        """See `Storage`."""
        with _explained(key):
            return int((await self._obstore.head_async(self._store, key))["size"])

    async def read(self, key: str, start: int, end: int) -> AsyncIterator[bytes]:
        """See `Storage`."""
        with _explained(key):
            found = await self._obstore.get_async(self._store, key, options={"range": (start, end)})
            async for block in found.stream(BLOCK_BYTES):
                yield bytes(block)

    async def delete(self, key: str) -> None:
        """See `Storage`."""
        with _explained(key), contextlib.suppress(FileNotFoundError):
            await self._obstore.delete_async(self._store, key)

    async def presigned(self, key: str, seconds: int) -> str | None:
        """See `Storage`."""
        if self._public is None:
            return None
        return str(await self._obstore.sign_async(self._public, "GET", key, datetime.timedelta(seconds=seconds)))

    async def check(self) -> None:
        """See `Storage`."""
        with _explained(".check"):
            await self._obstore.put_async(self._store, ".check", b"")
        await self.delete(".check")


def _store(settings: LibrarySettings, endpoint: str) -> Any:
    from obstore.store import S3Store

    bucket, _, prefix = settings.storage_path.partition("/")
    config: Any = {"region": settings.storage_region, "virtual_hosted_style_request": not endpoint}
    if endpoint:
        config["endpoint"] = endpoint
    if settings.storage_access_key:
        config |= {"access_key_id": settings.storage_access_key, "secret_access_key": settings.storage_secret_key}
    options: Any = {"allow_http": True, "connect_timeout": CONNECT_TIMEOUT, "timeout": TIMEOUT}
    retry: Any = RETRY
    return S3Store(bucket, prefix=prefix or None, config=config, client_options=options, retry_config=retry)


@contextlib.contextmanager
def _explained(key: str) -> Iterator[None]:
    from obstore.exceptions import BaseError

    try:
        yield
    except FileNotFoundError as error:
        raise Missing(f"the file {key!r} is not in storage") from error
    except (BaseError, OSError) as error:
        # The first line; what follows is obstore's own state.
        reason = str(error).partition("\n")[0][:300]
        raise StorageUnavailable(f"the S3 server does not answer as it should: {reason}") from error
