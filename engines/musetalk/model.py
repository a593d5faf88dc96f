"""`MuseModel`: faces and the sound of a moment in, faces with the mouth of that sound out."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from engines.musetalk import norms
from engines.musetalk.checkpoint import find, is_published, load_tiny, load_unet, load_vae
from engines.musetalk.decoder import Decoder, TinyDecoder, VaeDecoder
from engines.musetalk.encoder import VaeEncoder
from engines.musetalk.faces import FaceLatents, PrefixCache
from engines.musetalk.runner import Acceleration, Runner, batch_sizes
from engines.musetalk.unet import FoldedUNet
from errors import BadRequest, Unavailable, Unprocessable

log = logging.getLogger(__name__)

TOKENS = 50
"""Audio vectors a picture: 10 rows of 20 ms times 5 layers of Whisper."""
PUBLISHED_SIDE = 256
"""Pixels; what MuseTalk was trained at, whatever a copy of the VAE's config says."""
CACHE_MB = {"cuda": 4096, "cpu": 512}
"""Memory for prefixes: at the published size 2,000 frames in 16 bits, 130 in fp32."""
MAX_BATCH = 256

Precision = Literal["auto", "fp32", "bf16", "fp16"]
Quality = Literal["sd-vae", "tiny"]
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class MuseModel:
    """The networks on one device. One thread at a time; nothing here knows of sessions.

    Made by `load`.
    """

    side: int
    """Pixels of a face's side."""
    latent_side: int
    latent_channels: int
    """Of a face's latents: masked and whole."""

    def __init__(
        self,
        name: str,
        unet: FoldedUNet,
        encoder: VaeEncoder,
        decoder: Decoder,
        *,
        side: int,
        latent_side: int,
        device: torch.device,
        dtype: torch.dtype,
        quality: Quality,
        max_batch: int,
        acceleration: Acceleration,
        cache_mb: int,
    ) -> None:
        self.name, self.side, self.latent_side = name, side, latent_side
        self.device, self.dtype, self.quality, self.max_batch = device, dtype, quality, max_batch
        self.latent_channels = unet.latent_channels
        self._unet, self._encoder, self._decoder = unet, encoder, decoder
        shape = (unet.prefix_parts, latent_side**2, unet.channels)
        self._runner = Runner(
            self._draw_batch, shape, (TOKENS, unet.audio_channels), batch_sizes(max_batch), device, dtype, acceleration
        )
        frame_bytes = self._runner.prefix[0].nbytes
        slots = max(2 * max_batch, (cache_mb << 20) // frame_bytes)
        self._cache = PrefixCache(slots, shape, self._prefixes, device, dtype)
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
                coarser), and fp32 on a CPU.
            decoder: `sd-vae`, or `tiny`: a twentieth of its cost, softer teeth.
            max_batch: most faces at a time, 1..256.
            acceleration: see `runner`.
            first_row: first row of a face that is ever looked at, pixels; the tiny decoder draws no more than that.
            cache_mb: memory for what of the UNet the sound does not change; None: `CACHE_MB`.

        Raises:
            NotFound, Unprocessable: of the files; see `checkpoint`.
            BadRequest: an option that does not exist.
            Unavailable: the device is not there.
        """
        place = _device(device)
        dtype = _dtype(precision, place)
        if decoder not in get_args(Quality) or not 1 <= max_batch <= MAX_BATCH:
            raise BadRequest(
                f"musetalk: decoder {decoder!r} (of {', '.join(get_args(Quality))}), max_batch {max_batch}"
                f" (1 to {MAX_BATCH})"
            )
        files = find(weights, Path(models))
        with torch.no_grad():
            vae = load_vae(files)
            side, latent_side = _sides(vae)
            if not 0 <= first_row < side:
                raise BadRequest(f"musetalk: first_row {first_row} is not in 0..{side - 1}")
            raw = load_unet(files)
            _check_fit(raw, vae, latent_side)
            encoder = VaeEncoder(vae, place)
            drawer: Decoder = (
                TinyDecoder(load_tiny(files), place, dtype, first_row)
                if decoder == "tiny"
                else VaeDecoder(vae, place, dtype)
            )
            unet = FoldedUNet(raw, place, dtype)
            if acceleration in ("auto", "fused") and norms.works(place, dtype):
                unet.fuse_norms()
                drawer.fuse_norms()
                acceleration = "fused"
            elif acceleration == "fused" and place.type == "cuda":
                acceleration = "graphs"
        return cls(
            files.name,
            unet,
            encoder,
            drawer,
            side=side,
            latent_side=latent_side,
            device=place,
            dtype=dtype,
            quality=decoder,
            max_batch=max_batch,
            acceleration=acceleration,
            cache_mb=CACHE_MB["cuda" if place.type == "cuda" else "cpu"] if cache_mb is None else cache_mb,
        )

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
        return self._encoder.encode(faces)

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
        wanted = (len(items), TOKENS, self._unet.audio_channels)
        if tuple(tokens.shape) != wanted:
            raise BadRequest(f"musetalk: tokens are {list(tokens.shape)}, must be {list(wanted)}")
        faces = np.empty((len(items), self.side, self.side, 3), np.uint8)
        with torch.no_grad():
            for start in range(0, len(items), self.max_batch):
                part = slice(start, start + self.max_batch)
                self._draw(items[part], tokens[part], faces[part])
        return faces

    def warm_up(self) -> None:
        """Run each batch size once, so that no session pays for it; on CUDA this captures the graphs."""
        with torch.no_grad():
            self._runner.warm_up()

    def describe(self) -> dict[str, Any]:
        """What runs where, for `/metrics`, logs and `doctor`."""
        card = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else "CPU"
        return {
            "weights": self.name,
            "device": card,
            "precision": next(name for name, dtype in _DTYPES.items() if dtype == self.dtype),
            "decoder": self.quality,
            "acceleration": self._runner.mode,
            "side": self.side,
            "max_batch": self.max_batch,
            "prefix_hits": self._cache.hits,
            "prefix_misses": self._cache.misses,
            **self.memory(),
        }

    def memory(self) -> dict[str, int]:
        """Bytes of the weights for drawing, of the prefixes, and (CUDA) all that torch holds on the device."""
        parameters = [*self._unet.parameters(), *self._decoder.parameters()]
        sizes = {
            "weights_bytes": sum(parameter.nbytes for parameter in parameters),
            "cache_bytes": self._cache.bytes,
        }
        if self.device.type == "cuda":
            sizes["device_bytes"] = torch.cuda.memory_reserved(self.device)
        return sizes

    def _draw(self, items: Sequence[tuple[FaceLatents, int]], tokens: torch.Tensor, faces: NDArray[np.uint8]) -> None:
        """One batch into `faces`."""
        for face, index in items:
            if not 0 <= index < len(face):
                raise IndexError(f"musetalk: frame {index} of a face of {len(face)}")
        count = len(items)
        self._cache.gather(items, self._runner.prefix[:count])
        self._runner.audio[:count].copy_(tokens, non_blocking=True)
        result = self._runner.run(count)
        if self.device.type != "cuda":
            faces[:] = result.numpy()
            return
        if self._landing is None:
            # Page-locked memory is copied to at the bus's full speed; taking it anew for each batch would cost more.
            shape = (self.max_batch, self.side, self.side, 3)
            self._landing = torch.empty(shape, dtype=torch.uint8, pin_memory=True)
        self._landing[:count].copy_(result, non_blocking=True)
        torch.cuda.current_stream(self.device).synchronize()
        faces[:] = self._landing[:count].numpy()

    def _draw_batch(self, prefix: torch.Tensor, audio: torch.Tensor) -> torch.Tensor:
        return self._decoder(self._unet(prefix, audio))

    def _prefixes(self, latents: torch.Tensor) -> torch.Tensor:
        """Prefixes of new frames, at one of the fixed sizes."""
        count = len(latents)
        short = self._runner.size_for(count) - count
        if short:
            latents = torch.cat([latents, latents[:1].expand(short, -1, -1, -1)])
        return self._unet.prefix(latents.contiguous(memory_format=torch.channels_last))[:count]


def _device(name: str) -> torch.device:
    """The device of that name.

    Raises:
        BadRequest: no such kind of device.
        Unavailable: it is not in this machine.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise BadRequest(f"musetalk: device {name!r} is not auto, cpu, cuda or cuda:N") from error
    if device.type == "cuda" and (not torch.cuda.is_available() or (device.index or 0) >= torch.cuda.device_count()):
        raise Unavailable(
            f"musetalk: device {name!r} is not there; torch sees {torch.cuda.device_count()} CUDA devices"
        )
    return device


