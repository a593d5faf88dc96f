"""How well the speaker models tell voices apart: the equal error rate, on a set made here.

    python -m training.speakers.evaluate FOLDER

The set: every voice of Kokoro that is installed, hibari, flite's and eight of espeak-ng's, each saying four sentences
that no network of this project was trained on. It is made once and kept in FOLDER. Every pair of recordings is a trial;
the conditions change one of the two. Synthetic voices are steadier than people, so the rates are a comparison of models
and conditions, and not what people would give.
"""

from __future__ import annotations

import argparse
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import hibari
import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from media import SAMPLE_RATE_HZ, Pcm
from training.designed.render import Renderer
from training.speakers.channels import coded, noisy, telephone
from voices.speakers.local import CampPlus, LocalModel, Resemblyzer

SENTENCES = {
    "en": (
        "The museum closes at six, but the garden stays open until sunset.",
        "If you turn left behind the station, you will see a yellow house.",
        "Nobody remembered who had ordered the second pot of coffee.",
        "Her uncle repairs old violins in a workshop near the harbour.",
    ),
    "zh": (
        "博物馆六点关门，不过花园一直开放到日落。",
        "从车站后面向左拐，您会看见一座黄色的房子。",
        "没有人记得第二壶咖啡是谁点的。",
        "她叔叔在港口附近的作坊里修理旧提琴。",
    ),
}
FLITE = ("awb", "kal16", "rms", "slt")
ESPEAK = ("en-us+f2", "en-us+f4", "en-us+m3", "en-us+m7", "en-gb+f1", "en-gb+m1", "en-gb-scotland+m4", "en-us+croak")
ALIKE = {frozenset(("hibari_heart", "kokoro_af_heart"))}
"""hibari learnt from this voice, so whether they are one speaker is nobody's to say."""
Scores = NDArray[np.float64]


def made(folder: Path) -> dict[str, list[Pcm]]:
    """The set: voice -> its recordings at 16 kHz; what is missing in `folder` is made."""
    folder.mkdir(parents=True, exist_ok=True)
    renderer = Renderer()
    jobs: list[tuple[str, int, Callable[[], tuple[Pcm, int]]]] = []
    for at, name in enumerate(renderer.names):
        alone = np.eye(len(renderer.names), dtype=np.float32)[at]
        language = "zh" if name[0] == "z" else "en"
        for number, text in enumerate(SENTENCES[language]):
            jobs.append((f"kokoro_{name}", number, partial(_kokoro, renderer, text, name, alone, language)))
    heart = hibari.Hibari(threads=1)
    for number, text in enumerate(SENTENCES["en"]):
        jobs.append(("hibari_heart", number, partial(_hibari, heart, text, number)))
        for voice in FLITE:
            command = ["flite", "-voice", voice, "-t", text, "-o", "/dev/stdout"]
            jobs.append((f"flite_{voice}", number, partial(_program, command)))
        for voice in ESPEAK:
            jobs.append((f"espeak_{voice}", number, partial(_program, ["espeak-ng", "-v", voice, "--stdout", text])))
    for voice, number, make in jobs:
        _keep(folder, voice, number, make)
    found: dict[str, list[Pcm]] = {}
    for path in sorted(folder.glob("*.flac")):
        found.setdefault(path.stem.rsplit(".", 1)[0], []).append(soundfile.read(path, dtype="float32")[0])
    return found


def _keep(folder: Path, voice: str, number: int, make: Callable[[], tuple[Pcm, int]]) -> None:
    path = folder / f"{voice}.{number}.flac"
    if not path.exists():
        pcm, rate_hz = make()
        pcm = soxr.resample(pcm, rate_hz, SAMPLE_RATE_HZ)
        loud = np.flatnonzero(np.abs(pcm) > 0.01)
        soundfile.write(path, pcm[loud[0] : loud[-1]], SAMPLE_RATE_HZ)


def _kokoro(renderer: Renderer, text: str, voice: str, alone: NDArray[np.float32], language: str) -> tuple[Pcm, int]:
    return renderer.say(renderer.ids(text, language), alone, voice, 1.0, 1.0), SAMPLE_RATE_HZ


