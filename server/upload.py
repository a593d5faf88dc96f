"""Uploaded recordings: received within bounds, judged before they are accepted, decoded while they are spoken.

Everything that touches a file or a codec runs on the decoder threads, one block at a time, so that a long recording
holds no thread while it waits to be spoken.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Generator
from concurrent.futures import Executor
from typing import IO, TypeVar

import av.error
from aiohttp import web

from audiofile import Facts, decode, inspect
from config import Settings
from errors import Unprocessable
from media import Pcm
from server.form import read_form

UPLOAD_TIMEOUT_S = 300.0

T = TypeVar("T")


async def receive(
    request: web.Request, settings: Settings, decoders: Executor
) -> tuple[dict[str, str], Recording | None]:
    """Read a multipart form: its text fields, and field `file` as a recording.

    Raises:
        BadRequest: not a multipart form, or one that is broken off.
        TooLarge: more bytes than `max_upload_mb`.
    """
    form = await read_form(
        request, ("file",), mib_max=settings.max_upload_mb, timeout_s=UPLOAD_TIMEOUT_S, decoders=decoders
    )
    recording = Recording(form.file, decoders, settings.max_audio_s) if form.file is not None else None
    return form.fields, recording


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
                raise Unprocessable(
                    f"file cannot be decoded as audio: {error.strerror}", zh=f"文件无法作为音频解码：{error.strerror}"
                ) from error
        if self._first is None:
            raise Unprocessable("file holds no sound", zh="文件中没有声音")

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
