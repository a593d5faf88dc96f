"""`Timeline`: the order in which one session's pictures and speech reach the playout clock.

It joins two paces: the renderer draws units a little ahead, the clock takes one every 40 ms. Speech begins when
enough units are ready, a late unit holds the picture instead of cutting a word, and an interruption drops everything
of an older turn at once. The avatar's idle motion is one endless loop; a speaking unit is drawn for the place in it
at which it will be shown, so the head never jumps when speech starts, holds or ends.

In a pause that outlasts the fade of the mouth nothing is drawn: its units are the idle motion with the pause's own
sound. As the look-ahead of the windows is queued anyway, the fade back in begins before the voice does.

A long idle motion is decoded where it is shown, so all its sessions are in one place of it: they begin there, and one
that was held up catches up while nothing is said.
"""

from __future__ import annotations

import collections
import dataclasses
import enum
import itertools
import math
from typing import TYPE_CHECKING

from baseasr import BaseASR, FeatureWindow, SpeechPair
from engines.base import LipRequest
from media import I420, SILENCE, SPEECH_FRAMES_PER_UNIT, UNIT_S, MediaUnit, SpeechFrame, silent_frame
from mouthfade import MouthFade
from voiceactivity import VoiceActivity

if TYPE_CHECKING:
    from avatar import Avatar

UNITS_AHEAD_MAX = 9  # 360 ms: the renderer fills up to here
UNITS_AHEAD_LOW = 6
"""And starts again below this: four units of a session share a batch and, where a step is as long, a window; the five
that are left, 200 ms, outlast what holds a busy machine up."""
START_UNITS_MAX = 4  # most units to wait for before speech starts
BEHIND_MAX = 3  # pictures by which a session may be behind the motion it shares with others
CATCH_UP_EVERY = 5  # further behind, it leaves out one idle picture of so many: 31 a second, not to be seen
REPEATED_UNITS = 4
"""What a page that falls silent at once still has in its buffers when she is suspended, and never plays: 160 ms. A
client that plays it hears it twice, as people begin a word again who were spoken over."""
LEAD_FRAMES = 2 * SPEECH_FRAMES_PER_UNIT  # the fade in begins so long before the voice, to be complete when it sounds


class Phase(enum.Enum):
    """What the renderer is doing."""

    IDLE = "idle"
    SPEAKING = "speaking"
    CLOSING = "closing"


@dataclasses.dataclass(slots=True, eq=False)
class _Planned:
    """A unit that has its place in the order, drawn or not yet."""

    speech: SpeechPair
    frame_index: int
    blend: float
    request: LipRequest | None
    """What is drawn for it; None shows the idle picture."""
    picture: I420 | None = None
    """None until it is there."""


