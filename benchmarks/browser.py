"""A client in headless Chromium: what a viewer sees and hears, after the browser's own buffers and decoders.

Pictures are stamped when they are presented (requestVideoFrameCallback), sound when it leaves the audio device: a
WebAudio tap plus the device's output latency, by which Chromium delays the picture too. The page is the benchmark's
own, with the settings of the product's page (offer sent without waiting for candidates, `jitterBufferTarget`).
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from playwright.async_api import Error as PlaywrightError
from playwright.async_api import Page, Route, async_playwright

from benchmarks.analysis import Levels, Times, hops_s
from benchmarks.recording import MOUTH, PATCH_HEIGHT, PATCH_WIDTH, Connection, Pictures, Sound

CHROMIUM = "/usr/bin/chromium"
FLAGS = [
    "--disable-gpu",
    "--autoplay-policy=no-user-gesture-required",
    "--allow-loopback-in-peer-connection",
    # nobody looks at this page: keep its timers and its rendering at full rate
    "--disable-renderer-backgrounding",
    "--disable-background-timer-throttling",
    "--disable-backgrounding-occluded-windows",
]
PATH = "/__benchmark__"
JITTER_BUFFER_TARGET_MS = 100  # as the product's page asks for
TIMEOUT_MS = 15_000
DRAIN_S = 0.5
CONTEXT_RATE_HZ = 48_000
CLOCK_WINDOW = 200  # messages of 50 ms: 10 s, 5 s with a microphone, short enough to follow the audio clock's drift


def recorded_microphone(recording: Path) -> list[str]:
    """Flags by which a WAV file, played once from `getUserMedia` on, is the microphone; then it gives silence."""
    return [
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",
        f"--use-file-for-fake-audio-capture={recording}%noloop",
    ]


class Browser:
    """One Chromium with one page; use as an async context manager.

    Args:
        url: the server's.
        flags: more of the browser's, as `recorded_microphone` gives them.
    """

    def __init__(self, url: str, flags: Sequence[str] = ()) -> None:
        self._url = url.rstrip("/")
        self._flags = [*FLAGS, *flags]
        self._ids = itertools.count()
        self.page: Page
        self.clock_offset_s = 0.0
        """Our monotonic clock minus the page's."""

    async def __aenter__(self) -> Browser:
        self._playwright = await async_playwright().start()
        self._browser = await self._playwright.chromium.launch(executable_path=CHROMIUM, args=self._flags)
        self.page = await self._browser.new_page()
        script = Path(__file__).with_name("page.js").read_text(encoding="utf-8")
        html = f"<!doctype html><meta charset=utf-8><title>benchmark</title><body><script>{script}</script>"

        async def serve(route: Route) -> None:
            await route.fulfill(body=html, content_type="text/html")

        await self.page.route("**" + PATH, serve)  # same origin as the server, which knows nothing of it
        await self.page.goto(self._url + PATH)
        await self.page.evaluate("bench.warm()")
        trips = [await self._round_trip() for _ in range(15)]
        self.clock_offset_s = min(trips)[1]
        return self

    async def _round_trip(self) -> tuple[float, float]:
        """(duration, clock offset if the page answered half-way) of one call."""
        sent = time.monotonic()
        page_ms = float(await self.page.evaluate("bench.now()"))
        done = time.monotonic()
        return done - sent, (sent + done) / 2 - page_ms / 1000

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._browser.close()
        await self._playwright.stop()

    def session(self, **options: Any) -> BrowserSession:
        """A new viewer in the page; `options` are the page's (`microphone`, `echo`, `pictures`, `relay`)."""
        return BrowserSession(self, f"viewer{next(self._ids)}", options)


