"""From the crop of a face to the latents that MuseTalk redraws: what the VAE's other half is for."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from engines.musetalk.tensors import moved

ENCODE_BATCH = 4
"""Faces at a time; each is encoded twice (about 0.4 GB of activations a face at 256 pixels in fp32)."""


class VaeEncoder:
    """The encoder half of diffusers' `AutoencoderKL`; in fp32, since it runs only while an avatar is prepared.

    Args:
        vae: with its weights on the CPU; its encoder is taken over.
        device: where it will run.
    """

    def __init__(self, vae: Any, device: torch.device) -> None:
        self._parts = [part for part in (vae.encoder, vae.quant_conv) if part is not None]
        for part in self._parts:
            moved(part, device, torch.float32)
        self._scale = float(vae.config.scaling_factor)
        self._device = device

    def encode(self, faces: NDArray[np.uint8]) -> NDArray[np.float16]:
        """Masked and whole face, one behind the other on the channels.

        The mean of the VAE's distribution, not a sample of it: the same face gives the same latents, as MuseTalk 1.5
        was trained.

        Args:
            faces: uint8 [B, side, side, 3], RGB.

        Returns:
            [B, 2 * latent channels, latent side, latent side], times the scaling factor.
        """
        parts = [self._encode(faces[i : i + ENCODE_BATCH]) for i in range(0, len(faces), ENCODE_BATCH)]
        return np.concatenate(parts)

    def _encode(self, faces: NDArray[np.uint8]) -> NDArray[np.float16]:
        with torch.inference_mode():
            pixels = torch.from_numpy(np.ascontiguousarray(faces)).to(self._device).permute(0, 3, 1, 2)
            whole = pixels.float() / 255
            masked = whole.clone()
            masked[:, :, whole.shape[2] // 2 :] = 0
            hidden = (torch.cat([masked, whole]) - 0.5) / 0.5
            for part in self._parts:
                hidden = part(hidden)
            mean = hidden.chunk(2, dim=1)[0] * self._scale
            both = torch.cat(mean.chunk(2), dim=1)
            result: NDArray[np.float16] = both.to(torch.float16).cpu().numpy()
        return result
