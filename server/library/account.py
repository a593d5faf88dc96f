"""`/api/account`: who asks."""

from __future__ import annotations

from typing import Any

from server.endpoint import Call, Endpoint, Nothing
from server.library import shapes
from server.library.access import library

TAG = "account"


async def account(call: Call[Nothing]) -> Any:
    """Who asks, and what they keep here."""
    opened, user = await library(call), call.user
    voices, files, size = await opened.catalogue.counts(user)
    return shapes.Account(
        userId=user.id, name=user.name, owner=user.owner, voices=voices, files=files, bytes=size
    ).model_dump()


ENDPOINTS: tuple[Endpoint[Any], ...] = (
    Endpoint(
        "GET", "/api/account", account,
        "Who asks, and what they keep here.", "当前用户及其存储用量。",
        TAG, Nothing, data=shapes.Account, statuses=(503,),
    ),
)  # fmt: skip
