"""gpt-sovits: GPT-SoVITS' own server, `api_v2.py`.

After its source (RVC-Boss/GPT-SoVITS, 2026-08). A WAV header with size 0 comes first, then samples; errors are 400.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from pathlib import PurePosixPath

from pydantic import Field

from text.clauses import language_of
from tts.base import Sound, Voice
from tts.wire.engine import Asked, ServerEngine
from tts.wire.options import Reference, ServerOptions

STREAMING = {"fast": 3, "balanced": 2, "quality": 1}
"""1: piece by piece of the text, 2: as it is decoded, 3: in chunks of fixed length, quickest and roughest."""
_LANGUAGES = ("zh", "en", "ja", "ko")
_ON_SERVER = re.compile(r"[\w./ ()\-]+\.(?:wav|mp3|flac|ogg|m4a)", re.IGNORECASE)


class SovitsOptions(ServerOptions):
    """What can be configured; `ref_file` and `voices` name files on the server's disk, of 3 to 10 seconds."""

    streaming_mode: int = Field(default=0, ge=0, le=3)
    """0: as the performance mode says; servers from before 2025 know 1 only."""
    any_reference: bool = False
    """Whether clients may name any recording on the server's disk, not only one below its folder."""


class SovitsVoice(ServerEngine):
    """One server; a voice is a recording on its disk."""

    name = "gpt-sovits"
    Options = SovitsOptions
    options: SovitsOptions
    default_server = "http://127.0.0.1:9880"
    model_rate_hz = 32_000
    spoken = _LANGUAGES

    @property
    def imitates(self) -> bool:
        """Always."""
        return True

    @property
    def reads_recordings(self) -> bool:
        """They are the server's."""
        return False

    def find_voice(self, name: str) -> Voice | None:
        """LiveTalking's clients may name a recording on the server: below its folder, or any where that is allowed."""
        if found := super().find_voice(name):
            return found
        bare = name.removeprefix(f"{self.name}:")
        path = PurePosixPath(bare)
        below = not path.is_absolute() and ".." not in path.parts
        if self.lack() or not _ON_SERVER.fullmatch(bare) or not (below or self.options.any_reference):
            return None
        return self.voice(bare)

    def say(self, asked: Asked) -> AsyncGenerator[Sound, None]:
        """The sound as the server makes it."""
        reference = asked.reference or Reference(file=asked.voice)
        spoken_there = reference.language or language_of(reference.text, asked.language)
        body = {
            "text": asked.text,
            "text_lang": _called(asked.language),
            "ref_audio_path": reference.file,
            "prompt_text": reference.text,
            "prompt_lang": _called(spoken_there),
            "text_split_method": "cut0",
            "speed_factor": asked.speed,
            "media_type": "wav",
            "streaming_mode": self.options.streaming_mode or self.tuned(STREAMING),
        }
        return self.http.spoken("POST", f"{self.server}/tts", self.sample_rate_hz, asked.text, json=body)


def _called(language: str) -> str:
    return language if language in _LANGUAGES else "auto"
