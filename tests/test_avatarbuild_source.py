"""Clips, photos and folders come in at 25 pictures a second, upright, even, opaque, or a message says why not."""

import struct
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from avatarbuild.hdr import HLG, PQ, to_sdr
from avatarbuild.opening import open_source
from avatarbuild.source import SourceOptions, fitted, flattened, parse_colour
from avatarbuild.video import resample
from errors import NotFound, Unprocessable
from tests.avatar_clips import plain, turn_by_metadata, wall, write_clip, write_picture


def levels(path: Path, options: SourceOptions | None = None) -> list[int]:
    """Mean grey of every picture."""
    return [round(float(picture.mean())) for picture in open_source(path, options).pictures()]


def shots(count: int, width: int = 64, height: int = 64) -> list[np.ndarray]:
    """Pictures whose grey tells their number: 2 levels each."""
    return [plain(2 * k + 20, width, height) for k in range(count)]


def numbers(found: list[int]) -> list[int]:
    return [round((level - 20) / 2) for level in found]


# ---- time


def timed(times: list[float], lasts: float) -> list[tuple[tuple[float, float], int]]:
    return [((time, lasts), k) for k, time in enumerate(times)]


def test_resampling_keeps_25_a_second() -> None:
    assert list(resample(timed([k / 25 for k in range(30)], 1 / 25), 1 / 25)) == list(range(30))


def test_resampling_takes_the_nearest_of_60_a_second() -> None:
    found = list(resample(timed([k / 60 for k in range(120)], 1 / 60), 1 / 25))
    assert len(found) == 50
    assert all(abs(shot / 60 - k / 25) <= 1 / 120 + 1e-9 for k, shot in enumerate(found))


def test_resampling_repeats_one_of_24_a_second() -> None:
    found = list(resample(timed([k / 24 for k in range(48)], 1 / 24), 1 / 25))
    assert len(found) == 50
    assert sorted(set(found)) == list(range(48))


def test_resampling_follows_a_varying_rate() -> None:
    times = [0.0, 0.01, 0.02, 0.5, 0.52, 0.9]
    found = list(resample(timed(times, 0.1), 0.04))
    nearest = [min(range(6), key=lambda k: abs(times[k] - j * 0.04)) for j in range(len(found))]
    assert found == nearest
    assert len(found) == 25


def test_resampling_starts_at_the_first_time_and_drops_what_goes_back() -> None:
    found = list(resample([((9.0, 0.04), "a"), ((9.04, 0.04), "b"), ((9.0, 0.04), "x"), ((9.08, 0.04), "c")], 0.04))
    assert found == ["a", "b", "c"]


def test_resampling_of_nothing_and_of_one() -> None:
    assert list(resample([], 0.04)) == []
    assert list(resample([((3.0, 0.0), "only")], 0.04)) == ["only"]


@pytest.mark.parametrize("rate", [24, 25, 30, 50, 60])
def test_a_clip_of_any_rate_keeps_its_length(tmp_path: Path, rate: int) -> None:
    clip = write_clip(tmp_path / "clip.mkv", shots(rate), rate=rate, codec="ffv1", pixels="bgr0")
    found = numbers(levels(clip))
    assert len(found) == 25
    assert all(abs(shot / rate - k / 25) <= 0.5 / rate + 0.02 for k, shot in enumerate(found))


def test_a_clip_of_varying_rate(tmp_path: Path) -> None:
    times = [0.0, 0.02, 0.04, 0.4, 0.79]
    clip = write_clip(tmp_path / "clip.mkv", shots(5), times_s=times, codec="ffv1", pixels="bgr0")
    found = numbers(levels(clip))
    assert found[:21] == [0, 2, 2, 2, 2, 2, *[3] * 9, *[4] * 6]