def _dtype(precision: str, device: torch.device) -> torch.dtype:
    """The type of that name.

    Raises:
        BadRequest: no such precision.
    """
    if precision == "auto":
        return torch.float16 if device.type == "cuda" else torch.float32
    if precision not in _DTYPES:
        raise BadRequest(f"musetalk: precision {precision!r} is not one of auto, {', '.join(_DTYPES)}")
    return _DTYPES[precision]


def _sides(vae: Any) -> tuple[int, int]:
    """Pixels and latents of a face's side."""
    shrink = 2 ** (len(vae.config.block_out_channels) - 1)
    side = PUBLISHED_SIDE if is_published("vae", vae) else int(vae.config.sample_size)
    return side, side // shrink


def _check_fit(unet: Any, vae: Any, latent_side: int) -> None:
    """UNet and VAE must speak the same latents.

    Raises:
        Unprocessable: they do not.
    """
    channels = int(vae.config.latent_channels)
    if (unet.config.in_channels, unet.config.out_channels) != (2 * channels, channels):
        raise Unprocessable(
            f"musetalk.json takes {unet.config.in_channels} latent channels and gives {unet.config.out_channels}, but"
            f" with this VAE ({channels}) they must be {2 * channels} and {channels}"
        )
    step = 2 ** (len(unet.config.block_out_channels) - 1)
    if latent_side % step:
        raise Unprocessable(f"musetalk.json halves {step.bit_length() - 1} times, but a latent's side is {latent_side}")
