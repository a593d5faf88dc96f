"""How many presenters one machine carries, and what one of them costs."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator

import aiohttp
import numpy as np

from benchmarks import crowd, scenes
from benchmarks.api import Api
from benchmarks.figures import Figure
from benchmarks.scenario import Plan
from benchmarks.server import ROOT, Launcher, Server
from benchmarks.wire import WireSession

STEPS = (2, 4, 6, 8, 10, 12)
TRIES = 2  # a step that fails is tried once more before it counts: the machine has other things to do
BETWEEN_S = 3.0
SOUNDING_LOSS = 0.1  # of the time in which fewer sessions sounded: more says that speech is held up
SPEECH = scenes.LONG_TEXT * 4
LAG_METRIC = "visage_event_loop_lag_seconds"
HELD_METRIC = "visage_event_loop_held_seconds"  # the same less what the loop's thread waited for a core
PROBE_S = 0.02
LAG_SESSIONS = 6  # as many as must be carried
LAG_EVERY_S = 2.0
LAG_REST_S = 12.0  # the gauge tells the worst of ten seconds, which must not be those of what ran before
LOADING_S = 12.0  # from ready on; the voices are loaded in about six
NAIVE_SESSIONS = 2
CYCLES_WARM_UP, CYCLES = 20, 200
GONE_TIMEOUT_S = 20


@contextlib.asynccontextmanager
async def probing(url: str) -> AsyncIterator[list[float]]:
    """Latencies (ms) of /healthz over one kept connection, asked all the time: the loop's lag seen from outside."""
    delays: list[float] = []

    async def probe() -> None:
        async with aiohttp.ClientSession() as http:
            while True:
                sent = time.monotonic()
                async with http.get(url + "/healthz") as response:
                    await response.read()
                delays.append((time.monotonic() - sent) * 1000)
                await asyncio.sleep(PROBE_S)

    task = asyncio.create_task(probe())
    try:
        yield delays
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@contextlib.asynccontextmanager
async def watching(api: Api) -> AsyncIterator[dict[str, list[float]]]:
    """The server's own gauges of its loop's lag (ms), read again and again; those it has."""
    lags: dict[str, list[float]] = {}

    async def read() -> None:
        for name in (LAG_METRIC, HELD_METRIC):
            if (lag := await api.metric(name)) is not None:
                lags.setdefault(name, []).append(lag * 1000)

    async def watch() -> None:
        while True:
            await read()
            await asyncio.sleep(LAG_EVERY_S)

    task = asyncio.create_task(watch())
    try:
        yield lags
        await read()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def load(plan: Plan) -> list[Figure]:
    """The largest number of sessions that all speak at 25 fps without a freeze."""
    seconds = 10.0 if plan.quick else 30.0
    carried, least_sounding = 0, 0.0
    figures = []
    with plan.launcher.run() as server:
        async with Api(server.url) as api, watching(api) as lags:
            await asyncio.sleep(LOADING_S)
        figures += _loop_lag(f"the first {LOADING_S:.0f} s, while the voices load", lags)
        await server.settle()
        for count in STEPS:
            seen = await _step(server, count, seconds, least_sounding)
            figures.append(_cost(count, seen))
            if not seen.held(least_sounding):
                break
            carried = count
            least_sounding = max(least_sounding, seen.sounding * (1 - SOUNDING_LOSS))
        figures += await _lag(server, seconds)
    best = Figure("load", "speaking sessions at 25 fps without a freeze", "", [carried], 6, "least", "aim 10")
    return [best, *figures]


async def _step(server: Server, count: int, seconds: float, least_sounding: float) -> crowd.Crowd:
    for _ in range(TRIES):
        seen = await crowd.run(server, count, seconds, SPEECH)
        await asyncio.sleep(BETWEEN_S)
        if seen.held(least_sounding):
            break
    return seen


def _cost(count: int, seen: crowd.Crowd) -> Figure:
    name = f"server, cores per session, {count} speaking"
    note = (
        f"least {min(seen.fps):.2f} fps, {sum(seen.freezes)} freezes, longest gap {seen.longest_gap_ms:.0f} ms, "
        f"speech sounds {seen.sounding:.0%} of the time, longest pause {seen.pause_ms:.0f} ms"
    )
    return Figure("load", name, "cores", [seen.cores / count], note=note, failed=seen.errors)


