"""Recordings that a server is to imitate: read once, off the event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

import av
import av.error
import numpy as np

from errors import EngineError
from media import SAMPLE_RATE_HZ, Pcm

BYTES_MAX = 8 << 20
"""Half a minute at 48 kHz in stereo has 6 MiB."""
KEPT_MAX = 32
"""Recordings that are kept at a time: a voice library has thousands."""
SECONDS_MAX = 30.0
"""CosyVoice takes no more."""

Made = TypeVar("Made")


class Recordings(Generic[Made]):
    """What was made of recordings, made again when a file changes.

    Args:
        engine: its name, for its errors.
        make: takes a path; called on a thread, may raise OSError or ValueError.
    """

    def __init__(self, engine: str, make: Callable[[Path], Made]) -> None:
        self._engine = engine
        self._make = make
        self._kept: dict[str, tuple[float, Made]] = {}
        self._lock = threading.Lock()

    async def get(self, file: str) -> Made:
        """What is made of that file.

        Raises:
            EngineError: it cannot be read.
        """
        try:
            return await asyncio.to_thread(self._get, file)
        except (OSError, ValueError, av.error.FFmpegError) as error:
            raise EngineError(self._engine, f"the recording {file} cannot be read: {error}") from error

    def _get(self, file: str) -> Made:
        path = Path(file)
        changed = path.stat().st_mtime
        kept = self._kept.get(file)
        if kept is None or kept[0] != changed:
            kept = (changed, self._make(path))
            with self._lock:
                self._kept.pop(file, None)
                while len(self._kept) >= KEPT_MAX:
                    del self._kept[next(iter(self._kept))]
                self._kept[file] = kept
        return kept[1]


def content(path: Path) -> bytes:
    """The bytes of a recording.

    Raises:
        ValueError: it is longer than BYTES_MAX.
    """
    if path.stat().st_size > BYTES_MAX:
        raise ValueError(f"it has {path.stat().st_size} bytes, but may have {BYTES_MAX}")
    return path.read_bytes()


def samples(path: Path) -> Pcm:
    """A recording as mono float32 at 16 kHz, its first SECONDS_MAX; of any kind that FFmpeg reads."""
    resampler = av.AudioResampler(format="fltp", rate=SAMPLE_RATE_HZ)  # its own mono would be louder by 3 dB
    blocks: list[Pcm] = []
    with av.open(str(path)) as container:
        if not container.streams.audio:
            raise ValueError("there is no sound in it")
        for frame in container.decode(container.streams.audio[0]):
            blocks += [out.to_ndarray().mean(axis=0, dtype=np.float32) for out in resampler.resample(frame)]
            if sum(map(len, blocks)) > SECONDS_MAX * SAMPLE_RATE_HZ:
                break
    if not blocks:
        raise ValueError("there is no sound in it")
    found: Pcm = np.concatenate(blocks)[: int(SECONDS_MAX * SAMPLE_RATE_HZ)]
    return found