class BrowserSession:
    """One session in the page; see `recording.Session`."""

    def __init__(self, browser: Browser, name: str, options: dict[str, Any] | None = None) -> None:
        self.connection = Connection()
        self._browser = browser
        self._name = name
        self._options = options or {}
        self._sounds: list[tuple[Times, Levels]] = []
        self._spoken: list[tuple[Times, Levels]] = []
        self._lags: list[float] = []  # our clock minus the audio context's, as each message arrived
        self._pictures: list[dict[str, Any]] = []
        self._pump: asyncio.Task[None] | None = None
        self._draining = asyncio.Lock()

    async def open(self) -> None:
        """See `Session.open`."""
        options = {
            "mouth": MOUTH,
            "columns": PATCH_WIDTH,
            "rows": PATCH_HEIGHT,
            "jitterBufferTargetMs": JITTER_BUFFER_TARGET_MS,
            "timeoutMs": TIMEOUT_MS,
            **self._options,
        }
        try:
            opened = await self._browser.page.evaluate("([id, o]) => bench.open(id, o)", [self._name, options])
        except PlaywrightError as error:
            raise ConnectionError(str(error)) from error
        times, seen = opened["times"], self.connection
        seen.sessionid = opened["sessionid"]
        seen.answer_ms = times["answer"] - times["post"]
        seen.connected_ms = times.get("connected", times["picture"]) - times["post"]
        seen.first_picture_ms = times["picture"] - times["post"]
        seen.first_packet_ms = times["sound"] - times["post"]
        self._pump = asyncio.create_task(self._pump_forever())

    async def _pump_forever(self) -> None:
        while True:
            await asyncio.sleep(DRAIN_S)
            await self._drain()

    async def _drain(self) -> None:
        """Fetch what the page has collected."""
        async with self._draining:
            got = await self._browser.page.evaluate("(id) => bench.drain(id)", self._name)
        if got["errors"]:
            raise RuntimeError(f"in the page: {got['errors'][:3]}")
        offset = self._browser.clock_offset_s
        for picture in got["pictures"]:
            picture["t"] = picture["t"] / 1000 + offset
            picture["patch"] = np.frombuffer(base64.b64decode(picture["patch"]), np.uint8)
        self._pictures += got["pictures"]
        self._sounds += [self._envelope(sound, got["outputLatencyS"]) for sound in got["sounds"]]
        self._spoken += [self._envelope(sound, 0.0) for sound in got["spoken"]]

    def _envelope(self, sound: dict[str, Any], later_s: float) -> tuple[Times, Levels]:
        """A message's hops on our clock, `later_s` after the audio context had them."""
        self._lags.append(sound["at"] / 1000 + self._browser.clock_offset_s - sound["end"] / CONTEXT_RATE_HZ)
        # A message can only be late, never early: the smallest lag of late is the offset of the two clocks.
        start = sound["start"] / CONTEXT_RATE_HZ + min(self._lags[-CLOCK_WINDOW:]) + later_s
        return start + hops_s(len(sound["rms"])), np.array(sound["rms"])

    async def spoken(self) -> Sound:
        """What its microphone gave so far, as the browser hands it on."""
        if self._pump is not None:
            await self._drain()
        return Sound.join(self._spoken)

    async def sound(self) -> Sound:
        """See `Session.sound`."""
        if self._pump is not None:
            await self._drain()
        return Sound.join(self._sounds)

    async def pictures(self) -> Pictures:
        """See `Session.pictures`."""
        if self._pump is not None:
            await self._drain()
        return Pictures(
            np.array([p["t"] for p in self._pictures]),
            np.array([p["patch"] for p in self._pictures], np.uint8).reshape(-1, PATCH_HEIGHT * PATCH_WIDTH),
            np.array([p["counter"] for p in self._pictures], np.int64),
        )

    async def close(self) -> None:
        """See `Session.close`."""
        if self._pump is None:
            return
        self._pump.cancel()
        await asyncio.gather(self._pump, return_exceptions=True)
        await self._drain()
        self._pump = None
        await self._browser.page.evaluate("(id) => bench.close(id)", self._name)
