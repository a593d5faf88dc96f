"""Where the generated face goes in every stored frame of an avatar, and through which mask; on disk and in memory.

    places.npz   `version`, `boxes` int32 [N,4], `crops` int32 [N,4], `settings` (JSON of `Blending`)
    masks.zip    one 8-bit PNG per stored frame, `00000000.png` onwards, each the size of that frame's crop box

Both are written frame by frame, so a long clip takes no more memory than a short one.
"""

from __future__ import annotations

import dataclasses
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from avatar import Avatar
from engines.musetalk import box as geometry
from engines.musetalk import masks
from engines.musetalk.box import Blending, Box, crop_face
from errors import Unprocessable

__all__ = ["Blending", "Box", "Parser", "Placement", "Places", "PlacesWriter", "crop_face"]

VERSION = 1
"""Of the two files' format."""
ENGINE = "musetalk"
PLACES, MASKS = "places.npz", "masks.zip"
MAX_SIDE_PX = 1 << 14
"""Of a crop box: what the largest picture and expansion give."""
PNG_AS = [cv2.IMWRITE_PNG_COMPRESSION, 6, cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP]
"""Soft masks change slowly from row to row: one filter does as well as the choice of all, in a third of the time."""
PNG_HEADER_BYTES = 24
UNDATED = (1980, 1, 1, 0, 0, 0)
"""Of the zip's entries, so that equal masks give equal files."""

Parser = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]
"""RGB picture uint8 [h,w,3] of a crop box -> its classes, uint8 [512,512]."""
Origin = Literal["landmarks", "parser"]


@dataclasses.dataclass(frozen=True, slots=True)
class Placement:
    """Where the face goes in one stored frame. All boxes in pixels of the picture."""

    box: Box
    """What the generated square covers."""
    crop: Box
    """In which the mask was made; may leave the picture."""
    region: Box
    """The smallest rectangle inside the picture, even on all sides, that holds all that is replaced."""
    mask: NDArray[np.uint8]
    """[h,w] of `region`, 0..255, read-only; 0 outside the face box. Without rows where nothing is replaced."""


def place(box: Box, crop: Box, mask: NDArray[np.uint8], width: int, height: int) -> Placement:
    """Keep of a crop box's mask what can be seen: inside the picture, inside the face box, not 0.

    Outside the face box both pictures are the idle one, so whatever the mask says there changes nothing.

    Args:
        box: the face box.
        crop: the crop box.
        mask: uint8 [h,w], the crop box's size.
        width: of the picture, pixels, even.
        height: of the picture, pixels, even.
    """
    x1, y1 = (max(0, box[k], crop[k]) for k in (0, 1))
    x2, y2 = (min(side, box[k], crop[k]) for side, k in ((width, 2), (height, 3)))
    seen = mask[max(y1 - crop[1], 0) : max(y2 - crop[1], 0), max(x1 - crop[0], 0) : max(x2 - crop[0], 0)]
    left, top, used_width, used_height = cv2.boundingRect(np.ascontiguousarray(seen)) if seen.size else (0, 0, 0, 0)
    if not used_width:
        region, kept = (0, 0, 0, 0), np.zeros((0, 0), np.uint8)
    else:
        used = (x1 + left, y1 + top, x1 + left + used_width, y1 + top + used_height)
        region = (used[0] & ~1, used[1] & ~1, (used[2] + 1) & ~1, (used[3] + 1) & ~1)
        kept = np.zeros((region[3] - region[1], region[2] - region[0]), np.uint8)
        at_y, at_x = used[1] - region[1], used[0] - region[0]
        kept[at_y : at_y + used_height, at_x : at_x + used_width] = seen[
            top : top + used_height, left : left + used_width
        ]
    kept.setflags(write=False)
    return Placement(box, crop, region, kept)


