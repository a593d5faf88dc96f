"""Which process works on something, told so that another one can see whether it still lives."""

from __future__ import annotations

import os
import socket
from pathlib import Path


def _started(pid: int) -> str:
    """When a process of this machine started, in clock ticks since boot; empty when there is none (or no /proc)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def this_worker() -> str:
    """This process: `host/pid/start`."""
    return f"{socket.gethostname()[:40]}/{os.getpid()}/{_started(os.getpid())}"


def surely_dead(worker: str) -> bool:
    """True when `worker` was a process of this machine and is none any more; of another machine's nobody knows."""
    host, _, rest = worker.partition("/")
    pid, _, started = rest.partition("/")
    if host != socket.gethostname()[:40] or not pid.isdecimal():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return bool(started) and _started(int(pid)) != started
