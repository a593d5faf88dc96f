"""`House`: what all sessions share, for one kind of lip engine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from config import Settings
from engines.testcard import TestcardReal
from errors import NotFound
from server.endpoint import AvatarCard
from sessions.session import Built, Wish
from transport.pacer import Pacer
from tts.base import Voice
from tts.chain import Chain
from webrtc import PeerSession, RtcOptions


class House(Protocol):
    """What all sessions share."""

    async def start(self) -> None:
        """Load what the first session needs, so that it need not wait."""
        ...

    async def settled(self) -> None:
        """Wait until what `start` left to be loaded in the background is."""
        ...

    async def build(self, sessionid: str, wish: Wish, on_closed: Callable[[], None]) -> Built:
        """One session for `SessionManager`."""
        ...

    def cards(self) -> Sequence[AvatarCard]:
        """What clients are told of the avatars."""
        ...

    def voices(self) -> Sequence[Voice]:
        """The voices that can be used now."""
        ...

    def find_voice(self, name: str) -> Voice | None:
        """The voice of that id or name, listed or not; None when there is none."""
        ...

    def speech(self) -> Chain | None:
        """The speech engines, where there are any."""
        ...

    def describe(self) -> dict[str, Any]:
        """Facts about the engines."""
        ...

    def figures(self) -> dict[str, float]:
        """What `/metrics` tells of the engines."""
        ...

    def not_ready(self) -> str | None:
        """None once a session can be opened, else why not."""
        ...

    async def remove_avatar(self, avatar_id: str) -> None:
        """Delete an avatar that no session shows.

        Raises:
            NotFound: there is none of that id.
            Conflict: it is the one shown when none is named.
        """
        ...

    async def aclose(self) -> None:
        """Free everything."""
        ...


def rtc_options(settings: Settings) -> RtcOptions:
    """How this server meets its clients."""
    return RtcOptions(
        public_address=settings.public_address or None,
        udp_port_range=settings.udp_range,
        video_bitrate_bps=settings.video_bitrate,
    )


class TestcardHouse:
    """Sessions that show the test card: marks in picture and sound, for measuring."""

    __test__ = False  # not a test, whatever its name

    def __init__(self, settings: Settings) -> None:
        self._rtc = rtc_options(settings)
        self._pacer = Pacer()

    async def start(self) -> None:
        """Nothing has to be loaded."""

    async def settled(self) -> None:
        """Nothing is left."""

    async def build(self, sessionid: str, wish: Wish, on_closed: Callable[[], None]) -> Built:
        """One session."""
        real = TestcardReal(sessionid)
        peer = PeerSession(real, self._rtc, lambda _: on_closed(), pacer=self._pacer)
        return Built(real, peer, "testcard", record=peer.record)

    def cards(self) -> Sequence[AvatarCard]:
        """There are none to choose from."""
        return ()

    def voices(self) -> Sequence[Voice]:
        """The test card cannot speak."""
        return ()

    def find_voice(self, name: str) -> Voice | None:
        """It has none."""
        return None

    def speech(self) -> Chain | None:
        """None."""
        return None

    def describe(self) -> dict[str, Any]:
        """Facts."""
        return {"lips": {"engine": "testcard"}}

    def figures(self) -> dict[str, float]:
        """None."""
        return {}

    def not_ready(self) -> str | None:
        """It is always ready."""
        return None

    async def remove_avatar(self, avatar_id: str) -> None:
        """There is none."""
        raise NotFound(f"avatar {avatar_id!r} does not exist")

    async def aclose(self) -> None:
        """End the threads of the playout."""
        await asyncio.to_thread(self._pacer.close)
