"""`MuseModel`: faces and the sound of a moment in, faces with the mouth of that sound out."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from engines.musetalk.faces import FaceLatents, PrefixCache
from engines.musetalk.parts import TOKENS as TOKENS
from engines.musetalk.parts import Parts, load_parts
from engines.musetalk.parts import Precision as Precision
from engines.musetalk.parts import Quality as Quality
from engines.musetalk.runner import Acceleration, Runner, batch_sizes
from errors import BadRequest, Unprocessable

CACHE_MB = {"cuda": 4096, "cpu": 512}
"""Most memory for prefixes: at the published size 2,000 frames in 16 bits, 130 in fp32."""
CACHE_SHARE = 8
"""Of a GPU's free memory, at most one part in so many."""
MAX_BATCH = 256


class MuseModel:
    """The networks on one device. One thread at a time; nothing here knows of sessions.

    Args:
        parts: from `load_parts`; most callers use `load`.
        max_batch: most faces at a time, 1..256.
        acceleration: see `runner`.
        cache_mb: see `load`.

    Attributes:
        side: pixels of a face's side.
        latent_side: of its latents.
        latent_channels: of a face's latents, masked and whole.
        device: where all is.
        dtype: of weights and activations.

    Raises:
        BadRequest: an option that does not exist.
    """

    def __init__(
        self, parts: Parts, *, max_batch: int = 16, acceleration: Acceleration = "auto", cache_mb: int | None = None
    ) -> None:
        if not 1 <= max_batch <= MAX_BATCH:
            raise BadRequest(f"musetalk: max_batch {max_batch} is not in 1..{MAX_BATCH}")
        self.side, self.latent_side = parts.side, parts.latent_side
        self.device, self.dtype, self.max_batch = parts.device, parts.dtype, max_batch
        self.latent_channels = parts.unet.latent_channels
        self._parts = parts
        shape = (parts.unet.prefix_parts, parts.latent_side**2, parts.unet.channels)
        audio_shape = (TOKENS, parts.unet.audio_channels)
        self._runner = Runner(
            self._draw_batch, shape, audio_shape, batch_sizes(max_batch), parts.device, parts.dtype, acceleration
        )
        room = (_cache_mb(parts.device) if cache_mb is None else cache_mb) << 20
        slots = max(2 * max_batch, room // self._runner.prefix[0].nbytes)
        self._cache = PrefixCache(slots, shape, self._prefixes, parts.device, parts.dtype)
        self._landing: torch.Tensor | None = None

    @classmethod
    def load(
        cls,
        weights: str | Path,
        models: Path,
        *,
        device: str = "auto",
        precision: Precision = "auto",
        decoder: Quality = "sd-vae",
        max_batch: int = 16,
        acceleration: Acceleration = "auto",
        first_row: int = 0,
        cache_mb: int | None = None,
    ) -> MuseModel:
        """Read a checkpoint and put its networks on a device.

        Args:
            weights: `v15`, `v1`, `small`, or a directory (see `checkpoint`).
            models: the directory of all downloaded weights.
            device: `auto` (the first CUDA device, else the CPU), `cpu`, `cuda`, `cuda:1`, ...
            precision: `auto` is fp16 on CUDA, as MuseTalk itself runs (bf16 costs the same and is eight times
                coarser), and fp32 on a CPU; weights that overflow in fp16 get bf16.
            decoder: `sd-vae`, or `tiny`: a twentieth of its cost, softer teeth.
            max_batch: most faces at a time, 1..256.
            acceleration: see `runner`.
            first_row: first row of a face that is ever looked at, pixels; the tiny decoder draws no more than that.
            cache_mb: memory for what of the UNet the sound does not change; None: `CACHE_MB`, less on a small GPU.

        Raises:
            NotFound, Unprocessable: of the files; see `checkpoint`.
            BadRequest: an option that does not exist.
            Unavailable: the device is not there.
        """
        parts = load_parts(
            weights,
            Path(models),
            device=device,
            precision=precision,
            quality=decoder,
            first_row=first_row,
            may_fuse=acceleration in ("auto", "fused"),
        )
        if parts.fused:
            acceleration = "fused"
        elif acceleration == "fused" and parts.device.type == "cuda":
            acceleration = "graphs"
        return cls(parts, max_batch=max_batch, acceleration=acceleration, cache_mb=cache_mb)

    def encode(self, faces: NDArray[np.uint8]) -> NDArray[np.float16]:
        """Latents of faces, masked and whole; see `VaeEncoder.encode`.

        Args:
            faces: uint8 [B, side, side, 3], RGB.

        Returns:
            [B, latent_channels, latent_side, latent_side].

        Raises:
            BadRequest: faces of another shape.
        """
        if faces.ndim != 4 or faces.shape[1:] != (self.side, self.side, 3) or faces.dtype != np.uint8 or not len(faces):
            raise BadRequest(
                f"musetalk: faces are {faces.dtype} {list(faces.shape)}, must be uint8 [B, {self.side}, {self.side}, 3]"
            )
        return self._parts.encoder.encode(faces)

    def face(self, latents: NDArray[np.float16]) -> FaceLatents:
        """An avatar's latents on the device.

        Args:
            latents: [N, latent_channels, latent_side, latent_side], from `encode`.

        Raises:
            Unprocessable: of another shape (made for another checkpoint).
        """
        shape = (self.latent_channels, self.latent_side, self.latent_side)
        if latents.ndim != 4 or latents.shape[1:] != shape or not len(latents):
            raise Unprocessable(
                f"musetalk: latents are {list(latents.shape)}, must be [N, {', '.join(map(str, shape))}]"
            )
        tensor = torch.from_numpy(np.ascontiguousarray(latents)).to(self.device, self.dtype)
        return FaceLatents(tensor.contiguous(memory_format=torch.channels_last))

    def draw(self, items: Sequence[tuple[FaceLatents, int]], tokens: torch.Tensor) -> NDArray[np.uint8]:
        """Draw faces.

        Args:
            items: of each picture, whose face and which of its frames.
            tokens: [len(items), 50, audio channels], on any device.

        Returns:
            uint8 [len(items), side, side, 3], RGB; the caller's own.

        Raises:
            BadRequest: items and tokens do not fit each other or the network.
            IndexError: no such frame.
        """
        faces = np.empty((len(items), self.side, self.side, 3), np.uint8)
        for start, result in self._batches(items, tokens):
            self._bring(result, faces[start : start + len(result)])
        return faces

    def draw_on_device(self, items: Sequence[tuple[FaceLatents, int]], tokens: torch.Tensor) -> torch.Tensor:
        """As `draw`, but the faces stay where they are drawn: uint8 [len(items), side, side, 3], RGB."""
        return torch.cat([result.clone() for _, result in self._batches(items, tokens)])

    def _batches(
        self, items: Sequence[tuple[FaceLatents, int]], tokens: torch.Tensor
    ) -> Iterator[tuple[int, torch.Tensor]]:
        """Where each batch begins and its faces, which the next one overwrites."""
        wanted = (len(items), TOKENS, self._parts.unet.audio_channels)
        if tuple(tokens.shape) != wanted:
            raise BadRequest(f"musetalk: tokens are {list(tokens.shape)}, must be {list(wanted)}")
        for start in range(0, len(items), self.max_batch):
            part = slice(start, start + self.max_batch)
            with torch.no_grad(), self._current():
                result = self._draw(items[part], tokens[part])
            yield start, result

    def warm_up(self) -> None:
        """Run each batch size once, so that no session pays for it; on CUDA this captures the graphs."""
        with torch.no_grad(), self._current():
            self._runner.warm_up()

    def describe(self) -> dict[str, Any]:
        """What runs where, for `/metrics`, logs and `doctor`."""
        card = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else "CPU"
        return {
            "weights": self._parts.name,
            "device": card,
            "precision": self._parts.precision,
            "decoder": self._parts.quality,
            "acceleration": self._runner.mode,
            "side": self.side,
            "max_batch": self.max_batch,
            "prefix_hits": self._cache.hits,
            "prefix_misses": self._cache.misses,
            **self.memory(),
        }

    def memory(self) -> dict[str, int]:
        """Bytes of the weights for drawing, of the prefixes, and (CUDA) all that torch holds on the device."""
        parameters = [*self._parts.unet.parameters(), *self._parts.decoder.parameters()]
        sizes = {
            "weights_bytes": sum(parameter.nbytes for parameter in parameters),
            "cache_bytes": self._cache.bytes,
        }
        if self.device.type == "cuda":
            sizes["device_bytes"] = torch.cuda.memory_reserved(self.device)
        return sizes

    def _draw(self, items: Sequence[tuple[FaceLatents, int]], tokens: torch.Tensor) -> torch.Tensor:
        """One batch, on the device; the next one overwrites it."""
        for face, index in items:
            if not 0 <= index < len(face):
                raise IndexError(f"musetalk: frame {index} of a face of {len(face)}")
        count = len(items)
        self._cache.gather(items, self._runner.prefix[:count])
        self._runner.audio[:count].copy_(tokens, non_blocking=True)
        return self._runner.run(count)

    def _bring(self, result: torch.Tensor, faces: NDArray[np.uint8]) -> None:
        """Copy faces off the device."""
        if self.device.type != "cuda":
            faces[:] = result.numpy()
            return
        count = len(result)
        if self._landing is None:
            # Page-locked memory is copied to at the bus's full speed; taking it anew for each batch would cost more.
            shape = (self.max_batch, self.side, self.side, 3)
            self._landing = torch.empty(shape, dtype=torch.uint8, pin_memory=True)
        self._landing[:count].copy_(result, non_blocking=True)
        torch.cuda.current_stream(self.device).synchronize()
        faces[:] = self._landing[:count].numpy()

    def _current(self) -> contextlib.AbstractContextManager[Any]:
        """Makes the model's GPU the current one, as graphs and Triton's kernels want it."""
        return torch.cuda.device(self.device) if self.device.type == "cuda" else contextlib.nullcontext()

    def _draw_batch(self, prefix: torch.Tensor, audio: torch.Tensor) -> torch.Tensor:
        return self._parts.decoder(self._parts.unet(prefix, audio))

    def _prefixes(self, latents: torch.Tensor) -> torch.Tensor:
        """Prefixes of new frames, at one of the fixed sizes."""
        count = len(latents)
        short = self._runner.size_for(count) - count
        if short:
            latents = torch.cat([latents, latents[:1].expand(short, -1, -1, -1)])
        return self._parts.unet.prefix(latents.contiguous(memory_format=torch.channels_last))[:count]


def _cache_mb(device: torch.device) -> int:
    """How much memory prefixes may take."""
    if device.type != "cuda":
        return CACHE_MB["cpu"]
    free, _ = torch.cuda.mem_get_info(device)
    return min(CACHE_MB["cuda"], (free >> 20) // CACHE_SHARE)
