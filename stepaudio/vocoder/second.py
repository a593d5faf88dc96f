"""Step-Audio 2's vocoder: codes of its spoken replies to sound at 24 kHz, in the voice of a recording.

Codes come 25 a second, each stands for two frames of the spectrum; the network of the flow is a diffusion transformer
(Peebles and Xie, arXiv 2212.09748) with a causal convolution in every block. Names of tensors are those of the
published `token2wav/`, as its `CausalMaskedDiffWithXvec`, `UpsampleConformerEncoderV2` and `DiT` have them.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stepaudio.vocoder.config import SecondSize, TransformerSize
from stepaudio.vocoder.conformer import Embedding, Layer, distances
from stepaudio.vocoder.flow import STEPS


class Ahead(nn.Module):
    """Lets every code know the next few."""

    def __init__(self, channels: int, ahead: int) -> None:
        super().__init__()
        self.ahead = ahead
        self.conv1 = nn.Conv1d(channels, channels, ahead + 1)
        self.conv2 = nn.Conv1d(channels, channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        """[1, n, channels] gives the same shape."""
        out: Any = F.leaky_relu(self.conv1(F.pad(x.transpose(1, 2), (0, self.ahead))))
        return x + self.conv2(F.pad(out, (2, 0))).transpose(1, 2)


class Upsampling(nn.Module):
    """Every step several times, then a causal convolution."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.conv = nn.Conv1d(channels, channels, 2 * stride + 1)

    def forward(self, x: Tensor) -> Tensor:
        """[1, n, channels] gives [1, stride * n, channels]."""
        repeated = x.transpose(1, 2).repeat_interleave(self.stride, -1)
        out: Tensor = self.conv(F.pad(repeated, (2 * self.stride, 0))).transpose(1, 2)
        return out


class UpsamplingEncoder(nn.Module):
    """Attention over codes, then over frames."""

    def __init__(self, size: SecondSize) -> None:
        super().__init__()
        width = size.encoder.output_size
        self.embed, self.up_embed = Embedding(size.encoder), Embedding(size.encoder)
        self.pre_lookahead_layer = Ahead(width, size.pre_lookahead_len)
        self.encoders = nn.ModuleList(Layer(size.encoder) for _ in range(size.encoder.num_blocks))
        self.up_layer = Upsampling(width, size.up_stride)
        self.up_encoders = nn.ModuleList(Layer(size.encoder) for _ in range(size.num_up_blocks))
        self.after_norm = nn.LayerNorm(width, eps=1e-5)

    def forward(self, x: Tensor) -> Tensor:
        """[1, n, inputs] gives [1, stride * n, width]."""
        x = _through(self.encoders, self.pre_lookahead_layer(self.embed(x)))
        x = _through(self.up_encoders, self.up_embed(self.up_layer(x)))
        out: Tensor = self.after_norm(x)
        return out


def _through(layers: nn.ModuleList, x: Tensor) -> Tensor:
    places = distances(x.shape[1], x.shape[2]).to(x)[None]
    for layer in layers:
        x = layer(x, places)
    return x


class TimeEmbedding(nn.Module):
    """The time of the flow as a vector."""

    WAVES = 256
    SCALE = 1000

    def __init__(self, size: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(self.WAVES, size), nn.SiLU(), nn.Linear(size, size))

    def forward(self, time: Tensor) -> Tensor:
        """[B], 0..1, gives [B, 1, size]."""
        half = self.WAVES // 2
        rates = torch.exp(-math.log(10_000) * torch.arange(half, device=time.device) / half)
        angles = self.SCALE * time.float()[:, None] * rates
        first: Any = self.mlp[0]
        out: Tensor = self.mlp(torch.cat((angles.cos(), angles.sin()), -1).to(first.weight.dtype))
        return out[:, None]


class Attention(nn.Module):
    """Self-attention with normed queries and keys."""

    def __init__(self, size: TransformerSize) -> None:
        super().__init__()
        width, inner, self.heads = size.hidden_size, size.num_heads * size.head_dim, size.num_heads
        self.to_q, self.to_k, self.to_v = (nn.Linear(width, inner) for _ in range(3))
        self.q_norm, self.k_norm = nn.LayerNorm(size.head_dim), nn.LayerNorm(size.head_dim)
        self.proj = nn.Linear(inner, width)

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, width] gives the same shape."""
        q, k, v = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (self.to_q(x), self.to_k(x), self.to_v(x))
        )
        attended = F.scaled_dot_product_attention(self.q_norm(q), self.k_norm(k), v)
        out: Tensor = self.proj(attended.transpose(1, 2).flatten(2))
        return out


class FeedForward(nn.Module):
    """Two linear layers around GELU."""

    def __init__(self, size: TransformerSize) -> None:
        super().__init__()
        inner = int(size.hidden_size * size.mlp_ratio)
        self.fc1, self.fc2 = nn.Linear(size.hidden_size, inner), nn.Linear(inner, size.hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        """[..., width] gives the same shape."""
        out: Tensor = self.fc2(F.gelu(self.fc1(x), approximate="tanh"))
        return out


class CausalConvolutions(nn.Module):
    """Two of them that see only what came before."""

    KERNEL = 3

    def __init__(self, width: int) -> None:
        super().__init__()
        turned, kernel = nn.Identity, self.KERNEL
        self.block = nn.ModuleList([
            turned(), nn.Conv1d(width, width, kernel), turned(), nn.LayerNorm(width), nn.Mish(), turned(),
            nn.Conv1d(width, width, kernel), turned(),
        ])  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, width] gives the same shape."""
        _, first, _, norm, mish, _, second, _ = self.block
        return self._convolved(second, mish(norm(self._convolved(first, x))))

    def _convolved(self, conv: Any, x: Tensor) -> Tensor:
        out: Tensor = conv(F.pad(x.transpose(1, 2), (self.KERNEL - 1, 0))).transpose(1, 2)
        return out


