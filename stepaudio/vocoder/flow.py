"""`Flow`: tokens, with a recording to imitate, to a mel spectrum, by conditional flow matching.

Lipman et al. (arXiv 2210.02747) with classifier-free guidance, ten Euler steps on a cosine schedule, as CosyVoice's
`MaskedDiffWithXvec`, whose names of tensors these are. The tokens of both codebooks are read as they are interleaved.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stepaudio.vocoder.config import FlowSize
from stepaudio.vocoder.conformer import ConformerEncoder
from stepaudio.vocoder.estimator import Estimator

STEPS = 10


class LengthRegulator(nn.Module):
    """Stretches what the tokens say to the frames of the spectrum."""

    def __init__(self, channels: int, size: FlowSize) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for _ in size.sampling_ratios:
            layers += [nn.Conv1d(channels, channels, 3, 1, 1), nn.GroupNorm(size.groups, channels), nn.Mish()]
        self.model = nn.Sequential(*layers, nn.Conv1d(channels, channels, 1, 1))

    def forward(self, prompt: Tensor, tokens: Tensor, prompt_frames: int, frames: int) -> Tensor:
        """[1, C, n] each, stretched apart from one another, gives [1, C, prompt_frames + frames]."""
        stretched = [F.interpolate(tokens, size=frames, mode="linear")]
        if prompt.shape[2]:
            stretched.insert(0, F.interpolate(prompt, size=prompt_frames, mode="linear"))
        out: Tensor = self.model(torch.cat(stretched, 2))
        return out


class Decoder(nn.Module):
    """Holds the network of the flow."""

    def __init__(self, size: FlowSize) -> None:
        super().__init__()
        self.estimator = Estimator(size.estimator)
        self.guidance = size.inference_cfg_rate

    def forward(self, told: Tensor, speaker: Tensor, known: Tensor, noise: Tensor) -> Tensor:
        """From noise to a spectrum.

        Args:
            told: what the tokens say, [1, 80, T].
            speaker: [1, 80].
            known: the prompt's spectrum and zeros behind it, [1, 80, T].
            noise: [1, 80, T].
        """
        times = 1 - torch.cos(torch.linspace(0, 1, STEPS + 1, device=noise.device) * 0.5 * torch.pi)
        condition = torch.cat((told, speaker[:, :, None].expand(-1, -1, told.shape[2]), known), 1)
        condition = torch.cat((condition, torch.zeros_like(condition)))
        x = noise
        for now, then in zip(times[:-1], times[1:], strict=True):
            way: Any = self.estimator(torch.cat((x.expand(2, -1, -1), condition), 1), now.expand(2))
            x = x + (then - now).to(x.dtype) * ((1 + self.guidance) * way[:1] - self.guidance * way[1:])
        return x


class Flow(nn.Module):
    """The whole of it; holds no state."""

    def __init__(self, size: FlowSize) -> None:
        super().__init__()
        self.size = size
        width, out = size.encoder.output_size, size.output_size
        self.input_embedding = nn.Embedding(size.vocab_size, size.encoder.input_size)
        self.spk_embed_affine_layer = nn.Linear(size.spk_embed_dim, out)
        self.encoder = ConformerEncoder(size.encoder)
        self.encoder_proj = nn.Linear(width, out)
        self.decoder = Decoder(size)
        self.length_regulator = LengthRegulator(out, size)

    @torch.no_grad()
    def forward(
        self, tokens: Tensor, prompt_tokens: Tensor, prompt_mel: Tensor, speaker: Tensor, frames: int,
        generator: torch.Generator | None = None,
    ) -> Tensor:  # fmt: skip
        """The spectrum of the tokens, [1, 80, frames].

        Args:
            tokens: [n] of 0..5119.
            prompt_tokens: [m] of the recording; may be empty.
            prompt_mel: [1, prompt frames, 80] of it.
            speaker: [1, 192].
            frames: how long the spectrum is to be.
            generator: of the noise.
        """
        weight = self.encoder_proj.weight
        voice = self.spk_embed_affine_layer(F.normalize(speaker.to(weight), dim=1))
        every = torch.cat((prompt_tokens, tokens)).to(weight.device)[None]
        told = self.encoder_proj(self.encoder(self.input_embedding(every))).transpose(1, 2)
        begun, prompt_frames = len(prompt_tokens), prompt_mel.shape[1]
        told = self.length_regulator(told[:, :, :begun], told[:, :, begun:], prompt_frames, frames)
        known = F.pad(prompt_mel.to(weight).transpose(1, 2), (0, frames))
        noise = torch.randn(told.shape, generator=generator).to(weight)
        made: Tensor = self.decoder(told, voice, known, noise)
        return made[:, :, prompt_frames:]
