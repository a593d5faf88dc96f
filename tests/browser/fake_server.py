"""A small server with LiveTalking's interface for testing the page alone: picture, beeps, events, failures on demand.

A page opened as `/?mode=MODE` meets that failure; the mode is read from the Referer of its requests:
`capacity` 503, `busy` 429, `key` 401 without `Bearer secret`, `media` an answer that leads nowhere, `plain` no `/api`
and no events, as an original LiveTalking server has it, `nollm` chat answers 503, `deaf` /humanaudio answers 422,
`nobuild` a server that makes no avatars, `earless` one that listens to no microphone; those of `fake_builds.py`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import fractions
import io
import json
import re
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import aioice.ice
import av
import numpy as np
from aiohttp import web
from aiortc import RTCConfiguration, RTCDataChannel, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # run as a script, from anywhere
from tests.browser.fake_builds import CLIP_MIB, DEFAULT, FakeBuilds

DIST = Path(__file__).resolve().parents[2] / "web" / "dist"
FPS = 25
AUDIO_HZ = 48_000
SAMPLES = AUDIO_HZ // 50
BEEP_HZ = 440.0
WORD_S = 0.25
KEY = "secret"
LIBRARY_VOICE = "library:voice-0123456789abcdef01234567"
DEAF = "whisper-base: no weights in models/whisper-base; `python app.py weights pull whisper-base` fetches them"
UNROUTABLE = "192.0.2.1"  # TEST-NET-1, RFC 5737: nobody answers there

VOICES = [
    {"id": "kokoro:zf_xiaobei", "engine": "kokoro", "languages": ["zh"], "gender": "female", "licence": "Apache-2.0"},
    {"id": "kokoro:zm_yunjian", "engine": "kokoro", "languages": ["zh"], "gender": "male", "licence": "Apache-2.0"},
    {"id": "hibari:default", "engine": "hibari", "languages": ["en"], "gender": "female", "licence": "Apache-2.0"},
    {"id": "kokoro:bm_george", "engine": "kokoro", "languages": ["en"], "gender": "male", "licence": "Apache-2.0"},
    {"id": "kokoro:jf_alpha", "engine": "kokoro", "languages": ["ja"], "gender": "female", "licence": "Apache-2.0"},
]


class Session:
    """One visitor: what is said, what is due, and its connection."""

    def __init__(self, sessionid: str, avatar: str, pc: RTCPeerConnection) -> None:
        self.sessionid = sessionid
        self.avatar = avatar
        self.pc = pc
        self.channel: RTCDataChannel | None = None
        self.turn = 1
        self.beeping = False
        self.speech: asyncio.Task[None] | None = None
        self.frames = 0
        """Of the visitor's microphone, 20 ms each, and the loudest sample of all, 0..1."""
        self.loudest = 0.0
        self.listening: asyncio.Task[None] | None = None

    async def listen(self, track: MediaStreamTrack) -> None:
        """Hear the microphone; ready with its first frame, as the real one is when its models are loaded."""
        with contextlib.suppress(MediaStreamError):
            while True:
                frame = await track.recv()
                assert isinstance(frame, av.AudioFrame)
                self.frames += 1
                self.loudest = max(self.loudest, float(np.abs(frame.to_ndarray()).max()) / 32_768)
                if self.frames == 1:
                    self.tell("listening", state="ready")

    def tell(self, event: str, **data: Any) -> None:
        if self.channel and self.channel.readyState == "open":
            self.channel.send(json.dumps({"event": event, "turn": self.turn, **data}))

    def say(self, text: str) -> None:
        before = self.speech
        self.speech = asyncio.create_task(self._speak(text, before))

    async def _speak(self, text: str, before: asyncio.Task[None] | None) -> None:
        if before:
            await asyncio.wait([before])
        self.tell("speech.started", text=text)
        self.beeping = True
        for clause in re.findall(r"[^,.!?，。！？]+[,.!?，。！？]*", text) or [text]:
            self.tell("clause.started", text=clause.strip())
            for word in re.findall(r"[A-Za-z']+|[\u4e00-\u9fff]", clause):
                self.tell("word", text=word)
                await asyncio.sleep(WORD_S)
        self.beeping = False
        self.tell("speech.ended")

    def interrupt(self) -> None:
        if self.speech:
            self.speech.cancel()
        self.speech, self.beeping = None, False
        self.turn += 1
        self.tell("interrupted")

    async def close(self) -> None:
        if self.speech:
            self.speech.cancel()
        if self.listening:
            self.listening.cancel()
        await self.pc.close()


