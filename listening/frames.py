"""What flows through the listening rooms."""

from __future__ import annotations

import dataclasses

from media import Pcm


@dataclasses.dataclass(frozen=True, slots=True)
class MicFrame:
    """20 ms of a client's microphone."""

    pcm: Pcm
    """[SAMPLES_PER_FRAME] float32, 16 kHz mono, -1..1."""
    at: float
    """Monotonic seconds at which its first sample was captured, as well as is known."""
