"""Train and export the network: `python -m training.ears.train --data DIR --out engines/lite/ears.onnx`."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from engines.lite.ears import CHANNELS, MEL_FRAMES
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
STEPS = 5000
WARM_STEPS = 100
RUNS_PER_STEP = 24
PICTURES = 60
"""Neighbouring windows in a run: 2.4 s."""
FRAME_STEP = 4
"""Mel frames between two video frames."""
LEARNING_RATE = 2.5e-3
PRESSED_WEIGHT = 2.0
VELOCITY_WEIGHT = 1.0
GATE_WEIGHT = 0.25


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


def loss_of(mouth: Tensor, logits: Tensor, wanted: Tensor, gates: Tensor, weights: Tensor) -> Tensor:
    """Shape, its change from picture to picture, and the gates."""
    rows = 1 + (PRESSED_WEIGHT - 1) * (gates[..., :1] > 0.5)
    shape = functional.smooth_l1_loss(mouth, wanted, beta=0.05, reduction="none")
    change = functional.smooth_l1_loss(mouth.diff(dim=1), wanted.diff(dim=1), beta=0.05, reduction="none")
    gate = functional.binary_cross_entropy_with_logits(logits, gates)
    return (shape * weights * rows).mean() + VELOCITY_WEIGHT * (change * weights).mean() + GATE_WEIGHT * gate


def train(features: Features, steps: int) -> EarsNet:
    """Train from the fixed seed; the learning rate warms up and then falls along a cosine."""
    torch.manual_seed(SEED)
    batches = Batches(features, torch.Generator().manual_seed(SEED))
    net = EarsNet()
    sample = features.mel[:: max(1, len(features.mel) // 100_000)].astype(np.float32)
    net.mean.copy_(torch.from_numpy(sample.mean(0)))
    net.scale.copy_(torch.from_numpy(1 / sample.std(0)))
    weights = channel_weights()
    optimizer = torch.optim.AdamW(net.parameters(), lr=LEARNING_RATE, weight_decay=0.02)
    began, shown = time.monotonic(), 0.0
    for step in range(steps):
        rate = LEARNING_RATE * min(1.0, (step + 1) / WARM_STEPS) * 0.5 * (1 + np.cos(np.pi * step / steps))
        for group in optimizer.param_groups:
            group["lr"] = rate
        mel, wanted, gates = batches.draw(RUNS_PER_STEP)
        with torch.autocast("cpu", torch.bfloat16):
            mouth, logits = net(mel)
        loss = loss_of(mouth, logits, wanted, gates, weights)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        shown = 0.98 * shown + 0.02 * loss.item() if step else loss.item()
        if step % 100 == 0 or step == steps - 1:
            print(f"step {step}: loss {shown:.4f}, {time.monotonic() - began:.0f} s", flush=True)
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
    parser.add_argument("--steps", type=int, default=STEPS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    features = features_of(options.data, options.data / "features.npz")
    print(f"{len(features.mel) / 100 / 60:.0f} min of sound, copies counted", flush=True)
    net = train(features, options.steps)
    torch.save(net.state_dict(), options.data / "ears.pt")
    export(net, options.out)


if __name__ == "__main__":
    main()
