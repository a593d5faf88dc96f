"""`PlaceFile`: where the faces of an avatar go, on disk: `places.npz`.

version   of the format
boxes     int32 [N,4]: the face boxes
crops     int32 [N,4]: the crop boxes
shown     int32 [N,4]: the rectangle outside of which the mask is 0; avatars of before lack it
settings  JSON of `Blending`
"""

from __future__ import annotations

import dataclasses
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from engines.musetalk.box import Blending, Box
from errors import Unprocessable

VERSION = 1
MAX_SIDE_PX = 1 << 14
"""Of a crop box: what the largest picture and expansion give."""


@dataclasses.dataclass(frozen=True, slots=True)
class PlaceFile:
    """What the file holds."""

    boxes: Sequence[Box]
    crops: Sequence[Box]
    shown: Sequence[Box] | None
    settings: Blending

    @classmethod
    def read(cls, path: Path, count: int) -> PlaceFile:
        """Of an avatar of `count` frames.

        Raises:
            Unprocessable: it is no such file, damaged, or does not fit.
        """
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                version = int(arrays["version"])
                if version != VERSION:
                    raise Unprocessable(f"{path} has format {version}; this version reads {VERSION}")
                boxes, crops = (_boxes(path, name, arrays[name], count) for name in ("boxes", "crops"))
                shown = _boxes(path, "shown", arrays["shown"], count, least=0) if "shown" in arrays else None
                settings = Blending.model_validate_json(str(arrays["settings"]))
        except ValidationError as error:
            raise Unprocessable(f"{path}: settings: {error.errors()[0]['msg']}") from error
        except (OSError, ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise Unprocessable(f"{path} is no file of boxes, crops and settings: {error}") from error
        return cls(boxes, crops, shown, settings)

    def write(self, path: Path) -> None:
        """Equal content gives equal files."""
        lists = {"boxes": self.boxes, "crops": self.crops, "shown": self.shown}
        arrays: dict[str, Any] = {name: np.asarray(boxes, np.int32) for name, boxes in lists.items() if boxes}
        settings = np.asarray(self.settings.model_dump_json())
        np.savez_compressed(path, version=np.int32(VERSION), settings=settings, **arrays)


def _boxes(path: Path, name: str, array: NDArray[Any], count: int, least: int = 1) -> list[Box]:
    if array.shape != (count, 4) or array.dtype != np.int32:
        raise Unprocessable(f"{path}: {name} is {array.dtype} {list(array.shape)}, int32 {[count, 4]} is needed")
    sides = array[:, 2:].astype(np.int64) - array[:, :2]
    wrong = np.nonzero(((sides < least) | (sides > MAX_SIDE_PX) | (np.abs(array[:, :2]) > MAX_SIDE_PX)).any(1))[0]
    if len(wrong):
        found = array[wrong[0]].tolist()
        raise Unprocessable(
            f"{path}: {name}[{wrong[0]}] is {found}; sides of {least} to {MAX_SIDE_PX} pixels are allowed"
        )
    return [(int(a), int(b), int(c), int(d)) for a, b, c, d in array]
