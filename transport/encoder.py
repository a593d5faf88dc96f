"""`H264Encoder`, `Vp8Encoder`, `OpusEncoder`: one picture or 20 ms of sound in, at most one packet out, no delay.

They run in the pacer's threads, in one at a time. `request_keyframe` and `set_bitrate` may be called from any thread:
they only leave a note that the next `encode` reads.
"""

from __future__ import annotations

import dataclasses
import fractions
from typing import Any, ClassVar, Protocol, TypeAlias

import av
from av.audio.codeccontext import AudioCodecContext
from av.video.codeccontext import VideoCodecContext
from av.video.frame import PictureType

from media import FPS, I420, SAMPLE_RATE_HZ, SAMPLES_PER_FRAME, SPEECH_FRAMES_PER_S, UNIT_S, Pcm

Packet: TypeAlias = "av.Packet[Any]"

VIDEO_CLOCK_HZ = 90_000  # RTP clock rate of H.264 and VP8 (RFC 6184, RFC 7741)
AUDIO_CLOCK_HZ = 48_000  # RTP clock rate of Opus whatever it encodes (RFC 7587 section 4.1)
VIDEO_TICKS_PER_PICTURE = VIDEO_CLOCK_HZ // FPS  # 3600
AUDIO_TICKS_PER_FRAME = AUDIO_CLOCK_HZ // SPEECH_FRAMES_PER_S  # 960
VIDEO_TIME_BASE = fractions.Fraction(1, VIDEO_CLOCK_HZ)
AUDIO_TIME_BASE = fractions.Fraction(1, AUDIO_CLOCK_HZ)

BITS_PER_PIXEL_S = 3.8  # 1 Mbps for 512x512 at 25 fps: PSNR-Y 41.7 dB with superfast on a talking portrait
BITRATE_FLOOR_BPS = 150_000
OPUS_BITRATE_BPS = 32_000
SILENCE_SETTLED_FRAMES = SPEECH_FRAMES_PER_S  # 1 s: the encoder has forgotten what was said
GOP_PICTURES = 3000  # two minutes: key frames come when asked for, not by the clock
KEYFRAME_INTERVAL_MIN_S = 0.3  # a receiver that loses packets asks again and again; one answer covers them all
LEVEL_31_MACROBLOCKS = 3600  # MaxFS of H.264 level 3.1, the level offered in SDP (H.264 table A-1)


@dataclasses.dataclass(frozen=True, slots=True)
class EncodedPicture:
    """One compressed picture."""

    packet: Packet
    keyframe: bool


class VideoEncoder(Protocol):
    """What the playout clock needs of a video encoder."""

    codec_name: ClassVar[str]
    """FFmpeg's name of the format: `h264` or `vp8`."""

    def encode(self, picture: I420, index: int) -> EncodedPicture | None:
        """Compress the picture shown at 40 ms step `index`; its packet's PTS is `index * VIDEO_TICKS_PER_PICTURE`."""
        ...

    def request_keyframe(self) -> None:
        """Make one of the next pictures a key frame (PLI, FIR, a recording that starts)."""
        ...

    def set_bitrate(self, bps: int) -> None:
        """Aim at `bps` from the next picture on, within `BITRATE_FLOOR_BPS` and the ceiling."""
        ...


def picture_bitrate(width: int, height: int, ceiling_bps: int) -> int:
    """Bits per second worth spending on pictures of this size; more would not be seen."""
    return min(ceiling_bps, max(BITRATE_FLOOR_BPS, round(width * height * BITS_PER_PIXEL_S)))


