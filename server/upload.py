"""Uploaded recordings: received within bounds, judged before they are accepted, decoded while they are spoken.

Everything that touches a file or a codec runs on the decoder threads, one block at a time, so that a long recording
holds no thread while it waits to be spoken.
"""

from __future__ import annotations

import asyncio
import io
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Generator
from concurrent.futures import Executor
from typing import IO, TypeVar

import av.error
from aiohttp import BodyPartReader, web
from aiohttp.http_exceptions import HttpProcessingError

from config import Settings
from errors import BadRequest, TooLarge, Unprocessable
from media import Pcm
from server.audiofile import Facts, decode, inspect
from server.reading import BODY_TIMEOUT_S

MEMORY_BYTES_MAX = 1 << 20
FIELD_BYTES_MAX = 4_096
PARTS_MAX = 16
UPLOAD_TIMEOUT_S = 300.0
CHUNK_BYTES = 1 << 16

T = TypeVar("T")


async def receive(
    request: web.Request, settings: Settings, decoders: Executor
) -> tuple[dict[str, str], Recording | None]:
    """Read a multipart form: its text fields, and field `file` as a recording.

    Raises:
        BadRequest: not a multipart form, or one that is broken off.
        TooLarge: more bytes than `max_upload_mb`.
    """
    bytes_max = settings.max_upload_mb << 20
    if not request.content_type.startswith("multipart/"):
        raise BadRequest(f"Content-Type was {request.content_type}; it must be multipart/form-data with field `file`")
    if (request.content_length or 0) > bytes_max + PARTS_MAX * FIELD_BYTES_MAX:
        raise TooLarge(f"the upload has {request.content_length} bytes; at most {settings.max_upload_mb} MiB are taken")
    fields: dict[str, str] = {}
    recording: Recording | None = None
    try:
        async with asyncio.timeout(UPLOAD_TIMEOUT_S):
            parts = await request.multipart()
            for _ in range(PARTS_MAX):
                async with asyncio.timeout(BODY_TIMEOUT_S):
                    part = await parts.next()
                if part is None:
                    return fields, recording
                if not isinstance(part, BodyPartReader):
                    raise BadRequest("the form holds a form; fields must be plain")
                if part.name == "file" and recording is None:
                    recording = Recording(await _spool(part, bytes_max, decoders), decoders, settings.max_audio_s)
                else:
                    fields[part.name or ""] = await _text(part)
            raise BadRequest(f"the form has more than {PARTS_MAX} fields")
    except (ValueError, AssertionError, RuntimeError, HttpProcessingError, web.RequestPayloadError) as error:
        _drop(recording)
        raise BadRequest(f"the multipart form is broken: {' '.join(str(error).split())[:200]}") from error
    except TimeoutError as error:
        _drop(recording)
        raise BadRequest(
            f"the upload stood still for {BODY_TIMEOUT_S:.0f} s or took more than {UPLOAD_TIMEOUT_S:.0f} s"
        ) from error
    except BaseException:
        _drop(recording)
        raise


def _drop(recording: Recording | None) -> None:
    if recording is not None:
        recording.close()


async def _text(part: BodyPartReader) -> str:
    body = bytearray()
    while True:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            chunk = await part.read_chunk()
        if not chunk:
            break
        body += chunk
        if len(body) > FIELD_BYTES_MAX:
            raise TooLarge(f"{part.name} has more than {FIELD_BYTES_MAX} bytes")
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
                raise TooLarge(f"file has more than the {bytes_max >> 20} MiB that are taken")
            if isinstance(file, io.BytesIO) and size > MEMORY_BYTES_MAX:
                held = file.getvalue()
                file = tempfile.TemporaryFile(prefix="visage-upload-")  # noqa: SIM115 (the recording owns and closes it)
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


class Recording:
    """An uploaded recording: `open` judges it, iterating yields its sound once, `close` frees it at any time."""

    def __init__(self, file: IO[bytes], decoders: Executor, max_s: float) -> None:
        self._file = file
        self._decoders = decoders
        self._max_s = max_s
        self._lock = threading.Lock()
        self._closed = False
        self._blocks: Generator[Pcm, None, None] | None = None
        self._first: Pcm | None = None
        self.facts: Facts | None = None

    async def open(self) -> None:
        """Read the container and the first block.

        Raises:
            TooLarge: longer than the limit.
            Unprocessable: empty, not audio, cut off, or of a rate or channel count that cannot be.
        """
        await self._run(self._judge)

    def __aiter__(self) -> AsyncIterator[Pcm]:
        return self._play()

    async def _play(self) -> AsyncIterator[Pcm]:
        try:
            if self._first is not None:
                yield self._first
            while (block := await self._run(self._next)) is not None:
                yield block
        finally:
            self.close()

    def close(self) -> None:
        """Free the file; a block being decoded is finished first, on its thread."""
        if not self._closed:
            self._closed = True
            self._decoders.submit(self._release)

    async def _run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._decoders, work)

    # ---- on a decoder thread

    def _judge(self) -> None:
        with self._lock:
            try:
                self.facts = inspect(self._file, self._max_s)
                self._blocks = decode(self._file, self._max_s)
                self._first = next(self._blocks, None)
            except av.error.FFmpegError as error:
                raise Unprocessable(f"file cannot be decoded as audio: {error.strerror}") from error
        if self._first is None:
            raise Unprocessable("file holds no sound")

    def _next(self) -> Pcm | None:
        with self._lock:
            if self._closed or self._blocks is None:
                return None
            try:
                return next(self._blocks, None)
            except (av.error.FFmpegError, Unprocessable):
                return None  # judged playable; a damaged end is silence, not a failure

    def _release(self) -> None:
        with self._lock:
            blocks, self._blocks = self._blocks, None
            if blocks is not None:
                blocks.close()
            self._file.close()
