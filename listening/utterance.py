"""`Recording`: what somebody says from the first sound to the end of the turn, pauses and all."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from listening.activity import WINDOW_S, Heard
from listening.turns import Reason
from media import Pcm

if TYPE_CHECKING:
    from asr.base import Transcript


PAUSE_KEPT_S = 1.2
"""Of a pause; more would fill the utterance with silence, of which recognisers make words."""


@dataclasses.dataclass(frozen=True, slots=True)
class Utterance:
    """A turn of the user's."""

    pcm: Pcm
    """[samples] float32 at 16 kHz, with some sound before the first word and the pause behind the last."""
    began: float
    ended: float
    """First and last sound of speech, monotonic s."""
    transcript: Transcript
    wait_s: float
    """From `ended` until it was known that the turn has ended; before that, how long it is going to be."""
    reason: Reason


class Recording:
    """An utterance while it lasts.

    Args:
        before: windows from before speech was noticed, oldest first, and the one in which it was.
    """

    def __init__(self, before: Iterable[Heard]) -> None:
        windows = list(before)
        speech = [heard for heard in windows if heard.is_speech]
        self._windows = [heard.pcm for heard in windows]
        self.began = speech[0].at
        self.ended = speech[-1].ends
        self.voiced_s = len(speech) * WINDOW_S

    @property
    def seconds(self) -> float:
        """Of the sound that was kept."""
        return len(self._windows) * WINDOW_S

    def add(self, heard: Heard) -> None:
        """Another window. What is loud within a pause counts only when speech has resumed: it may be a click."""
        if heard.ends - self.ended < PAUSE_KEPT_S or heard.is_speech:
            self._windows.append(heard.pcm)
        if heard.is_speech and heard.state == "speech":
            self.ended = heard.ends
            self.voiced_s += WINDOW_S

    def pcm(self) -> Pcm:
        """All that was kept: [samples] at 16 kHz."""
        return np.concatenate(self._windows)
