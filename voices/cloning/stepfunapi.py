"""`StepFunApi`: StepFun's files and cloned voices, after platform.stepfun.com's documents (2026-11).

What they leave out (deleting) is asked for as OpenAI has it, and not missed where it is not there.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import dataclasses
import json
import re
from collections.abc import AsyncGenerator
from typing import Any
from urllib.parse import quote

import aiohttp

from errors import EngineError
from tts.base import Sound
from tts.stepfun import StepFunVoice
from tts.wire.engine import Asked
from voices.cloning.vendor import Vendor

PAGE = 100
PAGES_MAX = 20
SAMPLE_CHARACTERS_MAX = 50
_ID = re.compile(r"[\w.\-]{1,200}")


@dataclasses.dataclass(frozen=True, slots=True)
class Cloned:
    """A voice that StepFun made."""

    voice_id: str
    duplicated: bool
    """It had been made of the same recording before."""
    sample: bytes
    """A sound file, as it came; empty where the answer held none."""


class StepFunApi:
    """One account.

    Args:
        engine: its address, key and connections.
        vendor: through whom all is asked.
    """

    def __init__(self, engine: StepFunVoice, vendor: Vendor) -> None:
        self._engine = engine
        self._vendor = vendor
        self._headers = engine.headers

    async def upload(self, wav: bytes, filename: str) -> str:
        """Have a recording there; its id.

        Raises:
            EngineError: see `Vendor.json`, or the answer names no file.
        """

        def form() -> aiohttp.FormData:
            made = aiohttp.FormData()
            made.add_field("purpose", "storage")
            made.add_field("file", wav, filename=filename, content_type="audio/wav")
            return made

        url = self._url("files")
        return self._id_in(await self._vendor.json("POST", url, form=form, headers=self._headers), url)

    async def clone(self, model: str, file_id: str, text: str, sample_text: str) -> Cloned:
        """Make a voice of an uploaded recording.

        Raises:
            EngineError: see `Vendor.json`, or the answer names no voice.
        """
        body = self._wish(model, file_id, text, sample_text)
        url = self._url("audio/voices")
        facts = await self._vendor.json("POST", url, json=body, headers=self._headers)
        voice_id = self._id_in(facts, url)
        return Cloned(voice_id, facts.get("duplicated") is True, _sample_in(facts))

    async def preview(self, model: str, file_id: str, text: str, sample_text: str) -> bytes:
        """What a voice of the recording says, as a sound file; empty where that is not to be had.

        Raises:
            EngineError: see `Vendor.json`.
        """
        body = {**self._wish(model, file_id, text, sample_text), "response_format": "wav"}
        url = self._url("audio/voices/preview")
        media, data = await self._vendor.body("POST", url, json=body, headers=self._headers)
        if media != "application/json":
            return data
        return _sample_in(await _parsed(data))

    async def file_of(self, voice_id: str) -> str:
        """The id of the recording that a cloned voice was made of; empty where the account's list does not tell.

        Raises:
            EngineError: see `Vendor.json`.
        """
        query = {"limit": str(PAGE)}
        for _ in range(PAGES_MAX):
            facts = await self._vendor.json("GET", self._url("audio/voices"), params=query, headers=self._headers)
            entries = facts.get("data") if isinstance(facts, dict) else None
            for entry in entries if isinstance(entries, list) else ():
                if isinstance(entry, dict) and entry.get("id") == voice_id:
                    found = entry.get("file_id")
                    return found if isinstance(found, str) else ""
            if not isinstance(facts, dict) or facts.get("has_more") is not True or not facts.get("last_id"):
                break
            query["after"] = str(facts["last_id"])
        return ""

    async def check(self, model: str) -> int:
        """How many voices of its own a model has; whether the key is taken shows by it.

        Raises:
            EngineError: see `Vendor.json`.
        """
        url = self._url("audio/system_voices")
        facts = await self._vendor.json("GET", url, params={"model": model}, headers=self._headers)
        voices = facts.get("voices") if isinstance(facts, dict) else None
        return len(voices) if isinstance(voices, list) else 0

    def speech(self, asked: Asked, model: str) -> AsyncGenerator[Sound, None]:
        """At most 1000 characters in a voice, as they are made.

        Raises:
            EngineError: see `Vendor.spoken`.
        """
        how: dict[str, Any] = {"json": self._engine.body(asked, model), "headers": self._headers}
        return self._vendor.spoken(self._url("audio/speech"), self._engine.sample_rate_hz, asked.text, **how)

    async def delete_file(self, file_id: str) -> bool:
        """Delete a recording; whether it was there.

        Raises:
            EngineError: see `Vendor.json`.
        """
        return await self._vendor.removed(self._url(f"files/{quote(file_id, safe='')}"), headers=self._headers)

    async def delete_voice(self, voice_id: str) -> bool:
        """Delete a cloned voice; whether it was there, and can be deleted.

        Raises:
            EngineError: see `Vendor.json`.
        """
        return await self._vendor.removed(self._url(f"audio/voices/{quote(voice_id, safe='')}"), headers=self._headers)

    def _url(self, path: str) -> str:
        return f"{self._engine.api}/{path}"

    def _wish(self, model: str, file_id: str, text: str, sample_text: str) -> dict[str, str]:
        body = {"model": model, "file_id": file_id, "sample_text": sample_text[:SAMPLE_CHARACTERS_MAX]}
        return body | ({"text": text} if text else {})

    def _id_in(self, facts: Any, url: str) -> str:
        found = facts.get("id") if isinstance(facts, dict) else None
        if not isinstance(found, str) or not _ID.fullmatch(found):
            said = f"{url} answered no id, but: {str(facts)[:120]!r}"
            raise self._engine.http.masked(EngineError(self._engine.name, said, answered=200))
        return found


async def _parsed(data: bytes) -> Any:
    try:
        return await asyncio.to_thread(json.loads, data)
    except (ValueError, RecursionError):
        return None


def _sample_in(facts: Any) -> bytes:
    """The sound that an answer holds in base64, also as a data URL."""
    held = facts.get("sample_audio") if isinstance(facts, dict) else None
    if not isinstance(held, str):
        return b""
    try:
        return base64.b64decode(held.rpartition(",")[2] if held.startswith("data:") else held)
    except (binascii.Error, ValueError):
        return b""