class Timeline:
    """One session's render queue and play position. Not thread-safe: the session's lock guards it."""

    def __init__(self, avatar: Avatar, asr: BaseASR, now: float = 0.0) -> None:
        self.avatar = avatar
        self.asr = asr
        self.turn = 0
        self.phase = Phase.IDLE
        self.held_units = 0
        self._units: collections.deque[tuple[MediaUnit, float]] = collections.deque()  # with their blend
        self._in_flight: collections.deque[_Planned] = collections.deque()
        self._activity = VoiceActivity()
        self._heard: collections.deque[tuple[SpeechFrame, bool]] = collections.deque()
        """Frames put in and not yet planned, and whether there is a voice in them."""
        self._kept: list[SpeechFrame] | None = None
        """While suspended: the speech that is to be said again."""
        self._lately: collections.deque[SpeechFrame] = collections.deque(maxlen=REPEATED_UNITS * SPEECH_FRAMES_PER_UNIT)
        """Frames taken last, without a pause of hers in between."""
        self._filling = True
        self._playing = False
        self._play_index = avatar.place(now) or 0
        self._play_at: float | None = None
        """When the unit at `_play_index` is due, in the clock's seconds; in the past while it is held."""
        self._draw_index = 0
        self._fade = MouthFade()  # of the request drawn last
        self._shown_blend = 0.0  # of the unit taken last

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

    def put(self, frame: SpeechFrame) -> None:
        """Append one frame of the current turn."""
        if self._kept is not None:
            self._kept.append(frame)
            return
        self.asr.put(frame)
        self._heard.append((frame, self._activity.hear(frame.pcm)))

    def end(self) -> None:
        """Nothing follows what was put so far."""
        if self._kept:
            self._kept[-1] = dataclasses.replace(self._kept[-1], final=True)
        else:
            self.asr.end()

    @property
    def waiting(self) -> int:
        """Speech frames put in and not yet planned."""
        return len(self.asr) + len(self._kept or ())

    def advance(self, latency_s: float) -> bool:
        """Plan the units that need no drawing; True when the next one does and should be drawn now."""
        while self.wants():
            if self._fade.is_seen or (self.asr.ready and self._voice_near()):
                return True
            self._fade.blend = 0.0
            if self.asr.ready:
                self._begin(latency_s)
                self._plan(self._next_speech().speech, None)
            else:
                self.phase = Phase.IDLE
        return False

    def deadline(self, now: float) -> float:
        """When the picture of the next request is due on the track, in the clock's seconds."""
        if self.phase is Phase.IDLE or self._play_at is None:
            return now
        return self._play_at + (self._draw_index - self._play_index) * UNIT_S

    def next_request(self, now: float, latency_s: float) -> LipRequest:
        """Cut the next window and plan its place in the idle motion; only after `advance` said True."""
        self._begin(latency_s)
        deadline = self.deadline(now)
        if self.asr.ready:
            self._fade.speak(self._voice_near())
            window = self._next_speech()
        else:
            self.phase = Phase.CLOSING
            self._fade.close()
            window = self.asr.silence(self.turn)
        request = LipRequest(window.pcm, self.avatar, self._draw_index, self._fade.blend, deadline, window.offset)
        self._plan(window.speech, request)
        return request

    def accept(self, request: LipRequest, picture: I420 | None) -> None:
        """The picture of a request; None shows the idle picture with the speech."""
        planned = next((p for p in self._in_flight if p.request is request), None)
        if planned is None:
            return  # of an older turn
        if picture is None:
            planned.blend = 0.0
            picture = self.avatar.frame_now(planned.frame_index)
            if planned is self._in_flight[-1]:
                self._fade.blend = 0.0  # the mouth went: it fades in again when it can be drawn
        planned.picture = picture
        self._hand_on()

    def _begin(self, latency_s: float) -> None:
        if self.phase is Phase.IDLE and not self._units and not self._in_flight:
            # While a slow engine draws the first batch the idle motion must go on: plan ahead by its latency.
            self._draw_index = self._play_index + int(latency_s / UNIT_S)
            self._playing = False
        if self.asr.ready:
            self.phase = Phase.SPEAKING

    def _next_speech(self) -> FeatureWindow:
        before = len(self.asr)
        window = self.asr.next()
        for _ in range(before - len(self.asr)):
            self._heard.popleft()
        return window

    def _voice_near(self) -> bool:
        """True when there is a voice in the next unit or within the lead after it."""
        return any(voice for _, voice in itertools.islice(self._heard, SPEECH_FRAMES_PER_UNIT + LEAD_FRAMES))

    def _plan(self, speech: SpeechPair, request: LipRequest | None) -> None:
        idle = self.avatar.frame_now(self._draw_index) if request is None else None
        self._in_flight.append(_Planned(speech, self._draw_index, self._fade.blend, request, idle))
        self._draw_index += 1
        self._hand_on()

    def _hand_on(self) -> None:
        """Move what is drawn to the clock's side, in the order of the speech."""
        while self._in_flight and (picture := self._in_flight[0].picture) is not None:
            planned = self._in_flight.popleft()
            self._units.append((MediaUnit(picture, planned.speech, self.turn, planned.frame_index), planned.blend))

    # ---- clock side

    @property
    def pending(self) -> bool:
        """True while speech is waiting, being drawn, or drawn and not yet taken."""
        return bool(self.waiting or self._units or self._in_flight)

    def take(self, start_units: int, now: float) -> MediaUnit | None:
        """The unit of the next 40 ms; None holds the last picture in silence.

        Args:
            start_units: how many units must be ready before speech starts (what survives the engine's jitter).
            now: the clock's seconds.
        """
        live = self.avatar.live(now)  # asked also while she speaks: whoever shows the motion keeps it going
        if self._play_at is None:
            self._play_at = now
            self.rejoin(now)  # it may have taken long to connect
        if self._units and self._units[0][0].frame_index <= self._play_index:
            if self._may_start(start_units):
                self._playing = True
                unit, self._shown_blend = self._units.popleft()
                self._play_index = unit.frame_index + 1
                self._play_at = now + UNIT_S
                self._lately.extend(unit.speech)
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
        self._lately.clear()
        unit = self.idle_unit(self._play_index)
        self._play_index += self._step(live)
        self._play_at = now + UNIT_S
        return unit

    def _step(self, live: int | None) -> int:
        """Idle pictures from this one to the next: 2 now and then for a session that has fallen behind the others."""
        behind = 0 if live is None else live - self._play_index
        return 2 if behind > BEHIND_MAX and self._play_index % CATCH_UP_EVERY == 0 else 1

    def rejoin(self, now: float) -> None:
        """Go to where the others are; for when the idle motion was not shown just before."""
        if self.phase is Phase.IDLE and not self.pending:
            self._play_index = self.avatar.live(now) or self._play_index

    def idle_unit(self, index: int) -> MediaUnit:
        """40 ms of the idle motion in silence."""
        silent: SpeechFrame = silent_frame(self.turn)
        return MediaUnit(self.avatar.frame_now(index), (silent, silent), self.turn, index)

    def interrupt(self, turn: int) -> None:
        """Start `turn`: drop all speech and every unit of older turns; the mouth closes from where it is."""
        self.turn = turn
        self._kept = None
        self._stop()

    def suspend(self) -> None:
        """Stop sounding; what was not heard is kept for `resume`, and the mouth closes from where it is."""
        if self._kept is not None:
            return
        shown = [frame for unit, _ in self._units for frame in unit.speech]
        drawn = [frame for planned in self._in_flight for frame in planned.speech]
        said = [frame for frame in (*shown, *drawn) if frame.pcm is not SILENCE or frame.events or frame.final]
        rest = [*said, *(frame for frame, _ in self._heard)]  # without the silence of a closing mouth
        again = [SpeechFrame(frame.pcm, frame.turn) for frame in self._lately] if rest else []
        self._kept = again + rest
        self._stop()

    def resume(self) -> None:
        """Say what `suspend` kept."""
        kept, self._kept = self._kept, None
        self.asr.hush()  # what it heard last comes again
        for frame in kept or ():
            self.put(frame)

    @property
    def suspended(self) -> bool:
        """True from `suspend` until `resume` or an interruption."""
        return self._kept is not None

    def _stop(self) -> None:
        """Drop all units and speech; the mouth closes from where it is."""
        self._lately.clear()
        self.asr.drop_pending()
        self._heard.clear()
        self._units.clear()
        self._in_flight.clear()
        self._draw_index = self._play_index
        self._playing = True  # the closing mouth is shown as soon as it is drawn
        self._filling = True
        self._fade.break_off(self._shown_blend)
        self.phase = Phase.CLOSING if self._shown_blend > 0.0 else Phase.IDLE

    def _may_start(self, start_units: int) -> bool:
        more_to_come = bool(self._in_flight) or self.phase is not Phase.IDLE
        return self._playing or len(self._units) >= min(start_units, START_UNITS_MAX) or not more_to_come

    def _due(self) -> bool:
        """True when the unit for the play position is being drawn or waited for."""
        if self._units:
            return False  # the first unit stands further on: idle until then
        drawing = bool(self._in_flight) and self._in_flight[0].frame_index <= self._play_index
        return drawing or (self.phase is not Phase.IDLE and self._draw_index <= self._play_index)


def start_units(latency_s: float) -> int:
    """Units that must be ready before speech starts: they cover what a batch of the engine may take."""
    return min(START_UNITS_MAX, 1 + math.ceil(latency_s / UNIT_S))
