"""What flows between the rooms: speech frames, media units, events and the numbers they are made of.

Sound and picture of the same 40 ms travel in one `MediaUnit` and are never queued apart, so they cannot drift apart.
Every item carries the turn it was made for; a stage drops what belongs to an older turn.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

Pcm = NDArray[np.float32]
"""Mono samples at SAMPLE_RATE_HZ, -1..1."""
I420 = NDArray[np.uint8]
"""One picture, shape [height * 3 // 2, width]: Y, then U and V at half size, as OpenCV and FFmpeg lay yuv420p out."""

SAMPLE_RATE_HZ = 16_000
SPEECH_FRAMES_PER_S = 50
FPS = 25
SAMPLES_PER_FRAME = SAMPLE_RATE_HZ // SPEECH_FRAMES_PER_S  # 320 samples, 20 ms
SPEECH_FRAMES_PER_UNIT = SPEECH_FRAMES_PER_S // FPS  # 2
SAMPLES_PER_UNIT = SAMPLES_PER_FRAME * SPEECH_FRAMES_PER_UNIT  # 640 samples, 40 ms
SPEECH_FRAME_S = 1 / SPEECH_FRAMES_PER_S
UNIT_S = 1 / FPS

SILENCE: Pcm = np.zeros(SAMPLES_PER_FRAME, np.float32)
SILENCE.setflags(write=False)


@dataclasses.dataclass(frozen=True, slots=True)
class Event:
    """Something a client is told when the speech frame that carries it is played out."""

    name: str
    """`speech.started`, `speech.ended`, `clause.started`, `word`, `paused`, `resumed`, `interrupted` or `error`."""
    turn: int
    data: dict[str, Any] = dataclasses.field(default_factory=dict)
    """JSON-ready details: `text`, and for a word its `start_s` and `end_s` within the clause."""


@dataclasses.dataclass(frozen=True, slots=True)
class SpeechFrame:
    """20 ms of speech."""

    pcm: Pcm
    """[SAMPLES_PER_FRAME] float32."""
    turn: int
    events: tuple[Event, ...] = ()
    final: bool = False
    """True on the last frame of a clause: what follows may come late, so nothing waits for it."""


@dataclasses.dataclass(frozen=True, slots=True)
class MediaUnit:
    """40 ms of picture and the sound that belongs to it."""

    picture: I420
    speech: tuple[SpeechFrame, SpeechFrame]
    turn: int
    frame_index: int
    """Position in the avatar's endless idle motion (see `Avatar.frame`)."""


def silent_frame(turn: int, events: tuple[Event, ...] = ()) -> SpeechFrame:
    """A frame of silence that can carry events."""
    return SpeechFrame(SILENCE, turn, events)


def ping_pong(index: int, count: int) -> int:
    """Which of `count` stored frames stands at `index` of the endless loop 0..count-1, count-2..1, 0.. .

    Both ends are shown once, so a still at the end of the loop does not repeat.
    """
    if count < 2:
        return 0
    period = 2 * count - 2
    k = index % period
    return k if k < count else period - k
