"""Faces on the device: an avatar's latents, and what of the UNet was computed of them already."""

from __future__ import annotations

import collections
import itertools
from collections.abc import Callable, Sequence

import torch

_numbers = itertools.count()


class FaceLatents:
    """One avatar's latents on the device (16 KB a frame at the published size).

    Args:
        latents: [N, channels, s, s] on the device, in the network's type.
    """

    def __init__(self, latents: torch.Tensor) -> None:
        self.latents = latents
        self.number = next(_numbers)
        """Tells this avatar from every other of the process, also from one that was freed."""

    def __len__(self) -> int:
        """Frames."""
        return len(self.latents)


class PrefixCache:
    """Keeps the UNet's `prefix` of the frames drawn last, in one block of device memory.

    Args:
        slots: frames it holds; at least a batch.
        shape: of one frame's prefix, [parts, s*s, channels].
        compute: latents [B, channels, s, s] -> prefixes [B, *shape].
        device: where it lies.
        dtype: of the prefixes.
    """

    def __init__(
        self,
        slots: int,
        shape: tuple[int, ...],
        compute: Callable[[torch.Tensor], torch.Tensor],
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        self._slab = torch.empty((slots, *shape), device=device, dtype=dtype)
        self._compute = compute
        self._places: collections.OrderedDict[tuple[int, int], int] = collections.OrderedDict()
        self.hits = 0
        self.misses = 0

    @property
    def slots(self) -> int:
        """Frames it can hold."""
        return len(self._slab)

    @property
    def bytes(self) -> int:
        """Device memory it takes, empty or full."""
        return self._slab.nbytes

    def gather(self, items: Sequence[tuple[FaceLatents, int]], out: torch.Tensor) -> None:
        """Write the prefix of each (face, frame) to `out`, computing those that are not held.

        Args:
            items: at most `slots`.
            out: [len(items), *shape].
        """
        wanted = {(face.number, index): (face, index) for face, index in items}
        new = [key for key in wanted if key not in self._places]
        for key in wanted:
            if key in self._places:
                self._places.move_to_end(key)
        self.hits += len(wanted) - len(new)
        self.misses += len(new)
        if new:
            latents = torch.stack([wanted[key][0].latents[wanted[key][1]] for key in new])
            prefixes = self._compute(latents)
            places = torch.tensor([self._place(key) for key in new], device=self._slab.device)
            self._slab.index_copy_(0, places, prefixes)
        places = torch.tensor([self._places[(face.number, index)] for face, index in items], device=self._slab.device)
        torch.index_select(self._slab, 0, places, out=out)

    def _place(self, key: tuple[int, int]) -> int:
        """A slot for a new frame: a free one, else that of the frame drawn longest ago."""
        if len(self._places) < self.slots:
            slot = len(self._places)
        else:
            _, slot = self._places.popitem(last=False)
        self._places[key] = slot
        return slot
