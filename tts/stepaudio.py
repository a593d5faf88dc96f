"""stepaudio: Step-Audio-TTS-3B behind `python app.py stepaudio serve`, or the `tts_api_server.py` of its publishers.

Both answer whole WAV files at 22.05 kHz.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import aiohttp

from tts.base import Sound, Voice
from tts.wire.engine import NAME_CHARACTERS_MAX, Asked, ServerEngine
from tts.wire.options import Common, ServerOptions
from tts.wire.recordings import Recordings, content


class StepAudioOptions(ServerOptions):
    """What can be configured; `ref_file` is a recording here, or the name of one of the server's speakers."""

    tags: str = ""
    """How to speak, put before every text: `(高兴1)(四川话)`."""


class StepAudioVoice(ServerEngine):
    """One server."""

    name = "stepaudio"
    Options = StepAudioOptions
    options: StepAudioOptions
    default_server = "http://127.0.0.1:8000"
    default_voice = "Tingting"
    model_rate_hz = 22_050
    takes_speed = False
    spoken = ("zh", "en", "ja", "ko")
    part_characters = 300
    """The model attends to a few minutes of speech, the recording's among them."""
    licence = "Apache-2.0"

    def __init__(self, options: ServerOptions | None = None, common: Common | None = None) -> None:
        super().__init__(options, common)
        self._files = Recordings(self.name, content)

    @property
    def imitates(self) -> bool:
        """Whether a recording is configured; a name without an ending is a speaker of the server's."""
        return bool(self.options.voices) or bool(Path(self.options.ref_file).suffix)

    async def list_voices(self) -> list[Voice]:
        """The server's speakers, without the ways in which they sing."""
        if self.imitates:
            return []
        listed = await self.http.json("GET", f"{self.server}/voices")
        names = [name for name in listed if isinstance(name, str)] if isinstance(listed, list) else []
        spoken = [name for name in names if not name.endswith(("RAP", "哼唱"))]
        return [self.voice(name) for name in spoken if 0 < len(name) <= NAME_CHARACTERS_MAX]

    async def say(self, asked: Asked) -> AsyncGenerator[Sound, None]:
        """The sound, once all of it is made."""
        fields: dict[str, Any] = {"tts_text": self.options.tags + asked.text}
        wav: bytes | None = None
        if asked.reference:
            wav = await self._files.get(asked.reference.file)
            fields |= {"prompt_text": asked.reference.text, "speaker_name": asked.voice}
        else:
            fields |= {"speaker": asked.voice}

        def form() -> aiohttp.FormData:
            made = aiohttp.FormData(fields)
            if wav is not None:
                made.add_field("prompt_wav", wav, filename="prompt.wav", content_type="application/octet-stream")
            return made

        url = f"{self.server}/{'tts' if wav is None else 'clone'}"
        sounds = self.http.spoken("POST", url, self.sample_rate_hz, asked.text, form=form)
        async with contextlib.aclosing(sounds):
            async for sound in sounds:
                yield sound
