"""Puts an avatar's directory together: idle loop and track, then everything that is made of them, then the card.

The source is decoded once and written as the idle loop while its face is followed; the rest is made from the idle loop
as engines will see it. Never more than a few pictures are in memory.
"""

from __future__ import annotations

import dataclasses
import errno
import hashlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import date
from pathlib import Path
from typing import Any, Literal, Protocol

import cv2
import numpy as np

from avatar import ID_PATTERN, AvatarInfo, LocalName
from avatarbuild.ahead import ahead
from avatarbuild.detector import Rgb
from avatarbuild.encode import IDLE_CRF, PREVIEW_CRF, VideoWriter, read_video
from avatarbuild.lite import prepare_lite
from avatarbuild.preview import annotated, preview_size
from avatarbuild.source import Source, SourceOptions
from avatarbuild.still import Still
from avatarbuild.track import FloatArray, Track, seconds
from avatarbuild.tracker import Tracker, TrackOptions
from avatarbuild.workspace import Workspace
from engines.musetalk.box import V15_REALTIME, Blending
from errors import BadRequest, Unavailable, Unprocessable
from media import FPS
from weights.manifest import MODELS

IDLE, TRACK, POSTER, PREVIEW, COORDS = "idle.mp4", "track.npz", "poster.jpg", "preview.mp4", "coords.npz"
SECONDS_MIN = 1.0
"""A shorter loop is seen to repeat."""
STILL_SECONDS = 8.0
"""Of the loop that is made of a photo; it is played there and back."""
POSTER_QUALITY = 90
CHANNELS = (
    *("jawOpen", "mouthClose", "mouthFunnel", "mouthPucker", "mouthSmile", "mouthFrown", "mouthStretch"),
    *("mouthRollUpper", "mouthRollLower", "mouthShrugUpper", "mouthShrugLower", "mouthLowerDown", "mouthUpperUp"),
    *("mouthPress", "tongueOut", "tongueUp"),
)
"""What the lite engine's ears give, in their order."""
LICENCE = "private"


@dataclasses.dataclass(frozen=True, slots=True)
class BuildOptions:
    """How an avatar is built."""

    name: str = ""
    """What people read; the id if empty."""
    force: bool = False
    """Replace an avatar of that id."""
    source: SourceOptions = SourceOptions()
    track: TrackOptions = TrackOptions()
    blending: Blending = V15_REALTIME
    """How MuseTalk's faces are cut out and put back."""
    still_seconds: float = STILL_SECONDS
    licence: str = LICENCE
    """Of the avatar: what its maker may do with the likeness."""
    models: Path = MODELS
    """Where the face parser's weights are, if anywhere."""


@dataclasses.dataclass(frozen=True, slots=True)
class Progress:
    """How far a build is."""

    stage: str
    """`decode`, `track`, `preview` or `write`, in this order."""
    done: int
    total: int
    """Frames; the total of `decode` is an estimate."""
    note: str = ""
    """What the user should know, in plain words; most reports have none."""


Report = Callable[[Progress], None]


class Placer(AbstractContextManager[Any], Protocol):
    """Says where MuseTalk's faces go: `engines.musetalk.place.PlacesWriter`, or what another program made."""

    def add(self, landmarks: FloatArray, frame_rgb: Rgb) -> object:
        """Take the next frame; `landmarks` are [68,2], or none ([0,2]) where no face was followed."""

    def finish(self) -> tuple[dict[str, str], Literal["landmarks", "parser"]]:
        """Complete the files: their names by part, and what the masks were made from."""


def in_workspace(root: Path, avatar_id: str, force: bool, make: Callable[[Path], AvatarInfo]) -> AvatarInfo:
    """Let `make` fill a directory and give it its name under `root`; whatever goes wrong, nothing is left behind.

    Raises:
        BadRequest: the id is not one.
        Conflict: there is such an avatar.
        Unavailable: the disk is full.
    """
    if not ID_PATTERN.fullmatch(avatar_id):
        raise BadRequest(f"avatar {avatar_id[:80]!r} is no avatar id; allowed: 1 to 64 of A-Z a-z 0-9 _ -")
    try:
        with Workspace(root, avatar_id, force=force) as workspace:
            info = make(workspace.directory)
            workspace.publish()
            return info
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise Unavailable(f"the disk of {root} is full; nothing of avatar {avatar_id} was kept") from error
        raise


