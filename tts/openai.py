"""openai: any server with OpenAI's `POST /v1/audio/speech`: OpenAI, Kokoro-FastAPI, vLLM-Omni, LocalAI, Speaches.

After the OpenAI API reference ("Create speech", 2026) and the servers' own documents; `pcm` is 16 bits at 24 kHz.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Mapping
from typing import Any, ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import Field

from tts.base import Sound, Voice
from tts.wire.engine import ENGLISH_NAMES, Asked, ServerEngine
from tts.wire.options import Common, ServerOptions

SPEED_MIN, SPEED_MAX = 0.25, 4.0
_KOKORO = {"a": "en", "b": "en", "z": "zh", "j": "ja", "e": "es", "f": "fr", "h": "hi", "i": "it", "p": "pt"}
"""What the first letter of a Kokoro voice says; the second is its gender."""
_PARTS_OF_MIX = re.compile(r"[^+]+?(?=\(|\+|$)")


class OpenAiOptions(ServerOptions):
    """What can be configured."""

    model: str = "kokoro"
    format: Literal["pcm", "wav", "mp3", "opus", "aac", "flac"] = "pcm"
    """What is asked for; whatever comes is understood."""
    path: str = "/v1/audio/speech"
    """Of the address; servers without `/v1` leave it out."""
    instructions: str = ""
    """How to speak, for models that are told."""
    extra: Mapping[str, Any] = Field(default_factory=dict)
    """More fields of every request, e.g. Kokoro-FastAPI's `lang_code`."""


class OpenAiVoice(ServerEngine):
    """One server and model; TTS_API_KEY is its key where it wants one, or OPENAI_API_KEY for OpenAI's own server."""

    name = "openai"
    Options = OpenAiOptions
    options: OpenAiOptions
    default_server = "http://127.0.0.1:8880"
    """Kokoro-FastAPI's."""
    default_voice = "alloy"
    open_voice = re.compile(r"[\w.+() \-]+")
    optional_keys: ClassVar[tuple[str, ...]] = ("TTS_API_KEY", "OPENAI_API_KEY")
    part_characters = 4_000

    def __init__(self, options: ServerOptions | None = None, common: Common | None = None) -> None:
        super().__init__(options, common)
        own = urlsplit(self.server).hostname == "api.openai.com"
        key = self.keys["TTS_API_KEY"] or (self.keys["OPENAI_API_KEY"] if own else "")
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}

    async def list_voices(self) -> list[Voice]:
        """The server's; many cannot say."""
        return self._described(await self.http.json("GET", self._url("voices"), headers=self._headers))

    def find_voice(self, name: str) -> Voice | None:
        """Any name while the server's own are not known, then those and mixes of them: `af_bella(2)+af_sky`."""
        bare = name.removeprefix(f"{self.name}:")
        known = {voice.id.removeprefix(f"{self.name}:") for voice in self._listed}
        mixed = [part.strip() for part in _PARTS_OF_MIX.findall(bare) if not part.startswith("(")]
        if known and not all(part in known for part in mixed):
            return None
        return super().find_voice(name)

    def _names(self) -> list[str]:
        if self._listed and not self.options.ref_file:
            return []
        return super()._names()

    def say(self, asked: Asked) -> AsyncGenerator[Sound, None]:
        """The sound as the server makes it."""
        how: dict[str, Any] = {"json": self._body(asked), "headers": self._headers}
        return self.http.spoken("POST", self._url("speech"), self.sample_rate_hz, asked.text, **how)

    def _body(self, asked: Asked) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": self.options.model,
            "input": asked.text,
            "voice": asked.voice,
            "response_format": self.options.format,
        }
        if asked.speed != 1.0:
            body["speed"] = min(SPEED_MAX, max(SPEED_MIN, asked.speed))
        if self.options.instructions:
            body["instructions"] = self.options.instructions
        return {**body, **self.options.extra}

    def _url(self, what: str) -> str:
        server, path = self.server, self.options.path
        if server.endswith("/v1") and path.startswith("/v1/"):
            path = path.removeprefix("/v1")
        return f"{server}{path.rsplit('/', 1)[0]}/{what}"

    def _described(self, facts: Any) -> list[Voice]:
        """The voices of a server's list, in any of the forms there are."""
        entries = facts.get("voices", facts.get("data")) if isinstance(facts, dict) else facts
        found = []
        for entry in entries if isinstance(entries, list) else []:
            name = (entry.get("id") or entry.get("name")) if isinstance(entry, dict) else entry
            if isinstance(name, str) and 0 < len(name) <= 200:
                found.append(self._described_one(name))
        return found

    def _described_one(self, name: str) -> Voice:
        if self.options.model.lower().startswith("kokoro") and re.match(r"[a-z][fm]_", name):
            languages = (_KOKORO[name[0]],) if name[0] in _KOKORO else ()
            return self.voice(name, languages, "female" if name[1] == "f" else "male")
        return self.voice(name)


class OmniOptions(OpenAiOptions):
    """What can be configured."""

    model: str = ""
    task_type: str = "CustomVoice"
    """Of Qwen3-TTS: CustomVoice, VoiceDesign or Base."""


class OmniVoice(OpenAiVoice):
    """vLLM-Omni as LiveTalking speaks to it: streamed, with the language named."""

    name = "omnitts"
    Options = OmniOptions
    options: OmniOptions
    default_server = "http://127.0.0.1:8091"
    default_voice = "vivian"

    def _body(self, asked: Asked) -> dict[str, Any]:
        body = super()._body(asked)
        if not self.options.model:
            del body["model"]
        return {
            **body,
            "stream": True,
            "task_type": self.options.task_type,
            "language": ENGLISH_NAMES.get(asked.language, "Auto"),
            **self.options.extra,
        }
