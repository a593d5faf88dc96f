"""fish-speech: the server of fish-speech, OpenAudio and Fish Audio, `POST /v1/tts`.

After fish-speech's tools/server (2026-04) and Fish Audio's API reference. Streamed `wav` comes without its header.
"""

from __future__ import annotations

import base64
import contextlib
import re
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any, ClassVar, Literal

from tts.base import Sound, Voice
from tts.wire.engine import Asked, ServerEngine
from tts.wire.options import Common, ServerOptions
from tts.wire.recordings import Recordings, content

CHUNK_LENGTH = {"fast": 100, "balanced": 200, "quality": 300}
"""Characters that are generated at once: the first of them are heard when all are made."""


class FishOptions(ServerOptions):
    """What can be configured; `ref_file` is the id of a reference on the server, or a recording here."""

    format: Literal["wav", "pcm", "mp3", "opus"] = "wav"
    """What is asked for; a server of one's own streams wav only."""
    model: str = ""
    """Of Fish Audio: `s1`, ... ; sent as a header."""


class FishVoice(ServerEngine):
    """One server; FISH_API_KEY is its key where it wants one."""

    name = "fish-speech"
    Options = FishOptions
    options: FishOptions
    default_server = "http://127.0.0.1:8080"
    default_voice = "default"
    model_rate_hz = 44_100
    open_voice = re.compile(r"[\w.\-]+")
    optional_keys: ClassVar[tuple[str, ...]] = ("FISH_API_KEY",)
    takes_speed = False

    def __init__(self, options: ServerOptions | None = None, common: Common | None = None) -> None:
        super().__init__(options, common)
        key = self.keys["FISH_API_KEY"]
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        if self.options.model:
            self._headers["model"] = self.options.model
        self._files = Recordings(self.name, _as_text)
        named = self._named_references()
        self.references = {name: reference for name, reference in named.items() if _is_file(reference.file)}
        self._ids = [reference.file for reference in named.values() if not _is_file(reference.file)]
        self.takes_ref_text = bool(self.references)

    async def list_voices(self) -> list[Voice]:
        """The references on the server."""
        facts = await self.http.json("GET", f"{self.server}/v1/references/list", headers=self._headers)
        names = facts.get("reference_ids") if isinstance(facts, dict) else None
        return [self.voice(name) for name in names or () if isinstance(name, str)]

    def _names(self) -> list[str]:
        return [*self.references, *self._ids] or super()._names()

    async def say(self, asked: Asked) -> AsyncGenerator[Sound, None]:
        """The sound, block by block of the text."""
        body: dict[str, Any] = {
            "text": asked.text,
            "format": self.options.format,
            "streaming": True,
            "chunk_length": self.tuned(CHUNK_LENGTH),
            "use_memory_cache": "on",
            **await self._voice(asked),
        }
        how: dict[str, Any] = {"json": body, "headers": self._headers}
        sounds = self.http.spoken("POST", f"{self.server}/v1/tts", self.sample_rate_hz, asked.text, **how)
        async with contextlib.aclosing(sounds):
            async for sound in sounds:
                yield sound

    async def _voice(self, asked: Asked) -> dict[str, Any]:
        """The reference, by its id or as the recording itself; nothing for the model's own voice."""
        if asked.reference is None:
            return {} if asked.voice == self.default_voice else {"reference_id": asked.voice}
        recording = await self._files.get(asked.reference.file)
        return {"references": [{"audio": recording, "text": asked.reference.text}]}


def _as_text(path: Path) -> str:
    """A recording in base64."""
    return base64.b64encode(content(path)).decode()


def _is_file(name: str) -> bool:
    """Whether this is a recording; ids have no suffix."""
    return bool(Path(name).suffix)
