"""What the CPU engine needs of a tracked face, on disk: `face.npz`, as `avatarbuild/lite.py` writes it.

size      int32 [2]: of the patch, pixels
step      pixels between the nodes of the fields
field     float16 [2,h,w,2,17]: where skin goes with each channel at 1, and as the last what closes the mouth
lips      float32 [N,2,11,2]: inner edges of the lips in the patch
shift     float32 [N,2]: how far the corners of the mouth lie from where they are on average
skull     float32 [N,2]: how far the teeth do; avatars of before lack it
closing   float32 [N]: how much of the closing field closes the mouth
mouth     float32 [6]: `engines.lite.innermouth.Anatomy`
tone      float32 [2,3]: Y, U, V of the skin and of something white
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from errors import EngineError

VERSION = 1
WEIGHTS = 16
"""Mouth channels."""


def read_face(path: Path, count: int) -> dict[str, NDArray[Any]]:
    """The arrays of an avatar of `count` frames.

    Raises:
        EngineError: it is no such file, damaged, or does not fit.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {name: np.asarray(archive[name]) for name in archive.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise EngineError("lite", f"{path} cannot be read as a face: {error}", retryable=False) from error
    if int(arrays.get("version", np.int32(0))) != VERSION:
        raise EngineError("lite", f"{path} is no face of version {VERSION}", retryable=False)
    try:
        width, height = (int(n) for n in arrays["size"])
        step = int(arrays["step"])
        shapes = {
            "field": (2, height // step + 2, width // step + 2, 2, WEIGHTS + 1),
            "lips": (count, 2, 11, 2),
            "shift": (count, 2),
            "closing": (count,),
            "mouth": (6,),
            "tone": (2, 3),
        }
        if "skull" in arrays:
            shapes["skull"] = (count, 2)
        found = {name: arrays[name].shape for name in shapes}
    except (KeyError, ValueError, TypeError) as error:
        raise EngineError("lite", f"{path} is no face: {error} is missing or damaged", retryable=False) from error
    if found != shapes or any(not np.isfinite(arrays[name]).all() for name in shapes):
        raise EngineError("lite", f"{path} holds {found}, a face of {count} frames holds {shapes}", retryable=False)
    return arrays
