"""Where the generated face goes in every stored frame of an avatar, and through which mask; on disk and in memory.

    places.npz   the boxes of all stored frames (`PlaceFile`)
    masks.zip    their masks (`MaskFile`)

Masks are written and read frame by frame, so a long clip takes no more memory than a short one.
"""

from __future__ import annotations

import collections
import dataclasses
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import cv2
import numpy as np
from numpy.typing import NDArray

from avatar import Avatar
from engines.musetalk import box as geometry
from engines.musetalk import masks
from engines.musetalk.box import Blending, Box, crop_face
from engines.musetalk.maskfile import MaskFile, MaskWriter
from engines.musetalk.placefile import PlaceFile
from errors import Unprocessable

__all__ = ["Blending", "Box", "Parser", "Placement", "Places", "PlacesWriter", "crop_face"]

ENGINE = "musetalk"
PLACES, MASKS = "places.npz", "masks.zip"
KEPT_BYTES = 64 << 20
"""Of decoded masks, per avatar: all of a clip of half a minute, some seconds of a face that fills 1080 lines."""

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
    used = _shown(seen, (x1, y1))
    region = _even(used, width, height)
    kept = np.zeros((region[3] - region[1], region[2] - region[0]), np.uint8)
    if kept.size:
        at_y, at_x = used[1] - region[1], used[0] - region[0]
        rows, columns = slice(used[1] - y1, used[3] - y1), slice(used[0] - x1, used[2] - x1)
        kept[at_y : at_y + used[3] - used[1], at_x : at_x + used[2] - used[0]] = seen[rows, columns]
    kept.setflags(write=False)
    return Placement(box, crop, region, kept)


def _shown(mask: NDArray[np.uint8], origin: tuple[int, int]) -> Box:
    """The rectangle of what is not 0; all 0 where there is nothing. `origin` is where the mask's corner lies."""
    x, y, width, height = cv2.boundingRect(np.ascontiguousarray(mask)) if mask.size else (0, 0, 0, 0)
    return (origin[0] + x, origin[1] + y, origin[0] + x + width, origin[1] + y + height) if width else (0, 0, 0, 0)


def _even(box: Box, width: int, height: int) -> Box:
    """The rectangle inside the picture, widened to even sides."""
    x1, x2 = (min(max(box[k], 0), width) for k in (0, 2))
    y1, y2 = (min(max(box[k], 0), height) for k in (1, 3))
    return x1 & ~1, y1 & ~1, (x2 + 1) & ~1, (y2 + 1) & ~1


def _largest(regions: Sequence[Box]) -> tuple[int, int]:
    return max(y2 - y1 for _, y1, _, y2 in regions), max(x2 - x1 for x1, _, x2, _ in regions)


class Places:
    """The placements of all stored frames of an avatar. Immutable to its callers, and thread-safe.

    Attributes:
        boxes: int32 [N,4], the face boxes.
        settings: how the masks were made.
        largest: height and width that hold every frame's region, pixels.
    """

    def __init__(
        self,
        boxes: NDArray[np.int32],
        settings: Blending,
        largest: tuple[int, int],
        make: Callable[[int], Placement],
        kept_bytes: int = KEPT_BYTES,
    ) -> None:
        """`make` gives a frame's placement; masks up to `kept_bytes` in all are kept, those used last."""
        self.boxes = boxes
        self.settings = settings
        self.largest = largest
        self._make = make
        self._room = kept_bytes
        self._kept: collections.OrderedDict[int, Placement] = collections.OrderedDict()
        self._lock = threading.Lock()

    @classmethod
    def of(cls, placements: Sequence[Placement], settings: Blending) -> Places:
        """Those that are in memory already."""
        boxes = np.asarray([placement.box for placement in placements], np.int32)
        return cls(boxes, settings, _largest([placement.region for placement in placements]), placements.__getitem__)

    @classmethod
    def load(cls, avatar: Avatar) -> Places:
        """Read what the avatar's card names; masks are decoded when they are first used.

        Raises:
            Unprocessable: the avatar has no such files, or one is damaged or does not fit the avatar.
        """
        path = avatar.engine_file(ENGINE, "places")
        file = PlaceFile.read(path, avatar.count)
        masks = MaskFile(avatar.engine_file(ENGINE, "masks"), file.crops)
        size = avatar.width, avatar.height

        def make(stored: int) -> Placement:
            return place(file.boxes[stored], file.crops[stored], masks.read(stored), *size)

        if file.shown is None:  # an avatar of before
            regions = [make(stored).region for stored in range(avatar.count)]
        else:
            regions = [_even(shown, *size) for shown in file.shown]
        return cls(np.asarray(file.boxes, np.int32), file.settings, _largest(regions), make)

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, stored: int) -> Placement:
        with self._lock:
            kept = self._kept.get(stored)
            if kept is not None:
                self._kept.move_to_end(stored)
                return kept
        made = self._make(stored)
        with self._lock:
            if stored not in self._kept:
                self._kept[stored] = made
                self._room -= made.mask.nbytes
            while self._room < 0:
                self._room += self._kept.popitem(last=False)[1].mask.nbytes
        return made


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
        self._shown: list[Box] = []
        self._finished = False
        self._masks = MaskWriter(directory / MASKS)
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
            self._masks.repeat()
            for boxes in (self._boxes, self._crops, self._shown):
                boxes.append(boxes[-1])
            return self._boxes[-1]
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
        x1, y1, x2, y2 = (max(box[k], crop[k]) if k < 2 else min(box[k], crop[k]) for k in range(4))
        inside = mask[y1 - crop[1] : max(y2 - crop[1], 0), x1 - crop[0] : max(x2 - crop[0], 0)]
        self._masks.add(mask)
        self._boxes.append(box)
        self._crops.append(crop)
        self._shown.append(_shown(inside, (x1, y1)))
        return box

    def finish(self) -> tuple[dict[str, str], Origin]:
        """Complete both files: their names as the card's `engines.musetalk` has them, and what masks were made from.

        Raises:
            Unprocessable: there was no frame.
        """
        if not self._boxes:
            raise Unprocessable(f"{self._directory / PLACES}: there is no frame to place a face in")
        self._masks.close()
        PlaceFile(self._boxes, self._crops, self._shown, self._settings).write(self._directory / PLACES)
        self._finished = True
        return {"places": PLACES, "masks": MASKS}, "landmarks" if self._parser is None else "parser"

    def close(self) -> None:
        """Remove what an unfinished writer wrote; nothing after `finish`."""
        if not self._finished:
            self._masks.close()
            (self._directory / MASKS).unlink(missing_ok=True)
            (self._directory / PLACES).unlink(missing_ok=True)
