"""A speaker model behind HTTP: the document's `EMBEDDING_SERVICE_URL`.

The service is sent `POST URL` with `{"audio": <base64 of a WAV file, mono, 16 kHz, 16 bit>, "sample_rate": 16000}` and
answers `{"embedding": [numbers]}`, optionally with `"model_version"`.
"""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import numpy as np

from asr.openai import wav_bytes
from errors import EngineError
from media import SAMPLE_RATE_HZ, Pcm
from tts.wire.http import HttpVoice
from voices.speakers.base import ModelId, Vector

NAME = "http"
DIMENSION = 256
VERSION = "1"
SAME_SPEAKER = 0.5


class SpeakerService:
    """One service.

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
        self._http = HttpVoice(NAME)

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
        body = await asyncio.to_thread(_body, pcm)
        return self._vector(await self._http.json("POST", self._url, json=body))

    async def aclose(self) -> None:
        """Close its connections."""
        await self._http.aclose()

    def _vector(self, facts: Any) -> Vector:
        """Of an answer."""
        try:
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


def _body(pcm: Pcm) -> dict[str, Any]:
    """What the service is sent."""
    return {"audio": base64.b64encode(wav_bytes(pcm)).decode("ascii"), "sample_rate": SAMPLE_RATE_HZ}
