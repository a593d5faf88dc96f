"""`Channel`: streamed gRPC calls whose messages are bytes; needs the package grpcio (`pip install 'visage[grpc]'`)."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import AsyncGenerator
from typing import Any
from urllib.parse import urlsplit

from errors import EngineError
from tts.breaker import BACKOFF_MAX_S
from tts.wire.engine import Lack

MESSAGE_BYTES_MAX = 1 << 26
COMMAND = "pip install grpcio"
_THIS_REQUEST = ("INVALID_ARGUMENT", "OUT_OF_RANGE", "FAILED_PRECONDITION")
_NOT_ALLOWED = ("UNAUTHENTICATED", "PERMISSION_DENIED")


@functools.cache
def lack() -> Lack | None:
    """None where grpcio is installed."""
    if importlib.util.find_spec("grpc") is not None:
        return None
    return Lack("the package grpcio is not installed", "未安装 grpcio 软件包", COMMAND)


class Channel:
    """One server; connected by the first call.

    Args:
        engine: its name, for its errors.
        address: `http://host:port` or `grpc://host:port`; with `https` it is encrypted.
    """

    def __init__(self, engine: str, address: str) -> None:
        self._engine = engine
        self._address = address
        self._channel: Any = None

    async def stream(self, method: str, request: bytes, *, duplex: bool = False) -> AsyncGenerator[bytes, None]:
        """The messages that answer one request; closing the iterator cancels the call.

        Args:
            method: `/package.Service/Method`.
            duplex: whether the method takes a stream of requests, which is then ended after this one.

        Raises:
            EngineError: the server cannot be reached, refuses, or breaks off.
        """
        import grpc  # a tenth of a second, which only those pay who name an engine that needs it

        if self._channel is None:
            self._channel = self._open()
        call = self._channel.stream_stream(method) if duplex else self._channel.unary_stream(method)
        stream: Any = call(iter([request]) if duplex else request)
        try:
            async for answer in stream:
                yield answer
        except grpc.aio.AioRpcError as error:
            raise self._refusal(error.code().name, error.details() or "") from error
        finally:
            stream.cancel()

    async def aclose(self) -> None:
        """Hang up."""
        if self._channel is not None:
            await self._channel.close(None)

    def _open(self) -> Any:
        import grpc

        parts = urlsplit(self._address)
        limits = [(f"grpc.max_{way}_message_length", MESSAGE_BYTES_MAX) for way in ("receive", "send")]
        if parts.scheme in ("https", "grpcs"):
            return grpc.aio.secure_channel(parts.netloc, grpc.ssl_channel_credentials(), options=limits)
        return grpc.aio.insecure_channel(parts.netloc, options=limits)

    def _refusal(self, code: str, details: str) -> EngineError:
        said = f"{self._address} answered {code}: {' '.join(details.split())[:200]}"
        if code in _NOT_ALLOWED:
            return EngineError(self._engine, said, retry_after_s=BACKOFF_MAX_S)
        return EngineError(self._engine, said, retry_after_s=0.0 if code in _THIS_REQUEST else None)
