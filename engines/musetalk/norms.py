"""Puts one kernel where a network has a group norm and, mostly, SiLU behind it. On CUDA only."""

from __future__ import annotations

import importlib
import logging
from typing import Any

import torch
import torch.nn.functional as F

log = logging.getLogger(__name__)

TRIES = ((2, 320, 16, 16, 32), (1, 128, 64, 48, 32), (3, 24, 5, 7, 8))
"""Batch, channels, height, width, groups of the pictures that the kernel must get right before it is used."""
MOST_ERROR = 5e-3
"""Relative, against fp32; 16 bits alone cost bf16 2e-3."""


class FusedNorm(torch.nn.Module):
    """A group norm, and SiLU after it where `silu`, as one call.

    Args:
        norm: the layer that it stands for; weights are shared.
        silu: whether SiLU follows.
    """

    def __init__(self, norm: torch.nn.GroupNorm, silu: bool) -> None:
        super().__init__()
        self.norm = norm
        self.silu = silu
        self._kernel: Any = importlib.import_module("engines.musetalk.kernels").norm

    def forward(self, picture: torch.Tensor) -> torch.Tensor:
        """[B, C, h, w] -> the same, channels-last."""
        norm = self.norm
        result: torch.Tensor = self._kernel(picture, norm.weight, norm.bias, norm.num_groups, norm.eps, self.silu)
        return result


def fuse(network: Any) -> int:
    """Replace the norms of a diffusers UNet or VAE decoder in place; returns how many calls that saves.

    Known are residual blocks (`norm1`, `norm2`, each with `nonlinearity` behind), and the network's last norm
    (`conv_norm_out`, with `conv_act` behind). What else has a group norm keeps it.
    """
    count = 0
    for block in network.modules():
        if isinstance(getattr(block, "nonlinearity", None), torch.nn.SiLU) and hasattr(block, "norm2"):
            block.norm1, block.norm2 = FusedNorm(block.norm1, True), FusedNorm(block.norm2, True)
            block.nonlinearity = torch.nn.Identity()
            count += 2
        if isinstance(getattr(block, "conv_act", None), torch.nn.SiLU) and hasattr(block, "conv_norm_out"):
            block.conv_norm_out, block.conv_act = FusedNorm(block.conv_norm_out, True), torch.nn.Identity()
            count += 1
    return count


def works(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether the kernel can be compiled for this device and gives there what torch gives."""
    if device.type != "cuda":
        return False
    try:
        with torch.cuda.device(device):
            worst = max(_error(device, dtype, *shape, silu) for shape in TRIES for silu in (False, True))
    except Exception:
        # Triton raises what its compiler, the driver or a C compiler raise, and none of it is known here.
        log.warning("musetalk: the fused norm cannot be used here, going on with torch's", exc_info=True)
        return False
    if not worst < MOST_ERROR:
        log.warning("musetalk: the fused norm is off by %.1e, going on with torch's", worst)
        return False
    return True


def _error(
    device: torch.device,
    dtype: torch.dtype,
    batch: int,
    channels: int,
    height: int,
    width: int,
    groups: int,
    silu: bool,
) -> float:
    """Relative error of the kernel on random values."""
    generator = torch.Generator(device).manual_seed(0)
    picture = torch.randn(batch, channels, height, width, generator=generator, device=device) * 3 + 1
    norm = torch.nn.GroupNorm(groups, channels, device=device)
    with torch.no_grad():
        norm.weight.copy_(torch.randn(channels, generator=generator, device=device))
        norm.bias.copy_(torch.randn(channels, generator=generator, device=device))
        expected = F.silu(norm(picture)) if silu else norm(picture)
        found = FusedNorm(norm.to(dtype), silu)(picture.to(dtype)).float()
    return float((found - expected).norm() / expected.norm())
