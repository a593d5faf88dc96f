"""MuseTalk's networks with random weights, at a size that runs in a fraction of a second."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, AutoencoderTiny, UNet2DConditionModel
from safetensors.torch import save_file

SIDE, LATENT = 32, 8
UNET: dict[str, Any] = {
    "act_fn": "silu",
    "attention_head_dim": 2,
    "block_out_channels": [16, 32, 32],
    "cross_attention_dim": 24,
    "down_block_types": ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
    "in_channels": 8,
    "out_channels": 4,
    "layers_per_block": 1,
    "norm_num_groups": 8,
    "sample_size": LATENT,
}
VAE: dict[str, Any] = {
    "in_channels": 3,
    "out_channels": 3,
    "latent_channels": 4,
    "block_out_channels": [8, 16, 16],
    "layers_per_block": 1,
    "norm_num_groups": 8,
    "sample_size": SIDE,
    "down_block_types": ["DownEncoderBlock2D"] * 3,
    "up_block_types": ["UpDecoderBlock2D"] * 3,
}
TINY: dict[str, Any] = {
    "encoder_block_out_channels": [8, 8, 8],
    "decoder_block_out_channels": [8, 8, 8],
    "num_encoder_blocks": [1, 1, 1],
    "num_decoder_blocks": [2, 1, 1],
}
OLD_NAMES = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
PUBLISHED_UNET: dict[str, Any] = {
    **UNET,
    "attention_head_dim": 8,
    "block_out_channels": [320, 640, 1280, 1280],
    "cross_attention_dim": 384,
    "down_block_types": ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"],
    "up_block_types": ["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3,
    "layers_per_block": 2,
    "norm_num_groups": 32,
    "sample_size": 64,
}
PUBLISHED_VAE: dict[str, Any] = {
    **VAE,
    "block_out_channels": [128, 256, 512, 512],
    "layers_per_block": 2,
    "norm_num_groups": 32,
    "sample_size": 256,
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
}


def networks(seed: int = 0, **unet: Any) -> tuple[Any, Any, Any]:
    """UNet, VAE and tiny VAE of diffusers with random weights.

    The norms' weights are random too: at one and zero, a norm that is skipped or swapped would not show.
    """
    torch.manual_seed(seed)
    made = UNet2DConditionModel(**{**UNET, **unet}), AutoencoderKL(**VAE), AutoencoderTiny(**TINY)
    for network in made:
        network.eval().requires_grad_(False)
        for name, tensor in network.named_parameters():
            if tensor.dim() == 1:
                tensor.add_(torch.randn_like(tensor) * 0.1)
            elif "time_emb_proj" in name:
                tensor.mul_(4)
    last = made[2].decoder.layers[-1]
    last.weight.mul_(8)
    last.bias.add_(0.5)  # to 0..1, or most of the picture would be black
    return made


def write(directory: Path, unet: Any, vae: Any, tiny: Any) -> Path:
    """All parts in one directory, the layout of one's own checkpoints."""
    for part in ("vae", "tiny"):
        (directory / part).mkdir(parents=True, exist_ok=True)
    settings = {key: value for key, value in unet.config.items() if key in UNET or key == "use_linear_projection"}
    (directory / "musetalk.json").write_text(json.dumps({"_class_name": "UNet2DConditionModel", **settings}))
    torch.save(unet.state_dict(), directory / "unet.pth")
    (directory / "vae" / "config.json").write_text(json.dumps({"_diffusers_version": "0.4.2", **VAE}))
    save_file(vae.state_dict(), directory / "vae" / "diffusion_pytorch_model.safetensors")
    (directory / "tiny" / "config.json").write_text(json.dumps(TINY))
    torch.save(raw_names(tiny), directory / "tiny" / "taesd_decoder.pth")
    return directory


def raw_names(tiny: Any) -> dict[str, torch.Tensor]:
    """A tiny decoder as its author's repository names it."""
    renamed = {}
    for name, tensor in tiny.decoder.state_dict().items():
        _, index, rest = name.split(".", 2)
        renamed[f"{int(index) + 1}.{rest}"] = tensor
    return renamed


def old_attention(state: dict[str, torch.Tensor], *, convolutions: bool = False) -> dict[str, torch.Tensor]:
    """A VAE's weights under the attention names of 2022."""
    renamed = {}
    for name, tensor in state.items():
        for new, old in OLD_NAMES.items():
            if f"attentions.0.{new}." in name:
                name = name.replace(f".{new}.", f".{old}.")
                tensor = tensor[:, :, None, None] if convolutions and tensor.dim() == 2 else tensor
        renamed[name] = tensor
    return renamed
