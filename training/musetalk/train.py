"""Train the small UNet in latents: `python -m training.musetalk.train --work WORK --out engines/musetalk/small`.

Reads what `prepare`, `vae` and `latents` left in WORK; goes on from WORK/unet.pt when it was stopped. OUT gets
`musetalk.json`, `unet.safetensors` (half precision) and `vae/`.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import UNet2DConditionModel
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor

from engines.musetalk.features import ROWS, token_positions
from training.ears.targets import aperture
from training.musetalk.hearing import Whitening, direct, fold, unfold
from training.musetalk.pictures import SIDE

LAYERS, WIDTH = 5, 384
"""Hidden states of Whisper-tiny, and their size."""
TOKENS = ROWS * LAYERS
CONFIG: dict[str, Any] = {
    "sample_size": SIDE // 8,
    "in_channels": 8,
    "out_channels": 4,
    "cross_attention_dim": WIDTH,
    "block_out_channels": [32, 96, 160],
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
    "layers_per_block": 1,
    "attention_head_dim": 8,
    "norm_num_groups": 16,
    "act_fn": "silu",
    "flip_sin_to_cos": True,
    "freq_shift": 0,
    "center_input_sample": False,
}
STEPS = 4200
BATCH = 16
RATE = 1.5e-3
GOING_ON = 0.4
"""Of the rate, for a network that is good already."""
WARM_UP_STEPS = 100
KEPT = 0.995
"""Of the averaged weights, each step."""
MOVING_WEIGHT = 6.0
"""Of the places that the mouth moves, above those that it does not."""
READER_WEIGHT = 0.15
"""Of the error in the mouth channels that a linear reader finds in the latents: it lets the sound be learned early."""
OPENING_WEIGHT = 0.1
"""Of the error in how far that mouth is open, which the sixteen channels alone leave too small."""
READER_RIDGE = 0.05
CHECK_EVERY = 200


@dataclasses.dataclass(frozen=True, slots=True)
class Reader:
    """Mouth channels from latents, linear; and where the mouth moves the latents."""

    matrix: Tensor
    """[4 s s, 16], of latents less those of the idle crop."""
    offset: Tensor
    scale: Tensor
    """[16]: one over the spread of a channel; 0 for those that never move."""
    opening: Tensor
    """[16]: the aperture of `targets.aperture`, linear in the channels, at unit spread."""
    weight: Tensor
    """[1,4,s,s]: of each latent's error."""

    @classmethod
    def of(cls, change: Tensor, mouth: Tensor) -> Reader:
        """From latents less idle ones [n,4,s,s] and mouths [n,16]."""
        flat, offset = change.flatten(1), mouth.mean(0)
        products = flat.T @ flat
        products.diagonal().add_(READER_RIDGE * products.diagonal().mean())
        matrix = torch.linalg.solve(products, flat.T @ (mouth - offset))
        offset = mouth.mean(0) - (flat @ matrix).mean(0)
        spread = mouth.std(0)
        scale = torch.where(spread > 0.01, 1 / spread, torch.zeros_like(spread))
        opening = torch.from_numpy(aperture(np.eye(mouth.shape[1]))).float()
        moving = change.std(0, keepdim=True)
        weight = 1 + MOVING_WEIGHT * moving / moving.max()
        return cls(matrix, offset, scale, opening / (mouth @ opening).std(), weight)

    def __call__(self, change: Tensor) -> Tensor:
        return change.flatten(1) @ self.matrix + self.offset


