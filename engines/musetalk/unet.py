"""MuseTalk's UNet for one fixed time step, with everything computed once that does not change from picture to picture.

The network is diffusers' `UNet2DConditionModel` (https://github.com/huggingface/diffusers, models/unets): its layers
are used as they are; only the order in which they are called is written out here, so that

* the time embedding, constant because MuseTalk calls the network once with t = 0, is added to the bias of each first
  convolution of a residual block, where it would have been added to the output;
* the part before the first sight of the audio (first convolution, first residual block, self-attention of the first
  transformer) runs once per avatar frame: `prefix`;
* keys and values of the audio for all cross-attentions come from one matrix product.

All three are exact but for rounding.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F

from engines.musetalk.norms import FusedNorm, fuse
from engines.musetalk.tensors import moved
from errors import Unprocessable

_DOWN = ("CrossAttnDownBlock2D", "DownBlock2D")
_UP = ("CrossAttnUpBlock2D", "UpBlock2D")
_UNUSED = ("class_embedding", "add_embedding", "encoder_hid_proj", "time_embed_act", "position_net")
"""Parts of the library's network that MuseTalk's does not have and that are not called here."""


class FoldedUNet:
    """The network on its device.

    Args:
        unet: `UNet2DConditionModel` with fp32 (or stored) weights on the CPU; it is taken over and changed.
        device: where it will run.
        dtype: of its weights and activations.

    Raises:
        Unprocessable: the config asks for layers that MuseTalk's networks do not have.
    """

    def __init__(self, unet: Any, device: torch.device, dtype: torch.dtype) -> None:
        _check(unet)
        with torch.no_grad():
            _fold_time(unet)
            moved(unet, device, dtype)
            self._unet = unet
            self._down = [(block, _transformers(block)) for block in unet.down_blocks]
            self._mid = _transformers(unet.mid_block)
            self._up = [(block, _transformers(block)) for block in unet.up_blocks]
            self._set_keys_and_values()
        self.channels = int(unet.conv_in.out_channels)
        self.latent_channels = int(unet.conv_in.in_channels)
        self.audio_channels = int(unet.config.cross_attention_dim)
        self.prefix_parts = 3 if self._down[0][1] else 2

    def fuse_norms(self) -> None:
        """Use the kernel of `norms`; its device must be one on which that `works`."""
        fuse(self._unet)
        for transformer in self._all_transformers():
            transformer.norm = FusedNorm(transformer.norm, silu=False)

    def parameters(self) -> Iterator[torch.Tensor]:
        """All weights, those that were joined too."""
        yield from self._unet.parameters()
        yield self._kv
        for transformer in self._all_transformers():
            for block in transformer.blocks:
                yield block.qkv

    def prefix(self, latents: torch.Tensor) -> torch.Tensor:
        """What the audio does not change.

        Args:
            latents: [B, latent_channels, s, s], channels-last or not.

        Returns:
            [B, prefix_parts, s*s, channels]: after the first convolution, after the first residual block and, when
            there is a transformer in the first block, after its first self-attention.
        """
        block, transformers = self._down[0]
        entry = self._unet.conv_in(latents)
        first = block.resnets[0](entry, None)
        parts = [_tokens(entry), _tokens(first)]
        if transformers:
            parts.append(transformers[0].before_audio(first))
        return torch.stack(parts, dim=1)

    def __call__(self, prefix: torch.Tensor, audio: torch.Tensor) -> torch.Tensor:
        """The predicted latent.

        Args:
            prefix: [B, prefix_parts, s*s, channels], from `prefix`.
            audio: [B, tokens, audio_channels], with positions added.

        Returns:
            [B, out, s, s], scaled as the VAE's latents are (see `decoder`).
        """
        keys_values = iter(torch.split(F.linear(audio, self._kv), self._kv_sizes, dim=-1))
        side = round(prefix.shape[2] ** 0.5)
        skips = [_picture(prefix[:, 0], side)]
        hidden = _picture(prefix[:, 1], side)
        for level, (block, transformers) in enumerate(self._down):
            for i, resnet in enumerate(block.resnets):
                if level or i:
                    hidden = resnet(hidden, None)
                    if transformers:
                        hidden = transformers[i](hidden, keys_values)
                elif transformers:
                    hidden = transformers[0].after_audio(hidden, prefix[:, 2], keys_values)
                skips.append(hidden)
            for sampler in block.downsamplers or ():
                hidden = sampler(hidden)
                skips.append(hidden)
        hidden = self._unet.mid_block.resnets[0](hidden, None)
        for transformer, resnet in zip(self._mid, self._unet.mid_block.resnets[1:], strict=True):
            hidden = resnet(transformer(hidden, keys_values), None)
        for block, transformers in self._up:
            for i, resnet in enumerate(block.resnets):
                hidden = resnet(torch.cat([hidden, skips.pop()], dim=1), None)
                if transformers:
                    hidden = transformers[i](hidden, keys_values)
            for sampler in block.upsamplers or ():
                hidden = sampler(hidden)
        unet = self._unet
        out: torch.Tensor = unet.conv_out(unet.conv_act(unet.conv_norm_out(hidden)))
        return out

    def _all_transformers(self) -> Iterator[_Transformer]:
        """In the order in which they are called."""
        for _, transformers in self._down:
            yield from transformers
        yield from self._mid
        for _, transformers in self._up:
            yield from transformers

    def _set_keys_and_values(self) -> None:
        """Join the layers that see nothing but the audio."""
        blocks = [block for transformer in self._all_transformers() for block in transformer.blocks]
        self._kv = torch.cat([w for block in blocks for w in block.take_audio_weights()])
        self._kv_sizes = [block.audio_width for block in blocks]


class _Transformer:
    """diffusers' `Transformer2DModel`: one picture-to-picture layer with attention inside."""

    def __init__(self, module: Any) -> None:
        self.norm = module.norm
        self.blocks = [_Block(block) for block in module.transformer_blocks]
        self.proj_in = _as_linear(module.proj_in)
        self.proj_out = _as_linear(module.proj_out)

    def __call__(self, picture: torch.Tensor, keys_values: Iterator[torch.Tensor]) -> torch.Tensor:
        """[B, C, s, s] -> the same."""
        return self.after_audio(picture, self.before_audio(picture), keys_values)

    def before_audio(self, picture: torch.Tensor) -> torch.Tensor:
        """Tokens [B, s*s, C] after the first self-attention."""
        return self.blocks[0].self_attention(F.linear(_tokens(self.norm(picture)), *self.proj_in))

    def after_audio(
        self, picture: torch.Tensor, tokens: torch.Tensor, keys_values: Iterator[torch.Tensor]
    ) -> torch.Tensor:
        """The rest, onto the picture that came in."""
        for i, block in enumerate(self.blocks):
            tokens = block.hear(block.self_attention(tokens) if i else tokens, next(keys_values))
        return picture + _picture(F.linear(tokens, *self.proj_out), picture.shape[-1])


