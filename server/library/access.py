"""The library behind a request, its rows as clients see them, its files as they are sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from errors import Unauthorized, Unavailable
from server.endpoint import Call
from server.security import identify_user

if TYPE_CHECKING:
    from voices.opened import Opened
    from voices.people import User


async def library(call: Call[Any]) -> Opened:
    """The voice library.

    Raises:
        Unavailable: this server keeps none, or it cannot be opened just now.
    """
    if call.services.library is None:
        raise Unavailable("this server keeps no voice library (--library off)")
    return await call.services.library.opened()


async def reader_of(call: Call[Any], opened: Opened, path: str, query: str = "") -> User | None:
    """Who may read the file at `path`: None for anybody, since its address is signed, else the user that asks.

    Raises:
        Unauthorized: neither a signature that holds nor a key.
    """
    given = call.given
    if given.signature:
        if not opened.signer.valid(path, query, given.expires, given.signature):
            raise Unauthorized("the signature of this address is wrong or older than an hour: ask for a new address")
        return None
    return await identify_user(call.request, call.services, in_query=True)