class Clock:
    """Hands out the moments of a track at a steady pace."""

    def __init__(self, step_s: float) -> None:
        self._step_s = step_s
        self._start = time.monotonic()
        self._k = -1

    async def tick(self) -> int:
        self._k += 1
        await asyncio.sleep(max(0.0, self._start + self._k * self._step_s - time.monotonic()))
        return self._k


class Picture(MediaStreamTrack):
    """A still that sways, with a bar that beats while there is speech."""

    kind = "video"

    def __init__(self, session: Session, still: np.ndarray[Any, Any]) -> None:
        super().__init__()
        self._session = session
        self._still = still
        self._clock = Clock(1 / FPS)

    async def recv(self) -> av.VideoFrame:
        if self.readyState != "live":
            raise MediaStreamError
        k = await self._clock.tick()
        rgb = np.roll(self._still, round(2 * np.sin(k / 12)), axis=0)
        if self._session.beeping:
            rgb[-6:, : 40 + 8 * (k % 12)] = 255
        frame = av.VideoFrame.from_ndarray(rgb, format="rgb24")
        frame.pts, frame.time_base = k * 90_000 // FPS, fractions.Fraction(1, 90_000)
        return frame


class Beeps(MediaStreamTrack):
    """A tone while there is speech, silence otherwise."""

    kind = "audio"

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self._clock = Clock(SAMPLES / AUDIO_HZ)

    async def recv(self) -> av.AudioFrame:
        if self.readyState != "live":
            raise MediaStreamError
        k = await self._clock.tick()
        t = (k * SAMPLES + np.arange(SAMPLES)) / AUDIO_HZ
        level = 6_000 if self._session.beeping else 0
        mono = (level * np.sin(2 * np.pi * BEEP_HZ * t)).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(np.repeat(mono, 2).reshape(1, -1), format="s16", layout="stereo")
        frame.sample_rate, frame.pts, frame.time_base = AUDIO_HZ, k * SAMPLES, fractions.Fraction(1, AUDIO_HZ)
        return frame


def mode_of(request: web.Request) -> str:
    return parse_qs(urlsplit(request.headers.get("Referer", "")).query).get("mode", [""])[0]


def refuse(status: int, msg: str, **headers: str) -> web.Response:
    return web.json_response({"code": -1, "msg": msg}, status=status, headers=headers)


