"""The library behind a request."""

from __future__ import annotations

from typing import Any, NoReturn

from errors import Unavailable
from server.endpoint import Call


def library(call: Call[Any]) -> NoReturn:
    """The voice library.

    Raises:
        Unavailable: this server keeps none.
    """
    raise Unavailable("this server keeps no voice library")