class Assembler:
    """One avatar, in its directory."""

    def __init__(self, name: str, avatar_id: str, to: Path, options: BuildOptions, progress: Report) -> None:
        """`name` is what messages call the source."""
        self._name = name
        self._id = avatar_id
        self._to = to
        self._options = options
        self._progress = progress

    def run(self, source: Source, placer: Callable[[], Placer], *, face_needed: bool = True) -> AvatarInfo:
        """Everything, from the source to the card.

        Args:
            source: the pictures.
            placer: opens what places MuseTalk's faces.
            face_needed: False for a source whose places are known: one whose face cannot be followed is then taken,
                and the CPU engine cannot draw it.
        """
        track, count = self._still(source) if source.is_still and face_needed else self._clip(source, face_needed)
        size = source.width, source.height
        self._tell(source, track, count)
        if track is not None:
            track.save(self._to / TRACK)
        engines: dict[str, dict[str, str]] = {}
        engines["musetalk"], origin = self._preview(track, count, size, placer)
        if track is not None:
            parts = prepare_lite(track, lambda: self._reported(count), self._to)
            engines["lite"] = {part: file for part, file in parts.items() if part != "coords"}
        else:
            _write_no_coords(self._to / COORDS, count)
        return self._card(size, count, engines, origin, followed=track is not None)

    # ---- first reading

    def _clip(self, source: Source, face_needed: bool) -> tuple[Track | None, int]:
        """Decode, follow the face, write the idle loop."""
        tracker = Tracker(self._name, self._options.track)
        with VideoWriter(self._to / IDLE, source.width, source.height, crf=IDLE_CRF) as idle:
            for picture in ahead(source.pictures()):
                tracker.add(picture)
                idle.add(picture)
                self._progress(Progress("decode", idle.count, max(source.expected, idle.count + 1)))
        count = idle.count
        self._progress(Progress("decode", count, count))
        if count == 1:
            raise Unprocessable(
                f"{self._name} holds a single picture; save it as PNG or JPEG, which is taken as a photo"
            )
        if count < SECONDS_MIN * FPS:
            lasts = f"{count / FPS:.2f} s ({count} frames)"
            raise Unprocessable(f"{self._name} lasts {lasts}; at least {SECONDS_MIN:g} s is needed")
        self._progress(Progress("track", 0, count))
        track: Track | None = None
        try:
            track = tracker.finish()
        except Unprocessable as error:
            if face_needed:
                raise
            self._progress(Progress("track", count, count, f"{error}; only musetalk can draw this avatar"))
        self._progress(Progress("track", count, count))
        return track, count

    def _still(self, source: Source) -> tuple[Track, int]:
        """Find the face of a photo, set it in motion, write the idle loop."""
        picture = next(iter(source.pictures()))
        tracker = Tracker(self._name, self._options.track)
        tracker.add(picture)
        still = Still(picture, tracker.finish(still=True), self._options.still_seconds)
        with VideoWriter(self._to / IDLE, source.width, source.height, crf=IDLE_CRF) as idle:
            for moved in still.pictures():
                idle.add(moved)
                self._progress(Progress("decode", idle.count, still.count))
        return still.track(), still.count

    # ---- later readings

    def _pictures(self) -> Iterator[Rgb]:
        return ahead(read_video(self._to / IDLE))

    def _preview(
        self, track: Track | None, count: int, size: tuple[int, int], placer: Callable[[], Placer]
    ) -> tuple[dict[str, str], str]:
        """The preview, the poster, and where MuseTalk's faces go."""
        shown = int(track.found.argmax()) if track is not None else 0
        nothing = np.zeros((0, 2), np.float32)
        small = preview_size(*size)
        with (
            VideoWriter(self._to / PREVIEW, *small, crf=PREVIEW_CRF, preset="ultrafast") as preview,
            placer() as places,
        ):
            for number, picture in enumerate(self._pictures()):
                preview.add(annotated(picture, track, number))
                places.add(track.landmarks68[number] if track is not None else nothing, picture)
                if number == shown:
                    _write_poster(self._to / POSTER, picture)
                self._progress(Progress("preview", number + 1, count))
            parts, origin = places.finish()
        return parts, origin

    def _reported(self, count: int) -> Iterator[Rgb]:
        for number, picture in enumerate(self._pictures()):
            yield picture
            self._progress(Progress("write", number + 1, count))

    def _tell(self, source: Source, track: Track | None, count: int) -> None:
        notes = list(source.notes)
        for gap in track.gaps if track is not None else ():
            notes.append(f"no face in {seconds(*gap)}; its place there is interpolated")
        for note in notes:
            self._progress(Progress("track", count, count, note))

    def _card(
        self, size: tuple[int, int], count: int, engines: dict[str, dict[str, str]], origin: str, *, followed: bool
    ) -> AvatarInfo:
        name = self._options.name or self._id
        made = f"{self._name}, {date.today().isoformat()}"
        info = AvatarInfo.model_validate(
            {
                "version": 1,
                "id": self._id,
                "name": LocalName(en=name, zh=name),
                "width": size[0],
                "height": size[1],
                "fps": FPS,
                "count": count,
                "channels": CHANNELS,
                "idle": IDLE,
                "coords": COORDS,
                "poster": POSTER,
                "track": TRACK if followed else None,
                "mask_origin": origin,
                "engines": engines,
                "licence": self._options.licence,
                "provenance": LocalName(en=f"Built from {made}.", zh=f"由 {made} 制作。"),
                "files": {path.name: _sha256(path) for path in sorted(self._to.iterdir())},
            }
        )
        (self._to / "avatar.json").write_text(info.model_dump_json(indent=2) + "\n", "utf-8")
        return info


def _write_no_coords(path: Path, count: int) -> None:
    """What `Avatar` reads where no face was followed: a head that does not turn, a patch that shows nowhere."""
    affine = np.repeat(np.eye(2, 3, dtype=np.float32)[None], count, 0)
    np.savez_compressed(path, pose=np.zeros((count, 3), np.float32), affine=affine, mask=np.zeros((16, 16), np.float32))


def _write_poster(path: Path, picture: Rgb) -> None:
    _, jpeg = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, POSTER_QUALITY])
    path.write_bytes(jpeg.tobytes())


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
