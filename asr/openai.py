"""Any server with OpenAI's `POST /audio/transcriptions`: OpenAI, Groq, vLLM, Speaches, LocalAI, whisper.cpp."""

from __future__ import annotations

import asyncio
import io
import json
import math
import wave
from typing import Any

import aiohttp
import numpy as np
from aiohttp.http_exceptions import HttpProcessingError

from asr.base import Transcript
from asr.hallucinations import Evidence, is_quiet, why_doubted
from asr.simplified import simplified
from errors import EngineError
from media import SAMPLE_RATE_HZ, Pcm
from text.clauses import language_of

CONNECT_TIMEOUT_S = 3.0
ANSWER_TIMEOUT_S = 6.0
"""To the last byte. A hosted server takes half a second for a sentence; behind it waits the next engine."""
ANSWER_BYTES_MAX = 1 << 20
RETRYABLE_STATUSES = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
_LANGUAGES = {"english": "en", "chinese": "zh", "mandarin": "zh", "cantonese": "zh", "japanese": "ja", "korean": "ko"}


class OpenAiRecogniser:
    """One server and model.

    Args:
        base_url: up to and with `/v1`.
        model: e.g. `whisper-1`, `gpt-4o-transcribe`, `Systran/faster-whisper-large-v3`.
        api_key: sent as a bearer token; empty for servers that want none.
        takes_partials: whether utterances that go on are sent too, about one request a second.
    """

    name = "openai"

    def __init__(
        self, base_url: str, model: str = "whisper-1", api_key: str = "", *, takes_partials: bool = False
    ) -> None:
        self.takes_partials = takes_partials
        self._url = f"{base_url.rstrip('/')}/audio/transcriptions"
        self._model = model
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._session: aiohttp.ClientSession | None = None

    def why_not(self) -> str | None:
        """Always None: only asking tells."""
        return None

    async def warm_up(self) -> None:
        """Nothing: a request would cost money."""

    async def transcribe(self, pcm: Pcm, *, language: str | None = None, final: bool = True) -> Transcript:
        """The server's transcript at temperature 0; empty where it says itself that it is no speech."""
        seconds = pcm.size / SAMPLE_RATE_HZ
        if is_quiet(pcm):
            return Transcript("", language or "en", 0.0, 1.0, seconds)
        answer = await self._ask(wav_bytes(pcm), language)
        text = answer.get("text")
        if not isinstance(text, str):
            raise EngineError(self.name, f"{self._url} answered without a text: {str(answer)[:200]}")
        told = str(answer.get("language") or language or "").lower()
        tag = _LANGUAGES.get(told, told.split("-")[0]) if told else language_of(text)
        evidence = _evidence(answer.get("segments"))
        plain = simplified(text.strip()) if tag == "zh" else text.strip()
        found = Transcript(plain, tag, math.exp(min(0.0, evidence.logprob)), evidence.no_speech, seconds)
        return found.without_text() if why_doubted(plain, evidence) else found

    async def aclose(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    async def _ask(self, sound: bytes, language: str | None) -> dict[str, Any]:
        # Only Whisper's own family knows verbose_json, which tells how sure it is.
        verbose = "whisper" in self._model.lower()
        fields = {"model": self._model, "response_format": "verbose_json" if verbose else "json", "temperature": "0"}
        if language:
            fields["language"] = language
        form = aiohttp.FormData(fields)
        form.add_field("file", sound, filename="utterance.wav", content_type="audio/wav")
        timeout = aiohttp.ClientTimeout(total=ANSWER_TIMEOUT_S, sock_connect=CONNECT_TIMEOUT_S)
        try:
            async with self._client().post(self._url, data=form, headers=self._headers, timeout=timeout) as response:
                data = await _read(response)
        except TimeoutError as error:
            raise EngineError(self.name, f"{self._url} did not answer in time") from error
        except (aiohttp.ClientError, HttpProcessingError, OSError) as error:
            raise EngineError(self.name, f"{self._url}: {error or type(error).__name__}") from error
        if response.status != 200:
            detail = " ".join(data.decode("utf-8", "replace").split())[:200]
            refused = f"{self._url} answered {response.status}: {detail}"
            raise EngineError(self.name, refused, retryable=response.status in RETRYABLE_STATUSES)
        return _parsed(self.name, self._url, data)

    def _client(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession()
        return self._session


def wav_bytes(pcm: Pcm, rate_hz: int = SAMPLE_RATE_HZ) -> bytes:
    """A WAV file, mono 16 bit."""
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(rate_hz)
        out.writeframes(pcm16_bytes(pcm))
    return file.getvalue()


def pcm16_bytes(pcm: Pcm) -> bytes:
    """The samples as 16 bit, little-endian; what is beyond full scale is clipped."""
    return (np.clip(np.nan_to_num(pcm), -1.0, 1.0) * 32767.0).round().astype("<i2").tobytes()


async def _read(response: aiohttp.ClientResponse) -> bytes:
    data = bytearray()
    async for chunk in response.content.iter_any():
        data += chunk
        if len(data) > ANSWER_BYTES_MAX:
            raise aiohttp.ClientPayloadError(f"the answer is longer than {ANSWER_BYTES_MAX} bytes")
        await asyncio.sleep(0)
    return bytes(data)


def _parsed(name: str, url: str, data: bytes) -> dict[str, Any]:
    """The JSON object of an answer."""
    try:
        answer = json.loads(data)
    except ValueError as error:
        raise EngineError(name, f"{url} answered what is no JSON: {data[:80]!r}") from error
    if not isinstance(answer, dict):
        raise EngineError(name, f"{url} answered a {type(answer).__name__}, but must answer an object")
    return answer


def _evidence(segments: Any) -> Evidence:
    """Over all segments by their length in time; nothing where a server tells nothing."""
    told: list[tuple[float, float, float]] = []
    for one in segments if isinstance(segments, list) else []:
        try:
            length = max(0.01, float(one["end"]) - float(one["start"]))
            told.append((length, float(one["no_speech_prob"]), float(one["avg_logprob"])))
        except (KeyError, TypeError, ValueError):
            continue
    if not told:
        return Evidence()
    lengths, no_speech, logprob = zip(*told, strict=True)
    return Evidence(float(np.average(no_speech, weights=lengths)), float(np.average(logprob, weights=lengths)))