class Block(nn.Module):
    """Attention, convolutions and feed-forward, each shifted, scaled and gated by the time."""

    def __init__(self, size: TransformerSize) -> None:
        super().__init__()
        width = size.hidden_size
        self.attn, self.mlp, self.conv = Attention(size), FeedForward(size), CausalConvolutions(width)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 9 * width))

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """[B, T, width] at [B, 1, width] gives the shape of x."""
        parts = self.adaLN_modulation(time).chunk(9, -1)
        of_attention, of_feed_forward, of_convolutions = parts[:3], parts[3:6], parts[6:]
        for part, (shift, scale, gate) in (
            (self.attn, of_attention), (self.conv, of_convolutions), (self.mlp, of_feed_forward),
        ):  # fmt: skip
            x = x + gate * part(_modulated(x, shift, scale))
        return x


class Last(nn.Module):
    """From the width of the blocks to the spectrum."""

    def __init__(self, size: TransformerSize) -> None:
        super().__init__()
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(size.hidden_size, 2 * size.hidden_size))
        self.linear = nn.Linear(size.hidden_size, size.out_channels)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """[B, T, width] gives [B, T, out]."""
        out: Tensor = self.linear(_modulated(x, *self.adaLN_modulation(time).chunk(2, -1)))
        return out


def _modulated(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], eps=1e-6) * (1 + scale) + shift


class Transformer(nn.Module):
    """The network of the flow."""

    def __init__(self, size: TransformerSize) -> None:
        super().__init__()
        self.t_embedder = TimeEmbedding(size.hidden_size)
        self.in_proj = nn.Linear(size.in_channels, size.hidden_size)
        self.blocks = nn.ModuleList(Block(size) for _ in range(size.depth))
        self.final_layer = Last(size)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """[B, in, T] at times [B] gives the way, [B, out, T]; channels as `Estimator` has them."""
        at, x = self.t_embedder(time), self.in_proj(x.transpose(1, 2))
        for block in self.blocks:
            x = block(x, at)
        out: Tensor = self.final_layer(x, at).transpose(1, 2)
        return out


class SecondDecoder(nn.Module):
    """Holds the network of the flow."""

    def __init__(self, size: SecondSize) -> None:
        super().__init__()
        self.estimator = Transformer(size.estimator)


class SecondFlow(nn.Module):
    """Codes, with a recording to imitate, to a spectrum; holds no state."""

    def __init__(self, size: SecondSize) -> None:
        super().__init__()
        self.size = size
        self.input_embedding = nn.Embedding(size.vocab_size, size.encoder.input_size)
        self.spk_embed_affine_layer = nn.Linear(size.spk_embed_dim, size.output_size)
        self.encoder = UpsamplingEncoder(size)
        self.encoder_proj = nn.Linear(size.encoder.output_size, size.output_size)
        self.decoder = SecondDecoder(size)

    @torch.no_grad()
    def forward(
        self, codes: Tensor, prompt_codes: Tensor, prompt_mel: Tensor, speaker: Tensor,
        generator: torch.Generator | None = None,
    ) -> Tensor:  # fmt: skip
        """The spectrum of the codes, [1, 80, stride * n].

        Args:
            codes: [n] of 0..6560.
            prompt_codes: [m] of the recording.
            prompt_mel: [1, stride * m, 80] of it.
            speaker: [1, 192].
            generator: of the noise.
        """
        weight = self.encoder_proj.weight
        voice = self.spk_embed_affine_layer(F.normalize(speaker.to(weight), dim=1))
        every = torch.cat((prompt_codes, codes)).to(weight.device)[None]
        told = self.encoder_proj(self.encoder(self.input_embedding(every))).transpose(1, 2)
        begun = prompt_mel.shape[1]
        known = F.pad(prompt_mel.to(weight).transpose(1, 2), (0, told.shape[2] - begun))
        condition = torch.cat((told, voice[:, :, None].expand(-1, -1, told.shape[2]), known), 1)
        condition = torch.cat((condition, torch.zeros_like(condition)))
        x = torch.randn(told.shape, generator=generator).to(weight)
        times = 1 - torch.cos(torch.linspace(0, 1, STEPS + 1, device=weight.device) * 0.5 * torch.pi)
        guidance = self.size.inference_cfg_rate
        for now, then in zip(times[:-1], times[1:], strict=True):
            way: Any = self.decoder.estimator(torch.cat((x.expand(2, -1, -1), condition), 1), now.expand(2))
            x = x + (then - now).to(x.dtype) * ((1 + guidance) * way[:1] - guidance * way[1:])
        return x[:, :, begun:]
