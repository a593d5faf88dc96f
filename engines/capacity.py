"""`Capacity`: how many sessions one lip engine can keep at 25 pictures a second.

Only who speaks needs pictures, so demand is speakers x 25. Whether one session more can be kept is asked twice:

* now: the sessions that speak at this moment and the new one must fit, in case it speaks at once;
* mostly: each of the n + 1 sessions speaks for a share of the time, the duty, independently of the others, so the
  number of speakers is binomial; it may exceed what the engine carries for at most `OVERLOAD_SHARE` of the time.

The duty is measured: pictures drawn x 40 ms over the seconds that sessions were open, of about the last ten minutes,
beginning from `DUTY_FIRST`. A session that says nothing lowers it and costs nothing.
"""

from __future__ import annotations

import collections
import math
import statistics

from errors import Unavailable
from media import FPS, UNIT_S

FULL_SHARE = 0.75  # a batch at least so full tells what a full one would: padded engines take as long for fewer
BATCHES_REMEMBERED = 64
BATCHES_NEEDED = 4  # the first ones of an engine are slower than all others
USABLE_SHARE = 0.9  # of the measured pace: what is left takes up the jitter of the machine
OVERLOAD_SHARE = 0.01
DUTY_FIRST, DUTY_FIRST_S = 0.5, 300.0
"""Taken for the duty of the first 300 session seconds: in a conversation each side speaks about half of the time."""
DUTY_LEAST = 0.1
FULL_ZH = "会话已满：再多一个就无法保持流畅，请等待其他会话结束"
MEMORY_S = 600.0  # time constant with which past duty is forgotten


class Capacity:
    """Learns an engine's pace and its sessions' duty. Not thread-safe: the scheduler's lock guards it."""

    def __init__(self, now: float) -> None:
        self._paces: collections.deque[float] = collections.deque(maxlen=BATCHES_REMEMBERED)
        self._measured: float | None = None
        self._since = now
        self._open_s = 0.0
        self._spoken_s = 0.0

    @property
    def pictures_per_s(self) -> float | None:
        """What the engine draws when its batches are full; None until known."""
        if len(self._paces) >= BATCHES_NEEDED:
            return statistics.median(self._paces)
        return self._measured

    @property
    def duty(self) -> float:
        """Share 0..1 of its time in which a session speaks."""
        duty = (self._spoken_s + DUTY_FIRST * DUTY_FIRST_S) / (self._open_s + DUTY_FIRST_S)
        return min(1.0, max(DUTY_LEAST, duty))

    @property
    def speakers(self) -> int | None:
        """How many sessions can speak at once; None until known."""
        pace = self.pictures_per_s
        return None if pace is None else int(USABLE_SHARE * pace / FPS)

    def warmed_up(self, pictures_per_s: float | None) -> None:
        """What the engine found out about itself; what is drawn later knows better."""
        self._measured = pictures_per_s

    def drawn(self, pictures: int, max_batch: int, service_s: float) -> None:
        """A batch of so many pictures was drawn in `service_s` seconds of the engine's time."""
        self._spoken_s += pictures * UNIT_S
        if pictures >= FULL_SHARE * max_batch and service_s > 0:
            self._paces.append(pictures / service_s)

    def pass_time(self, sessions: int, now: float) -> None:
        """So many sessions were open since this was called last; call before their number changes."""
        passed = max(0.0, now - self._since)
        self._since = now
        kept = math.exp(-passed / MEMORY_S)
        self._open_s = self._open_s * kept + sessions * passed
        self._spoken_s *= kept

    def check(self, sessions: int, speaking: int) -> None:
        """Refuse one session more than `sessions`, of which `speaking` speak now, when it could not be kept.

        The first one is always taken: an engine slower than life may still be tried.

        Raises:
            Unavailable: with the figures.
        """
        pace, carried = self.pictures_per_s, self.speakers
        if pace is None or carried is None or sessions == 0:
            return
        figures = (
            f"the lip engine draws {pace:.0f} pictures a second, enough for {carried} speaking sessions at {FPS} fps; "
            f"{sessions} are open"
        )
        if speaking + 1 > carried:
            raise Unavailable(
                f"no more sessions: {figures} and {speaking} of them speak: try again when one has ended", FULL_ZH
            )
        if exceeded(sessions + 1, self.duty, carried) > OVERLOAD_SHARE:
            raise Unavailable(
                f"no more sessions: {figures} and speak {self.duty:.0%} of the time: try again when one has ended",
                FULL_ZH,
            )


def exceeded(sessions: int, duty: float, carried: int) -> float:
    """Share of the time in which more than `carried` of `sessions` speak, each for the share `duty`: binomial tail."""
    return sum(
        math.comb(sessions, k) * duty**k * (1 - duty) ** (sessions - k) for k in range(carried + 1, sessions + 1)
    )
