"""Scripted servers that speak over WebSockets."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gzip
import json
import struct
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from aiohttp import WSMsgType, web

from tests.conformance.script import Reset, Script

Talk = Callable[[web.Request, web.WebSocketResponse], Awaitable[None]]


def socket(path: str, script: Script, talk: Talk, *, header: str = "Authorization", key: str = "") -> web.RouteDef:
    """A route whose handshake is refused as the script says, and whose key is checked."""

    async def handler(request: web.Request) -> web.StreamResponse:
        if script.status:
            headers = {"Retry-After": script.retry_after} if script.retry_after else {}
            return web.Response(status=script.status, headers=headers)
        assert not key or request.headers[header] == key
        ws = web.WebSocketResponse(timeout=0.1)
        await ws.prepare(request)
        with contextlib.suppress(ConnectionError):
            await talk(request, ws)
        return ws

    return web.get(path, handler)


async def answer_while_heard(ws: web.WebSocketResponse, script: Script, work: Coroutine[Any, Any, None]) -> None:
    """Do `work`, and stop it when the client hangs up."""

    async def listen() -> None:
        async for _ in ws:
            pass

    working, listening = asyncio.create_task(work), asyncio.create_task(listen())
    try:
        await asyncio.wait({working, listening}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        if not working.done():
            script.gone.set()
        for task in (working, listening):
            task.cancel()
        result, _ = await asyncio.gather(working, listening, return_exceptions=True)
    if isinstance(result, Reset):
        abort(ws)
    elif isinstance(result, Exception) and not isinstance(result, ConnectionError):
        raise result


def abort(ws: web.WebSocketResponse) -> None:
    """Cut the connection."""
    if ws._req is not None and ws._req.transport is not None:
        ws._req.transport.abort()


async def received(ws: web.WebSocketResponse) -> Any:
    """The next message: an object, bytes, or None at the end."""
    message = await ws.receive()
    if message.type == WSMsgType.TEXT:
        return json.loads(message.data)
    return message.data if message.type == WSMsgType.BINARY else None


def doubao(script: Script) -> list[web.RouteDef]:
    def frame(kind: int, flags: int, number: int, payload: bytes, packing: int = 0) -> bytes:
        return bytes((0x11, kind << 4 | flags, packing, 0)) + struct.pack(">iI", number, len(payload)) + payload

    async def talk(request: web.Request, ws: web.WebSocketResponse) -> None:
        message = await received(ws)
        if message is None:
            return
        assert message[:4] == bytes((0x11, 0x10, 0x11, 0)) and struct.unpack(">I", message[4:8])[0] == len(message) - 8
        facts = json.loads(gzip.decompress(message[8:]))
        assert len(facts["request"]["text"].encode()) <= 1024
        script.asked.append({**facts["audio"], **facts["app"], "text": facts["request"]["text"]})

        async def answer() -> None:
            if script.error_as_answer:
                said = gzip.compress(json.dumps({"reqid": "1", "code": 3001, "message": "it went wrong"}).encode())
                await ws.send_bytes(bytes((0x11, 0xF0, 0x11, 0)) + struct.pack(">II", 3001, len(said)) + said)
                return
            await ws.send_bytes(bytes((0x11, 0xB0, 0, 0)) + struct.pack(">I", 0))
            number = 0
            async for piece in script.pieces():
                number += 1
                await ws.send_bytes(frame(0xB, 1, number, piece))
            await ws.send_bytes(frame(0xB, 3, -number - 1, b""))

        await answer_while_heard(ws, script, answer())

    return [socket("/api/v1/tts/ws_binary", script, talk, key="Bearer; key-that-nobody-may-read")]


def qwen(script: Script) -> list[web.RouteDef]:
    async def talk(request: web.Request, ws: web.WebSocketResponse) -> None:
        assert request.query["model"] == "qwen3-tts-flash-realtime"
        await ws.send_json({"type": "session.created", "session": {"id": "sess_1"}})
        session: dict[str, Any] = {}
        text = ""
        waiting: asyncio.Queue[Any] = asyncio.Queue()

        async def listen() -> None:
            while (said := await received(ws)) is not None:
                waiting.put_nowait(said)
            waiting.put_nowait(None)

        listening = asyncio.ensure_future(listen())
        answering: asyncio.Task[None] | None = None
        try:
            while (facts := await waiting.get()) is not None:
                if facts["type"] == "session.update":
                    session = facts["session"]
                    await ws.send_json({"type": "session.updated", "session": session})
                elif facts["type"] == "input_text_buffer.append":
                    text += facts["text"]
                elif facts["type"] == "input_text_buffer.commit":
                    script.asked.append({**session, "text": text})
                    text = ""
                    answering = asyncio.ensure_future(_qwen_answer(ws, script))
                    answering.add_done_callback(lambda task: abort(ws) if task.exception() else None)
        finally:
            listening.cancel()
            if answering is not None and not answering.done():
                script.gone.set()
                answering.cancel()
            await asyncio.gather(listening, *filter(None, [answering]), return_exceptions=True)

    return [socket("/api-ws/v1/realtime", script, talk, key="Bearer key-that-nobody-may-read")]


async def _qwen_answer(ws: web.WebSocketResponse, script: Script) -> None:
    if script.error_as_answer:
        await ws.send_json({"type": "error", "error": {"code": "invalid_value", "message": "it went wrong"}})
        return
    await ws.send_json({"type": "response.created", "response": {}})
    async for piece in script.pieces():
        await ws.send_json({"type": "response.audio.delta", "delta": base64.b64encode(piece).decode()})
    await ws.send_json({"type": "response.audio.done"})
    await ws.send_json({"type": "response.done", "response": {"status": "completed"}})


def stepfun(script: Script) -> list[web.RouteDef]:
    async def talk(request: web.Request, ws: web.WebSocketResponse) -> None:
        await ws.send_json({"type": "tts.connection.done", "data": {"session_id": "s1"}})
        created = await received(ws)
        if created is None:
            return
        assert created["type"] == "tts.create" and created["data"]["session_id"] == "s1"
        delta, done = await received(ws), await received(ws)
        assert delta["type"] == "tts.text.delta" and done["type"] == "tts.text.done"
        script.asked.append({**created["data"], "text": delta["data"]["text"]})

        async def answer() -> None:
            if script.error_as_answer:
                said = {"code": "400", "message": "it went wrong", "details": {}}
                await ws.send_json({"type": "tts.response.error", "data": said})
                return
            await ws.send_json({"type": "tts.response.created", "data": {}})
            async for piece in script.pieces():
                audio = {"status": "unfinished", "audio": base64.b64encode(piece).decode()}
                await ws.send_json({"type": "tts.response.audio.delta", "data": audio})
            whole = base64.b64encode(script.sound).decode()
            await ws.send_json({"type": "tts.response.audio.done", "data": {"audio": whole}})

        await answer_while_heard(ws, script, answer())

    return [socket("/realtime/audio", script, talk, key="Bearer key-that-nobody-may-read")]


def cartesia(script: Script) -> list[web.RouteDef]:
    """What LiveKit's Cartesia plugin speaks to: one connection, a context for every text."""

    async def answer(ws: web.WebSocketResponse, context: str, text: str) -> None:
        if script.error_as_answer:
            await ws.send_json({"type": "error", "context_id": context, "error": "it went wrong"})
            return
        words = text.split()
        starts = [number * 0.1 for number in range(len(words))]
        times = {"words": words, "start": starts, "end": [start + 0.1 for start in starts]}
        await ws.send_json({"type": "timestamps", "context_id": context, "word_timestamps": times})
        try:
            async for piece in script.pieces():
                await ws.send_json({"type": "chunk", "context_id": context, "data": base64.b64encode(piece).decode()})
        except Reset:
            abort(ws)
            return
        await ws.send_json({"type": "done", "context_id": context, "done": True})

    async def talk(request: web.Request, ws: web.WebSocketResponse) -> None:
        texts: dict[str, str] = {}
        answering: set[asyncio.Task[None]] = set()
        try:
            while (facts := await received(ws)) is not None:
                context = facts["context_id"]
                texts[context] = texts.get(context, "") + facts["transcript"]
                if not facts.get("continue", False):
                    text = texts.pop(context).strip()
                    script.asked.append({"text": text, "voice": facts["voice"], "language": facts["language"]})
                    answering.add(asyncio.create_task(answer(ws, context, text)))
        finally:
            for task in answering:
                task.cancel()
            await asyncio.gather(*answering, return_exceptions=True)

    return [socket("/tts/websocket", script, talk, header="X-API-Key", key="key-that-nobody-may-read")]