class Places:
    """The placements of all stored frames of an avatar. Immutable."""

    def __init__(self, placements: list[Placement], settings: Blending) -> None:
        self._placements = placements
        self.settings = settings

    @classmethod
    def load(cls, avatar: Avatar) -> Places:
        """Read what the avatar's card names; about 2 ms a frame at 1080p, so call it off the event loop.

        Raises:
            Unprocessable: the avatar has no such files, or one is damaged or does not fit the avatar.
        """
        path = avatar.engine_file(ENGINE, "places")
        boxes, crops, settings = _read_places(path, avatar.count)
        pictures = _read_masks(avatar.engine_file(ENGINE, "masks"), crops)
        size = avatar.width, avatar.height
        return cls(
            [place(box, crop, mask, *size) for box, crop, mask in zip(boxes, crops, pictures, strict=True)], settings
        )

    def __len__(self) -> int:
        return len(self._placements)

    def __getitem__(self, stored: int) -> Placement:
        return self._placements[stored]

    def __iter__(self) -> Iterator[Placement]:
        return iter(self._placements)


class PlacesWriter:
    """Writes `places.npz` and `masks.zip` into a directory, frame by frame; one thread at a time.

    Used as a context manager it removes what it wrote unless `finish` was reached.

    Attributes:
        held: How many frames took the frame before them because no box could be made of their landmarks.
    """

    def __init__(self, directory: Path, settings: Blending | None = None, parser: Parser | None = None) -> None:
        self._directory = directory
        self._settings = settings or Blending()
        self._parser = parser
        self._boxes: list[Box] = []
        self._crops: list[Box] = []
        self._last: bytes = b""
        self._finished = False
        self._zip = zipfile.ZipFile(directory / MASKS, "w", zipfile.ZIP_STORED)
        self.held = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def add(self, landmarks: NDArray[Any], frame_rgb: NDArray[np.uint8], fallback: Box | None = None) -> Box:
        """Place the next frame and make its mask.

        A frame whose landmarks give no box takes the place and mask of the frame before.

        Args:
            landmarks: [68,2] x and y, pixels.
            frame_rgb: uint8 [H,W,3]; its size counts, and with a parser its pixels.
            fallback: a detector's box of the face, for landmarks that give none.

        Returns:
            The face box: what `crop_face` should cut out for the model.

        Raises:
            Unprocessable: the first frame's landmarks give no box.
        """
        height, width = frame_rgb.shape[:2]
        try:
            box = geometry.face_box(landmarks, width, height, self._settings, fallback)
        except Unprocessable:
            if not self._boxes:
                raise
            self.held += 1
            return self._write(self._boxes[-1], self._crops[-1], self._last)
        crop = geometry.crop_box(box, self._settings.expand)
        if self._parser is not None:
            labels = self._parser(geometry.crop(frame_rgb, crop))
        else:
            labels = masks.labels_of_landmarks(landmarks, crop)
        return self.put(
            box, crop, masks.finish_mask(masks.mask_of_labels(labels, self._settings), box, crop, self._settings)
        )

    def put(self, box: Box, crop: Box, mask: NDArray[np.uint8]) -> Box:
        """Take the next frame's place and mask (uint8 [h,w], the crop box's size) as they are; returns `box`."""
        if mask.shape != (crop[3] - crop[1], crop[2] - crop[0]):
            frame = len(self._boxes)
            raise Unprocessable(f"mask of frame {frame} has shape {list(mask.shape)}, its crop box is {list(crop)}")
        _, png = cv2.imencode(".png", mask, PNG_AS)
        return self._write(box, crop, png.tobytes())

    def _write(self, box: Box, crop: Box, png: bytes) -> Box:
        self._zip.writestr(zipfile.ZipInfo(_entry(len(self._boxes)), UNDATED), png)
        self._boxes.append(box)
        self._crops.append(crop)
        self._last = png
        return box

    def finish(self) -> tuple[dict[str, str], Origin]:
        """Complete both files: their names as the card's `engines.musetalk` has them, and what masks were made from.

        Raises:
            Unprocessable: there was no frame.
        """
        if not self._boxes:
            raise Unprocessable(f"{self._directory / PLACES}: there is no frame to place a face in")
        self._zip.close()
        np.savez_compressed(
            self._directory / PLACES,
            version=np.int32(VERSION),
            boxes=np.asarray(self._boxes, np.int32),
            crops=np.asarray(self._crops, np.int32),
            settings=np.asarray(self._settings.model_dump_json()),
        )
        self._finished = True
        return {"places": PLACES, "masks": MASKS}, "landmarks" if self._parser is None else "parser"

    def close(self) -> None:
        """Remove what an unfinished writer wrote; nothing after `finish`."""
        if not self._finished:
            self._zip.close()
            (self._directory / MASKS).unlink(missing_ok=True)
            (self._directory / PLACES).unlink(missing_ok=True)


