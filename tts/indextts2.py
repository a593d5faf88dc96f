"""indextts2: IndexTTS 2 behind its own web page (Gradio), or behind index-tts-vllm's server.

After index-tts/webui.py, Gradio's HTTP interface (`POST /call/NAME`, then server-sent events) and index-tts-vllm's
api_server_v2.py. Neither streams: a WAV file comes when the whole part is made. vLLM-Omni serves IndexTTS as `openai`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any, Literal

import aiohttp
from pydantic import Field

from errors import EngineError
from tts.base import Sound
from tts.wire import refusals
from tts.wire.engine import Asked, ServerEngine
from tts.wire.options import Common, ServerOptions
from tts.wire.recordings import KEPT_MAX, Recordings, content

GENERATE = "gen_single"
EVENT_BYTES_MAX = 65_536
BY_VECTOR = ("vector", "向量")
"""What the choice of emotions by numbers is called, in English and in Chinese."""
EMOTIONS = 8
"""Happy, angry, sad, afraid, disgusted, melancholic, surprised, calm; at most 0.8 in all."""


class IndexOptions(ServerOptions):
    """What can be configured; `ref_file` is a recording here, or with `vllm` one on the server's disk."""

    protocol: Literal["gradio", "vllm"] = "gradio"
    emotions: tuple[float, ...] = Field(default=(), max_length=EMOTIONS)
    """How strong each of EMOTIONS is; empty: as in the recording."""
    segment_tokens: int = Field(default=120, ge=20, le=300)
    """Most tokens that are generated at once."""


class IndexVoice(ServerEngine):
    """One server."""

    name = "indextts2"
    Options = IndexOptions
    options: IndexOptions
    default_server = "http://127.0.0.1:7860"
    model_rate_hz = 22_050
    takes_speed = False
    spoken = ("zh", "en")

    def __init__(self, options: ServerOptions | None = None, common: Common | None = None) -> None:
        super().__init__(options, common)
        self._files = Recordings(self.name, content)
        self._gradio = Gradio(self)
        self._uploaded: dict[bytes, str] = {}
        """By recording: its path on the server."""

    @property
    def imitates(self) -> bool:
        """Always."""
        return True

    @property
    def reads_recordings(self) -> bool:
        """Unless the server takes the paths of its own only."""
        return self.options.protocol == "gradio"

    def say(self, asked: Asked) -> AsyncGenerator[Sound, None]:
        """The sound of the part, when it is made."""
        return self._say_vllm(asked) if self.options.protocol == "vllm" else self._say_gradio(asked)

    def _say_vllm(self, asked: Asked) -> AsyncGenerator[Sound, None]:
        assert asked.reference is not None
        body: dict[str, Any] = {
            "text": asked.text,
            "spk_audio_path": asked.reference.file,
            "emo_control_method": 2 if self.options.emotions else 0,
            "max_text_tokens_per_sentence": self.options.segment_tokens,
        }
        if self.options.emotions:
            body["emo_vec"] = self._emotions()
        return self.http.spoken("POST", f"{self.server}/tts_url", self.sample_rate_hz, asked.text, json=body)

    async def _say_gradio(self, asked: Asked) -> AsyncGenerator[Sound, None]:
        assert asked.reference is not None
        wav = await self._files.get(asked.reference.file)
        if wav not in self._uploaded:
            if len(self._uploaded) >= KEPT_MAX:
                self._uploaded.clear()
            self._uploaded[wav] = await self._gradio.upload(Path(asked.reference.file).name, wav)
        try:
            values = self._values(asked.text, self._uploaded[wav])
            if self.options.emotions:
                values["emo_control_method"] = await self._gradio.choice(GENERATE, "emo_control_method", BY_VECTOR)
            arguments = await self._gradio.arguments(GENERATE, values)
            made = await self._gradio.call(GENERATE, arguments)
        except EngineError:
            self._uploaded.clear()  # where the server was started again, its files are gone
            raise
        path = _path_in(made)
        if not path:
            raise EngineError(self.name, f"{self.server} answered without a file: {str(made)[:120]}")
        url = await self._gradio.url(f"file={path}")
        async with contextlib.aclosing(self.http.spoken("GET", url, self.sample_rate_hz, asked.text)) as sounds:
            async for sound in sounds:
                yield sound

    def _values(self, text: str, recording: str) -> dict[str, Any]:
        """What differs from the page's own defaults, by the name of its argument."""
        values: dict[str, Any] = {
            "prompt": {"path": recording, "meta": {"_type": "gradio.FileData"}},
            "text": text,
            "max_text_tokens_per_segment": self.options.segment_tokens,
        }
        if self.options.emotions:
            values |= {f"vec{number}": value for number, value in enumerate(self._emotions(), 1)}
        return values

    def _emotions(self) -> list[float]:
        return [*self.options.emotions, *[0.0] * (EMOTIONS - len(self.options.emotions))]


