"""`LibraryFigures`: what Prometheus is told of the voice library, counted where it happens."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram

from errors import VisageError

QUICK_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
SLOW_S = (0.25, 0.5, 1, 1.5, 2.5, 5, 10, 20, 40, 60, 120, 180)


class LibraryFigures:
    """Every figure with an `outcome` has one of `done`, `refused` (the request was at fault), `failed`, `cancelled`."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.creations_s = Histogram(
            "visage_voices_creation_seconds",
            "Voices made, from the begin of the work to its end",
            ["maker", "outcome"],
            buckets=SLOW_S,
            registry=self.registry,
        )
        self.calls_s = Histogram(
            "visage_voices_maker_call_seconds",
            "What makers were asked: make, speak, forget",
            ["maker", "call", "outcome"],
            buckets=SLOW_S,
            registry=self.registry,
        )
        self.storage_s = Histogram(
            "visage_voices_storage_seconds",
            "What the storage was asked: put, get, size, read, delete",
            ["call", "outcome"],
            buckets=QUICK_S,
            registry=self.registry,
        )
        self.uploads = Counter(
            "visage_voices_uploads",
            "Recordings handed in; known: the same as before",
            ["outcome"],
            registry=self.registry,
        )


@contextlib.contextmanager
def timed(histogram: Histogram, **labels: str) -> Iterator[None]:
    """Note what the block takes and how it ends, as the label `outcome`."""
    began, outcome = time.monotonic(), "done"
    try:
        yield
    except BaseException as error:
        outcome = outcome_of(error)
        raise
    finally:
        histogram.labels(**labels, outcome=outcome).observe(time.monotonic() - began)


def outcome_of(error: BaseException) -> str:
    """How something ended that raised `error`."""
    if isinstance(error, asyncio.CancelledError | GeneratorExit):
        return "cancelled"
    return "refused" if isinstance(error, VisageError) and error.status < 500 else "failed"
