"""From a client's blocks of sound, whatever their rate and rhythm, to `MicFrame`s with the time of their capture.

block -> Resampler (16 kHz mono) -> Framer (20 ms) -> Microphone
         CaptureClock: when its samples were captured, from when their packets arrived
"""

from __future__ import annotations

import math

import av
import numpy as np

from listening.frames import MicFrame
from listening.microphone import Microphone
from media import SAMPLE_RATE_HZ, SAMPLES_PER_FRAME, Pcm

CLOCK_WINDOW_S = 5.0  # the least delayed packet of the last 5 to 10 s tells the time: two clocks drift 1 ms apart in it
FILL_MAX_S = 1.0  # a longer gap is another stretch of sound: silence for it would only fill the microphone's queue
PAUSE_S = (
    0.5  # later than time stamps say by so much: the sender paused without counting, as Chromium's replaceTrack does
)
GAP_MIN_S = 0.010  # half a frame: smaller steps of time stamps are rounding


class CaptureClock:
    """The monotonic time of positions in a stream.

    A packet is never early, so of many packets the one that came soonest after its position shows the two clocks'
    distance best; what the others were later is jitter. What even the quickest took is not seen: times are late by it.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Positions begin anew."""
        self._least = self._least_before = math.inf
        self._since = -math.inf

    def arrived(self, position_s: float, at: float) -> None:
        """What ends at `position_s` of the stream was there at monotonic time `at`."""
        if at - self._since > CLOCK_WINDOW_S:
            self._least_before, self._least, self._since = self._least, math.inf, at
        self._least = min(self._least, at - position_s)

    def at(self, position_s: float) -> float:
        """When the sound at `position_s` was captured; infinite before anything arrived."""
        return min(self._least, self._least_before) + position_s


class Resampler:
    """Sound of any format, rate and number of channels to 16 kHz mono; holds back 1 ms.

    FFmpeg's: soxr's stream hands its results over in bursts 20 ms and more behind.
    """

    def __init__(self) -> None:
        self._heard: tuple[str, str, int] | None = None
        self._resampler: av.AudioResampler

    def __call__(self, frame: av.AudioFrame) -> Pcm:
        """What `frame` makes ready: float32, -1..1 where the source did not clip.

        Raises:
            av.FFmpegError: it is of a kind that cannot be converted.
        """
        kind = (frame.format.name, frame.layout.name, frame.sample_rate)
        if kind != self._heard:
            self._resampler = av.AudioResampler(format="fltp", rate=SAMPLE_RATE_HZ)
            self._heard = kind
        frame.pts = None  # gaps are the framer's matter
        # The mean of the channels: FFmpeg's own down-mix adds 3 dB to a voice that is on both.
        blocks: list[Pcm] = [made.to_ndarray().mean(axis=0) for made in self._resampler.resample(frame)]
        return np.concatenate(blocks) if blocks else np.zeros(0, np.float32)

    def reset(self) -> None:
        """Forget what is held back."""
        self._heard = None


class Framer:
    """Cuts a stream into frames for `microphone`. Positions are seconds on the sender's clock."""

    def __init__(self, microphone: Microphone) -> None:
        self.filled_s = 0.0
        """Silence put where something was missing, in all."""
        self._microphone = microphone
        self._resample = Resampler()
        self._clock = CaptureClock()
        self._rest: Pcm = np.zeros(0, np.float32)
        self._given_s: float | None = None
        """Position up to which frames were given; None before the first."""
        self._taken_s = 0.0
        """Position up to which sound was taken in."""

    def add(self, frame: av.AudioFrame, position_s: float | None, arrived: float) -> None:
        """Take a block.

        Args:
            position_s: where it begins; None where the last one ended.
            arrived: when it was there, monotonic s, less whatever it was known to have been held up.

        Raises:
            av.FFmpegError: it is of a kind that cannot be converted.
        """
        begins = self._taken_s if position_s is None else position_s
        length_s = frame.samples / frame.sample_rate
        if arrived - length_s - self._clock.at(begins) > PAUSE_S:
            self._given_s = None
        fresh = self._given_s is None
        if not self._follow(begins):
            return
        self._clock.arrived(self._taken_s + length_s, arrived)
        pcm = self._resample(frame)
        self._taken_s += length_s
        self._give(self._aligned(pcm, length_s) if fresh else pcm)

    def _aligned(self, pcm: Pcm, length_s: float) -> Pcm:
        """The first block, with silence before it for what the resampler holds back: then every block that is as long
        as a frame completes one, which would wait for the next block otherwise."""
        assert self._given_s is not None
        held = max(0, round(length_s * SAMPLE_RATE_HZ) - len(pcm))
        self._given_s -= held / SAMPLE_RATE_HZ
        return np.concatenate([np.zeros(held, np.float32), pcm])

    def _follow(self, begins: float) -> bool:
        """Fill the gap up to `begins`, or start there; False when what begins there was given already."""
        gap_s = begins - self._taken_s
        if self._given_s is None or gap_s > FILL_MAX_S or gap_s < -FILL_MAX_S:
            self._given_s = self._taken_s = begins
            self._rest = self._rest[:0]
            self._clock.reset()
            self._resample.reset()
        elif gap_s < -GAP_MIN_S:
            return False
        elif gap_s > GAP_MIN_S:
            samples = round(gap_s * SAMPLE_RATE_HZ)
            self._taken_s += samples / SAMPLE_RATE_HZ
            self.filled_s += samples / SAMPLE_RATE_HZ
            self._give(np.zeros(samples, np.float32))
        return True

    def _give(self, pcm: Pcm) -> None:
        assert self._given_s is not None
        pcm = np.concatenate([self._rest, pcm])
        for begin in range(0, len(pcm) - SAMPLES_PER_FRAME + 1, SAMPLES_PER_FRAME):
            frame = MicFrame(pcm[begin : begin + SAMPLES_PER_FRAME], self._clock.at(self._given_s))
            self._given_s += SAMPLES_PER_FRAME / SAMPLE_RATE_HZ
            self._microphone.put_frame(frame)
        self._rest = pcm[len(pcm) - len(pcm) % SAMPLES_PER_FRAME :]
