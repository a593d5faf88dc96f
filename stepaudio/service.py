"""`python app.py stepaudio serve`: Step-Audio on this machine behind HTTP, for `--tts stepaudio` and `--llm stepaudio`.

    GET  /voices                          names, as the publishers' tts_api_server.py lists them
    POST /tts            tts_text, speaker (Tingting)                                   -> WAV
    POST /clone          tts_text, prompt_text, prompt_wav, speaker_name                -> WAV
    POST /register_voice speaker_name, prompt_text, prompt_wav
    GET  /v1/models, POST /v1/chat/completions   as OpenAI has them, where the talking model is loaded; hears sound too
    GET  /                                a page to try all of it

Forms may be urlencoded or multipart. `speed_ratio`, `volumn_ratio` and `seed` go with /tts and /clone. Errors are
`{"detail": ...}`, in Chinese where `Accept-Language` asks for it. No path and no address is taken from a request, and
pages of other sites are refused.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import io
import json
import threading
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import soundfile
from aiohttp import web

from errors import BadRequest, TooLarge, Unauthorized, Unavailable, VisageError
from media import Pcm
from stepaudio.model import StepAudio
from stepaudio.speakers import Speaker
from stepaudio.tts import StepAudioTTS
from tts.worker import Worker

BODY_BYTES_MAX = 32 << 20
"""Ten minutes of 16 bits at 24 kHz."""
SERVED_NAME = "step-audio-chat"
PAGE = Path(__file__).with_name("page.html")
PIECES_MAX = 64

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Service:
    """The handlers. All models work in one thread, one request after the other.

    Args:
        tts: speaks.
        talking: answers; None: nobody does.
    """

    def __init__(self, tts: StepAudioTTS, talking: StepAudio | None = None) -> None:
        self._tts = tts
        self._talking = talking
        self._worker = Worker("stepaudio")

    def app(self) -> web.Application:
        """The application; closing it ends the thread."""
        app = web.Application(client_max_size=BODY_BYTES_MAX, middlewares=[told])
        app.add_routes([
            web.get("/", self.page), web.get("/voices", self.voices), web.post("/tts", self.speak),
            web.post("/clone", self.clone), web.post("/register_voice", self.register),
            web.get("/v1/models", self.models), web.post("/v1/chat/completions", self.chat),
        ])  # fmt: skip
        app.on_cleanup.append(self._close)
        return app

    async def page(self, request: web.Request) -> web.StreamResponse:
        """A page to try it."""
        return web.Response(text=PAGE.read_text("utf-8"), content_type="text/html")

    async def voices(self, request: web.Request) -> web.StreamResponse:
        """The names of all voices, and of how they sing."""
        return web.json_response(list(self._tts.speakers.all_names))

    async def speak(self, request: web.Request) -> web.StreamResponse:
        """A text in a built-in or registered voice."""
        form = await _form(request)
        text, options = _text(form, "tts_text"), _options(form)
        speaker = _text(form, "speaker", "Tingting")
        return _wav(*await self._made(lambda stopped: self._tts(text, speaker, stopped=stopped, **options)))

    async def clone(self, request: web.Request) -> web.StreamResponse:
        """A text in the voice of a recording that is forgotten after it."""
        form = await _form(request)
        text, options = _text(form, "tts_text"), _options(form)
        like = {"wav_path": io.BytesIO(_file(form)), "prompt_text": _text(form, "prompt_text")}
        return _wav(*await self._made(lambda stopped: self._tts(text, "", like, stopped=stopped, **options)))

    async def register(self, request: web.Request) -> web.StreamResponse:
        """A voice for the time until the service ends."""
        form = await _form(request)
        speaker = Speaker(_text(form, "speaker_name"), _text(form, "prompt_text"), _file(form))
        await self._worker.run(lambda: self._tts.take_in(speaker))
        said = f"Successfully registered voice: {speaker.name}"
        return web.json_response({"status": "success", "message": said, "speaker_name": speaker.name})

    async def models(self, request: web.Request) -> web.StreamResponse:
        """The talking model, where it is loaded."""
        found = [{"id": SERVED_NAME, "object": "model", "owned_by": "stepfun-ai"}] if self._talking else []
        return web.json_response({"object": "list", "data": found})

    async def chat(self, request: web.Request) -> web.StreamResponse:
        """A written answer, streamed where that is asked for."""
        if self._talking is None:
            raise Unavailable(
                "the talking model is not loaded: serve with --chat", zh="未加载对话模型：请加 --chat 启动"
            )
        asked = await _json(request)
        messages = heard_messages(asked.get("messages"))
        seed = asked.get("seed") if isinstance(asked.get("seed"), int) else None
        pieces = self._written(self._talking.write(messages, seed=seed))
        if not asked.get("stream"):
            text = "".join([piece async for piece in pieces])
            message = {"role": "assistant", "content": text}
            return web.json_response(_chunk("chat.completion", {"message": message, "finish_reason": "stop"}))
        first = await anext(pieces, "")  # whatever is wrong with the request is told by a status
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
        await response.prepare(request)
        try:
            await _send(response, {"delta": {"role": "assistant", "content": first}, "finish_reason": None})
            async for piece in pieces:
                await _send(response, {"delta": {"content": piece}, "finish_reason": None})
            await _send(response, {"delta": {}, "finish_reason": "stop"})
        except VisageError as error:
            await response.write(f"data: {json.dumps({'error': {'message': str(error)}})}\n\n".encode())
        finally:
            await pieces.aclose()
        await response.write(b"data: [DONE]\n\n")
        return response

    async def _made(self, job: Callable[[Callable[[], bool]], tuple[Pcm, int]]) -> tuple[Pcm, int]:
        """What a job makes in the thread of the models; a client that hangs up stops it at its next token."""
        gone = threading.Event()
        try:
            return await self._worker.run(lambda: job(gone.is_set))
        finally:
            gone.set()

    async def _written(self, texts: Iterator[str]) -> AsyncGenerator[str, None]:
        """What a generator yields in the thread of the models, one step at a time, so that others are not kept long."""
        end = object()
        try:
            while (piece := await self._worker.run(lambda: next(texts, end))) is not end:
                yield str(piece)
        finally:
            await self._worker.run(getattr(texts, "close", lambda: None))

    async def _close(self, app: web.Application) -> None:
        await self._worker.aclose()


@web.middleware
async def told(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Errors as `{"detail": ...}` in the client's language."""
    try:
        origin = request.headers.get("Origin", "null")
        if origin != "null" and urlsplit(origin).netloc != request.host:
            raise Unauthorized(
                f"pages of {origin} may not use this service", zh=f"不允许来自 {origin} 的网页使用本服务"
            )
        return await handler(request)
    except VisageError as error:
        chinese = request.headers.get("Accept-Language", "").strip().lower().startswith("zh")
        detail = error.chinese() if chinese else str(error)
        body = {"detail": detail, "error": {"message": detail, "type": error.code}}
        return web.json_response(body, status=error.status)