class Data:
    """Latents and the tokens that go with them."""

    def __init__(self, work: Path) -> None:
        with np.load(work / "latents.npz") as found:
            frame, self.source = found["frame"], torch.from_numpy(found["source"])
            self.target, self.sources = torch.from_numpy(found["target"]), torch.from_numpy(found["sources"])
        with np.load(work / "frames.npz") as found:
            self.mouth = torch.from_numpy(found["mouth"][frame]).float()
            held_out = found["held_out"][frame]
        self.frame = frame
        self.train, self.check = np.flatnonzero(~held_out), np.flatnonzero(held_out)
        self._heard = np.memmap(work / "tokens.f16", np.float16, "r").reshape(-1, TOKENS, WIDTH)
        self._places = token_positions(TOKENS, WIDTH)

    def tokens(self, rows: NDArray[np.int64]) -> Tensor:
        """[B,50,384] with positional encoding."""
        return torch.from_numpy(self._heard[self.frame[rows]]).float() + self._places

    def pairs(self, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Source [B,8,s,s] and target [B,4,s,s] latents."""
        return self.sources[self.source[rows]].float(), self.target[rows].float()


class Trainer:
    """The network, its average over time, its optimizer and where they stand."""

    def __init__(self, data: Data, start: Path | None = None, seed: int = 1) -> None:
        """`start`: the checkpoint to go on from, whose VAE made the latents; None: begin with a fresh network."""
        torch.manual_seed(seed)
        self.data, self.rng, self.done = data, np.random.default_rng(seed), 0
        self.rate = RATE if start is None else RATE * GOING_ON
        self.unet = UNet2DConditionModel(**CONFIG)
        self.optimizer = torch.optim.AdamW(self.unet.parameters(), lr=RATE, weight_decay=0.01, betas=(0.9, 0.98))
        sample = self.rng.choice(data.train, min(4000, len(data.train)), replace=False)
        source, target = data.pairs(sample)
        self.reader = Reader.of(target - source[:, 4:], data.mouth[sample])
        tokens = data.tokens(sample[:1200])
        self.whitening = Whitening.of(tokens)
        if start is None:
            direct(self.unet, self.whitening(tokens), LAYERS)
        else:
            self.unet.load_state_dict({k: v.float() for k, v in load_file(start / "unet.safetensors").items()})
            unfold(self.unet, self.whitening)
        self.average = UNet2DConditionModel(**CONFIG).requires_grad_(False)
        self.average.load_state_dict(self.unet.state_dict())
        self._step = torch.tensor([0])

    def forward(self, unet: UNet2DConditionModel, source: Tensor, rows: NDArray[np.int64]) -> Tensor:
        """Latents of the mouths that are heard."""
        made: Tensor = unet(source, self._step, self.whitening(self.data.tokens(rows))).sample
        return made

    def step(self, steps: int) -> tuple[float, float]:
        """One step of `steps`; gives both losses."""
        fall = 0.02 + 0.49 * (1 + np.cos(np.pi * self.done / steps))
        for group in self.optimizer.param_groups:
            group["lr"] = float(self.rate * min(1.0, (self.done + 1) / WARM_UP_STEPS) * fall)
        rows = self.rng.choice(self.data.train, BATCH)
        source, target = self.data.pairs(rows)
        made = self.forward(self.unet, source, rows)
        error = ((made - target).abs() * self.reader.weight).mean()
        heard = self.reader(made - source[:, 4:])
        misheard = ((heard - self.data.mouth[rows]) * self.reader.scale).square().mean()
        opening = ((heard - self.data.mouth[rows]) @ self.reader.opening).square().mean()
        self.optimizer.zero_grad()
        (error + READER_WEIGHT * misheard + OPENING_WEIGHT * opening).backward()
        torch.nn.utils.clip_grad_norm_(self.unet.parameters(), 1.0)
        self.optimizer.step()
        self.done += 1
        keep = min(KEPT, self.done / (self.done + 10))
        with torch.no_grad():
            for mine, new in zip(self.average.parameters(), self.unet.parameters(), strict=True):
                mine.lerp_(new, 1 - keep)
        return float(error.detach()), float(misheard.detach())

    @torch.no_grad()
    def check(self, count: int = 480) -> str:
        """Correlation of the aperture that the reader finds on held-out voices, of target and of made latents."""
        rows = self.data.check[:: max(1, len(self.data.check) // count)]
        source, target = self.data.pairs(rows)
        made = torch.cat(
            [self.forward(self.average, source[k : k + 32], rows[k : k + 32]) for k in range(0, len(rows), 32)]
        )
        wanted = aperture(self.data.mouth[rows].numpy())
        drawn, heard = (aperture(self.reader(x - source[:, 4:]).numpy()) for x in (target, made))
        error = float((made - target).abs().mean())
        figures = [np.corrcoef(x, wanted)[0, 1] for x in (drawn, heard)]
        return f"held out: error {error:.4f}, aperture of the teacher's {figures[0]:.3f}, of ours {figures[1]:.3f}"

    def save(self, path: Path) -> None:
        parts = {"unet": self.unet, "average": self.average, "optimizer": self.optimizer}
        state = {name: part.state_dict() for name, part in parts.items()}
        torch.save({**state, "done": self.done}, path.with_suffix(".part"))
        path.with_suffix(".part").replace(path)

    def resume(self, path: Path) -> None:
        state = torch.load(path, weights_only=True)
        self.unet.load_state_dict(state["unet"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.done = state["done"]
        self.rng = np.random.default_rng(self.done)

    def export(self, out: Path, vae: Path) -> None:
        """Write the averaged network as a checkpoint."""
        unet = UNet2DConditionModel(**CONFIG)
        unet.load_state_dict(self.average.state_dict())
        fold(unet, self.whitening)
        (out / "vae").mkdir(parents=True, exist_ok=True)
        config = {"_class_name": "UNet2DConditionModel", **CONFIG}
        (out / "musetalk.json").write_text(json.dumps(config, indent=2) + "\n")
        save_file({k: v.half().contiguous() for k, v in unet.state_dict().items()}, out / "unet.safetensors")
        weights = load_file(vae / "diffusion_pytorch_model.safetensors")
        save_file({k: v.half() for k, v in weights.items()}, out / "vae" / "diffusion_pytorch_model.safetensors")
        shutil.copy(vae / "config.json", out / "vae" / "config.json")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--start", type=Path, help="checkpoint to go on from, more slowly")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    trainer = Trainer(Data(options.work), options.start)
    saved = options.work / "unet.pt"
    if saved.exists():
        trainer.resume(saved)
    losses = []
    while trainer.done < options.steps:
        losses.append(trainer.step(options.steps))
        if trainer.done % CHECK_EVERY == 0 or trainer.done == options.steps:
            error, misheard = np.mean(losses, 0)
            print(f"step {trainer.done}: {error:.4f} {misheard:.4f}; {trainer.check()}", flush=True)
            losses = []
            trainer.save(saved)
    trainer.export(options.out, options.work / "vae")


if __name__ == "__main__":
    main()
