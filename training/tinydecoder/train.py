"""Distil a VAE's decoder into one of TAESD's layout: `python -m training.tinydecoder.train --help`."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderTiny
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from engines.musetalk.checkpoint import tiny_of, vae_of
from errors import Unprocessable

PICTURES = (".png", ".jpg", ".jpeg", ".webp")
HELD_OUT = 10
"""Every so many-th picture judges and is not trained on."""
NOISE = 0.05
"""Of unit latents: the decoder must forgive what a UNet gets wrong."""
MOUTH_WEIGHT = 4.0
EDGE_WEIGHT = 1.0
AVERAGE = 0.999
"""Of the kept weights, a step."""
WARM_UP = 200
"""Steps in which the rate rises."""
SIDE = 256
WEIGHTS = "diffusion_pytorch_model.safetensors"
STATE = "training.pt"


@dataclasses.dataclass(frozen=True)
class Plan:
    """What the command line says."""

    faces: Path
    vae: Path
    out: Path
    start: Path | None = None
    steps: int = 20_000
    batch: int = 8
    side: int = SIDE
    rate: float = 3e-4
    width: int = 64
    device: str = "cpu"
    every: int = 500
    seed: int = 2026


@dataclasses.dataclass
class Figures:
    """How near the student is to its teacher on pictures that it was not shown."""

    psnr: float
    """Of the whole face, dB."""
    mouth_psnr: float
    mouth_sharpness: float
    """Mean energy of the Laplacian over the teacher's: below 1 is softer."""


