"""qwen: Alibaba's Qwen-TTS over DashScope's realtime WebSocket.

After Alibaba Cloud's "Qwen-TTS Realtime" client and server events (2026-10). Sound is 16 bits at 24 kHz, as base64.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import AsyncGenerator
from typing import Any, ClassVar

from errors import EngineError
from tts.base import Sound
from tts.breaker import BACKOFF_MAX_S
from tts.wire.audio import AudioStream
from tts.wire.engine import ENGLISH_NAMES, Asked, ServerEngine
from tts.wire.http import most_bytes
from tts.wire.options import Common, ServerOptions
from tts.wire.sockets import Line, SocketVoice, unpacked

SPEED_MIN, SPEED_MAX = 0.5, 2.0
VOICES = ("Cherry", "Serena", "Ethan", "Chelsie")
"""Of every model; newer ones have dozens more."""


class QwenOptions(ServerOptions):
    """What can be configured; `ref_file` is the name of a voice, or the id of one's own."""

    model: str = "qwen3-tts-flash-realtime"
    instructions: str = ""
    """How to speak, for models that are told."""


class QwenVoice(ServerEngine):
    """One account. A connection is set to a voice and a language, and serves further clauses in them."""

    name = "qwen"
    Options = QwenOptions
    options: QwenOptions
    default_server = "wss://dashscope.aliyuncs.com/api-ws/v1/realtime"
    """In mainland China; elsewhere wss://dashscope-intl.aliyuncs.com/api-ws/v1/realtime."""
    default_voice = VOICES[0]
    open_voice = re.compile(r"[A-Za-z][\w\-]{1,80}")
    key_names: ClassVar[tuple[str, ...]] = ("DASHSCOPE_API_KEY",)
    part_characters = 500
    """Of 600 that older models take."""

    def __init__(self, options: ServerOptions | None = None, common: Common | None = None) -> None:
        super().__init__(options, common)
        headers = {"Authorization": f"Bearer {self.keys['DASHSCOPE_API_KEY']}"}
        url = f"{re.sub('^http', 'ws', self.server)}?model={self.options.model}"
        self._sockets = SocketVoice(self.http, url, lambda: headers)

    def _names(self) -> list[str]:
        return list(dict.fromkeys([*super()._names(), *VOICES]))

    async def say(self, asked: Asked) -> AsyncGenerator[Sound, None]:
        """The sound, delta by delta."""
        stream = AudioStream(self.sample_rate_hz, bytes_max=most_bytes(asked.text))
        wanted = self._session(asked)
        async with self._sockets.line(lambda line: line.facts.get("session") == wanted) as line:
            if "session" not in line.facts:
                await _send(line, "session.update", session=wanted)
                line.facts["session"] = wanted
            await _send(line, "input_text_buffer.append", text=asked.text)
            await _send(line, "input_text_buffer.commit")
            while (facts := await self._expected(line)).get("type") != "response.done":
                if facts.get("type") == "response.audio.delta":
                    for pcm in stream.feed(unpacked(self.name, facts.get("delta"))):
                        yield Sound(pcm, rate_hz=stream.rate_hz)
            line.reusable = True
        for pcm in stream.flush():
            yield Sound(pcm, rate_hz=stream.rate_hz)

    def _session(self, asked: Asked) -> dict[str, Any]:
        session: dict[str, Any] = {
            "voice": asked.voice,
            "mode": "commit",
            "language_type": ENGLISH_NAMES.get(asked.language, "Auto"),
            "response_format": "pcm",
            "sample_rate": self.sample_rate_hz,
        }
        if asked.speed != 1.0:
            session["speech_rate"] = min(SPEED_MAX, max(SPEED_MIN, asked.speed))
        if self.options.instructions:
            session["instructions"] = self.options.instructions
        return session

    async def _expected(self, line: Line) -> dict[str, Any]:
        """The next message.

        Raises:
            EngineError: it is an error, or there is none.
        """
        facts = await line.receive_object()
        error = facts.get("error")
        if facts.get("type") == "error" or isinstance(error, dict):
            told = error if isinstance(error, dict) else {}
            raise self.http.masked(self._refusal(str(told.get("code", "")), str(told.get("message", ""))))
        return facts

    def _refusal(self, code: str, said: str) -> EngineError:
        text = f"{self._sockets.url} answered {code}: {said[:200]}"
        folded = code.lower().replace("_", "")
        if any(word in folded for word in ("apikey", "accessdenied", "unauthorized", "arrearage")):
            return EngineError(self.name, text, retry_after_s=BACKOFF_MAX_S)
        return EngineError(self.name, text, retry_after_s=0.0 if "invalid" in folded else None)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._sockets.aclose()
        await super().aclose()


async def _send(line: Line, kind: str, **facts: Any) -> None:
    await line.send({"event_id": uuid.uuid4().hex, "type": kind, **facts})
