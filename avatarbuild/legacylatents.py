"""Reads `latents.pt` of MuseTalk's and LiveTalking's avatars, a list of tensors, without running any code of it."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from errors import Unprocessable

Latents = NDArray[np.float16]
AXES = (3, 4)
"""Of one entry: channels, rows, columns, perhaps behind a batch of 1."""


def read_latents(path: Path, entries: int, chosen: Sequence[int]) -> Latents:
    """float16 [len(chosen), channels, side, side]: the chosen ones of `entries` latents.

    Raises:
        Unprocessable: it cannot be read here, or holds something else; the message says what, without the path.
    """
    tensors = _list(path)
    if len(tensors) != entries:
        raise Unprocessable(f"it holds {len(tensors)} latents for {entries} pictures")
    first = tuple(getattr(tensors[0], "shape", ()))
    for number, tensor in enumerate(tensors):
        shape = tuple(getattr(tensor, "shape", ()))
        if shape != first or len(shape) not in AXES or (len(shape) == AXES[1] and shape[0] != 1):
            raise Unprocessable(
                f"entry {number} is {list(shape)}, entry 0 is {list(first)}; [1, channels, side, side] is needed"
            )
    result = np.stack([np.asarray(tensors[k].reshape(first[-3:]).half().numpy(), np.float16) for k in chosen])
    if not np.isfinite(result).all():
        raise Unprocessable("it holds a value that is not finite")
    return result


def _list(path: Path) -> list[Any]:
    try:
        import torch
    except ImportError:
        raise Unprocessable("reading it needs torch (`make musetalk`)") from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of an unusual pickle: it is read or refused either way
            found = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise Unprocessable("it is damaged, or holds more than tensors, which is refused") from error
    except Exception as error:  # bytes that are no pickle make the unpickler raise whatever they come to
        raise Unprocessable(f"it is damaged: {type(error).__name__}") from error
    if not isinstance(found, list | tuple) or not found:
        raise Unprocessable(f"it holds a {type(found).__name__}; a list of latents is needed")
    return list(found)
