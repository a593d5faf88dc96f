"""How many cores there are, and who gets one first where they are not enough: who must not wait, and who gives way.

Neither needs a privilege. Where the system has no such thing the functions do nothing.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import struct
import sys
import threading

SLICE_LEAST_S = 0.0001
"""What Linux takes at least (kernel/sched/syscalls.c); its own slice is some 3 ms."""
_SCHED_OTHER = 0
_RESET_ON_FORK = 1  # SCHED_FLAG_RESET_ON_FORK: threads and processes it starts are as usual
_NUMBERS = {"x86_64": 314, "aarch64": 274}
"""Of sched_setattr(2), which the C library has no function for."""


def cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def serve_first(slice_s: float = SLICE_LEAST_S) -> bool:
    """Have the calling thread get a core as soon as it is ready, before threads with longer slices.

    Linux 6.12 and later let a thread ask for a slice of its own (EEVDF): with a short one it is served in smaller
    portions but sooner, and takes the core from a thread that has had its share. In all it gets no more than others.

    Args:
        slice_s: seconds, 0.0001..0.1; the shorter goes first.

    Returns:
        Whether the system took it; an older Linux takes it and goes on as before.
    """
    number = _NUMBERS.get(platform.machine())
    if sys.platform != "linux" or number is None:
        return False
    nice = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    # struct sched_attr (sched_setattr(2)): size, policy, flags, nice, priority, runtime (ns), deadline, period
    attributes = struct.pack("=IIQiIQQQ", 48, _SCHED_OTHER, _RESET_ON_FORK, nice, 0, round(slice_s * 1e9), 0, 0)
    try:
        return bool(ctypes.CDLL(None).syscall(number, 0, attributes, 0) == 0)
    except (OSError, AttributeError):
        return False


def give_way(nice: int) -> None:
    """Add `nice` to the niceness of the calling thread, where each has its own (Linux); those it starts inherit it."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            thread = threading.get_native_id()
            os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + nice)
