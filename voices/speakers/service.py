"""A speaker model behind HTTP: the document's `EMBEDDING_SERVICE_URL`.

The service is sent `POST URL` with `{"audio": <base64 of a WAV file, mono, 16 kHz, 16 bit>, "sample_rate": 16000}` and
answers `{"embedding": [numbers]}`, optionally with `"model_version"`.
"""

from __future__ import annotations

import base64
import json
from typing import Any

import aiohttp
import numpy as np

from asr.openai import wav_bytes
from errors import EngineError
from media import SAMPLE_RATE_HZ, Pcm
from voices.speakers.base import ModelId, Vector

NAME = "http"
DIMENSION = 256
VERSION = "1"
SAME_SPEAKER = 0.5
TIMEOUT_S = 30.0
MOST_BYTES = 1 << 20
"""A longer answer is no vector."""


class SpeakerService:
    """One service; it is asked for one recording at a time and connection.

    Args:
        url: where it is posted to; from the configuration, never from a request.
        dimension: numbers in its vectors; another number is an error, since vectors of two models must not mix.
        version: of its model. A service that tells another is refused until the configuration follows.
        same_speaker: see `SpeakerModel`; it depends on the model behind the address.
    """

    comparable = True

    def __init__(
        self, url: str, dimension: int = DIMENSION, version: str = VERSION, same_speaker: float = SAME_SPEAKER
    ) -> None:
        self.id = ModelId(NAME, version, dimension)
        self.same_speaker = same_speaker
        self._url = url
        self._session: aiohttp.ClientSession | None = None

    def why_not(self) -> str | None:
        """None when an address is set; whether it answers shows when it is asked."""
        if self._url.startswith(("http://", "https://")):
            return None
        return f"{NAME}: EMBEDDING_SERVICE_URL is {self._url!r}, but must be an http:// or https:// address"

    async def embed(self, pcm: Pcm, seed: str = "") -> Vector:
        """The service's vector, brought to length 1; `seed` is not used.

        Raises:
            EngineError: it cannot be reached, answers no vector, or one of another model.
        """
        if reason := self.why_not():
            raise EngineError(NAME, reason.removeprefix(f"{NAME}: "), retryable=False)
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(TIMEOUT_S))
        body = {"audio": base64.b64encode(wav_bytes(pcm)).decode("ascii"), "sample_rate": SAMPLE_RATE_HZ}
        try:
            async with self._session.post(self._url, json=body) as answer:
                content = await answer.content.read(MOST_BYTES + 1)
                while not answer.content.at_eof() and len(content) <= MOST_BYTES:
                    content += await answer.content.read(MOST_BYTES + 1 - len(content))
                status = answer.status
        except (aiohttp.ClientError, TimeoutError) as error:
            raise EngineError(NAME, f"{self._url} cannot be asked: {error or type(error).__name__}") from error
        if status != 200:
            said = content[:200].decode("utf-8", "replace")
            raise EngineError(NAME, f"{self._url} answered {status}: {said}", retryable=status == 429 or status >= 500)
        return self._vector(content)

    async def aclose(self) -> None:
        """Close its connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _vector(self, content: bytes) -> Vector:
        """Of an answer's body."""
        try:
            facts: Any = json.loads(content) if len(content) <= MOST_BYTES else None
            vector = np.asarray(facts["embedding"], np.float32)
            version = str(facts.get("model_version", self.id.version))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise EngineError(NAME, f'{self._url} answered no {{"embedding": [numbers]}}', retryable=False) from error
        if version != self.id.version:
            message = f"its model is version {version!r}, but vectors here are of {self.id.version!r}"
            raise EngineError(NAME, message, retryable=False)
        if vector.shape != (self.id.dimension,):
            message = f"a vector of shape {vector.shape}, but EMBEDDING_DIMENSION is {self.id.dimension}"
            raise EngineError(NAME, message, retryable=False)
        length = float(np.linalg.norm(vector))
        if not np.isfinite(length) or length == 0:
            raise EngineError(NAME, "a vector that is zero or not finite", retryable=False)
        return np.asarray(vector / length, np.float32)
