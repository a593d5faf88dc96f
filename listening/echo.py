"""`EchoGuard`: keeps her own voice out of the microphone, in the way its session chose.

| mode | what it does | she can be interrupted by voice |
|---|---|---|
| `browser` | trusts the client's canceller; a gate closes when her voice comes through all the same | yes |
| `aec` | WebRTC's canceller on the server, and the gate behind it, for clients without one | yes |
| `gate` | the gate alone | by who is louder than her echo |
| `window` | hears nothing while she speaks and `WINDOW_S` longer: half duplex | no |
| `off` | nothing: headphones, or a client that sends no echo for sure | yes |
"""

from __future__ import annotations

import math
import time
from collections import deque
from typing import Any, get_args

import numpy as np

from errors import BadRequest
from listening.canceller import OUTPUT_DELAY_S, Canceller
from listening.echogate import EchoGate
from listening.frames import MicFrame
from listening.reference import Reference
from listening.settings import EchoMode
from media import SAMPLE_RATE_HZ, SILENCE, SPEECH_FRAME_S, Pcm

WINDOW_S = 0.8
"""What follows the end of her sound in mode `window`: 0.45 s of delay and a room's reverberation. 0.3 to 0.8 s are
common."""

ASKED_S = 2.0


class EchoGuard:
    """One session's. `play` may be called from any thread, the rest from the event loop's.

    Args:
        mode: see above.

    Raises:
        BadRequest: there is no such mode.
        Unavailable: `aec` without the package it needs.
    """

    def __init__(self, mode: EchoMode) -> None:
        if mode not in get_args(EchoMode):
            raise BadRequest(f"echo mode: {mode!r} given, must be one of {', '.join(get_args(EchoMode))}")
        self.mode: EchoMode = mode
        self.silenced = 0
        """Frames that were her, or could not be told from her."""
        self._frames = 0
        self._cost_s = 0.0
        self._reference = Reference()
        self._gate = EchoGate(self._reference)
        self._cancel = Canceller(self._reference) if mode == "aec" else None
        self._cancelled: deque[MicFrame] = deque(maxlen=round(ASKED_S / SPEECH_FRAME_S))

    def play(self, pcm: Pcm, at: float) -> None:
        """`pcm`, [n] float32 at 16 kHz, is sent from monotonic time `at` on: what `PlayoutClock.on_sound` gives."""
        if self.mode != "off":
            self._reference.write(pcm, at)

    def clean(self, frame: MicFrame) -> MicFrame:
        """The microphone's next frame without her: cancelled, silent, or as it is. Times are kept right."""
        if self.mode == "off":
            return frame
        begun = time.thread_time()
        if self._cancel is not None:
            frame = self._cancel(frame)
            self._cancelled.append(frame)
        hers = self._in_window(frame.at) if self.mode == "window" else self._gate.is_echo(frame)
        self._frames += 1
        self._cost_s += time.thread_time() - begun
        if not hers:
            return frame
        self.silenced += 1
        return MicFrame(SILENCE, frame.at)

    def likely_echo(self, pcm: Pcm, at: float) -> bool:
        """Whether speech, [n] float32 captured from monotonic time `at` on, is rather hers than the user's.

        To be asked before a turn is ended for it; 0.3 s and more can be told, the last `ASKED_S` are looked at. In mode
        `aec` they are looked at as they were left: beside her echo nobody who speaks at the same time would be told.
        """
        if self.mode == "off" or not len(pcm):
            return False
        ends = at + len(pcm) / SAMPLE_RATE_HZ
        if self.mode == "window":
            return self._in_window(ends)
        left = [frame for frame in self._cancelled if at - SPEECH_FRAME_S / 2 <= frame.at + OUTPUT_DELAY_S < ends]
        if left:
            return self._gate.is_like(np.concatenate([frame.pcm for frame in left]), left[0].at)
        pcm = pcm[-round(ASKED_S * SAMPLE_RATE_HZ) :]
        return self._gate.is_like(pcm, ends - len(pcm) / SAMPLE_RATE_HZ)

    def describe(self) -> dict[str, Any]:
        """JSON-ready figures: what was silenced, how much was cancelled (dB), the echo's delay, ms of CPU per frame."""
        lag_s, cancel = self._gate.lag_s, self._cancel
        figures: dict[str, Any] = {
            "mode": self.mode,
            "frames": self._frames,
            "silenced": self.silenced,
            "cost_ms": round(1000 * self._cost_s / max(1, self._frames), 3),
            "likeness": round(self._gate.likeness, 2),
            "lag_ms": lag_s and round(1000 * lag_s),
        }
        if cancel is not None:
            figures["taken_off_ms"] = round(1000 * cancel.taken_off_s)
            figures["cancelled_db"] = round(10 * math.log10((cancel.before + 1e-9) / (cancel.after + 1e-9)), 1)
        return figures

    def _in_window(self, at: float) -> bool:
        return at < self._reference.sounded_until + WINDOW_S
