"""A scripted OpenAI-compatible server."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer

from llm import LanguageModel

Step = str | bytes | asyncio.Event | Callable[[web.Request], None]
"""A text delta, raw bytes, something to wait for, or something to do to the connection."""


def delta(text: str) -> bytes:
    """One streamed chunk."""
    return f"data: {json.dumps({'choices': [{'delta': {'content': text}}]})}\n\n".encode()


def tool_call(name: str, arguments: str, index: int = 0) -> list[bytes]:
    """The chunks of one call, its arguments in two pieces, as OpenAI's servers stream it."""
    half = len(arguments) // 2
    functions = [{"name": name, "arguments": ""}, {"arguments": arguments[:half]}, {"arguments": arguments[half:]}]
    calls: list[dict[str, Any]] = [{"index": index, "function": function} for function in functions]
    calls[0].update(id=f"call_{name}_{index}", type="function")
    return [f"data: {json.dumps({'choices': [{'delta': {'tool_calls': [call]}}]})}\n\n".encode() for call in calls]


class FakeLlm:
    """Answers each request by the next script; the last one is repeated."""

    def __init__(self, *scripts: list[Step] | int | Callable[[], web.StreamResponse]) -> None:
        self.scripts = list(scripts)
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.hung_up = asyncio.Event()
        """Set when a client ends a reply before its end."""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(await request.json())
        self.headers.append(dict(request.headers))
        script = self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0]
        if isinstance(script, int):
            return web.Response(status=script, text="scripted failure")
        if not isinstance(script, list):
            return script()
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        try:
            for step in script:
                if isinstance(step, asyncio.Event):
                    await step.wait()
                elif callable(step):
                    await asyncio.sleep(0.05)  # so that what was written is on its way
                    step(request)
                else:
                    await response.write(step if isinstance(step, bytes) else delta(step))
        except (asyncio.CancelledError, ConnectionError):
            self.hung_up.set()
            raise
        return response


@contextlib.asynccontextmanager
async def talking(fake: FakeLlm, **options: Any) -> AsyncIterator[LanguageModel]:
    """A language model that asks `fake`."""
    app = web.Application()
    app.router.add_post("/v1/chat/completions", fake.answer)
    server = TestServer(app)
    await server.start_server()
    model = LanguageModel(str(server.make_url("/v1/")), "scripted", retry_delays_s=(0.0,), **options)
    try:
        yield model
    finally:
        await model.aclose()
        await server.close()
