"""Train the small VAE on pictures of the teacher: `python -m training.musetalk.vae --work WORK`.

Reads WORK/frames.npz (`prepare.py`), writes WORK/vae/{config.json, diffusion_pytorch_model.safetensors}. A run that was
stopped goes on from WORK/vae.pt.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL
from numpy.typing import NDArray
from torch import Tensor

from training.musetalk.pictures import SIDE, Teacher, load_teacher

CONFIG: dict[str, Any] = {
    "in_channels": 3,
    "out_channels": 3,
    "latent_channels": 4,
    "block_out_channels": [16, 32, 64, 64],
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "layers_per_block": 1,
    "norm_num_groups": 8,
    "act_fn": "silu",
    "sample_size": SIDE,
    "scaling_factor": 1.0,
}
"""Three downsamplings as in Stable Diffusion's VAE. The loss keeps latents near unit size, so nothing is scaled."""
PICTURES = 6000
NOISE = 0.1
"""Standard deviation added to latents while training, so that the decoder forgives the UNet's small errors."""
MOUTH = (slice(76, 116), slice(34, 94))
"""Rows and columns of a crop that hold the mouth, whatever the frame."""
MOUTH_WEIGHT, UPPER_WEIGHT = 4.0, 0.3
"""Of a pixel's error: around the mouth, and in the upper half, which blending never shows."""
EDGE_WEIGHT = 1.0
SIZE_WEIGHT = 1e-3
MASKED_SHARE = 0.125
"""Pictures shown with their lower half masked, as the UNet's first four channels are made."""
SHIFT_PX = 2.0
"""How far the box's edges stray in training, standard deviation: other trackers put them elsewhere."""


@dataclasses.dataclass(frozen=True, slots=True)
class Stage:
    """Some steps with one kind of batch."""

    steps: int
    batch: int
    side: int
    """Of the square cut from each crop, pixels: small cuts train four times as fast."""
    rate: float


STAGES = (Stage(1200, 8, 64, 3e-3), Stage(350, 6, 128, 1.5e-3))


def draw_pictures(teacher: Teacher, mouths: NDArray[np.float32], count: int, seed: int) -> Tensor:
    """`count` crops with mouths drawn from [N,16]: uint8 [count,3,SIDE,SIDE]."""
    rng = np.random.default_rng(seed)
    weights = mouths[rng.integers(len(mouths), size=count)]
    index = rng.integers(teacher.avatar.count, size=count)
    shift = np.rint(rng.normal(0, SHIFT_PX, (count, 4))).astype(np.int64)
    return torch.from_numpy(teacher.draw(weights, index, shift)).permute(0, 3, 1, 2).contiguous()


