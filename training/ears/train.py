"""Train and export the network: `python -m training.ears.train --data DIR --out engines/lite/ears.onnx`."""

from __future__ import annotations

import argparse
import dataclasses
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from engines.lite.ears import CHANNELS, MEL_FLOOR, MEL_FRAMES
from training.ears.dataset import FRAMES_BEFORE, Features, build
from training.ears.net import EarsNet, export
from training.ears.targets import (
    FUNNEL,
    JAW,
    LOWER,
    PRESS,
    PUCKER,
    ROLL_LOWER,
    ROLL_UPPER,
    TONGUE_OUT,
    TONGUE_UP,
    UPPER,
)

SEED = 20261120
WARM_STEPS = 100
RUNS_PER_STEP = 24
PICTURES = 60
"""Neighbouring windows in a run: 2.4 s."""
FRAME_STEP = 4
"""Mel frames between two video frames."""
VELOCITY_WEIGHT = 1.0
GATE_WEIGHT = 0.25
PRESS_BIAS = 1.25
"""Added to the closing gate's logit when the network is written."""


@dataclasses.dataclass(frozen=True, slots=True)
class Stage:
    """A part of the training: how long, how fast, how far voices are bent and how much a missed closure costs."""

    steps: int
    learning_rate: float
    warp: float
    """Largest stretch of the mel axis: it moves formants as a shorter or longer throat does."""
    tilt: float
    """Spread of a smooth random change of the spectrum, natural log."""
    pressed_weight: float
    round_weight: float
    """Added to the weight of funnel and pucker for each unit of rounding wanted: what is rare is learnt too small."""


STAGES = (
    Stage(5000, 2.5e-3, 0.0, 0.0, 2.0, 0.0),
    Stage(1200, 1.2e-3, 0.12, 0.7, 3.0, 0.0),
    Stage(2500, 1.5e-3, 0.12, 0.7, 3.0, 0.0),
    Stage(900, 1.0e-3, 0.12, 0.7, 3.0, 2.5),
)


def channel_weights() -> Tensor:
    """What an error of each channel costs: what opens the lips most, what is hidden behind the teeth least."""
    weights = torch.ones(CHANNELS)
    weights[[JAW, LOWER, UPPER]] = torch.tensor([3.0, 2.0, 2.0])
    weights[[FUNNEL, PUCKER, PRESS, ROLL_UPPER, ROLL_LOWER]] = 1.5
    weights[[TONGUE_OUT, TONGUE_UP]] = 0.6
    return weights


class Batches:
    """Random runs of neighbouring windows."""

    def __init__(self, features: Features, generator: torch.Generator) -> None:
        self._mel = torch.from_numpy(features.mel)
        self._mouth = torch.from_numpy(features.mouth)
        self._gates = torch.from_numpy(features.gates)
        self._generator = generator
        self._heard = torch.arange(MEL_FRAMES + FRAME_STEP * (PICTURES - 1))
        self._drawn = FRAMES_BEFORE + FRAME_STEP * torch.arange(PICTURES)

    def draw(self, runs: int) -> tuple[Tensor, Tensor, Tensor]:
        """Mel [runs, frames, 40], mouth [runs, PICTURES, 16] and gates [runs, PICTURES, 2]."""
        last = len(self._mel) - len(self._heard)
        starts = torch.randint(last, (runs, 1), generator=self._generator)
        drawn = starts + self._drawn
        return self._mel[starts + self._heard].float(), self._mouth[drawn].float(), self._gates[drawn].float()


def other_voices(mel: Tensor, stage: Stage, generator: torch.Generator) -> Tensor:
    """Each run [runs, frames, bands] as another throat and another microphone would give it."""
    runs, _, bands = mel.shape
    stretch, shift, first, second = 2 * torch.rand(4, runs, 1, generator=generator) - 1
    band = torch.arange(bands)
    place = (band * (1 + stage.warp * stretch) + shift).clamp(0, bands - 1.001)
    low = place.long()[:, None].expand_as(mel)
    share = (place - place.floor())[:, None]
    bent = mel.gather(2, low) * (1 - share) + mel.gather(2, low + 1) * share
    turn = band * (np.pi / bands)
    curve = stage.tilt * (2 * first * torch.cos(turn) + second * torch.cos(2 * turn))
    return torch.maximum(bent + curve[:, None], torch.tensor(np.log(MEL_FLOOR)))


