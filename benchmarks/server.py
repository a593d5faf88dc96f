"""Starts the server under test as its users do, and reads what its processes cost."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import shlex
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil  # type: ignore[import-untyped]

ROOT = Path(__file__).resolve().parent.parent
READY_TIMEOUT_S = 90
STOP_TIMEOUT_S = 20
MAX_SESSIONS = 64
SETTLE_STEP_S, SETTLE_TIMEOUT_S = 1.5, 60
SETTLED_CORES = 0.05


@dataclasses.dataclass(frozen=True)
class Usage:
    """A process tree at one moment."""

    at: float
    cpu_s: float
    rss_bytes: int
    threads: int
    fds: int

    def cores_until(self, later: Usage) -> float:
        """Mean number of cores busy between two readings."""
        return (later.cpu_s - self.cpu_s) / (later.at - self.at)


@dataclasses.dataclass(frozen=True)
class Server:
    """A running server."""

    url: str
    pid: int
    ready_s: float
    """From the start of the process to the first 200 of /readyz."""

    async def settle(self) -> float:
        """Wait until the server has done what it does unasked after its start; seconds waited."""
        began = before = self.usage()
        while before.at - began.at < SETTLE_TIMEOUT_S:
            await asyncio.sleep(SETTLE_STEP_S)
            now = self.usage()
            if before.cores_until(now) < SETTLED_CORES:
                break
            before = now
        return before.at - began.at

    def usage(self) -> Usage:
        """Of the server's process and all its children."""
        root = psutil.Process(self.pid)
        cpu_s, rss, threads, fds = 0.0, 0, 0, 0
        for process in [root, *root.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess), process.oneshot():
                times = process.cpu_times()
                cpu_s += times.user + times.system
                rss += process.memory_info().rss
                threads += process.num_threads()
                fds += process.num_fds()
        return Usage(time.monotonic(), cpu_s, rss, threads, fds)


@dataclasses.dataclass(frozen=True)
class Launcher:
    """How to start a server: `app.py`, or another command that speaks its protocol with `{port}` in it."""

    command: str = ""

    def arguments(self, port: int, options: Sequence[str]) -> list[str]:
        """The command line; `options` are app.py's and are left out for another server."""
        if self.command:
            return shlex.split(self.command.format(port=port))
        own = ["--listenport", str(port), "--max_session", str(MAX_SESSIONS), "--log_level", "warning"]
        return [sys.executable, "app.py", *own, *options]

    @contextlib.contextmanager
    def run(self, *options: str) -> Iterator[Server]:
        """A server on a free loopback port, ended when the context ends.

        Raises:
            RuntimeError: it ended or was not ready within `READY_TIMEOUT_S`; carries the end of what it said.
        """
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        with tempfile.TemporaryFile() as log:
            started = time.monotonic()
            process = subprocess.Popen(
                self.arguments(port, options), cwd=ROOT, stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
            try:
                while not _ready(url):
                    if process.poll() is not None or time.monotonic() - started > READY_TIMEOUT_S:
                        log.seek(0)
                        said = log.read().decode(errors="replace")[-2000:]
                        raise RuntimeError(f"the server is not ready (exit status {process.poll()}): {said}")
                    time.sleep(0.02)
                yield Server(url, process.pid, time.monotonic() - started)
            finally:
                _end(process)


def _ready(url: str) -> bool:
    """True once /readyz says so (a server without that route counts as ready when it answers)."""
    try:
        with urllib.request.urlopen(url + "/readyz", timeout=2):
            return True
    except urllib.error.HTTPError as error:
        return error.code == 404
    except OSError:
        return False


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the server and wait for it."""
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def free_port() -> int:
    """A TCP port of the loopback interface that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
