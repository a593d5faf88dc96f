"""Step-1, the language model of Step-Audio: a decoder with grouped queries, its places told by a bias of the attention.

The bias of a query on a key that is d places before it is -sqrt(d) times the slope of its head, the slopes being those
of ALiBi (Press et al., arXiv 2108.12409, section 3). Tensors have the names of the published checkpoints (`step1`),
which are read without the code that lies beside them.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from errors import NotFound, Unprocessable
from stepaudio.codes import VOCABULARY_MIN

PREFILL = 512
"""Ids of a prompt that are read at once: the bias has an entry for each of them, each head and each id before."""


@dataclasses.dataclass(frozen=True, slots=True)
class Step1Config:
    """What tells one model from another; by default Step-Audio-TTS-3B."""

    hidden_size: int = 3072
    intermediate_size: int = 8192
    num_attention_heads: int = 48
    num_attention_groups: int = 4
    """Heads of keys and values."""
    num_hidden_layers: int = 32
    vocab_size: int = 74_752
    rms_norm_eps: float = 1e-5


def read_config(path: Path, command: str) -> Step1Config:
    """The model that a `config.json` describes.

    Args:
        path: the file.
        command: what brings it.

    Raises:
        NotFound: it is not there.
        Unprocessable: it describes another model, or one that has no tokens for sound.
    """
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        known = dataclasses.asdict(Step1Config())
        config = Step1Config(**{name: type(value)(facts[name]) for name, value in known.items()})
    except FileNotFoundError as error:
        raise NotFound(f"{path} is not there; to get it: {command}") from error
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise Unprocessable(f"{path} describes no Step-1 model: {error!r}; to get it again: {command}") from error
    if facts.get("model_type", "step1") != "step1":
        raise Unprocessable(f"{path}: model_type is {facts['model_type']!r}, but must be 'step1'; {command}")
    heads, groups = config.num_attention_heads, config.num_attention_groups
    if min(heads, groups, config.num_hidden_layers) < 1 or config.hidden_size % heads or heads % groups:
        raise Unprocessable(f"{path}: {heads} heads in {groups} groups do not divide {config.hidden_size}; {command}")
    if config.vocab_size < VOCABULARY_MIN:
        raise Unprocessable(f"{path}: vocab_size is {config.vocab_size}, but audio ends at {VOCABULARY_MIN}; {command}")
    return config


class Norm(nn.Module):
    """Root mean square norm, its mean in float32."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """[..., size] gives the same shape."""
        scale = torch.rsqrt(x.float().pow(2).mean(-1, keepdim=True) + self.eps)
        return x * scale.to(x.dtype) * self.weight


class Attention(nn.Module):
    """Grouped-query attention with the bias."""

    def __init__(self, config: Step1Config) -> None:
        super().__init__()
        size, self.heads = config.hidden_size, config.num_attention_heads
        self.width = size // self.heads
        shared = config.num_attention_groups * self.width
        self.q_proj = nn.Linear(size, size, bias=False)
        self.k_proj = nn.Linear(size, shared, bias=False)
        self.v_proj = nn.Linear(size, shared, bias=False)
        self.o_proj = nn.Linear(size, size, bias=False)

    def forward(self, x: Tensor, past: Past, bias: Tensor) -> Tensor:
        """[1, n, hidden] gives the same shape; keys and values go into `past`."""
        q, k, v = (
            projected.unflatten(-1, (-1, self.width)).transpose(1, 2)
            for projected in (self.q_proj(x), self.k_proj(x), self.v_proj(x))
        )
        k, v = past.extended(k, v)
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=bias, enable_gqa=True)
        return self.o_proj(out.transpose(1, 2).flatten(2))


class Past:
    """Keys and values of one layer, with room for those to come."""

    def __init__(self) -> None:
        self._keys: Tensor | None = None
        self._values: Tensor | None = None
        self._count = 0

    def extended(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """All of them, the new ones last: [1, groups, n, width] each."""
        end = self._count + keys.shape[2]
        if self._keys is None or self._values is None or end > self._keys.shape[2]:
            room = max(2 * end, PREFILL)
            self._keys, self._values = self._grown(self._keys, keys, room), self._grown(self._values, values, room)
        self._keys[:, :, self._count : end], self._values[:, :, self._count : end] = keys, values
        self._count = end
        return self._keys[:, :, :end], self._values[:, :, :end]

    def _grown(self, old: Tensor | None, like: Tensor, room: int) -> Tensor:
        grown = like.new_empty(*like.shape[:2], room, like.shape[3])
        if old is not None:
            grown[:, :, : self._count] = old[:, :, : self._count]
        return grown


class FeedForward(nn.Module):
    """A gated feed-forward."""

    def __init__(self, config: Step1Config) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[..., hidden] gives the same shape."""
        out: Tensor = self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))
        return out


