"""Multipart forms: text fields and one file, received within bounds of bytes and time."""

from __future__ import annotations

import asyncio
import dataclasses
import io
import re
import tempfile
import warnings
from collections.abc import Collection
from concurrent.futures import Executor
from typing import IO

from aiohttp import BodyPartReader, web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.multipart import BadContentDispositionHeader, BadContentDispositionParam

from errors import BadRequest, TooLarge
from server.reading import BODY_TIMEOUT_S

MEMORY_BYTES_MAX = 1 << 20
FIELD_BYTES_MAX = 4_096
PARTS_MAX = 24
CHUNK_BYTES = 1 << 16
_PARAMETER = re.compile(r';\s*(?P<key>[\w*]+)=(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<bare>[^;"]*))', re.DOTALL)

for _category in (BadContentDispositionHeader, BadContentDispositionParam):
    warnings.filterwarnings("ignore", category=_category)  # of aiohttp, of names that it cannot read and we can


@dataclasses.dataclass(slots=True)
class Form:
    """What was sent; whoever has it closes the file."""

    fields: dict[str, str]
    file: IO[bytes] | None = None
    filename: str = ""
    """As the client named it; never part of a path."""

    def close(self) -> None:
        """Free the file."""
        if self.file is not None:
            self.file.close()


async def read_form(
    request: web.Request, names: Collection[str], *, mib_max: int, timeout_s: float, decoders: Executor
) -> Form:
    """Read a form whose file is the first field called one of `names`.

    Raises:
        BadRequest: not a multipart form, one that is broken off, or one that stood still.
        TooLarge: more than `mib_max` MiB, or a field of more than `FIELD_BYTES_MAX` bytes.
    """
    if not request.content_type.startswith("multipart/"):
        wanted = " or ".join(f"`{name}`" for name in names)
        raise BadRequest(f"Content-Type was {request.content_type}; it must be multipart/form-data with field {wanted}")
    if (request.content_length or 0) > (mib_max << 20) + PARTS_MAX * FIELD_BYTES_MAX:
        raise TooLarge(
            f"the upload has {request.content_length} bytes; at most {mib_max} MiB are taken",
            zh=f"上传内容有 {request.content_length} 字节，最多接收 {mib_max} MiB",
        )
    form = Form({})
    try:
        async with asyncio.timeout(timeout_s):
            await _read_parts(request, form, names, mib_max << 20, decoders)
    except (ValueError, AssertionError, RuntimeError, HttpProcessingError, web.RequestPayloadError) as error:
        form.close()
        raise BadRequest(f"the multipart form is broken: {' '.join(str(error).split())[:200]}") from error
    except TimeoutError as error:
        form.close()
        raise BadRequest(
            f"the upload stood still for {BODY_TIMEOUT_S:.0f} s or took more than {timeout_s:.0f} s",
            zh=f"上传停顿超过 {BODY_TIMEOUT_S:.0f} 秒，或总时间超过 {timeout_s:.0f} 秒",
        ) from error
    except BaseException:
        form.close()
        raise
    return form


async def _read_parts(
    request: web.Request, form: Form, names: Collection[str], bytes_max: int, decoders: Executor
) -> None:
    parts = await request.multipart()
    for _ in range(PARTS_MAX):
        async with asyncio.timeout(BODY_TIMEOUT_S):
            part = await parts.next()
        if part is None:
            return
        if not isinstance(part, BodyPartReader):
            raise BadRequest("the form holds a form; fields must be plain")
        name, filename = disposition(part.headers.get("Content-Disposition", ""))
        if name in names and form.file is None:
            form.filename = filename
            form.file = await _spool(part, bytes_max, decoders)
        else:
            form.fields[name] = await _text(part, name)
    raise BadRequest(f"the form has more than {PARTS_MAX} fields")


def disposition(header: str) -> tuple[str, str]:
    """A field's name and its file's, of what browsers write: quotation marks and line breaks in them are %-encoded.

    aiohttp's own reading loses a name with two semicolons in it.
    """
    found = {key.lower(): quoted if quoted is not None else bare for key, quoted, bare in _matches(header)}
    return found.get("name", ""), found.get("filename", "")


def _matches(header: str) -> list[tuple[str, str | None, str]]:
    return [(match["key"], match["quoted"], match["bare"] or "") for match in _PARAMETER.finditer(header)]


async def _text(part: BodyPartReader, name: str) -> str:
    body = bytearray()
    while True:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            chunk = await part.read_chunk()
        if not chunk:
            break
        body += chunk
        if len(body) > FIELD_BYTES_MAX:
            raise TooLarge(f"{name[:80]} has more than {FIELD_BYTES_MAX} bytes")
    return body.decode("utf-8", "replace")


async def _spool(part: BodyPartReader, bytes_max: int, decoders: Executor) -> IO[bytes]:
    """The part's bytes, in memory while few, else in a temporary file written on a decoder thread."""
    loop = asyncio.get_running_loop()
    file: IO[bytes] = io.BytesIO()
    size = 0
    try:
        while True:
            async with asyncio.timeout(BODY_TIMEOUT_S):
                chunk = await part.read_chunk(CHUNK_BYTES)
            if not chunk:
                break
            size += len(chunk)
            if size > bytes_max:
                mib = bytes_max >> 20
                raise TooLarge(f"file has more than the {mib} MiB that are taken", zh=f"文件超过 {mib} MiB 的上限")
            if isinstance(file, io.BytesIO) and size > MEMORY_BYTES_MAX:
                held = file.getvalue()
                file = tempfile.TemporaryFile(prefix="visage-upload-")  # noqa: SIM115 (the form's owner closes it)
                await loop.run_in_executor(decoders, file.write, held)
            if isinstance(file, io.BytesIO):
                file.write(chunk)
            else:
                await loop.run_in_executor(decoders, file.write, chunk)
        file.seek(0)
    except BaseException:
        file.close()
        raise
    return file
