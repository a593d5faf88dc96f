"""Latents of what the teacher draws for each heard frame: `python -m training.musetalk.latents --work WORK`.

Reads WORK/frames.npz and WORK/vae, writes WORK/latents.npz: `frame` [n] (rows of frames.npz), `source` [n] and `target`
float16 [n, 4, s, s], and `sources` float16 [m, 8, s, s] (masked and whole crops of the idle frames, some with their box
moved a little, as other trackers would put it). A run with a higher count goes on from what is there.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from numpy.typing import NDArray

from training.musetalk.pictures import SIDE, Pictures, Teacher, load_teacher
from training.musetalk.vae import SHIFT_PX

PLACES = 3
"""Boxes of each idle frame; the first is the one that the landmarks give."""
BATCH = 16

Halves = NDArray[np.float16]


@torch.inference_mode()
def encode(vae: AutoencoderKL, pictures: Pictures, masked: bool = False) -> Halves:
    """Scaled posterior means of uint8 [B,SIDE,SIDE,3]: [B,4,SIDE/8,SIDE/8]; `masked` blackens the lower half first."""
    values = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1
    if masked:
        values[:, :, SIDE // 2 :] = -1
    with torch.autocast("cpu", torch.bfloat16):
        mean = vae.encode(values).latent_dist.mean
    return (mean.float() * vae.config.scaling_factor).half().numpy()


def source_latents(vae: AutoencoderKL, teacher: Teacher, shifts: NDArray[np.int64]) -> Halves:
    """What stands before the mouth: [frames * PLACES, 8, s, s]."""
    found = []
    for index in range(teacher.avatar.count):
        pictures = np.stack([teacher.idle(index, shift) for shift in shifts[index]])
        found.append(np.concatenate([encode(vae, pictures, masked=True), encode(vae, pictures)], 1))
    return np.concatenate(found)


def _earlier(path: Path, chosen: NDArray[np.int64], target: Halves) -> int:
    """Fill in what an earlier run left; gives how much that was."""
    if not path.exists():
        return 0
    with np.load(path) as found:
        frame = found["frame"]
        if len(frame) > len(chosen) or not np.array_equal(frame, chosen[: len(frame)]):
            return 0
        target[: len(frame)] = found["target"]
    return len(frame)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--avatar", type=Path, default=Path("data/avatars/mira"))
    parser.add_argument("--count", type=int, default=48_000, help="video frames to draw, beside the held-out ones")
    options = parser.parse_args()
    torch.set_num_threads(1)
    vae = AutoencoderKL.from_pretrained(options.work / "vae", low_cpu_mem_usage=False).eval()
    teacher = load_teacher(options.avatar)
    rng = np.random.default_rng(2)
    shifts = np.rint(rng.normal(0, SHIFT_PX, (teacher.avatar.count, PLACES, 4))).astype(np.int64)
    shifts[:, 0] = 0
    with np.load(options.work / "frames.npz") as frames:
        mouth, held_out = frames["mouth"], frames["held_out"]
    chosen = np.concatenate([np.flatnonzero(held_out), rng.permutation(np.flatnonzero(~held_out))])
    sources = source_latents(vae, teacher, shifts)
    source = rng.integers(len(sources), size=len(chosen))
    chosen = chosen[: int(held_out.sum()) + options.count]
    target = np.empty((len(chosen), 4, SIDE // 8, SIDE // 8), np.float16)
    done = _earlier(options.work / "latents.npz", chosen, target)
    for start in range(done, len(chosen), BATCH):
        part = slice(start, start + BATCH)
        index, place = np.divmod(source[: len(chosen)][part], PLACES)
        target[part] = encode(vae, teacher.draw(mouth[chosen[part]], index, shifts[index, place]))
        if start // BATCH % 100 == 0:
            print(f"{start} of {len(chosen)}", flush=True)
    source = source[: len(chosen)]
    np.savez(options.work / "latents.npz", frame=chosen, source=source, target=target, sources=sources)


if __name__ == "__main__":
    main()