def loss_of(mouth: Tensor, logits: Tensor, wanted: Tensor, gates: Tensor, weights: Tensor, stage: Stage) -> Tensor:
    """Shape, its change from picture to picture, and the gates."""
    rows = 1 + (stage.pressed_weight - 1) * (gates[..., :1] > 0.5)
    rounded = wanted[..., [FUNNEL, PUCKER]].sum(-1, keepdim=True).clamp(min=0)
    columns = torch.zeros(CHANNELS)
    columns[[FUNNEL, PUCKER]] = stage.round_weight
    rows = rows * (1 + rounded * columns)
    shape = functional.smooth_l1_loss(mouth, wanted, beta=0.05, reduction="none")
    change = functional.smooth_l1_loss(mouth.diff(dim=1), wanted.diff(dim=1), beta=0.05, reduction="none")
    # Better to close once too often than to miss a closure.
    missed = torch.tensor([stage.pressed_weight / 2, 1.0])
    gate = functional.binary_cross_entropy_with_logits(logits, gates, pos_weight=missed)
    return (shape * weights * rows).mean() + VELOCITY_WEIGHT * (change * weights).mean() + GATE_WEIGHT * gate


def train_stage(net: EarsNet, features: Features, stage: Stage, seed: int) -> None:
    """One stage from a fixed seed; the learning rate warms up and then falls along a cosine."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    batches = Batches(features, generator)
    weights = channel_weights()
    optimizer = torch.optim.AdamW(net.parameters(), lr=stage.learning_rate, weight_decay=0.02)
    began, shown = time.monotonic(), 0.0
    for step in range(stage.steps):
        warm = min(1.0, (step + 1) / WARM_STEPS)
        for group in optimizer.param_groups:
            group["lr"] = stage.learning_rate * warm * 0.5 * (1 + np.cos(np.pi * step / stage.steps))
        mel, wanted, gates = batches.draw(RUNS_PER_STEP)
        if stage.warp:
            mel = other_voices(mel, stage, generator)
        with torch.autocast("cpu", torch.bfloat16):
            mouth, logits = net(mel)
        loss = loss_of(mouth, logits, wanted, gates, weights, stage)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        shown = 0.98 * shown + 0.02 * loss.item() if step else loss.item()
        if step % 100 == 0 or step == stage.steps - 1:
            print(f"step {step}: loss {shown:.4f}, {time.monotonic() - began:.0f} s", flush=True)


def train(features: Features, folder: Path) -> EarsNet:
    """All stages; each leaves its weights in `folder`, where a later run goes on."""
    torch.manual_seed(SEED)
    net = EarsNet()
    sample = features.mel[:: max(1, len(features.mel) // 100_000)].astype(np.float32)
    net.mean.copy_(torch.from_numpy(sample.mean(0)))
    net.scale.copy_(torch.from_numpy(1 / sample.std(0)))
    for number, stage in enumerate(STAGES):
        kept = folder / f"stage{number}.pt"
        if kept.exists():
            net.load_state_dict(torch.load(kept, weights_only=True))
            continue
        train_stage(net, features, stage, SEED + number)
        torch.save(net.state_dict(), kept)
    return net


def features_of(data: Path, cache: Path) -> Features:
    """The training features, kept at `cache` from the first call on."""
    if not cache.exists():
        features = build(sorted((data / "train").glob("*/*.npz")), SEED)
        np.savez(cache, mel=features.mel, mouth=features.mouth, gates=features.gates)
    with np.load(cache) as kept:
        return Features(kept["mel"], kept["mouth"], kept["gates"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="what training.ears.prepare wrote")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    torch.set_num_threads(1)
    features = features_of(options.data, options.data / "features.npz")
    print(f"{len(features.mel) / 100 / 60:.0f} min of sound, copies counted", flush=True)
    net = train(features, options.data)
    export(net, options.out, PRESS_BIAS)


if __name__ == "__main__":
    main()
