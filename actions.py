"""Custom actions: picture sequences, with sound or without, that play instead of the idle motion.

LiveTalking calls them `customvideo`; `/set_audiotype` starts one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import soundfile
import soxr

from errors import Unprocessable
from media import I420, SAMPLE_RATE_HZ, SAMPLES_PER_FRAME, SAMPLES_PER_UNIT, MediaUnit, Pcm, SpeechFrame, silent_frame
from reels import AHEAD, Reel
from reelstore import ReelStore

IDLE_AUDIOTYPE = 1  # replaces the idle motion for good; higher numbers play once
PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg")
PIECE = 6
"""Pictures of a long action that are decoded together."""


@dataclasses.dataclass(slots=True)
class Action:
    """One custom action of one session."""

    audiotype: int
    reel: Reel
    pcm: Pcm | None = None
    """16 kHz mono; the action lasts as long as this, or once through its pictures without it."""
    _position: int = 0

    def fresh(self) -> Action:
        """The same action from its beginning; pictures and sound are shared."""
        return dataclasses.replace(self, _position=0)

    @property
    def units(self) -> int | None:
        """Length in 40 ms units, None when it goes on until something else is asked for."""
        if self.audiotype <= IDLE_AUDIOTYPE:
            return None
        return self.reel.count if self.pcm is None else -(-len(self.pcm) // SAMPLES_PER_UNIT)

    def take(self, turn: int) -> MediaUnit | None:
        """The next 40 ms; None at the end."""
        if self.units is not None and self._position >= self.units:
            return None
        picture = self.reel.now(self._position % self.reel.count, (self._position + AHEAD) % self.reel.count)
        first, second = (self._speech(2 * self._position + k, turn) for k in (0, 1))
        self._position += 1
        return MediaUnit(picture, (first, second), turn, self._position - 1)

    def _speech(self, index: int, turn: int) -> SpeechFrame:
        if self.pcm is None or index * SAMPLES_PER_FRAME >= len(self.pcm):
            return silent_frame(turn)
        part = self.pcm[index * SAMPLES_PER_FRAME : (index + 1) * SAMPLES_PER_FRAME]
        return SpeechFrame(np.pad(part, (0, SAMPLES_PER_FRAME - len(part))), turn)


class PictureFolder:
    """Implements `reels.Footage`: the pictures of a folder in the order of their names, scaled to one size.

    Args:
        folder: holds .png or .jpg files.
        width, height: of the pictures, pixels, even.

    Raises:
        Unprocessable: there is no picture in it, or a file that is none.
    """

    def __init__(self, folder: Path, width: int, height: int) -> None:
        self.name = f"custom action {folder.name}"
        self.picture_bytes = width * height * 3 // 2
        self._size = width, height
        suffixed = folder.glob("*") if folder.is_dir() else ()
        self._paths = sorted(path for path in suffixed if path.suffix.lower() in PICTURE_SUFFIXES)
        if not self._paths:
            raise Unprocessable(f"custom action folder {folder.name!r} has no .png or .jpg pictures")
        for path in self._paths:
            if not cv2.haveImageReader(str(path)):
                raise _unreadable(path)

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self._paths)

    def whole(self) -> list[I420]:
        """All pictures.

        Raises:
            Unprocessable: one is damaged.
        """
        return [self._read(path) for path in self._paths]

    def pieces(self) -> Sequence[int]:
        """The first picture of each piece."""
        return range(0, self.count, PIECE)

    def load(self, piece: int) -> list[I420]:
        """The pictures of a piece.

        Raises:
            Unprocessable: one is damaged.
        """
        return [self._read(path) for path in self._paths[piece * PIECE : (piece + 1) * PIECE]]

    def _read(self, path: Path) -> I420:
        picture = cv2.imread(str(path))
        if picture is None:
            raise _unreadable(path)
        return np.asarray(cv2.cvtColor(cv2.resize(picture, self._size), cv2.COLOR_BGR2YUV_I420), np.uint8)


def _unreadable(path: Path) -> Unprocessable:
    return Unprocessable(f"custom action picture {path.name} in {path.parent.name} cannot be read")


def load_actions(
    items: list[dict[str, Any]], root: Path, width: int, height: int, store: ReelStore
) -> dict[int, Action]:
    """Load `[{audiotype, imgpath, audiopath?}]`: paths inside `root`, pictures scaled to the avatar's size.

    Long ones are decoded where they are shown (see `ReelStore`).

    Raises:
        Unprocessable: an item lacks a field, leaves `root`, or its files cannot be read.
    """
    actions = {}
    for item in items:
        try:
            audiotype, imgpath = int(item["audiotype"]), str(item["imgpath"])
        except (KeyError, TypeError, ValueError) as error:
            raise Unprocessable(f"custom action {item!r}: needs an integer audiotype and an imgpath") from error
        reel = store.reel(PictureFolder(_inside(root, imgpath), width, height))
        audiopath = item.get("audiopath")
        actions[audiotype] = Action(audiotype, reel, _load_sound(_inside(root, str(audiopath))) if audiopath else None)
    return actions


def _inside(root: Path, name: str) -> Path:
    path = (root / name).resolve()
    if not path.is_relative_to(root.resolve()):
        raise Unprocessable(f"custom action path {name!r} leaves {root}")
    return path


def _load_sound(path: Path) -> Pcm:
    try:
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, OSError) as error:
        raise Unprocessable(f"custom action sound {path.name} cannot be read: {error}") from error
    mono = samples.mean(axis=1)
    return np.asarray(soxr.resample(mono, rate, SAMPLE_RATE_HZ), np.float32)
