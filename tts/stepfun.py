"""stepfun: StepFun's `POST /audio/speech`; `stepfun-ws`, the same voices over its WebSocket.

An account's cloned voices are named by their ids and never listed: they belong to whoever had them made.

After platform.stepfun.com's documents (2026-11). A body of JSON is an error, whatever the status.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Mapping
from typing import Any, ClassVar

from pydantic import Field

from tts.base import Sound, Voice
from tts.wire import refusals
from tts.wire.audio import AudioStream
from tts.wire.engine import Asked, ServerEngine
from tts.wire.http import most_bytes
from tts.wire.options import Common, ServerOptions
from tts.wire.sockets import Line, SocketVoice, unpacked

SPEED_MIN, SPEED_MAX = 0.5, 2.0
RATES_HZ = (8_000, 16_000, 22_050, 24_000)
SYSTEM_VOICES: Mapping[str, str] = {
    **dict.fromkeys(("cixingnansheng", "zhengpaiqingnian", "shuangkuainansheng", "wenrounansheng"), "male"),
    **dict.fromkeys(("zixinnansheng",), "male"),
    **dict.fromkeys(("livelybreezy-female", "ganliannvsheng", "qingchunshaonv", "elegantgentle-female"), "female"),
    **dict.fromkeys(("linjiajiejie", "jingdiannvsheng"), "female"),
}
"""Those its documents name, and their gender; which of them a model has is told by the server."""


class StepFunOptions(ServerOptions):
    """What can be configured; `ref_file` is the name of a system voice, or the id of a cloned one."""

    model: str = "step-tts-2"
    volume: float = Field(default=1.0, ge=0.1, le=2.0)
    instruction: str = Field(default="", max_length=200)
    """How to speak, for models of 2.5 and newer."""


class StepFunVoice(ServerEngine):
    """One account; keys belong to their region: https://api.stepfun.com/v1 (China) or https://api.stepfun.ai/v1."""

    name = "stepfun"
    Options = StepFunOptions
    options: StepFunOptions
    default_server = "https://api.stepfun.com/v1"
    default_voice = "linjiajiejie"
    open_voice: ClassVar[re.Pattern[str] | None] = re.compile(r"[a-z][a-z\-]{3,40}|voice-tone-[\w\-]+")
    key_names: ClassVar[tuple[str, ...]] = ("STEP_API_KEY",)
    spoken = ("zh", "en", "ja")
    part_characters = 900
    """Of 1000 that it takes."""

    def __init__(self, options: ServerOptions | None = None, common: Common | None = None) -> None:
        super().__init__(options, common)
        self.headers = {"Authorization": f"Bearer {self.keys['STEP_API_KEY']}"}

    def voice(self, name: str, languages: tuple[str, ...] = (), gender: str = "") -> Voice:
        """The voice that the server calls so."""
        return super().voice(name, languages, gender or SYSTEM_VOICES.get(name, "neutral"))

    async def list_voices(self) -> list[Voice]:
        """The model's."""
        url, model = f"{self.api}/audio/system_voices", self.options.model
        facts = await self.http.json("GET", url, params={"model": model}, headers=self.headers)
        names = facts.get("voices") if isinstance(facts, dict) else None
        return [self.voice(name) for name in names or () if isinstance(name, str)]

    @property
    def api(self) -> str:
        """Where its other interfaces are."""
        return re.sub("^ws", "http", self.server)

    def say(self, asked: Asked) -> AsyncGenerator[Sound, None]:
        """The sound as it arrives."""
        how: dict[str, Any] = {"json": self.body(asked, self.options.model), "headers": self.headers}
        return self.http.spoken("POST", f"{self.api}/audio/speech", self.sample_rate_hz, asked.text, **how)

    def body(self, asked: Asked, model: str) -> dict[str, Any]:
        """What `POST /audio/speech` is sent."""
        body = {
            "model": model,
            "input": asked.text,
            "voice": asked.voice,
            "response_format": "pcm",
            "sample_rate": self.sample_rate_hz,
            "speed": min(SPEED_MAX, max(SPEED_MIN, asked.speed)),
            "volume": self.options.volume,
        }
        return body | ({"instruction": self.options.instruction} if self.options.instruction else {})


