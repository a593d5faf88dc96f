"""azure: Azure AI Speech by its REST interface, streamed.

After Microsoft's "Text to speech REST API" (2025-10). Word times come over its SDK only, so they are estimated here.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from typing import Any, ClassVar
from xml.sax.saxutils import escape, quoteattr

from tts.base import Sound, Voice
from tts.wire.engine import Asked, ServerEngine
from tts.wire.options import Common, ServerOptions

FORMAT = "raw-24khz-16bit-mono-pcm"
_CHINA = ("chinaeast", "chinanorth")


class AzureOptions(ServerOptions):
    """What can be configured; `ref_file` is the name of a voice."""

    style: str = ""
    """Of a voice that has some: `cheerful`, `sad`, ..."""
    listed: tuple[str, ...] = ("zh", "en")
    """Languages whose voices GET /api/speech/voices lists; all others can be named."""


class AzureVoice(ServerEngine):
    """One resource."""

    name = "azure"
    Options = AzureOptions
    options: AzureOptions
    default_voice = "zh-CN-XiaoxiaoMultilingualNeural"
    open_voice = re.compile(r"[a-z]{2,3}-[A-Za-z\-]{2,20}-[\w:\-]+")
    key_names: ClassVar[tuple[str, ...]] = ("AZURE_SPEECH_KEY", "AZURE_TTS_REGION")
    plain_keys: ClassVar[tuple[str, ...]] = ("AZURE_TTS_REGION",)
    part_characters = 3_000
    """Ten minutes of sound are its limit."""

    def __init__(self, options: ServerOptions | None = None, common: Common | None = None) -> None:
        super().__init__(options, common)
        self._headers = {"Ocp-Apim-Subscription-Key": self.keys["AZURE_SPEECH_KEY"], "User-Agent": "visage"}

    @property
    def server(self) -> str:
        """Its region's, unless one is configured."""
        region = self.keys["AZURE_TTS_REGION"]
        domain = "azure.cn" if region.startswith(_CHINA) else "microsoft.com"
        return self.options.server or f"https://{region}.tts.speech.{domain}"

    async def list_voices(self) -> list[Voice]:
        """The region's, of the languages that are listed."""
        facts = await self.http.json("GET", f"{self.server}/cognitiveservices/voices/list", headers=self._headers)
        entries = facts if isinstance(facts, list) else []
        return [self._described(entry) for entry in entries if self._is_listed(entry)]

    def voice(self, name: str, languages: tuple[str, ...] = (), gender: str = "neutral") -> Voice:
        """A voice speaks the language in its name; a multilingual one the others too."""
        own = name.split("-", 1)[0]
        multilingual = tuple(tag for tag in self.spoken if tag != own) if "Multilingual" in name else ()
        return super().voice(name, languages or self.options.languages or (own, *multilingual), gender)

    def _is_listed(self, entry: Any) -> bool:
        name = entry.get("ShortName") if isinstance(entry, dict) else None
        return isinstance(name, str) and name.split("-", 1)[0] in self.options.listed

    def _described(self, entry: dict[str, Any]) -> Voice:
        gender = str(entry.get("Gender", "")).lower()
        return self.voice(entry["ShortName"], gender=gender if gender in ("female", "male") else "neutral")

    def say(self, asked: Asked) -> AsyncGenerator[Sound, None]:
        """The sound as it arrives."""
        headers = {
            **self._headers,
            "Content-Type": "application/ssml+xml",
            "X-Microsoft-OutputFormat": FORMAT,
        }
        url = f"{self.server}/cognitiveservices/v1"
        how: dict[str, Any] = {"data": self._ssml(asked).encode(), "headers": headers}
        return self.http.spoken("POST", url, self.sample_rate_hz, asked.text, **how)

    def _ssml(self, asked: Asked) -> str:
        text = escape(asked.text)
        if asked.speed != 1.0:
            text = f'<prosody rate="{round((asked.speed - 1) * 100):+d}%">{text}</prosody>'
        if self.options.style:
            text = f"<mstts:express-as style={quoteattr(self.options.style)}>{text}</mstts:express-as>"
        language = "-".join(asked.voice.split("-")[:2])
        return (
            '<speak version="1.0" xmlns="http://www.w3.org/2001/10/synthesis" '
            f'xmlns:mstts="http://www.w3.org/2001/mstts" xml:lang={quoteattr(language)}>'
            f"<voice name={quoteattr(asked.voice)}>{text}</voice></speak>"
        )
