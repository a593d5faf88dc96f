"""Calls a network at a few fixed batch sizes, from fixed buffers, as GPUs like it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Literal, get_args

import torch

from errors import BadRequest

log = logging.getLogger(__name__)

Acceleration = Literal["auto", "plain", "graphs", "fused", "compile"]
"""`plain` calls the layers one by one; `graphs` replays CUDA graphs of them; `fused` does too, with a kernel of our own
for norms (see `norms`); `compile` has torch.compile fuse them first (minutes at the start) and replays CUDA graphs of
that where there is CUDA. `auto` is `plain` on a CPU; on CUDA it is `fused` where its kernel works, else `graphs`."""

WARM_CALLS = 3
"""Calls before a capture, so that libraries have chosen their kernels and taken their memory."""

Draw = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def batch_sizes(most: int) -> tuple[int, ...]:
    """Powers of two up to `most`, and `most`: a batch is filled up to the next of them."""
    sizes = {1 << i for i in range(most.bit_length()) if 1 << i <= most}
    return tuple(sorted(sizes | {most}))


class Runner:
    """One function of two batches, called at fixed sizes.

    Callers write the first n rows of `prefix` and `audio` and call `run(n)`; where there are several GPUs, with its own
    as the current one. Not thread-safe.

    Args:
        draw: (prefix [B, ...], audio [B, ...]) -> result [B, ...].
        prefix_shape: of one row.
        audio_shape: of one row.
        sizes: batch sizes, ascending; on a CPU, where a shape costs nothing, only the last counts.
        device: where all of it lies.
        dtype: of both inputs.
        acceleration: see `Acceleration`.

    Raises:
        BadRequest: unknown acceleration, or one that needs CUDA.
    """

    def __init__(
        self,
        draw: Draw,
        prefix_shape: tuple[int, ...],
        audio_shape: tuple[int, ...],
        sizes: tuple[int, ...],
        device: torch.device,
        dtype: torch.dtype,
        acceleration: Acceleration = "auto",
    ) -> None:
        if acceleration not in get_args(Acceleration):
            raise BadRequest(f"acceleration {acceleration!r} is not one of {', '.join(get_args(Acceleration))}")
        self._cuda = device.type == "cuda"
        if acceleration in ("graphs", "fused") and not self._cuda:
            raise BadRequest(f"acceleration {acceleration!r} needs a CUDA device, but the device is {device}")
        self.mode = ("graphs" if self._cuda else "plain") if acceleration == "auto" else acceleration
        self._plain = draw
        self._draw: Draw = draw
        if self.mode == "compile":
            self._draw = torch.compile(draw, dynamic=False)
        self.sizes = sizes
        self.prefix = torch.zeros((sizes[-1], *prefix_shape), device=device, dtype=dtype)
        self.audio = torch.zeros((sizes[-1], *audio_shape), device=device, dtype=dtype)
        self._graphs: dict[int, tuple[torch.cuda.CUDAGraph, torch.Tensor]] = {}

    def size_for(self, rows: int) -> int:
        """The batch size at which so many rows are run."""
        return next(size for size in self.sizes if size >= rows) if self._cuda else rows

    def warm_up(self) -> None:
        """Run every size once, the largest first, so that its memory serves the others."""
        for size in reversed(self.sizes if self._cuda else self.sizes[-1:]):
            self.run(size)

    def run(self, rows: int) -> torch.Tensor:
        """The result of the first `rows` rows: [rows, ...], overwritten by the next call."""
        size = self.size_for(rows)
        if not self._cuda or self.mode == "plain" or (size not in self._graphs and not self._capture(size)):
            return self._call(size)[:rows]
        graph, result = self._graphs[size]
        graph.replay()
        return result[:rows]

    def _call(self, size: int) -> torch.Tensor:
        try:
            return self._draw(self.prefix[:size], self.audio[:size])
        except Exception:
            # torch.compile raises errors of many kinds, some its own, when a compiler is missing or a kernel is not.
            if self._draw is self._plain:
                raise
            log.warning("musetalk: torch.compile failed, going on without it", exc_info=True)
            self._draw, self.mode = self._plain, "graphs" if self._cuda else "plain"
            return self._draw(self.prefix[:size], self.audio[:size])

    def _capture(self, size: int) -> bool:
        """Record one batch size; on failure all goes on without graphs."""
        try:
            self._graphs[size] = self._captured(size)
        except (RuntimeError, AssertionError):
            log.warning("musetalk: a CUDA graph cannot be captured, going on without", exc_info=True)
            self._graphs.clear()
            self.mode = "plain"
            return False
        return True

    def _captured(self, size: int) -> tuple[torch.cuda.CUDAGraph, torch.Tensor]:
        """The graph of one batch size, and where its result lies after each replay."""
        with torch.backends.cudnn.flags(enabled=True, benchmark=True, deterministic=False, allow_tf32=True):
            side = _stream()
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                for _ in range(WARM_CALLS):
                    self._call(size)
            torch.cuda.current_stream().wait_stream(side)
            pool = next((graph.pool() for graph, _ in self._graphs.values()), None)
            graph = torch.cuda.CUDAGraph()
            # Other threads of the process may take device memory meanwhile (the ears do).
            with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
                result = self._draw(self.prefix[:size], self.audio[:size])
        return graph, result


def _stream() -> Any:
    """A new stream; torch has no type for its class."""
    stream: Any = torch.cuda.Stream
    return stream()
