"""Takes over avatars as MuseTalk and LiveTalking leave them on disk.

    full_imgs/00000000.png ...  the pictures, in the order of the numbers that name them
    coords.pkl                  per picture [x1, y1, x2, y2]: the face box; (0, 0, 0, 0) where no face was found
    mask_coords.pkl             per picture [x1, y1, x2, y2]: the crop box, which may leave the picture
    mask/00000000.png ...       per picture the blending mask, the size of its crop box
    latents.pt                  optional: per picture [1, 8, 32, 32]: masked and whole face as the VAE sees them
    avator_info.json            optional; `bbox_shift` and `version`

LiveTalking stores N of each and plays them there and back; MuseTalk stores the way back as well, 2N of each, of which
the second half is left out here. Boxes, masks and latents are kept as they are; what they lack, the face is followed
for. Latents that cannot be read are made anew by the engine, as are those that turn out to be of another model.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import cv2
import numpy as np
from numpy.typing import NDArray

from avatar import MAX_FRAMES, MAX_SIDE, AvatarInfo
from avatarbuild.assemble import Assembler, BuildOptions, Report, in_workspace
from avatarbuild.boxpickle import read_boxes
from avatarbuild.detector import Rgb
from avatarbuild.legacylatents import Latents, read_latents
from avatarbuild.photos import read_picture
from avatarbuild.source import flattened
from avatarbuild.track import FloatArray, seconds
from avatarbuild.tracker import TrackOptions
from engines.musetalk.box import PRESETS, Blending, Box
from engines.musetalk.latents import PART
from engines.musetalk.place import PlacesWriter
from errors import NotFound, Unprocessable

PICTURES, MASKS, COORDS, MASK_COORDS = "full_imgs", "mask", "coords.pkl", "mask_coords.pkl"
LATENTS, INFO = "latents.pt", "avator_info.json"
KEPT_LATENTS = "latents.npy"
SUFFIXES = (".png", ".jpg", ".jpeg")
INFO_BYTES_MAX = 1 << 16
BACKGROUND = (128, 128, 128)


def take_over(
    directory: Path, avatar_id: str, root: Path, options: BuildOptions | None = None, progress: Report = lambda _: None
) -> AvatarInfo:
    """Make `root/avatar_id` of another program's avatar; blocks. The original is only read.

    Raises:
        BadRequest: the id is not one.
        Conflict: there is such an avatar.
        NotFound: `directory` or one of its files is missing.
        Unprocessable: a file is damaged or does not fit the others; the message says which and where.
        Unavailable: the disk is full.
    """
    options = dataclasses.replace(options or BuildOptions(), track=TrackOptions(largest=True))

    def make(to: Path) -> AvatarInfo:
        legacy = Legacy.open(directory)
        assembler = Assembler(directory.name, avatar_id, to, options, progress)
        return assembler.run(legacy, lambda: _Placed(legacy, to), face_needed=False)

    return in_workspace(root, avatar_id, options.force, make)


@dataclasses.dataclass(frozen=True)
class Legacy:
    """Another program's avatar, checked, as a `Source`; its pictures and masks are read when they are needed."""

    directory: Path
    paths: list[Path]
    """Of the pictures, without the way back."""
    masks: list[Path]
    boxes: list[Box]
    crops: list[Box]
    settings: Blending
    width: int
    height: int
    """Even: a last odd column or row is left out."""
    notes: list[str]
    latents: Latents | None = None
    is_still: bool = False

    @property
    def expected(self) -> int:
        """How many pictures there are."""
        return len(self.paths)

    @classmethod
    def open(cls, directory: Path) -> Legacy:
        """Read the lists and compare them; pictures and masks are only counted."""
        if not directory.is_dir():
            raise NotFound(f"{directory} is no folder; one with {PICTURES}/ and {COORDS} is needed")
        _refuse_others(directory)
        paths, masks = _numbered(directory / PICTURES), _numbered(directory / MASKS)
        boxes, crops = read_boxes(directory / COORDS), read_boxes(directory / MASK_COORDS)
        counts = {PICTURES: len(paths), MASKS: len(masks), COORDS: len(boxes), MASK_COORDS: len(crops)}
        if len(set(counts.values())) > 1:
            missing = _first_gap(paths, masks)
            found = ", ".join(f"{name} {count}" for name, count in counts.items())
            raise Unprocessable(f"{directory.name}: entries do not match: {found}{missing}")
        notes = []
        entries = len(paths)
        if _is_there_and_back(paths, boxes, crops):
            half = len(paths) // 2
            notes.append(f"the second {half} of {2 * half} pictures are the way back and are left out")
            paths, masks, boxes, crops = paths[:half], masks[:half], boxes[:half], crops[:half]
        if len(paths) > MAX_FRAMES:
            raise Unprocessable(f"{directory.name} has {len(paths)} pictures; at most {MAX_FRAMES} are taken")
        whole, held = _filled(directory, boxes)
        crops = [crops[at] for at in held]
        masks = [masks[at] for at in held]
        for k in (k for k, at in enumerate(held) if at != k):
            notes.append(f"{COORDS} has no face in {seconds(k)}; it takes the place of {seconds(held[k])}")
        latents: Latents | None = None
        if (directory / LATENTS).is_file():
            try:
                latents = read_latents(directory / LATENTS, entries, held)
            except Unprocessable as error:
                notes.append(f"{LATENTS} is not used: {error}; the engine computes latents anew")
        height, width = read_picture(paths[0]).shape[:2]
        if max(width, height) > MAX_SIDE:
            raise Unprocessable(f"{paths[0]} is {width} x {height} pixels; at most {MAX_SIDE} a side are taken")
        even = width // 2 * 2, height // 2 * 2
        return cls(directory, paths, masks, whole, crops, _settings(directory), *even, notes, latents)

    def pictures(self) -> Iterator[Rgb]:
        """uint8 [H,W,3] each."""
        first: tuple[int, ...] | None = None
        for path in self.paths:
            picture = read_picture(path)
            first = first or picture.shape[:2]
            if picture.shape[:2] != first:
                found, wanted = (f"{w} x {h}" for h, w in (picture.shape[:2], first))
                raise Unprocessable(f"{path} is {found} pixels, the first one is {wanted}; all must be equal")
            if picture.shape[2] == 4:
                picture = flattened(picture, BACKGROUND)
            yield np.ascontiguousarray(picture[: self.height, : self.width])

    def mask(self, number: int) -> NDArray[np.uint8]:
        """uint8 [h,w]: the mask of a picture, the size of its crop box."""
        path, crop = self.masks[number], self.crops[number]
        mask = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        if mask is None:
            raise Unprocessable(f"{path} is no picture that can be read, or is damaged")
        wanted = (crop[3] - crop[1], crop[2] - crop[0])
        if mask.shape != wanted:
            found = f"{mask.shape[1]} x {mask.shape[0]}"
            raise Unprocessable(
                f"{path} is {found} pixels, entry {number} of {MASK_COORDS} is {list(crop)}: {wanted[1]} x {wanted[0]}"
            )
        return np.asarray(mask, np.uint8)


