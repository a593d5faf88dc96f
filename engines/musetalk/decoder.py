"""From predicted latents to pixels: Stable Diffusion's VAE, or a decoder a twentieth of its cost.

Both take the UNet's output as it is and give bytes; both stay on the device.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import torch
import torch.nn.functional as F

from engines.musetalk.norms import fuse
from engines.musetalk.tensors import moved
from errors import Unprocessable


class Decoder(Protocol):
    """Latents to faces, on the device."""

    def fuse_norms(self) -> None:
        """Use the kernel of `norms` where there are norms."""
        ...

    def parameters(self) -> Iterator[torch.Tensor]:
        """All weights."""
        ...

    def __call__(self, latents: torch.Tensor) -> torch.Tensor:
        """Predicted latents [B, 4, s, s], scaled as the UNet gives them -> RGB uint8 [B, side, side, 3]."""
        ...

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """The same as [B, 3, h, side] in -1..1, without rows that are left out."""
        ...


class VaeDecoder:
    """The decoder half of diffusers' `AutoencoderKL`.

    It always draws the whole face: its norms and its attention look at all of it, so a part would come out different.

    Args:
        vae: with its weights on the CPU; its decoder is taken over.
        device: where it will run.
        dtype: of its weights and activations.
    """

    def __init__(self, vae: Any, device: torch.device, dtype: torch.dtype) -> None:
        self._entry = _entry_of(vae)
        self._decoder = vae.decoder
        for part in filter(None, (self._entry, self._decoder)):
            moved(part, device, dtype)
        self._unscale = 1.0 if self._entry is not None else 1.0 / float(vae.config.scaling_factor)

    def fuse_norms(self) -> None:
        """Use the kernel of `norms`; its device must be one on which that `works`."""
        fuse(self._decoder)

    def parameters(self) -> Iterator[torch.Tensor]:
        """All weights."""
        for part in filter(None, (self._entry, self._decoder)):
            yield from part.parameters()

    def __call__(self, latents: torch.Tensor) -> torch.Tensor:
        """See `Decoder`."""
        return to_bytes(self.decode(latents))

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """[B, 4, s, s] -> [B, 3, side, side] in -1..1."""
        hidden = latents * self._unscale if self._entry is None else self._entry(latents)
        out: torch.Tensor = self._decoder(hidden)
        return out


class TinyDecoder:
    """TAESD's decoder (https://github.com/madebyollin/taesd): convolutions only, no norm, no attention.

    Without norms a part of the face can be drawn exactly: each stage computes only the rows that the next one needs,
    and the rows that the cut has spoilt are dropped.

    Args:
        decoder: diffusers' `DecoderTiny` with its weights on the CPU; it is taken over.
        device: where it will run.
        dtype: of its weights and activations.
        first_row: first row of the face that must be drawn, in pixels; those above repeat it.
    """

    def __init__(self, decoder: Any, device: torch.device, dtype: torch.dtype, first_row: int = 0) -> None:
        self._decoder = moved(decoder, device, dtype)
        self._stages = _stages(decoder.layers)
        self._first_row = first_row
        self._starts = rows_needed([_convolutions(stage) for stage in self._stages], first_row)

    def fuse_norms(self) -> None:
        """There are none."""

    def parameters(self) -> Iterator[torch.Tensor]:
        """All weights."""
        yield from self._decoder.parameters()

    def __call__(self, latents: torch.Tensor) -> torch.Tensor:
        """See `Decoder`."""
        faces = to_bytes(self.decode(latents))
        if not self._first_row:
            return faces
        above = faces[:, :1].expand(-1, self._first_row, -1, -1)
        return torch.cat([above, faces], dim=1)

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """[B, 4, s, s] -> [B, 3, side - first_row, side] in -1..1."""
        hidden = torch.tanh(latents / 3) * 3
        top = 0
        for number, (stage, start) in enumerate(zip(self._stages, self._starts, strict=True)):
            if number:
                hidden, top = F.interpolate(hidden, scale_factor=2.0, mode="nearest"), top * 2
            hidden, top = hidden[:, :, start - top :], start
            for layer in stage:
                hidden = layer(hidden)
        return hidden[:, :, self._first_row - top :] * 2 - 1


def to_bytes(faces: torch.Tensor) -> torch.Tensor:
    """[B, 3, h, w] in -1..1 -> uint8 [B, h, w, 3]; rounded in fp32 as MuseTalk does it."""
    scaled = (faces.float() / 2 + 0.5).clamp(0, 1).mul(255).round()
    return scaled.to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def rows_needed(convolutions: list[int], first_row: int) -> list[int]:
    """First row, at each stage's own resolution, at which the stage must begin.

    Args:
        convolutions: 3x3 convolutions of each stage, each of which spoils one row below a cut; stages double in size.
        first_row: first row wanted of the last stage.
    """
    starts: list[int] = []
    wanted = first_row
    for count in reversed(convolutions):
        start = max(0, wanted - count)
        starts.append(start)
        wanted = start // 2
    return starts[::-1]


def _entry_of(vae: Any) -> Any:
    """The 1x1 convolution before the decoder, with the division by the scaling factor in its weights."""
    entry = vae.post_quant_conv
    if entry is not None:
        entry.weight = torch.nn.Parameter(entry.weight.float() / vae.config.scaling_factor, requires_grad=False)
        entry.bias = torch.nn.Parameter(entry.bias.float(), requires_grad=False)
    return entry


def _stages(layers: Any) -> list[list[Any]]:
    """The layers between upsamplings, the convolution after one counted to the next stage.

    Raises:
        Unprocessable: an upsampling does something else than repeat every pixel twice.
    """
    stages: list[list[Any]] = [[]]
    for layer in layers:
        if isinstance(layer, torch.nn.Upsample):
            if (layer.scale_factor, layer.mode) != (2.0, "nearest"):
                raise Unprocessable(f"tiny decoder: it grows by {layer.scale_factor} {layer.mode}, not by 2 nearest")
            stages.append([])
        else:
            stages[-1].append(layer)
    return stages


def _convolutions(stage: list[Any]) -> int:
    """3x3 convolutions one behind the other in a stage."""
    count = 0
    for layer in stage:
        if isinstance(layer, torch.nn.Conv2d):
            count += 1
        elif hasattr(layer, "conv"):
            count += sum(isinstance(inner, torch.nn.Conv2d) for inner in layer.conv)
    return count
