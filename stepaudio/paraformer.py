"""Paraformer's streaming encoder (SAN-M with memory blocks), as far as Step-Audio's linguistic tokenizer needs it.

Zhang et al., "Streaming Chunk-Aware Multihead Attention for Online End-to-End Speech Recognition" (arXiv 2006.01712);
the network and its streaming pass are those of FunASR's `SANMEncoderChunkOpt` with chunks of 0, 4 and 5 stacks and a
look-back of four chunks, and its tensors have the names of the published checkpoint below `encoder.`.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CHUNK = 4
"""Stacks that are encoded together: 240 ms."""
OVERLAP = 5
"""Stacks before them that are encoded again with them."""
LOOK_BACK = 4
"""Chunks whose keys and values are kept."""
NORM_EPS = 1e-12


@dataclasses.dataclass(frozen=True, slots=True)
class Size:
    """What tells one encoder from another; by default the published one."""

    features: int = 560
    width: int = 512
    heads: int = 4
    hidden: int = 2048
    layers: int = 50
    kernel: int = 11
    """Stacks that a memory block sees."""
    shift: int = 0
    """How many more of them lie in the past than in the future, halved."""


class Attention(nn.Module):
    """Self-attention with a memory block: a convolution over the values of each channel."""

    def __init__(self, inputs: int, size: Size) -> None:
        super().__init__()
        self.heads = size.heads
        self.linear_q_k_v = nn.Linear(inputs, 3 * size.width)
        self.linear_out = nn.Linear(size.width, size.width)
        self.fsmn_block = nn.Conv1d(size.width, size.width, size.kernel, groups=size.width, bias=False)
        left = (size.kernel - 1) // 2 + size.shift
        self.padding = (left, size.kernel - 1 - left)

    def forward(self, x: Tensor, past: Past | None) -> tuple[Tensor, Past]:
        """[1, stacks, inputs] gives [1, stacks, width], and what the next chunk looks back at."""
        query, key, value = self.linear_q_k_v(x).chunk(3, -1)
        memory = self.fsmn_block(F.pad(value.transpose(1, 2), self.padding)).transpose(1, 2) + value
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (query, key, value))
        new_k, new_v = k[:, :, :-OVERLAP], v[:, :, :-OVERLAP]
        if past is not None:
            k, v = torch.cat((past.key, k), 2), torch.cat((past.value, v), 2)
            new_k, new_v = torch.cat((past.key, new_k), 2), torch.cat((past.value, new_v), 2)
        attended = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        kept = LOOK_BACK * CHUNK
        return self.linear_out(attended) + memory, Past(new_k[:, :, -kept:], new_v[:, :, -kept:])


@dataclasses.dataclass(frozen=True, slots=True)
class Past:
    """Keys and values of one layer: [1, heads, stacks, width / heads] each."""

    key: Tensor
    value: Tensor


class FeedForward(nn.Module):
    """Two linear layers around a ReLU."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.w_1 = nn.Linear(size.width, size.hidden)
        self.w_2 = nn.Linear(size.hidden, size.width)

    def forward(self, x: Tensor) -> Tensor:
        """[..., width] gives the same shape."""
        out: Tensor = self.w_2(F.relu(self.w_1(x)))
        return out


class Layer(nn.Module):
    """Attention and feed-forward, each behind its norm; the first layer widens and has no way around its attention."""

    def __init__(self, inputs: int, size: Size) -> None:
        super().__init__()
        self.self_attn = Attention(inputs, size)
        self.feed_forward = FeedForward(size)
        self.norm1 = nn.LayerNorm(inputs, eps=NORM_EPS)
        self.norm2 = nn.LayerNorm(size.width, eps=NORM_EPS)
        self.same = inputs == size.width

    def forward(self, x: Tensor, past: Past | None) -> tuple[Tensor, Past]:
        """[1, stacks, inputs] gives [1, stacks, width], and what the next chunk looks back at."""
        attended, kept = self.self_attn(self.norm1(x), past)
        x = x + attended if self.same else attended
        return x + self.feed_forward(self.norm2(x)), kept


class Encoder(nn.Module):
    """The whole encoder; holds no state of any stream."""

    def __init__(self, size: Size | None = None) -> None:
        super().__init__()
        self.size = size or Size()
        self.encoders0 = nn.ModuleList([Layer(self.size.features, self.size)])
        self.encoders = nn.ModuleList(Layer(self.size.width, self.size) for _ in range(self.size.layers - 1))
        self.after_norm = nn.LayerNorm(self.size.width, eps=NORM_EPS)


class EncoderStream:
    """One stream of features through an encoder.

    Args:
        encoder: with its weights; may serve other streams too.
    """

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self._device = encoder.after_norm.weight.device
        self._layers: list[Any] = [*encoder.encoders0, *encoder.encoders]
        self._past: list[Past | None] = [None] * len(self._layers)
        self._before = torch.zeros(1, OVERLAP, encoder.size.features, device=self._device)
        self._place = 0

    @torch.no_grad()
    def encode(self, features: Tensor) -> Tensor:
        """[stacks, features] of one chunk gives [stacks, width].

        A chunk has CHUNK stacks, the last one may have fewer, or one more.
        """
        count, size = len(features), self._encoder.size
        new = features.to(self._device)[None] * math.sqrt(size.width)
        new = new + positions(self._place, count, size.features).to(self._device)
        self._place += count
        x = torch.cat((self._before, new), 1)
        self._before = x[:, -OVERLAP:]
        for number, layer in enumerate(self._layers):
            x, self._past[number] = layer(x, self._past[number])
        out: Tensor = self._encoder.after_norm(x)[0, -count:]
        return out


def positions(first: int, count: int, width: int) -> Tensor:
    """[count, width]: sines, then cosines, of the places `first` + 1 and following (Vaswani et al., section 3.5)."""
    half = width // 2
    rate = torch.exp(torch.arange(half) * (-math.log(10_000) / (half - 1)))
    angle = (torch.arange(count) + first + 1)[:, None] * rate
    return torch.cat((angle.sin(), angle.cos()), 1)
