"""`PlayoutClock`: the one clock of a session. Every 20 ms it sends sound, every second time a picture with it.

It runs in the threads of a `Pacer`, away from the event loop, takes `MediaUnit`s from the session, encodes them and
hands the packets on. Time stamps are the clock's, so both tracks share one time line: tick k is heard k * 20 ms after
the start. A clock that is late by more than `LATE_MAX_S` skips ticks: time stamps jump, speech is sent a little later,
and nothing piles up.
"""

from __future__ import annotations

import collections
import dataclasses
import logging
import time
from collections.abc import Callable
from typing import Protocol

from media import FPS, I420, SILENCE, SPEECH_FRAME_S, SPEECH_FRAMES_PER_UNIT, MediaUnit, Pcm, SpeechFrame
from transport.encoder import EncodedPicture, OpusEncoder, Packet, VideoEncoder
from transport.splice import Splice
from transport.timesource import SystemTime, TimeSource

TICK_S = SPEECH_FRAME_S  # 20 ms
RECENT_S = 2  # figures are averages over this time
LATE_MAX_S = 0.06  # three ticks: the most that receivers' jitter buffers take without a gap in the picture
VIDEO_BACKLOG_MAX = 3  # pictures handed on and not yet sent: 120 ms; beyond it a picture is not encoded at all

log = logging.getLogger(__name__)


class Source(Protocol):
    """The session, as the clock sees it (`BaseReal`)."""

    @property
    def width(self) -> int:
        """Picture width in pixels."""
        ...

    @property
    def height(self) -> int:
        """Picture height in pixels."""
        ...

    @property
    def turn(self) -> int:
        """The current turn."""
        ...

    def take(self) -> MediaUnit | None:
        """The next 40 ms; None holds the last picture in silence."""
        ...

    def played(self, frame: SpeechFrame, at: float) -> None:
        """`frame` was sent at monotonic time `at`."""
        ...


@dataclasses.dataclass(frozen=True, slots=True)
class Batch:
    """What one tick sends."""

    tick: int
    audio: Packet | None
    video: EncodedPicture | None


class Sink(Protocol):
    """Where packets go. Called from a pacer's thread; must return at once."""

    def deliver(self, batch: Batch) -> None:
        """Send this."""
        ...

    def video_backlog(self) -> int:
        """Pictures delivered and not yet sent."""
        ...


class AudioEncoder(Protocol):
    """What the playout clock needs of a sound encoder."""

    def encode(self, pcm: Pcm, tick: int) -> Packet | None:
        """Compress the 20 ms of tick `tick`."""
        ...


@dataclasses.dataclass(slots=True)
class ClockStats:
    """Counters of one clock since its start."""

    ticks: int = 0
    skipped_ticks: int = 0
    pictures: int = 0
    dropped_pictures: int = 0
    """Not encoded because the sender was behind."""
    held_pictures: int = 0
    keyframes: int = 0
    video_bytes: int = 0
    audio_bytes: int = 0
    late_max_s: float = 0.0
    encode_s: float = 0.0
    """Wall time spent in the video encoder."""


