"""doubao-v3: Volcengine's newer streamed synthesis over HTTP, which offers the voices of the models 1.0 and 2.0.

After Volcengine's document 6561/1598757: JSON objects, one behind the other, with sound as base64. It tells the times
of words behind the sound they are in, which is too late, so they are estimated.
"""

from __future__ import annotations

import contextlib
import json
import re
import uuid
from collections.abc import AsyncGenerator, Iterator
from typing import Any, ClassVar

from pydantic import Field

from errors import EngineError
from tts.base import Sound
from tts.breaker import BACKOFF_MAX_S
from tts.wire.audio import AudioStream
from tts.wire.engine import Asked, Lack, ServerEngine
from tts.wire.http import most_bytes
from tts.wire.options import ServerOptions
from tts.wire.sockets import unpacked

SPEED_MIN, SPEED_MAX = 0.5, 2.0
OBJECT_BYTES_MAX = 1 << 22
_GOES_ON, _DONE = 0, 20_000_000
_TOO_LONG = 40_402_003
_DENIED = ("permission denied", "mismatched", "not found", "lifetime", "invalid auth")
"""In the message of an error that no waiting heals."""


class DoubaoV3Options(ServerOptions):
    """What can be configured; `ref_file` is a speaker, or the id of a cloned voice (S_...)."""

    resource: str = ""
    """Which model: `seed-tts-2.0`, `seed-tts-1.0`, `seed-icl-2.0`, ...; empty: as the speaker's name says."""
    emotion: str = ""
    loudness: int = Field(default=0, ge=-50, le=100)
    """Volcengine's own scale."""


class DoubaoV3Voice(ServerEngine):
    """One application: DOUBAO_API_KEY of the new console, or DOUBAO_APPID and DOUBAO_TOKEN of the old one."""

    name = "doubao-v3"
    Options = DoubaoV3Options
    options: DoubaoV3Options
    default_server = "https://openspeech.bytedance.com"
    default_voice = "zh_female_vv_uranus_bigtts"
    open_voice = re.compile(r"[A-Za-z]\w{3,60}")
    optional_keys: ClassVar[tuple[str, ...]] = ("DOUBAO_API_KEY", "DOUBAO_APPID", "DOUBAO_TOKEN")
    plain_keys: ClassVar[tuple[str, ...]] = ("DOUBAO_APPID",)
    spoken = ("zh", "en")
    part_characters = 300

    def lack(self) -> Lack | None:
        """Keys of one console or the other."""
        if self.keys["DOUBAO_API_KEY"] or (self.keys["DOUBAO_APPID"] and self.keys["DOUBAO_TOKEN"]):
            return super().lack()
        en = "neither DOUBAO_API_KEY nor DOUBAO_APPID and DOUBAO_TOKEN are set in the environment"
        zh = "环境变量 DOUBAO_API_KEY 或 DOUBAO_APPID 与 DOUBAO_TOKEN 均未设置"
        return Lack(en, zh, "export DOUBAO_API_KEY=…")

    async def say(self, asked: Asked) -> AsyncGenerator[Sound, None]:
        """The sound, object by object."""
        url = f"{self.server}/api/v3/tts/unidirectional"
        stream = AudioStream(self.sample_rate_hz, bytes_max=most_bytes(asked.text))
        objects = Objects()
        async with self.http.asked("POST", url, json=self._body(asked), headers=self._headers(asked)) as response:
            async for data in response.content.iter_any():
                for facts in self._safely(url, objects, data):
                    for pcm in stream.feed(self._sound(url, facts)):
                        yield Sound(pcm, rate_hz=stream.rate_hz)
                    if facts.get("code") == _DONE:
                        return
        raise EngineError(self.name, f"{url} ended before the sound was complete")

    def _headers(self, asked: Asked) -> dict[str, str]:
        key = self.keys["DOUBAO_API_KEY"]
        old = {"X-Api-App-Id": self.keys["DOUBAO_APPID"], "X-Api-Access-Key": self.keys["DOUBAO_TOKEN"]}
        resource = self.options.resource or resource_of(asked.voice)
        identity = {"X-Api-Resource-Id": resource, "X-Api-Request-Id": str(uuid.uuid4())}
        return {**({"X-Api-Key": key} if key else old), **identity}

    def _body(self, asked: Asked) -> dict[str, Any]:
        audio: dict[str, Any] = {
            "format": "pcm",
            "sample_rate": self.sample_rate_hz,
            "speech_rate": round((min(SPEED_MAX, max(SPEED_MIN, asked.speed)) - 1) * 100),
            "loudness_rate": self.options.loudness,
        }
        if self.options.emotion:
            audio["emotion"] = self.options.emotion
        told = {"text": asked.text, "speaker": asked.voice, "audio_params": audio}
        return {"user": {"uid": "visage"}, "req_params": told}

    def _safely(self, url: str, objects: Objects, data: bytes) -> Iterator[dict[str, Any]]:
        try:
            yield from objects.feed(data)
        except ValueError as error:
            raise EngineError(self.name, f"{url} sent what is no JSON: {error}") from error

    def _sound(self, url: str, facts: dict[str, Any]) -> bytes:
        """What an object holds of it.

        Raises:
            EngineError: the object is an error.
        """
        header = facts.get("header")
        told = header if isinstance(header, dict) else facts
        code = told.get("code", _GOES_ON)
        if code in (_GOES_ON, _DONE):
            return unpacked(self.name, facts.get("data"))
        said = str(told.get("message", ""))[:200]
        denied = any(word in said.lower() for word in _DENIED)
        again_s = 0.0 if code == _TOO_LONG else BACKOFF_MAX_S if denied else None
        raise self.http.masked(EngineError(self.name, f"{url} answered {code}: {said}", retry_after_s=again_s))


class Objects:
    """JSON objects out of a stream of bytes, with or without line ends between them."""

    def __init__(self) -> None:
        self._held = b""
        self._decoder = json.JSONDecoder()

    def feed(self, data: bytes) -> Iterator[dict[str, Any]]:
        """The objects that are now complete.

        Raises:
            ValueError: what comes is none.
        """
        self._held += data
        while b"}" in data and (text := self._held.lstrip()):
            found = self._first(text)
            if found is None:
                break
            facts, size = found
            self._held = text[size:]
            yield facts
        if len(self._held) > OBJECT_BYTES_MAX:
            raise ValueError(f"an object of more than {OBJECT_BYTES_MAX} bytes")

    def _first(self, data: bytes) -> tuple[dict[str, Any], int] | None:
        """The object that the bytes begin with and its size; None while it is not whole."""
        if not data.startswith(b"{"):
            raise ValueError(f"{data[:80]!r}")
        text = data.decode("utf-8", "ignore")
        with contextlib.suppress(json.JSONDecodeError):
            facts, end = self._decoder.raw_decode(text)
            return facts, len(text[:end].encode())
        return None


def resource_of(speaker: str) -> str:
    """The model that a speaker belongs to, by its name."""
    if speaker.startswith("S_"):
        return "seed-icl-2.0"
    return "seed-tts-2.0" if re.search(r"_(uranus|saturn)_bigtts$", speaker) else "seed-tts-1.0"
