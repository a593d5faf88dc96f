"""A server that can go away and come back: another address of it, behind which a test pulls the plug."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator


class Plug:
    """Passes connections on to `host`:`port`, unless it is `gone`."""

    def __init__(self, host: str, port: int) -> None:
        self._there = host, port
        self._connected: set[asyncio.StreamWriter] = set()
        self._open = True
        self.port = 0
        """On 127.0.0.1."""

    @contextlib.contextmanager
    def gone(self) -> Iterator[None]:
        """While the block runs nobody answers, and whoever was connected is cut off."""
        self._open = False
        self._cut()
        yield
        self._open = True

    def _cut(self) -> None:
        for writer in self._connected:
            writer.transport.abort()
        self._connected.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self._open:
            return writer.close()
        there, back = await asyncio.open_connection(*self._there)
        self._connected.update((writer, back))
        await asyncio.gather(_pass_on(reader, back), _pass_on(there, writer), return_exceptions=True)


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while block := await reader.read(1 << 16):
            writer.write(block)
            await writer.drain()
    writer.close()


@contextlib.asynccontextmanager
async def plugged(host: str, port: int) -> AsyncIterator[Plug]:
    """A `Plug` for as long as the block runs."""
    plug = Plug(host, port)
    server = await asyncio.start_server(plug._serve, "127.0.0.1", 0)
    plug.port = server.sockets[0].getsockname()[1]
    try:
        yield plug
    finally:
        server.close()
        plug._cut()
        await server.wait_closed()


@contextlib.asynccontextmanager
async def away(url: str) -> AsyncIterator[tuple[str, Plug]]:
    """Another address of the same server, `scheme://…127.0.0.1:PORT…`, and its plug."""
    before, _, rest = url.partition("127.0.0.1:")
    port = "".join(sign for sign in rest[:5] if sign.isdecimal())
    async with plugged("127.0.0.1", int(port)) as plug:
        yield f"{before}127.0.0.1:{plug.port}{rest.removeprefix(port)}", plug