class _Placed:
    """A `Placer` that takes boxes and masks as they are."""

    def __init__(self, legacy: Legacy, to: Path) -> None:
        self._legacy = legacy
        self._to = to
        self._writer = PlacesWriter(to, legacy.settings)
        self._count = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.close()

    def add(self, landmarks: FloatArray, frame_rgb: Rgb) -> object:
        """Place the next frame."""
        number, self._count = self._count, self._count + 1
        legacy = self._legacy
        return self._writer.put(legacy.boxes[number], legacy.crops[number], legacy.mask(number))

    def finish(self) -> tuple[dict[str, str], Literal["landmarks", "parser"]]:
        """Complete the files; both programs make their masks with the face parser."""
        parts, _ = self._writer.finish()
        if self._legacy.latents is not None:
            np.save(self._to / KEPT_LATENTS, self._legacy.latents)
            parts[PART] = KEPT_LATENTS
        return parts, "parser"


def _refuse_others(directory: Path) -> None:
    for name in (PICTURES, COORDS):
        if not (directory / name).exists():
            raise NotFound(f"{directory / name} is missing; a MuseTalk or LiveTalking avatar has it")
    if not (directory / MASK_COORDS).exists() and (directory / "face_imgs").is_dir():
        pictures = directory / PICTURES
        raise Unprocessable(
            f"{directory.name} is an avatar for wav2lip or ultralight, which hold no masks; "
            f"make one of its pictures: python app.py avatar build {pictures} --avatar_id {directory.name}"
        )
    for name in (MASK_COORDS, MASKS):
        if not (directory / name).exists():
            raise NotFound(f"{directory / name} is missing; a MuseTalk or LiveTalking avatar has it")


def _numbered(directory: Path) -> list[Path]:
    """Pictures whose name is a number, by that number."""
    return sorted(
        (path for path in directory.iterdir() if path.suffix.lower() in SUFFIXES and path.stem.isdigit()),
        key=lambda path: int(path.stem),
    )


def _first_gap(paths: list[Path], masks: list[Path]) -> str:
    """Which mask is missing, for the message."""
    there = {int(path.stem) for path in masks}
    gone = next((path for path in paths if int(path.stem) not in there), None)
    return f"; {MASKS}/{gone.stem}.png is missing" if gone is not None else ""


def _is_there_and_back(paths: list[Path], boxes: list[Box], crops: list[Box]) -> bool:
    """Whether the second half is the first one backwards: boxes, and at three places the pictures themselves."""
    count = len(paths)
    if count < 2 or count % 2 or boxes != boxes[::-1] or crops != crops[::-1]:
        return False
    return all(paths[k].read_bytes() == paths[count - 1 - k].read_bytes() for k in {0, count // 4, count // 2 - 1})


def _filled(directory: Path, boxes: list[Box]) -> tuple[list[Box], list[int]]:
    """Boxes with the empty ones replaced by the nearest that is not, and whose place each took."""
    good = [k for k, (x1, y1, x2, y2) in enumerate(boxes) if x2 > x1 and y2 > y1]
    if not good:
        raise Unprocessable(f"{directory / COORDS}: none of {len(boxes)} boxes holds a face")
    held = [min(good, key=lambda at, k=k: (abs(at - k), at)) for k in range(len(boxes))]  # type: ignore[misc]
    return [boxes[at] for at in held], held


def _settings(directory: Path) -> Blending:
    """What the masks were made with, as far as the avatar says; it is recorded, not applied again."""
    try:
        with (directory / INFO).open("rb") as file:
            info: Any = json.loads(file.read(INFO_BYTES_MAX))
    except (OSError, ValueError):
        return PRESETS["v15"]
    said = info if isinstance(info, dict) else {}
    preset = PRESETS["v1"] if said.get("version") == "v1" else PRESETS["v15"]
    shift = said.get("bbox_shift", 0)
    known = isinstance(shift, int | float) and math.isfinite(shift) and abs(shift) <= 200
    return preset.model_copy(update={"bbox_shift": int(shift)}) if known else preset