class Pictures:
    """Crops of faces, read when they are wanted, as [3, side, side] in -1..1."""

    def __init__(self, directory: Path, side: int) -> None:
        self._side = side
        paths = sorted(path for path in directory.rglob("*") if path.suffix.lower() in PICTURES)
        self.held_out = paths[::HELD_OUT]
        self.shown = [path for i, path in enumerate(paths) if i % HELD_OUT]
        if not self.shown:
            raise Unprocessable(f"{directory} has {len(paths)} pictures ({', '.join(PICTURES)}); at least 2 are needed")

    def read(self, path: Path) -> torch.Tensor:
        """One picture; a crop that is not square is squeezed, as MuseTalk squeezes its boxes."""
        raw = cv2.imread(str(path), cv2.IMREAD_COLOR)
        if raw is None:
            raise Unprocessable(f"{path} is not a picture that OpenCV reads")
        sized = cv2.resize(raw, (self._side, self._side), interpolation=cv2.INTER_LANCZOS4)
        rgb: NDArray[np.uint8] = np.ascontiguousarray(sized[:, :, ::-1])
        return torch.from_numpy(rgb).permute(2, 0, 1).float() / 127.5 - 1

    def batches(self, size: int, rng: np.random.Generator) -> Iterator[torch.Tensor]:
        """Shuffled batches, for ever; some mirrored."""
        while True:
            chosen = rng.choice(len(self.shown), size)
            yield torch.stack([self._flipped(self.read(self.shown[i]), rng) for i in chosen])

    @staticmethod
    def _flipped(picture: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
        return picture.flip(-1) if rng.random() < 0.5 else picture


class Distiller:
    """Teacher, student, its running average and the optimizer."""

    def __init__(self, plan: Plan) -> None:
        torch.manual_seed(plan.seed)
        self.plan = plan
        self.device = torch.device(plan.device)
        self.rng = np.random.default_rng(plan.seed)
        self.pictures = Pictures(plan.faces, plan.side)
        self.teacher = vae_of(plan.vae).to(self.device)
        self.config = config_for(self.teacher, plan.width)
        self.student = AutoencoderTiny(**self.config).decoder.to(self.device)
        if plan.start is not None:
            self.student.load_state_dict(tiny_of(plan.start).state_dict())
        self.kept = {name: tensor.detach().clone() for name, tensor in self.student.state_dict().items()}
        self.optimizer = torch.optim.AdamW(self.student.parameters(), lr=plan.rate, weight_decay=1e-4)
        self.step = 0
        self._mouth = mouth_weights(plan.side).to(self.device)
        self._resume()

    def run(self) -> Figures:
        """Train to the last step, saving on the way."""
        began, loss_sum = time.monotonic(), 0.0
        batches = self.pictures.batches(self.plan.batch, self.rng)
        while self.step < self.plan.steps:
            loss_sum += self.learn(next(batches))
            if self.step % self.plan.every == 0 or self.step == self.plan.steps:
                figures = self.judge()
                seconds = (time.monotonic() - began) / self.plan.every
                _say(f"step {self.step}: loss {loss_sum / self.plan.every:.4f}, {figures}, {seconds:.2f} s a step")
                began, loss_sum = time.monotonic(), 0.0
                self.save(figures)
        return self.judge()

    def learn(self, pictures: torch.Tensor) -> float:
        """One step; returns its loss."""
        latents, target = self.teach(pictures, noise=NOISE)
        for group in self.optimizer.param_groups:
            group["lr"] = self.plan.rate * min(1.0, (self.step + 1) / WARM_UP) * self._decay()
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.loss(self.student(latents), target)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.student.parameters(), 1.0)
        self.optimizer.step()
        self.step += 1
        share = min(AVERAGE, self.step / (self.step + 10))
        with torch.no_grad():
            for name, tensor in self.student.state_dict().items():
                self.kept[name].lerp_(tensor, 1 - share)
        return float(loss.detach())

    def teach(self, pictures: torch.Tensor, noise: float = 0.0) -> tuple[torch.Tensor, torch.Tensor]:
        """Scaled latents as a UNet would give them, and what the teacher makes of the same latents."""
        with torch.no_grad():
            scale = self.teacher.config.scaling_factor
            latents = self.teacher.encode(pictures.to(self.device)).latent_dist.mean * scale
            target = self.teacher.decode(latents / scale).sample.clamp(-1, 1)
            return latents + noise * torch.randn_like(latents), target

    def loss(self, drawn: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Mean absolute error of shades and of edges, the mouth dearer than the rest."""
        error = ((drawn - target).abs() * self._mouth).mean()
        for axis in (-1, -2):
            error = error + EDGE_WEIGHT * (drawn.diff(dim=axis) - target.diff(dim=axis)).abs().mean()
        return error

    def judge(self) -> Figures:
        """The kept weights on the pictures that were held out."""
        student = AutoencoderTiny(**self.config).decoder.to(self.device)
        student.load_state_dict(self.kept)
        rows: list[tuple[float, float, float]] = []
        with torch.no_grad():
            for path in self.pictures.held_out[:64]:
                latents, target = self.teach(self.pictures.read(path)[None])
                drawn = student(latents).clamp(-1, 1)
                mouth = (..., slice(self.plan.side // 2, None), slice(self.plan.side // 5, -self.plan.side // 5))
                sharpness = energy(drawn[mouth]) / max(energy(target[mouth]), 1e-9)
                rows.append((psnr(drawn, target), psnr(drawn[mouth], target[mouth]), sharpness))
        means = np.mean(rows, axis=0)
        return Figures(*(round(float(value), 3) for value in means))

    def save(self, figures: Figures) -> None:
        """The kept weights as the engine reads them, and what is needed to go on."""
        self.plan.out.mkdir(parents=True, exist_ok=True)
        tensors = {f"decoder.{name}": tensor.contiguous().cpu() for name, tensor in self.kept.items()}
        save_file(tensors, self.plan.out / WEIGHTS)
        card = {"_class_name": "AutoencoderTiny", **self.config, "_trained": {"steps": self.step, **vars(figures)}}
        (self.plan.out / "config.json").write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
        now = {"student": self.student.state_dict(), "optimizer": self.optimizer.state_dict(), "step": self.step}
        partial = self.plan.out / f"{STATE}.part"
        torch.save(now, partial)
        partial.replace(self.plan.out / STATE)

    def _resume(self) -> None:
        """Go on where an earlier run ended."""
        path = self.plan.out / STATE
        if not path.is_file():
            return
        then = torch.load(path, map_location=self.device, weights_only=True)
        self.student.load_state_dict(then["student"])
        self.optimizer.load_state_dict(then["optimizer"])
        self.step = int(then["step"])
        for name, tensor in load_file(self.plan.out / WEIGHTS).items():
            self.kept[name.removeprefix("decoder.")] = tensor.to(self.device)
        self.rng = np.random.default_rng(self.plan.seed + self.step)
        _say(f"going on from step {self.step}")

    def _decay(self) -> float:
        """A cosine to a tenth of the rate."""
        return 0.55 + 0.45 * float(np.cos(np.pi * min(1.0, self.step / self.plan.steps)))


def config_for(vae: Any, width: int) -> dict[str, Any]:
    """TAESD's layout (https://github.com/madebyollin/taesd) for a VAE's number of doublings."""
    levels = len(vae.config.block_out_channels)
    return {
        "latent_channels": int(vae.config.latent_channels),
        "decoder_block_out_channels": [width] * levels,
        "num_decoder_blocks": [3] * (levels - 1) + [1],
        "scaling_factor": 1.0,
    }


def mouth_weights(side: int) -> torch.Tensor:
    """[side, side]: what an error counts; the mouth is in the lower half, and not at its sides. Mean 1."""
    weights = torch.ones(side, side)
    weights[side // 2 :, side // 5 : -(side // 5)] = MOUTH_WEIGHT
    return weights / weights.mean()


def psnr(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """Decibels, of values in -1..1."""
    return float(10 * torch.log10(4 / (ours - theirs).square().mean().clamp_min(1e-12)))


def energy(pictures: torch.Tensor) -> float:
    """Mean square of the Laplacian of the luma."""
    kernel = torch.tensor([[0.0, 1, 0], [1, -4, 1], [0, 1, 0]], device=pictures.device)[None, None]
    return float(F.conv2d(pictures.mean(dim=1, keepdim=True), kernel).square().mean())


def main(argv: list[str] | None = None) -> int:
    options = argparse.ArgumentParser(prog="training.tinydecoder.train", description=__doc__)
    options.add_argument(
        "--faces", type=Path, required=True, help="directory of face crops, searched through and through"
    )
    options.add_argument("--vae", type=Path, default=Path("models/sd-vae"), help="the teacher")
    options.add_argument("--out", type=Path, default=Path("models/musetalk-tiny"))
    options.add_argument("--start", type=Path, help="a decoder to begin with (models/taesd); must be 64 wide")
    options.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    for name, kind, text in (
        ("steps", int, "in all"),
        ("batch", int, "faces a step"),
        ("side", int, "pixels"),
        ("rate", float, "of learning, at its height"),
        ("width", int, "channels"),
        ("every", int, "steps between two looks at the held-out pictures"),
        ("seed", int, "of everything random"),
    ):
        options.add_argument(f"--{name}", type=kind, default=getattr(Plan, name), help=text)
    figures = Distiller(Plan(**vars(options.parse_args(argv)))).run()
    print(json.dumps(vars(figures)))
    return 0


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
