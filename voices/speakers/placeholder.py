"""The document's first stage: a random vector in the place of a speaker model's, marked as what it is."""

from __future__ import annotations

import hashlib
import math

import numpy as np

from media import Pcm
from voices.speakers.base import ModelId, Vector

NAME = "placeholder"
DIMENSION = 256


class Placeholder:
    """The same vector for the same recording, and nothing else: it says nothing of the speaker.

    Args:
        dimension: numbers in a vector.
    """

    comparable = False
    same_speaker = math.inf

    def __init__(self, dimension: int = DIMENSION) -> None:
        self.id = ModelId(NAME, "sha256-1", dimension)

    def why_not(self) -> str | None:
        """Always usable."""
        return None

    async def embed(self, pcm: Pcm, seed: str) -> Vector:
        """A normal random vector of length 1, drawn from the SHA-256 of `seed`."""
        number = int.from_bytes(hashlib.sha256(seed.encode()).digest())
        vector = np.random.Generator(np.random.PCG64(number)).normal(size=self.id.dimension)
        return np.asarray(vector / np.linalg.norm(vector), np.float32)

    async def aclose(self) -> None:
        """Nothing to free."""
