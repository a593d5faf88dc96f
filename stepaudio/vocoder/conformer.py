"""The encoder of the flow: self-attention that knows how far apart two tokens are.

Dai et al., "Transformer-XL" (arXiv 1901.02860), appendix B; names of tensors are those of CosyVoice's
`ConformerEncoder` without convolutions, `rel_pos_espnet` and `rel_selfattn`.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stepaudio.vocoder.config import EncoderSize

NORM_EPS = 1e-12


class Attention(nn.Module):
    """Multi-head attention with relative places."""

    def __init__(self, size: EncoderSize) -> None:
        super().__init__()
        width, self.heads = size.output_size, size.attention_heads
        self.linear_q, self.linear_k = nn.Linear(width, width), nn.Linear(width, width)
        self.linear_v, self.linear_out = nn.Linear(width, width), nn.Linear(width, width)
        self.linear_pos = nn.Linear(width, width, bias=False)
        self.pos_bias_u = nn.Parameter(torch.zeros(self.heads, width // self.heads))
        self.pos_bias_v = nn.Parameter(torch.zeros(self.heads, width // self.heads))

    def forward(self, x: Tensor, places: Tensor) -> Tensor:
        """[1, n, width] and the 2 n - 1 distances, [1, 2 n - 1, width], give [1, n, width]."""
        q, k, v, p = (
            projected.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for projected in (self.linear_q(x), self.linear_k(x), self.linear_v(x), self.linear_pos(places))
        )
        by_content = (q + self.pos_bias_u[:, None]) @ k.transpose(-2, -1)
        by_place = _shifted((q + self.pos_bias_v[:, None]) @ p.transpose(-2, -1))
        weights = torch.softmax((by_content + by_place) / math.sqrt(q.shape[-1]), -1)
        out: Tensor = self.linear_out((weights @ v).transpose(1, 2).flatten(2))
        return out


def _shifted(scores: Tensor) -> Tensor:
    """[1, heads, n, 2 n - 1] by distance, n - 1 first, gives [1, heads, n, n] by place."""
    count = scores.shape[2]
    index = torch.arange(count, device=scores.device)
    columns = (count - 1 - index)[:, None] + index
    return scores.gather(-1, columns.expand(*scores.shape[:2], -1, -1))


class FeedForward(nn.Module):
    """Two linear layers around a SiLU."""

    def __init__(self, size: EncoderSize) -> None:
        super().__init__()
        self.w_1 = nn.Linear(size.output_size, size.linear_units)
        self.w_2 = nn.Linear(size.linear_units, size.output_size)

    def forward(self, x: Tensor) -> Tensor:
        """[..., width] gives the same shape."""
        out: Tensor = self.w_2(F.silu(self.w_1(x)))
        return out


class Layer(nn.Module):
    """Attention and feed-forward, each behind its norm."""

    def __init__(self, size: EncoderSize) -> None:
        super().__init__()
        self.self_attn = Attention(size)
        self.feed_forward = FeedForward(size)
        self.norm_ff = nn.LayerNorm(size.output_size, eps=NORM_EPS)
        self.norm_mha = nn.LayerNorm(size.output_size, eps=NORM_EPS)

    def forward(self, x: Tensor, places: Tensor) -> Tensor:
        """[1, n, width] gives the same shape."""
        x = x + self.self_attn(self.norm_mha(x), places)
        out: Tensor = x + self.feed_forward(self.norm_ff(x))
        return out


class Embedding(nn.Module):
    """What the first layer reads."""

    def __init__(self, size: EncoderSize) -> None:
        super().__init__()
        self.out = nn.Sequential(
            nn.Linear(size.input_size, size.output_size), nn.LayerNorm(size.output_size, eps=1e-5), nn.Dropout(0.0)
        )

    def forward(self, x: Tensor) -> Tensor:
        """[1, n, inputs] gives [1, n, width]."""
        out: Any = self.out(x)
        return out * math.sqrt(out.shape[-1])


class ConformerEncoder(nn.Module):
    """The whole encoder."""

    def __init__(self, size: EncoderSize) -> None:
        super().__init__()
        self.embed = Embedding(size)
        self.after_norm = nn.LayerNorm(size.output_size, eps=1e-5)
        self.encoders = nn.ModuleList(Layer(size) for _ in range(size.num_blocks))

    def forward(self, x: Tensor) -> Tensor:
        """[1, n, inputs] gives [1, n, width]."""
        x = self.embed(x)
        places = distances(x.shape[1], x.shape[2]).to(x)[None]
        for layer in self.encoders:
            x = layer(x, places)
        out: Tensor = self.after_norm(x)
        return out


def distances(count: int, width: int) -> Tensor:
    """[2 count - 1, width]: sine and cosine by turns of the distances count - 1 down to 1 - count."""
    at = torch.arange(count - 1, -count, -1.0)[:, None]
    rates = torch.exp(torch.arange(0, width, 2) * (-math.log(10_000) / width))
    return torch.stack((torch.sin(at * rates), torch.cos(at * rates)), -1).flatten(1)
