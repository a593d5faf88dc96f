"""`Hift`: a mel spectrum to sound, by a source of harmonics that a network filters (Li et al., arXiv 2309.09493).

Names of tensors are those of CosyVoice's `HiFTGenerator`, its weight norms folded when they are read.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stepaudio.vocoder.config import HiftSize

MAGNITUDE_MAX = 1e2
LAST_SLOPE = 0.01
"""Of the rectifier before the last convolution (torch's default)."""
PITCH_LAYERS = 5


class Snake(nn.Module):
    """x + sin(a x)^2 / a, with an `a` of each channel (Ziyin et al., arXiv 2006.08195)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """[B, channels, T] gives the same shape."""
        alpha = self.alpha[:, None]
        return x + torch.sin(x * alpha) ** 2 / (alpha + 1e-9)


class ResBlock(nn.Module):
    """Pairs of convolutions, the first of each widened, with a way around."""

    def __init__(self, channels: int, kernel: int, dilations: tuple[int, ...]) -> None:
        super().__init__()

        def conv(dilation: int) -> nn.Module:
            return nn.Conv1d(channels, channels, kernel, dilation=dilation, padding=(kernel - 1) * dilation // 2)

        self.convs1 = nn.ModuleList(conv(dilation) for dilation in dilations)
        self.convs2 = nn.ModuleList(conv(1) for _ in dilations)
        self.activations1 = nn.ModuleList(Snake(channels) for _ in dilations)
        self.activations2 = nn.ModuleList(Snake(channels) for _ in dilations)

    def forward(self, x: Tensor) -> Tensor:
        """[B, channels, T] gives the same shape."""
        for wide, narrow, first, second in zip(
            self.convs1, self.convs2, self.activations1, self.activations2, strict=True
        ):
            x = x + narrow(second(wide(first(x))))
        return x


class Pitch(nn.Module):
    """The pitch of every frame."""

    def __init__(self, size: HiftSize) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for place in range(PITCH_LAYERS):
            inputs = size.in_channels if place == 0 else size.cond_channels
            layers += [nn.Conv1d(inputs, size.cond_channels, 3, padding=1), nn.ELU()]
        self.condnet = nn.Sequential(*layers)
        self.classifier = nn.Linear(size.cond_channels, 1)

    def forward(self, mel: Tensor) -> Tensor:
        """[B, bands, T] gives Hz, [B, T]."""
        out: Tensor = self.classifier(self.condnet(mel).transpose(1, 2))[..., 0].abs()
        return out


class Source(nn.Module):
    """Sines of the pitch and its harmonics, and noise where there is none."""

    def __init__(self, size: HiftSize) -> None:
        super().__init__()
        self.size = size
        self.l_linear = nn.Linear(size.nb_harmonics + 1, 1)

    def forward(self, pitch_hz: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """[B, frames] gives [B, 1, samples]."""
        size = self.size
        waves = size.nsf_alpha * torch.sin(2 * math.pi * self._cycles(pitch_hz, generator))
        voiced = (pitch_hz > size.nsf_voiced_threshold).float().repeat_interleave(size.hop, -1)[:, None]
        loudness = voiced * size.nsf_sigma + (1 - voiced) * size.nsf_alpha / 3
        noise = torch.randn(waves.shape, generator=generator).to(waves)
        mixed = waves * voiced + loudness * noise
        out: Tensor = torch.tanh(self.l_linear(mixed.transpose(1, 2))).transpose(1, 2)
        return out

    def _cycles(self, pitch_hz: Tensor, generator: torch.Generator | None) -> Tensor:
        """[B, harmonics, samples]: how far each wave has come, whole cycles left out."""
        size, harmonics = self.size, self.size.nb_harmonics + 1
        numbers = torch.arange(1, harmonics + 1, device=pitch_hz.device)[:, None]
        steps = pitch_hz[:, None].double() * numbers / size.sampling_rate
        if size.smooth_phase:
            reached = torch.cumsum(steps % 1, -1) * size.hop
            return (F.interpolate(reached, scale_factor=size.hop, mode="linear") % 1).float()
        begun = torch.rand(len(pitch_hz), harmonics, 1, generator=generator) - 0.5
        begun[:, 0] = 0
        reached = torch.cumsum(steps.repeat_interleave(size.hop, -1), -1)
        return ((reached + begun.to(reached)) % 1).float()


class Hift(nn.Module):
    """The whole of it; holds no state. Computes in float32."""

    def __init__(self, size: HiftSize) -> None:
        super().__init__()
        self.size = size
        base, bins = size.base_channels, size.n_fft + 2
        widths = [base // 2 ** (place + 1) for place in range(len(size.upsample_rates))]
        self.m_source = Source(size)
        self.f0_predictor = Pitch(size)
        self.conv_pre = nn.Conv1d(size.in_channels, base, 7, padding=3)
        self.ups = nn.ModuleList(
            nn.ConvTranspose1d(inputs, outputs, kernel, rate, padding=(kernel - rate) // 2)
            for inputs, outputs, kernel, rate in zip(
                (base, *widths), widths, size.upsample_kernel_sizes, size.upsample_rates, strict=False
            )
        )
        self.source_downs = nn.ModuleList(
            _down(bins, width, factor) for width, factor in zip(widths, _factors(size.upsample_rates), strict=True)
        )
        self.source_resblocks = nn.ModuleList(
            ResBlock(width, kernel, dilations)
            for width, kernel, dilations in zip(
                widths, size.source_resblock_kernel_sizes, size.source_resblock_dilation_sizes, strict=True
            )
        )
        kinds = list(zip(size.resblock_kernel_sizes, size.resblock_dilation_sizes, strict=True))
        self.resblocks = nn.ModuleList(
            ResBlock(width, kernel, dilations) for width in widths for kernel, dilations in kinds
        )
        self.conv_post = nn.Conv1d(widths[-1], bins, 7, padding=3)

    @torch.no_grad()
    def forward(self, mel: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """[1, bands, T] gives sound, [T * hop], within the limit.

        Args:
            mel: the logarithmic spectrum.
            generator: of the noise and the phases.
        """
        return self.sound(mel, self.m_source(self.f0_predictor(mel), generator))

    def sound(self, mel: Tensor, source: Tensor) -> Tensor:
        """[1, bands, T] and a source, [1, 1, T * hop], give [T * hop]."""
        x = self._filtered(mel, self._transformed(source))
        half = self.size.n_fft // 2 + 1
        magnitude = torch.exp(x[:, :half]).clamp(max=MAGNITUDE_MAX)
        phase = torch.sin(x[:, half:])
        spectrum = torch.complex(magnitude * torch.cos(phase), magnitude * torch.sin(phase))
        sound = torch.istft(spectrum, self.size.n_fft, self.size.hop_len, window=self._window(mel))
        return sound[0].clamp(-self.size.audio_limit, self.size.audio_limit)

    def _filtered(self, mel: Tensor, source: Tensor) -> Tensor:
        """[1, n_fft + 2, frames of the short transform]."""
        x: Any = self.conv_pre(mel)
        kinds = len(self.size.resblock_kernel_sizes)
        for place, up in enumerate(self.ups):
            x = up(F.leaky_relu(x, self.size.lrelu_slope))
            if place == len(self.ups) - 1:
                x = F.pad(x, (1, 0), mode="reflect")
            x = x + self.source_resblocks[place](self.source_downs[place](source))
            blocks = list(self.resblocks)[place * kinds : (place + 1) * kinds]
            x = torch.stack([block(x) for block in blocks]).mean(0)
        out: Tensor = self.conv_post(F.leaky_relu(x, LAST_SLOPE))
        return out

    def _transformed(self, source: Tensor) -> Tensor:
        """[1, 1, samples] gives real and imaginary parts, [1, n_fft + 2, frames]."""
        window = self._window(source)
        spectrum = torch.stft(source[:, 0], self.size.n_fft, self.size.hop_len, window=window, return_complex=True)
        return torch.cat((spectrum.real, spectrum.imag), 1)

    def _window(self, like: Tensor) -> Tensor:
        return torch.hann_window(self.size.n_fft, device=like.device)


def _factors(rates: tuple[int, ...]) -> list[int]:
    """How many frames of the source's transform one of each stage's has."""
    found = [1]
    for rate in rates[:0:-1]:
        found.append(found[-1] * rate)
    return found[::-1]


def _down(inputs: int, outputs: int, factor: int) -> nn.Module:
    if factor == 1:
        return nn.Conv1d(inputs, outputs, 1)
    return nn.Conv1d(inputs, outputs, 2 * factor, factor, padding=factor // 2)
