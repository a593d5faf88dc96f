"""Hear the corpus with Whisper: `python -m training.musetalk.prepare --speech SPEECH --work WORK`.

SPEECH is what `training.ears.prepare` wrote. Writes WORK/frames.npz: of each video frame the `mouth` [N, 16], and
`held_out` [N] (true for the voices and sentences that are never trained on); and WORK/tokens.f16, what a session hears
for it, without places: float16 [N, 50, 384].
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from engines.musetalk.features import Hearing
from training.ears.dataset import load
from training.musetalk.clip import Clip, clip_of
from training.musetalk.sound import joined, unvoiced, varied
from training.musetalk.speaker import heard

COPIES = {"kokoro": 0.7, "hibari": 0.25, "flite": 0.2, "espeak": 0.25}
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
    found = list(clips(options.speech, np.random.default_rng(1)))
    mouth = np.concatenate([clip.mouth for clip, _ in found])
    held_out = np.concatenate([np.full(clip.frames, kept) for clip, kept in found])
    np.savez(options.work / "frames.npz", mouth=mouth, held_out=held_out)
    print(f"{len(mouth)} frames, {held_out.sum()} of them held out", flush=True)
    hearing = Hearing(options.whisper, positions=False)
    with (options.work / "tokens.f16").open("wb") as file:
        for number, (clip, _) in enumerate(found):
            file.write(heard(clip.pcm, hearing).half().numpy().tobytes())
            if number % 50 == 0:
                print(f"clip {number} of {len(found)}", flush=True)


if __name__ == "__main__":
    main()
