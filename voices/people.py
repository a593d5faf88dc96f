"""Who asks."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True, slots=True)
class User:
    """Somebody who may use this server."""

    id: str
    name: str
    owner: bool = False
    """True for whoever runs this server: the holder of its key, or anybody where it has none and only this machine
    reaches it."""


LOCAL = User("user-owner", "owner", owner=True)
"""The one user of a server without accounts."""
USER_KEY_PREFIX = "vk-"
"""With what the key of an account begins."""
