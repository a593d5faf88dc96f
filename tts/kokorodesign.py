"""A voice that Kokoro's own are mixed to: whose timbre in which shares, how high, and with how long a throat.

A style of Kokoro has two halves: the first tells the decoder how the voice sounds, the second tells the predictor how
it speaks (pitch, pace, energy). A design mixes first halves and leaves the second one to the voice that speaks. Pitch
is changed inside the network, before the decoder. Formants are moved by playing the sound faster or slower, after the
network made it lower or higher, slower or faster, by as much: so nothing but the formants moves, and no vocoder is
heard.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import soxr
from numpy.typing import NDArray

from errors import BadRequest
from media import Pcm
from tts.kokoronet import SAMPLE_RATE_HZ, STYLE_SIZE

TIMBRE = slice(0, STYLE_SIZE // 2)
"""The half of a style that the decoder is given."""
PITCH = (0.5, 2.0)
FORMANTS = (0.8, 1.25)
SHARE_MOST = 4.0
SHARES_MOST = 100


@dataclasses.dataclass(frozen=True, slots=True)
class Design:
    """What is changed of the voice that speaks."""

    timbre: Mapping[str, float]
    """Kokoro voice -> share; they sum to about 1 and may be below 0. Empty: the voice's own."""
    pitch: float = 1.0
    """Factor on the voice's own."""
    formants: float = 1.0
    """Factor on their frequencies: above 1 for a shorter throat."""

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> Design:
        """A design as JSON has it.

        Raises:
            BadRequest: a field is of the wrong kind or out of bounds.
        """
        timbre = facts.get("timbre", {})
        if not isinstance(timbre, Mapping) or len(timbre) > SHARES_MOST:
            raise BadRequest(f"design: timbre must be at most {SHARES_MOST} shares by voice, not {str(timbre)[:80]}")
        shares = {
            str(name): _within(share, f"timbre.{name}", -SHARE_MOST, SHARE_MOST) for name, share in timbre.items()
        }
        return cls(
            shares,
            _within(facts.get("pitch", 1.0), "pitch", *PITCH),
            _within(facts.get("formants", 1.0), "formants", *FORMANTS),
        )

    def style(self, own: NDArray[np.float32], packs: Mapping[str, NDArray[np.float32]]) -> NDArray[np.float32]:
        """The mixed style.

        Args:
            own: [phonemes, 1, STYLE_SIZE] of the voice that speaks.
            packs: the same of every voice of `timbre`.
        """
        if not self.timbre:
            return own
        mixed = own.copy()
        mixed[..., TIMBRE] = sum(np.float32(share) * packs[name][..., TIMBRE] for name, share in self.timbre.items())
        return mixed

    def played(self, pcm: Pcm) -> Pcm:
        """The network's sound with its formants moved, at the same rate."""
        if self.formants == 1.0:
            return pcm
        moved = soxr.resample(pcm, SAMPLE_RATE_HZ * self.formants, SAMPLE_RATE_HZ)
        return np.asarray(moved, np.float32)


def _within(value: Any, name: str, least: float, most: float) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise BadRequest(f"design: {name} is {value!r}, but must be a number")
    if not least <= value <= most:
        raise BadRequest(f"design: {name} is {value}, but must lie within {least} and {most}")
    return float(value)