def _hibari(voice: hibari.Hibari, text: str, seed: int) -> tuple[Pcm, int]:
    return voice(text, seed=seed), hibari.SAMPLE_RATE


def _program(command: list[str]) -> tuple[Pcm, int]:
    out = subprocess.run(command, check=True, capture_output=True).stdout
    at = out.index(b"data") + 8
    rate_hz = int.from_bytes(out[24:28], "little")
    samples = np.frombuffer(out[at : at + (len(out) - at) // 2 * 2], "<i2")
    return np.asarray(samples / 32768, np.float32), rate_hz


CLEAN = "clean"
CONDITIONS: dict[str, Callable[[Pcm], Pcm]] = {
    CLEAN: lambda pcm: pcm,
    "1.5 s": lambda pcm: pcm[: SAMPLE_RATE_HZ * 3 // 2],
    "pink noise 10 dB": partial(noisy, ratio_db=10),
    "Opus 12 kbit/s": partial(coded, name="opus", bit_rate=12_000),
    "telephone": telephone,
    "quarter of the level": lambda pcm: pcm * np.float32(0.25),
}


def trials(voices: list[str]) -> Iterator[tuple[int, int, bool]]:
    """Pairs of recordings, by their place in `voices`, and whether one speaker says both."""
    for one, first in enumerate(voices):
        for other, second in enumerate(voices):
            if one != other and frozenset((first, second)) not in ALIKE:
                yield one, other, first == second


def equal_error(same: Scores, different: Scores) -> tuple[float, float]:
    """The rate at which as many pairs are wrongly taken for one speaker as for two, and the cosine where that is."""
    cosines = np.unique(np.concatenate((same, different)))
    missed = np.searchsorted(np.sort(same), cosines) / same.size
    mistaken = 1 - np.searchsorted(np.sort(different), cosines) / different.size
    at = int(np.abs(missed - mistaken).argmin())
    return float((missed[at] + mistaken[at]) / 2), float(cosines[at])


def judge(model: LocalModel, recordings: list[Pcm], voices: list[str]) -> None:
    """Print a model's table; the last columns are for the threshold that it has."""
    clean = np.stack([model.vector(pcm) for pcm in recordings])
    pairs = np.array(list(trials(voices)))
    one, other, same = pairs[:, 0], pairs[:, 1], pairs[:, 2].astype(bool)
    print(f"\n{model.id.name}: {same.sum()} trials of one speaker, {(~same).sum()} of two\n")
    columns = "condition | equal error % | at cosine | same, mean | different, mean"
    print(f"| {columns} | missed % at {model.same_speaker} | mistaken % |\n|---|---|---|---|---|---|---|")

    def row(name: str, scores: Scores, same: NDArray[np.bool_]) -> None:
        rate, at = equal_error(scores[same], scores[~same])
        missed, mistaken = (scores[same] < model.same_speaker).mean(), (scores[~same] >= model.same_speaker).mean()
        means = f"{scores[same].mean():.3f} | {scores[~same].mean():.3f}"
        print(
            f"| {name} | {100 * rate:.2f} | {at:.3f} | {means} | {100 * missed:.1f} | {100 * mistaken:.1f} |",
            flush=True,
        )

    everything: list[Scores] = []
    for name, change in CONDITIONS.items():
        changed = clean if name == CLEAN else np.stack([model.vector(change(pcm)) for pcm in recordings])
        everything.append(np.einsum("ij,ij->i", clean[one], changed[other]).astype(np.float64))
        row(name, everything[-1], same)
    row("all", np.concatenate(everything), np.tile(same, len(everything)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    found = made(parser.parse_args().folder)
    voices = [voice for voice, recordings in found.items() for _ in recordings]
    recordings = [pcm for several in found.values() for pcm in several]
    seconds = sum(pcm.size for pcm in recordings) / SAMPLE_RATE_HZ
    print(f"{len(found)} voices, {len(recordings)} recordings of {seconds / len(recordings):.1f} s")
    for model in (CampPlus(), Resemblyzer()):
        judge(model, recordings, voices)


if __name__ == "__main__":
    main()
