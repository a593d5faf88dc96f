"""The networks of one checkpoint on one device, ready to be called."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from typing import Any, Literal, get_args

import torch

from engines.musetalk import norms
from engines.musetalk.checkpoint import Files, find, is_published, load_tiny, load_unet, load_vae
from engines.musetalk.decoder import Decoder, TinyDecoder, VaeDecoder
from engines.musetalk.encoder import VaeEncoder
from engines.musetalk.unet import FoldedUNet
from errors import BadRequest, Unavailable, Unprocessable

log = logging.getLogger(__name__)

TOKENS = 50
"""Audio vectors a picture: 10 rows of 20 ms times 5 layers of Whisper."""
PUBLISHED_SIDE = 256
"""Pixels; what MuseTalk was trained at, whatever a copy of the VAE's config says."""
Precision = Literal["auto", "fp32", "bf16", "fp16"]
Quality = Literal["sd-vae", "tiny"]
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclasses.dataclass(frozen=True, slots=True)
class Parts:
    """What a `MuseModel` draws with."""

    name: str
    """As `--musetalk_weights` names it."""
    unet: FoldedUNet
    encoder: VaeEncoder
    decoder: Decoder
    quality: Quality
    """Which decoder it is."""
    side: int
    """Pixels of a face's side."""
    latent_side: int
    device: torch.device
    dtype: torch.dtype
    fused: bool = False
    """Whether norms go through the kernel of `norms`."""

    @property
    def precision(self) -> str:
        """Name of `dtype`."""
        return next(name for name, dtype in DTYPES.items() if dtype == self.dtype)


def load_parts(
    weights: str | Path,
    models: Path,
    *,
    device: str,
    precision: str,
    quality: Quality,
    first_row: int,
    may_fuse: bool,
) -> Parts:
    """Read a checkpoint and put its networks on a device; see `MuseModel.load`.

    Args:
        weights, models, device, precision, first_row: see there.
        quality: which decoder.
        may_fuse: use the kernel of `norms` where it works.

    Raises:
        NotFound, Unprocessable, BadRequest, Unavailable: see there.
    """
    place = device_of(device)
    dtype = dtype_of(precision, place)
    if quality not in get_args(Quality):
        raise BadRequest(f"musetalk: decoder {quality!r} is not one of {', '.join(get_args(Quality))}")
    files = find(weights, models)
    with torch.no_grad():
        parts = _read(files, place, dtype, quality, first_row)
        if precision == "auto" and dtype == torch.float16 and _overflows(parts):
            log.warning("musetalk: these weights overflow in fp16, which MuseTalk's own do not; using bf16")
            parts = _read(files, place, torch.bfloat16, quality, first_row)
        if may_fuse and norms.works(place, parts.dtype):
            parts.unet.fuse_norms()
            parts.decoder.fuse_norms()
            parts = dataclasses.replace(parts, fused=True)
    return parts


def _read(files: Files, device: torch.device, dtype: torch.dtype, quality: Quality, first_row: int) -> Parts:
    """The networks as they are on disk, on the device."""
    vae = load_vae(files)
    side, latent_side = _sides(vae)
    if not 0 <= first_row < side:
        raise BadRequest(f"musetalk: first_row {first_row} is not in 0..{side - 1}")
    unet = load_unet(files)
    _check_fit(unet, vae, latent_side)
    encoder = VaeEncoder(vae, device)
    decoder: Decoder = (
        TinyDecoder(load_tiny(files), device, dtype, first_row) if quality == "tiny" else VaeDecoder(vae, device, dtype)
    )
    folded = FoldedUNet(unet, device, dtype)
    return Parts(files.name, folded, encoder, decoder, quality, side, latent_side, device, dtype)


def device_of(name: str) -> torch.device:
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


def dtype_of(precision: str, device: torch.device) -> torch.dtype:
    """The type of that name.

    Raises:
        BadRequest: no such precision.
    """
    if precision == "auto":
        return torch.float16 if device.type == "cuda" else torch.float32
    if precision not in DTYPES:
        raise BadRequest(f"musetalk: precision {precision!r} is not one of auto, {', '.join(DTYPES)}")
    return DTYPES[precision]


def _overflows(parts: Parts) -> bool:
    """Whether ordinary input makes a number that fp16 cannot hold."""
    unet, generator = parts.unet, torch.Generator().manual_seed(0)
    latents = torch.randn(1, unet.latent_channels, parts.latent_side, parts.latent_side, generator=generator)
    audio = torch.randn(1, TOKENS, unet.audio_channels, generator=generator)
    predicted = unet(unet.prefix(latents.to(parts.device, parts.dtype)), audio.to(parts.device, parts.dtype))
    return not bool(torch.isfinite(predicted).all() and torch.isfinite(parts.decoder.decode(predicted)).all())


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
