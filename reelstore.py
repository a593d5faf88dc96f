"""`ReelStore`: all reels of a process, within one budget of memory."""

from __future__ import annotations

import collections
import dataclasses
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor

from errors import Unavailable
from reels import IN_USE_S, Footage, LongReel, Picture, Reel, WholeReel

log = logging.getLogger(__name__)

BUDGET_MIB = 1024
WHOLE_SHARE = 2
"""Reels held whole take at most one part in so many of the budget."""
THREADS_MAX = 8


@dataclasses.dataclass(slots=True, eq=False)
class _Piece:
    """A piece of a long reel that is in memory or on its way."""

    bytes: int
    looked_at: float
    awaited: bool = False
    """Somebody waits for it, however long that takes."""
    pictures: Future[list[Picture]] = dataclasses.field(default_factory=Future)


class _Passed(Exception):
    """A piece was not decoded because nobody looks at it any more."""


class ReelStore:
    """Holds whole reels whole, and of long ones what is being shown. Thread-safe; `close` ends its threads.

    What nobody has looked at for a second is let go, and beyond the budget what was not looked at for longest.

    Args:
        budget_mib: memory for pictures. Reels are held whole as long as those take up to half of it.
        clock: monotonic seconds.

    Attributes:
        late: how many pictures were shown in place of one that was not there yet.
    """

    def __init__(self, budget_mib: int = BUDGET_MIB, clock: Callable[[], float] = time.monotonic) -> None:
        self.late = 0
        self._budget = budget_mib << 20
        self._clock = clock
        self._whole_bytes = 0
        self._piece_bytes = 0
        self._pieces: collections.OrderedDict[tuple[int, int], _Piece] = collections.OrderedDict()
        """By reel and piece; those looked at last are at the end."""
        self._freed: collections.deque[tuple[int, int]] = collections.deque()
        """Numbers of long reels (else -1) and bytes of whole ones that nobody holds any more: a collector may note
        them in any thread, also in one that is in here."""
        self._lock = threading.Lock()
        threads = min(max(2, (os.cpu_count() or 1) // 2), THREADS_MAX)
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="reel")

    def close(self) -> None:
        """End the threads; reels give only what is there."""
        self._pool.shutdown(cancel_futures=True)

    def reel(self, footage: Footage) -> Reel:
        """A reel of that footage, whole if it is short enough; blocks while that is decoded.

        Raises:
            Unprocessable: the footage is damaged.
        """
        size = footage.count * footage.picture_bytes
        with self._lock:
            self._sweep()
            fits = self._whole_bytes + size <= self._budget // WHOLE_SHARE
            if fits:
                self._whole_bytes += size
        if not fits:
            log.info("%s: %d MiB of pictures are decoded where they are shown", footage.name, size >> 20)
            long = LongReel(footage, self)
            weakref.finalize(long, self._freed.append, (long.number, 0)).atexit = False
            return long
        try:
            whole = WholeReel(footage.whole())
        except BaseException:
            with self._lock:
                self._whole_bytes -= size
            raise
        weakref.finalize(whole, self._freed.append, (-1, size)).atexit = False
        return whole

    def admit(self, reel: Reel) -> None:
        """Refuse to show one more long reel where there is no room for its pieces.

        Raises:
            Unavailable: others that are being shown take all of it.
        """
        if not isinstance(reel, LongReel):
            return
        oldest = self._clock() - IN_USE_S
        with self._lock:
            self._sweep()
            used = [(key, piece) for key, piece in self._pieces.items() if piece.looked_at >= oldest]
            room = self._budget - self._whole_bytes - sum(piece.bytes for _, piece in used)
        if reel.place_bytes > room and all(number != reel.number for (number, _), _ in used):
            raise Unavailable(
                f"{reel.footage.name} needs {reel.place_bytes >> 20} MiB for its pictures, {max(room, 0) >> 20} of"
                f" {self._budget >> 20} MiB are left beside what other sessions show; --avatar_memory sets how many"
            )

    def figures(self) -> dict[str, float]:
        """For `/metrics`."""
        with self._lock:
            self._sweep()
            held = self._whole_bytes + self._piece_bytes
        return {"reel_bytes": held, "reel_late_pictures_total": self.late}

    # ---- of one long reel

    def find(self, reel: LongReel, number: int, then: int) -> Picture:
        """The picture, or the nearest that is there; asks for it and for `then`."""
        piece = reel.piece_of(number)
        with self._lock:
            found = self._look(reel, piece)
            self._look(reel, reel.piece_of(then))
        pictures = _arrived(found)
        if pictures is not None:
            return pictures[number - reel.starts[piece]]
        self.late += 1
        return self._nearest(reel, piece)

    def wait(self, reel: LongReel, number: int, then: int) -> Picture:
        """The picture, waiting for it; asks for `then` as well."""
        piece = reel.piece_of(number)
        with self._lock:
            found = self._look(reel, piece)
            found.awaited = True
            self._look(reel, reel.piece_of(then))
        try:
            return found.pictures.result()[number - reel.starts[piece]]
        except CancelledError:
            raise Unavailable(f"{reel.footage.name}: the reels are closed") from None

    def _look(self, reel: LongReel, piece: int) -> _Piece:
        """A piece, asked for if need be; the lock is held."""
        key, now = (reel.number, piece), self._clock()
        found = self._pieces.get(key)
        if found is None:
            found = self._pieces[key] = _Piece(reel.piece_bytes(piece), now)
            self._piece_bytes += found.bytes
            try:
                found.pictures = self._pool.submit(self._load, reel, piece, found)
            except RuntimeError:  # closed
                found.pictures.cancel()
            self._make_room()
        else:
            self._pieces.move_to_end(key)
            found.looked_at = now
        return found

    def _load(self, reel: LongReel, piece: int, wanted: _Piece) -> list[Picture]:
        """Decode a piece, on one of the pool's threads."""
        with self._lock:
            if not wanted.awaited and self._clock() - wanted.looked_at > IN_USE_S:
                # A machine that is behind must not fall further behind for what nobody looks at any more.
                self._drop((reel.number, piece), wanted)
                raise _Passed
        try:
            pictures = reel.footage.load(piece)
        except Exception as error:
            log.error("%s: pictures %d on cannot be decoded: %s", reel.footage.name, reel.starts[piece], error)
            raise
        for picture in pictures:
            picture.setflags(write=False)
        return pictures

    def _nearest(self, reel: LongReel, piece: int) -> Picture:
        """The last picture before a missing piece, or the first after it, whichever piece is nearer."""
        for away in range(1, len(reel.starts)):
            for other in (piece - away, piece + away):
                with self._lock:
                    there = self._pieces.get((reel.number, other))
                if there is not None and (pictures := _arrived(there)) is not None:
                    return pictures[-1 if other < piece else 0]
        return reel.first

    # ---- room; the lock is held

    def _make_room(self) -> None:
        """Let go what is not shown any more, and beyond the budget what was not looked at for longest."""
        self._sweep()
        room, oldest = self._budget - self._whole_bytes, self._clock() - IN_USE_S
        for key, piece in list(self._pieces.items()):
            if self._piece_bytes <= room and piece.looked_at >= oldest:
                return
            if piece.pictures.done():
                self._drop(key, piece)

    def _drop(self, key: tuple[int, int], piece: _Piece) -> None:
        if self._pieces.get(key) is piece:
            del self._pieces[key]
            self._piece_bytes -= piece.bytes

    def _sweep(self) -> None:
        """Take off what reels took that nobody holds any more."""
        while self._freed:
            number, size = self._freed.popleft()
            self._whole_bytes -= size
            for key in [key for key in self._pieces if key[0] == number]:
                self._drop(key, self._pieces[key])


def _arrived(piece: _Piece) -> list[Picture] | None:
    """Its pictures if they are there."""
    done = piece.pictures.done() and not piece.pictures.cancelled() and piece.pictures.exception() is None
    return piece.pictures.result() if done else None