class _Video:
    """What H.264 and VP8 share: the wish for a key frame, the target rate, and I420 arrays made frames."""

    def __init__(self, width: int, height: int, bitrate_bps: int) -> None:
        if width % 2 or height % 2 or width < 16 or height < 16:
            raise ValueError(f"picture size {width}x{height}: width and height must be even and at least 16")
        self.width = width
        self.height = height
        self.ceiling_bps = self.target_bps = max(bitrate_bps, BITRATE_FLOOR_BPS)
        self._keyframe_wanted = False
        self._keyframe_index = -GOP_PICTURES

    def request_keyframe(self) -> None:
        """Make one of the next pictures a key frame."""
        self._keyframe_wanted = True

    def set_bitrate(self, bps: int) -> None:
        """Aim at `bps`, clipped to the allowed range."""
        self.target_bps = max(BITRATE_FLOOR_BPS, min(bps, self.ceiling_bps))

    def _frame(self, picture: I420, index: int) -> av.VideoFrame:
        if self.height % 4 == 0 and picture.flags.c_contiguous:
            # No copy: without look-ahead neither library keeps a picture, and nobody writes into a shared one.
            frame = av.VideoFrame.from_numpy_buffer(picture, format="yuv420p")
        else:  # PyAV 18.1.0 takes such a buffer for one of a smaller height
            frame = av.VideoFrame.from_ndarray(picture, format="yuv420p")
        frame.pts = index * VIDEO_TICKS_PER_PICTURE
        frame.time_base = VIDEO_TIME_BASE
        if self._keyframe_wanted and (index - self._keyframe_index) * UNIT_S >= KEYFRAME_INTERVAL_MIN_S:
            self._keyframe_wanted = False
            frame.pict_type = PictureType.I
        return frame

    def _encode(self, context: VideoCodecContext, frame: av.VideoFrame, index: int) -> EncodedPicture | None:
        packets = context.encode(frame)
        if not packets:
            return None
        packet = packets[0]
        packet.pts = packet.dts = index * VIDEO_TICKS_PER_PICTURE
        packet.time_base = VIDEO_TIME_BASE
        keyframe = bool(packet.is_keyframe)
        if keyframe:
            self._keyframe_index = index
        return EncodedPicture(packet, keyframe)

    def _context(self, name: str) -> VideoCodecContext:
        context = av.CodecContext.create(name, "w")
        assert isinstance(context, VideoCodecContext)
        context.width, context.height, context.pix_fmt = self.width, self.height, "yuv420p"
        context.framerate = fractions.Fraction(FPS)
        context.time_base = VIDEO_TIME_BASE
        context.gop_size = GOP_PICTURES
        context.thread_count = 1
        return context


