"""Reels: the pictures of idle motions and actions. Short ones lie whole in memory, long ones pass through it.

A long reel is decoded in pieces, on threads of its own, ahead of where it is shown. Whoever shows it says where he is
and where he will be, so that nobody has to be registered; `ReelStore` holds the pieces.
"""

from __future__ import annotations

import bisect
import itertools
import math
import threading
from collections.abc import Iterable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from media import FPS

Picture = NDArray[np.uint8]

AHEAD = 8
"""Pictures by which a long reel is decoded ahead of its place: 320 ms, several times what a piece of 1080p takes."""
PIECES_SHOWN = 3
"""Of one place: what is shown, what is drawn ahead of that, and what comes next."""
IN_USE_S = 1.0
"""What was looked at within this time is being shown."""

_numbers = itertools.count()


class Footage(Protocol):
    """Where the pictures of a reel come from."""

    @property
    def name(self) -> str:
        """What messages call it."""

    @property
    def count(self) -> int:
        """Pictures, at least 1."""

    @property
    def picture_bytes(self) -> int:
        """Of one picture in memory."""

    def whole(self) -> list[Picture]:
        """All pictures; blocks.

        Raises:
            Unprocessable: it is damaged.
        """
        ...

    def pieces(self) -> Sequence[int]:
        """The first picture of each piece that `load` can give, ascending from 0; blocks for a moment.

        Raises:
            Unprocessable: it is damaged.
        """
        ...

    def load(self, piece: int) -> list[Picture]:
        """The pictures of a piece; blocks, any thread.

        Raises:
            Unprocessable: it is damaged there.
        """
        ...


class Reel(Protocol):
    """Pictures by their number, 0..count-1; shared and read-only. Thread-safe.

    `then` is the number that will be asked for about `AHEAD` pictures later.
    """

    count: int

    def at(self, number: int, then: int) -> Picture:
        """The picture; waits while it is decoded.

        Raises:
            Unprocessable: it cannot be decoded.
        """
        ...

    def now(self, number: int, then: int) -> Picture:
        """The picture, or the nearest that is there; never waits."""
        ...


class WholeReel:
    """A `Reel` in memory."""

    def __init__(self, pictures: Iterable[Picture]) -> None:
        self._pictures = tuple(pictures)
        for picture in self._pictures:
            picture.setflags(write=False)
        self.count = len(self._pictures)

    def at(self, number: int, then: int) -> Picture:
        """The picture."""
        return self._pictures[number]

    now = at


class Pieces(Protocol):
    """Holds pieces of long reels: `reelstore.ReelStore`."""

    def find(self, reel: LongReel, number: int, then: int) -> Picture:
        """The picture, or the nearest that is there; asks for it and for `then`."""
        ...

    def wait(self, reel: LongReel, number: int, then: int) -> Picture:
        """The picture, waiting for it; asks for `then` as well."""
        ...


class LongReel:
    """A `Reel` of which only what is shown and what comes next is in memory; made by `ReelStore.reel`."""

    def __init__(self, footage: Footage, pieces: Pieces) -> None:
        self.footage = footage
        self.count = footage.count
        self.number = next(_numbers)
        """Tells it from every other of the process, also from one that was freed."""
        self.starts = list(footage.pieces())
        longest = max(b - a for a, b in itertools.pairwise([*self.starts, self.count]))
        self.place_bytes = PIECES_SHOWN * longest * footage.picture_bytes
        """What one place takes at most."""
        self.first = footage.load(0)[0]
        """Shown where nothing else is there."""
        self.first.setflags(write=False)
        self._pieces = pieces
        self._motion = _Motion()

    def at(self, number: int, then: int) -> Picture:
        """The picture; waits while it is decoded."""
        return self._pieces.wait(self, number, then)

    def now(self, number: int, then: int) -> Picture:
        """The picture, or the nearest that is there; never waits."""
        return self._pieces.find(self, number, then)

    def place(self, now: float) -> int:
        """Where all who show it are at `now` (monotonic s): a place that grows by 25 a second while somebody does."""
        return self._motion.place(now)

    def show(self, now: float) -> int:
        """The same, for one who shows it."""
        return self._motion.show(now)

    def piece_of(self, number: int) -> int:
        """The piece that holds a picture."""
        return bisect.bisect_right(self.starts, number) - 1

    def piece_bytes(self, piece: int) -> int:
        """Of a piece in memory."""
        end = self.starts[piece + 1] if piece + 1 < len(self.starts) else self.count
        return (end - self.starts[piece]) * self.footage.picture_bytes


class _Motion:
    """A place that moves while it is shown, and else stands where it was, with what is decoded there. Thread-safe."""

    def __init__(self) -> None:
        self._place = 0
        """When it was shown last."""
        self._shown_at = -math.inf
        self._since = 0.0
        """When it would have been at 0."""
        self._lock = threading.Lock()

    def place(self, now: float) -> int:
        if now - self._shown_at > IN_USE_S:
            return self._place
        return int((now - self._since) * FPS + 1e-6)

    def show(self, now: float) -> int:
        with self._lock:
            place = self.place(now)
            if now - self._shown_at > IN_USE_S:
                self._since = now - place / FPS
            self._place, self._shown_at = place, now
            return place