class Layer(nn.Module):
    """Attention and feed-forward, each behind its norm."""

    def __init__(self, config: Step1Config) -> None:
        super().__init__()
        self.self_attn = Attention(config)
        self.mlp = FeedForward(config)
        self.input_layernorm = Norm(config.hidden_size, config.rms_norm_eps)
        self.post_attention_layernorm = Norm(config.hidden_size, config.rms_norm_eps)

    def forward(self, x: Tensor, past: Past, bias: Tensor) -> Tensor:
        """[1, n, hidden] gives the same shape."""
        x = x + self.self_attn(self.input_layernorm(x), past, bias)
        out: Tensor = x + self.mlp(self.post_attention_layernorm(x))
        return out


class Body(nn.Module):
    """All but the head."""

    def __init__(self, config: Step1Config) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.num_hidden_layers))
        self.norm = Norm(config.hidden_size, config.rms_norm_eps)


class Step1(nn.Module):
    """The model; its layers may lie on several devices. Holds no state of any conversation."""

    def __init__(self, config: Step1Config | None = None) -> None:
        super().__init__()
        self.config = config or Step1Config()
        self.model = Body(self.config)
        self.lm_head = nn.Linear(self.config.hidden_size, self.config.vocab_size, bias=False)

    def begin(self) -> Reading:
        """A text that is yet empty."""
        return Reading(self)


class Reading:
    """A text that a model reads on."""

    def __init__(self, model: Step1) -> None:
        self._model = model
        self._past = [Past() for _ in model.model.layers]
        self._count = 0
        self._slopes = slopes(model.config.num_attention_heads)

    @torch.no_grad()
    def read(self, ids: Sequence[int]) -> Tensor:
        """Logits of what follows these ids, which follow those before: float32 [vocabulary] on the CPU."""
        body: Any = self._model.model
        for start in range(0, len(ids), PREFILL):
            part = torch.tensor([list(ids[start : start + PREFILL])], device=body.embed_tokens.weight.device)
            x = body.embed_tokens(part)
            bias: Tensor | None = None
            for layer, past in zip(body.layers, self._past, strict=True):
                weight = layer.input_layernorm.weight
                if bias is None or bias.device != weight.device:
                    bias = self._bias(part.shape[1], weight)
                x = layer(x.to(weight.device), past, bias)
            self._count += part.shape[1]
        x = body.norm(x[:, -1].to(body.norm.weight.device))
        head: Any = self._model.lm_head
        return head(x.to(head.weight.device))[0].float().cpu()

    def _bias(self, count: int, like: Tensor) -> Tensor:
        """[1, heads, count, all so far]: what is added to the scores of the next `count` queries."""
        query = torch.arange(self._count, self._count + count, device=like.device)[:, None]
        distance = query - torch.arange(self._count + count, device=like.device)
        bias = -distance.clamp(min=0).sqrt() * self._slopes.to(like.device)[:, None, None]
        return bias.masked_fill(distance < 0, -math.inf).to(like.dtype)[None]


def slopes(heads: int) -> Tensor:
    """[heads]: ALiBi's slopes, for a power of two a geometric series, else with every second of the next one added."""
    whole = 2 ** int(math.log2(heads))
    first = 2.0 ** (-8.0 / whole * torch.arange(1, whole + 1))
    rest = 2.0 ** (-4.0 / whole * torch.arange(1, 1 + 2 * (heads - whole), 2))
    return torch.cat((first, rest))
