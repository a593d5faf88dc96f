"""Hear the corpus with Whisper: `python -m training.musetalk.prepare --speech SPEECH --work WORK`.

SPEECH is what `training.ears.prepare` wrote. Writes WORK/rows.f16 (blocks of Whisper's rows, float16
[blocks, 40, 5, 384], one behind the other) and WORK/frames.npz: `block` and `slot` of each video frame, its `mouth`
[N, 16], and `held_out` (true for the voices and sentences that are never trained on).
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from engines.musetalk.whisper import load_encoder
from training.ears.dataset import load
from training.musetalk.clip import Clip, clip_of
from training.musetalk.sound import FRAMES_PER_BLOCK, joined, random_rows, unvoiced, varied

COPIES = {"kokoro": 2.0, "hibari": 1.5, "flite": 0.6, "espeak": 0.45}
"""How often a recording is heard, by engine; natural voices more than mechanical ones."""
NEGATIVE_SHARE = 0.1
CLIPS_JOINED = 2
HELD_OUT_CLIPS = 6
"""For each held-out voice."""


def training_clips(speech: Path, rng: np.random.Generator) -> list[list[Path]]:
    """Recordings in the order of training, joined by twos."""
    chosen: list[Path] = []
    for path in sorted((speech / "train").glob("*/*.npz")):
        copies = COPIES[path.parent.name.partition("_")[0]]
        chosen += [path] * int(copies + rng.random())
    random.Random(1).shuffle(chosen)
    return [chosen[k : k + CLIPS_JOINED] for k in range(0, len(chosen), CLIPS_JOINED)]


def clips(speech: Path, rng: np.random.Generator) -> Iterator[tuple[Clip, bool]]:
    """Clips and whether they are held out; those come first."""
    for voice in sorted((speech / "test").iterdir()):
        for path in sorted(voice.glob("*.npz"))[:HELD_OUT_CLIPS]:
            recording = load(path)
            yield clip_of(recording.pcm, recording.gestures), True
    for paths in training_clips(speech, rng):
        yield joined([varied(load(path), rng) for path in paths]), False
        if rng.random() < NEGATIVE_SHARE:
            yield unvoiced(rng), False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--speech", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--whisper", type=Path, default=Path("models/whisper"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.work.mkdir(parents=True, exist_ok=True)
    encoder, rng = load_encoder(options.whisper), np.random.default_rng(1)
    columns: dict[str, list[Any]] = {name: [] for name in ("block", "slot", "mouth", "held_out")}
    blocks = 0
    with (options.work / "rows.f16").open("wb") as file:
        for number, (clip, held_out) in enumerate(clips(options.speech, rng)):
            rows = random_rows(clip, encoder, rng)
            file.write(rows.tobytes())
            frame = np.arange(clip.frames)
            columns["block"].append(blocks + frame // FRAMES_PER_BLOCK)
            columns["slot"].append(frame % FRAMES_PER_BLOCK)
            columns["mouth"].append(clip.mouth)
            columns["held_out"].append(np.full(clip.frames, held_out))
            blocks += len(rows)
            if number % 100 == 0:
                print(f"clip {number}, blocks {blocks}", flush=True)
    block, slot, mouth, kept = (np.concatenate(parts) for parts in columns.values())
    np.savez(options.work / "frames.npz", block=block, slot=slot, mouth=mouth, held_out=kept)


if __name__ == "__main__":
    main()
