"""An avatar on disk: its card, its idle motion, and where its head is in every frame of it.

A directory under `data/avatars/`, named after the avatar's id:

    avatar.json   the card (`AvatarInfo`): version, names, size, channels, licence, provenance, sha256 of the files
    idle.mp4      the idle loop, played there and back (H.264, yuv420p, BT.601 limited range)
    coords.npz    for each of its N frames: `pose` [N,3], `affine` [N,2,3]; once: `mask` [H,W] (see `Avatar`)
    poster.jpg    the still that a page shows first
    track.npz     optional: where the face is, `landmarks` [N,68,2], `found` [N], perhaps `mesh` [N,478,2]
    ...           what engines need of it, named under `engines` of the card (`mouth.onnx`)

Nothing here knows how an engine draws.
"""

from __future__ import annotations

import hashlib
import logging
import re
import zipfile
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from errors import BadRequest, NotFound, Unprocessable
from idlevideo import IdleVideo
from media import FPS, I420, ping_pong
from reels import AHEAD, LongReel, Reel, WholeReel
from reelstore import ReelStore

log = logging.getLogger(__name__)

VERSION = 1
"""Of the directory's format."""
CARD = "avatar.json"
ID_PATTERN = re.compile(r"[A-Za-z0-9_-]{1,64}")
MAX_CARD_BYTES = 1 << 20
MAX_SIDE = 4096
MAX_FRAMES = 10_000

FileName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-][A-Za-z0-9_.-]{0,127}$")]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Side = Annotated[int, Field(ge=16, le=MAX_SIDE, multiple_of=2)]


class LocalName(BaseModel):
    """A word in the product's two languages."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    en: str
    zh: str


class AvatarInfo(BaseModel):
    """What `avatar.json` says."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Annotated[int, Field(ge=VERSION, le=VERSION)]
    id: Annotated[str, StringConstraints(pattern=rf"^{ID_PATTERN.pattern}$")]
    name: LocalName
    width: Side
    height: Side
    fps: Annotated[int, Field(ge=FPS, le=FPS)]
    count: Annotated[int, Field(ge=1, le=MAX_FRAMES)]
    """Stored idle frames."""
    channels: tuple[str, ...]
    """Names of the mouth channels, in the order of an engine's weight vector; 0 is the mouth at rest."""
    idle: FileName = "idle.mp4"
    coords: FileName = "coords.npz"
    poster: FileName = "poster.jpg"
    track: FileName | None = None
    """Landmarks of every stored frame, for engines that work from them."""
    mask_origin: Literal["landmarks", "parser"] | None = None
    """What the blending masks under `engines.musetalk` were made from."""
    engines: dict[str, dict[str, FileName]] = {}
    """Engine name -> part name -> file: what engines need of this avatar."""
    prompt: LocalName | None = None
    """Who the avatar is, told to the language model."""
    licence: str
    provenance: LocalName
    files: dict[FileName, Sha256]
    """sha256 of every file beside the card."""


class Avatar:
    """A loaded avatar, shared by all sessions that show it. Immutable; every array it hands out is read-only.

    Attributes:
        info: The card.
        directory: Where it was loaded from.
        mask: float32 [H,W] 0..1, which pixels of the canonical lower-face patch replace the idle picture.
        reel: The stored idle frames.
    """

    def __init__(
        self,
        info: AvatarInfo,
        directory: Path,
        reel: Reel,
        pose: NDArray[np.float32],
        affine: NDArray[np.float32],
        mask: NDArray[np.float32],
    ) -> None:
        for array in (pose, affine, mask):
            array.setflags(write=False)
        self.info = info
        self.directory = directory
        self.mask = mask
        self.reel = reel
        self._pose = pose
        self._affine = affine

    @classmethod
    def load(cls, directory: Path, store: ReelStore | None = None) -> Avatar:
        """Read, check and decode an avatar; blocks for about half a second, so call it off the event loop.

        Args:
            directory: where it is.
            store: decides whether its idle frames are all held; without one they are.

        Raises:
            NotFound: there is no card, or a file that it names is missing.
            Unprocessable: a file is damaged, or contradicts the card.
        """
        info = read_card(directory)
        for name, sha256 in info.files.items():
            _check_file(directory / name, sha256)
        pose, affine, mask = _read_coords(_listed(info, directory, info.coords), info.count)
        video = IdleVideo(_listed(info, directory, info.idle), info.width, info.height, info.count)
        reel = WholeReel(video.whole()) if store is None else store.reel(video)
        return cls(info, directory, reel, pose, affine, mask)

    @property
    def id(self) -> str:
        """Name of its directory."""
        return self.info.id

    @property
    def width(self) -> int:
        """Of the picture, pixels."""
        return self.info.width

    @property
    def height(self) -> int:
        """Of the picture, pixels."""
        return self.info.height

    @property
    def fps(self) -> int:
        """Pictures per second."""
        return self.info.fps

    @property
    def count(self) -> int:
        """Stored idle frames; they are played there and back."""
        return self.reel.count

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the mouth channels."""
        return self.info.channels

    def stored(self, index: int) -> int:
        """Which stored frame stands at `index` (any integer >= 0) of the endless idle motion."""
        return ping_pong(index, self.count)

    def frame(self, index: int) -> I420:
        """The idle picture at `index` of the endless motion; shared, read-only. A long one's may be waited for."""
        return self.reel.at(self.stored(index), self.stored(index + AHEAD))

    def frame_now(self, index: int) -> I420:
        """The same without ever waiting: of a long motion the nearest picture that is there."""
        return self.reel.now(self.stored(index), self.stored(index + AHEAD))

    def place(self, now: float) -> int | None:
        """Where in a long motion its sessions are at `now` (monotonic s), so that all show the same pictures.

        None for one that is held whole: each session has a place of its own in it.
        """
        return self.reel.place(now) if isinstance(self.reel, LongReel) else None

    def live(self, now: float) -> int | None:
        """The same, for a session that shows it; while there is none the motion stands still."""
        return self.reel.show(now) if isinstance(self.reel, LongReel) else None

    def ready(self, index: int) -> None:
        """Wait until the pictures from `index` on can be shown; call it off the event loop."""
        for ahead in range(AHEAD + 1):
            self.frame(index + ahead)

    def pose(self, index: int) -> NDArray[np.float32]:
        """float32 [3]: head pitch, yaw and roll at `index`, degrees."""
        pose: NDArray[np.float32] = self._pose[self.stored(index)]
        return pose

    def affine(self, index: int) -> NDArray[np.float32]:
        """float32 [2,3]: canonical patch -> picture at `index`: `xy = A @ (x, y, 1)`, integers are pixel centres."""
        affine: NDArray[np.float32] = self._affine[self.stored(index)]
        return affine

    def engine_file(self, engine: str, part: str) -> Path:
        """A file that an engine needs of this avatar.

        Raises:
            Unprocessable: the card names none, so this engine cannot draw this avatar.
        """
        name = self.info.engines.get(engine, {}).get(part)
        if name is None:
            able = ", ".join(sorted(self.info.engines)) or "none"
            raise Unprocessable(f"avatar {self.id} has no {part} for engine {engine}; engines with files: {able}")
        return _listed(self.info, self.directory, name)


