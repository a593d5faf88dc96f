"""Encoders: every picture in is a picture out at once, key frames on request, the rate follows, Opus keeps time."""

from __future__ import annotations

import av
import numpy as np
import pytest
from av.audio.codeccontext import AudioCodecContext
from av.video.codeccontext import VideoCodecContext
from numpy.typing import NDArray

from media import I420, SAMPLE_RATE_HZ, SILENCE
from tests.fakes.real import picture, tone
from transport.encoder import (
    AUDIO_CLOCK_HZ,
    AUDIO_TICKS_PER_FRAME,
    BITRATE_FLOOR_BPS,
    H264Encoder,
    OpusEncoder,
    VideoEncoder,
    Vp8Encoder,
    picture_bitrate,
)

BOTH = pytest.mark.parametrize("kind", [H264Encoder, Vp8Encoder])


def noise(seed: int, width: int = 256, height: int = 256) -> I420:
    """A picture that costs bits: smooth noise that differs each time."""
    rng = np.random.default_rng(seed)
    image = picture(width, height)
    coarse = rng.integers(40, 215, (height // 8, width // 8), dtype=np.uint8)
    image[:height] = np.kron(coarse, np.ones((8, 8), np.uint8))
    return image


def decode(kind: type, packets: list[bytes]) -> list[I420]:
    codec = av.CodecContext.create("h264" if kind is H264Encoder else "libvpx", "r")
    assert isinstance(codec, VideoCodecContext)
    frames = [frame for data in [*map(av.Packet, packets), None] for frame in codec.decode(data)]
    return [np.asarray(frame.to_ndarray(format="yuv420p"), np.uint8) for frame in frames]


@BOTH
def test_one_packet_for_one_picture_at_once(kind: type) -> None:
    encoder: VideoEncoder = kind(64, 48, 500_000)
    packets = []
    for index in (0, 1, 2, 5, 6):
        encoded = encoder.encode(picture(64, 48, 50 + 20 * index), index)
        assert encoded is not None
        assert encoded.packet.pts == index * 3600
        assert encoded.keyframe == (index == 0)
        packets.append(bytes(encoded.packet))
    shown = [image[:48].mean() for image in decode(kind, packets)]
    assert shown == pytest.approx([50, 70, 90, 150, 170], abs=2)


@BOTH
@pytest.mark.parametrize("size", [(90, 98), (1080 // 4, 1922 // 4 // 2 * 2), (16, 16)])
def test_any_even_size_keeps_its_planes(kind: type, size: tuple[int, int]) -> None:
    width, height = size
    image = picture(width, height, 100)
    chroma = image[height:].reshape(2, height // 2, width // 2)
    chroma[0], chroma[1] = 90, 160
    image.setflags(write=False)
    encoder: VideoEncoder = kind(width, height, 500_000)
    encoded = encoder.encode(image, 0)
    assert encoded is not None
    shown = decode(kind, [bytes(encoded.packet)])[0]
    planes = shown[:height], *shown[height:].reshape(2, height // 2, width // 2)
    assert [plane.mean() for plane in planes] == pytest.approx([100, 90, 160], abs=4)


@BOTH
def test_key_frame_on_request_but_not_in_a_storm(kind: type) -> None:
    encoder: VideoEncoder = kind(64, 48, 500_000)
    keys = []
    for index in range(40):
        if index >= 20:
            encoder.request_keyframe()
        encoded = encoder.encode(picture(64, 48, 60 + index), index)
        assert encoded is not None
        keys += [index] if encoded.keyframe else []
    assert keys == [0, 20, 28, 36], "at once, then at most every 0.3 s"


@BOTH
def test_a_decoder_can_start_at_a_requested_key_frame(kind: type) -> None:
    encoder: VideoEncoder = kind(64, 48, 500_000)
    packets = []
    for index in range(30):
        if index == 15:
            encoder.request_keyframe()
        encoded = encoder.encode(picture(64, 48, 60 + index), index)
        assert encoded is not None
        packets.append(bytes(encoded.packet))
    assert decode(kind, packets[15:])[0][:48].mean() == pytest.approx(75, abs=2)


def kbps(encoder: VideoEncoder, first: int, pictures: int) -> tuple[float, int]:
    """Rate over `pictures` noisy pictures, and how many of them were key frames."""
    encoded = [encoder.encode(noise(i), i) for i in range(first, first + pictures)]
    sizes = [e.packet.size for e in encoded if e is not None]
    return 8 * sum(sizes) / (pictures / 25) / 1000, sum(e.keyframe for e in encoded if e is not None)


def test_h264_rate_moves_in_place() -> None:
    encoder = H264Encoder(256, 256, 2_000_000)
    measured = []
    for step, bps in enumerate((2_000_000, 700_000, 1_500_000, 300_000)):
        encoder.set_bitrate(bps)
        kbps(encoder, step * 150, 75)  # settles
        rate, keyframes = kbps(encoder, step * 150 + 75, 75)
        assert keyframes == 0
        measured.append(rate * 1000 / bps)
    assert measured == pytest.approx([1, 1, 1, 1], abs=0.3), "the rate is followed without a new encoder"


def test_vp8_rate_changes_by_a_new_encoder_now_and_then() -> None:
    encoder = Vp8Encoder(256, 256, 2_000_000)
    encoder.set_bitrate(1_000_000)
    kbps(encoder, 0, 130)
    for index, bps in enumerate((950_000, 300_000, 900_000, 300_000)):  # a small change, then a flutter
        encoder.set_bitrate(bps)
        rate, keyframes = kbps(encoder, 130 + 2 * index, 2)
    encoder.set_bitrate(300_000)
    kbps(encoder, 150, 130)
    rate, keyframes = kbps(encoder, 280, 75)
    assert keyframes == 0
    assert rate == pytest.approx(300, rel=0.25)


def test_libvpx_still_keeps_the_rate_it_was_opened_with() -> None:
    """FFmpeg 8.1's wrapper does not pass a new rate on, and does not export libvpx itself."""
    encoder = Vp8Encoder(256, 256, 2_000_000)
    before, _ = kbps(encoder, 0, 50)
    encoder._codec.bit_rate = 200_000
    kbps(encoder, 50, 50)
    after, _ = kbps(encoder, 100, 50)
    assert after == pytest.approx(before, rel=0.2)


def test_rates_are_clipped_and_suit_the_picture() -> None:
    encoder = H264Encoder(64, 48, 500_000)
    encoder.set_bitrate(1)
    assert encoder.target_bps == BITRATE_FLOOR_BPS
    encoder.set_bitrate(10**9)
    assert encoder.target_bps == 500_000
    assert picture_bitrate(512, 512, 2_000_000) == pytest.approx(1_000_000, rel=0.01)
    assert picture_bitrate(1080, 1920, 2_000_000) == 2_000_000


@BOTH
@pytest.mark.parametrize("size", [(63, 48), (64, 47), (8, 8)])
def test_impossible_sizes_are_named(kind: type, size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=f"{size[0]}x{size[1]}"):
        kind(*size, 500_000)


def test_full_hd_portrait_opens() -> None:
    encoder = H264Encoder(1080, 1920, 4_000_000)
    assert encoder.encode(picture(1080, 1920), 0) is not None


def opus_decoder() -> AudioCodecContext:
    decoder = av.CodecContext.create("libopus", "r")
    assert isinstance(decoder, AudioCodecContext)
    decoder.sample_rate, decoder.layout, decoder.format = AUDIO_CLOCK_HZ, av.AudioLayout("mono"), av.AudioFormat("s16")
    return decoder


def test_opus_time_stamps_are_those_of_the_sound() -> None:
    """A click goes in at a known time; it comes out where the packets' own time stamps say."""
    encoder = OpusEncoder()
    decoder = opus_decoder()
    burst = SILENCE.copy()
    n = np.arange(160)
    burst[160:] = 0.8 * np.sin(2 * np.pi * 1000 * n / SAMPLE_RATE_HZ) * np.hanning(160)
    sound, first_pts = [], None
    for tick in range(50):
        packet = encoder.encode(burst if tick == 25 else SILENCE, tick)
        assert packet is not None
        first_pts = packet.pts if first_pts is None else first_pts
        assert packet.pts is not None
        assert packet.pts == (first_pts or 0) + tick * AUDIO_TICKS_PER_FRAME
        sound += [frame.to_ndarray().reshape(-1) for frame in decoder.decode(av.Packet(bytes(packet)))]
    heard = np.concatenate(sound).astype(float) ** 2
    assert first_pts is not None
    assert first_pts < 0
    centre_s = (np.sum(np.arange(len(heard)) * heard) / heard.sum() + first_pts) / AUDIO_CLOCK_HZ
    assert centre_s == pytest.approx(25 * 0.02 + 0.015, abs=0.001)


def test_repeated_silence_sounds_as_if_it_was_encoded(monkeypatch: pytest.MonkeyPatch) -> None:
    voice = tone(20)
    script = [*voice, *[SILENCE] * 200, *voice]

    def heard() -> tuple[NDArray[np.float32], int]:
        encoder, decoder = OpusEncoder(), opus_decoder()
        packets = [encoder.encode(pcm, tick) for tick, pcm in enumerate(script)]
        frames = [f for p in packets if p is not None for f in decoder.decode(av.Packet(bytes(p)))]
        return np.concatenate([f.to_ndarray().reshape(-1) for f in frames]).astype(np.float32), encoder._fed

    saving, fed = heard()
    monkeypatch.setattr("transport.encoder.SILENCE_SETTLED_FRAMES", 10**9)
    plain, fed_all = heard()
    assert (fed, fed_all) == (90, 240)
    quiet = slice(40 * 960, 219 * 960)
    assert np.abs(saving[quiet]).max() <= max(1, np.abs(plain[quiet]).max()), "16-bit steps"
    again = slice(221 * 960, None)
    difference = saving[again] - plain[again]
    assert np.sqrt(np.mean(difference**2)) < 0.02 * np.sqrt(np.mean(plain[again] ** 2))


def test_opus_jumps_with_the_clock() -> None:
    encoder = OpusEncoder()
    stamps = [packet.pts for tick in (0, 1, 2, 7, 8) if (packet := encoder.encode(SILENCE, tick)) is not None]
    assert np.diff(np.array(stamps)).tolist() == [960, 960, 4800, 960]
