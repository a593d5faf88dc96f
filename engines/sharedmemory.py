"""`Region`: memory that two processes see, with a file descriptor as its only name.

No name in a file system means nothing to clean up: the kernel frees the pages when the last process that maps them
ends, however it ends.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

ALIGNMENT = 64  # bytes: a cache line, so that no array begins in the middle of one

T = TypeVar("T", bound=np.generic)


def aligned(size: int) -> int:
    """`size` bytes, rounded up to where the next array may begin."""
    return -(-size // ALIGNMENT) * ALIGNMENT


class Region:
    """Shared memory that grows. Not thread-safe; arrays it handed out keep their mapping alive.

    Args:
        fd: a region's descriptor that another process handed over; None makes a new, empty region.
    """

    def __init__(self, fd: int | None = None) -> None:
        self.fd = _new_file() if fd is None else fd
        self.size = 0
        self._map: mmap.mmap | None = None

    def grow(self, size: int) -> None:
        """Make it at least `size` bytes large; what it held stays."""
        if size > self.size:
            if os.fstat(self.fd).st_size < size:
                os.ftruncate(self.fd, size)
            # The old mapping is freed with the last array in it: mmap.resize would refuse while there is one.
            self._map = mmap.mmap(self.fd, size)
            self.size = size

    def array(self, at: int, shape: tuple[int, ...], dtype: type[T]) -> NDArray[T]:
        """The array at byte `at`, writable, in both processes the same bytes.

        Raises:
            ValueError: it would end behind the region.
        """
        count = int(np.prod(shape, dtype=np.int64))
        if self._map is None or at + count * np.dtype(dtype).itemsize > self.size:
            raise ValueError(f"an array of {shape} at {at} does not fit into {self.size} shared bytes")
        return np.frombuffer(self._map, dtype, count, at).reshape(shape)

    def close(self) -> None:
        """Give up the descriptor; idempotent."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
        self._map = None
        self.size = 0


def _new_file() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("visage-lips", os.MFD_CLOEXEC)
    fd, path = tempfile.mkstemp(prefix="visage-lips-")  # macOS: a file without a name
    os.unlink(path)
    return fd
