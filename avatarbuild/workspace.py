"""Where an avatar is built: a hidden directory beside its place, which takes its name at the very end, or vanishes."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from avatar import ID_PATTERN, avatar_directory
from errors import Conflict

PREFIX = ".building-"
_LOCK = "lock"


class Workspace:
    """A directory of its own; as a context manager it is removed when the block ends, however it ends.

    Attributes:
        directory: What to write the avatar to, named after its id.
    """

    def __init__(self, root: Path, avatar_id: str, *, force: bool = False) -> None:
        """Raises Conflict when there is such an avatar already, unless it may be replaced (`force`)."""
        self._target = root / avatar_id
        self._force = force
        self._check()
        root.mkdir(parents=True, exist_ok=True)
        _clear(root)
        self._own = Path(tempfile.mkdtemp(prefix=PREFIX, dir=root))
        self._lock = os.open(self._own / _LOCK, os.O_CREAT | os.O_RDWR)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        self.directory = self._own / avatar_id
        self.directory.mkdir()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        shutil.rmtree(self._own, ignore_errors=True)
        os.close(self._lock)

    def publish(self) -> Path:
        """Give the directory its name; the avatar that had it is gone then.

        Raises:
            Conflict: there is such an avatar by now, and it may not be replaced.
        """
        self._check()
        replaced = self._own / "replaced"
        if self._target.exists():
            self._target.rename(replaced)
        try:
            self.directory.rename(self._target)
        except OSError as error:
            if replaced.exists():
                replaced.rename(self._target)
            raise Conflict(f"avatar {self._target.name} cannot be put in its place: {error.strerror}") from error
        return self._target

    def _check(self) -> None:
        if self._target.exists() and not self._force:
            raise Conflict(f"avatar {self._target.name} exists already; take another id, or --force to replace it")


def delete_avatar(root: Path, avatar_id: str) -> None:
    """Remove an avatar's directory, even one whose card is damaged.

    Raises:
        BadRequest: the id is not one.
        NotFound: there is no such avatar.
    """
    if not ID_PATTERN.fullmatch(avatar_id) or not (root / avatar_id).is_dir():
        avatar_directory(root, avatar_id)  # says what is wrong
    own = Path(tempfile.mkdtemp(prefix=PREFIX, dir=root))
    (own / _LOCK).touch()
    (root / avatar_id).rename(own / avatar_id)  # at once, so that nobody finds half of it
    shutil.rmtree(own)


def _clear(root: Path) -> None:
    """Remove what builds left behind that were killed outright: nobody holds their lock."""
    for left in root.glob(f"{PREFIX}*"):
        try:
            handle = os.open(left / _LOCK, os.O_RDWR)
        except OSError:
            continue
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(left, ignore_errors=True)
        except OSError:
            pass
        finally:
            os.close(handle)
