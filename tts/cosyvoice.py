"""cosyvoice: CosyVoice 1 to 3 behind the FastAPI server of its repository; `cosyvoice-grpc`, its gRPC server.

After runtime/python of FunAudioLLM/CosyVoice. Samples come bare; v1 has 22.05 kHz, v2 and v3 have 24.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Literal

import aiohttp
import numpy as np
from pydantic import Field

from tts.base import Sound
from tts.wire import calls, protobuf
from tts.wire.audio import AudioStream
from tts.wire.engine import Asked, Lack, ServerEngine
from tts.wire.http import most_bytes
from tts.wire.options import Common, ServerOptions
from tts.wire.recordings import Recordings, content, samples

Mode = Literal["", "sft", "zero_shot", "cross_lingual", "instruct", "instruct2"]
SPEAKS_WITH_NAMES = ("sft", "instruct")
END_OF_PROMPT = "<|endofprompt|>"
PROMPT_OF_V3 = f"You are a helpful assistant.{END_OF_PROMPT}"
"""CosyVoice 3 was trained with it before the prompt, or before the text where there is none."""


class CosyOptions(ServerOptions):
    """What can be configured; `ref_file` is a recording here, or the name of a speaker for `sft` and `instruct`."""

    mode: Mode = ""
    """Empty: `zero_shot` where the recording's text is known, else `cross_lingual`."""
    version: int = Field(default=2, ge=1, le=3)
    """Of the model."""
    instruct: str = ""
    """How to speak, for `instruct` and `instruct2`."""


class CosyVoice(ServerEngine):
    """One server."""

    name = "cosyvoice"
    Options = CosyOptions
    options: CosyOptions
    default_server = "http://127.0.0.1:50000"
    default_voice = "中文女"
    """Of CosyVoice-300M-SFT, where it speaks with names."""
    takes_speed = False
    spoken = ("zh", "en", "ja", "ko")

    def __init__(self, options: ServerOptions | None = None, common: Common | None = None) -> None:
        super().__init__(options, common)
        if not self.options.rate and self.options.version == 1:
            self.sample_rate_hz = 22_050
        self._files = Recordings(self.name, content)

    @property
    def imitates(self) -> bool:
        """Unless it speaks with the names of the model's own speakers."""
        return self.options.mode not in SPEAKS_WITH_NAMES

    async def say(self, asked: Asked) -> AsyncGenerator[Sound, None]:
        """The sound, a piece of 60 to 80 characters at a time."""
        mode = self.mode(asked)
        url = f"{self.server}/inference_{mode}"
        wav = await self._files.get(asked.reference.file) if asked.reference else None
        fields = self.fields(mode, asked)

        def form() -> aiohttp.FormData:
            made = aiohttp.FormData(fields)
            if wav is not None and mode not in SPEAKS_WITH_NAMES:
                made.add_field("prompt_wav", wav, filename="prompt.wav", content_type="application/octet-stream")
            return made

        sounds = self.http.spoken("POST", url, self.sample_rate_hz, asked.text, form=form)
        async with contextlib.aclosing(sounds):
            async for sound in sounds:
                yield sound

    def mode(self, asked: Asked) -> str:
        """The configured one, or what the recording allows."""
        known = asked.reference is not None and bool(asked.reference.text)
        return self.options.mode or ("zero_shot" if known else "cross_lingual")

    def fields(self, mode: str, asked: Asked) -> dict[str, str]:
        """What the server is told in that mode, but for the recording."""
        third = self.options.version == 3
        text = asked.text
        if mode in SPEAKS_WITH_NAMES:
            told = {"tts_text": text, "spk_id": asked.voice}
            return {**told, "instruct_text": self.options.instruct} if mode == "instruct" else told
        if mode == "instruct2":
            instruct = self.options.instruct
            if third and END_OF_PROMPT not in instruct:
                instruct = f"You are a helpful assistant. {instruct}{END_OF_PROMPT}"
            return {"tts_text": text, "instruct_text": instruct}
        if mode == "cross_lingual":
            return {"tts_text": f"{PROMPT_OF_V3}{text}" if third else text}
        said = asked.reference.text if asked.reference else ""
        return {"tts_text": text, "prompt_text": f"{PROMPT_OF_V3}{said}" if third else said}


class CosyVoiceGrpc(CosyVoice):
    """The same by gRPC, service `cosyvoice.CosyVoice`; needs the package grpcio."""

    name = "cosyvoice-grpc"

    def __init__(self, options: ServerOptions | None = None, common: Common | None = None) -> None:
        super().__init__(options, common)
        self._channel = calls.Channel(self.name, self.server)
        self._prompts = Recordings(self.name, _prompt)

    def lack(self) -> Lack | None:
        """The package, or what else is missing; its proto knows no `instruct2`."""
        if self.options.mode == "instruct2":
            return Lack("its gRPC server has no instruct2", "其 gRPC 服务没有 instruct2", "--tts cosyvoice")
        return calls.lack() or super().lack()

    async def say(self, asked: Asked) -> AsyncGenerator[Sound, None]:
        """The sound, a piece at a time."""
        mode = self.mode(asked)
        prompt = await self._prompts.get(asked.reference.file) if asked.reference else b""
        stream = AudioStream(self.sample_rate_hz, bytes_max=most_bytes(asked.text))
        request = request_bytes(mode, self.fields(mode, asked), prompt)
        answers = self._channel.stream("/cosyvoice.CosyVoice/Inference", request)
        async with contextlib.aclosing(answers):
            async for answer in answers:
                for data in protobuf.fields(answer).get(1, []):
                    for pcm in stream.feed(data) if isinstance(data, bytes) else ():
                        yield Sound(pcm, rate_hz=stream.rate_hz)
        for pcm in stream.flush():
            yield Sound(pcm, rate_hz=stream.rate_hz)

    async def aclose(self) -> None:
        """Close the channel."""
        await self._channel.aclose()
        await super().aclose()


def _prompt(path: Path) -> bytes:
    """16-bit samples at 16 kHz."""
    return (np.clip(samples(path), -1, 1) * 32767).round().astype("<i2").tobytes()


def request_bytes(mode: str, fields: dict[str, str], prompt: bytes) -> bytes:
    """A `cosyvoice.Request`; the numbers are of runtime/python/grpc/cosyvoice.proto."""
    order: dict[str, tuple[int, tuple[str | bytes, ...]]] = {
        "sft": (1, (fields.get("spk_id", ""), fields["tts_text"])),
        "zero_shot": (2, (fields["tts_text"], fields.get("prompt_text", ""), prompt)),
        "cross_lingual": (3, (fields["tts_text"], prompt)),
        "instruct": (4, (fields["tts_text"], fields.get("spk_id", ""), fields.get("instruct_text", ""))),
    }
    number, values = order[mode]
    return protobuf.message({number: protobuf.message(dict(enumerate(values, 1)))})
