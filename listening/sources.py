"""`TrackReader` and `PcmSource`: where a `Microphone`'s sound comes from, WebRTC or bytes over a WebSocket."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable

import av
import numpy as np
from aiortc import MediaStreamTrack
from aiortc.mediastreams import MediaStreamError

from errors import BadRequest
from listening.capture import Framer
from listening.microphone import Microphone

RATES_HZ = (8_000, 16_000, 24_000, 48_000)
CHUNK_MAX_S = 1.0  # a client that sends speech as it is captured sends 10 to 100 ms at once
AHEAD_MAX_S = 5.0  # sound sent sooner than it can have been captured: a file, not a microphone

log = logging.getLogger(__name__)


class TrackReader:
    """Reads an aiortc audio track into a microphone until either ends.

    Gaps of the RTP time stamps (lost packets, DTX) are filled with silence when the next packet is there.

    Args:
        track: decoded sound of any format, `recv()` giving `av.AudioFrame`.
        held_s: how long the sound was held up on this machine before `recv`, for the time of its capture.
        now: monotonic seconds.
    """

    def __init__(
        self,
        track: MediaStreamTrack,
        microphone: Microphone,
        *,
        held_s: float = 0.0,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.unreadable = 0
        """Frames that could not be converted."""
        self._track = track
        self._microphone = microphone
        self._framer = Framer(microphone)
        self._held_s = held_s
        self._now = now

    async def run(self) -> None:
        """Read; closes the microphone at the end."""
        try:
            while not self._microphone.closed:
                frame = await self._track.recv()
                if isinstance(frame, av.AudioFrame) and frame.samples:
                    self._take(frame)
        except MediaStreamError:
            pass  # the track has ended
        finally:
            self._microphone.close()

    def _take(self, frame: av.AudioFrame) -> None:
        position_s = float(frame.pts * frame.time_base) if frame.pts is not None and frame.time_base else None
        try:
            self._framer.add(frame, position_s, self._now() - self._held_s)
        except (av.FFmpegError, ValueError) as error:
            self.unreadable += 1
            if self.unreadable == 1:
                log.warning("microphone: a frame cannot be read: %s", error)


class PcmSource:
    """Feeds a microphone with s16le mono that a client sends in chunks of any size.

    Args:
        rate_hz: one of `RATES_HZ`.
        now: monotonic seconds.

    Raises:
        BadRequest: another rate.
    """

    def __init__(self, microphone: Microphone, rate_hz: int, *, now: Callable[[], float] = time.monotonic) -> None:
        if rate_hz not in RATES_HZ:
            raise BadRequest(f"rate: {rate_hz} Hz given, must be one of {', '.join(map(str, RATES_HZ))}")
        self.rate_hz = rate_hz
        self.chunk_bytes_max = round(2 * rate_hz * CHUNK_MAX_S)
        self._microphone = microphone
        self._framer = Framer(microphone)
        self._now = now
        self._odd = b""
        self._lasts_until = -math.inf

    def feed(self, data: bytes) -> None:
        """Take the next bytes; half a sample waits for its other half.

        Raises:
            BadRequest: more than `CHUNK_MAX_S` at once, or `AHEAD_MAX_S` more than a microphone can have given by now.
        """
        if len(data) > self.chunk_bytes_max:
            raise BadRequest(
                f"chunk: {len(data)} bytes, at most {self.chunk_bytes_max} ({CHUNK_MAX_S:g} s) are taken at once"
            )
        data = self._odd + data
        whole = len(data) // 2 * 2
        self._odd = data[whole:]
        if not whole:
            return
        arrived, length_s = self._now(), whole // 2 / self.rate_hz
        self._check_pace(arrived, length_s)
        samples = np.frombuffer(data, "<i2", whole // 2).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(samples.reshape(1, -1), format="s16", layout="mono")
        frame.sample_rate = self.rate_hz
        self._framer.add(frame, None, arrived)

    def close(self) -> None:
        """End the microphone."""
        self._microphone.close()

    def _check_pace(self, arrived: float, length_s: float) -> None:
        """Raise when sound comes faster than it can be captured; a pause gives no credit for later."""
        self._lasts_until = max(self._lasts_until, arrived - length_s) + length_s
        ahead_s = self._lasts_until - arrived
        if ahead_s > AHEAD_MAX_S:
            raise BadRequest(
                f"sound comes {ahead_s:.1f} s ahead of time, at most {AHEAD_MAX_S:g} s: send it as captured"
            )