async def _lag(server: Server, seconds: float) -> list[Figure]:
    """From the server's own gauge where it has one, and as /healthz sees it."""
    await asyncio.sleep(LAG_REST_S)
    async with Api(server.url) as api, probing(server.url) as delays, watching(api) as lags:
        await crowd.run(server, LAG_SESSIONS, seconds, SPEECH)
    name = f"{LAG_SESSIONS} sessions that connect, speak and leave"
    rare = f"p99.9 {float(np.percentile(delays, 99.9)):.0f} ms; includes waits for a core"
    return [*_loop_lag(name, lags), Figure("load", f"/healthz latency, {name}", "ms", delays, note=rare)]


def _loop_lag(name: str, lags: dict[str, list[float]]) -> list[Figure]:
    """The worst of the readings."""
    lag = Figure("load", f"event loop lag, {name}", "ms", [], 20, "worst", f"gauge {LAG_METRIC}")
    held = Figure("load", f"event loop held, {name}", "ms", [], 20, "worst", f"gauge {HELD_METRIC}")
    for figure, metric in ((lag, LAG_METRIC), (held, HELD_METRIC)):
        if metric in lags:
            figure.values.append(max(lags[metric]))
        else:
            figure.failed.append("the server has no such gauge")
    return [lag, held]


async def idle(plan: Plan) -> list[Figure]:
    """What a session costs in which nobody speaks."""
    seconds = 10.0 if plan.quick else 30.0
    with plan.launcher.run() as server:
        await server.settle()
        before = server.usage()
        await asyncio.sleep(seconds)
        empty = before.cores_until(server.usage())
        costs = [(count, (await crowd.run(server, count, seconds)).cores) for count in (1, 4)]
    figures = [Figure("idle", "server without sessions", "cores", [empty])]
    for count, cores in costs:
        name = f"idle session, {count} at once"
        figures.append(Figure("idle", name, "cores", [(cores - empty) / count], 0.1, "worst"))
    return figures


async def naive(plan: Plan) -> list[Figure]:
    """The same pictures through aiortc's own tracks and default H.264, against ours; CPU of one session."""
    seconds = 10.0 if plan.quick else 30.0
    other = Launcher(f"{sys.executable} {ROOT / 'benchmarks' / 'naive.py'} {{port}}")
    figures = []
    for name, launcher in (("naive aiortc server", other), ("this server", plan.launcher)):
        with launcher.run() as server:
            await server.settle()
            seen = await crowd.run(server, NAIVE_SESSIONS, seconds)
        note = f"idle pictures, {NAIVE_SESSIONS} sessions, least {min(seen.fps):.2f} fps"
        figures.append(
            Figure("naive", f"cores per idle session, {name}", "cores", [seen.cores / NAIVE_SESSIONS], note=note)
        )
    ratio = figures[0].values[0] / figures[1].values[0]
    return [*figures, Figure("naive", "naive over this server", "times", [ratio])]


async def cycles(plan: Plan) -> list[Figure]:
    """Connect and leave again and again: nothing may stay behind."""
    count = 40 if plan.quick else CYCLES
    with plan.launcher.run() as server:
        await server.settle()
        async with Api(server.url) as api:
            await _come_and_go(api, CYCLES_WARM_UP)
            before = server.usage()
            await _come_and_go(api, count // 2)
            halfway = server.usage()
            await _come_and_go(api, count - count // 2)
            after = server.usage()
            left = await api.metric("visage_sessions")
    name = f"after {count} connections and {CYCLES_WARM_UP} before"
    growth = (after.rss_bytes / before.rss_bytes - 1) * 100
    note = "MiB: " + ", ".join(f"{usage.rss_bytes / 2**20:.0f}" for usage in (before, halfway, after))
    return [
        Figure("cycles", f"threads more {name}", "", [max(0, after.threads - before.threads)], 0, "worst"),
        Figure("cycles", f"file descriptors more {name}", "", [max(0, after.fds - before.fds)], 0, "worst"),
        Figure("cycles", f"memory more {name}", "%", [max(0.0, growth)], 5, "worst", note),
        Figure("cycles", f"sessions left {name}", "", [] if left is None else [left], 0, "worst"),
    ]


async def _come_and_go(api: Api, count: int) -> None:
    """Connect, see a picture and hear a packet, leave; then wait for the server to have forgotten all."""
    for _ in range(count):
        session = WireSession(api, light=True)
        try:
            await session.open()
        finally:
            await session.close()
    for _ in range(GONE_TIMEOUT_S):
        if not await api.metric("visage_sessions"):
            break
        await asyncio.sleep(1)
    await asyncio.sleep(BETWEEN_S)
