"""Reads photos, and folders of pictures that are the frames of a clip."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from avatarbuild.detector import Rgb
from avatarbuild.source import Rgba, SourceOptions, check_size, fitted, shaped
from errors import NotFound, Unprocessable
from media import FPS

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
"""Of the pictures that a folder is searched for."""
BYTES_MAX = 256 << 20
PNG = b"\x89PNG\r\n\x1a\n"
_HEAD_BYTES = 64


def is_photo(path: Path, name: str) -> bool:
    """Whether a file, which messages call `name`, is a picture rather than a clip, by its first bytes.

    Raises:
        NotFound: it cannot be read.
        Unprocessable: a kind of picture that is known and cannot be read.
    """
    head = _head(path)
    if head.startswith((PNG, b"\xff\xd8\xff", b"BM")):
        return True
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        if head[12:16] == b"VP8X" and head[20] & 2:
            raise Unprocessable(f"{name} is an animated WebP; save it as a video or as a GIF")
        return True
    if head[4:8] == b"ftyp" and head[8:12] in (b"heic", b"heix", b"mif1", b"msf1", b"hevc"):
        raise Unprocessable(f"{name} is a HEIC photo, which cannot be read; save it as JPEG or PNG")
    return head[4:8] == b"ftyp" and head[8:12] == b"avif"


def read_picture(path: Path, name: str = "") -> Rgba:
    """RGB or RGBA uint8 [H,W,3|4], turned as its EXIF data says; messages call it `name`, or by its path.

    Raises:
        NotFound: it cannot be read.
        Unprocessable: it is no picture, is damaged, or too large.
    """
    name = name or path.name
    try:
        if path.stat().st_size > BYTES_MAX:
            raise Unprocessable(f"{name} has {path.stat().st_size} bytes; at most {BYTES_MAX} are read")
        data = np.frombuffer(path.read_bytes(), np.uint8)
    except OSError as error:
        raise NotFound(f"{path} cannot be read: {error.strerror}") from error
    stated = _stated_size(data[: 1 << 20].tobytes())
    if stated:
        check_size(name, *stated)  # before it is unpacked
    try:
        raw = cv2.imdecode(data, cv2.IMREAD_UNCHANGED) if len(data) else None
        # Only without IMREAD_UNCHANGED is the picture turned as its EXIF data says; opacity is then lost.
        if raw is not None and (raw.ndim == 2 or raw.shape[2] == 3):
            raw = cv2.imdecode(data, cv2.IMREAD_COLOR)
    except cv2.error as error:
        raise Unprocessable(f"{name} cannot be decoded as a picture: {error.err}") from error
    if raw is None:
        raise Unprocessable(f"{name} is no picture that can be read, or is damaged")
    if raw.dtype == np.uint16:
        raw = np.asarray(raw // 256, np.uint8)
    if raw.dtype != np.uint8 or raw.ndim != 3 or raw.shape[2] not in (3, 4):
        raise Unprocessable(f"{name} has pixels of {raw.dtype} {list(raw.shape[2:])}; 8 or 16 bits RGB are read")
    check_size(name, raw.shape[1], raw.shape[0])
    code = cv2.COLOR_BGRA2RGBA if raw.shape[2] == 4 else cv2.COLOR_BGR2RGB
    return np.asarray(cv2.cvtColor(raw, code), np.uint8)


class Photo:
    """A single picture, as a `Source`."""

    is_still = True
    expected = 1

    def __init__(self, path: Path, options: SourceOptions) -> None:
        """Raises Unprocessable when it cannot be decoded."""
        self.notes: list[str] = []
        picture = read_picture(path, options.name_of(path))
        self.width, self.height = fitted(picture.shape[1], picture.shape[0], options.max_side)
        self._picture = shaped(picture, self.width, self.height, options.background)

    def pictures(self) -> Iterator[Rgb]:
        """The one picture."""
        yield self._picture


class Folder:
    """Pictures of one size, played in the order of the numbers in their names at 25 a second, as a `Source`."""

    def __init__(self, path: Path, options: SourceOptions) -> None:
        """Raises Unprocessable when there is no picture, or the first cannot be decoded."""
        self.notes: list[str] = []
        self._options = options
        self._paths = sorted((p for p in path.iterdir() if p.suffix.lower() in SUFFIXES), key=_in_order)
        if not self._paths:
            raise Unprocessable(f"folder {path.name} holds no picture; known are {', '.join(SUFFIXES)}")
        most = round(options.max_seconds * FPS)
        if len(self._paths) > most:
            self.notes.append(f"only the first {most} of {len(self._paths)} pictures of {path.name} are used")
            self._paths = self._paths[:most]
        first = read_picture(self._paths[0])
        self._size = first.shape[:2]
        self.width, self.height = fitted(first.shape[1], first.shape[0], options.max_side)
        self.expected = len(self._paths)
        self.is_still = len(self._paths) == 1

    def pictures(self) -> Iterator[Rgb]:
        """uint8 [H,W,3] each."""
        for path in self._paths:
            picture = read_picture(path)
            if picture.shape[:2] != self._size:
                found, wanted = (f"{w} x {h}" for h, w in (picture.shape[:2], self._size))
                raise Unprocessable(
                    f"{path.name} is {found} pixels, {self._paths[0].name} is {wanted}; all must be equal"
                )
            yield shaped(picture, self.width, self.height, self._options.background)


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_HEAD_BYTES)
    except OSError as error:
        raise NotFound(f"{path} cannot be read: {error.strerror}") from error


def _stated_size(data: bytes) -> tuple[int, int] | None:
    """Width and height by the header of a PNG, WebP or JPEG file; None where it does not say."""
    if data.startswith(PNG):
        return int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    if data[:4] == b"RIFF" and data[12:16] == b"VP8X":
        return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
    at = 2 if data.startswith(b"\xff\xd8") else len(data)
    while at + 9 < len(data) and data[at] == 0xFF:
        if data[at + 1] in (0xC0, 0xC1, 0xC2):  # the frame's header: baseline, extended or progressive
            return int.from_bytes(data[at + 7 : at + 9], "big"), int.from_bytes(data[at + 5 : at + 7], "big")
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return None


def _in_order(path: Path) -> list[tuple[int, int, str]]:
    """A key by which `frame10.png` comes after `frame9.png`."""
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"(\d+)", path.name) if part]
