"""What speaker a design of Kokoro's voices sounds like, by a table, and the design that sounds most like a given one.

The table holds renderings of random designs: what made each, and what CAM++ heard. Between them a design's vector is
estimated by kernel ridge regression (Rasmussen and Williams, "Gaussian Processes for Machine Learning", 2006, equation
2.25), and the best design is searched for by the cross-entropy method (Rubinstein, 1999). `training/designed` makes the
table.
"""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tts.kokorodesign import PITCH
from voices.cloning.pitch import Pitch
from voices.speakers.base import Vector

TABLE = Path(__file__).with_name("designs.npz")
LANGUAGES = ("en", "zh")
PITCH_SCALE, PITCH_CENTRE_HZ = 2.0, 150.0
FORMANT_SCALE = 8.0
"""How far a point of the table moves with the logarithms of pitch and formants; timbres move by about 1 each."""
FORMANTS = (0.84, 1.19)
"""How far they are moved: as far as the table knows."""
ROUNDS, POPULATION, ELITE = 16, 96, 16
WIDTH = 0.5
"""Of the first round's search, in the table's units."""
FAR_COST, FORMANT_COST = 0.004, 0.02
"""By squared distance from the mean voice: far away the estimate is worth less, and the voice breaks sooner."""
STARTS = 8
PITCH_COST = 0.5
"""By natural logarithm of the factor on its pitch, against cosine, when a voice is chosen to speak with."""
SHARE_LEAST = 0.02
"""Smaller shares of a voice are left out."""
INSTALLED_LEAST = 0.5
"""Where the shares of the installed voices sum to less, the nearest one speaks as it is."""

Points = NDArray[np.float32]


@dataclasses.dataclass(frozen=True, slots=True)
class Found:
    """A design, and how like the wanted speaker it should sound."""

    timbre: dict[str, float]
    """Kokoro voice -> share, the largest first; they sum to 1."""
    formants: float
    prosody: dict[str, tuple[str, float]]
    """Language -> the voice that speaks it, and the factor on its pitch; those for which a voice is installed."""
    nearest: str
    """Kokoro's own voice that sounds most like the speaker."""
    expected: float
    """Estimated cosine."""


