"""`/api/asr`: FunASR's WebSocket protocol over our own ears, so that its clients and LiveTalking's page are heard.

    text: configuration -> binary: sound -> text: {"is_speaking": false} -> and so on

After `runtime/docs/websocket_protocol.md` of modelscope/FunASR. In modes `2pass` and `online` turns are told apart as
in a conversation, so a page that asks at every `2pass-offline` is hands-free; in `offline` all that was sent is
recognised when the client has stopped. `hotwords`, `itn` and `chunk_size` are taken and change nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import logging
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import av
import av.error
import numpy as np
from aiohttp import web

from audiofile import decode, inspect
from errors import BadRequest, Busy, Unavailable, Unprocessable, VisageError
from media import Pcm
from server.ears import Ears
from server.endpoint import Call, Endpoint, Nothing
from server.funasrclient import Client

CLIENTS_MAX = 16  # at once; each may keep a recogniser busy
MESSAGE_BYTES_MAX = 1 << 20
IDLE_S = 600.0  # without a message: LiveTalking's page sends nothing while she speaks
COLLECTED_MIB_MAX = 20  # of one client, in mode offline: 10 minutes of bare samples
POLICY_VIOLATION = 1008  # RFC 6455, 7.4.1
REASON_BYTES_MAX = 123  # RFC 6455, 5.5

log = logging.getLogger(__name__)


async def asr(call: Call[Nothing]) -> web.StreamResponse:
    """Hear a client until it leaves."""
    ears = call.services.ears
    reason = ears.why_not() if ears is not None else "see python app.py doctor"
    if ears is None or reason is not None:
        raise Unavailable(f"this server has no speech recognition: {reason} / 未启用语音识别")
    socket = web.WebSocketResponse(protocols=("binary",), max_msg_size=MESSAGE_BYTES_MAX)
    if not socket.can_prepare(call.request):
        raise BadRequest("this is a WebSocket: connect with ws:// or wss://")
    if ears.clients >= CLIENTS_MAX:
        raise Busy(f"{CLIENTS_MAX} clients are being heard at this moment: try again when one has left")
    ears.clients += 1
    try:
        await socket.prepare(call.request)
        async with _client(call, ears, socket) as client:
            await _serve(socket, client)
    finally:
        ears.clients -= 1
    return socket


@contextlib.asynccontextmanager
async def _client(call: Call[Nothing], ears: Ears, socket: web.WebSocketResponse) -> AsyncIterator[Client]:
    settings = call.services.settings

    async def decode_file(data: bytes) -> Pcm:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(call.services.decoders, _read, data, settings.max_audio_s)

    bytes_max = min(settings.max_upload_mb, COLLECTED_MIB_MAX) << 20
    client = Client(ears, decode_file, bytes_max, settings.max_audio_s)
    sending = asyncio.create_task(_send(socket, client), name="asr answers")
    try:
        yield client
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        await client.aclose()


def _read(data: bytes, seconds_max: float) -> Pcm:
    """An uploaded file's sound; blocking."""
    inspect(io.BytesIO(data), seconds_max)
    try:
        return np.concatenate(list(decode(io.BytesIO(data), seconds_max)))
    except av.error.FFmpegError as error:
        raise Unprocessable(f"the file cannot be decoded: {error}") from error


async def _send(socket: web.WebSocketResponse, client: Client) -> None:
    while True:
        await socket.send_str(json.dumps(await client.answers.get(), ensure_ascii=False))


async def _serve(socket: web.WebSocketResponse, client: Client) -> None:
    try:
        while True:
            message = await socket.receive(timeout=IDLE_S)
            if message.type is aiohttp.WSMsgType.TEXT:
                await client.configure(message.data)
            elif message.type is aiohttp.WSMsgType.BINARY:
                await client.hear(message.data)
            else:
                return
    except TimeoutError:
        await _close(socket, f"nothing came for {IDLE_S:.0f} s")
    except VisageError as error:
        await _close(socket, str(error))


async def _close(socket: web.WebSocketResponse, reason: str) -> None:
    message = reason.encode()[:REASON_BYTES_MAX].decode(errors="ignore").encode()  # no half character
    await socket.close(code=POLICY_VIOLATION, message=message)


ENDPOINTS: tuple[Endpoint[Any], ...] = (
    Endpoint(
        "GET", "/api/asr", asr,
        "WebSocket with FunASR's protocol: s16le sound in, {mode, text, wav_name, is_final} out; hands-free in mode "
        "2pass. Not a WebSocket: 400.",
        "FunASR 协议的 WebSocket：输入 s16le 音频，返回 {mode, text, wav_name, is_final}；2pass 模式下可免手动对话。",
        "speech", Nothing, statuses=(400, 429, 503), key_in_query=True,
    ),
)  # fmt: skip
