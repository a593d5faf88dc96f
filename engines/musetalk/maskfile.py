"""`MaskFile`: the blending masks of an avatar on disk.

`masks.zip` holds one 8-bit PNG per stored frame, `00000000.png` onwards.
"""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.musetalk.box import Box
from errors import Unprocessable

Mask = NDArray[np.uint8]
PNG_AS = [cv2.IMWRITE_PNG_COMPRESSION, 6, cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP]
"""Soft masks change slowly from row to row: one filter does as well as the choice of all, in a third of the time."""
PNG = b"\x89PNG\r\n\x1a\n"
PNG_HEADER_BYTES = 24
UNDATED = (1980, 1, 1, 0, 0, 0)
"""Of the zip's entries, so that equal masks give equal files."""
DAMAGE = (OSError, zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError)
"""What `zipfile` raises at bytes that are no archive."""


class MaskWriter:
    """Writes the file, mask by mask."""

    def __init__(self, path: Path) -> None:
        self._zip = zipfile.ZipFile(path, "w", zipfile.ZIP_STORED)
        self._count = 0
        self._last = b""

    def add(self, mask: Mask) -> None:
        """The next mask, uint8 [h,w]."""
        _, png = cv2.imencode(".png", mask, PNG_AS)
        self._last = png.tobytes()
        self.repeat()

    def repeat(self) -> None:
        """The mask before once more."""
        self._zip.writestr(zipfile.ZipInfo(_entry(self._count), UNDATED), self._last)
        self._count += 1

    def close(self) -> None:
        """Complete the file."""
        self._zip.close()


class MaskFile:
    """Reads the file, any mask at any time. Thread-safe.

    Args:
        path: the file.
        crops: the crop boxes of all stored frames, whose sizes the masks must have.

    Raises:
        Unprocessable: it is no archive, or a mask is missing or of another size; no picture is decoded for that.
    """

    def __init__(self, path: Path, crops: Sequence[Box]) -> None:
        self._path = path
        try:
            self._zip = zipfile.ZipFile(path)
            for stored, crop in enumerate(crops):
                with self._open(stored) as file:
                    self._check(stored, file.read(PNG_HEADER_BYTES), crop)
        except DAMAGE as error:
            raise Unprocessable(f"{path} is no archive of masks: {error}") from error

    def read(self, stored: int) -> Mask:
        """The mask of a stored frame, uint8 [h,w]; 1 to 3 ms for a face of 1080p.

        Raises:
            Unprocessable: it is damaged.
        """
        try:
            with self._open(stored) as file:
                mask = cv2.imdecode(np.frombuffer(file.read(), np.uint8), cv2.IMREAD_GRAYSCALE)
        except DAMAGE as error:
            raise Unprocessable(f"{self._path}: {_entry(stored)} cannot be read: {error}") from error
        if mask is None:
            raise Unprocessable(f"{self._path}: {_entry(stored)} cannot be decoded")
        return np.asarray(mask, np.uint8)

    def _open(self, stored: int) -> zipfile.ZipExtFile:
        name = _entry(stored)
        try:
            return self._zip.open(name)  # type: ignore[return-value]  # as the mode is "r"
        except KeyError:
            raise Unprocessable(f"{self._path}: mask {name} of frame {stored} is missing") from None

    def _check(self, stored: int, header: bytes, crop: Box) -> None:
        """The header must name the size that is wanted before memory is spent on the picture."""
        where, size = f"{self._path}: {_entry(stored)}", (crop[2] - crop[0], crop[3] - crop[1])
        if header[:8] != PNG or len(header) < PNG_HEADER_BYTES:
            raise Unprocessable(f"{where} is no PNG")
        found = struct.unpack(">II", header[16:])
        if found != size:
            raise Unprocessable(f"{where} is {found[0]} x {found[1]}, its crop box is {size[0]} x {size[1]}")


def _entry(stored: int) -> str:
    return f"{stored:08d}.png"
