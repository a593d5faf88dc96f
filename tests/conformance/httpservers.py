"""Scripted servers that answer HTTP requests with sound: one handler a protocol, one way of misbehaving for all."""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.conformance.script import RATE_HZ, Reset, Script, wav_header
from tts.tencent import signature

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@contextlib.asynccontextmanager
async def served(*routes: web.RouteDef) -> AsyncIterator[str]:
    """The address of a server with these routes."""
    app = web.Application(client_max_size=1 << 26)
    app.add_routes(routes)
    server = TestServer(app)
    await server.start_server(shutdown_timeout=0.0)
    try:
        yield str(server.make_url("")).rstrip("/")
    finally:
        await server.close()


async def speak(
    request: web.Request,
    script: Script,
    *,
    error: Any,
    media: str = "audio/wav",
    head: bytes = b"",
    of: bytes | None = None,
) -> web.StreamResponse:
    """Answer with the script's sound, or as it misbehaves.

    Args:
        error: the body of an error in this protocol.
        head: comes before the sound.
    """
    if script.status:
        headers = {"Retry-After": script.retry_after} if script.retry_after else {}
        return web.json_response(error, status=script.status, headers=headers)
    if script.error_as_answer:
        return web.Response(body=json.dumps(error).encode(), content_type=media)
    response = web.StreamResponse(headers={"Content-Type": media})
    with script.watched():
        await response.prepare(request)
        try:
            pieces = script.pieces(head + (script.sound if of is None else of))
            async with contextlib.aclosing(pieces):  # type: ignore[type-var]
                async for piece in pieces:
                    await response.write(piece)
        except Reset:
            assert request.transport is not None
            request.transport.abort()
            return response
        await response.write_eof()
    return response


def _content(field: Any) -> Any:
    """What a form's field holds."""
    if not isinstance(field, web.FileField):
        return field
    with field.file:
        return field.file.read()


def openai(script: Script) -> list[web.RouteDef]:
    async def speech(request: web.Request) -> web.StreamResponse:
        facts = await request.json()
        script.asked.append({**facts, "text": facts["input"], "key": request.headers.get("Authorization")})
        return await speak(
            request, script, error={"error": {"message": "it went wrong", "type": "invalid"}}, media="audio/pcm"
        )

    async def voices(request: web.Request) -> web.StreamResponse:
        return web.json_response({"voices": ["af_heart", "zf_xiaobei", {"id": "am_adam", "name": "Adam"}]})

    return [web.post("/v1/audio/speech", speech), web.get("/v1/audio/voices", voices)]


def gptsovits(script: Script) -> list[web.RouteDef]:
    async def tts(request: web.Request) -> web.StreamResponse:
        facts = await request.json()
        script.asked.append(facts)
        error = {"message": "tts failed", "Exception": "it went wrong"}
        return await speak(request, script, error=error, head=wav_header(RATE_HZ))

    return [web.post("/tts", tts)]


def cosyvoice(script: Script) -> list[web.RouteDef]:
    async def inference(request: web.Request) -> web.StreamResponse:
        form = await request.post()
        facts: dict[str, Any] = {"mode": request.match_info["mode"]}
        for name, value in form.items():
            facts[name] = _content(value)
        script.asked.append({**facts, "text": facts["tts_text"]})
        return await speak(
            request, script, error={"detail": [{"msg": "it went wrong"}]}, media="application/octet-stream"
        )

    return [web.post("/inference_{mode}", inference)]


def stepaudio(script: Script) -> list[web.RouteDef]:
    """The publishers' `tts_api_server.py`."""

    async def speech(request: web.Request) -> web.StreamResponse:
        form = await request.post()
        facts = {name: _content(value) for name, value in form.items()}
        script.asked.append({**facts, "text": facts["tts_text"], "path": request.path})
        return await speak(request, script, error={"detail": "it went wrong"}, head=wav_header(RATE_HZ))

    async def voices(request: web.Request) -> web.StreamResponse:
        return web.json_response(["Tingting", "TingtingRAP", "Tingting哼唱", "anna"])

    return [web.post("/tts", speech), web.post("/clone", speech), web.get("/voices", voices)]


