"""Builds an avatar of a clip, a photo or a folder of pictures."""

from __future__ import annotations

import contextlib
from pathlib import Path

from avatar import MAX_FRAMES, MAX_SIDE, AvatarInfo
from avatarbuild import faceparser
from avatarbuild.assemble import SECONDS_MIN, Assembler, BuildOptions, Placer, Progress, Report, in_workspace
from avatarbuild.opening import open_source
from engines.musetalk.place import Parser, PlacesWriter
from errors import BadRequest
from media import FPS

__all__ = ["BuildOptions", "Progress", "build"]

PARSER_WEIGHTS = Path("face-parse-bisent") / "79999_iter.pth"


def build(
    source: Path,
    avatar_id: str,
    root: Path,
    options: BuildOptions | None = None,
    progress: Report = lambda _: None,
) -> AvatarInfo:
    """Make `root/avatar_id` from a clip, a photo or a folder of pictures; blocks, for a 20 s clip about half a minute.

    `progress` is called several times a second from this thread; what it raises cancels the build. However the build
    ends, `root` holds the whole avatar or nothing of it.

    Raises:
        BadRequest: the id or an option is out of bounds.
        Conflict: there is such an avatar.
        NotFound: there is no such source.
        Unprocessable: the source cannot be used; the message says what is wrong where.
        Unavailable: the disk is full.
    """
    options = options or BuildOptions()
    _check_options(options)

    def make(directory: Path) -> AvatarInfo:
        opened = open_source(source, options.source)
        assembler = Assembler(options.source.name_of(source), avatar_id, directory, options, progress)
        return assembler.run(opened, lambda: _placer(directory, options))

    return in_workspace(root, avatar_id, options.force, make)


def _check_options(options: BuildOptions) -> None:
    longest = MAX_FRAMES / FPS
    for name, value, low, high in (
        ("max_side", options.source.max_side, 64, MAX_SIDE),
        ("max_seconds", options.source.max_seconds, SECONDS_MIN, longest),
        ("still_seconds", options.still_seconds, SECONDS_MIN, longest),
    ):
        if not low <= value <= high:
            raise BadRequest(f"{name} is {value:g}; allowed: {low:g} to {high:g}")


def _placer(directory: Path, options: BuildOptions) -> Placer:
    return PlacesWriter(directory, options.blending, _parser(options.models))


def _parser(models: Path) -> Parser | None:
    """What labels the parts of a face: MuseTalk's parser, else the one that a registry carries.

    Where neither one's weights are there, masks are made of the landmarks.
    """
    if (models / PARSER_WEIGHTS).is_file():  # else without the seconds that it takes to load torch
        with contextlib.suppress(ImportError):
            import torch

            from engines.musetalk.parsing import find_parser

            return find_parser(models, "cuda" if torch.cuda.is_available() else "cpu")
    return faceparser.FaceParser(models) if (models / faceparser.WEIGHTS).is_file() else None
