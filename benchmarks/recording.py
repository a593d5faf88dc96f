"""What a client saw and heard of one session, the same for every kind of client."""

from __future__ import annotations

import dataclasses
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from benchmarks.analysis import Levels, Times

PATCH_WIDTH, PATCH_HEIGHT = 32, 20
MOUTH = (0.38, 0.50, 0.24, 0.18)
"""x, y, width and height of the region where the presenter's mouth moves, as parts of the picture."""


@dataclasses.dataclass(frozen=True)
class Sound:
    """An envelope: `t` [n] s, `rms` [n] full scale 1, hop `HOP_S`."""

    t: Times
    rms: Levels

    @classmethod
    def join(cls, parts: list[tuple[Times, Levels]]) -> Sound:
        """In the order of arrival."""
        if not parts:
            return cls(np.zeros(0), np.zeros(0))
        return cls(np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts]))

    def since(self, t: float) -> Sound:
        """From `t` on."""
        late = self.t >= t
        return Sound(self.t[late], self.rms[late])


@dataclasses.dataclass(frozen=True)
class Pictures:
    """`t` [n] s; `patch` [n, PATCH_HEIGHT * PATCH_WIDTH] mean luma of the mouth region; `counter` [n] marks or -1."""

    t: Times
    patch: NDArray[np.uint8]
    counter: NDArray[np.int64]

    def between(self, start: float, end: float) -> Pictures:
        """Those of start <= t < end."""
        inside = (self.t >= start) & (self.t < end)
        return Pictures(self.t[inside], self.patch[inside], self.counter[inside])


@dataclasses.dataclass
class Connection:
    """How a session came up: milliseconds from the POST of the offer."""

    sessionid: str = ""
    answer_ms: float = 0.0
    connected_ms: float = 0.0
    first_picture_ms: float = 0.0
    first_packet_ms: float = 0.0
    """Of sound."""


class Session(Protocol):
    """A client's end of one session. Times are seconds of `time.monotonic()`."""

    connection: Connection

    async def open(self) -> None:
        """Negotiate and wait for picture and sound.

        Raises:
            ConnectionError: the server refused, or no media came in time.
        """
        ...

    async def sound(self) -> Sound:
        """Heard so far."""
        ...

    async def pictures(self) -> Pictures:
        """Seen so far; may be slow: call it when nothing is being timed."""
        ...

    async def close(self) -> None:
        """Leave; what was recorded stays readable."""
        ...


def mouth_patch(luma: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Mean luma of the mouth region in PATCH_HEIGHT x PATCH_WIDTH boxes, flattened."""
    height, width = luma.shape
    x, y = int(MOUTH[0] * width), int(MOUTH[1] * height)
    w = max(1, int(MOUTH[2] * width) // PATCH_WIDTH)
    h = max(1, int(MOUTH[3] * height) // PATCH_HEIGHT)
    boxes = luma[y : y + h * PATCH_HEIGHT, x : x + w * PATCH_WIDTH].reshape(PATCH_HEIGHT, h, PATCH_WIDTH, w)
    patch: NDArray[np.uint8] = np.round(boxes.mean(axis=(1, 3))).astype(np.uint8).reshape(-1)
    return patch
