"""Lets two cores work on one clip: the next picture is made while this one is looked at."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

T = TypeVar("T")


class _End:
    """What follows the last item."""


END: Final = _End()


def ahead(items: Iterator[T]) -> Generator[T, None, None]:
    """The same items; the one after each is asked for, on a thread of its own, when that one is handed out.

    The thread ends with the generator, which also closes `items`.
    """
    with ThreadPoolExecutor(1, "ahead") as pool:
        try:
            coming = pool.submit(_next, items)
            while not isinstance(item := coming.result(), _End):
                coming = pool.submit(_next, items)
                yield item
        finally:
            pool.submit(_close, items).result()


def _next(items: Iterator[T]) -> T | _End:
    return next(items, END)


def _close(items: Iterator[T]) -> None:
    if isinstance(items, Generator):
        items.close()
