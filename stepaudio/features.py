"""What the linguistic encoder hears: Paraformer's filter bank in stacks of seven frames, portion by portion.

`FrontEnd` computes what FunASR's `WavFrontendOnline` does, without its dither: the same sound has the same codes.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from errors import NotFound, Unprocessable
from kaldi import BANDS, HAMMING, HOP, WINDOW, filter_bank
from media import Pcm

STACKED = 7
"""Frames of 10 ms that are heard as one, three of them before and three behind."""
STEP = 6
"""From one stack to the next: 60 ms, 16.67 a second."""
FULL_SCALE = np.float32(1 << 15)
"""The filter bank was learned on 16-bit numbers."""

Features = NDArray[np.float32]
"""[stacks, STACKED * BANDS]."""


@dataclasses.dataclass(frozen=True, slots=True)
class Normalisation:
    """The mean and scale of every feature."""

    shift: NDArray[np.float32]
    """[STACKED * BANDS], added."""
    scale: NDArray[np.float32]
    """[STACKED * BANDS], multiplied with then."""


def read_normalisation(path: Path, command: str) -> Normalisation:
    """FunASR's `am.mvn`: a text of Kaldi's, whose `AddShift` and `Rescale` hold one number for each feature.

    Raises:
        NotFound: it is not there.
        Unprocessable: it is not such a file.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError as error:
        raise NotFound(f"{path} is not there; to get it: {command}") from error
    except (OSError, ValueError) as error:
        raise Unprocessable(f"{path} cannot be read: {error}; to get it again: {command}") from error
    found = {}
    for line, numbers in zip(lines, lines[1:], strict=False):
        for name in ("AddShift", "Rescale"):
            if line.startswith(f"<{name}>"):
                found[name] = _numbers(numbers, path, command)
    if set(found) != {"AddShift", "Rescale"}:
        raise Unprocessable(f"{path} has no <AddShift> and <Rescale>; to get it again: {command}")
    return Normalisation(found["AddShift"], found["Rescale"])


def _numbers(line: str, path: Path, command: str) -> NDArray[np.float32]:
    """Those between the brackets of `<LearnRateCoef> 0 [ ... ]`."""
    inside = line.partition("[")[2].rpartition("]")[0]
    try:
        numbers = np.asarray([float(word) for word in inside.split()], np.float32)
    except ValueError as error:
        raise Unprocessable(f"{path} is damaged: {error}; to get it again: {command}") from error
    if len(numbers) != STACKED * BANDS or not np.isfinite(numbers).all():
        raise Unprocessable(
            f"{path} has {len(numbers)} numbers where {STACKED * BANDS} must be; to get it again: {command}"
        )
    return numbers


class FrontEnd:
    """The features of one stream of sound."""

    def __init__(self, normalisation: Normalisation) -> None:
        self._normalisation = normalisation
        self._samples: Pcm = np.zeros(0, np.float32)
        """From the first frame on that is not whole yet."""
        self._frames = np.zeros((0, BANDS), np.float32)
        """From the first on that the next stack holds."""
        self._begun = False

    def feed(self, pcm: Pcm, last: bool = False) -> Features:
        """The stacks that are whole now; with the last sound also the one that ends in repeated frames.

        Args:
            pcm: at 16 kHz, -1..1; any length.
            last: whether nothing follows.
        """
        self._take(pcm)
        frames = self._frames
        count = (len(frames) - STACKED) // STEP + 1 if len(frames) >= STACKED else 0
        if last:
            count = max(0, -(-(len(frames) - STACKED // 2) // STEP))
        if not count:
            return np.zeros((0, STACKED * BANDS), np.float32)
        index = STEP * np.arange(count)[:, None] + np.arange(STACKED)
        stacks = frames[np.minimum(index, len(frames) - 1)].reshape(count, -1)
        self._frames = frames[STEP * count :]
        return (stacks + self._normalisation.shift) * self._normalisation.scale

    def _take(self, pcm: Pcm) -> None:
        samples = np.concatenate((self._samples, pcm))
        count = (len(samples) - WINDOW) // HOP + 1 if len(samples) >= WINDOW else 0
        self._samples = samples[count * HOP :]
        if not count:
            return
        frames = filter_bank(samples[: (count - 1) * HOP + WINDOW] * FULL_SCALE, HAMMING)
        if not self._begun:  # the first frame stands for those before it
            frames = np.concatenate((np.repeat(frames[:1], STACKED // 2, 0), frames))
            self._begun = True
        self._frames = np.concatenate((self._frames, frames))
