"""`models/manifest.toml`: which files the engines need and where each can be had."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from errors import BadRequest
from weights.fetch import Package

MODELS = Path(__file__).resolve().parent.parent / "models"
MANIFEST = MODELS / "manifest.toml"
SHA256_DIGITS = 64


@dataclasses.dataclass(frozen=True, slots=True)
class Part:
    """A member of a package: a file, or a piece of one."""

    package: str
    """Key in the manifest's `packages`."""
    member: str


@dataclasses.dataclass(frozen=True, slots=True)
class Weight:
    """One file under `models/`."""

    path: str
    group: str
    bytes: int
    sha256: str
    """Hex digest; shorter, or empty, where only its first digits, or nothing, is published: then those and the size
    are checked."""
    licence: str
    official: str
    """Its publisher's address."""
    sources: tuple[tuple[Part, ...], ...]
    """Where else it is found; each source is one or more parts, one behind the other."""
    instead_of: str | None = None
    """Path of the file that this one replaces where that cannot be had."""
    mirrors: tuple[str, ...] = ()
    """Addresses of the same bytes, tried after the publisher's."""

    def matches(self, digest: str) -> bool:
        """Whether a file of this SHA-256 may be this one."""
        return digest.startswith(self.sha256)

    @property
    def is_pinned(self) -> bool:
        """Whether the whole digest is known."""
        return len(self.sha256) == SHA256_DIGITS


@dataclasses.dataclass(frozen=True, slots=True)
class Manifest:
    """All that can be pulled."""

    weights: tuple[Weight, ...]
    packages: dict[str, Package]
    defaults: tuple[str, ...]
    """Groups that setup pulls."""
    needs: dict[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    """Group -> groups that come with it."""

    def members(self, group: str) -> list[Weight]:
        """The files of a group and of those that it needs, without substitutes."""
        groups = {group, *self.needs.get(group, ())}
        return [weight for weight in self.weights if weight.group in groups and not weight.instead_of]

    def select(self, names: Sequence[str]) -> list[Weight]:
        """The files of these groups or paths; of the default groups when there are no names.

        Raises:
            BadRequest: an unknown name.
        """
        groups = sorted({weight.group for weight in self.weights})
        for name in names:
            if name not in groups and name not in (weight.path for weight in self.weights):
                raise BadRequest(f"weights: {name!r} is not in the manifest; groups are {', '.join(groups)}")
        wanted = set(names or self.defaults)
        of_groups = [weight for name in wanted for weight in self.members(name)]
        return [weight for weight in self.weights if weight.path in wanted or weight in of_groups]

    def substitute(self, weight: Weight) -> Weight | None:
        """The file that may stand in for another."""
        return next((other for other in self.weights if other.instead_of == weight.path), None)


def read_manifest(path: Path = MANIFEST) -> Manifest:
    """Read and check a manifest.

    Raises:
        BadRequest: a field is missing, or a path leads out of `models/`.
    """
    raw = tomllib.loads(path.read_text(encoding="utf-8"))
    try:
        packages = {
            key: Package(entry["registry"], entry["name"], entry["version"], entry.get("sha256"))
            for key, entry in raw.get("packages", {}).items()
        }
        weights = tuple(
            Weight(
                path=_inside(entry["path"]),
                group=entry["group"],
                bytes=entry["bytes"],
                sha256=entry["sha256"],
                licence=entry["licence"],
                official=entry["official"],
                sources=tuple(tuple(Part(*part.split(":", 1)) for part in source) for source in entry["sources"]),
                instead_of=entry.get("instead_of"),
                mirrors=tuple(entry.get("mirrors", ())),
            )
            for entry in raw["files"]
        )
        needs = {group: tuple(others) for group, others in raw.get("needs", {}).items()}
        return Manifest(weights, packages, tuple(raw["defaults"]), needs)
    except (KeyError, TypeError) as error:
        raise BadRequest(f"{path}: a field is missing or of the wrong kind: {error}") from error


def _inside(path: str) -> str:
    """A path of the manifest, which must stay under `models/`."""
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or "\\" in path or parts[0].startswith("."):
        raise BadRequest(f"manifest: path {path!r} must lie under models/")
    return path
