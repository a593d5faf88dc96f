"""edge: the voices of Microsoft's read-aloud service, when the network allows.

The service is nobody's promise: it is tried, quickly given up, and asked again in the background.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator
from typing import Any

import aiohttp
import av.error
import edge_tts
import edge_tts.exceptions

from errors import EngineError
from tts.base import Sound, Voice, Word
from tts.wire.compressed import Decoder

CONNECT_TIMEOUT_S = 1
RECEIVE_TIMEOUT_S = 10
PROBE_EVERY_S = 30.0
HOST, PORT = "speech.platform.bing.com", 443
TICKS_PER_S = 10_000_000
LICENCE = "LicenseRef-Microsoft-online-service"
_FEMALE = (
    "zh-CN-XiaoxiaoNeural zh-CN-XiaoyiNeural en-US-AvaNeural en-US-AriaNeural en-US-JennyNeural en-GB-SoniaNeural "
    "ja-JP-NanamiNeural ko-KR-SunHiNeural fr-FR-DeniseNeural de-DE-KatjaNeural es-ES-ElviraNeural it-IT-ElsaNeural "
    "pt-BR-FranciscaNeural ru-RU-SvetlanaNeural ar-EG-SalmaNeural hi-IN-SwaraNeural th-TH-PremwadeeNeural"
)
_MALE = (
    "zh-CN-YunxiNeural zh-CN-YunjianNeural zh-CN-YunxiaNeural zh-CN-YunyangNeural en-US-AndrewNeural en-US-GuyNeural "
    "en-GB-RyanNeural ja-JP-KeitaNeural ko-KR-InJoonNeural fr-FR-HenriNeural de-DE-ConradNeural es-ES-AlvaroNeural "
    "it-IT-DiegoNeural pt-BR-AntonioNeural ru-RU-DmitryNeural ar-EG-ShakirNeural hi-IN-MadhurNeural th-TH-NiwatNeural"
)
_SERVICE_ERRORS = (
    aiohttp.ClientError,
    OSError,
    TimeoutError,
    edge_tts.exceptions.EdgeTTSException,
    av.error.FFmpegError,
)


class EdgeEngine:
    """Speaks over the network; while the service cannot be reached it fails at once instead of keeping one waiting."""

    name = "edge"
    sample_rate_hz = 24_000
    takes_speed = True

    def __init__(self) -> None:
        self._voices = tuple(
            Voice(f"edge:{name}", "edge", (name.split("-", 1)[0],), gender, LICENCE)
            for names, gender in ((_FEMALE, "female"), (_MALE, "male"))
            for name in names.split()
        )
        self._offline: str | None = None
        self._probe: asyncio.Task[None] | None = None
        self._probed_at = 0.0

    def voices(self) -> tuple[Voice, ...]:
        """The service's best known voices, whether or not it can be reached now."""
        return self._voices

    def why_not(self) -> str | None:
        """None unless the service could not be reached when last asked."""
        return f"edge: {self._offline}; it needs the internet" if self._offline else None

    async def warm_up(self) -> None:
        """Find out whether the service can be reached."""
        await self._reach()
        if self._offline:
            raise EngineError(self.name, self._offline)

    async def speak(self, clause: str, voice: Voice, language: str, speed: float = 1.0) -> AsyncGenerator[Sound, None]:
        """The clause as it arrives, decoded piece by piece, and when its words are."""
        if self._offline:
            self._reach_later()
            raise EngineError(self.name, self._offline)
        decoder = Decoder("mp3")
        words: list[Word] = []
        try:
            async with contextlib.aclosing(self._stream(clause, voice, speed)) as messages:
                async for message in messages:
                    if message["type"] == "WordBoundary":
                        start_s = message["offset"] / TICKS_PER_S
                        words.append(Word(message["text"], start_s, start_s + message["duration"] / TICKS_PER_S))
                    elif message["type"] == "audio":
                        for sound in decoder.feed(message["data"]):
                            yield Sound(sound, tuple(words))
                            words.clear()
            for sound in decoder.flush():
                yield Sound(sound, tuple(words))
                words.clear()
        except _SERVICE_ERRORS as error:
            self._offline = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            self._reach_later()
            raise EngineError(self.name, self._offline) from error

    async def aclose(self) -> None:
        """End the background probe."""
        if self._probe:
            self._probe.cancel()
            await asyncio.gather(self._probe, return_exceptions=True)

    def _stream(self, clause: str, voice: Voice, speed: float) -> Any:
        return edge_tts.Communicate(
            clause,
            voice.id.split(":", 1)[1],
            rate=f"{round((speed - 1) * 100):+d}%",
            boundary="WordBoundary",
            connect_timeout=CONNECT_TIMEOUT_S,
            receive_timeout=RECEIVE_TIMEOUT_S,
        ).stream()

    def _reach_later(self) -> None:
        """Ask in the background, at most every PROBE_EVERY_S, whether the service is back."""
        now = time.monotonic()
        if (self._probe is None or self._probe.done()) and now - self._probed_at > PROBE_EVERY_S:
            self._probed_at = now
            self._probe = asyncio.create_task(self._reach(), name="edge-probe")

    async def _reach(self) -> None:
        """Note whether the service takes a connection."""
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                _, writer = await asyncio.open_connection(HOST, PORT)
        except (OSError, TimeoutError) as error:
            self._offline = f"{HOST} cannot be reached ({type(error).__name__})"
            return
        self._offline = None
        writer.close()
