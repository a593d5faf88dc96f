"""xtts: Coqui's XTTS streaming server, which is told of a speaker by numbers that it computed itself.

After coqui-ai/xtts-streaming-server, server/main.py. A WAV header comes first, then samples at 24 kHz.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import aiohttp
from pydantic import Field

from errors import EngineError
from tts.base import Sound
from tts.wire.engine import Asked, ServerEngine
from tts.wire.options import Common, ServerOptions
from tts.wire.recordings import Recordings, content

CHUNK_SIZE = {"fast": 10, "balanced": 20, "quality": 40}
"""Tokens that are decoded at once, 47 ms each."""
_CHINESE = ("zh-cn", "zh")
"""What Chinese is called by the servers there are."""


class XttsOptions(ServerOptions):
    """What can be configured; `ref_file` is a recording here."""

    chunk_size: int = Field(default=0, ge=0, le=200)
    """Tokens a chunk; 0: as the performance mode says."""


class XttsVoice(ServerEngine):
    """One server; a recording is taken in by it once."""

    name = "xtts"
    Options = XttsOptions
    options: XttsOptions
    default_server = "http://127.0.0.1:8000"
    takes_speed = False
    part_characters = 250
    """More than the model says in one breath."""
    spoken = ("en", "zh", "es", "fr", "de", "it", "pt", "pl", "tr", "ru", "nl", "cs", "ar", "ja", "hu", "ko")

    def __init__(self, options: ServerOptions | None = None, common: Common | None = None) -> None:
        super().__init__(options, common)
        self._files = Recordings(self.name, content)
        self._speakers: dict[bytes, str] = {}
        """By recording: the speaker's numbers as the inside of a JSON object."""
        self._taking_in = asyncio.Lock()
        self._chinese = _CHINESE[0]

    @property
    def imitates(self) -> bool:
        """Always."""
        return True

    async def warm_up(self) -> None:
        """Have the configured recordings taken in."""
        await super().warm_up()
        for reference in self.references.values():
            await self._speaker(reference.file)

    async def say(self, asked: Asked) -> AsyncGenerator[Sound, None]:
        """The sound as it is decoded."""
        assert asked.reference is not None
        speaker = await self._speaker(asked.reference.file)
        for language in (self._called(asked.language), self._other(asked.language)):
            try:
                async with contextlib.aclosing(self._spoken(speaker, asked.text, language)) as sounds:
                    async for sound in sounds:
                        yield sound
                return
            except EngineError as error:
                if asked.language != "zh" or language != self._chinese or " answered 422" not in str(error):
                    raise
                self._chinese = self._other("zh")

    def _called(self, language: str) -> str:
        return self._chinese if language == "zh" else language

    def _other(self, language: str) -> str:
        return next(name for name in _CHINESE if name != self._chinese) if language == "zh" else language

    def _spoken(self, speaker: str, text: str, language: str) -> AsyncGenerator[Sound, None]:
        size = self.options.chunk_size or self.tuned(CHUNK_SIZE)
        facts = {"text": text, "language": language, "add_wav_header": True, "stream_chunk_size": str(size)}
        # 33,000 numbers a speaker: written once, not with every clause.
        body = f"{{{speaker}, {json.dumps(facts)[1:]}"
        how: dict[str, Any] = {"data": body.encode(), "headers": {"Content-Type": "application/json"}}
        return self.http.spoken("POST", f"{self.server}/tts_stream", self.sample_rate_hz, text, **how)

    async def _speaker(self, file: str) -> str:
        """The speaker of a recording, computed by the server once."""
        wav = await self._files.get(file)
        async with self._taking_in:
            if wav not in self._speakers:
                url = f"{self.server}/clone_speaker"
                facts = await self.http.json("POST", url, form=lambda: _form(file, wav))
                names = ("gpt_cond_latent", "speaker_embedding")
                if not isinstance(facts, dict) or any(name not in facts for name in names):
                    raise EngineError(self.name, f"{url} answered without {' and '.join(names)}")
                chosen = {name: facts[name] for name in names}
                self._speakers[wav] = (await asyncio.to_thread(json.dumps, chosen))[1:-1]
            return self._speakers[wav]


def _form(file: str, wav: bytes) -> aiohttp.FormData:
    form = aiohttp.FormData()
    form.add_field("wav_file", wav, filename=Path(file).name, content_type="audio/wav")
    return form