class FakeServer:
    """The routes, and what was asked of them."""

    def __init__(self, still: np.ndarray[Any, Any]) -> None:
        self._still = still
        self._sessions: dict[str, Session] = {}
        self._seen: list[dict[str, Any]] = []
        self._news = asyncio.Condition()
        self._count = 0
        self._builds = FakeBuilds(
            self._note, lambda: [each.avatar for each in self._sessions.values()], refuse, mode_of
        )

    def application(self) -> web.Application:
        app = web.Application(middlewares=[self._gate], client_max_size=2 * CLIP_MIB << 20)
        app.add_routes([
            *self._builds.routes(),
            web.post("/offer", self.offer),
            web.post("/human", self.human),
            web.post("/humanaudio", self.humanaudio),
            web.post("/interrupt_talk", self.interrupt_talk),
            web.post("/record", self.record),
            web.get("/record/{id}", self.recording),
            web.delete("/session/{id}", self.leave),
            web.get("/api/avatars", self.avatars),
            web.get("/api/avatars/{id}/poster", self.poster),
            web.get("/api/speech/voices", self.voices),
            web.get("/api/voices", self.library),
            web.get("/api/client", self.client),
            web.post("/api/listening", self.listening),
            web.get("/fake/seen", self.seen),
            web.get("/fake/heard", self.heard),
            web.post("/fake/tell", self.tell),
            web.post("/fake/drop", self.drop),
            web.get("/", self.index),
            web.static("/", DIST),
        ])  # fmt: skip
        app.on_shutdown.append(self._close)
        return app

    @web.middleware
    async def _gate(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        mode = mode_of(request)
        api = request.path.startswith("/api/")
        if mode == "plain" and (api or request.method == "DELETE"):
            raise web.HTTPNotFound
        if (
            mode == "key"
            and (api or request.path == "/offer")
            and request.headers.get("Authorization") != f"Bearer {KEY}"
        ):
            return refuse(401, "API key missing or wrong: send it as 'Authorization: Bearer KEY'")
        return await handler(request)

    async def index(self, request: web.Request) -> web.FileResponse:
        return web.FileResponse(DIST / "index.html")

    async def offer(self, request: web.Request) -> web.Response:
        body = await request.json()
        mode = mode_of(request)
        chosen = {"refaudio": body["refaudio"]} if "refaudio" in body else {}
        await self._note(request, {"avatar": body.get("avatar"), **chosen})
        if mode == "capacity":
            return refuse(503, "all 4 sessions are taken: allowed by --max_session 4", **{"Retry-After": "5"})
        if mode == "busy":
            return refuse(429, "20 offers within 10 s: allowed are 10", **{"Retry-After": "3"})
        self._count += 1
        pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        session = Session(str(100_000 + self._count), body.get("avatar") or DEFAULT, pc)
        self._sessions[session.sessionid] = session

        @pc.on("datachannel")
        def _(channel: RTCDataChannel) -> None:
            session.channel = channel if mode != "plain" else None

        @pc.on("track")
        def _(track: MediaStreamTrack) -> None:
            session.listening = asyncio.create_task(session.listen(track))

        @pc.on("connectionstatechange")
        async def _() -> None:
            if pc.connectionState in ("failed", "closed"):
                self._sessions.pop(session.sessionid, None)
                await session.close()

        pc.addTrack(Picture(session, self._still))
        pc.addTrack(Beeps(session))
        await pc.setRemoteDescription(RTCSessionDescription(body["sdp"], body["type"]))
        await pc.setLocalDescription(await pc.createAnswer())
        sdp = pc.localDescription.sdp
        if mode == "media":
            sdp = re.sub(r"(a=candidate:\S+ \d \S+ \d+) \S+", rf"\1 {UNROUTABLE}", sdp)
        return web.json_response({"sdp": sdp, "type": "answer", "sessionid": session.sessionid})

    async def human(self, request: web.Request) -> web.Response:
        body = await request.json()
        await self._note(request, body)
        session = self._sessions.get(str(body["sessionid"]))
        if session is None:
            return refuse(404, "session not found")
        if mode_of(request) == "nollm" and body["type"] == "chat":
            return refuse(503, "no language model is configured: set --llm_url and --llm_model")
        if body.get("interrupt"):
            session.interrupt()
        session.say(f"You asked: {body['text']}" if body["type"] == "chat" else body["text"])
        return web.json_response({"code": 0, "msg": "ok"})

    async def humanaudio(self, request: web.Request) -> web.Response:
        form = await request.post()
        upload = form["file"]
        assert isinstance(upload, web.FileField)
        size = len(upload.file.read())
        await self._note(request, {"sessionid": form["sessionid"], "name": upload.filename, "bytes": size})
        if mode_of(request) == "deaf":
            return refuse(
                422, f"file: {upload.filename} is not audio that can be decoded; allowed are WAV, MP3, FLAC, OGG"
            )
        self._sessions[str(form["sessionid"])].say("a recording of three words")
        return web.json_response({"code": 0, "msg": "ok"})

    async def interrupt_talk(self, request: web.Request) -> web.Response:
        body = await request.json()
        await self._note(request, body)
        self._sessions[str(body["sessionid"])].interrupt()
        return web.json_response({"code": 0, "msg": "ok"})

    async def listening(self, request: web.Request) -> web.Response:
        await self._note(request, await request.json())
        return web.json_response({"code": 0, "msg": "ok"})

    async def heard(self, request: web.Request) -> web.Response:
        """What came of the newest visitor's microphone."""
        session = list(self._sessions.values())[-1]
        return web.json_response({"frames": session.frames, "loudest": session.loudest})

    async def tell(self, request: web.Request) -> web.Response:
        """Send every visitor these events, each an object with its name as `event`."""
        for event in await request.json():
            for session in self._sessions.values():
                session.tell(**event)
        return web.json_response({})

    async def record(self, request: web.Request) -> web.Response:
        await self._note(request, await request.json())
        return web.json_response({"code": 0, "msg": "ok"})

    async def recording(self, request: web.Request) -> web.Response:
        return web.Response(body=b"\0" * 4_096, content_type="video/mp4")

    async def leave(self, request: web.Request) -> web.Response:
        await self._note(request, {"sessionid": request.match_info["id"]})
        session = self._sessions.pop(request.match_info["id"], None)
        if session:
            await session.close()
        return web.json_response({"code": 0, "msg": "ok"})

    async def avatars(self, request: web.Request) -> web.Response:
        rows = [
            {"id": id, "name": en, "names": {"en": en, "zh": zh}, "poster": f"api/avatars/{id}/poster"}
            for id, en, zh in (("mia", "Mia", "米娅"), ("leo", "Leo", "里奥"))
        ]
        return web.json_response({"code": 0, "msg": "ok", "data": {"avatars": rows + self._builds.rows()}})

    async def poster(self, request: web.Request) -> web.Response:
        png = io.BytesIO()
        with av.open(png, "w", format="image2pipe") as container:
            stream = container.add_stream("png", rate=1)
            stream.height, stream.width = self._still.shape[:2]
            stream.pix_fmt = "rgb24"
            for packet in stream.encode(av.VideoFrame.from_ndarray(self._still, format="rgb24")):
                container.mux(packet)
            for packet in stream.encode(None):
                container.mux(packet)
        return web.Response(body=png.getvalue(), content_type="image/png")

    async def client(self, request: web.Request) -> web.Response:
        mode = mode_of(request)
        data = {"ice_servers": [], "avatar": DEFAULT, "chat": mode != "nollm", "text_characters_max": 500}
        limits = {"upload_mb_max": 1, "audio_s_max": 600, "clip_mb_max": CLIP_MIB, "avatars": mode != "nobuild"}
        ears = {
            "library": True,
            "microphone": mode != "earless",
            "microphone_trouble": DEAF if mode == "earless" else "",
        }
        return web.json_response({"code": 0, "msg": "ok", "data": {**data, **limits, **ears}})

    async def library(self, request: web.Request) -> web.Response:
        row = {"speak_as": LIBRARY_VOICE, "name": "Nora", "languages": ["en"], "gender": "female"}
        return web.json_response({"success": True, "data": {"voices": [row]}, "message": "", "error": None})

    async def voices(self, request: web.Request) -> web.Response:
        return web.json_response({"code": 0, "msg": "ok", "data": {"voices": VOICES}})

    async def seen(self, request: web.Request) -> web.Response:
        path = request.query.get("await")
        async with self._news, asyncio.timeout(10):
            await self._news.wait_for(lambda: not path or any(row["path"].startswith(path) for row in self._seen))
        return web.json_response(self._seen)

    async def drop(self, request: web.Request) -> web.Response:
        """End every connection from this side, as a server that restarts does."""
        sessions, self._sessions = list(self._sessions.values()), {}
        for session in sessions:
            await session.close()
        return web.json_response(len(sessions))

    async def _note(self, request: web.Request, body: dict[str, Any]) -> None:
        async with self._news:
            self._seen.append({"path": request.path, "method": request.method, "body": body})
            self._news.notify_all()

    async def _close(self, app: web.Application) -> None:
        self._builds.released.set()
        for session in list(self._sessions.values()):
            await session.close()


def still_picture(path: Path | None, size: int = 256) -> np.ndarray[Any, Any]:
    """The picture to sway: a file, or a head and shoulders of plain shapes."""
    if path:
        with av.open(str(path)) as container:
            return next(container.decode(video=0)).to_ndarray(format="rgb24")
    y, x = np.mgrid[0:size, 0:size] / size
    rgb = np.empty((size, size, 3), np.uint8)
    rgb[:] = (np.array([120, 138, 152]) - 40 * y[..., None]).astype(np.uint8)
    rgb[(x - 0.5) ** 2 / 0.2 + (y - 1.15) ** 2 / 0.13 < 1] = (70, 92, 136)
    rgb[(x - 0.5) ** 2 / 0.03 + (y - 0.45) ** 2 / 0.055 < 1] = (226, 190, 168)
    return rgb


async def offer_loopback() -> None:
    """Let ICE use 127.0.0.1, which aioice leaves out: these tests must run on a machine without a network."""
    aioice.ice.get_host_addresses = lambda use_ipv4, use_ipv6: ["127.0.0.1"]


async def serving(server: FakeServer, port: int) -> AsyncIterator[int]:
    runner = web.AppRunner(server.application(), shutdown_timeout=1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port)
    await site.start()
    yield runner.addresses[0][1]
    await runner.cleanup()


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--picture", type=Path)
    args = parser.parse_args()
    await offer_loopback()
    async for port in serving(FakeServer(still_picture(args.picture)), args.port):
        print(f"http://127.0.0.1:{port}", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main())
