"""`MuseASR`: the windows of sound that MuseTalk hears, a step of video frames to each.

Whisper's features of a moment depend on seconds of sound before it, so a window is long and encoding it costs more than
the ten rows that a video frame takes from it. All video frames of a step therefore share one window.
"""

from __future__ import annotations

import collections
import itertools

import numpy as np

from baseasr import BaseASR, FeatureWindow, SpeechPair
from media import SILENCE, SPEECH_FRAMES_PER_UNIT, Pcm, silent_frame

MIN_LEFT_FRAMES = 100
"""2 s. With less the features of whole recordings are missed by more (`python -m benchmarks.hearing`)."""
MIN_RIGHT_FRAMES = 6
"""120 ms: a video frame hears 80 ms beyond its end, and the convolutions and the spectrum 13 ms beyond that."""
STEP_FRAMES = 8
MAX_WINDOW_FRAMES = 1495
"""29.9 s: Whisper hears 30 s at once, and a little silence stands behind a window."""


class MuseASR(BaseASR):
    """The window over one session's speech, with several video frames in its middle. Not thread-safe, as its base.

    A window is `left + step + right` speech frames long. Where fewer than `step` are there (speech begins, a clause
    ends, the sound comes in no faster than it is spoken) nothing waits for the rest: the window holds more of what was
    heard instead, and `FeatureWindow.offset` counts from further on.

    Args:
        left: speech frames (20 ms) heard before the step (LiveTalking's `-l`); at least MIN_LEFT_FRAMES are.
        right: speech frames of look-ahead behind it (`-r`); at least MIN_RIGHT_FRAMES are.
        step: speech frames whose pictures share one window (`-m`), in whole video frames.

    Raises:
        ValueError: the step is shorter than a video frame, or the window longer than MAX_WINDOW_FRAMES.
    """

    def __init__(self, left: int = MIN_LEFT_FRAMES, right: int = MIN_RIGHT_FRAMES, step: int = STEP_FRAMES) -> None:
        if step < SPEECH_FRAMES_PER_UNIT:
            raise ValueError(f"step is {step} speech frames, must be {SPEECH_FRAMES_PER_UNIT} or more")
        self.left = max(left, MIN_LEFT_FRAMES)
        self.step = step - step % SPEECH_FRAMES_PER_UNIT
        right = max(right, MIN_RIGHT_FRAMES)
        if self.left + self.step + right > MAX_WINDOW_FRAMES:
            window = f"left {self.left} + step {self.step} + right {right}"
            raise ValueError(f"{window} speech frames: a window must be {MAX_WINDOW_FRAMES} at most")
        super().__init__(self.left + self.step - SPEECH_FRAMES_PER_UNIT, right)
        self._planned: collections.deque[tuple[Pcm, int, int]] = collections.deque()
        """Window, offset and number of speech frames of each video frame of the step that is not yet taken."""
        self._hush: collections.deque[tuple[Pcm, int]] = collections.deque()
        """Window and offset of the silent video frames that may follow the one taken last."""

    @property
    def ready(self) -> bool:
        """True when a video frame can be taken: it is planned, its look-ahead is there, or the clause ends before."""
        return bool(self._planned) or super().ready

    def next(self) -> FeatureWindow:
        """Take the window of the next video frame; only when `ready`."""
        self._hush.clear()
        if not self._planned:
            self._plan()
        pcm, offset, count = self._planned.popleft()
        first = self._pending.popleft()
        second = self._pending.popleft() if count == SPEECH_FRAMES_PER_UNIT else silent_frame(first.turn)
        return self._taken(pcm, (first, second), offset)

    def silence(self, turn: int) -> FeatureWindow:
        """The window of a video frame without speech; pending speech is neither heard nor taken.

        Silent frames in a row share their windows as those of speech do.
        """
        if not self._hush:
            pcm = self._window([SILENCE] * self.step, [])
            self._hush.extend((pcm, offset) for offset in range(self.step // SPEECH_FRAMES_PER_UNIT))
        self._planned.clear()  # what follows is heard after this silence
        pcm, offset = self._hush.popleft()
        return self._taken(pcm, (silent_frame(turn), silent_frame(turn)), offset)

    def drop_pending(self) -> None:
        """Forget what was put in and not taken; what was heard stays as left context."""
        super().drop_pending()
        self._planned.clear()

    def cut(self, speech: SpeechPair, *, look_ahead: bool = True) -> FeatureWindow:
        """The window around `speech`, which joins what was heard; the last video frame of a step."""
        self._planned.clear()
        self._hush.clear()
        ahead = [frame.pcm for frame in itertools.islice(self._pending, self.right)] if look_ahead else []
        offset = self.step // SPEECH_FRAMES_PER_UNIT - 1
        return self._taken(self._window([frame.pcm for frame in speech], ahead), speech, offset)

    def _plan(self) -> None:
        """Share out the next step, as much of it as there is."""
        waiting = [frame.pcm for frame in itertools.islice(self._pending, self.step + self.right)]
        count = min(self.step, len(waiting))
        if not self._pending[-1].final:
            whole = (len(waiting) - self.right) // SPEECH_FRAMES_PER_UNIT * SPEECH_FRAMES_PER_UNIT
            count = min(count, max(whole, SPEECH_FRAMES_PER_UNIT))
        middle = waiting[:count] + [SILENCE] * (count % SPEECH_FRAMES_PER_UNIT)
        pcm = self._window(middle, waiting[count:])
        offset = (self.step - len(middle)) // SPEECH_FRAMES_PER_UNIT
        for at in range(0, count, SPEECH_FRAMES_PER_UNIT):
            self._planned.append((pcm, offset, min(SPEECH_FRAMES_PER_UNIT, count - at)))
            offset += 1

    def _window(self, middle: list[Pcm], ahead: list[Pcm]) -> Pcm:
        """What was heard, the step (or the end of one) and its look-ahead, filled up with silence."""
        before = self.left + self.step - len(middle)
        heard = itertools.islice(self._heard, len(self._heard) - before, None)
        ahead = ahead[: self.right]
        pcm = np.concatenate([*heard, *middle, *ahead, *[SILENCE] * (self.right - len(ahead))])
        pcm.setflags(write=False)  # several requests hold it
        return pcm

    def _taken(self, pcm: Pcm, speech: SpeechPair, offset: int) -> FeatureWindow:
        self._heard.extend(frame.pcm for frame in speech)
        return FeatureWindow(pcm, speech, offset)