def _entry(stored: int) -> str:
    return f"{stored:08d}.png"


def _read_places(path: Path, count: int) -> tuple[list[Box], list[Box], Blending]:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            version = int(arrays["version"])
            if version != VERSION:
                raise Unprocessable(f"{path} has format {version}; this version reads {VERSION}")
            boxes, crops = (_boxes(path, name, arrays[name], count) for name in ("boxes", "crops"))
            settings = Blending.model_validate_json(str(arrays["settings"]))
    except ValidationError as error:
        raise Unprocessable(f"{path}: settings: {error.errors()[0]['msg']}") from error
    except (OSError, ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise Unprocessable(f"{path} is no file of boxes, crops and settings: {error}") from error
    return boxes, crops, settings


def _boxes(path: Path, name: str, array: NDArray[Any], count: int) -> list[Box]:
    if array.shape != (count, 4) or array.dtype != np.int32:
        raise Unprocessable(f"{path}: {name} is {array.dtype} {list(array.shape)}, int32 {[count, 4]} is needed")
    sides = array[:, 2:].astype(np.int64) - array[:, :2]
    wrong = np.nonzero(((sides < 1) | (sides > MAX_SIDE_PX) | (np.abs(array[:, :2]) > MAX_SIDE_PX)).any(1))[0]
    if len(wrong):
        found = array[wrong[0]].tolist()
        raise Unprocessable(f"{path}: {name}[{wrong[0]}] is {found}; sides of 1 to {MAX_SIDE_PX} pixels are allowed")
    return [(int(a), int(b), int(c), int(d)) for a, b, c, d in array]


def _read_masks(path: Path, crops: list[Box]) -> Iterator[NDArray[np.uint8]]:
    """The masks one by one, so that only what `place` keeps of them stays in memory."""
    try:
        with zipfile.ZipFile(path) as archive:
            for stored, crop in enumerate(crops):
                name = _entry(stored)
                try:
                    data = archive.read(name)
                except KeyError:
                    raise Unprocessable(f"{path}: mask {name} of frame {stored} is missing") from None
                yield _mask(path, name, data, (crop[2] - crop[0], crop[3] - crop[1]))
    except (OSError, zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
        raise Unprocessable(f"{path} is no archive of masks: {error}") from error


def _mask(path: Path, name: str, data: bytes, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Decode one PNG, whose header must name the size that is wanted before memory is spent on it."""
    if data[:8] != b"\x89PNG\r\n\x1a\n" or len(data) < PNG_HEADER_BYTES:
        raise Unprocessable(f"{path}: {name} is no PNG")
    found = struct.unpack(">II", data[16:PNG_HEADER_BYTES])
    if found != size:
        raise Unprocessable(f"{path}: {name} is {found[0]} x {found[1]}, its crop box is {size[0]} x {size[1]}")
    mask = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
    if mask is None:
        raise Unprocessable(f"{path}: {name} cannot be decoded")
    return np.asarray(mask, np.uint8)
