"""espeak-ng: a formant voice, plain but in a hundred languages and always quick; the last resort.

It runs as a program of its own: its licence (GPL-3.0) stays with it, and ending it ends the work.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
from collections.abc import AsyncGenerator

import numpy as np

from errors import EngineError
from tts.base import Sound, Voice

WORDS_PER_MINUTE = 165
_WAV_HEADER_BYTES = 44
_READ_BYTES = 8820
"""0.2 s."""
_NAME_OF_LANGUAGE = {"zh": "cmn-latn-pinyin", "en": "en-us", "pt": "pt-br"}
"""espeak-ng 1.51 spells most Chinese characters out in English, but reads numbered pinyin well."""
_LANGUAGES = (
    "en zh ja ko fr de es it pt ru nl pl tr uk cs da el fi hu id nb ro sv vi ar fa he hi bn ta te th ka hy"  # fmt: skip
)
_VARIANTS = {"female": "f2", "male": "m3"}


def pinyin(text: str) -> str:
    """Chinese characters as numbered syllables; other text stays as it is."""
    from pypinyin import Style, lazy_pinyin  # its dictionaries take a third of a second to load

    syllables = " ".join(lazy_pinyin(text, style=Style.TONE3, neutral_tone_with_five=True))
    return re.sub(r"\s*[，。！？；、：]\s*", ", ", syllables)


class EspeakEngine:
    """Speaks a clause with the `espeak-ng` command.

    Args:
        program: another name or path of it.
    """

    name = "espeak"
    sample_rate_hz = 22_050
    takes_speed = True
    tells_words = False

    def __init__(self, program: str = "espeak-ng") -> None:
        self._asked = program
        self._program = shutil.which(program)

    def voices(self) -> tuple[Voice, ...]:
        """One woman's and one man's voice for every language."""
        if self._program is None:
            return ()
        languages = tuple(_LANGUAGES.split())
        return tuple(Voice(f"espeak:{g}", "espeak", languages, g, "GPL-3.0-or-later") for g in _VARIANTS)

    def why_not(self) -> str | None:
        """None when the command is installed."""
        if self._program:
            return None
        return f"espeak: the command {self._asked!r} is missing; `apt install espeak-ng` (or `brew install`) adds it"

    async def speak(self, clause: str, voice: Voice, language: str, speed: float = 1.0) -> AsyncGenerator[Sound, None]:
        """The clause as espeak-ng writes it."""
        variant = _VARIANTS[voice.gender]
        process = await self._start(f"{_NAME_OF_LANGUAGE.get(language, language)}+{variant}", speed)
        assert process.stdin and process.stdout and process.stderr
        try:
            text = await asyncio.to_thread(pinyin, clause) if language == "zh" else clause
            process.stdin.write(text.encode())
            process.stdin.close()
            with contextlib.suppress(asyncio.IncompleteReadError):
                await process.stdout.readexactly(_WAV_HEADER_BYTES)
            odd = b""
            while data := await process.stdout.read(_READ_BYTES):
                data = odd + data
                even = len(data) // 2 * 2
                data, odd = data[:even], data[even:]
                yield Sound(np.frombuffer(data, "<i2").astype(np.float32) / np.float32(32768))
            if await process.wait():
                reason = (await process.stderr.read()).decode(errors="replace").strip()
                raise EngineError(self.name, reason or f"ended with status {process.returncode}")
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()

    async def aclose(self) -> None:
        """Nothing is held between clauses."""

    async def _start(self, name: str, speed: float) -> asyncio.subprocess.Process:
        if self._program is None:
            raise EngineError(self.name, self.why_not() or "")
        pipe = asyncio.subprocess.PIPE
        pace = str(round(WORDS_PER_MINUTE * speed))
        try:
            return await asyncio.create_subprocess_exec(
                self._program, "-v", name, "-s", pace, "-b", "1", "--stdin", "--stdout",
                stdin=pipe, stdout=pipe, stderr=pipe,
            )  # fmt: skip
        except OSError as error:
            raise EngineError(self.name, f"cannot be started: {error}") from error
