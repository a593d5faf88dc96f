"""Reads the tensors of a whisper.cpp model file ("ggml", `ggml-tiny.bin`).

The layout is what whisper.cpp's `models/convert-pt-to-ggml.py` writes, little endian: magic, 11 hyperparameters, the
mel filters, the vocabulary, then tensors one behind the other until the file ends. Every length is checked against
what the file still holds before anything of that length is read.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch

from engines.musetalk.tensors import Tensors
from errors import NotFound, Unprocessable

MAGIC = 0x67676D6C
HYPERPARAMETERS = (
    *("n_vocab", "n_audio_ctx", "n_audio_state", "n_audio_head", "n_audio_layer"),
    *("n_text_ctx", "n_text_state", "n_text_head", "n_text_layer", "n_mels", "ftype"),
)
MAX_WORDS = 200_000
MAX_WORD_BYTES = 4096
MAX_NAME_BYTES = 256
MAX_DIMENSIONS = 4
_TYPES: dict[int, np.dtype[Any]] = {0: np.dtype("<f4"), 1: np.dtype("<f2")}


def read_ggml(path: Path, command: str, prefix: str = "") -> tuple[dict[str, int], Tensors]:
    """The hyperparameters, and the tensors whose names begin with `prefix`; the others are skipped.

    Args:
        path: the file.
        command: what brings the file; every message ends with it.
        prefix: which tensors are read.

    Returns:
        name in HYPERPARAMETERS -> value, and name -> CPU tensor in the type it is stored in.

    Raises:
        NotFound: there is no such file.
        Unprocessable: it is no such file, is cut short, or its numbers are quantised.
    """
    if not path.is_file():
        raise NotFound(f"{path} is not there; to get it: {command}")
    with path.open("rb") as file:
        return _Reader(file, path, command).read(prefix)


class _Reader:
    """One pass over a file."""

    def __init__(self, file: BinaryIO, path: Path, command: str) -> None:
        self._file = file
        self._path = path
        self._command = command
        self._left = path.stat().st_size

    def read(self, prefix: str) -> tuple[dict[str, int], Tensors]:
        if self._left < 4 or self._integers(1)[0] != MAGIC:
            raise self._bad("is no ggml file: it does not begin with its magic number")
        hyperparameters = dict(zip(HYPERPARAMETERS, self._integers(len(HYPERPARAMETERS)), strict=True))
        bands, bins = self._integers(2)
        if bands < 0 or bins < 0:
            raise self._bad(f"is damaged: its mel filters are {bands} x {bins}")
        self._skip(4 * bands * bins, "mel filters")
        self._skip_words()
        tensors: Tensors = {}
        while self._left:
            name, tensor = self._tensor(prefix)
            if name in tensors:
                raise self._bad(f"is damaged: it holds {name} twice")
            if tensor is not None:
                tensors[name] = tensor
        return hyperparameters, tensors

    def _skip_words(self) -> None:
        (words,) = self._integers(1)
        if not 0 <= words <= MAX_WORDS:
            raise self._bad(f"is damaged: its vocabulary has {words} words")
        for _ in range(words):
            (length,) = self._integers(1)
            if not 0 <= length <= MAX_WORD_BYTES:
                raise self._bad(f"is damaged: a word of its vocabulary has {length} bytes")
            self._skip(length, "vocabulary")

    def _tensor(self, prefix: str) -> tuple[str, torch.Tensor | None]:
        """The next tensor; None in its place when its name begins otherwise."""
        dimensions, name_bytes, kind = self._integers(3)
        if not (1 <= dimensions <= MAX_DIMENSIONS and 1 <= name_bytes <= MAX_NAME_BYTES):
            raise self._bad(f"is damaged: a tensor has {dimensions} dimensions and a name of {name_bytes} bytes")
        shape = self._integers(dimensions)[::-1]  # ggml counts from the innermost dimension
        name = self._bytes(name_bytes, "a tensor's name").decode("utf-8", "replace")
        if kind not in _TYPES:
            raise self._bad(f"holds {name} in ggml's type {kind}; read are f32 (0) and f16 (1), no quantised ones")
        if min(shape) < 1:
            raise self._bad(f"is damaged: {name} is {list(shape)}")
        size = _TYPES[kind].itemsize
        for side in shape:  # Python's integers do not overflow
            size *= side
        if not name.startswith(prefix):
            self._skip(size, name)
            return name, None
        values = np.frombuffer(self._bytes(size, name), _TYPES[kind]).reshape(shape)
        return name, torch.from_numpy(values.copy())

    def _integers(self, count: int) -> tuple[int, ...]:
        return struct.unpack(f"<{count}i", self._bytes(4 * count, "a header"))

    def _bytes(self, size: int, what: str) -> bytes:
        self._take(size, what)
        return self._file.read(size)

    def _skip(self, size: int, what: str) -> None:
        self._take(size, what)
        self._file.seek(size, 1)

    def _take(self, size: int, what: str) -> None:
        if size > self._left:
            raise self._bad(f"is cut short: {what} needs {size:,} bytes, {self._left:,} are left")
        self._left -= size

    def _bad(self, what: str) -> Unprocessable:
        return Unprocessable(f"{self._path} {what}; to get it whole: {self._command}")
