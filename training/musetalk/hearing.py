"""Whitened tokens, and heads that listen somewhere from the first step: they make cross-attention quick to train.

A few of Whisper's channels are a hundred times as large as the others, and keys and values are linear in the tokens. So
training sees A (x - m), and `fold` writes A and m into the weights: keys and values become W A; m shifts all keys of a
query alike, which the softmax does not see, and all values alike, which the output's bias takes. Both are exact.

A head that begins at random averages all 50 tokens, and finds out slowly that time matters. `direct` lets each begin
with a look at one moment in one of Whisper's layers; training moves it from there.
"""

from __future__ import annotations

import dataclasses

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention import BasicTransformerBlock
from torch import Tensor

RIDGE = 0.02
"""Of the mean variance, added to all: directions without sound in them are not blown up."""
MOMENTS = (4, 5, 6, 3, 7, 4, 5, 2, 8, 4, 6, 5, 3)
"""Rows that heads begin to look at; 4 and 5 are the video frame itself."""
SHARPNESS = 6.0
"""Lead of a head's first token in the softmax, natural logarithm."""


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
    _exchange(unet, whitening.matrix, -whitening.matrix @ whitening.mean)


def unfold(unet: UNet2DConditionModel, whitening: Whitening) -> None:
    """The reverse of `fold`: let a network that takes tokens as they are take whitened ones; in place."""
    _exchange(unet, torch.linalg.inv(whitening.matrix.double()).float(), whitening.mean)


def _exchange(unet: UNet2DConditionModel, matrix: Tensor, shift: Tensor) -> None:
    """Let keys and values of the tokens x be what they were of matrix @ x + shift."""
    with torch.no_grad():
        for name, layer in unet.named_modules():
            if not name.endswith(".attn2"):
                continue
            out = layer.to_out[0]
            out.bias.add_(out.weight @ (layer.to_v.weight @ shift))
            layer.to_k.weight.copy_(layer.to_k.weight @ matrix)
            layer.to_v.weight.copy_(layer.to_v.weight @ matrix)


def direct(unet: UNet2DConditionModel, tokens: Tensor, layers: int) -> None:
    """Let each head of each cross-attention begin by looking at one token; in place.

    Args:
        unet: freshly made.
        tokens: whitened samples [n, rows * layers, width].
        layers: hidden states a row.
    """
    count = tokens.shape[1]
    flat = tokens.reshape(-1, tokens.shape[-1])
    products = flat.T @ flat
    products.diagonal().add_(products.diagonal().mean() * RIDGE)
    finders = torch.linalg.solve(products, tokens.sum(0).T)  # [width, count]: 1 at a token, 0 at the others
    with torch.no_grad():
        heads = 0
        for block in (m for m in unet.modules() if isinstance(m, BasicTransformerBlock)):
            attention = block.attn2
            size = attention.to_q.weight.shape[0] // attention.heads
            # The query of a head is this bias through to_q, whatever the picture shows there.
            constant = torch.randn_like(block.norm2.bias) / len(block.norm2.bias) ** 0.5
            block.norm2.bias.copy_(constant)
            for first in range(0, size * attention.heads, size):
                row, layer = MOMENTS[heads % len(MOMENTS)], 1 + heads % (layers - 1)
                finder = finders[:, (row * layers + layer) % count]
                attention.to_k.weight[first] = finder / (flat @ finder).max() * SHARPNESS
                attention.to_q.weight[first] = constant / constant.square().sum() * size**0.5
                heads += 1
