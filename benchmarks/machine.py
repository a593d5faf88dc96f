"""What the figures were measured on."""

from __future__ import annotations

import dataclasses
import datetime
import importlib.metadata
import os
import platform
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]

from benchmarks.browser import CHROMIUM

PACKAGES = ("aiortc", "av", "onnxruntime", "numpy")


def describe(arguments: list[str]) -> dict[str, Any]:
    """Machine, versions, load and command line, JSON-ready. Call it before anything is measured."""
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "command": " ".join(["python -m benchmarks", *arguments]),
        "commit": _said(["git", "rev-parse", "--short=12", "HEAD"]),
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "load_average": [round(x, 2) for x in os.getloadavg()],
        "system": f"{platform.system()} {platform.release()}",
        "python": sys.version.split()[0],
        "chromium": _said([CHROMIUM, "--version"]),
        "packages": {name: importlib.metadata.version(name) for name in PACKAGES},
    }


@dataclasses.dataclass(frozen=True)
class Others:
    """CPU time of everything on the machine but this benchmark and what it started, up to a moment."""

    at: float
    cpu_s: float

    @classmethod
    def now(cls) -> Others:
        """Read it when no server and no browser of the benchmark runs: theirs is known once they have ended."""
        busy = psutil.cpu_times()
        own = psutil.Process().cpu_times()
        mine = own.user + own.system + own.children_user + own.children_system
        return cls(time.monotonic(), busy.user + busy.nice + busy.system + busy.irq + busy.softirq - mine)

    def cores_since(self, earlier: Others) -> float:
        """Mean number of cores that other work took."""
        return (self.cpu_s - earlier.cpu_s) / (self.at - earlier.at)


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*:\s*(.+)", info.read_text()) if info.exists() else None
    return found[1] if found else platform.processor()


def _said(command: list[str]) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "unknown"
