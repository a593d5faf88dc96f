"""tencent: Tencent Cloud's streamed synthesis, `https://tts.cloud.tencent.com/stream`.

After Tencent Cloud's document "流式语音合成" (product 1073). An error comes with status 200 where sound would.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import re
import time
import uuid
from collections.abc import AsyncGenerator, Mapping
from typing import Any, ClassVar
from urllib.parse import urlsplit

import numpy as np
from pydantic import Field

from errors import EngineError
from tts.base import Sound
from tts.breaker import BACKOFF_MAX_S
from tts.wire.engine import Asked, ServerEngine
from tts.wire.options import ServerOptions

ACTION = "TextToStreamAudio"
VALID_S = 24 * 60 * 60
CLONED = 200_000_000
"""VoiceType of a cloned voice, which FastVoiceType then names."""
_PACES = (0.6, 0.8, 1.0, 1.2, 1.5, 2.5)
_CALLED = (-2.0, -1.0, 0.0, 1.0, 2.0, 6.0)
"""What Tencent calls these paces."""


class TencentOptions(ServerOptions):
    """What can be configured; `ref_file` is the number of a voice, or the id of a cloned one."""

    volume: float = Field(default=0.0, ge=-10, le=10)
    """Tencent's own scale."""


class TencentVoice(ServerEngine):
    """One account."""

    name = "tencent"
    Options = TencentOptions
    options: TencentOptions
    default_server = "https://tts.cloud.tencent.com"
    default_voice = "101001"
    open_voice = re.compile(r"\d{3,10}|WC[\w\-]+")
    key_names: ClassVar[tuple[str, ...]] = ("TENCENT_APPID", "TENCENT_SECRET_ID", "TENCENT_SECRET_KEY")
    plain_keys: ClassVar[tuple[str, ...]] = ("TENCENT_APPID",)
    model_rate_hz = 16_000
    spoken = ("zh", "en")
    part_characters = 500

    async def say(self, asked: Asked) -> AsyncGenerator[Sound, None]:
        """The sound as it arrives."""
        url = f"{self.server}/stream"
        facts = self._facts(asked)
        signed = signature(self.keys["TENCENT_SECRET_KEY"], urlsplit(url).netloc, facts)
        try:
            how: dict[str, Any] = {"json": facts, "headers": {"Authorization": signed}}
            async with contextlib.aclosing(
                self.http.spoken("POST", url, self.sample_rate_hz, asked.text, **how)
            ) as sounds:
                async for sound in sounds:
                    yield sound
        except EngineError as error:
            raise _told_apart(error) from error

    def _facts(self, asked: Asked) -> dict[str, Any]:
        now = int(time.time())
        number = asked.voice if asked.voice.isdecimal() else str(CLONED)
        facts = {
            "Action": ACTION,
            "AppId": int(self.keys["TENCENT_APPID"]) if self.keys["TENCENT_APPID"].isdecimal() else 0,
            "SecretId": self.keys["TENCENT_SECRET_ID"],
            "ModelType": 1,
            "VoiceType": int(number),
            "Codec": "pcm",
            "SampleRate": self.sample_rate_hz,
            "Speed": round(float(np.interp(asked.speed, _PACES, _CALLED)), 2),
            "Volume": self.options.volume,
            "SessionId": str(uuid.uuid4()),
            "Text": asked.text,
            "Timestamp": now,
            "Expired": now + VALID_S,
        }
        return facts if asked.voice.isdecimal() else {**facts, "FastVoiceType": asked.voice}


def signature(secret_key: str, host: str, facts: Mapping[str, Any]) -> str:
    """HMAC-SHA1 over the request's parameters in order of their names, as the document says."""
    query = "&".join(f"{name}={facts[name]}" for name in sorted(facts))
    signed = f"POST{host}/stream?{query}".encode()
    return base64.b64encode(hmac.new(secret_key.encode(), signed, hashlib.sha1).digest()).decode()


def _told_apart(error: EngineError) -> EngineError:
    """The same error, with when to ask again by Tencent's code."""
    said = str(error).removeprefix("tencent: ")
    if "AuthFailure" in said or "UnauthorizedOperation" in said or "ResourceUnavailable" in said:
        return EngineError("tencent", said, retry_after_s=BACKOFF_MAX_S)
    if "InvalidParameter" in said or "UnsupportedOperation" in said:
        return EngineError("tencent", said, retry_after_s=0.0)
    return error
