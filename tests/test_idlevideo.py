"""The idle video, from beginning to end and piece by piece."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from avatarbuild.encode import IDLE_CRF, PIECE, VideoWriter
from errors import Unprocessable
from idlevideo import IdleVideo
from tests.avatar_clips import MIRA, mira

SIDE = 64


def written(path: Path, count: int = 30) -> IdleVideo:
    """As the avatar build writes it."""
    pictures = mira(25, SIDE)
    with VideoWriter(path, SIDE, SIDE, crf=IDLE_CRF) as video:
        for k in range(count):
            video.add(np.roll(pictures[k % 25], k, 1))
    return IdleVideo(path, SIDE, SIDE, count)


def coded(path: Path, **options: str) -> IdleVideo:
    """With x264's options."""
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", 25)
        stream.width, stream.height, stream.pix_fmt = SIDE, SIDE, "yuv420p"
        stream.codec_context.options = options
        stream.codec_context.time_base = stream.time_base = Fraction(1, 25)
        for k in range(40):
            picture = np.roll(mira(25, SIDE)[k % 25], 2 * k, 1)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        container.mux(stream.encode(None))
    return IdleVideo(path, SIDE, SIDE, 40)


def assert_pieces_are_the_whole(video: IdleVideo) -> list[int]:
    starts = video.pieces()
    whole = video.whole()
    for piece in reversed(range(len(starts))):
        end = starts[piece + 1] if piece + 1 < len(starts) else len(whole)
        pictures = video.load(piece)
        assert len(pictures) == end - starts[piece]
        for number, picture in enumerate(pictures, starts[piece]):
            assert np.array_equal(picture, whole[number]), number
    return starts


def test_pieces_are_the_whole_and_as_long_as_they_are_built(tmp_path: Path) -> None:
    assert assert_pieces_are_the_whole(written(tmp_path / "idle.mp4")) == [0, PIECE, 2 * PIECE]


@pytest.mark.parametrize(
    "options",
    [
        {"g": "7", "bf": "3"},
        {"g": "250"},
        {"g": "1"},
        {"g": "12", "bf": "0", "tune": "fastdecode"},
        {"g": "10", "bf": "4", "b-pyramid": "normal", "refs": "4"},
    ],
)
def test_other_codings_are_read_as_they_are(tmp_path: Path, options: dict[str, str]) -> None:
    assert_pieces_are_the_whole(coded(tmp_path / "idle.mp4", **options))


def test_an_avatar_of_before_is_read_as_it_is() -> None:
    assert assert_pieces_are_the_whole(IdleVideo(MIRA / "idle.mp4", 512, 512, 125)) == [0, 25, 50, 75, 100]


def test_it_must_be_what_the_card_says(tmp_path: Path) -> None:
    path = tmp_path / "idle.mp4"
    written(path)
    for width, count, words in ((128, 30, "128, 64, 'yuv420p'"), (SIDE, 29, "more than 29"), (SIDE, 31, "holds 30")):
        video = IdleVideo(path, width, SIDE, count)
        for read in (video.whole, video.pieces):
            with pytest.raises(Unprocessable, match=words):
                read()


def test_damage_is_told_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "idle.mp4"
    video = written(path)
    video.pieces()
    packets = video._pieces[1]
    with path.open("r+b") as file:
        file.seek(packets[0].at)
        file.write(bytes(packets[0].size))
    with pytest.raises(Unprocessable, match="piece 1"):
        video.load(1)
    assert len(video.load(2)) == 30 - 2 * PIECE
    path.write_bytes(b"not a video")
    with pytest.raises(Unprocessable, match="cannot be decoded as video"):
        IdleVideo(path, SIDE, SIDE, 30).pieces()