def pixel_weights() -> Tensor:
    """[1,1,SIDE,SIDE]: how much each pixel's error counts."""
    weight = torch.ones(1, 1, SIDE, SIDE)
    weight[..., : SIDE // 2, :] = UPPER_WEIGHT
    weight[..., MOUTH[0], MOUTH[1]] = MOUTH_WEIGHT
    return weight


def picture_loss(made: Tensor, wanted: Tensor, weight: Tensor) -> Tensor:
    """Weighted L1 of values and of differences between neighbours, which keeps edges sharp."""
    error = made - wanted
    loss = (error.abs() * weight).mean()
    across = (error[..., 1:] - error[..., :-1]).abs() * weight[..., 1:]
    down = (error[..., 1:, :] - error[..., :-1, :]).abs() * weight[..., 1:, :]
    return loss + EDGE_WEIGHT * (across.mean() + down.mean())


class Trainer:
    """The network, its optimizer and where it stands."""

    def __init__(self, pictures: Tensor, seed: int = 1) -> None:
        torch.manual_seed(seed)
        self.pictures = pictures
        self.vae = AutoencoderKL(**CONFIG)
        self.optimizer = torch.optim.AdamW(self.vae.parameters(), lr=1e-3, weight_decay=1e-3, betas=(0.9, 0.98))
        self.done = 0
        self._weight = pixel_weights()

    def batch(self, stage: Stage) -> tuple[Tensor, Tensor]:
        """Pictures [-1,1] and weights of their pixels, both cut alike."""
        rows = torch.randint(len(self.pictures), (stage.batch,))
        pictures = self.pictures[rows].float() / 127.5 - 1
        weight = self._weight.expand(stage.batch, -1, -1, -1)
        if stage.side == SIDE:
            masked = torch.rand(stage.batch) < MASKED_SHARE
            pictures[masked, :, SIDE // 2 :] = -1
            weight = torch.where(masked[:, None, None, None], torch.full_like(weight, UPPER_WEIGHT), weight)
            return pictures, weight
        top = torch.randint(SIDE - stage.side + 1, (stage.batch,)).tolist()
        left = torch.randint(SIDE - stage.side + 1, (stage.batch,)).tolist()
        cuts = [(slice(t, t + stage.side), slice(x, x + stage.side)) for t, x in zip(top, left, strict=True)]
        return (
            torch.stack([p[:, r, c] for p, (r, c) in zip(pictures, cuts, strict=True)]),
            torch.stack([w[:, r, c] for w, (r, c) in zip(weight, cuts, strict=True)]),
        )

    def step(self, stage: Stage, rate: float) -> float:
        """One step; gives the loss."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        pictures, weight = self.batch(stage)
        with torch.autocast("cpu", torch.bfloat16):
            mean = self.vae.encode(pictures).latent_dist.mean
            made = self.vae.decode(mean + NOISE * torch.randn_like(mean)).sample
        loss = picture_loss(made.float(), pictures, weight) + SIZE_WEIGHT * mean.float().square().mean()
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.vae.parameters(), 1.0)
        self.optimizer.step()
        self.done += 1
        return float(loss.detach())


def rate_at(step: int, stages: tuple[Stage, ...]) -> tuple[Stage, float]:
    """The stage of a step, and its learning rate: a short warm-up, then a cosine down to a twentieth."""
    for stage in stages:
        if step < stage.steps:
            fall = 0.05 + 0.475 * (1 + np.cos(np.pi * step / stage.steps))
            return stage, stage.rate * float(min(1.0, (step + 1) / 50) * fall)
        step -= stage.steps
    return stages[-1], 0.0


def fix_spread(vae: AutoencoderKL) -> None:
    """Let the posterior's spread be NOISE everywhere, for whoever samples it instead of taking the mean."""
    channels = CONFIG["latent_channels"]
    with torch.no_grad():
        vae.quant_conv.weight[channels:] = 0
        vae.quant_conv.bias[channels:] = 2 * float(np.log(NOISE))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--avatar", type=Path, default=Path("data/avatars/mira"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    with np.load(options.work / "frames.npz") as frames:
        mouths = frames["mouth"].astype(np.float32)
    trainer = Trainer(draw_pictures(load_teacher(options.avatar), mouths, PICTURES, seed=1))
    saved = options.work / "vae.pt"
    if saved.exists():
        state = torch.load(saved, weights_only=True)
        trainer.vae.load_state_dict(state["vae"])
        trainer.optimizer.load_state_dict(state["optimizer"])
        trainer.done = state["done"]
    total = sum(stage.steps for stage in STAGES)
    recent = []
    while trainer.done < total:
        recent.append(trainer.step(*rate_at(trainer.done, STAGES)))
        if trainer.done % 100 == 0 or trainer.done == total:
            print(f"step {trainer.done} loss {np.mean(recent):.4f}", flush=True)
            recent = []
            state = {"vae": trainer.vae.state_dict(), "optimizer": trainer.optimizer.state_dict(), "done": trainer.done}
            torch.save(state, saved)
    fix_spread(trainer.vae)
    trainer.vae.save_pretrained(options.work / "vae")


if __name__ == "__main__":
    main()