def fishspeech(script: Script) -> list[web.RouteDef]:
    async def tts(request: web.Request) -> web.StreamResponse:
        script.asked.append({**await request.json(), "key": request.headers.get("Authorization")})
        return await speak(request, script, error={"message": "it went wrong"})

    async def references(request: web.Request) -> web.StreamResponse:
        return web.json_response({"success": True, "reference_ids": ["anna", "ben"], "message": "2 found"})

    return [web.post("/v1/tts", tts), web.get("/v1/references/list", references)]


def xtts(script: Script) -> list[web.RouteDef]:
    async def clone(request: web.Request) -> web.StreamResponse:
        form = await request.post()
        assert _content(form["wav_file"])[:4] == b"RIFF"
        script.asked_to_clone = getattr(script, "asked_to_clone", 0) + 1  # type: ignore[attr-defined]
        latent = np.zeros((4, 8)).tolist()
        return web.json_response({"gpt_cond_latent": latent, "speaker_embedding": [0.25] * 8})

    async def stream(request: web.Request) -> web.StreamResponse:
        facts = await request.json()
        script.asked.append(facts)
        assert facts["speaker_embedding"] == [0.25] * 8 and len(facts["gpt_cond_latent"]) == 4
        return await speak(request, script, error={"detail": [{"msg": "it went wrong"}]}, head=wav_header(RATE_HZ))

    return [web.post("/clone_speaker", clone), web.post("/tts_stream", stream)]


def indextts2(script: Script) -> list[web.RouteDef]:
    """Gradio's three steps: a file goes up, a call is made and followed, a file comes down."""
    calls: dict[str, list[Any]] = {}
    parameters = ["emo_control_method", "prompt", "text", "emo_ref_path", "vec1", "max_text_tokens_per_segment"]

    async def info(request: web.Request) -> web.StreamResponse:
        described: list[Any] = [{"parameter_name": name, "parameter_default": f"default {name}"} for name in parameters]
        described[0]["type"] = {"enum": ["与音色参考音频相同", "使用情感向量控制"]}
        return web.json_response({"named_endpoints": {"/gen_single": {"parameters": described}}})

    async def upload(request: web.Request) -> web.StreamResponse:
        form = await request.post()
        assert _content(form["files"])[:4] == b"RIFF"
        return web.json_response(["/tmp/gradio/up.wav"])

    async def call(request: web.Request) -> web.StreamResponse:
        if script.status:
            headers = {"Retry-After": script.retry_after} if script.retry_after else {}
            return web.json_response({"detail": "queue is full"}, status=script.status, headers=headers)
        data = (await request.json())["data"]
        facts = dict(zip(parameters, data, strict=True))
        script.asked.append(facts)
        calls["1"] = data
        return web.json_response({"event_id": "1"})

    async def events(request: web.Request) -> web.StreamResponse:
        if script.error_as_answer:
            return web.Response(text='event: error\ndata: "it went wrong"\n\n', content_type="text/event-stream")
        made = [{"visible": True, "value": {"path": "/tmp/gradio/out.wav"}, "__type__": "update"}]
        text = f"event: heartbeat\ndata: null\n\nevent: complete\ndata: {json.dumps(made)}\n\n"
        return web.Response(text=text, content_type="text/event-stream")

    async def file(request: web.Request) -> web.StreamResponse:
        assert request.path.endswith("/tmp/gradio/out.wav")
        return await speak(request, script, error={}, head=wav_header(RATE_HZ, len(script.sound)))

    return [
        web.get("/gradio_api/info", info), web.post("/gradio_api/upload", upload),
        web.post("/gradio_api/call/gen_single", call), web.get("/gradio_api/call/gen_single/{id}", events),
        web.get("/gradio_api/file={path:.*}", file),
    ]  # fmt: skip


def indextts2_vllm(script: Script) -> list[web.RouteDef]:
    async def tts(request: web.Request) -> web.StreamResponse:
        script.asked.append(await request.json())
        return await speak(
            request,
            script,
            error={"status": "error", "error": "it went wrong"},
            head=wav_header(RATE_HZ, len(script.sound)),
        )

    return [web.post("/tts_url", tts)]


