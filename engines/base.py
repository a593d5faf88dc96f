"""What every lip engine promises, and the request it is given."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from media import I420

if TYPE_CHECKING:
    from avatar import Avatar


@dataclasses.dataclass(frozen=True, slots=True)
class LipRequest:
    """One picture to draw: what is heard around it and where it stands in the avatar's motion."""

    window: NDArray[np.float32]
    """What the engine hears for this video frame, as its `BaseASR` cut it."""
    avatar: Avatar
    frame_index: int
    blend: float
    """0..1: how much of the drawn mouth covers the idle picture (cross-fade at the ends of speech)."""
    deadline: float
    """Monotonic seconds at which the playout wants the picture."""
    offset: int = 0
    """Which video frame of the step in the middle of `window` is drawn."""


class LipEngine(Protocol):
    """Draws mouths, batched over all sessions. `render` is called from one thread at a time (but see `lanes_of`)."""

    max_batch: int

    def prepare(self, avatar: Avatar) -> None:
        """Load what the engine needs of an avatar before a session shows it; may run in any thread.

        Raises:
            Unprocessable: the engine cannot draw it.
        """
        ...

    def render(self, requests: Sequence[LipRequest]) -> Sequence[I420 | None]:
        """Draw 1..max_batch requests; pictures in the order of the requests, each a new array.

        None stands where a picture could not be drawn: its session shows the idle picture and goes on.
        """
        ...

    def forget(self, avatar_id: str) -> None:
        """Free what was loaded for an avatar that no session shows any more; may run in any thread."""
        ...

    def describe(self) -> dict[str, Any]:
        """JSON-ready facts for `doctor` and `/api/admin/config`."""
        ...

    def close(self) -> None:
        """Free what the engine holds, after the last `render`."""
        ...


@runtime_checkable
class WarmEngine(Protocol):
    """An engine that can say how fast it is before it draws for anyone."""

    def warm_up(self) -> float | None:
        """Draw full batches until they take no less time; pictures per second, None when that cannot be known."""
        ...


def lanes_of(engine: object) -> int:
    """How many batches an engine takes at once: its `lanes`, 1 without.

    An engine with more than one has its `render` called from that many threads, so that one batch is copied and blended
    while the device draws the next.
    """
    return max(1, int(getattr(engine, "lanes", 1)))


def draws_in_thread(engine: object) -> bool:
    """Whether an engine does its work in the thread that calls `render` and says so by `draws_in_thread`."""
    return bool(getattr(engine, "draws_in_thread", False))
