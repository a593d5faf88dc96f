"""`SoundCache`: the sound of clauses that were said before, on disk, at most so many bytes of it.

A file holds one clause: a little-endian uint32, the bytes of a JSON object (`rate_hz`, `words`), the object, then
16-bit mono samples. The one used longest ago goes first. What is damaged counts as not there.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import logging
import os
import struct
import tempfile
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from media import Pcm
from tts.base import Sound, Word

_SIZE = struct.Struct("<I")
SECONDS_MAX = 60.0
"""A longer clause is not kept: nobody says it twice."""
_SUFFIX = ".clause"

log = logging.getLogger(__name__)


def key(*parts: object) -> str:
    """One name for everything the sound depends on: engine, its variant, voice, language, speed, text."""
    return hashlib.sha256(json.dumps([str(part) for part in parts]).encode()).hexdigest()


class SoundCache:
    """Files are read and written on threads; made without touching the disk.

    Args:
        directory: made when the first clause is kept.
        bytes_max: of all files together.
    """

    def __init__(self, directory: Path, bytes_max: int) -> None:
        self._directory = directory
        self._bytes_max = bytes_max
        self._sizes: OrderedDict[str, int] | None = None
        """By key, the one used longest ago first; None until the directory was read."""
        self._busy = asyncio.Lock()
        self._writing: set[asyncio.Task[None]] = set()

    async def get(self, name: str) -> Sound | None:
        """The clause of that key, whole, or None."""
        async with self._busy:
            sizes = await self._known()
            if name not in sizes:
                return None
            found = await asyncio.to_thread(_read, self._path(name))
            if found is None:
                del sizes[name]
            else:
                sizes.move_to_end(name)
            return found

    def put(self, name: str, sounds: Sequence[Sound], rate_hz: int) -> None:
        """Keep a clause, in the background; a disk that takes nothing is logged and costs nobody a word."""
        samples = sum(sound.pcm.size for sound in sounds)
        if not 0 < samples <= SECONDS_MAX * rate_hz:
            return
        task = asyncio.create_task(self._keep(name, list(sounds), rate_hz), name="speech cache")
        self._writing.add(task)
        task.add_done_callback(self._writing.discard)

    async def aclose(self) -> None:
        """Wait for what is being written."""
        await asyncio.gather(*self._writing)

    async def _keep(self, name: str, sounds: Sequence[Sound], rate_hz: int) -> None:
        async with self._busy:
            sizes = await self._known()
            try:
                sizes[name] = await asyncio.to_thread(_write, self._path(name), sounds, rate_hz)
            except OSError as error:
                log.warning("a clause could not be kept in %s: %s", self._directory, error)
                return
            sizes.move_to_end(name)
            total = sum(sizes.values())
            doomed = []
            while total > self._bytes_max and sizes:
                oldest, size = sizes.popitem(last=False)
                doomed.append(self._path(oldest))
                total -= size
            await asyncio.to_thread(_remove, doomed)

    async def _known(self) -> OrderedDict[str, int]:
        if self._sizes is None:
            self._sizes = await asyncio.to_thread(_scan, self._directory)
        return self._sizes

    def _path(self, name: str) -> Path:
        return self._directory / f"{name}{_SUFFIX}"


def _scan(directory: Path) -> OrderedDict[str, int]:
    """The files there, the one used longest ago first."""
    found = []
    with contextlib.suppress(OSError):
        for path in directory.glob(f"*{_SUFFIX}"):
            with contextlib.suppress(OSError):
                facts = path.stat()
                found.append((facts.st_mtime, path.name.removesuffix(_SUFFIX), facts.st_size))
    return OrderedDict((name, size) for _, name, size in sorted(found))


def _read(path: Path) -> Sound | None:
    try:
        data = path.read_bytes()
        os.utime(path)
        (size,) = _SIZE.unpack_from(data)
        facts = json.loads(data[_SIZE.size : _SIZE.size + size])
        pcm: Pcm = np.frombuffer(data, "<i2", offset=_SIZE.size + size).astype(np.float32) / np.float32(32768)
        words = tuple(Word(str(text), float(start_s), float(end_s)) for text, start_s, end_s in facts["words"])
        return Sound(pcm, words, int(facts["rate_hz"])) if pcm.size else None
    except (OSError, ValueError, LookupError, TypeError, struct.error) as error:
        log.warning("the kept clause %s cannot be read: %s", path.name, error)
        return None


def _write(path: Path, sounds: Sequence[Sound], rate_hz: int) -> int:
    """Write a clause so that it is there whole or not at all; its bytes."""
    words = [(word.text, word.start_s, word.end_s) for sound in sounds for word in sound.words]
    facts = json.dumps({"rate_hz": rate_hz, "words": words}).encode()
    pcm = np.concatenate([sound.pcm for sound in sounds])
    samples = (np.clip(np.nan_to_num(pcm), -1.0, 1.0) * 32767).round().astype("<i2").tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(_SIZE.pack(len(facts)) + facts + samples)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return _SIZE.size + len(facts) + len(samples)


def _remove(paths: Sequence[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)
