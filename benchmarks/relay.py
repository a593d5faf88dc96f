"""What a visitor feels whose network lets nothing through but to the relay: a real coturn with the sample settings."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator

import numpy as np

from benchmarks.api import Api
from benchmarks.browser import Browser
from benchmarks.figures import Figure
from benchmarks.scenario import Plan
from benchmarks.server import ROOT, free_port

WAYS = ("direct", "udp", "tcp")
WATCH_S = 20.0
START_TIMEOUT_S = 10.0
PASSWORD = "relay"


def own_address() -> str:
    """An address of this machine that is not loopback.

    Raises:
        OSError: it has none.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("203.0.113.1", 9))  # sends nothing: it only asks for a route
        return str(probe.getsockname()[0])


@contextlib.contextmanager
def coturn() -> Iterator[int]:
    """deploy/turnserver.conf on a free port of loopback, allowed to send to this machine.

    Raises:
        OSError: it is not installed or does not start, or this machine has no address but loopback.
    """
    program, port, address = shutil.which("turnserver"), free_port(), own_address()
    if program is None:
        raise OSError("coturn is not installed: tools/system_packages.sh coturn")
    with tempfile.TemporaryDirectory() as folder:
        there = [f"--listening-port={port}", "--listening-ip=127.0.0.1", f"--relay-ip={address}"]
        files = [f"--pidfile={folder}/pid", f"--userdb={folder}/db"]
        who = [f"--user=visage:{PASSWORD}", f"--allowed-peer-ip={address}"]
        command = [program, "-c", str(ROOT / "deploy" / "turnserver.conf"), *there, *files, *who]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            _await(port)
            yield port
        finally:
            process.terminate()
            process.wait()


def _await(port: int) -> None:
    """Until somebody listens there."""
    until = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.05)


async def relay(plan: Plan) -> list[Figure]:
    """Connecting and watching in Chromium: directly, and through the relay alone, by UDP and by TCP."""
    figures = []
    with coturn() as port, plan.launcher.run() as server:
        await server.settle()
        async with Api(server.url), Browser(server.url) as browser:
            for way in WAYS:
                options = {} if way == "direct" else {"relay": _server(port, way)}
                name = way if way == "direct" else f"relay by {way.upper()}"
                first = Figure("relay", f"/offer to first decoded picture, {name}, Chromium", "ms", [])
                gaps = Figure("relay", f"between pictures, {name}, Chromium", "ms", [])
                for number in range(plan.repeats // 2):
                    session = browser.session(**options)
                    await session.open()
                    first.values.append(session.connection.first_picture_ms)
                    await asyncio.sleep(WATCH_S if number == 0 else 0.3)
                    if number == 0:
                        gaps.values += (1000 * np.diff((await session.pictures()).t)).tolist()
                        gaps.note = f"{len(gaps.values) / WATCH_S:.2f} pictures a second"
                    await session.close()
                figures += [first, gaps]
    return figures


def _server(port: int, way: str) -> dict[str, str]:
    """What the page's RTCPeerConnection takes."""
    return {"urls": f"turn:127.0.0.1:{port}?transport={way}", "username": "visage", "credential": PASSWORD}
