"""What the inaudible mark survives, and how often it is heard where there is none.

    python -m training.watermark.evaluate FOLDER

FOLDER is the set of `training.speakers.evaluate`: every recording of it is judged plain and marked.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import soundfile
import soxr

from media import SAMPLE_RATE_HZ, Pcm
from training.speakers.channels import coded, noisy, telephone
from voices.provenance import MARKED
from voices.watermark import Watermark

CONDITIONS: dict[str, Callable[[Pcm], Pcm]] = {
    "as it is": lambda pcm: pcm,
    "MP3 32 kbit/s": partial(coded, name="mp3", bit_rate=32_000),
    "Opus 24 kbit/s": partial(coded, name="opus", bit_rate=24_000),
    "Opus 12 kbit/s": partial(coded, name="opus", bit_rate=12_000),
    "AAC 32 kbit/s": partial(coded, name="aac", bit_rate=32_000),
    "telephone": telephone,
    "half the level": lambda pcm: pcm * np.float32(0.5),
    "its last 1.5 s": lambda pcm: pcm[-SAMPLE_RATE_HZ * 3 // 2 :],
    "pink noise 20 dB": partial(noisy, ratio_db=20),
    "pink noise 10 dB": partial(noisy, ratio_db=10),
    "5 % faster": lambda pcm: np.asarray(soxr.resample(pcm, SAMPLE_RATE_HZ, SAMPLE_RATE_HZ / 1.05), np.float32),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--every", type=int, default=3, help="take one recording of so many")
    given = parser.parse_args()
    paths = sorted(given.folder.glob("*.flac"))[:: given.every]
    recordings = [soundfile.read(path, dtype="float32")[0] for path in paths]
    seconds = sum(pcm.size for pcm in recordings) / SAMPLE_RATE_HZ
    watermark = Watermark()
    watermark.mark(recordings[0], SAMPLE_RATE_HZ)
    began = time.process_time()
    marked = [watermark.mark(pcm, SAMPLE_RATE_HZ) for pcm in recordings]
    cost = (time.process_time() - began) / seconds
    changes = [10 * np.log10(np.mean((a - b) ** 2) / np.mean(a**2)) for a, b in zip(recordings, marked, strict=True)]
    print(f"{len(recordings)} recordings, {seconds:.0f} s; marking takes {cost:.4f} of a core")
    print(f"the change lies {-np.mean(changes):.1f} dB under the speech\n")
    print("| condition | marked is heard % | plain is taken for marked % |\n|---|---|---|")
    for name, change in CONDITIONS.items():
        hits = [watermark.scores(change(pcm), SAMPLE_RATE_HZ)[0] > MARKED for pcm in marked]
        slips = [watermark.scores(change(pcm), SAMPLE_RATE_HZ)[0] > MARKED for pcm in recordings]
        print(f"| {name} | {100 * np.mean(hits):.1f} | {100 * np.mean(slips):.1f} |", flush=True)


if __name__ == "__main__":
    main()
