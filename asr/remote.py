"""`RemoteRecogniser`: a recogniser in a process of its own, beside the event loop and every session's packets."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any, cast

import numpy as np

from asr.base import RecognitionEngine, Transcript
from errors import EngineError
from media import Pcm
from tts import messages
from tts.remote import SpeechProcess


class RemoteRecogniser:
    """An engine in `process`; a process that ends is started again, and what was loaded is loaded there again.

    Args:
        process: where it works; shared with others.
        maker: `module:Class` of the engine. It is made here too, to know what it needs, so making it must be quick.
        options: keyword arguments of the class, JSON-ready.
    """

    def __init__(self, process: SpeechProcess, maker: str, options: Mapping[str, Any] | None = None) -> None:
        self._process = process
        self._engine = cast(RecognitionEngine, messages.engine(maker, options or {}))
        self._facts = {"maker": maker, "options": dict(options or {})}
        self.name = self._engine.name
        self.takes_partials = self._engine.takes_partials
        process.join(self.name)

    def why_not(self) -> str | None:
        """The engine's reason, or that its process is not there just now."""
        if reason := self._engine.why_not():
            return reason
        reason = self._process.why_not()
        return f"{self.name}: {reason}" if reason else None

    async def warm_up(self) -> None:
        """Load the engine, there."""
        async for _ in self._process.ask(self.name, {"do": "warm_up", **self._facts}):
            pass

    async def transcribe(self, pcm: Pcm, *, language: str | None = None, final: bool = True) -> Transcript:
        """As the engine does; cancelled, the request is cancelled there."""
        asked = {"do": "transcribe", **self._facts, "how": {"language": language, "final": final}}
        samples = np.ascontiguousarray(pcm, messages.SAMPLE).tobytes()
        async with contextlib.aclosing(self._process.ask(self.name, asked, samples)) as answers:
            async for facts, _ in answers:
                if facts["is"] == "transcript":
                    return Transcript(**facts["transcript"])
        raise EngineError(self.name, "its process answered without a transcript")

    async def aclose(self) -> None:
        """Leave the process, which ends with the last of its engines."""
        await self._process.leave(self.name)
        await self._engine.aclose()
