"""Whitened tokens: what makes the UNet's cross-attention quick to train, folded into its weights afterwards.

A few of Whisper's channels are a hundred times as large as the others, and keys and values are linear in the tokens. So
training sees A (x - m), and `fold` writes A and m into the weights: keys and values become W A; m shifts all keys of a
query alike, which the softmax does not see, and all values alike, which the output's bias takes. Both are exact.
"""

from __future__ import annotations

import dataclasses

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor

RIDGE = 0.02
"""Of the mean variance, added to all: directions without sound in them are not blown up."""


@dataclasses.dataclass(frozen=True, slots=True)
class Whitening:
    """x -> matrix @ (x - mean)."""

    mean: Tensor
    """[width]"""
    matrix: Tensor
    """[width, width], symmetric."""

    @classmethod
    def of(cls, tokens: Tensor) -> Whitening:
        """From samples [..., width]."""
        flat = tokens.reshape(-1, tokens.shape[-1]).double()
        mean = flat.mean(0)
        spread = (flat - mean).T @ (flat - mean) / len(flat)
        values, vectors = torch.linalg.eigh(spread)
        values = values + RIDGE * values.mean()
        return cls(mean.float(), (vectors * values.rsqrt() @ vectors.T).float())

    def __call__(self, tokens: Tensor) -> Tensor:
        return (tokens - self.mean) @ self.matrix


def fold(unet: UNet2DConditionModel, whitening: Whitening) -> None:
    """Let a network that was trained on whitened tokens take them as they are; in place."""
    with torch.no_grad():
        for name, layer in unet.named_modules():
            if not name.endswith(".attn2"):
                continue
            layer.to_k.weight.copy_(layer.to_k.weight @ whitening.matrix)
            layer.to_v.weight.copy_(layer.to_v.weight @ whitening.matrix)
            out = layer.to_out[0]
            out.bias.sub_(out.weight @ (layer.to_v.weight @ whitening.mean))
