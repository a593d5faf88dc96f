"""`BaseASR`: 20 ms speech frames in, one window of sound per video frame out.

A lip engine hears a sliding window: some sound before the video frame, the frame's own 40 ms, and a little
look-ahead. The class only frames sound; turning a window into features is the engine's work, so that it can be
batched over sessions.
"""

from __future__ import annotations

import collections
import dataclasses

import numpy as np
from numpy.typing import NDArray

from media import SILENCE, SPEECH_FRAMES_PER_UNIT, SpeechFrame, silent_frame

SpeechPair = tuple[SpeechFrame, SpeechFrame]


@dataclasses.dataclass(frozen=True, slots=True)
class FeatureWindow:
    """What an engine hears for one video frame, and the speech that will be played with it."""

    pcm: NDArray[np.float32]
    """[(left + step + right) * 320] samples at 16 kHz; the step is 2 speech frames where not said otherwise."""
    speech: SpeechPair
    offset: int = 0
    """Which video frame of the step these windows' shared sound is cut for; 0 with a step of one."""


class BaseASR:
    """The sliding window over one session's speech. Not thread-safe: its session's lock guards it.

    Args:
        left: speech frames (20 ms) heard before the video frame (LiveTalking's `-l`).
        right: speech frames of look-ahead after it (`-r`); each costs 20 ms of latency when speech streams in.
    """

    def __init__(self, left: int, right: int) -> None:
        if left < 0 or right < 0:
            raise ValueError(f"window context must not be negative: left {left}, right {right} speech frames")
        self.right = right
        self._heard: collections.deque[NDArray[np.float32]] = collections.deque([SILENCE] * left, maxlen=left)
        self._pending: collections.deque[SpeechFrame] = collections.deque()

    def __len__(self) -> int:
        """Speech frames put in and not yet taken out."""
        return len(self._pending)

    def put(self, frame: SpeechFrame) -> None:
        """Append one speech frame."""
        self._pending.append(frame)

    def end(self) -> None:
        """Nothing follows what was put so far (the producer ended without marking its last frame)."""
        if self._pending and not self._pending[-1].final:
            self._pending[-1] = dataclasses.replace(self._pending[-1], final=True)

    @property
    def ready(self) -> bool:
        """True when a window is complete: its look-ahead is there, or the clause ends before it would be."""
        n = len(self._pending)
        return n >= SPEECH_FRAMES_PER_UNIT + self.right or (n > 0 and self._pending[-1].final)

    def next(self) -> FeatureWindow:
        """Take the window of the next video frame; only when `ready`."""
        first = self._pending.popleft()
        second = self._pending.popleft() if self._pending else silent_frame(first.turn)
        return self.cut((first, second))

    def silence(self, turn: int) -> FeatureWindow:
        """The window of a video frame without speech; pending speech is neither heard nor taken."""
        pair = (silent_frame(turn), silent_frame(turn))
        return self.cut(pair, look_ahead=False)

    def drop_pending(self) -> None:
        """Forget what was put in and not taken; what was heard stays as left context."""
        self._pending.clear()

    def hush(self) -> None:
        """Take what was heard for silence."""
        self._heard.extend([SILENCE] * len(self._heard))

    def cut(self, speech: SpeechPair, *, look_ahead: bool = True) -> FeatureWindow:
        """The window around `speech`, which joins what was heard."""
        ahead = [self._pending[i].pcm for i in range(min(self.right, len(self._pending)))] if look_ahead else []
        ahead += [SILENCE] * (self.right - len(ahead))
        middle = [frame.pcm for frame in speech]
        pcm = np.concatenate([*self._heard, *middle, *ahead])
        self._heard.extend(middle)
        return FeatureWindow(pcm, speech)
