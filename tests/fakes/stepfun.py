"""A server of StepFun's protocol: files, cloned and system voices, streamed speech, and its refusals."""

from __future__ import annotations

import asyncio
import base64
import collections
import contextlib
import dataclasses
import hashlib
import io
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import numpy as np
import soundfile
from aiohttp import web

from media import Pcm
from tests.conformance.httpservers import served
from tts.stepfun import SYSTEM_VOICES, StepFunOptions, StepFunVoice
from tts.wire.options import Common
from voices.audio.prepare import wav_bytes
from voices.cloning.stepfun import StepFunMaker
from voices.cloning.vendor import Vendor

KEY = "step-key-that-nobody-may-read"
RATE_HZ = 24_000
PIECE_BYTES = 4_800
Handler = Callable[[web.Request, Any], Awaitable[web.StreamResponse]]


@dataclasses.dataclass(frozen=True)
class Says:
    """An answer instead of the right one."""

    status: int = 200
    body: bytes | None = None
    media: str = "application/json"
    headers: dict[str, str] = dataclasses.field(default_factory=dict)
    hang: bool = False
    """Nothing at all, for a minute."""
    cut: bool = False
    """The connection breaks instead."""
    after: int | None = None
    """Of speech: pieces that are sent before that."""


def tone(seconds: float) -> Pcm:
    return (0.2 * np.sin(np.arange(round(seconds * RATE_HZ)) / 20)).astype(np.float32)


