"""Lips and voice in step: the test card's flash and beep travel through the same tracks as a presenter does."""

from __future__ import annotations

import asyncio
import contextlib
import time

import numpy as np

from benchmarks import analysis
from benchmarks.analysis import Times
from benchmarks.api import Api
from benchmarks.browser import Browser
from benchmarks.figures import Figure
from benchmarks.scenario import Plan
from benchmarks.wire import WireSession

SETTLE_S = 45.0  # Chromium adapts its buffers for 20 to 40 s
MIN_PAIRS = 20
DRIFT_MS = {"sender reports": 5.0, "Chromium": 20.0}
"""What a fitted line may change over the whole run and still be called no drift: half of what one could be off."""


def offsets(path: str, pairs: tuple[Times, Times], bar_ms: float) -> list[Figure]:
    """Rows for the offsets (s) of one path and for their drift."""
    t, off = pairs
    offset = Figure("sync", f"A/V offset, {path}", "ms", [float(x * 1000) for x in off], bar_ms)
    drift = Figure("sync", f"A/V drift over the run, {path}", "ms", [], DRIFT_MS[path])
    if len(t) < MIN_PAIRS:
        reason = f"only {len(t)} flashes met a beep"
        return [failed(offset, reason), failed(drift, reason)]
    slope = analysis.slope_ms_per_min(t, off)
    minutes = float(t[-1] - t[0]) / 60
    drift.values = [slope * minutes]
    drift.note = f"{slope:+.2f} ms/min over {minutes:.1f} min"
    return [offset, drift]


def failed(figure: Figure, reason: str) -> Figure:
    """The figure, marked as failed."""
    figure.failed.append(reason)
    return figure


async def sync(plan: Plan) -> list[Figure]:
    """One wire client and one Chromium watch the test card side by side."""
    with plan.launcher.run("--model", "testcard") as server:
        await server.settle()
        async with Api(server.url) as api, Browser(server.url) as browser:
            wire, viewer = WireSession(api), browser.session()
            async with contextlib.AsyncExitStack() as stack:
                for session in (wire, viewer):
                    stack.push_async_callback(session.close)
                    await session.open()
                await asyncio.sleep(SETTLE_S)
                settled = time.monotonic()
                before = server.usage()
                await asyncio.sleep(plan.minutes * 60)
                cores = before.cores_until(server.usage())
            seen, heard = await viewer.pictures(), (await viewer.sound()).since(settled)
            late = seen.between(settled, np.inf)
            watched = analysis.mark_offsets(late.t, late.counter, analysis.beeps(heard.t, heard.rms))
            sent, spoken = await wire.pictures_on_sender_clock(), wire.sound_tap.on_sender_clock()
            reported = analysis.mark_offsets(sent.t, sent.counter, analysis.beeps(spoken.t, spoken.rms))
            arrivals = wire.picture_tap.times()
    return [
        *offsets("sender reports", reported, 10.0),
        *offsets("Chromium", watched, 40.0),
        *smoothness(arrivals[arrivals >= settled], "wire", cores),
        *smoothness(late.t, "Chromium", cores),
    ]


def smoothness(t: Times, path: str, cores: float) -> list[Figure]:
    """Rate and freezes over the run."""
    pace = analysis.pacing(t)
    note = f"longest gap {pace.longest_gap_ms:.0f} ms; server {cores:.2f} cores with both"
    return [
        Figure("sync", f"pictures per second over the run, {path}", "fps", [pace.fps], 24.5, "least"),
        Figure("sync", f"freezes over the run, {path}", "", [pace.freezes], 0, "worst", note),
    ]
