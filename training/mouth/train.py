"""Train the drawing network: `python -m training.mouth.train --data FILE --out FILE [--steps N]`.

Charbonnier loss on luma, chroma and luma gradients inside the feather mask. Its knee lies above the render noise of a
training patch (about 2/255), where it is quadratic and so averages that noise instead of following it. A further term
asks for the detail of the render: the local energy of the Laplacian, which a net that averages over small errors of
position would lose.
"""

# mypy: disable-error-code="import-not-found,misc"
# torch and onnx are installed where networks are trained, not where they run.

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from training.mouth import colour
from training.mouth.net import MouthNet

SEED = 2026
BATCH = 8
IDLE_PER_BATCH = 2
CLEAN_PER_BATCH = 4
"""Rows of clean renders, once shades are corrected: far fewer than the noisy ones, but unbiased, with little noise."""
SHADE_BLUR_PX = 1.5
STILLS = 15
STILL_WEIGHT = 3
"""The last rows, the kit's viseme stills, have less noise and are drawn more often."""
KNEE = 3 / 255
OUTSIDE_WEIGHT = 0.02
"""Loss outside the mask, where the patch is never seen."""
BOX_WEIGHT = 1.5
"""Extra loss in the mouth box."""
BOX = (slice(50, 110), slice(50, 142))
EMA_HORIZON = 600
SAVE_STEPS = 200
BF16_PART = 0.85
"""Of the steps, the first part computes in bfloat16, the rest in float32."""
DETAIL_WEIGHT = 0.25
DETAIL_GAIN = 1.0
BOX_DETAIL_GAIN = 1.19
"""Amplitude of detail asked for, relative to the training patch: the denoiser of the renders took some of it, in the
mouth most, and the average over small errors of position takes more."""
CLEAN_DETAIL_GAIN = 1.0
"""The same for rows of clean renders, whose detail is all there."""
DETAIL_WINDOW_PX = 8


Arrays = dict[str, NDArray[Any]]


class Rows:
    """Targets in 4:2:0, as fractions of 255."""

    def __init__(self, pictures: NDArray[Any], w: NDArray[Any], pose: NDArray[Any]) -> None:
        pairs = [colour.split(p) for p in pictures]
        self.y = torch.from_numpy(np.stack([y for y, _ in pairs]) / 255)
        self.uv = torch.from_numpy(np.stack([uv for _, uv in pairs]) / 255)
        self.w = torch.from_numpy(w)
        self.pose = torch.from_numpy(pose)

    @classmethod
    def of(cls, arrays: Arrays, prefix: str) -> Rows:
        """The rows of one kind that prepare wrote."""
        return cls(*(arrays[prefix + part] for part in ("picture", "w", "pose")))

    def __len__(self) -> int:
        return len(self.w)

    def take(self, index: Tensor) -> tuple[Tensor, ...]:
        return self.w[index], self.pose[index], self.y[index], self.uv[index]


def charbonnier(error: Tensor) -> Tensor:
    return (error.square() + KNEE**2).sqrt() - KNEE