class StepFun:
    """One account at the vendor."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.voices: dict[str, dict[str, str]] = {}
        """By id: file_id, model, sha256."""
        self.asked: list[tuple[str, str, Any]] = []
        """Method, path without ids, and what was sent."""
        self.instead: dict[tuple[str, str], collections.deque[Says]] = collections.defaultdict(collections.deque)
        """By method and path: answers to the next requests."""
        self.gives_samples = True
        self.has_preview = True
        self.lets_delete_voices = True
        self.key = KEY
        self.release = asyncio.Event()
        """The last piece of speech waits for it."""
        self.release.set()
        self.hanging = asyncio.Event()
        """A client waits for an answer that does not come."""
        self._count = 0

    def will(self, method: str, path: str, *answers: Says) -> None:
        """Answer the next requests so."""
        self.instead[method, path].extend(answers)

    def count(self, method: str, path: str) -> int:
        """How often it was asked."""
        return sum((method, path) == one[:2] for one in self.asked)

    def routes(self) -> list[web.RouteDef]:
        table: list[tuple[str, str, Handler]] = [
            ("POST", "/files", self._upload),
            ("DELETE", "/files/{id}", self._delete_file),
            ("POST", "/audio/voices", self._clone),
            ("GET", "/audio/voices", self._list),
            ("DELETE", "/audio/voices/{id}", self._delete_voice),
            ("POST", "/audio/voices/preview", self._preview),
            ("GET", "/audio/system_voices", self._system),
            ("POST", "/audio/speech", self._speech),
        ]
        return [web.route(method, f"/v1{path}", self._guarded(method, path, what)) for method, path, what in table]

    def _guarded(self, method: str, path: str, what: Handler) -> Any:
        short = path.removesuffix("/{id}")

        async def handler(request: web.Request) -> web.StreamResponse:
            sent = await self._sent(request)
            self.asked.append((method, short, sent))
            given = request.headers.get("Authorization", "")
            if given != f"Bearer {self.key}":
                return refusal(401, f"Incorrect API key provided: {given}", "invalid_api_key")
            queue = self.instead[method, short]
            if queue and queue[0].after is None:
                return await self._misbehave(request, queue.popleft())
            return await what(request, sent)

        return handler

    async def _sent(self, request: web.Request) -> Any:
        if request.content_type == "application/json":
            return await request.json()
        if not request.content_type.startswith("multipart/"):
            return dict(request.query) or request.match_info.get("id")
        form: dict[str, Any] = {}
        for name, field in (await request.post()).items():
            form[name] = field.file.read() if isinstance(field, web.FileField) else field
            if isinstance(field, web.FileField):
                form["filename"], form["type"] = field.filename, field.content_type
                field.file.close()
        return form

    async def _misbehave(self, request: web.Request, says: Says) -> web.StreamResponse:
        if says.hang:
            self.hanging.set()
            await asyncio.sleep(60)
        if says.cut:
            assert request.transport is not None
            request.transport.abort()
        if says.body is None and says.status >= 400:
            return refusal(says.status, f"told by {request.headers['Authorization']}", "scripted", says.headers)
        return web.Response(status=says.status, body=says.body or b"", content_type=says.media, headers=says.headers)

    def _new(self, prefix: str) -> str:
        self._count += 1
        return f"{prefix}-{self._count:06d}"

    async def _upload(self, request: web.Request, sent: Any) -> web.StreamResponse:
        if sent.get("purpose") != "storage" or not sent.get("file"):
            return refusal(400, "purpose must be storage", "invalid_parameter")
        file_id = self._new("file")
        self.files[file_id] = sent["file"]
        facts = {"id": file_id, "object": "file", "bytes": len(sent["file"]), "created_at": 1_790_000_000}
        return web.json_response({**facts, "filename": sent["filename"], "purpose": "storage", "status": "success"})

    async def _delete_file(self, request: web.Request, sent: Any) -> web.StreamResponse:
        file_id = request.match_info["id"]
        if self.files.pop(file_id, None) is None:
            return refusal(404, "no such file", "not_found")
        return web.json_response({"id": file_id, "object": "file", "deleted": True})

    async def _clone(self, request: web.Request, sent: Any) -> web.StreamResponse:
        data = self.files.get(sent["file_id"])
        if data is None or len(sent.get("sample_text", "")) > 50:
            return refusal(400, "no such file, or a sample_text of more than 50 characters", "invalid_parameter")
        pcm, rate_hz = soundfile.read(io.BytesIO(data), dtype="int16")
        if pcm.ndim != 1 or not 5 <= len(pcm) / rate_hz <= 10:
            return refusal(400, "the recording must be mono and last 5 to 10 s", "invalid_parameter")
        sha256 = hashlib.sha256(data).hexdigest()
        mark = {"sha256": sha256, "model": sent["model"]}
        known = next((id_ for id_, voice in self.voices.items() if voice.items() >= mark.items()), None)
        voice_id = known or self._new("voice-tone")
        self.voices.setdefault(voice_id, {"file_id": sent["file_id"], **mark})
        body: dict[str, Any] = {"id": voice_id, "object": "audio.voice", "duplicated": known is not None}
        if self.gives_samples:
            sample = base64.b64encode(wav_bytes(tone(1.0), RATE_HZ)).decode()
            body |= {"sample_text": sent["sample_text"], "sample_audio": sample}
        return web.json_response(body)

    async def _list(self, request: web.Request, sent: Any) -> web.StreamResponse:
        limit, after = int(request.query.get("limit", 20)), request.query.get("after")
        ids = list(self.voices)
        at = ids.index(after) + 1 if after else 0
        shown = ids[at : at + min(limit, 2)]  # a short page, so that a client has to turn it
        data = [{"id": id_, "file_id": self.voices[id_]["file_id"], "created_at": 1} for id_ in shown]
        more = at + len(shown) < len(ids)
        ends = {"first_id": shown[0], "last_id": shown[-1]} if shown else {}
        return web.json_response({"object": "list", "data": data, "has_more": more, **ends})

    async def _delete_voice(self, request: web.Request, sent: Any) -> web.StreamResponse:
        if not self.lets_delete_voices:
            return refusal(405, "method not allowed", "not_allowed")
        if self.voices.pop(request.match_info["id"], None) is None:
            return refusal(404, "no such voice", "not_found")
        return web.json_response({"deleted": True})

    async def _preview(self, request: web.Request, sent: Any) -> web.StreamResponse:
        if not self.has_preview:
            return refusal(404, "no such path", "not_found")
        return web.Response(body=wav_bytes(tone(0.7), RATE_HZ), content_type="audio/wav")

    async def _system(self, request: web.Request, sent: Any) -> web.StreamResponse:
        named = [*list(SYSTEM_VOICES)[:3], "tianmeinvsheng"]
        details = {name: {"voice-name": name, "voice-description": "", "recommended_scene": ""} for name in named}
        return web.json_response({"voices": named, "voices-details": details})

    async def _speech(self, request: web.Request, sent: Any) -> web.StreamResponse:
        known = sent["voice"] in SYSTEM_VOICES or sent["voice"] in self.voices
        if not known or not 1 <= len(sent["input"]) <= 1_000:
            return refusal(400, "no such voice, or a text of more than 1000 characters", "invalid_parameter")
        assert sent["response_format"] == "pcm" and sent["sample_rate"] == RATE_HZ
        queue = self.instead["POST", "/audio/speech"]
        says = queue.popleft() if queue else Says(after=1_000)
        response = web.StreamResponse(headers={"Content-Type": "audio/pcm"})
        with contextlib.suppress(ConnectionError):
            await response.prepare(request)
            sound = (tone(0.05 * len(sent["input"])) * 32767).astype("<i2").tobytes()
            for number, at in enumerate(range(0, len(sound), PIECE_BYTES)):
                if number == says.after:
                    return await self._misbehave(request, says)
                if at + PIECE_BYTES >= len(sound):
                    await self.release.wait()
                await response.write(sound[at : at + PIECE_BYTES])
            await response.write_eof()
        return response


def refusal(status: int, message: str, code: str, headers: dict[str, str] | None = None) -> web.Response:
    error = {"error": {"message": message, "type": "request_params_invalid", "code": code}}
    return web.json_response(error, status=status, headers=headers)


def text(facts: Any) -> bytes:
    """JSON for `Says`."""
    return json.dumps(facts).encode()


class Waits:
    """Sleeps no time and notes how long it would have; also a clock of its own."""

    def __init__(self) -> None:
        self.now = 0.0
        self.waited_s: list[float] = []

    def __call__(self) -> float:
        return self.now

    async def wait(self, seconds: float) -> None:
        self.waited_s.append(seconds)
        self.now += seconds


@contextlib.asynccontextmanager
async def stepfun(timeout_s: float = 30.0, key: str = KEY) -> AsyncIterator[tuple[StepFunMaker, StepFun, Waits]]:
    """A maker, its vendor, and the time between them."""
    vendor, waits = StepFun(), Waits()
    async with served(*vendor.routes()) as address:
        engine = StepFunVoice(StepFunOptions(server=f"{address}/v1"), Common({"STEP_API_KEY": key}))
        asked = Vendor(engine.http, "阶跃星辰", timeout_s=timeout_s, now=waits, wait=waits.wait)
        maker = StepFunMaker(engine, asked)
        try:
            yield maker, vendor, waits
        finally:
            await maker.aclose()
