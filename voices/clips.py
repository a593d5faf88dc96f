"""Kept recordings read back: as sound for a speaker model, as a file for a maker of voices."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import soxr

from media import SAMPLE_RATE_HZ, Pcm
from text.clauses import language_of
from voices.audio.prepare import read_wav
from voices.cloning.base import Clip
from voices.schema import FileRow
from voices.storage.base import Storage


def heard(wav: bytes) -> Pcm:
    """A WAV file's sound at 16 kHz; blocking."""
    pcm, rate_hz = read_wav(wav)
    return pcm if rate_hz == SAMPLE_RATE_HZ else np.asarray(soxr.resample(pcm, rate_hz, SAMPLE_RATE_HZ), np.float32)


async def load_pcm(storage: Storage, row: FileRow) -> Pcm:
    """A recording's sound at 16 kHz.

    Raises:
        Missing, StorageUnavailable: of the storage.
    """
    return await asyncio.to_thread(heard, await storage.get(row.prepared_path))


@contextlib.asynccontextmanager
async def opened(storage: Storage, row: FileRow, text: str, language: str) -> AsyncIterator[Clip]:
    """A recording for a maker; its file is there while the block runs.

    Raises:
        Missing, StorageUnavailable: of the storage.
    """
    data = await storage.get(row.prepared_path)
    folder = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="visage-clip-"))
    try:
        wav = folder / "clip.wav"
        await asyncio.to_thread(wav.write_bytes, data)
        pcm = await asyncio.to_thread(heard, data)
        yield Clip(wav, pcm, row.sha256, text, language or (language_of(text) if text else ""))
    finally:
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
