"""What every speaker model promises: a recording in, the speaker's vector out."""

from __future__ import annotations

import dataclasses
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from media import Pcm

Vector = NDArray[np.float32]
"""[dimension], of length 1."""


@dataclasses.dataclass(frozen=True, slots=True)
class ModelId:
    """What made a vector. Vectors are compared only where all three are equal."""

    name: str
    """`campplus`, `resemblyzer`, `placeholder` or a service's own."""
    version: str
    dimension: int


class SpeakerModel(Protocol):
    """One instance serves all requests; its methods are called on the event loop and never block it."""

    id: ModelId
    comparable: bool
    """False where a vector says nothing about the speaker (the placeholder): it is never compared."""
    same_speaker: float
    """Cosine from which two recordings are taken for one speaker's."""

    def why_not(self) -> str | None:
        """None when usable, else one sentence with the command that makes it so."""
        ...

    async def embed(self, pcm: Pcm, seed: str) -> Vector:
        """The speaker's vector.

        Args:
            pcm: mono float32 at 16 kHz, silence trimmed, at least a second.
            seed: names the recording; only the placeholder uses it.

        Raises:
            EngineError: the model failed.
        """
        ...

    async def aclose(self) -> None:
        """Free threads and models."""
        ...
