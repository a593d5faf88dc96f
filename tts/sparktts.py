"""spark-tts: Spark-TTS behind Triton, and CosyVoice's Triton deployment, which speaks the same.

After runtime/triton_trtllm of SparkAudio/Spark-TTS and the KServe v2 protocol (`inference.GRPCInferenceService`). Each
chunk repeats the last 0.1 s of the one before, and one is faded into the other here. Needs the package grpcio.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import AsyncGenerator

import numpy as np
from pydantic import Field

from errors import EngineError
from media import SAMPLE_RATE_HZ, Pcm
from tts.base import Sound
from tts.wire import calls, protobuf
from tts.wire.engine import Asked, Lack, ServerEngine
from tts.wire.http import most_bytes
from tts.wire.options import Common, ServerOptions
from tts.wire.recordings import Recordings, samples

METHOD = "/inference.GRPCInferenceService/ModelStreamInfer"
_EMPTY: Pcm = np.zeros(0, np.float32)


class SparkOptions(ServerOptions):
    """What can be configured; `ref_file` is a recording here."""

    model: str = "spark_tts"
    """Its name in the model repository: `spark_tts`, `spark_tts_decoupled`, `cosyvoice2`."""
    overlap_s: float = Field(default=0.1, ge=0, le=1)
    """Of one chunk with the next; 0 where the server does not repeat any."""


class SparkVoice(ServerEngine):
    """One Triton server."""

    name = "spark-tts"
    Options = SparkOptions
    options: SparkOptions
    default_server = "grpc://127.0.0.1:8001"
    model_rate_hz = 16_000
    takes_speed = False
    spoken = ("zh", "en")

    def __init__(self, options: ServerOptions | None = None, common: Common | None = None) -> None:
        super().__init__(options, common)
        self._channel = calls.Channel(self.name, self.server)
        self._prompts = Recordings(self.name, samples)

    @property
    def imitates(self) -> bool:
        """Always."""
        return True

    def lack(self) -> Lack | None:
        """The package, or what else is missing."""
        return calls.lack() or super().lack()

    async def say(self, asked: Asked) -> AsyncGenerator[Sound, None]:
        """The sound, chunk by chunk, each faded into the next."""
        assert asked.reference is not None
        prompt = await self._prompts.get(asked.reference.file)
        request = request_bytes(self.options.model, prompt, asked.reference.text, asked.text)
        fade = CrossFade(round(self.options.overlap_s * self.sample_rate_hz))
        left = most_bytes(asked.text)
        answers = self._channel.stream(METHOD, request, duplex=True)
        async with contextlib.aclosing(answers):
            async for answer in answers:
                left -= len(answer)
                if left < 0:
                    raise EngineError(self.name, f"{self.server} sends more sound than the text can have")
                chunk, final = self._read(answer)
                if chunk.size and (pcm := fade.feed(chunk)).size:
                    yield Sound(pcm)
                if final:
                    break
        if (pcm := fade.flush()).size:
            yield Sound(pcm)

    def _read(self, answer: bytes) -> tuple[Pcm, bool]:
        """A response's samples and whether it says that it is the last.

        Raises:
            EngineError: it is an error, or damaged.
        """
        try:
            outer = protobuf.fields(answer)
            if message := b"".join(part for part in outer.get(1, []) if isinstance(part, bytes)):
                raise EngineError(self.name, f"{self.server}: {message.decode('utf-8', 'replace')[:200]}")
            inner = protobuf.fields(b"".join(part for part in outer.get(2, []) if isinstance(part, bytes)))
            raw = b"".join(part for part in inner.get(6, []) if isinstance(part, bytes))
            return np.frombuffer(raw, "<f4"), _is_final(inner)
        except ValueError as error:
            raise EngineError(self.name, f"{self.server} sent a damaged message: {error}") from error

    async def aclose(self) -> None:
        """Close the channel."""
        await self._channel.aclose()
        await super().aclose()


class CrossFade:
    """Joins chunks of which each repeats the end of the one before.

    Args:
        overlap: samples that are in both.
    """

    def __init__(self, overlap: int) -> None:
        self._rise = np.linspace(0, 1, overlap, dtype=np.float32)
        self._tail = _EMPTY

    def feed(self, chunk: Pcm) -> Pcm:
        """What is certain: all but the end, which the next chunk may repeat."""
        overlap = min(self._rise.size, self._tail.size, chunk.size)
        if overlap:
            rise = self._rise if overlap == self._rise.size else np.linspace(0, 1, overlap, dtype=np.float32)
            mixed = chunk[:overlap] * rise + self._tail[-overlap:] * (1 - rise)
            chunk = np.concatenate((self._tail[:-overlap], mixed, chunk[overlap:]))
        else:
            chunk = np.concatenate((self._tail, chunk))
        keep = min(self._rise.size, chunk.size)
        certain, self._tail = chunk[: chunk.size - keep], chunk[chunk.size - keep :]
        return certain

    def flush(self) -> Pcm:
        """The end of the last chunk."""
        rest, self._tail = self._tail, _EMPTY
        return rest


def request_bytes(model: str, prompt: Pcm, prompt_text: str, text: str) -> bytes:
    """A `ModelInferRequest`, its numbers as in KServe's grpc_predict_v2.proto.

    Args:
        prompt: the recording, 16 kHz.
        prompt_text: what is said in it.
    """
    inputs = (
        ("reference_wav", "FP32", (1, prompt.size), np.ascontiguousarray(prompt, "<f4").tobytes()),
        ("reference_wav_len", "INT32", (1, 1), struct.pack("<i", prompt.size)),
        ("reference_text", "BYTES", (1, 1), _string(prompt_text)),
        ("target_text", "BYTES", (1, 1), _string(text)),
    )
    assert prompt.size <= 30 * SAMPLE_RATE_HZ
    say_when_done = protobuf.message({1: "triton_enable_empty_final_response", 2: protobuf.message({1: 1})})
    tensors = [protobuf.message({1: name, 2: kind, 3: protobuf.packed(shape)}) for name, kind, shape, _ in inputs]
    return protobuf.message(
        {
            1: model,
            4: [say_when_done],
            5: tensors,
            6: [protobuf.message({1: "waveform"})],
            7: [raw for *_, raw in inputs],
        }
    )


def _string(text: str) -> bytes:
    """One element of a BYTES tensor."""
    data = text.encode()
    return struct.pack("<I", len(data)) + data


def _is_final(response: dict[int, list[int | bytes]]) -> bool:
    """Whether the parameter `triton_final_response` is true."""
    for entry in response.get(4, []):
        pair = protobuf.fields(entry) if isinstance(entry, bytes) else {}
        if pair.get(1) == [b"triton_final_response"]:
            return any(isinstance(value, bytes) and protobuf.fields(value).get(1) == [1] for value in pair.get(2, []))
    return False
