"""A built page, servers to open it from, and a real Chromium."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, Page, async_playwright, expect

from tests.fakes.library import clip

ROOT = Path(__file__).resolve().parents[2]
WEB = ROOT / "web"
CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--autoplay-policy=no-user-gesture-required",
    "--allow-loopback-in-peer-connection",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--use-fake-device-for-media-stream",  # a microphone that beeps once a second; whether a page may use it is asked
    "--host-resolver-rules=MAP insecure.test 127.0.0.1",  # an address without HTTPS that is not this machine's own
]
SERVER_START_S = 60
LIVE_MS = 20_000
"""Generous: the tests share two cores with the server and the browser."""

expect.set_options(timeout=LIVE_MS)

OpenPage = Callable[..., Awaitable[Page]]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All tests of this folder need the browser and share one loop with it."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)
            item.add_marker(pytest.mark.asyncio(loop_scope="package"), append=False)
            if shutil.which(CHROMIUM) is None:
                item.add_marker(pytest.mark.skip(f"{CHROMIUM} is not installed; set CHROMIUM to a Chromium or Chrome"))


@pytest.fixture(scope="package")
def built_page() -> Path:
    """The folder of the built page, built now when its sources are newer."""
    index = WEB / "dist" / "index.html"
    sources = [*(WEB / "src").rglob("*.*"), *(WEB / "public").iterdir(), WEB / "index.html", WEB / "voices.html"]
    sources.append(WEB / "package-lock.json")
    if not index.exists() or max(path.stat().st_mtime for path in sources) > index.stat().st_mtime:
        assert (WEB / "node_modules").is_dir(), "the page's packages are not installed: run 'npm ci' in web/"
        subprocess.run(["npm", "run", "--silent", "build"], cwd=WEB, check=True, timeout=120)
    return index.parent


async def start(*command: str, ready: Callable[[bytes], str | None]) -> tuple[asyncio.subprocess.Process, str]:
    """Start a server and read its output until `ready` finds its address in a line."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, *command, cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    assert process.stdout
    lines: list[bytes] = []
    async with asyncio.timeout(SERVER_START_S):
        while line := await process.stdout.readline():
            lines.append(line)
            if base := ready(line):
                return process, base
    raise RuntimeError(f"{' '.join(command)} ended with {await process.wait()}: {b''.join(lines).decode()}")


async def stop(process: asyncio.subprocess.Process) -> None:
    """End a server; its remaining output is read so that it cannot block on a full pipe."""
    if process.returncode is None:
        process.terminate()
    await process.communicate()


class Fake:
    """The scripted server, and what it was asked."""

    def __init__(self, base: str) -> None:
        self.base = base

    async def seen(self, path: str) -> list[dict[str, Any]]:
        """Bodies of the requests to `path` so far."""
        answer = await asyncio.to_thread(self._fetch, "/fake/seen", "GET")
        return [row["body"] for row in answer if row["path"].startswith(path)]

    async def awaited(self, path: str) -> list[dict[str, Any]]:
        """The same, once there is one."""
        answer = await asyncio.to_thread(self._fetch, f"/fake/seen?await={path}", "GET")
        return [row["body"] for row in answer if row["path"].startswith(path)]

    async def drop(self) -> int:
        """End every connection from the server's side; the number that there were."""
        return int(await asyncio.to_thread(self._fetch, "/fake/drop", "POST"))

    async def tell(self, *events: dict[str, Any]) -> None:
        """Send the page these events."""
        await asyncio.to_thread(self._fetch, "/fake/tell", "POST", list(events))

    async def heard(self) -> dict[str, float]:
        """`frames` and `loudest` sample of the newest visitor's microphone."""
        found: dict[str, float] = await asyncio.to_thread(self._fetch, "/fake/heard", "GET")
        return found

    async def build(self, **change: Any) -> None:
        """Move the build that runs; see `fake_builds.py`."""
        await asyncio.to_thread(self._fetch, "/fake/build", "POST", change)

    def _fetch(self, path: str, method: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.base + path, data, {"Content-Type": "application/json"}, method=method)
        with urllib.request.urlopen(request, timeout=10) as response:
            return json.load(response)


@pytest_asyncio.fixture(loop_scope="package")
async def fake(built_page: Path) -> AsyncIterator[Fake]:
    """A scripted server of the test's own."""
    process, base = await start(
        "tests/browser/fake_server.py", ready=lambda line: line.decode().strip() if line.startswith(b"http") else None
    )
    yield Fake(base)
    await stop(process)


LiveServer = Callable[..., Awaitable[str]]


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def live_server(built_page: Path) -> AsyncIterator[LiveServer]:
    """The real server: `await live_server(*arguments)` gives the address of one started with these arguments.

    One process serves all tests that ask with the same arguments.
    """
    running: dict[tuple[str, ...], tuple[asyncio.subprocess.Process, str]] = {}
    drains: list[asyncio.Task[None]] = []

    async def serve(*arguments: str) -> str:
        if arguments not in running:
            process, base = await start("app.py", "--listenport", str(free_port()), *arguments, ready=address_of)
            assert process.stdout
            drains.append(asyncio.create_task(drain(process.stdout)))
            running[arguments] = process, base
        return running[arguments][1]

    yield serve
    for process, _ in running.values():
        process.terminate()
        await process.wait()
    await asyncio.gather(*drains)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def address_of(line: bytes) -> str | None:
    """The address in the line by which the server says that it is ready."""
    found = re.search(r"ready: (http://\S+)", line.decode())
    return found[1] if found else None


async def drain(output: asyncio.StreamReader) -> None:
    while await output.readline():
        pass


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        await browser.close()


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def speaking_browser(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Browser]:
    """A Chromium whose microphone hears a person."""
    speech = tmp_path_factory.mktemp("microphone") / "speech.wav"
    speech.write_bytes(clip())
    async with async_playwright() as playwright:
        flag = f"--use-file-for-fake-audio-capture={speech}"
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=[*FLAGS, flag])
        yield browser
        await browser.close()


@pytest_asyncio.fixture(loop_scope="package")
async def open_page(browser: Browser) -> AsyncIterator[OpenPage]:
    """Opens an address in a fresh profile: `await open_page(url, live=True, **context options)`.

    What the page writes to the console as an error or throws is collected in `page.problems`; failed requests are left
    out, since the browser itself reports those.
    """
    contexts: list[BrowserContext] = []

    async def open_(url: str, *, live: bool = True, **options: Any) -> Page:
        context = await browser.new_context(
            **{"locale": "en-US", "viewport": {"width": 1280, "height": 800}, **options}
        )
        contexts.append(context)
        page = await context.new_page()
        page.set_default_timeout(LIVE_MS)
        problems: list[str] = []
        page.problems = problems  # type: ignore[attr-defined]
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on(
            "console",
            lambda message: (
                problems.append(message.text)
                if message.type in ("error", "warning") and not message.text.startswith("Failed to load resource")
                else None
            ),
        )
        await page.goto(url)
        if live:
            await page.locator("[data-testid=status][data-phase=live]").wait_for(timeout=LIVE_MS)
        return page

    yield open_
    for context in contexts:
        await context.close()