class PlayoutClock:
    """One per session, driven by `step`; the other methods may be called from any thread."""

    def __init__(
        self,
        source: Source,
        sink: Sink,
        open_video: Callable[[int, int], VideoEncoder],
        open_audio: Callable[[], AudioEncoder] = OpusEncoder,
        *,
        time_source: TimeSource | None = None,
        on_ended: Callable[[BaseException | None], None] | None = None,
        name: str = "playout",
    ) -> None:
        """Make a clock that is not running yet.

        Args:
            open_video: opens an encoder for a width and height, in the first `step`.
            on_ended: called in the last `step` with the error that ended it, None after `stop`.
        """
        self.stats = ClockStats()
        self.on_sound: Callable[[Pcm, float], None] | None = None
        """Is given the 20 ms of every tick that has sound in it and the monotonic time at which it is sent, in the
        pacer's thread, as it is before compression. It must return at once and not write into it; one that raises is
        called no more."""
        self._source = source
        self._sink = sink
        self._open_video = open_video
        self._open_audio = open_audio
        self._time = time_source or SystemTime()
        self._on_ended = on_ended
        self._name = name
        self._stopping = False
        self._next_tick = 0
        self._encoders: tuple[AudioEncoder, VideoEncoder] | None = None
        """While it runs; opened, used and freed in the pacer's threads."""
        self._splice = Splice()
        self._unit: MediaUnit | None = None
        self._picture: I420 | None = None
        self._last: SpeechFrame | None = None
        self._heard_turn: int | None = None
        self._recent: collections.deque[tuple[float, int]] = collections.deque(maxlen=RECENT_S * FPS)
        self._keyframe_wanted = False
        self._bitrate_bps: int | None = None
        self.start_monotonic: float | None = None
        """Monotonic time of tick 0, None before the start."""
        self._start_wall = 0.0

    # ---- from any thread

    def stop(self) -> None:
        """End within one tick; `on_ended` tells when."""
        self._stopping = True

    def request_keyframe(self) -> None:
        """Make one of the next pictures a key frame."""
        self._keyframe_wanted = True

    def set_bitrate(self, bps: int) -> None:
        """Aim at `bps` of video from the next picture on."""
        self._bitrate_bps = bps

    def media_time(self, at: float) -> float:
        """Seconds of media time at monotonic time `at`: 0 is the first picture and the first sample sent."""
        return at - self.start_monotonic if self.start_monotonic is not None else 0.0

    def wall_time(self, media_s: float) -> float | None:
        """Seconds since 1970 at which media time `media_s` was due, None before the start."""
        return self._start_wall + media_s if self.start_monotonic is not None else None

    def fps(self) -> float:
        """Pictures sent per second over the last two seconds."""
        return len(self._sizes()) / RECENT_S

    def video_bps(self) -> float:
        """Bits of video sent per second over the last two seconds."""
        return 8 * sum(self._sizes()) / RECENT_S

    def _sizes(self) -> list[int]:
        now = self._time.monotonic()
        return [size for at, size in list(self._recent) if now - at < RECENT_S]

    # ---- the pacer's threads

    def step(self) -> float | None:
        """Play what is due; the monotonic time of the next call, None after the end."""
        try:
            if not self._stopping:
                return self._play(*self._encoders) if self._encoders is not None else self._begin()
        except Exception as exc:
            log.exception("playout clock %s ended", self._name)
            self._end(exc)
        else:
            self._end(None)
        return None

    def _begin(self) -> float:
        """Open the encoders; the first tick is due now."""
        self._encoders = self._open_audio(), self._open_video(self._source.width, self._source.height)
        self._start_wall = self._time.wall()
        self.start_monotonic = self._time.monotonic()
        return self.start_monotonic

    def _play(self, audio: AudioEncoder, video: VideoEncoder) -> float:
        """One tick; when the next one is due."""
        start, tick = self.start_monotonic or 0.0, self._catch_up(self._next_tick)
        self._tick(tick, start + tick * TICK_S, audio, video)
        self._next_tick = tick + 1
        return start + self._next_tick * TICK_S

    def _end(self, error: BaseException | None) -> None:
        self._encoders = None
        if self._on_ended is not None:
            self._on_ended(error)

    def _catch_up(self, tick: int) -> int:
        """The tick to play now: `tick`, or a later one of the same half of a unit when the clock is too late for it."""
        late = self.media_time(self._time.monotonic()) - tick * TICK_S
        self.stats.late_max_s = max(self.stats.late_max_s, late)
        if late <= LATE_MAX_S:
            return tick
        units = int(late / TICK_S) // SPEECH_FRAMES_PER_UNIT
        self.stats.skipped_ticks += units * SPEECH_FRAMES_PER_UNIT
        return tick + units * SPEECH_FRAMES_PER_UNIT

    def _tick(self, tick: int, at: float, audio: AudioEncoder, video: VideoEncoder) -> None:
        half = tick % SPEECH_FRAMES_PER_UNIT
        if half == 0:
            self._unit = self._source.take()
        pcm, frame = self._speech(half)
        if pcm is not SILENCE:
            self._tell(pcm, at)
        packet = audio.encode(pcm, tick)
        picture = self._encode_picture(tick // SPEECH_FRAMES_PER_UNIT, video) if half == 0 else None
        self.stats.ticks += 1
        self.stats.audio_bytes += packet.size if packet is not None else 0
        self._sink.deliver(Batch(tick, packet, picture))
        if frame is not None:
            self._source.played(frame, at)

    def _tell(self, pcm: Pcm, at: float) -> None:
        on_sound = self.on_sound
        if on_sound is None:
            return
        try:
            on_sound(pcm, at)
        except Exception:
            log.exception("playout clock %s: the listener to its sound failed and is dropped", self._name)
            self.on_sound = None

    def _speech(self, half: int) -> tuple[Pcm, SpeechFrame | None]:
        """20 ms of sound, and the frame it is when it is one."""
        unit, last = self._unit, self._last
        if unit is None:
            self._last = None
            return self._splice.pause(resumes=last is not None and not last.final), None
        frame = unit.speech[half]
        if half and unit.turn != self._source.turn:
            self._last = None
            return self._splice.pause(frame.pcm, resumes=False), None
        self._last = frame
        if frame.turn != self._heard_turn:
            self._heard_turn = frame.turn
            return self._splice.switch(frame.pcm), frame
        return self._splice.join(frame.pcm), frame

    def _encode_picture(self, index: int, encoder: VideoEncoder) -> EncodedPicture | None:
        if self._unit is not None:
            self._picture = self._unit.picture
        else:
            self.stats.held_pictures += 1
        if self._picture is None:
            return None
        if self._sink.video_backlog() >= VIDEO_BACKLOG_MAX:
            self.stats.dropped_pictures += 1
            return None
        self._tell_encoder(encoder)
        begun = time.perf_counter()
        encoded = encoder.encode(self._picture, index)
        self.stats.encode_s += time.perf_counter() - begun
        if encoded is not None:
            self.stats.pictures += 1
            self.stats.keyframes += encoded.keyframe
            self.stats.video_bytes += encoded.packet.size
            self._recent.append((self._time.monotonic(), encoded.packet.size))
        return encoded

    def _tell_encoder(self, encoder: VideoEncoder) -> None:
        """What was asked of it since the last picture."""
        if self._keyframe_wanted:
            self._keyframe_wanted = False
            encoder.request_keyframe()
        bitrate_bps, self._bitrate_bps = self._bitrate_bps, None
        if bitrate_bps is not None:
            encoder.set_bitrate(bitrate_bps)