class StepFunGuest(StepFunVoice):
    """The model's own voices, beside an account's cloned ones in the voice library: for whoever chooses one of them."""

    default_voice = ""
    open_voice = None
    stands_in = False

    def voices(self) -> tuple[Voice, ...]:
        """As the server lists them; until it does, those its documents name."""
        if self.lack():
            return ()
        return self._listed or tuple(map(self.voice, SYSTEM_VOICES))

    async def warm_up(self) -> None:
        """Begin to ask; nobody waits for a vendor who may be out of reach."""
        self._listing = self._listing or asyncio.create_task(self._list(), name=f"voices of {self.name}")


class StepFunSocket(StepFunVoice):
    """The WebSocket: one clause a connection, the next connection opened meanwhile."""

    name = "stepfun-ws"

    def __init__(self, options: ServerOptions | None = None, common: Common | None = None) -> None:
        super().__init__(options, common)
        url = f"{re.sub('^http', 'ws', self.server)}/realtime/audio?model={self.options.model}"
        self._sockets = SocketVoice(self.http, url, lambda: self.headers, self._greeted, ahead=True)

    async def _greeted(self, line: Line) -> None:
        """Wait for the session's id."""
        facts = await self._expected(line)
        while facts.get("type") != "tts.connection.done":
            facts = await self._expected(line)
        line.facts["session_id"] = _data(facts).get("session_id", "")

    async def say(self, asked: Asked) -> AsyncGenerator[Sound, None]:
        """The sound, delta by delta; the last message repeats it whole and is not read."""
        stream = AudioStream(self.sample_rate_hz, bytes_max=most_bytes(asked.text))
        async with self._sockets.line() as line:
            await self._ask(line, asked)
            while True:
                facts = await self._expected(line)
                if facts.get("type") == "tts.response.audio.done":
                    break
                if facts.get("type") == "tts.response.audio.delta":
                    for pcm in stream.feed(unpacked(self.name, _data(facts).get("audio"))):
                        yield Sound(pcm, rate_hz=stream.rate_hz)
        for pcm in stream.flush():
            yield Sound(pcm, rate_hz=stream.rate_hz)

    async def _ask(self, line: Line, asked: Asked) -> None:
        session = {"session_id": line.facts["session_id"]}
        how = {
            **session,
            "voice_id": asked.voice,
            "response_format": "pcm",
            "sample_rate": self.sample_rate_hz,
            "speed_ratio": min(SPEED_MAX, max(SPEED_MIN, asked.speed)),
            "volume_ratio": self.options.volume,
            "mode": "default",
        }
        await line.send({"type": "tts.create", "data": how})
        await line.send({"type": "tts.text.delta", "data": {**session, "text": asked.text}})
        await line.send({"type": "tts.text.done", "data": session})

    async def _expected(self, line: Line) -> dict[str, Any]:
        """The next message.

        Raises:
            EngineError: it is an error, or there is none.
        """
        facts = await line.receive_object()
        if facts.get("type") == "tts.response.error":
            said = _data(facts)
            status = int(code) if (code := str(said.get("code", ""))).isdecimal() and len(code) == 3 else 500
            hint = self.http.key_hint
            error = refusals.by_status(self.name, self._sockets.url, status, str(said.get("message")), key_hint=hint)
            raise self.http.masked(error)
        return facts

    async def aclose(self) -> None:
        """Close the connections."""
        await self._sockets.aclose()
        await super().aclose()


def _data(facts: dict[str, Any]) -> dict[str, Any]:
    data = facts.get("data")
    return data if isinstance(data, dict) else {}
