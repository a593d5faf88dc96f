"""Scripted gRPC servers: CosyVoice's own, and Triton with Spark-TTS."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator, Callable
from typing import Any

import numpy as np

from tests.conformance.script import Reset, Script
from tts.wire import protobuf

OVERLAP = 1_600
"""Samples that a chunk of Spark-TTS repeats: 0.1 s."""


@contextlib.asynccontextmanager
async def serving(service: str, method: str, handler: Any, *, duplex: bool) -> AsyncIterator[str]:
    """The address of a server with one streaming method whose messages are bytes."""
    import grpc

    make = grpc.stream_stream_rpc_method_handler if duplex else grpc.unary_stream_rpc_method_handler
    server = grpc.aio.server()
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(service, {method: make(handler)})])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"grpc://127.0.0.1:{port}"
    finally:
        await server.stop(None)


def _codes() -> dict[int, Any]:
    import grpc

    code = grpc.StatusCode
    return {400: code.INVALID_ARGUMENT, 401: code.UNAUTHENTICATED, 429: code.RESOURCE_EXHAUSTED, 500: code.INTERNAL}


async def _told(script: Script, context: Any, write: Callable[[bytes], bytes]) -> AsyncIterator[bytes]:
    """The sound as messages, or as the script misbehaves."""
    import grpc

    if script.status:
        await context.abort(_codes()[script.status], "no such thing")
    if script.error_as_answer:
        await context.abort(grpc.StatusCode.UNKNOWN, "Exception calling application: it went wrong")
    try:
        async for piece in script.pieces():
            yield write(piece)
    except Reset:
        await context.abort(grpc.StatusCode.UNAVAILABLE, "the server went away")
    except asyncio.CancelledError:
        script.gone.set()
        raise


def cosyvoice(script: Script) -> Any:
    """`cosyvoice.CosyVoice/Inference`."""

    async def inference(request: bytes, context: Any) -> AsyncIterator[bytes]:
        [(mode, [inner])] = protobuf.fields(request).items()
        assert isinstance(inner, bytes)
        told = {number: values[0] for number, values in protobuf.fields(inner).items()}
        text = told[2 if mode == 1 else 1]
        assert isinstance(text, bytes)
        script.asked.append({"text": text.decode(), "mode": mode, "fields": told})
        async for message in _told(script, context, lambda piece: protobuf.message({1: piece})):
            yield message

    return serving("cosyvoice.CosyVoice", "Inference", inference, duplex=False)


def spark(script: Script) -> Any:
    """`inference.GRPCInferenceService/ModelStreamInfer`: chunks overlap, and a last empty response ends them."""

    def response(pcm: Any, final: bool) -> bytes:
        parameter = protobuf.message({1: "triton_final_response", 2: protobuf.message({1: int(final)})})
        raw = np.asarray(pcm, "<f4").tobytes()
        return protobuf.message({2: protobuf.message({1: "spark_tts", 4: [parameter], 6: [raw] if raw else []})})

    async def infer(requests: Any, context: Any) -> AsyncIterator[bytes]:
        request = protobuf.fields(await anext(aiter(requests)))
        raw = [value for value in request[7] if isinstance(value, bytes)]
        (length,) = struct.unpack("<i", raw[1])
        assert len(raw[0]) == length * 4
        reference, text = (data[4:].decode() for data in raw[2:4])
        names = [protobuf.fields(tensor)[1][0] for tensor in request[5] if isinstance(tensor, bytes)]
        assert names == [b"reference_wav", b"reference_wav_len", b"reference_text", b"target_text"]
        script.asked.append({"text": text, "prompt_text": reference, "model": request[1][0]})
        if script.error_as_answer:
            yield protobuf.message({1: "in ensemble 'spark_tts', it went wrong"})
            return
        held = b""
        before: Any = np.zeros(0, np.float32)

        def write(piece: bytes) -> bytes:
            nonlocal held, before
            held += piece
            whole, held = held[: len(held) // 2 * 2], held[len(held) // 2 * 2 :]
            pcm = np.frombuffer(whole, "<i2").astype(np.float32) / 32768
            chunk = np.concatenate((before[-OVERLAP:], pcm))
            before = np.concatenate((before, pcm))[-OVERLAP:]
            return response(chunk, final=False)

        async for message in _told(script, context, write):
            yield message
        yield response((), final=True)

    return serving("inference.GRPCInferenceService", "ModelStreamInfer", infer, duplex=True)