class H264Encoder(_Video):
    """x264 superfast, one thread, constrained baseline, no look-ahead.

    Superfast is the sweet spot for a talking portrait: at 1 Mbps 41.7 dB for 2.2 ms a 512x512 picture, where ultrafast
    gives 40.0 dB for 1.1 ms and medium 42.4 dB for 16 ms. libx264 follows a changed `bit_rate` without a new key frame
    only when it was opened with a VBV whose maxrate equals the bit rate, so it is opened at the highest rate it will
    have.
    """

    codec_name: ClassVar[str] = "h264"

    def __init__(self, width: int, height: int, bitrate_bps: int) -> None:
        super().__init__(width, height, bitrate_bps)
        context = self._context("libx264")
        context.bit_rate = self.ceiling_bps
        options = {"preset": "superfast", "tune": "zerolatency", "forced-idr": "1", "sc_threshold": "0"}
        options |= {"maxrate": str(self.ceiling_bps), "bufsize": str(self.ceiling_bps // 2)}
        if width * height <= LEVEL_31_MACROBLOCKS * 256:
            options["level"] = "31"
        context.options = options
        context.profile = "Baseline"
        context.open()
        self._codec = context

    def encode(self, picture: I420, index: int) -> EncodedPicture | None:
        """Compress one picture in the thread that calls."""
        if self._codec.bit_rate != self.target_bps:
            self._codec.bit_rate = self.target_bps
        return self._encode(self._codec, self._frame(picture, index), index)


class Vp8Encoder(_Video):
    """libvpx at its fastest real-time setting, denoiser off: the same picture and cost as x264 superfast.

    FFmpeg's libvpx wrapper (8.1) cannot change the rate of an open encoder. A new one, which costs a key frame, is made
    only for a change worth it and at most every `REOPEN_INTERVAL_S`.
    """

    codec_name: ClassVar[str] = "vp8"
    REOPEN_BELOW: ClassVar[float] = 0.75
    REOPEN_ABOVE: ClassVar[float] = 1.5
    REOPEN_INTERVAL_S: ClassVar[float] = 5.0

    def __init__(self, width: int, height: int, bitrate_bps: int) -> None:
        super().__init__(width, height, bitrate_bps)
        self._codec = self._open(self.target_bps)
        self._opened_index = 0

    def encode(self, picture: I420, index: int) -> EncodedPicture | None:
        """Compress one picture in the thread that calls."""
        ratio = self.target_bps / self._bitrate_bps
        settled = (index - self._opened_index) * UNIT_S >= self.REOPEN_INTERVAL_S
        if settled and not self.REOPEN_BELOW < ratio < self.REOPEN_ABOVE:
            self._codec = self._open(self.target_bps)
            self._opened_index = index
        return self._encode(self._codec, self._frame(picture, index), index)

    def _open(self, bps: int) -> VideoCodecContext:
        context = self._context("libvpx")
        context.bit_rate = self._bitrate_bps = bps
        context.qmin, context.qmax = 2, 56
        context.options = {
            "deadline": "realtime",
            "cpu-used": "-12",
            "noise-sensitivity": "0",
            "lag-in-frames": "0",
            "static-thresh": "1",
            "partitions": "0",
            "minrate": str(bps),  # equal rates are libvpx's constant bit rate
            "maxrate": str(bps),
            "bufsize": str(bps // 2),
            "undershoot-pct": "100",
            "overshoot-pct": "15",
        }
        context.open()
        return context


class OpusEncoder:
    """Opus from 16 kHz mono as it is: no resampler, 20 ms a packet.

    `voip` looks ahead 6.5 ms (2.5 ms for `lowdelay`) and in exchange has SILK, which sounds better for speech at 32
    kbps, and in-band error correction. The look-ahead costs no lip sync: packets carry the time of the sound they
    decode to, so the first PTS is negative, exactly as FFmpeg reports it.

    After a second of digital silence the last packet is sent again and again instead of encoding: a listener hears no
    difference, and an idle session saves two thirds of what its sound costs.
    """

    def __init__(self, bitrate_bps: int = OPUS_BITRATE_BPS) -> None:
        context = av.CodecContext.create("libopus", "w")
        assert isinstance(context, AudioCodecContext)
        context.bit_rate = bitrate_bps
        context.format = av.AudioFormat("flt")
        context.layout = av.AudioLayout("mono")
        context.sample_rate = SAMPLE_RATE_HZ
        context.time_base = fractions.Fraction(1, SAMPLE_RATE_HZ)
        context.options = {"application": "voip", "frame_duration": "20", "fec": "1", "packet_loss": "5"}
        context.open()
        self._codec = context
        self._fed = 0
        self._silent_frames = 0
        self._data = b""
        self._lookahead: int | None = None

    def encode(self, pcm: Pcm, tick: int) -> Packet | None:
        """Compress the 20 ms of clock tick `tick`; PTS in 1/48000 s is `tick * 960` less the encoder's look-ahead."""
        self._silent_frames = self._silent_frames + 1 if not pcm.any() else 0
        if self._silent_frames <= SILENCE_SETTLED_FRAMES and not self._compress(pcm):
            return None
        packet = av.Packet(self._data)
        packet.pts = packet.dts = tick * AUDIO_TICKS_PER_FRAME - (self._lookahead or 0)
        packet.time_base = AUDIO_TIME_BASE
        return packet

    def _compress(self, pcm: Pcm) -> bool:
        """Leave the compressed frame in `_data`; False while the encoder has nothing to give."""
        frame = av.AudioFrame.from_ndarray(pcm.reshape(1, -1), format="flt", layout="mono")
        frame.sample_rate = SAMPLE_RATE_HZ
        frame.time_base = fractions.Fraction(1, SAMPLE_RATE_HZ)
        frame.pts = self._fed * SAMPLES_PER_FRAME  # without the gaps of skipped ticks: the encoder need not know
        self._fed += 1
        packets = self._codec.encode(frame)
        if not packets:
            return False
        if self._lookahead is None:
            self._lookahead = -(packets[0].pts or 0) * AUDIO_CLOCK_HZ // SAMPLE_RATE_HZ
        self._data = bytes(packets[0])
        return True