def test_a_long_clip_is_cut_and_says_so(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", shots(75))
    source = open_source(clip, SourceOptions(max_seconds=1))
    assert source.expected == 25
    assert len(list(source.pictures())) == 25
    assert source.notes == ["only the first 1 s of clip.mp4 are used"]


# ---- shape


def corner() -> np.ndarray:
    """White at the top left, as seen."""
    picture = plain(0, 96, 64)
    picture[:20, :20] = 255
    return picture


@pytest.mark.parametrize(
    ("degrees", "shape", "at"), [(90, (96, 64), (0, -1)), (180, (64, 96), (-1, -1)), (270, (96, 64), (-1, 0))]
)
def test_rotation_by_metadata_is_honoured(
    tmp_path: Path, degrees: int, shape: tuple[int, int], at: tuple[int, int]
) -> None:
    clip = turn_by_metadata(write_clip(tmp_path / "clip.mp4", [corner()] * 3), degrees)
    source = open_source(clip)
    picture = next(iter(source.pictures()))
    assert (source.height, source.width) == picture.shape[:2] == shape
    assert picture[at[0], at[1]].min() > 200
    assert picture.mean() < 40


def test_odd_sides_are_cut_not_scaled(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mkv", [wall(101, 77)] * 2, codec="ffv1", pixels="bgr0")
    source = open_source(clip)
    picture = next(iter(source.pictures()))
    assert picture.shape == (76, 100, 3)
    assert np.abs(picture.astype(int) - wall(101, 77)[:76, :100]).max() <= 2


def test_large_clips_are_shrunk(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", [wall(400, 200)] * 2)
    source = open_source(clip, SourceOptions(max_side=100))
    assert (source.width, source.height) == (100, 50)
    assert next(iter(source.pictures())).shape == (50, 100, 3)


@pytest.mark.parametrize(
    ("size", "most", "fit"),
    [
        ((101, 77), 1920, (100, 76)),
        ((1920, 1080), 1920, (1920, 1080)),
        ((3840, 2160), 1920, (1920, 1080)),
        ((1080, 3840), 1920, (540, 1920)),
    ],
)
def test_sizes_that_fit(size: tuple[int, int], most: int, fit: tuple[int, int]) -> None:
    assert fitted(*size, most) == fit


def test_pixels_that_are_not_square_are_stretched(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    write_clip(path, [wall(128, 128)] * 2, options={"preset": "ultrafast", "x264-params": "sar=2/1"})
    source = open_source(path)
    assert (source.width, source.height) == (256, 128)


# ---- colour


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("matrix", ["bt709", "smpte170m"])
def test_stated_colours_are_understood(tmp_path: Path, matrix: str, full: bool) -> None:
    red, green, blue = 200, 60, 30
    kr, kb = (0.2126, 0.0722) if matrix == "bt709" else (0.299, 0.114)
    luma = kr * red + (1 - kr - kb) * green + kb * blue
    cb, cr = (blue - luma) / 2 / (1 - kb), (red - luma) / 2 / (1 - kr)
    scale, base = (1.0, 0) if full else (219 / 255, 16)
    chroma = 1.0 if full else 224 / 255
    path = tmp_path / "clip.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", 25)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        stream.codec_context.colorspace = 1 if matrix == "bt709" else 6
        stream.codec_context.color_range = 2 if full else 1
        stream.codec_context.options = {"crf": "1"}
        for k in range(2):
            frame = av.VideoFrame(64, 64, "yuv420p")
            values = (base + luma * scale, 128 + cb * chroma, 128 + cr * chroma)
            for plane, value in zip(frame.planes, values, strict=True):
                plane.update(bytes([round(value)]) * plane.buffer_size)
            frame.pts, frame.time_base = k, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    picture = next(iter(open_source(path).pictures()))
    assert np.abs(picture[32, 32].astype(int) - [red, green, blue]).max() <= 5


def test_hdr_is_brought_to_a_standard_screen(tmp_path: Path) -> None:
    path = tmp_path / "phone.mkv"
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("ffv1", 25)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p10le"
        context = stream.codec_context
        context.color_trc, context.color_primaries, context.colorspace, context.color_range = HLG, 9, 9, 1
        for k in range(2):
            frame = av.VideoFrame(64, 64, "yuv420p10le")
            for plane, value in zip(frame.planes, (64 + 876 * 0.75, 512, 512), strict=True):
                plane.update(np.full(plane.buffer_size // 2, round(value), np.uint16).tobytes())
            frame.pts, frame.time_base = k, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    source = open_source(path)
    assert "HDR clip (HLG)" in source.notes[0]
    found = next(iter(source.pictures()))[32, 32].astype(int)
    assert np.abs(found - 242).max() <= 2  # reference white is just under white


def test_hdr_colours() -> None:
    grey = np.full((1, 3), 0.5)
    for curve in (HLG, PQ):
        assert np.ptp(to_sdr(grey, curve)) < 0.01
    ramp = np.repeat(np.linspace(0, 1, 50)[:, None], 3, 1)
    for curve in (HLG, PQ):
        shown = to_sdr(ramp, curve)[:, 0]
        assert (np.diff(shown) >= 0).all()
        assert shown[0] < 0.01
        assert shown[-1] > 0.98
    red, green, blue = to_sdr(np.array([[0.6, 0.4, 0.35]]), HLG)[0]
    assert red > green > blue
    assert red - blue > 0.25  # narrower primaries need stronger signals for the same colour


# ---- opacity


def half_clear(width: int = 64, height: int = 64) -> np.ndarray:
    """Left half red and opaque, right half clear."""
    picture = np.zeros((height, width, 4), np.uint8)
    picture[:, : width // 2] = (220, 20, 20, 255)
    return picture


def assert_flattened(picture: np.ndarray) -> None:
    assert picture.shape[2] == 3
    assert np.abs(picture[32, 8].astype(int) - [220, 20, 20]).max() < 24
    assert np.abs(picture[32, 56].astype(int) - [0, 0, 200]).max() < 24


BLUE = SourceOptions(background=(0, 0, 200))


@pytest.mark.parametrize(
    ("name", "codec", "pixels"),
    [("clip.mov", "qtrle", "argb"), ("clip.webm", "libvpx-vp9", "yuva420p"), ("clip.gif", "gif", "rgb8")],
)
def test_clear_clips_are_laid_on_the_stated_colour(tmp_path: Path, name: str, codec: str, pixels: str) -> None:
    path = tmp_path / name
    if codec == "gif":
        frames = half_clear()
        write_gif(path, frames)
    else:
        write_clip(path, [half_clear()] * 3, codec=codec, pixels=pixels)
    assert_flattened(next(iter(open_source(path, BLUE).pictures())))


def write_gif(path: Path, picture: np.ndarray) -> None:
    """Two frames, colour 0 red, colour 1 clear; uncompressed LZW codes of 3 bits with frequent clears."""
    height, width = picture.shape[:2]
    codes: list[int] = []
    for k, pixel in enumerate((picture[..., 3] == 0).ravel()):
        if k % 2 == 0:
            codes.append(4)  # clear, so that codes stay 3 bits wide
        codes.append(int(pixel))
    codes.append(5)
    bits = "".join(f"{code:03b}"[::-1] for code in codes)
    bits += "0" * (-len(bits) % 8)
    data = bytes(int(bits[k : k + 8][::-1], 2) for k in range(0, len(bits), 8))
    blocks = b"".join(bytes([len(part)]) + part for part in (data[k : k + 255] for k in range(0, len(data), 255)))
    frame = (
        b"\x21\xf9\x04\x01\x04\x00\x01\x00"
        + b"\x2c"
        + struct.pack("<4HB", 0, 0, width, height, 0)
        + b"\x02"
        + blocks
        + b"\0"
    )
    colours = bytes((220, 20, 20, 0, 255, 0, 0, 0, 0, 0, 0, 0))
    path.write_bytes(b"GIF89a" + struct.pack("<HHBBB", width, height, 0x91, 0, 0) + colours + frame * 2 + b";")


@pytest.mark.parametrize("suffix", ["png", "webp"])
def test_clear_photos_are_laid_on_the_stated_colour(tmp_path: Path, suffix: str) -> None:
    source = open_source(write_picture(tmp_path / f"me.{suffix}", half_clear()), BLUE)
    assert source.is_still
    assert_flattened(next(iter(source.pictures())))


def test_half_opacity_mixes() -> None:
    assert flattened(np.array([[[200, 0, 100, 128]]], np.uint8), (0, 100, 100)).tolist() == [[[100, 50, 100]]]


def test_colours_are_read() -> None:
    assert parse_colour("#0a80FF") == (10, 128, 255)
    with pytest.raises(ValueError, match="rrggbb"):
        parse_colour("red")


# ---- photos and folders


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "bmp"])
def test_photos(tmp_path: Path, suffix: str) -> None:
    source = open_source(write_picture(tmp_path / f"me.{suffix}", wall(101, 99)))
    picture = next(iter(source.pictures()))
    assert source.is_still
    assert picture.shape == (98, 100, 3)
    assert np.abs(picture.astype(int) - wall(101, 99)[:98, :100]).mean() < 12


def test_a_photo_is_turned_as_its_exif_says(tmp_path: Path) -> None:
    path = write_picture(tmp_path / "me.jpg", corner())
    tiff = b"II*\0\x08\0\0\0" + struct.pack("<H", 1) + struct.pack("<HHII", 0x0112, 3, 1, 6) + b"\0\0\0\0"
    exif = b"Exif\0\0" + tiff
    data = path.read_bytes()
    path.write_bytes(data[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + data[2:])
    picture = next(iter(open_source(path).pictures()))
    assert picture.shape == (96, 64, 3)
    assert picture[5, -5].min() > 200
    assert picture[5, 5].max() < 60


def test_a_16_bit_photo(tmp_path: Path) -> None:
    path = tmp_path / "me.png"
    assert cv2.imwrite(str(path), np.full((64, 64, 3), 0x8000, np.uint16))
    assert next(iter(open_source(path).pictures())).mean() == 128


def test_a_folder_is_played_in_the_order_of_its_numbers(tmp_path: Path) -> None:
    for k in (10, 9, 2, 1):
        write_picture(tmp_path / f"shot{k}.png", plain(10 * k))
    (tmp_path / "notes.txt").write_text("no picture")
    source = open_source(tmp_path)
    assert not source.is_still
    assert [int(picture.mean()) for picture in source.pictures()] == [10, 20, 90, 100]


def test_a_folder_of_unequal_pictures_names_the_odd_one(tmp_path: Path) -> None:
    write_picture(tmp_path / "1.png", plain(1))
    write_picture(tmp_path / "2.png", plain(1, 80, 64))
    with pytest.raises(Unprocessable, match=r"2\.png is 80 x 64 pixels, 1\.png is 64 x 64"):
        list(open_source(tmp_path).pictures())


def test_a_folder_without_pictures(tmp_path: Path) -> None:
    with pytest.raises(Unprocessable, match="holds no picture"):
        open_source(tmp_path)


# ---- what cannot be used


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="does not exist"):
        open_source(tmp_path / "gone.mp4")


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("clip.mp4", b"", "is empty"),
        ("clip.mp4", b"this is no video at all\n" * 50, "not a video that can be read"),
        ("me.png", b"\x89PNG\r\n\x1a\n" + b"\0" * 100, r"me\.png"),
        ("me.jpg", b"\xff\xd8\xff\xe0" + b"\0" * 100, "no picture that can be read, or is damaged"),
        ("me.heic", b"\0\0\0\x18ftypheic" + b"\0" * 64, "HEIC"),
        ("me.webp", b"RIFF\0\0\0\0WEBPVP8X\x0a\0\0\0\x02" + b"\0" * 64, "animated WebP"),
        (
            "me.png",
            b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">II", 50_000, 50_000) + b"\x08\x02\0\0\0",
            "50000 x 50000",
        ),
        ("me.jpg", b"\xff\xd8\xff\xc0\0\x11\x08" + struct.pack(">HH", 30_000, 40_000) + b"\0" * 20, "40000 x 30000"),
    ],
)
def test_files_that_are_no_source(tmp_path: Path, name: str, data: bytes, says: str) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(Unprocessable, match=says):
        list(open_source(path).pictures())


def test_sound_alone_is_no_video(tmp_path: Path) -> None:
    import wave

    path = tmp_path / "voice.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(b"\0\0" * 16_000)
    with pytest.raises(Unprocessable, match=r"voice\.wav holds no video"):
        open_source(path)


def test_a_clip_without_its_end_has_no_index(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mp4", [wall()] * 50)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(Unprocessable, match=r"clip\.mp4 is not a video that can be read"):
        open_source(path)


def noisy(count: int) -> list[np.ndarray]:
    random = np.random.default_rng(0)
    return [random.integers(0, 256, (96, 96, 3), np.uint8) for _ in range(count)]


def test_a_clip_that_is_cut_off_says_where(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mp4", noisy(100), container_options={"movflags": "+faststart"})
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(Unprocessable, match=r"damaged.*4\.00 s.*after (1|2)\.\d\d s|damaged after (1|2)\.\d\d s"):
        list(open_source(path).pictures())


def test_a_clip_that_is_damaged_in_the_middle_says_where(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mkv", noisy(100))
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 4000] = np.random.default_rng(1).bytes(4000)
    path.write_bytes(data)
    with pytest.raises(Unprocessable, match=r"clip\.mkv is damaged"):
        list(open_source(path).pictures())


def test_a_tiny_clip(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mp4", [plain(9, 32, 32)] * 2)
    with pytest.raises(Unprocessable, match="32 x 32 pixels; allowed"):
        open_source(path)
