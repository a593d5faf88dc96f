"""Stored files sent to players: whole or a range, never wrapped, or by sending the browser to the storage itself."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from aiohttp import web

from server.envelope import envelope_of, failure

if TYPE_CHECKING:
    from voices.storage.base import Storage

PRESIGNED_S = 3_600
CACHE = "private, max-age=3600, immutable"


async def send(request: web.Request, storage: Storage, key: str, media: str, filename: str) -> web.StreamResponse:
    """A stored file.

    Args:
        request: may ask for a range, or tell the version it has.
        storage: where it is.
        key: its key, under which there is never another content.
        media: MIME type.
        filename: what a browser saves it as.

    Raises:
        Missing, StorageUnavailable: of the storage.
    """
    address = await storage.presigned(key, PRESIGNED_S)
    if address is not None:
        return web.Response(status=302, headers={"Location": address, "Cache-Control": "private, max-age=600"})
    tag = f'"{hashlib.sha256(key.encode()).hexdigest()[:32]}"'
    headers = {"ETag": tag, "Cache-Control": CACHE, "Accept-Ranges": "bytes"}
    if request.headers.get("If-None-Match") == tag:
        return web.Response(status=304, headers=headers)
    size = await storage.size(key)
    wanted = _range(request, size)
    if wanted is None:
        refused = failure(416, f"the range lies outside the {size} bytes there are", envelope_of(request.path))
        refused.headers["Content-Range"] = f"bytes */{size}"
        return refused
    begin, end, status = wanted
    if status == 206:
        headers["Content-Range"] = f"bytes {begin}-{end - 1}/{size}"
    name = filename.encode("ascii", "ignore").decode().translate({34: None, 92: None}) or "speech"
    headers |= {"Content-Type": media, "Content-Disposition": f'inline; filename="{name}"'}
    response = web.StreamResponse(status=status, headers=headers)
    response.content_length = end - begin
    await response.prepare(request)
    if request.method != "HEAD":
        async for block in storage.read(key, begin, end):
            await response.write(block)
    await response.write_eof()
    return response


def _range(request: web.Request, size: int) -> tuple[int, int, int] | None:
    """`(begin, end, status)`; None where the range lies outside. One that is not understood is none, as HTTP has it."""
    try:
        wanted: Any = request.http_range
    except ValueError:
        return 0, size, 200
    if wanted.start is None and wanted.stop is None:
        return 0, size, 200
    begin, end, _ = wanted.indices(size)
    if begin >= end or (wanted.start is not None and wanted.start >= size):
        return None
    return begin, end, 206
