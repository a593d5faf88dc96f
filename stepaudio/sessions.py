"""State that callers come back for: kept for so long after each use, and for so many of them."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

from errors import BadRequest, Busy, Conflict

TIME_TO_LIVE_S = 60.0
"""After the last use; a caller that disappeared leaves nothing behind for longer."""
SESSIONS_MAX = 256
NAME_CHARACTERS_MAX = 128

T = TypeVar("T")


class Sessions(Generic[T]):
    """What belongs to each caller, by a name of the caller's. Thread-safe; expired ones go with the next call.

    Args:
        make: what a new session begins with.
        time_to_live_s: after the last use.
        most: at a time.
        clock: seconds, never backwards.
    """

    def __init__(
        self,
        make: Callable[[], T],
        time_to_live_s: float = TIME_TO_LIVE_S,
        most: int = SESSIONS_MAX,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._make = make
        self._time_to_live_s = time_to_live_s
        self._most = most
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, tuple[float, T]] = OrderedDict()
        """The one used longest ago first."""
        self._in_use: set[str] = set()

    @contextmanager
    def use(self, name: str, *, last: bool = False) -> Iterator[T]:
        """What belongs to `name`, for the time of the context; made anew where it is new or has expired.

        What fails within the context, or is the last of its session, is not kept.

        Args:
            name: 1 to NAME_CHARACTERS_MAX characters.
            last: whether the session ends with this.

        Raises:
            BadRequest: the name is empty or too long.
            Busy: there are `most` others.
            Conflict: another thread is using it.
        """
        mine = self._take(name)
        kept = False
        try:
            yield mine
            kept = not last
        finally:
            with self._lock:
                self._in_use.discard(name)
                if kept:
                    self._kept[name] = (self._clock(), mine)

    def __len__(self) -> int:
        with self._lock:
            self._expire()
            return len(self._kept) + len(self._in_use)

    def _take(self, name: str) -> T:
        if not isinstance(name, str) or not 0 < len(name) <= NAME_CHARACTERS_MAX:
            raise BadRequest(
                f"session {name!r:.150} must have 1 to {NAME_CHARACTERS_MAX} characters",
                zh=f"会话名应为 1 至 {NAME_CHARACTERS_MAX} 个字符",
            )
        with self._lock:
            self._expire()
            if name in self._in_use:
                raise Conflict(f"session {name!r} is being used already", zh=f"会话 {name!r} 正在使用中")
            known = self._kept.pop(name, None)
            if known is None and len(self._kept) + len(self._in_use) >= self._most:
                raise Busy(
                    f"there are {self._most} sessions already; end one first", zh=f"会话已达上限 {self._most} 个"
                )
            mine = known[1] if known else self._make()
            self._in_use.add(name)
            return mine

    def _expire(self) -> None:
        oldest = self._clock() - self._time_to_live_s
        while self._kept and next(iter(self._kept.values()))[0] < oldest:
            self._kept.popitem(last=False)
