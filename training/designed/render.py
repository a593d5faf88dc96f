"""Renders random designs of Kokoro, from which `fit` learns what the speaker models hear in a design.

    python -m training.designed.render FOLDER --count 4000

Each rendering is one file of FOLDER, made anew from its number, so a run that ends early is gone on with.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import onnxruntime
import soxr
from numpy.typing import NDArray

from media import SAMPLE_RATE_HZ
from tts.kokoro import KokoroEngine
from tts.kokorodesign import Design
from tts.kokoronet import SAMPLE_RATE_HZ as KOKORO_RATE_HZ
from voices.cloning.designtable import FORMANTS
from voices.cloning.pitch import pitch_of

PHRASES = {
    "en": (
        "The weather is calm and clear today.",
        "Please leave the keys on the table.",
        "My brother walked along the river.",
        "We are open from nine until five.",
        "Thank you for calling, goodbye.",
        "A large brown dog jumped over it.",
        "Could you show me another one?",
        "Her voice was warm and friendly.",
    ),
    "zh": (
        "今天的天气非常晴朗。",
        "请把钥匙放在桌子上。",
        "我们早上九点开门。",
        "谢谢您的来电，再见。",
        "他昨天去了一趟北京。",
        "你能给我看看别的吗？",
    ),
}
REACH = (0.8, 1.6)
"""How far from the mean voice a mixture may lie, as a share of its own distance."""
PITCH_HZ = (75.0, 330.0)
PITCH_FACTOR = (0.62, 1.6)
BASE_PHRASES = 4


class Renderer:
    """Kokoro with its parts in reach."""

    def __init__(self) -> None:
        self.engine = KokoroEngine()
        self.network = self.engine._loaded()
        self.voices = {voice.id.split(":", 1)[1]: voice for voice in self.engine.voices()}
        self.names = sorted(self.voices)
        self.packs = {name: self.engine._style(name) for name in self.names}
        self._ids: dict[tuple[str, str], list[int]] = {}

    def ids(self, text: str, language: str) -> list[int]:
        """Phonemes of a phrase, American where it is English."""
        if (text, language) not in self._ids:
            voice = self.voices["af_heart"]
            parts = self.engine._spell(text, voice, language, False)
            self._ids[text, language] = self.engine._ids([spelling for part in parts for spelling in part])[0]
        return self._ids[text, language]

    def say(
        self, ids: list[int], weights: NDArray[np.float32], prosody: str, pitch: float, formants: float
    ) -> NDArray[np.float32]:
        """A phrase at 16 kHz; `weights` [voices] mixes the timbre, `pitch` is a factor on the prosody voice's."""
        design = Design(dict(zip(self.names, weights.tolist(), strict=True)), pitch, formants)
        style = design.style(self.packs[prosody], self.packs)[len(ids) - 1]
        options = onnxruntime.RunOptions()
        pcm, _ = self.network.run(ids, style, 1 / formants, 1, options, pitch / formants)
        return np.asarray(soxr.resample(design.played(pcm), KOKORO_RATE_HZ, SAMPLE_RATE_HZ), np.float32)


def random_weights(rng: np.random.Generator, count: int) -> NDArray[np.float32]:
    """A third plain voices, the rest mixtures of two to five that may lie outside of them all."""
    weights = np.zeros(count)
    if rng.random() < 0.3:
        weights[rng.integers(count)] = 1.0
        return weights.astype(np.float32)
    chosen = rng.choice(count, rng.integers(2, 6), replace=False)
    weights[chosen] = rng.dirichlet(np.full(chosen.size, 0.7))
    mean = np.full(count, 1 / count)
    return (mean + rng.uniform(*REACH) * (weights - mean)).astype(np.float32)


def base_pitch_hz(renderer: Renderer) -> dict[tuple[str, str], float]:
    """Median pitch of every voice in each language."""
    found = {}
    for number, name in enumerate(renderer.names):
        weights = np.eye(len(renderer.names), dtype=np.float32)[number]
        for language, texts in PHRASES.items():
            pcm = [renderer.say(renderer.ids(text, language), weights, name, 1.0, 1.0) for text in texts[:BASE_PHRASES]]
            found[name, language] = pitch_of(np.concatenate(pcm)).median_hz
    return found


def render(renderer: Renderer, bases: dict[tuple[str, str], float], number: int) -> dict[str, NDArray[np.generic]]:
    """Rendering `number`: its sound and what made it."""
    rng = np.random.default_rng(number)
    weights = random_weights(rng, len(renderer.names))
    language = "en" if rng.random() < 0.55 else "zh"
    text = str(rng.choice(PHRASES[language]))
    share = np.maximum(weights, 0) + 1e-3
    prosody = str(rng.choice(renderer.names, p=share / share.sum()))
    base = bases[prosody, language]
    low, high = max(PITCH_HZ[0], base * PITCH_FACTOR[0]), min(PITCH_HZ[1], base * PITCH_FACTOR[1])
    hz = base if rng.random() < 0.25 else float(np.exp(rng.uniform(np.log(low), np.log(high))))
    formants = 1.0 if rng.random() < 0.3 else float(np.exp(rng.uniform(*np.log(FORMANTS))))
    pcm = renderer.say(renderer.ids(text, language), weights, prosody, hz / base, formants)
    return {
        "pcm": np.clip(pcm * 32768, -32768, 32767).astype(np.int16),
        "weights": weights,
        "facts": np.array([hz, formants, renderer.names.index(prosody), language == "zh"], np.float32),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=4000)
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    renderer = Renderer()
    bases = base_pitch_hz(renderer)
    for number in range(given.count):
        path = given.folder / f"{number:05}.npz"
        if not path.exists():
            part = path.with_suffix(".part.npz")
            np.savez(part, allow_pickle=False, **render(renderer, bases, number))
            part.rename(path)


if __name__ == "__main__":
    main()