def heard_messages(messages: Any) -> list[dict[str, Any]]:
    """OpenAI's messages in `stepaudio.chat`'s form, their sound decoded to open files.

    Raises:
        BadRequest: they are of another form.
    """
    if not isinstance(messages, list) or not all(isinstance(message, Mapping) for message in messages):
        raise BadRequest("messages must be a list of objects", zh="messages 应为对象数组")
    return [{**message, "content": _heard(message.get("content"), place)} for place, message in enumerate(messages)]


def _heard(content: Any, place: int) -> Any:
    if not isinstance(content, Sequence) or isinstance(content, str):
        return content
    return [_heard_part(part, place) for part in content]


def _heard_part(part: Any, place: int) -> Any:
    kind = part.get("type") if isinstance(part, Mapping) else None
    if kind == "audio":
        raise BadRequest(
            f"message {place}: sound comes as input_audio here", zh=f"第 {place} 条消息：音频请用 input_audio"
        )
    if kind != "input_audio":
        return part
    given = part.get("input_audio")
    data = given.get("data") if isinstance(given, Mapping) else None
    try:
        return {"type": "audio", "audio": io.BytesIO(base64.b64decode(data or "", validate=True))}
    except (binascii.Error, ValueError, TypeError) as error:
        raise BadRequest(
            f"message {place}: input_audio.data is no base64", zh=f"第 {place} 条消息的音频不是 base64"
        ) from error


async def _form(request: web.Request) -> Mapping[str, Any]:
    try:
        return await request.post()
    except web.HTTPRequestEntityTooLarge as error:
        raise _too_large() from error
    except ValueError as error:
        raise BadRequest(f"the form cannot be read: {error}", zh="表单无法读取") from error


async def _json(request: web.Request) -> Mapping[str, Any]:
    try:
        found = await request.json()
    except web.HTTPRequestEntityTooLarge as error:
        raise _too_large() from error
    except ValueError as error:
        raise BadRequest(f"the body is no JSON: {error}", zh="请求体不是 JSON") from error
    if not isinstance(found, dict):
        raise BadRequest("the body must be a JSON object", zh="请求体应为 JSON 对象")
    return found


def _too_large() -> TooLarge:
    most = BODY_BYTES_MAX >> 20
    return TooLarge(f"the request may have {most} MiB", zh=f"请求不得超过 {most} MiB")


def _text(form: Mapping[str, Any], name: str, default: str | None = None) -> str:
    value = form.get(name, default)
    if not isinstance(value, str) or not value.strip():
        raise BadRequest(f"{name} is missing", zh=f"缺少 {name}")
    return value.strip()


def _file(form: Mapping[str, Any]) -> bytes:
    value = form.get("prompt_wav")
    if not isinstance(value, web.FileField):
        raise BadRequest("prompt_wav, a recording, is missing", zh="缺少录音文件 prompt_wav")
    with value.file:
        return value.file.read()


def _options(form: Mapping[str, Any]) -> dict[str, Any]:
    """`speed_ratio`, `volumn_ratio` and `seed`, as far as they are given."""
    options: dict[str, Any] = {}
    for name, kind in (("speed_ratio", float), ("volumn_ratio", float), ("seed", int)):
        given = form.get(name)
        if given in (None, ""):
            continue
        try:
            options[name] = kind(given)
        except (ValueError, TypeError) as error:
            raise BadRequest(f"{name} is {given!r:.40}, which is no number", zh=f"{name} 不是数字") from error
    return options


def _wav(pcm: Pcm, rate_hz: int) -> web.Response:
    file = io.BytesIO()
    soundfile.write(file, pcm, rate_hz, format="WAV", subtype="PCM_16")
    return web.Response(body=file.getvalue(), content_type="audio/wav")


def _chunk(kind: str, choice: Mapping[str, Any]) -> dict[str, Any]:
    return {"object": kind, "created": int(time.time()), "model": SERVED_NAME, "choices": [{"index": 0, **choice}]}


async def _send(response: web.StreamResponse, choice: Mapping[str, Any]) -> None:
    data = json.dumps(_chunk("chat.completion.chunk", choice), ensure_ascii=False)
    await response.write(f"data: {data}\n\n".encode())


async def serve(service: Service, host: str, port: int) -> None:
    """Listen until cancelled."""
    runner = web.AppRunner(service.app(), access_log=None, handler_cancellation=True)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        print(f"Step-Audio is ready: http://{host}:{runner.addresses[0][1]}  已就绪", flush=True)
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()
