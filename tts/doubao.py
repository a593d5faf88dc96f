"""doubao: Volcengine's (ByteDance) streamed synthesis over its binary WebSocket, `/api/v1/tts/ws_binary`.

After Volcengine's document 6561/1257584: a header of four bytes, then numbers in network order, then the payload.
"""

from __future__ import annotations

import gzip
import json
import re
import struct
import uuid
from collections.abc import AsyncGenerator
from typing import Any, ClassVar

from pydantic import Field

from errors import EngineError
from tts.base import Sound
from tts.breaker import BACKOFF_MAX_S
from tts.wire import refusals
from tts.wire.audio import AudioStream
from tts.wire.engine import Asked, ServerEngine
from tts.wire.http import most_bytes
from tts.wire.options import Common, ServerOptions
from tts.wire.sockets import SocketVoice

SPEED_MIN, SPEED_MAX = 0.8, 2.0
PAYLOAD_BYTES_MAX = 1 << 24
REQUEST_HEADER = bytes((0x11, 0x10, 0x11, 0x00))
"""Version 1, header of 1 x 4 bytes; full client request; JSON, gzip."""
_AUDIO, _ERROR = 0xB, 0xF
_GZIP = 1
_THIS_REQUEST = (3001, 3010, 3011)
"""Invalid, too long, nothing in it that can be spoken."""
_NO_SUCH_VOICE = 3050


class DoubaoOptions(ServerOptions):
    """What can be configured; `ref_file` is a voice type, or the id of a cloned voice (S_...)."""

    cluster: str = ""
    """Empty: `volcano_icl` for cloned voices, else `volcano_tts`."""
    emotion: str = ""
    volume: float = Field(default=1.0, ge=0.5, le=2.0)


class DoubaoVoice(ServerEngine):
    """One application; one clause a connection, the next connection opened meanwhile."""

    name = "doubao"
    Options = DoubaoOptions
    options: DoubaoOptions
    default_server = "wss://openspeech.bytedance.com"
    default_voice = "BV001_streaming"
    open_voice = re.compile(r"[A-Za-z]\w{3,60}")
    key_names: ClassVar[tuple[str, ...]] = ("DOUBAO_APPID", "DOUBAO_TOKEN")
    plain_keys: ClassVar[tuple[str, ...]] = ("DOUBAO_APPID",)
    spoken = ("zh", "en")
    part_bytes = 1_000
    """Of 1024 that it takes."""

    def __init__(self, options: ServerOptions | None = None, common: Common | None = None) -> None:
        super().__init__(options, common)
        url = f"{re.sub('^http', 'ws', self.server)}/api/v1/tts/ws_binary"
        headers = {"Authorization": f"Bearer; {self.keys['DOUBAO_TOKEN']}"}
        self._sockets = SocketVoice(self.http, url, lambda: headers, ahead=True)

    async def say(self, asked: Asked) -> AsyncGenerator[Sound, None]:
        """The sound, message by message."""
        stream = AudioStream(self.sample_rate_hz, bytes_max=most_bytes(asked.text))
        async with self._sockets.line() as line:
            await line.send(request(self._facts(asked)))
            last = False
            while not last:
                message = await line.receive()
                if not isinstance(message, bytes):
                    raise EngineError(self.name, f"{self._sockets.url} sent text: {str(message)[:80]!r}")
                data, last = self._read(message)
                for pcm in stream.feed(data):
                    yield Sound(pcm, rate_hz=stream.rate_hz)
        for pcm in stream.flush():
            yield Sound(pcm, rate_hz=stream.rate_hz)

    def _facts(self, asked: Asked) -> dict[str, Any]:
        cluster = "volcano_icl" if asked.voice.startswith("S_") else "volcano_tts"
        audio: dict[str, Any] = {
            "voice_type": asked.voice,
            "encoding": "pcm",
            "rate": self.sample_rate_hz,
            "speed_ratio": round(min(SPEED_MAX, max(SPEED_MIN, asked.speed)), 1),
            "loudness_ratio": self.options.volume,
        }
        if self.options.emotion:
            audio |= {"emotion": self.options.emotion, "enable_emotion": True}
        identity = str(uuid.uuid4())
        return {
            # The token that counts is in the header; this one must only be there.
            "app": {"appid": self.keys["DOUBAO_APPID"], "token": "-", "cluster": self.options.cluster or cluster},
            "user": {"uid": "visage"},
            "audio": audio,
            "request": {"reqid": identity, "text": asked.text, "text_type": "plain", "operation": "submit"},
        }

    def _read(self, message: bytes) -> tuple[bytes, bool]:
        """A message's sound, and whether it is the last.

        Raises:
            EngineError: it is an error, or damaged.
        """
        try:
            size = (message[0] & 0x0F) * 4
            kind, flags, packing = message[1] >> 4, message[1] & 0x0F, message[2] & 0x0F
            if kind == _AUDIO and flags == 0:  # an acknowledgement
                return b"", False
            number, length = struct.unpack_from(">iI" if kind == _AUDIO else ">II", message, size)
            payload = message[size + 8 : size + 8 + length]
            if packing == _GZIP:
                payload = gzip.decompress(payload)
        except (IndexError, struct.error, OSError, EOFError) as error:
            raise EngineError(self.name, f"{self._sockets.url} sent a damaged message: {error}") from error
        if kind == _ERROR:
            raise self.http.masked(self._refusal(number, refusals.reason(payload)))
        if kind != _AUDIO:
            return b"", False
        return payload, number < 0

    def _refusal(self, code: int, said: str) -> EngineError:
        text = f"{self._sockets.url} answered {code}: {said}"
        if code in _THIS_REQUEST:
            return EngineError(self.name, text, retry_after_s=0.0)
        denied = any(word in said for word in ("authenticate", "access denied", "lifetime"))
        return EngineError(self.name, text, retry_after_s=BACKOFF_MAX_S if denied or code == _NO_SUCH_VOICE else None)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._sockets.aclose()
        await super().aclose()


def request(facts: dict[str, Any]) -> bytes:
    """A full client request."""
    payload = gzip.compress(json.dumps(facts).encode(), compresslevel=1)
    return REQUEST_HEADER + struct.pack(">I", len(payload)) + payload