def windows(plane: Tensor) -> Tensor:
    """Means over half-overlapping windows of the last two axes."""
    return nn.functional.avg_pool2d(plane, DETAIL_WINDOW_PX, DETAIL_WINDOW_PX // 2)


def local_energy(y: Tensor) -> Tensor:
    """[B,H,W] -> the mean square of the Laplacian in each window."""
    middle = y[:, 1:-1, 1:-1]
    laplacian = y[:, :-2, 1:-1] + y[:, 2:, 1:-1] + y[:, 1:-1, :-2] + y[:, 1:-1, 2:] - 4 * middle
    return windows(laplacian.square())


class Loss(nn.Module):
    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        weight = OUTSIDE_WEIGHT + mask
        weight[BOX] += BOX_WEIGHT
        weight = weight / weight.mean()
        self.register_buffer("weight", weight)
        self.register_buffer("weight_uv", nn.functional.avg_pool2d(weight[None], 2)[0])
        self.register_buffer("weight_detail", windows(weight[None, 1:-1, 1:-1])[0])
        gain = torch.full_like(mask, DETAIL_GAIN)
        gain[BOX] = BOX_DETAIL_GAIN
        self.register_buffer("gain", windows(gain[None, 1:-1, 1:-1])[0])

    def forward(self, y: Tensor, uv: Tensor, y_true: Tensor, uv_true: Tensor, clean: int = 0) -> Tensor:
        """Mean over rows, of which the first `clean` are of clean renders."""
        error = y - y_true
        loss = (charbonnier(error) * self.weight).mean((1, 2))
        loss = loss + (charbonnier(uv - uv_true) * self.weight_uv).mean((1, 2, 3)) * 1.5
        dx = charbonnier(error[:, :, 1:] - error[:, :, :-1]) * self.weight[:, 1:]
        dy = charbonnier(error[:, 1:] - error[:, :-1]) * self.weight[1:]
        loss = loss + dx.mean((1, 2)) + dy.mean((1, 2))
        return (loss + DETAIL_WEIGHT * self.detail(y, y_true, clean)).mean()

    def detail(self, y: Tensor, y_true: Tensor, clean: int) -> Tensor:
        """[B]: how far the local energy of the Laplacian is from the render's."""
        drawn, wanted = (local_energy(plane).add(KNEE**2).sqrt() for plane in (y, y_true))
        gain = self.gain.repeat(len(y), 1, 1)
        gain[:clean] = CLEAN_DETAIL_GAIN
        return ((drawn - wanted * gain).abs() * self.weight_detail).mean((1, 2))


def shade(net: MouthNet, noisy: Rows, clean: Rows) -> tuple[Tensor, Tensor]:
    """What the denoiser of the training patches does to shades: [H,W] and [2,H/2,W/2] to take off their pixels.

    No patch has a clean twin, so `net` stands between them: how far the noisy patches are off what it draws for them,
    less how far the clean ones are.
    """
    (y, uv), (clean_y, clean_uv) = residual(net, noisy), residual(net, clean)
    return blur(y - clean_y, SHADE_BLUR_PX), blur(uv - clean_uv, SHADE_BLUR_PX / 2)


def residual(net: MouthNet, rows: Rows) -> tuple[Tensor, Tensor]:
    """Median of render less drawing over `rows`: [H,W] and [2,H/2,W/2]."""
    with torch.no_grad():
        drawn = [net(w, pose) for w, pose in zip(rows.w.split(BATCH), rows.pose.split(BATCH), strict=True)]
    y, uv = (torch.cat(planes) for planes in zip(*drawn, strict=True))
    return (rows.y - y).median(0).values, (rows.uv - uv).median(0).values


def blur(plane: Tensor, sigma: float) -> Tensor:
    """Gaussian over the last two axes of [H,W] or [C,H,W]."""
    planes = plane.numpy().reshape(-1, *plane.shape[-2:])
    return torch.from_numpy(np.stack([cv2.GaussianBlur(p, (0, 0), sigma) for p in planes])).reshape(plane.shape)


def openness(w: Tensor) -> Tensor:
    """Sampling weight of a row: open mouths are a minority among the renders, and the hardest to draw."""
    return 1 + 25 * (w[:, 0] - 0.1).clamp(0, 0.5) + 2 * w[:, [2, 11, 12]].sum(1).clamp(0, 0.5)


class Batches:
    """Endless training batches: noisy patches and viseme stills by their chance, clean rows, idle frames."""

    def __init__(self, arrays: Arrays) -> None:
        self.rows = Rows.of(arrays, "")
        self.idle = Rows.of(arrays, "idle_")
        self.clean = Rows.of(arrays, "clean_")
        self.clean_count = 0
        self._chance = openness(self.rows.w)
        self._chance[-STILLS:] *= STILL_WEIGHT

    def correct(self, net: MouthNet) -> None:
        """Take the denoiser's shades off the noisy patches, and draw clean rows from now on."""
        y, uv = shade(net, self.rows, self.clean)
        self.rows.y[:-STILLS] -= y
        self.rows.uv[:-STILLS] -= uv
        self.clean_count = CLEAN_PER_BATCH

    def __next__(self) -> list[Tensor]:
        """w [B,16], pose [B,3], Y [B,160,192], UV [B,2,80,96]; the clean rows come first."""
        noisy = BATCH - IDLE_PER_BATCH - self.clean_count
        parts = [self.clean.take(torch.randint(len(self.clean), (self.clean_count,)))]
        parts += [self.rows.take(torch.multinomial(self._chance, noisy, replacement=True))]
        parts += [self.idle.take(torch.randint(len(self.idle), (IDLE_PER_BATCH,)))]
        return [torch.cat(group) for group in zip(*parts, strict=True)]


class Average:
    """Running average of a network's weights, over a horizon that grows with the steps taken."""

    def __init__(self, net: MouthNet) -> None:
        self.net = copy.deepcopy(net)

    def add(self, net: MouthNet, step: int) -> None:
        part = max(1 / EMA_HORIZON, 9 / (step + 10))
        with torch.no_grad():
            for slow, fast in zip(self.net.parameters(), net.parameters(), strict=True):
                slow.lerp_(fast, part)


def load(path: Path) -> MouthNet:
    """A network that `train` wrote."""
    saved = torch.load(path, weights_only=True)
    net = MouthNet(**saved["sizes"])
    net.load_state_dict(saved["state"])
    net.eval()
    return net


def fresh(idle: Rows, wide: int, narrow: int) -> MouthNet:
    """A network that draws the mean idle mouth."""
    net = MouthNet(wide, narrow)
    net.face_y.data[0, 0] = idle.y.mean(0)
    net.face_uv.data[0] = idle.uv.mean(0)
    return net


def train(net: MouthNet, batches: Batches, loss_of: Loss, steps: int, rate: float) -> Iterator[tuple[int, MouthNet]]:
    """Yields the number of steps taken and the averaged network, every SAVE_STEPS and at the end."""
    average = Average(net)
    optimiser = torch.optim.AdamW(net.parameters(), rate, weight_decay=1e-3, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps, pct_start=0.05)
    began, mean = time.monotonic(), 0.0
    for step in range(steps):
        w, pose, y_true, uv_true = next(batches)
        with torch.autocast("cpu", torch.bfloat16, enabled=step < steps * BF16_PART):
            y, uv = net(w, pose)
        loss = loss_of(y, uv, y_true, uv_true, batches.clean_count)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        average.add(net, step)
        mean += (float(loss.detach()) - mean) * max(0.01, 1 / (step + 1))
        if (step + 1) % SAVE_STEPS == 0 or step + 1 == steps:
            print(f"step {step + 1}/{steps} loss {mean * 255:.3f} {time.monotonic() - began:.0f} s", flush=True)
            yield step + 1, average.net


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="what prepare wrote")
    parser.add_argument("--out", type=Path, required=True, help="the .pt to write")
    parser.add_argument("--start", type=Path, help="go on from this .pt")
    parser.add_argument(
        "--shade", type=Path, help="correct the patches' shades by this .pt, and train on clean rows too"
    )
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--wide", type=int, default=64)
    parser.add_argument("--narrow", type=int, default=32)
    options = parser.parse_args()
    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    arrays = dict(np.load(options.data))
    batches = Batches(arrays)
    net = load(options.start) if options.start else fresh(batches.idle, options.wide, options.narrow)
    if options.shade:
        batches.correct(load(options.shade))
    loss_of = Loss(torch.from_numpy(arrays["mask"]))
    for _, averaged in train(net, batches, loss_of, options.steps, options.rate):
        torch.save({"sizes": averaged.sizes, "state": averaged.state_dict()}, options.out)


if __name__ == "__main__":
    main()
