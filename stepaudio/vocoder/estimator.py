"""The network of the flow: a U-Net over time with attention, that says where a noisy mel spectrum is to go.

After Matcha-TTS (Mehta et al., arXiv 2309.03199) as CosyVoice has it; names of tensors are those of its
`ConditionalDecoder`.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stepaudio.vocoder.config import EstimatorSize

TIME_SCALE = 1000
GROUPS = 8


class Block(nn.Module):
    """A convolution, a group norm and Mish."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.block = nn.Sequential(nn.Conv1d(inputs, outputs, 3, padding=1), nn.GroupNorm(GROUPS, outputs), nn.Mish())

    def forward(self, x: Tensor) -> Tensor:
        """[B, inputs, T] gives [B, outputs, T]."""
        out: Tensor = self.block(x)
        return out


class ResnetBlock(nn.Module):
    """Two blocks, the time added between them, and a way around."""

    def __init__(self, inputs: int, outputs: int, time: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Mish(), nn.Linear(time, outputs))
        self.block1, self.block2 = Block(inputs, outputs), Block(outputs, outputs)
        self.res_conv = nn.Conv1d(inputs, outputs, 1)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """[B, inputs, T] and [B, time] give [B, outputs, T]."""
        hidden = self.block1(x) + self.mlp(time)[..., None]
        out: Tensor = self.block2(hidden) + self.res_conv(x)
        return out


class SelfAttention(nn.Module):
    """As diffusers' `Attention`, without masks."""

    def __init__(self, size: int, heads: int, width: int) -> None:
        super().__init__()
        inner, self.heads = heads * width, heads
        self.to_q = nn.Linear(size, inner, bias=False)
        self.to_k = nn.Linear(size, inner, bias=False)
        self.to_v = nn.Linear(size, inner, bias=False)
        self.to_out = nn.ModuleList([nn.Linear(inner, size), nn.Dropout(0.0)])

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, size] gives the same shape."""
        q, k, v = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (self.to_q(x), self.to_k(x), self.to_v(x))
        )
        out: Tensor = self.to_out[0](F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return out


class Projection(nn.Module):
    """A linear layer and GELU."""

    def __init__(self, size: int, inner: int) -> None:
        super().__init__()
        self.proj = nn.Linear(size, inner)

    def forward(self, x: Tensor) -> Tensor:
        """[..., size] gives [..., inner]."""
        return F.gelu(self.proj(x))


class FeedForward(nn.Module):
    """Four times as wide within."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.net = nn.ModuleList([Projection(size, 4 * size), nn.Dropout(0.0), nn.Linear(4 * size, size)])

    def forward(self, x: Tensor) -> Tensor:
        """[..., size] gives the same shape."""
        for layer in self.net:
            x = layer(x)
        return x


class Transformer(nn.Module):
    """Attention and feed-forward, each behind its norm."""

    def __init__(self, channels: int, size: EstimatorSize) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(channels)
        self.attn1 = SelfAttention(channels, size.num_heads, size.attention_head_dim)
        self.norm3 = nn.LayerNorm(channels)
        self.ff = FeedForward(channels)

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, channels] gives the same shape."""
        x = x + self.attn1(self.norm1(x))
        out: Tensor = x + self.ff(self.norm3(x))
        return out


class Resampled(nn.Module):
    """A convolution that halves or doubles the length, under the name `conv`."""

    def __init__(self, conv: nn.Module) -> None:
        super().__init__()
        self.conv = conv

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, T] gives [B, C, T / 2] or [B, C, 2 T]."""
        out: Tensor = self.conv(x)
        return out


class TimeEmbedding(nn.Module):
    """The time of the flow as a vector."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.inputs = inputs
        self.linear_1, self.linear_2 = nn.Linear(inputs, outputs), nn.Linear(outputs, outputs)

    def forward(self, time: Tensor) -> Tensor:
        """[B], 0..1, gives [B, outputs]."""
        half = self.inputs // 2
        rates = torch.exp(torch.arange(half, device=time.device) * (-math.log(10_000) / (half - 1)))
        angles = TIME_SCALE * time.float()[:, None] * rates
        waves = torch.cat((angles.sin(), angles.cos()), -1).to(self.linear_1.weight.dtype)
        out: Tensor = self.linear_2(F.silu(self.linear_1(waves)))
        return out


class Estimator(nn.Module):
    """The whole network."""

    def __init__(self, size: EstimatorSize) -> None:
        super().__init__()
        channels, time = size.channels, size.channels[0] * 4
        self.time_mlp = TimeEmbedding(size.in_channels, time)

        def stage(inputs: int, outputs: int, after: nn.Module | None) -> nn.ModuleList:
            blocks = nn.ModuleList(Transformer(outputs, size) for _ in range(size.n_blocks))
            parts: list[nn.Module] = [ResnetBlock(inputs, outputs, time), blocks]
            return nn.ModuleList([*parts, after] if after is not None else parts)

        def halved(width: int, last: bool) -> nn.Module:
            return _same(width) if last else Resampled(nn.Conv1d(width, width, 3, 2, 1))

        def doubled(width: int, last: bool) -> nn.Module:
            return _same(width) if last else Resampled(nn.ConvTranspose1d(width, width, 4, 2, 1))

        down = list(zip((size.in_channels, *channels), channels, strict=False))
        self.down_blocks = nn.ModuleList(
            stage(inputs, outputs, halved(outputs, place == len(down) - 1))
            for place, (inputs, outputs) in enumerate(down)
        )
        self.mid_blocks = nn.ModuleList(stage(channels[-1], channels[-1], None) for _ in range(size.num_mid_blocks))
        back = (*channels[::-1], channels[0])
        up = list(zip(back, back[1:], strict=False))
        self.up_blocks = nn.ModuleList(
            stage(2 * inputs, outputs, doubled(outputs, place == len(up) - 1))
            for place, (inputs, outputs) in enumerate(up)
        )
        self.final_block = Block(back[-1], back[-1])
        self.final_proj = nn.Conv1d(back[-1], size.out_channels, 1)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """[B, in_channels, T] at times [B] gives the way, [B, out_channels, T].

        The channels are those of the spectrum, of what the tokens say, of the speaker and of the prompt's spectrum.
        """
        at: Tensor = self.time_mlp(time)
        skipped: list[Tensor] = []
        for stage in self.down_blocks:
            x = _through(stage, x, at)
            skipped.append(x)
            x = _part(stage, 2)(x)
        for stage in self.mid_blocks:
            x = _through(stage, x, at)
        for stage in self.up_blocks:
            skip = skipped.pop()
            x = _through(stage, torch.cat((x[:, :, : skip.shape[-1]], skip), 1), at)
            x = _part(stage, 2)(x)
        out: Tensor = self.final_proj(self.final_block(x))
        return out


def _same(width: int) -> nn.Module:
    return nn.Conv1d(width, width, 3, padding=1)


def _part(stage: Any, number: int) -> Any:
    return stage[number]


def _through(stage: Any, x: Tensor, at: Tensor) -> Tensor:
    x = stage[0](x, at).transpose(1, 2)
    for block in stage[1]:
        x = block(x)
    return x.transpose(1, 2)
