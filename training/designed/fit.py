"""Makes `voices/cloning/designs.npz` of the renderings, and says how well it tells what CAM++ hears.

    python -m training.designed.fit FOLDER

What CAM++ heard of each rendering is kept in FOLDER, so that more renderings can be added.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.designed.render import PHRASES, Renderer
from tts.kokorodesign import TIMBRE
from voices.cloning.designtable import FORMANT_SCALE, LANGUAGES, PITCH_CENTRE_HZ, PITCH_SCALE, TABLE
from voices.cloning.pitch import pitch_of
from voices.speakers.local import CampPlus

ROWS = slice(20, 120)
"""Of a voice's styles: texts of so many phonemes; their mean stands for the voice."""
TIMBRE_SIZE, MANNER_SIZE = 24, 8
SPREAD = 6.0
"""Coordinates are scaled so that the voices' spread along each is one, times the root of 36."""
NARROWNESS = 0.01
NOISE = 0.1
"""Added to the kernel's diagonal: a phrase says only so much of its speaker."""
HELD_OUT = 5
"""One rendering of so many judges the table."""
VOICE_PHRASES = 3

Points = NDArray[np.float32]


def heard_of(folder: Path, model: CampPlus) -> dict[str, Points]:
    """Vector, weights and facts of every rendering; the new ones are heard now."""
    kept = folder / "heard.npz"
    found: dict[str, Points] = {}
    if kept.exists():
        with np.load(kept) as held:
            found = {name: held[name] for name in held.files}
    known = set(found["number"].tolist()) if found else set()
    rows = []
    for path in sorted(folder.glob("*.npz")):
        if path.stem.isdigit() and int(path.stem) not in known:
            with np.load(path) as one:
                vector = model.vector(one["pcm"].astype(np.float32) / 32768)
                rows.append((int(path.stem), vector, one["weights"], one["facts"]))
    if rows:
        columns = zip(("number", "vector", "weights", "facts"), zip(*rows, strict=True), strict=True)
        fresh = {name: np.stack([np.asarray(value) for value in column]) for name, column in columns}
        found = {name: np.concatenate((found[name], fresh[name])) if found else fresh[name] for name in fresh}
        np.savez(kept, allow_pickle=False, **found)
    return found


def voices_of(folder: Path, renderer: Renderer, model: CampPlus) -> dict[str, Points]:
    """Vector and pitch of each of Kokoro's voices."""
    kept = folder / "voices.npz"
    if not kept.exists():
        vectors, pitches = [], []
        for at, name in enumerate(renderer.names):
            alone = np.eye(len(renderer.names), dtype=np.float32)[at]
            said = {}
            for language in LANGUAGES:
                ids = [renderer.ids(text, language) for text in PHRASES[language][:VOICE_PHRASES]]
                said[language] = np.concatenate([renderer.say(one, alone, name, 1.0, 1.0) for one in ids])
            vectors.append(model.vector(said["zh" if name[0] == "z" else "en"]))
            pitches.append([pitch_of(said[language]).median_hz for language in LANGUAGES])
        np.savez(kept, allow_pickle=False, vectors=np.array(vectors), pitch_hz=np.array(pitches))
    with np.load(kept) as held:
        return {name: held[name] for name in held.files}


def coordinates(halves: Points, size: int) -> tuple[Points, Points]:
    """[voices, size] where voices stand along the axes on which they differ most, and [size, voices] back to shares."""
    apart = halves - halves.mean(0)
    _, spread, axes = np.linalg.svd(apart, full_matrices=False)
    places = apart @ axes[:size].T / spread[:size, None].T * SPREAD
    # A step along an axis as a change of shares: they sum to 0, and as few as can be.
    back = np.linalg.lstsq(
        np.concatenate((places.T, np.full((1, len(halves)), 30.0))),
        np.concatenate((np.eye(size), np.zeros((1, size)))),
        rcond=None,
    )[0].T
    return places.astype(np.float32), back.astype(np.float32)


def cosine(one: Points, other: Points) -> Points:
    """[n] of the rows."""
    found: Points = (one * other).sum(1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder: Path = parser.parse_args().folder
    model, renderer = CampPlus(), Renderer()
    heard, voices = heard_of(folder, model), voices_of(folder, renderer, model)
    styles = np.stack([renderer.packs[name][ROWS, 0].mean(0) for name in renderer.names])
    timbres, shares = coordinates(styles[:, TIMBRE], TIMBRE_SIZE)
    manners, _ = coordinates(styles[:, TIMBRE.stop :], MANNER_SIZE)
    hz, formants, prosody, chinese = heard["facts"].T
    points = np.column_stack(
        (
            heard["weights"] @ timbres,
            FORMANT_SCALE * np.log(formants),
            PITCH_SCALE * np.log(hz / PITCH_CENTRE_HZ),
            manners[prosody.astype(int)],
            chinese,
        )
    ).astype(np.float32)
    apart = ((points[:, None] - points[None]) ** 2).sum(-1)
    kernel = np.exp(-NARROWNESS * apart)
    vectors = heard["vector"]

    def weights(of: NDArray[np.bool_]) -> tuple[Points, Points]:
        mean = vectors[of].mean(0)
        inner = kernel[np.ix_(of, of)] + NOISE * np.eye(int(of.sum()))
        return np.linalg.solve(inner, vectors[of] - mean), mean

    judges = np.arange(len(points)) % HELD_OUT == 0
    learnt, mean = weights(~judges)
    estimated = kernel[np.ix_(judges, ~judges)] @ learnt + mean
    guess = np.tile(mean, (int(judges.sum()), 1))
    found, plain = cosine(estimated, vectors[judges]).mean(), cosine(guess, vectors[judges]).mean()
    print(f"{len(points)} renderings; mean cosine of estimate and heard on {judges.sum()} held out: {found:.3f}")
    print(f"of the mean of all: {plain:.3f}")
    learnt, mean = weights(np.ones(len(points), bool))
    places = {"timbres": timbres, "shares": shares, "manners": manners, "points": points}
    arrays = {**voices, **places, "weights": learnt, "mean": mean}
    halves = {name: np.asarray(value, np.float16) for name, value in arrays.items()}
    names = np.array(renderer.names)
    np.savez_compressed(TABLE, allow_pickle=False, names=names, narrowness=np.float32(NARROWNESS), **halves)
    print(f"{TABLE}: {TABLE.stat().st_size} bytes")


if __name__ == "__main__":
    main()
