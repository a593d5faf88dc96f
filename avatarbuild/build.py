"""Builds an avatar: reads the source once, follows its face, and writes what the engines need.

The source is decoded once and written as the idle loop while its face is followed; everything else is made from the
idle loop as engines will see it. Never more than a few pictures are in memory.
"""

from __future__ import annotations

import dataclasses
import errno
import hashlib
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path

import cv2

from avatar import ID_PATTERN, MAX_FRAMES, MAX_SIDE, AvatarInfo, LocalName
from avatarbuild.detector import Rgb
from avatarbuild.encode import IDLE_CRF, PREVIEW_CRF, VideoWriter, read_video
from avatarbuild.lite import prepare_lite
from avatarbuild.preview import annotated, preview_size
from avatarbuild.source import Source, SourceOptions, open_source
from avatarbuild.still import Still
from avatarbuild.track import Track, seconds
from avatarbuild.tracker import Tracker, TrackOptions
from avatarbuild.workspace import Workspace
from engines.musetalk.place import Parser, PlacesWriter
from errors import BadRequest, Unavailable, Unprocessable
from media import FPS

IDLE, TRACK, POSTER, PREVIEW = "idle.mp4", "track.npz", "poster.jpg", "preview.mp4"
SECONDS_MIN = 1.0
"""A shorter loop is seen to repeat."""
STILL_SECONDS = 16.0
"""Of the loop that is made of a photo."""
POSTER_QUALITY = 90
MEMORY_NOTE_BYTES = 1 << 30
CHANNELS = (
    *("jawOpen", "mouthClose", "mouthFunnel", "mouthPucker", "mouthSmile", "mouthFrown", "mouthStretch"),
    *("mouthRollUpper", "mouthRollLower", "mouthShrugUpper", "mouthShrugLower", "mouthLowerDown", "mouthUpperUp"),
    *("mouthPress", "tongueOut", "tongueUp"),
)
"""What the lite engine's ears give, in their order."""
LICENCE = "private"
PARSER_WEIGHTS = Path("face-parse-bisent") / "79999_iter.pth"


@dataclasses.dataclass(frozen=True, slots=True)
class BuildOptions:
    """How an avatar is built."""

    name: str = ""
    """What people read; the id if empty."""
    force: bool = False
    """Replace an avatar of that id."""
    source: SourceOptions = SourceOptions()
    track: TrackOptions = TrackOptions()
    still_seconds: float = STILL_SECONDS
    licence: str = LICENCE
    """Of the avatar: what its maker may do with the likeness."""
    models: Path = Path("models")
    """Where the face parser's weights are, if anywhere."""


@dataclasses.dataclass(frozen=True, slots=True)
class Progress:
    """How far a build is."""

    stage: str
    """`decode`, `track`, `write` or `preview`."""
    done: int
    total: int
    """Frames; the total of `decode` is an estimate."""
    note: str = ""
    """What the user should know, in plain words; most reports have none."""


Report = Callable[[Progress], None]


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
    _check(avatar_id, options)
    try:
        with Workspace(root, avatar_id, force=options.force) as workspace:
            info = _Builder(source, avatar_id, workspace.directory, options, progress).run()
            workspace.publish()
            return info
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise Unavailable(f"the disk of {root} is full; nothing of avatar {avatar_id} was kept") from error
        raise


def _check(avatar_id: str, options: BuildOptions) -> None:
    if not ID_PATTERN.fullmatch(avatar_id):
        raise BadRequest(f"avatar {avatar_id[:80]!r} is no avatar id; allowed: 1 to 64 of A-Z a-z 0-9 _ -")
    longest = MAX_FRAMES / FPS
    for name, value, low, high in (
        ("max_side", options.source.max_side, 64, MAX_SIDE),
        ("max_seconds", options.source.max_seconds, SECONDS_MIN, longest),
        ("still_seconds", options.still_seconds, SECONDS_MIN, longest),
    ):
        if not low <= value <= high:
            raise BadRequest(f"{name} is {value:g}; allowed: {low:g} to {high:g}")