def avatar_directory(root: Path, avatar_id: str) -> Path:
    """Where the avatar of that id lives.

    Raises:
        BadRequest: the id is not one (`[A-Za-z0-9_-]`, 1 to 64 of them).
        NotFound: there is no such avatar.
    """
    if not ID_PATTERN.fullmatch(avatar_id):
        raise BadRequest(f"avatar {avatar_id[:80]!r} is no avatar id; allowed: 1 to 64 of A-Z a-z 0-9 _ -")
    directory = root / avatar_id
    if not (directory / CARD).is_file():
        known = ", ".join(info.id for info in list_avatars(root)) or "none"
        raise NotFound(f"avatar {avatar_id} does not exist; there are: {known}")
    return directory


def list_avatars(root: Path) -> list[AvatarInfo]:
    """The cards of all avatars under `root`, by id; a damaged one is logged and left out."""
    infos = []
    for card in sorted(root.glob(f"[!.]*/{CARD}")):
        try:
            infos.append(read_card(card.parent))
        except (NotFound, Unprocessable) as error:
            log.warning("avatar left out: %s", error)
    return infos


def read_card(directory: Path) -> AvatarInfo:
    """Read and check `avatar.json`.

    Raises:
        NotFound: it is missing.
        Unprocessable: it is not what `AvatarInfo` allows, or its id is not the directory's name.
    """
    card = directory / CARD
    try:
        with card.open("rb") as file:
            text = file.read(MAX_CARD_BYTES)
    except OSError as error:
        raise NotFound(f"{card} cannot be read: {error.strerror}") from error
    try:
        info = AvatarInfo.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the whole file"
        raise Unprocessable(f"{card}: {where}: {first['msg']}") from error
    if info.id != directory.resolve().name:
        raise Unprocessable(f"{card}: id is {info.id!r}, but the directory is named {directory.resolve().name!r}")
    return info


def _listed(info: AvatarInfo, directory: Path, name: str) -> Path:
    if name not in info.files:
        raise Unprocessable(f"{directory / CARD}: {name} is used, but not listed under files")
    return directory / name


def _check_file(path: Path, sha256: str) -> None:
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise NotFound(f"{path} cannot be read: {error.strerror}") from error
    if found != sha256:
        raise Unprocessable(f"{path} is damaged: sha256 is {found[:12]}..., {CARD} says {sha256[:12]}...")


def _read_coords(path: Path, count: int) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            pose, affine, mask = (np.asarray(arrays[k], np.float32) for k in ("pose", "affine", "mask"))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise Unprocessable(f"{path} is no file of pose, affine and mask: {error}") from error
    for name, array, wanted in (("pose", pose, (count, 3)), ("affine", affine, (count, 2, 3))):
        if array.shape != wanted:
            raise Unprocessable(f"{path}: {name} has shape {list(array.shape)}, {list(wanted)} is needed")
    if mask.ndim != 2 or not (mask.min() >= 0 and mask.max() <= 1):
        raise Unprocessable(f"{path}: mask has shape {list(mask.shape)}; two axes and values 0..1 are needed")
    if not (np.isfinite(pose).all() and np.isfinite(affine).all()):
        raise Unprocessable(f"{path}: pose or affine holds a value that is not finite")
    return pose, affine, mask