@dataclasses.dataclass(frozen=True, slots=True)
class Table:
    """As `designs.npz` holds it; float32 here, half as wide there."""

    names: tuple[str, ...]
    """[voices] of Kokoro."""
    vectors: Points
    """[voices, 192] CAM++ of each, speaking its own language."""
    pitch_hz: Points
    """[voices, LANGUAGES] median of each, speaking each language."""
    timbres: Points
    """[voices, timbre] where each stands."""
    shares: Points
    """[timbre, voices] what a step along each coordinate adds to the shares, which sum to 0; the origin is the mean."""
    manners: Points
    """[voices, manner] the same for the halves of a style that say how it is spoken."""
    points: Points
    """[renderings, timbre + 1 + 1 + manner + 1] what was rendered: timbre, formants, pitch, manner, whether Chinese."""
    weights: Points
    """[renderings, 192] of the kernels around the points."""
    mean: Points
    """[192] of what was heard."""
    narrowness: float
    """Of the kernel exp(-narrowness distance^2)."""

    @classmethod
    @functools.cache
    def load(cls, path: Path = TABLE) -> Table:
        """The committed table, read once."""
        with np.load(path) as held:
            arrays = {name: held[name].astype(np.float32) for name in held.files if name != "names"}
            names = tuple(str(name) for name in held["names"])
        return cls(names, **{**arrays, "narrowness": float(arrays["narrowness"])})

    def heard(self, points: Points) -> Points:
        """[n, 192] estimated vectors of designs, of any length."""
        apart = (points**2).sum(1)[:, None] + (self.points**2).sum(1) - 2 * points @ self.points.T
        found: Points = np.exp(-self.narrowness * np.maximum(apart, 0)) @ self.weights + self.mean
        return found

    def design(self, vector: Vector, pitch: Pitch, language: str, installed: set[str]) -> Found:
        """The design that should sound most like a speaker; the same for the same speaker.

        Args:
            vector: CAM++ of the speaker.
            pitch: of the speaker; where there is none, the nearest voice's is kept.
            language: in which the design is heard first.
            installed: Kokoro's voices that may be used.

        Raises:
            ValueError: none of them is in the table.
        """
        usable = np.array([name in installed for name in self.names])
        likeness = np.where(usable, self.vectors @ vector, -np.inf)
        if not usable.any():
            raise ValueError("none of Kokoro's voices that the table knows is installed")
        nearest = int(likeness.argmax())
        hz = pitch.median_hz or float(self.pitch_hz[nearest, LANGUAGES.index(_language(self.names[nearest]))])
        spoken = [
            name
            for name in LANGUAGES
            if any(usable[at] and _language(own) == name for at, own in enumerate(self.names))
        ]
        prosody = {name: self._speaker(name, hz, likeness) for name in spoken}
        language = language if language in prosody else spoken[0]
        speaking, side = self.names.index(prosody[language][0]), LANGUAGES.index(language)
        place, formants, expected = self._search(vector, hz, speaking, side, likeness)
        shares = 1 / len(self.names) + place @ self.shares
        timbre = self._timbre(shares, usable) or {self.names[nearest]: 1.0}
        return Found(timbre, formants, prosody, self.names[nearest], expected)

    def _speaker(self, language: str, hz: float, likeness: Points) -> tuple[str, float]:
        """Who of a language's voices says it, and the factor on its pitch: like the speaker, and as high."""
        own = np.array([_language(name) == language for name in self.names])
        factors = hz / self.pitch_hz[:, LANGUAGES.index(language)]
        fitness = np.where(own, likeness, -np.inf) - PITCH_COST * np.abs(np.log(factors))
        best = int(fitness.argmax())
        return self.names[best], round(float(np.clip(factors[best], *PITCH)), 3)

    def _search(
        self, vector: Vector, hz: float, speaking: int, side: int, likeness: Points
    ) -> tuple[Points, float, float]:
        """The best place among the timbres, formants, and the cosine that is expected there."""
        rng = np.random.default_rng(0)
        size = self.timbres.shape[1]
        pitch = PITCH_SCALE * np.log(hz / PITCH_CENTRE_HZ)
        rest = np.concatenate(([pitch], self.manners[speaking], [side])).astype(np.float32)
        reach = FORMANT_SCALE * np.log(FORMANTS)

        def cosines(places: Points) -> Points:
            heard = self.heard(np.column_stack((places, np.tile(rest, (len(places), 1)))).astype(np.float32))
            return np.asarray(heard @ vector / np.linalg.norm(heard, axis=1), np.float32)

        def fitness(places: Points) -> Points:
            far = FAR_COST * (places[:, :size] ** 2).sum(1) + FORMANT_COST * places[:, size] ** 2
            return np.asarray(cosines(places) - far, np.float32)

        first = np.argsort(-likeness)[:STARTS]
        starts = np.column_stack((self.timbres[first], np.zeros(len(first)))).astype(np.float32)
        centre: Points = starts[int(fitness(starts).argmax())]
        width = np.full(size + 1, WIDTH, np.float32)
        for _ in range(ROUNDS):
            places = centre + rng.normal(size=(POPULATION, size + 1)).astype(np.float32) * width
            places[:, size] = np.clip(places[:, size], *reach)
            places[0] = centre
            best = places[np.argsort(-fitness(places))[:ELITE]]
            centre, width = best.mean(0), best.std(0) * 1.05 + 0.005
        formants = round(float(np.exp(centre[size] / FORMANT_SCALE)), 3)
        return centre[:size], formants, float(cosines(centre[None])[0])

    def _timbre(self, shares: Points, usable: NDArray[np.bool_]) -> dict[str, float]:
        """Shares by voice, the small ones left out, brought to a sum of 1; nothing where too much is not installed."""
        kept = np.where(usable & (np.abs(shares) >= SHARE_LEAST), shares, 0.0)
        if kept.sum() < INSTALLED_LEAST:
            return {}
        kept = kept / kept.sum()
        order = np.argsort(-np.abs(kept))
        return {self.names[at]: round(float(kept[at]), 4) for at in order if kept[at]}


def _language(name: str) -> str:
    """That a voice of Kokoro is at home in."""
    return "zh" if name.startswith("z") else "en"
