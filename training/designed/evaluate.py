"""How like a recorded speaker a designed voice is.

    python -m training.designed.evaluate CLIP.wav ...

For each clip: the cosine of the speakers' vectors of the clip and of a text spoken by the designed voice, by Kokoro's
nearest own voice, and, on average, by the voices designed for the other clips; by CAM++, which the design is fitted
with, and by Resemblyzer, which it has never met. `self` are the two halves of the clip: what the same speaker reaches.
Half of each clip designs the voice, the other half judges it.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from media import SAMPLE_RATE_HZ, Pcm
from tts.kokoro import KokoroEngine
from voices.cloning.base import Clip, Made
from voices.cloning.designed import MODEL, DesignedMaker
from voices.speakers.local import CampPlus, Resemblyzer

TEXT = "Thank you for calling. Could you show me another one? A large brown dog jumped over it."
LONGEST_S = 20.0
Vectors = dict[str, NDArray[np.float32]]


def read(path: Path) -> Pcm:
    """A clip as mono float32 at 16 kHz, at most LONGEST_S of it."""
    pcm, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
    heard = soxr.resample(pcm.mean(1), rate_hz, SAMPLE_RATE_HZ)[: round(LONGEST_S * SAMPLE_RATE_HZ)]
    return np.asarray(heard, np.float32)


async def said(maker: DesignedMaker, recipe: dict[str, Any]) -> Pcm:
    """TEXT by a recipe, at 16 kHz."""
    sounds = [sound.pcm async for sound in maker.speak("", recipe, TEXT, "en", MODEL, 1.0)]
    return np.asarray(soxr.resample(np.concatenate(sounds), maker.sample_rate_hz, SAMPLE_RATE_HZ), np.float32)


def plain(voice: str) -> dict[str, Any]:
    """A recipe that is one of Kokoro's own voices."""
    return {"design": {"timbre": {}}, "prosody": {"en": {"voice": voice, "pitch": 1.0}}}


async def run(paths: list[Path], out: Path | None) -> None:
    campplus, resemblyzer = CampPlus(), Resemblyzer()
    maker = DesignedMaker(KokoroEngine(), campplus, owns_kokoro=True)
    judges = {"CAM++": campplus, "Resemblyzer": resemblyzer}
    clips: dict[str, Pcm] = {}
    designs: dict[str, Made] = {}
    spoken: dict[str, Vectors] = {}
    lines = {}
    for path in paths:
        pcm = read(path)
        half, rest = np.array_split(pcm, 2)
        began = time.monotonic()
        made = await maker.make(Clip(path, half, "", "", "en"), MODEL, "", lambda *_: None)
        seconds = time.monotonic() - began
        clips[path.stem], designs[path.stem] = rest, made
        sound = await said(maker, dict(made.recipe))
        if out is not None:
            soundfile.write(out / f"{path.stem}.designed.wav", sound, SAMPLE_RATE_HZ)
        spoken[path.stem] = {name: judge.vector(sound) for name, judge in judges.items()}
        nearest = await said(maker, plain(made.recipe["nearest"]))
        row = [f"{seconds:.2f}", made.recipe["nearest"], f"{made.recipe['design']['formants']:.2f}"]
        for name, judge in judges.items():
            own = judge.vector(rest)
            row += [f"{judge.vector(half) @ own:.2f}", f"{spoken[path.stem][name] @ own:.2f}"]
            row += [f"{judge.vector(nearest) @ own:.2f}"]
        lines[path.stem] = row
    print("| clip | s | nearest | formants |" + "".join(f" {n} self | designed | nearest | others |" for n in judges))
    print("|---" * (4 + 4 * len(judges)) + "|")
    for clip, row in lines.items():
        for number, (name, judge) in enumerate(judges.items()):
            own = judge.vector(clips[clip])
            others = [vectors[name] @ own for other, vectors in spoken.items() if other != clip]
            row.insert(3 + 4 * number + 3, f"{np.mean(others):.2f}" if others else "")
        print(f"| {clip} | " + " | ".join(row) + " |")
    means = np.array([[float(value or "nan") for value in row[3:]] for row in lines.values()]).mean(0)
    print("| mean | | | | " + " | ".join(f"{value:.3f}" for value in means) + " |")
    await maker.aclose()
    await resemblyzer.aclose()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clips", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, help="a directory to keep what the designed voices said")
    given = parser.parse_args()
    asyncio.run(run(given.clips, given.out))


if __name__ == "__main__":
    main()
