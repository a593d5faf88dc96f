"""`IdleVideo`: the pictures of an avatar's `idle.mp4`, from its beginning to its end or piece by piece.

A piece is what lies between two pictures that are coded for themselves. `avatarbuild` puts one every half second.
"""

from __future__ import annotations

import dataclasses
import os
import weakref
from pathlib import Path
from typing import cast

import av
import numpy as np
from av.error import FFmpegError

from errors import Unprocessable
from media import I420

PIXELS = "yuv420p"


@dataclasses.dataclass(frozen=True, slots=True)
class _Packet:
    """Where a coded picture lies in the file."""

    at: int
    size: int
    time: int
    """Of display, in the stream's units."""


class IdleVideo:
    """Implements `reels.Footage`.

    Args:
        path: the file, H.264 in yuv420p.
        width, height: of the pictures, pixels.
        count: how many there are.
    """

    def __init__(self, path: Path, width: int, height: int, count: int) -> None:
        self.name = str(path)
        self.count = count
        self.picture_bytes = width * height * 3 // 2
        self._path = path
        self._size = width, height
        self._codec = ""
        self._parameters = b""
        self._pieces: list[list[_Packet]] = []
        self._file = -1

    def whole(self) -> list[I420]:
        """All pictures, I420; blocks for a millisecond or two a picture.

        Raises:
            Unprocessable: the file is damaged, or of another size or length.
        """
        pictures: list[I420] = []
        try:
            with av.open(self.name) as container:
                stream = container.streams.video[0]
                stream.thread_type = "AUTO"
                for frame in container.decode(stream):
                    pictures.append(self._taken(frame))
                    if len(pictures) > self.count:
                        break
        except (FFmpegError, IndexError, OSError) as error:
            raise Unprocessable(f"{self.name} cannot be decoded as video: {error}") from error
        self._check_count(len(pictures))
        return pictures

    def pieces(self) -> list[int]:
        """The first picture of each piece; reads where everything lies, and decodes nothing.

        Raises:
            Unprocessable: the file is damaged, or of another size or length.
        """
        try:
            with av.open(self.name) as container:
                stream = container.streams.video[0]
                context = stream.codec_context
                self._check_size(context.width, context.height, str(context.pix_fmt))
                self._codec, self._parameters = context.codec.name, bytes(context.extradata or b"")
                for packet in container.demux(stream):
                    if packet.size and packet.pos is not None and packet.pts is not None:
                        if packet.is_keyframe or not self._pieces:
                            self._pieces.append([])
                        self._pieces[-1].append(_Packet(packet.pos, packet.size, packet.pts))
            self._file = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except (FFmpegError, IndexError, OSError) as error:
            raise Unprocessable(f"{self.name} cannot be decoded as video: {error}") from error
        weakref.finalize(self, os.close, self._file)
        lengths = [len(piece) for piece in self._pieces]
        self._check_count(sum(lengths))
        return [0, *np.cumsum(lengths[:-1]).tolist()]

    def load(self, piece: int) -> list[I420]:
        """The pictures of a piece, I420; blocks for about 3 ms a picture of 1080p on one core. After `pieces`.

        Raises:
            Unprocessable: the file is damaged there.
        """
        context = cast(av.VideoCodecContext, av.CodecContext.create(self._codec, "r"))
        context.extradata, context.thread_count = self._parameters, 1
        pictures: list[I420] = []
        try:
            for packet in self._pieces[piece]:
                coded = av.Packet(os.pread(self._file, packet.size, packet.at))
                coded.pts = packet.time
                pictures += [self._taken(frame) for frame in context.decode(coded)]
            pictures += [self._taken(frame) for frame in context.decode(None)]
        except (FFmpegError, OSError) as error:
            raise Unprocessable(f"{self.name}: piece {piece} cannot be decoded: {error}") from error
        if len(pictures) != (said := len(self._pieces[piece])):
            raise Unprocessable(f"{self.name}: piece {piece} gives {len(pictures)} of {said} pictures")
        return pictures

    def _taken(self, frame: av.VideoFrame) -> I420:
        self._check_size(frame.width, frame.height, frame.format.name)
        return np.ascontiguousarray(frame.to_ndarray(), np.uint8)

    def _check_size(self, width: int, height: int, pixels: str) -> None:
        found, said = (width, height, pixels), (*self._size, PIXELS)
        if found != said:
            raise Unprocessable(f"{self.name} is {found}, avatar.json says {said}")

    def _check_count(self, found: int) -> None:
        if found != self.count:
            more = f"more than {self.count}" if found > self.count else str(found)
            raise Unprocessable(f"{self.name} holds {more} frames, avatar.json says {self.count}")
