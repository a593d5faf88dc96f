"""Custom actions: picture sequences, with sound or without, that play instead of the idle motion.

LiveTalking calls them `customvideo`; `/set_audiotype` starts one.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import soundfile
import soxr

from errors import Unprocessable
from media import I420, SAMPLE_RATE_HZ, SAMPLES_PER_FRAME, SAMPLES_PER_UNIT, MediaUnit, Pcm, SpeechFrame, silent_frame

IDLE_AUDIOTYPE = 1  # replaces the idle motion for good; higher numbers play once
PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg")


@dataclasses.dataclass(slots=True)
class Action:
    """One custom action of one session."""

    audiotype: int
    frames: tuple[I420, ...]
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
        return len(self.frames) if self.pcm is None else -(-len(self.pcm) // SAMPLES_PER_UNIT)

    def take(self, turn: int) -> MediaUnit | None:
        """The next 40 ms; None at the end."""
        if self.units is not None and self._position >= self.units:
            return None
        picture = self.frames[self._position % len(self.frames)]
        first, second = (self._speech(2 * self._position + k, turn) for k in (0, 1))
        self._position += 1
        return MediaUnit(picture, (first, second), turn, self._position - 1)

    def _speech(self, index: int, turn: int) -> SpeechFrame:
        if self.pcm is None or index * SAMPLES_PER_FRAME >= len(self.pcm):
            return silent_frame(turn)
        part = self.pcm[index * SAMPLES_PER_FRAME : (index + 1) * SAMPLES_PER_FRAME]
        return SpeechFrame(np.pad(part, (0, SAMPLES_PER_FRAME - len(part))), turn)


def load_actions(items: list[dict[str, Any]], root: Path, width: int, height: int) -> dict[int, Action]:
    """Load `[{audiotype, imgpath, audiopath?}]`: paths inside `root`, pictures scaled to the avatar's size.

    Raises:
        Unprocessable: an item lacks a field, leaves `root`, or its files cannot be read.
    """
    actions = {}
    for item in items:
        try:
            audiotype, imgpath = int(item["audiotype"]), str(item["imgpath"])
        except (KeyError, TypeError, ValueError) as error:
            raise Unprocessable(f"custom action {item!r}: needs an integer audiotype and an imgpath") from error
        frames = _load_frames(_inside(root, imgpath), width, height)
        audiopath = item.get("audiopath")
        actions[audiotype] = Action(
            audiotype, frames, _load_sound(_inside(root, str(audiopath))) if audiopath else None
        )
    return actions


def _inside(root: Path, name: str) -> Path:
    path = (root / name).resolve()
    if not path.is_relative_to(root.resolve()):
        raise Unprocessable(f"custom action path {name!r} leaves {root}")
    return path


def _load_frames(folder: Path, width: int, height: int) -> tuple[I420, ...]:
    names = sorted(p for p in folder.glob("*") if p.suffix.lower() in PICTURE_SUFFIXES) if folder.is_dir() else []
    frames = []
    for path in names:
        picture = cv2.imread(str(path))
        if picture is None:
            raise Unprocessable(f"custom action picture {path.name} in {folder.name} cannot be read")
        frames.append(cv2.cvtColor(cv2.resize(picture, (width, height)), cv2.COLOR_BGR2YUV_I420).astype(np.uint8))
    if not frames:
        raise Unprocessable(f"custom action folder {folder.name!r} has no .png or .jpg pictures")
    return tuple(frames)


def _load_sound(path: Path) -> Pcm:
    try:
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, OSError) as error:
        raise Unprocessable(f"custom action sound {path.name} cannot be read: {error}") from error
    mono = samples.mean(axis=1)
    return np.asarray(soxr.resample(mono, rate, SAMPLE_RATE_HZ), np.float32)
