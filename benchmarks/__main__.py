"""`python -m benchmarks [names…] [--out DIR] [--quick]`."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path

import aiohttp
import psutil  # type: ignore[import-untyped]
from playwright.async_api import Error as PlaywrightError

from benchmarks import (
    avatar_build,
    blend,
    conversation,
    engine,
    engines,
    face,
    latency,
    load,
    long_avatar,
    machine,
    relay,
    report,
    scheduler,
    sync,
    voices,
)
from benchmarks.figures import Figure
from benchmarks.scenario import Plan
from benchmarks.server import ROOT, Launcher
from benchmarks.wire import loopback_candidates
from errors import VisageError

SCENARIOS: dict[str, Callable[[Plan], Coroutine[None, None, list[Figure]]]] = {
    "start": latency.start,
    "connect": latency.connect,
    "humanaudio": latency.humanaudio,
    "echo": latency.echo,
    "interrupt": latency.interrupt,
    "talk": conversation.talk,
    "bargein": conversation.bargein,
    "local": conversation.local,
    "sync": sync.sync,
    "engine": engine.engine,
    "engines": engines.engines,
    "face": face.face,
    "blend": blend.blend,
    "scheduler": scheduler.scheduler,
    "avatar_build": avatar_build.avatar_build,
    "long_avatar": long_avatar.long_avatar,
    "load": load.load,
    "idle": load.idle,
    "naive": load.naive,
    "cycles": load.cycles,
    "lists": voices.lists,
    "creation": voices.creation,
    "relay": relay.relay,
    "uploads": voices.uploads,
}

FAILURES = (
    OSError,
    RuntimeError,
    ValueError,
    LookupError,
    aiohttp.ClientError,
    PlaywrightError,
    psutil.Error,
    VisageError,
)
"""Of the server, the browser or the machine: they end a scenario, not the run."""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=f"{', '.join(SCENARIOS)} (default: all)")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results", help="folder of the results")
    parser.add_argument("--quick", action="store_true", help="few repeats: a check of the benchmark, not a result")
    parser.add_argument("--command", default="", help="another server of the same protocol; {port} stands for its port")
    return parser


def main() -> int:
    """Run, write, print the table; exit status 1 when a bar is missed."""
    given = parser().parse_args()
    unknown = [name for name in given.names if name not in SCENARIOS]
    if unknown:
        print(f"no scenario is called {unknown[0]!r}; there are {', '.join(SCENARIOS)}", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends the server and the browser too
    where = machine.describe(sys.argv[1:])
    plan = Plan(Launcher(given.command), given.quick)
    figures: list[Figure] = []
    with loopback_candidates():
        for name in given.names or SCENARIOS:
            print(f"== {name}", file=sys.stderr, flush=True)
            before = machine.Others.now()
            try:
                found = asyncio.run(SCENARIOS[name](plan))
            except FAILURES as error:  # the other scenarios still run
                found = [Figure(name, name, "", [], 0, failed=[f"{type(error).__name__}: {error}"])]
            other_cores = machine.Others.now().cores_since(before)
            for figure in found:
                figure.other_cores = other_cores
                print(report.row(figure), file=sys.stderr, flush=True)
            figures += found
            report.write(given.out, where, figures)
    print(report.markdown(where, figures))
    return 1 if any(figure.passed is False for figure in figures) else 0


if __name__ == "__main__":
    sys.exit(main())
