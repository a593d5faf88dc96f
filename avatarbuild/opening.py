"""Tells a clip, a photo and a folder of pictures apart."""

from __future__ import annotations

from pathlib import Path

from avatarbuild.photos import Folder, Photo, is_photo
from avatarbuild.source import Source, SourceOptions
from avatarbuild.video import Clip
from errors import NotFound, Unprocessable


def open_source(path: Path, options: SourceOptions | None = None) -> Source:
    """A clip, a photo or a folder of pictures.

    Raises:
        NotFound: there is nothing at `path`.
        Unprocessable: it is none of these, or damaged at its start.
    """
    options = options or SourceOptions()
    if path.is_dir():
        return Folder(path, options)
    if not path.is_file():
        raise NotFound(f"{path} does not exist")
    if path.stat().st_size == 0:
        raise Unprocessable(f"{options.name_of(path)} is empty; a clip, a photo or a folder of pictures is needed")
    return Photo(path, options) if is_photo(path, options.name_of(path)) else Clip(path, options)