class _Builder:
    """One build, in its directory."""

    def __init__(self, path: Path, avatar_id: str, to: Path, options: BuildOptions, progress: Report) -> None:
        self._path = path
        self._id = avatar_id
        self._to = to
        self._options = options
        self._progress = progress
        self._origin: str | None = None
        self._engines: dict[str, dict[str, str]] = {}

    def run(self) -> AvatarInfo:
        """All steps."""
        source = open_source(self._path, self._options.source)
        track = self._still(source) if source.is_still else self._clip(source)
        self._tell(source, track)
        track.save(self._to / TRACK)
        self._preview(track)
        self._engines["lite"] = prepare_lite(track, lambda: self._reported(len(track)), self._to)
        return self._card(track)

    def _clip(self, source: Source) -> Track:
        """Decode, follow the face, write the idle loop."""
        tracker = Tracker(self._path.name, self._options.track)
        with VideoWriter(self._to / IDLE, source.width, source.height, crf=IDLE_CRF) as idle:
            for picture in source.pictures():
                tracker.add(picture)
                idle.add(picture)
                self._progress(Progress("decode", idle.count, max(source.expected, idle.count)))
        if idle.count < SECONDS_MIN * FPS:
            lasts = f"{idle.count / FPS:.2f} s ({idle.count} frames)"
            raise Unprocessable(f"{self._path.name} lasts {lasts}; at least {SECONDS_MIN:g} s is needed")
        self._progress(Progress("track", 0, idle.count))
        track = tracker.finish()
        self._progress(Progress("track", idle.count, idle.count))
        return track

    def _still(self, source: Source) -> Track:
        """Find the face of a photo, set it in motion, write the idle loop."""
        picture = next(iter(source.pictures()))
        tracker = Tracker(self._path.name, self._options.track)
        tracker.add(picture)
        still = Still(picture, tracker.finish(still=True), self._options.still_seconds)
        with VideoWriter(self._to / IDLE, source.width, source.height, crf=IDLE_CRF) as idle:
            for moved in still.pictures():
                idle.add(moved)
                self._progress(Progress("decode", idle.count, still.count))
        return still.track()

    def _preview(self, track: Track) -> None:
        """Second reading: the preview, the poster, and where MuseTalk's faces go."""
        shown = int(track.found.argmax())
        size = preview_size(track.width, track.height)
        with (
            VideoWriter(self._to / PREVIEW, *size, crf=PREVIEW_CRF, preset="ultrafast") as preview,
            PlacesWriter(self._to, parser=_parser(self._options.models)) as places,
        ):
            for number, picture in enumerate(self._pictures()):
                preview.add(annotated(picture, track, number))
                places.add(track.landmarks68[number], picture)
                if number == shown:
                    _write_poster(self._to / POSTER, picture)
                self._progress(Progress("preview", number + 1, len(track)))
            self._engines["musetalk"], self._origin = places.finish()

    def _pictures(self) -> Iterator[Rgb]:
        return read_video(self._to / IDLE)

    def _reported(self, total: int) -> Iterator[Rgb]:
        """Third reading, for the lite engine's files."""
        for number, picture in enumerate(self._pictures()):
            yield picture
            self._progress(Progress("write", number + 1, total))

    def _tell(self, source: Source, track: Track) -> None:
        notes = list(source.notes)
        for gap in track.gaps:
            notes.append(f"no face in {seconds(*gap)}; its place there is interpolated")
        held = track.width * track.height * 3 // 2 * len(track)
        if held >= MEMORY_NOTE_BYTES:
            notes.append(f"the idle loop takes {held / (1 << 30):.1f} GiB of memory while the avatar is shown")
        for note in notes:
            self._progress(Progress("track", len(track), len(track), note))

    def _card(self, track: Track) -> AvatarInfo:
        name = self._options.name or self._id
        made = f"{self._path.name}, {date.today().isoformat()}"
        files = {path.name: _sha256(path) for path in sorted(self._to.iterdir())}
        info = AvatarInfo.model_validate(
            {
                "version": 1,
                "id": self._id,
                "name": LocalName(en=name, zh=name),
                "width": track.width,
                "height": track.height,
                "fps": FPS,
                "count": len(track),
                "channels": CHANNELS,
                "idle": IDLE,
                "coords": self._engines["lite"].pop("coords"),
                "poster": POSTER,
                "track": TRACK,
                "mask_origin": self._origin,
                "engines": self._engines,
                "licence": self._options.licence,
                "provenance": LocalName(en=f"Built from {made}.", zh=f"由 {made} 制作。"),
                "files": files,
            }
        )
        (self._to / "avatar.json").write_text(info.model_dump_json(indent=2) + "\n", "utf-8")
        return info


def _parser(models: Path) -> Parser | None:
    """What labels the parts of a face, where torch and its weights are; masks are else made of the landmarks."""
    if not (models / PARSER_WEIGHTS).is_file():
        return None  # without the seconds that it takes to load torch
    try:
        import torch
    except ImportError:
        return None
    from engines.musetalk.parsing import find_parser

    return find_parser(models, "cuda" if torch.cuda.is_available() else "cpu")


def _write_poster(path: Path, picture: Rgb) -> None:
    _, jpeg = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, POSTER_QUALITY])
    path.write_bytes(jpeg.tobytes())


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