def tencent(script: Script) -> list[web.RouteDef]:
    async def stream(request: web.Request) -> web.StreamResponse:
        facts = await request.json()
        script.asked.append({**facts, "text": facts["Text"]})
        signed = signature("key-that-nobody-may-read", urlsplit(str(request.url)).netloc, facts)
        assert request.headers["Authorization"] == signed
        code = "AuthFailure.InvalidSecretId" if script.error_as_answer else "InternalError"
        error = {"Response": {"Error": {"Code": code, "Message": "it went wrong"}}}
        return await speak(request, script, error=error, media="application/octet-stream")

    return [web.post("/stream", stream)]


def doubao_v3(script: Script) -> list[web.RouteDef]:
    async def unidirectional(request: web.Request) -> web.StreamResponse:
        facts = await request.json()
        told = facts["req_params"]
        names = ("X-Api-Key", "X-Api-App-Id", "X-Api-Access-Key", "X-Api-Resource-Id")
        script.asked.append({**told["audio_params"], **told, **{name: request.headers.get(name) for name in names}})
        error = {"code": 55000000, "message": "it went wrong"}
        if script.status or script.error_as_answer:
            return await speak(request, script, error=error, media="application/json")
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        with script.watched():
            await response.prepare(request)
            try:
                number = 0
                async for piece in script.pieces():
                    number += 1
                    line = json.dumps({"code": 0, "message": "", "data": base64.b64encode(piece).decode()})
                    await response.write(line.encode() + (b"\n" if number % 2 else b""))
            except Reset:
                assert request.transport is not None
                request.transport.abort()
                return response
            sentence = {"code": 0, "data": None, "sentence": {"text": "好。", "words": []}}
            await response.write(json.dumps(sentence).encode())
            await response.write(json.dumps({"code": 20000000, "message": "ok", "data": None}).encode())
        return response

    return [web.post("/api/v3/tts/unidirectional", unidirectional)]


def azure(script: Script) -> list[web.RouteDef]:
    async def synthesize(request: web.Request) -> web.StreamResponse:
        from xml.etree import ElementTree

        ssml = ElementTree.fromstring(await request.text())
        voice = next(element for element in ssml.iter() if element.tag.endswith("voice"))
        script.asked.append(
            {
                "text": "".join(ssml.itertext()),
                "voice": voice.get("name"),
                "format": request.headers["X-Microsoft-OutputFormat"],
            }
        )
        assert request.headers["Ocp-Apim-Subscription-Key"] == "key-that-nobody-may-read"
        return await speak(request, script, error={"error": {"message": "it went wrong"}}, media="audio/basic")

    async def voices(request: web.Request) -> web.StreamResponse:
        return web.json_response([
            {"ShortName": "zh-CN-XiaoxiaoNeural", "Gender": "Female", "Locale": "zh-CN"},
            {"ShortName": "en-US-AvaMultilingualNeural", "Gender": "Female", "Locale": "en-US"},
            {"ShortName": "is-IS-GunnarNeural", "Gender": "Male", "Locale": "is-IS"},
        ])  # fmt: skip

    return [web.post("/cognitiveservices/v1", synthesize), web.get("/cognitiveservices/voices/list", voices)]


def stepfun(script: Script) -> list[web.RouteDef]:
    async def speech(request: web.Request) -> web.StreamResponse:
        facts = await request.json()
        assert request.headers["Authorization"] == "Bearer key-that-nobody-may-read"
        assert len(facts["input"]) <= 1000
        script.asked.append({**facts, "text": facts["input"]})
        error = {"error": {"message": "it went wrong", "type": "quota_exceeded"}}
        return await speak(request, script, error=error, media="audio/pcm")

    async def system(request: web.Request) -> web.StreamResponse:
        return web.json_response({"voices": ["linjiajiejie", "wenrounansheng"], "voices-details": {}})

    return [web.post("/audio/speech", speech), web.get("/audio/system_voices", system)]
