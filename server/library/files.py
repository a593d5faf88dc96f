"""`/api/files`: recordings uploaded, told about, downloaded, deleted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from aiohttp import web

from errors import BadRequest, Busy
from server.endpoint import Call, Endpoint, Nothing
from server.envelope import success
from server.form import read_form
from server.library import cards, shapes
from server.library.access import library, reader_of
from server.library.download import send

if TYPE_CHECKING:
    from voices.schema import FileRow

Given = TypeVar("Given")

UPLOADS_MAX = 128
"""Uploads that are being received, judged, or wait for their turn."""
UPLOAD_TIMEOUT_S = 300.0

TAG = "files"


async def upload_file(call: Call[Nothing]) -> Any:
    """Take a recording, judge it, keep it."""
    opened = await library(call)
    _, row, duplicated = await take_recording(call, ("file",), lambda fields: None)
    voices = await opened.catalogue.of_file(row.id) if duplicated else ()
    return success(cards.file_info(opened, row, voices, duplicated), "library", 200 if duplicated else 201)


async def take_recording(
    call: Call[Any], names: Sequence[str], understand: Callable[[dict[str, str]], Given]
) -> tuple[Given, FileRow, bool]:
    """A form's recording taken in: what its other fields say, its row, and whether it had been uploaded before.

    Args:
        names: of the field that holds it.
        understand: makes sense of the other fields, before the recording is looked at.

    Raises:
        as `understand`, `read_form` and `Files.take`.
        BadRequest: there is no recording in it.
        Busy: too many are being uploaded.
    """
    services, opened = call.services, await library(call)
    if services.voice_uploads >= UPLOADS_MAX:
        raise Busy(f"{UPLOADS_MAX} recordings are being uploaded at this moment: try again in a second")
    services.voice_uploads += 1
    try:
        async with opened.files.places:
            given, filename, data = await _received(call, names, understand)
            return given, *await opened.files.take(call.user, filename, data)
    finally:
        services.voice_uploads -= 1


async def _received(
    call: Call[Any], names: Sequence[str], understand: Callable[[dict[str, str]], Given]
) -> tuple[Given, str, bytes]:
    """What the form says, and the recording's name and bytes."""
    services = call.services
    mib_max, decoders = services.settings.max_voice_mb, services.decoders
    form = await read_form(call.request, names, mib_max=mib_max, timeout_s=UPLOAD_TIMEOUT_S, decoders=decoders)
    try:
        given = understand(form.fields)
        if form.file is None:
            name = names[0]
            en = f"{name} is missing: send the recording as multipart form field `{name}`"
            raise BadRequest(en, f"缺少 {name}：请以 multipart 表单字段 `{name}` 上传录音")
        return given, form.filename, await asyncio.get_running_loop().run_in_executor(decoders, form.file.read)
    finally:
        form.close()


async def get_file(call: Call[shapes.OfFile]) -> Any:
    """What is known of a recording."""
    opened = await library(call)
    row = await opened.files.get(call.given.fileId, call.user)
    return cards.file_info(opened, row, await opened.catalogue.of_file(row.id))


async def file_content(call: Call[shapes.Content]) -> web.StreamResponse:
    """Its bytes."""
    opened, file_id = await library(call), call.place.fileId
    original = call.given.variant == "original"
    user = await reader_of(call, opened, cards.file_path(file_id), "variant=original" if original else "")
    row = await opened.files.get(file_id, user)
    if original:
        return await send(call.request, opened.storage, row.file_path, "application/octet-stream", row.filename)
    return await send(call.request, opened.storage, row.prepared_path, "audio/wav", f"{row.filename}.wav")


async def delete_file(call: Call[shapes.OfFile]) -> Any:
    """Delete it."""
    opened = await library(call)
    removed = await opened.removal.file(call.given.fileId, call.user)
    return shapes.Deleted(deleted=True, files=removed.files).model_dump()


ENDPOINTS: tuple[Endpoint[Any], ...] = (
    Endpoint(
        "POST", "/api/files/upload", upload_file,
        "Upload a recording of 5 to 10 s of one person's speech; it is judged before it is kept. 201, or 200 where "
        "these bytes had been uploaded already.",
        "上传 5 至 10 秒的单人录音，先检查后保存。新文件返回 201；内容相同的文件已存在则返回 200。",
        TAG, shapes.Upload, "form", data=shapes.FileInfo, success=(200, 201), statuses=(409, 413, 422, 429, 503),
    ),
    Endpoint(
        "GET", "/api/files/{fileId}", get_file,
        "A recording's facts and signed addresses.", "录音的信息与带签名的下载地址。",
        TAG, shapes.OfFile, "path", data=shapes.FileInfo, statuses=(404, 503),
    ),
    Endpoint(
        "GET", "/api/files/{fileId}/content", file_content,
        "A recording's bytes; takes Range. Opened by a key or by the signature of its address.",
        "录音内容，支持 Range。凭密钥或地址签名访问。",
        TAG, shapes.Content, "query", within=shapes.OfFile, media="audio/wav, application/octet-stream",
        success=(200, 206, 302), statuses=(401, 404, 416, 503), locked=False,
    ),
    Endpoint(
        "DELETE", "/api/files/{fileId}", delete_file,
        "Delete a recording of which no voice is made (else 409).", "删除录音；仍有音色使用时返回 409。",
        TAG, shapes.OfFile, "path", data=shapes.Deleted, statuses=(404, 409, 503),
    ),
)  # fmt: skip