class _Block:
    """diffusers' `BasicTransformerBlock`: self-attention, attention to the audio, feed-forward."""

    def __init__(self, module: Any) -> None:
        self._module = module
        own = module.attn1
        self.qkv = torch.cat([own.to_q.weight, own.to_k.weight, own.to_v.weight])
        own.to_q = own.to_k = own.to_v = None
        self._heads = int(own.heads)
        self._audio_heads = int(module.attn2.heads)
        self.audio_width = int(module.attn2.to_k.out_features + module.attn2.to_v.out_features)

    def take_audio_weights(self) -> tuple[torch.Tensor, torch.Tensor]:
        """[C, audio channels] of keys and of values; the block keeps none of them."""
        other = self._module.attn2
        weights = other.to_k.weight, other.to_v.weight
        other.to_k = other.to_v = None
        return weights

    def self_attention(self, tokens: torch.Tensor) -> torch.Tensor:
        q, k, v = F.linear(self._module.norm1(tokens), self.qkv).chunk(3, dim=-1)
        out: torch.Tensor = tokens + self._module.attn1.to_out[0](_attend(q, k, v, self._heads))
        return out

    def hear(self, tokens: torch.Tensor, keys_values: torch.Tensor) -> torch.Tensor:
        """Attention to the audio ([B, tokens, 2C]) and the feed-forward layer."""
        module = self._module
        k, v = keys_values.chunk(2, dim=-1)
        q = module.attn2.to_q(module.norm2(tokens))
        tokens = tokens + module.attn2.to_out[0](_attend(q, k, v, self._audio_heads))
        out: torch.Tensor = tokens + module.ff(module.norm3(tokens))
        return out


def _attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, heads: int) -> torch.Tensor:
    """[B, N, C] x [B, M, C] -> [B, N, C], scaled by the root of a head's width."""
    q, k, v = (x.reshape(x.shape[0], x.shape[1], heads, -1).transpose(1, 2) for x in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


def _tokens(picture: torch.Tensor) -> torch.Tensor:
    """[B, C, s, s] -> [B, s*s, C]; no copy when it is channels-last."""
    return picture.permute(0, 2, 3, 1).flatten(1, 2)


def _picture(tokens: torch.Tensor, side: int) -> torch.Tensor:
    """[B, s*s, C] -> [B, C, s, s], channels-last, no copy."""
    return tokens.reshape(tokens.shape[0], side, side, -1).permute(0, 3, 1, 2)


def _as_linear(layer: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Weight [out, in] and bias of a linear layer or a 1x1 convolution."""
    return layer.weight.flatten(1), layer.bias


def _transformers(block: Any) -> list[_Transformer]:
    return [_Transformer(module) for module in getattr(block, "attentions", ())]


def _fold_time(unet: Any) -> None:
    """Add each residual block's time embedding for t = 0 to the bias of its first convolution, in fp32."""
    time = unet.time_embedding.float()(unet.time_proj(torch.zeros(1, device=unet.conv_in.weight.device)))
    for module in unet.modules():
        if getattr(module, "time_emb_proj", None) is not None:
            shift = module.time_emb_proj.float()(module.nonlinearity(time))[0]
            bias = module.conv1.bias.float() + shift
            module.conv1.bias = torch.nn.Parameter(bias, requires_grad=False)
            module.time_emb_proj = None
    unet.time_embedding = None


def _check(unet: Any) -> None:
    """Refuse what the order of calls above does not know."""
    config = unet.config
    for kind, allowed in (("down_block_types", _DOWN), ("up_block_types", _UP)):
        for name in config[kind]:
            if name not in allowed:
                raise Unprocessable(f"musetalk.json: {kind} has {name}; known are {', '.join(allowed)}")
    if config.mid_block_type != "UNetMidBlock2DCrossAttn":
        raise Unprocessable(f"musetalk.json: mid_block_type is {config.mid_block_type}, not UNetMidBlock2DCrossAttn")
    for name in _UNUSED:
        if getattr(unet, name, None) is not None:
            raise Unprocessable(f"musetalk.json describes a network with {name}, which MuseTalk's does not have")
    if config.center_input_sample or config.resnet_time_scale_shift != "default" or config.dual_cross_attention:
        raise Unprocessable("musetalk.json: only the default time shift, single attention, no centring, are known")
