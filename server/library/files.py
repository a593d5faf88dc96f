"""`/api/files`: recordings uploaded, told about, downloaded, deleted."""

from __future__ import annotations

from typing import Any

from server.endpoint import Call, Endpoint
from server.library import shapes
from server.library.access import library

TAG = "files"


async def upload_file(call: Call[shapes.Upload]) -> Any:
    """Take a recording, judge it, keep it."""
    library(call)


async def get_file(call: Call[shapes.OfFile]) -> Any:
    """What is known of a recording."""
    library(call)


async def file_content(call: Call[shapes.Content]) -> Any:
    """Its bytes."""
    library(call)


async def delete_file(call: Call[shapes.OfFile]) -> Any:
    """Delete it."""
    library(call)


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
        TAG, shapes.Content, "query", within=shapes.OfFile, media="audio/wav", success=(200, 206, 302),
        statuses=(401, 404, 416, 503), locked=False,
    ),
    Endpoint(
        "DELETE", "/api/files/{fileId}", delete_file,
        "Delete a recording of which no voice is made (else 409).", "删除录音；仍有音色使用时返回 409。",
        TAG, shapes.OfFile, "path", data=shapes.Deleted, statuses=(404, 409, 503),
    ),
)  # fmt: skip
