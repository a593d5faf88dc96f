"""`Timeline`: the order in which one session's pictures and speech reach the playout clock.

It joins two paces: the renderer draws units a little ahead, the clock takes one every 40 ms. Speech begins when
enough units are ready, a late unit holds the picture instead of cutting a word, and an interruption drops everything
of an older turn at once. The avatar's idle motion is one endless loop; a speaking unit is drawn for the place in it
at which it will be shown, so the head never jumps when speech starts, holds or ends.
"""

from __future__ import annotations

import collections
import enum
import math
from typing import TYPE_CHECKING

from baseasr import BaseASR, FeatureWindow
from engines.base import LipRequest
from media import I420, UNIT_S, MediaUnit, SpeechFrame, silent_frame

if TYPE_CHECKING:
    from avatar import Avatar

UNITS_AHEAD_MAX = 6  # 240 ms: the renderer fills up to here
UNITS_AHEAD_LOW = 3  # and starts again below this, so that one session's units share a batch
START_UNITS_MAX = 4  # most units to wait for before speech starts
BLEND_IN = 1 / 3  # share of the drawn mouth added per unit: in over 3 units, 120 ms
BLEND_OUT = 1 / 4  # out over 4 units once the mouth is closed
BLEND_OUT_INTERRUPTED = 1 / 3  # and over 3 after an interruption
TAIL_UNITS = 2  # units after the last speech in which the drawn mouth closes before it is blended out


class Phase(enum.Enum):
    """What the renderer is doing."""

    IDLE = "idle"
    SPEAKING = "speaking"
    CLOSING = "closing"


class Timeline:
    """One session's render queue and play position. Not thread-safe: the session's lock guards it."""

    def __init__(self, avatar: Avatar, asr: BaseASR) -> None:
        self.avatar = avatar
        self.asr = asr
        self.turn = 0
        self.phase = Phase.IDLE
        self.held_units = 0
        self._units: collections.deque[tuple[MediaUnit, float]] = collections.deque()  # with their blend
        self._in_flight: collections.deque[tuple[LipRequest, FeatureWindow, int]] = collections.deque()
        self._filling = True
        self._playing = False
        self._play_index = 0
        self._draw_index = 0
        self._blend = 0.0  # of the request drawn last
        self._shown_blend = 0.0  # of the unit taken last
        self._blend_out = BLEND_OUT
        self._tail = 0

    # ---- renderer side

    def wants(self) -> bool:
        """True when a request should be drawn now."""
        ahead = len(self._units) + len(self._in_flight)
        if ahead >= UNITS_AHEAD_MAX:
            self._filling = False
        elif ahead < UNITS_AHEAD_LOW:
            self._filling = True
        if not self._filling:
            return False
        return self.asr.ready or self.phase is Phase.CLOSING or (self.phase is Phase.SPEAKING and not len(self.asr))

    def deadline(self, now: float) -> float:
        """When the picture of the next request is due on the track, in the clock's seconds."""
        return now + (self._draw_index - self._play_index) * UNIT_S if self.phase is not Phase.IDLE else now

    def next_request(self, now: float, latency_s: float) -> LipRequest:
        """Cut the next window and plan its place in the idle motion; only when `wants`."""
        if self.phase is Phase.IDLE and not self._units and not self._in_flight:
            # While a slow engine draws the first batch the idle motion must go on: plan ahead by its latency.
            self._draw_index = self._play_index + int(latency_s / UNIT_S)
            self._playing = False
        if self.asr.ready:
            self._speak()
            window = self.asr.next()
        else:
            self._close()
            window = self.asr.silence(self.turn)
        request = LipRequest(window.pcm, self.avatar, self._draw_index, self._blend, self.deadline(now), window.offset)
        self._in_flight.append((request, window, self.turn))
        self._draw_index += 1
        if self._blend <= 0.0:
            self.phase = Phase.IDLE
        return request

    def accept(self, request: LipRequest, picture: I420 | None) -> None:
        """The picture of a request; None shows the idle picture with the speech."""
        for i, (mine, window, turn) in enumerate(self._in_flight):
            if mine is request:
                del self._in_flight[i]
                if turn == self.turn:
                    shown = self.avatar.frame(request.frame_index) if picture is None else picture
                    unit = MediaUnit(shown, window.speech, turn, request.frame_index)
                    self._units.append((unit, request.blend))
                return

    def _speak(self) -> None:
        self.phase = Phase.SPEAKING
        self._tail = TAIL_UNITS
        self._blend_out = BLEND_OUT
        self._blend = min(1.0, self._blend + BLEND_IN)

    def _close(self) -> None:
        self.phase = Phase.CLOSING
        if self._tail > 0:
            self._tail -= 1
        else:
            self._blend = max(0.0, self._blend - self._blend_out)

    # ---- clock side

    @property
    def pending(self) -> bool:
        """True while speech is waiting, being drawn, or drawn and not yet taken."""
        return bool(len(self.asr) or self._units or self._in_flight)

    def take(self, start_units: int) -> MediaUnit | None:
        """The unit of the next 40 ms; None holds the last picture in silence.

        Args:
            start_units: how many units must be ready before speech starts (what survives the engine's jitter).
        """
        if self._units and self._units[0][0].frame_index <= self._play_index:
            if self._may_start(start_units):
                self._playing = True
                unit, self._shown_blend = self._units.popleft()
                self._play_index = unit.frame_index + 1
                return unit
            self.held_units += 1
            return None
        if self._due():
            if self.phase is Phase.SPEAKING:
                self._playing = False  # gather a reserve again before going on, or every unit would stutter
            self.held_units += 1
            return None
        self._playing = False
        self._shown_blend = 0.0
        unit = self.idle_unit(self._play_index)
        self._play_index += 1
        return unit

    def idle_unit(self, index: int) -> MediaUnit:
        """40 ms of the idle motion in silence."""
        silent: SpeechFrame = silent_frame(self.turn)
        return MediaUnit(self.avatar.frame(index), (silent, silent), self.turn, index)

    def interrupt(self, turn: int) -> None:
        """Start `turn`: drop all speech and every unit of older turns; the mouth closes from where it is."""
        self.turn = turn
        self.asr.drop_pending()
        self._units.clear()
        self._in_flight.clear()
        self._draw_index = self._play_index
        self._playing = True  # the closing mouth is shown as soon as it is drawn
        self._filling = True
        self._tail = 0
        self._blend = self._shown_blend
        self._blend_out = BLEND_OUT_INTERRUPTED
        self.phase = Phase.CLOSING if self._blend > 0.0 else Phase.IDLE

    def _may_start(self, start_units: int) -> bool:
        more_to_come = bool(self._in_flight) or self.phase is not Phase.IDLE
        return self._playing or len(self._units) >= min(start_units, START_UNITS_MAX) or not more_to_come

    def _due(self) -> bool:
        """True when the unit for the play position is being drawn or waited for."""
        if self._units:
            return False  # the first unit stands further on: idle until then
        drawing = bool(self._in_flight) and self._in_flight[0][0].frame_index <= self._play_index
        return drawing or (self.phase is not Phase.IDLE and self._draw_index <= self._play_index)


def start_units(latency_s: float) -> int:
    """Units that must be ready before speech starts: they cover what a batch of the engine may take."""
    return min(START_UNITS_MAX, 1 + math.ceil(latency_s / UNIT_S))