class Gradio:
    """A page's functions, by Gradio's HTTP interface of version 4, 5 and newer."""

    def __init__(self, engine: ServerEngine) -> None:
        self._engine = engine
        self._prefix: str | None = None
        self._parameters: dict[str, list[dict[str, Any]]] = {}

    async def url(self, path: str) -> str:
        """The address of one of its interfaces; version 5 has them below a prefix."""
        if self._prefix is None:
            await self._learn()
        return f"{self._engine.server}{self._prefix}/{path}"

    async def _learn(self) -> None:
        """Ask which functions there are and what they take."""
        problem: EngineError | None = None
        for prefix in ("/gradio_api", ""):
            try:
                facts = await self._engine.http.json("GET", f"{self._engine.server}{prefix}/info")
            except EngineError as error:
                problem = error
                if " answered 404" not in str(error):
                    raise
                continue
            named = facts.get("named_endpoints", {}) if isinstance(facts, dict) else {}
            self._parameters = {name.strip("/"): entry.get("parameters", []) for name, entry in named.items()}
            self._prefix = prefix
            return
        raise problem or EngineError(self._engine.name, f"{self._engine.server} is no Gradio page")

    async def arguments(self, name: str, values: dict[str, Any]) -> list[Any]:
        """The arguments of a function in their order: those given, and the page's own for the rest."""
        await self.url("")
        if name not in self._parameters:
            raise EngineError(self._engine.name, f"{self._engine.server} has no function {name}")
        return [
            values.get(str(one.get("parameter_name")), one.get("parameter_default")) for one in self._parameters[name]
        ]

    async def choice(self, name: str, parameter: str, words: tuple[str, ...]) -> str | None:
        """The choice for a parameter that has one of these words in it; None where there is none."""
        await self.url("")
        for one in self._parameters.get(name, []):
            if one.get("parameter_name") == parameter:
                choices = one.get("type", {}).get("enum", [])
                return next((choice for choice in choices if any(word in str(choice) for word in words)), None)
        return None

    async def upload(self, name: str, data: bytes) -> str:
        """Send a file; its path there."""

        def form() -> aiohttp.FormData:
            made = aiohttp.FormData()
            made.add_field("files", data, filename=name, content_type="application/octet-stream")
            return made

        paths = await self._engine.http.json("POST", await self.url("upload"), form=form)
        if not isinstance(paths, list) or not paths or not isinstance(paths[0], str):
            raise EngineError(self._engine.name, f"{self._engine.server} took no recording: {str(paths)[:120]}")
        return paths[0]

    async def call(self, name: str, arguments: list[Any]) -> Any:
        """What a function returns, when it has."""
        url = await self.url(f"call/{name}")
        facts = await self._engine.http.json("POST", url, json={"data": arguments})
        event = facts.get("event_id") if isinstance(facts, dict) else None
        if not isinstance(event, str):
            raise EngineError(self._engine.name, f"{url} gave no event_id: {str(facts)[:120]}")
        async with self._engine.http.asked("GET", f"{url}/{event}") as response:
            kind = ""
            async for line in _lines(response):
                field, _, value = line.partition(":")
                if field == "event":
                    kind = value.strip()
                elif field == "data" and kind == "complete":
                    return json.loads(value)
                elif field == "data" and kind == "error":
                    said = refusals.reason(value.strip()) or "no reason given"
                    raise EngineError(self._engine.name, f"{url} failed: {said}")
        raise EngineError(self._engine.name, f"{url} ended without a result")


async def _lines(response: aiohttp.ClientResponse) -> AsyncGenerator[str, None]:
    held = b""
    async for data in response.content.iter_any():
        *whole, held = (held + data).split(b"\n")
        for line in whole:
            yield line.decode("utf-8", "replace").rstrip("\r")
        if len(held) > EVENT_BYTES_MAX:
            raise aiohttp.ClientPayloadError(f"an event longer than {EVENT_BYTES_MAX} bytes")
        await asyncio.sleep(0)


def _path_in(made: Any) -> str:
    """The file in what a function returned, bare or as an update of the page."""
    if isinstance(made, list):
        return _path_in(made[0]) if made else ""
    if isinstance(made, dict):
        return _path_in(made["value"]) if "value" in made else str(made.get("path") or "")
    return made if isinstance(made, str) else ""
