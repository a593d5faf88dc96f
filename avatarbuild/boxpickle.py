"""Reads lists of boxes from pickles without trusting them: numbers, lists and tuples come in, nothing else does.

Pickles may name any function to be called. Here the only names that are known are the two by which numpy writes a
scalar, and neither is numpy's own: they are replaced by what takes plain numbers alone. The unpickler is the one
written in Python, whose memory grows with what the file holds, not with the numbers it states.
"""

from __future__ import annotations

import io
import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from errors import NotFound, Unprocessable

Box = tuple[int, int, int, int]
BYTES_MAX = 16 << 20
LIMIT = 1 << 20
"""Of a coordinate, pixels to either side."""
KINDS = ("b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8")
"""numpy's types that are numbers."""


def read_boxes(path: Path) -> list[Box]:
    """The boxes of a pickle: a list of four numbers each, ints, floats or numpy scalars; rounded towards 0.

    Raises:
        NotFound: the file is missing.
        Unprocessable: it is damaged, or holds something else; the message says what.
    """
    try:
        size = path.stat().st_size
        data = path.read_bytes() if size <= BYTES_MAX else b""
    except OSError as error:
        raise NotFound(f"{path} cannot be read: {error.strerror}") from error
    if size > BYTES_MAX:
        raise Unprocessable(f"{path} has {size} bytes; a list of boxes has at most {BYTES_MAX}")
    try:
        found = _Reader(io.BytesIO(data)).load()
    except _Refused as error:
        raise Unprocessable(f"{path} holds {error}; only lists, tuples and numbers are read") from error
    except Exception as error:  # a damaged pickle can raise anything
        raise Unprocessable(f"{path} is no pickle that can be read: {type(error).__name__}: {error}") from error
    if not isinstance(found, list | tuple):
        raise Unprocessable(f"{path} holds a {type(found).__name__}; a list of boxes is needed")
    return [_box(path, number, each) for number, each in enumerate(found)]


def _box(path: Path, number: int, found: Any) -> Box:
    if not isinstance(found, list | tuple) or len(found) != 4:
        what = f"{len(found)} values" if isinstance(found, list | tuple) else f"a {type(found).__name__}"
        raise Unprocessable(f"{path}: entry {number} is {what}; x1, y1, x2, y2 are needed")
    for value in found:
        good = isinstance(value, int | float) and not isinstance(value, bool)
        if not good or not math.isfinite(value) or abs(value) > LIMIT:
            raise Unprocessable(f"{path}: entry {number} holds {str(value)[:40]}; pixels are needed")
    x1, y1, x2, y2 = (int(value) for value in found)
    return x1, y1, x2, y2


class _Refused(Exception):
    """What was found that is not read."""


class _Dtype:
    """Stands in for `numpy.dtype`: remembers which plain number it is."""

    def __init__(self, kind: object = "", *_: object) -> None:
        if kind not in KINDS:
            raise _Refused(f"numpy values of type {str(kind)[:40]!r}")
        self._kind = str(kind)
        self._order = "<"

    def __setstate__(self, state: object) -> None:
        order = state[1] if isinstance(state, tuple) and len(state) > 1 else "<"
        self._order = ">" if order == ">" else "<"

    def number(self, data: bytes) -> int | float:
        """The one value that `data` is."""
        dtype = np.dtype(self._order + self._kind)
        if len(data) != dtype.itemsize:
            raise _Refused(f"a numpy value of {len(data)} bytes where {dtype.itemsize} are needed")
        value: int | float = np.frombuffer(data, dtype)[0].item()
        return value


def _scalar(dtype: object, data: object = b"") -> int | float:
    """Stands in for numpy's `scalar`."""
    if isinstance(data, str):
        data = data.encode("latin-1")  # as pickles of protocol 0 to 2 write bytes
    if not isinstance(dtype, _Dtype) or not isinstance(data, bytes):
        raise _Refused("a numpy value that is no number")
    return dtype.number(data)


def _encode(text: object, encoding: object = "") -> bytes:
    """Stands in for `_codecs.encode`, with which protocols 0 to 2 write bytes."""
    if not isinstance(text, str) or encoding != "latin1":
        raise _Refused("text in an unknown encoding")
    return text.encode("latin-1")


KNOWN = {
    ("numpy", "dtype"): _Dtype,
    ("numpy.core.multiarray", "scalar"): _scalar,
    ("numpy._core.multiarray", "scalar"): _scalar,
    ("_codecs", "encode"): _encode,
}


class _Reader(pickle._Unpickler):
    """Knows four names."""

    def find_class(self, module: str, name: str) -> Any:
        """The stand-in for a name."""
        try:
            return KNOWN[module, name]
        except KeyError:
            raise _Refused(f"{module}.{name}") from None

    def persistent_load(self, pid: object) -> Any:
        """Nothing is kept outside of the file."""
        raise _Refused("a persistent id")
