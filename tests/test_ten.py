"""TEN: the server that its generic_video extension asks for, and our own extension against it, on a runtime's shim."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import importlib
import json
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import aiohttp
import numpy as np
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient

import server.tenroom
from errors import Busy
from server.ten import ROOMS
from server.tenroom import Room, Voice
from tests.fakes import ten_runtime
from tests.fakes.app import SDP, FakeReal, Stage, serving, until
from tests.fakes.ten_runtime import AsyncTenEnv, AudioFrame, Cmd, Data, StatusCode, TenEnv

PACKAGE = Path(__file__).parent.parent / "integrations" / "ten" / "visage_avatar"
START = {
    "avatar_id": "mei", "quality": "high", "version": "v1", "video_encoding": "H264", "activity_idle_timeout": 60,
    "agora_settings": {"app_id": "x", "token": "x", "channel": "c", "uid": "1", "enable_string_uid": False},
}  # fmt: skip
Http = TestClient[web.Request, web.Application]


def sound(seconds: float, rate_hz: int = 16_000, level: float = 0.5) -> bytes:
    return np.full(round(seconds * rate_hz), round(level * 32767), "<i2").tobytes()


def voice(data: bytes, rate_hz: int = 16_000, **more: Any) -> dict[str, Any]:
    audio = base64.b64encode(data).decode()
    return {"command": "voice", "audio": audio, "sampleRate": rate_hz, "encoding": "PCM16", "event_id": "e", **more}


class Agent:
    """What generic_video_python does."""

    def __init__(self, client: Http, stage: Stage, given: dict[str, Any]) -> None:
        self.client, self.stage, self.given = client, stage, given
        self.socket: aiohttp.ClientWebSocketResponse

    @property
    def bearer(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.given['session_token']}"}

    @property
    def room(self) -> Room:
        return self.stage.app[ROOMS].rooms[self.given["session_id"]]

    async def connect(self) -> None:
        path = "/" + self.given["websocket_address"].split("/", 3)[3]
        self.socket = await self.client.ws_connect(path, headers=self.bearer)
        await self.say(command="init", session_id=self.given["session_id"], **START)
        assert await self.told() == {"event": "ready", "session_id": self.given["session_id"]}

    async def say(self, **command: Any) -> None:
        await self.socket.send_json(command)

    async def told(self) -> dict[str, Any]:
        async with asyncio.timeout(5):
            answered: dict[str, Any] = await self.socket.receive_json()
        return answered

    async def watch(self) -> FakeReal:
        """Somebody watches; what they see."""
        offer = {"session_id": self.given["session_id"], "watch_token": self.given["watch_token"]}
        response = await self.client.post("/api/ten/watch", json={**offer, "sdp": SDP, "type": "offer"})
        body = await response.json()
        assert response.status == 200 and body["sdp"], body
        return self.stage.reals[str(body["sessionid"])]


@contextlib.asynccontextmanager
async def agent(**settings: Any) -> AsyncIterator[Agent]:
    async with serving(**settings) as (client, stage):
        headers = {"x-api-key": settings.get("api_key", "anything")}
        response = await client.post("/api/ten/start", json=START, headers=headers)
        assert response.status == 200
        made = Agent(client, stage, await response.json())
        await made.connect()
        yield made


async def test_an_agents_voice_is_spoken_to_whoever_watches() -> None:
    async with agent() as one:
        real = await one.watch()
        assert one.stage.services.sessions.get(real.sessionid).wish.avatar == "mei"
        for _ in range(5):
            await one.say(**voice(sound(0.1)))
        await one.say(command="voice_end", event_id="e")
        await until(lambda: len(real.pcm) == 8_000 and all(task.done() for task in real.playing))
        assert len(real.playing) == 1 and np.allclose(real.pcm[1000:7000], 0.5, atol=0.01)
        await one.say(**voice(sound(0.2)))
        await until(lambda: len(real.playing) == 2)  # the next utterance is another


@pytest.mark.parametrize("rate_hz", [8_000, 24_000, 48_000])
async def test_sound_of_other_rates_keeps_its_length(rate_hz: int) -> None:
    async with agent() as one:
        real = await one.watch()
        data = sound(1.0, rate_hz)
        for begin in range(0, len(data), 999):  # halves of samples too
            await one.say(**voice(data[begin : begin + 999], rate_hz))
        await one.say(command="voice_end")
        await until(lambda: real.playing and all(task.done() for task in real.playing))
        assert abs(len(real.pcm) - 16_000) < 20


async def test_an_interruption_silences_at_once() -> None:
    async with agent() as one:
        real = await one.watch()
        await one.say(**voice(sound(0.5)))
        await until(lambda: real.playing)
        await one.say(command="voice_interrupt", event_id="e")
        await until(lambda: real.turn == 1)
        await one.say(**voice(sound(0.1)))
        await until(lambda: len(real.playing) == 2)


async def test_nobody_needs_to_watch_and_viewers_come_and_go() -> None:
    async with agent() as one:
        await one.say(**voice(sound(0.5)))
        assert (await one.told())["event"] == "unheard"
        assert one.room.unheard_s == pytest.approx(0.5) and not one.stage.reals
        first = await one.watch()
        await one.say(**voice(sound(0.1)))
        await until(lambda: len(first.pcm) == 1_600 or first.playing)
        second = await one.watch()
        await until(lambda: first.closed)
        await one.say(command="voice_end")
        await one.say(**voice(sound(0.1)))
        await until(lambda: second.playing)
        await one.stage.services.sessions.close(second.sessionid)
        await one.say(**voice(sound(0.1)))
        await one.say(command="heartbeat")
        await until(lambda: one.room.unheard_s > 0.55)


async def test_stopping_ends_the_session_and_the_connection() -> None:
    async with agent() as one:
        real = await one.watch()
        body = {"session_id": one.given["session_id"]}
        wrong = await one.client.delete("/api/ten/stop", json=body, headers={"authorization": "Bearer x"})
        assert wrong.status == 401
        assert (await one.client.delete("/api/ten/stop", json=body, headers=one.bearer)).status == 200
        await until(lambda: real.closed)
        await one.say(command="heartbeat")
        async with asyncio.timeout(5):
            assert (await one.socket.receive()).type is aiohttp.WSMsgType.CLOSE
        assert (await one.client.delete("/api/ten/stop", json=body, headers=one.bearer)).status == 404


async def test_keys_and_tokens() -> None:
    async with agent(api_key="secret") as one:
        assert (await one.client.post("/api/ten/start", json=START)).status == 401
        path = f"/api/ten/voice/{one.given['session_id']}"
        for headers in ({}, {"authorization": "Bearer secret"}):
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await one.client.ws_connect(path, headers=headers)
            assert refused.value.status == 401
        offer = {"session_id": one.given["session_id"], "watch_token": "x", "sdp": SDP, "type": "offer"}
        assert (await one.client.post("/api/ten/watch", json=offer)).status == 401
        await one.watch()
        # An agent that was restarted has only the API key.
        body = {"session_id": one.given["session_id"]}
        assert (await one.client.delete("/api/ten/stop", json=body)).status == 401
        assert (await one.client.delete("/api/ten/stop", json=body, headers={"x-api-key": "secret"})).status == 200


async def test_avatars_are_limited_and_those_of_agents_that_have_gone_are_stopped() -> None:
    async with agent(max_session=1) as one:
        full = await one.client.post("/api/ten/start", json=START)
        assert full.status == 429
        unknown = await one.client.post("/api/ten/start", json={**START, "avatar_id": "16cb73e7de08"})
        assert unknown.status == 404 and "ada, mei" in (await unknown.json())["msg"]
        real = await one.watch()
        one.room.used = time.monotonic() - 61
        await until(lambda: real.closed)
        assert not one.stage.app[ROOMS].rooms


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("{", "not understood"),
        ({"command": "sing"}, "not understood"),
        (voice(b"", 11_000), "sampleRate was 11000"),
        ({"command": "voice", "audio": "%%%"}, "base64"),
        (voice(b"", encoding="MP3"), "not understood"),
        ({"command": "init", "session_id": "other"}, "other"),
        ("[" * 10_000, "not understood"),
    ],
)
async def test_a_wrong_command_is_answered_and_survived(command: Any, reason: str) -> None:
    async with agent() as one:
        await one.watch()
        await one.socket.send_str(command if isinstance(command, str) else json.dumps(command))
        answered = await one.told()
        assert answered["event"] == "error" and reason in answered["message"]
        await one.say(command="init")
        assert (await one.told())["event"] == "ready"


async def test_a_new_connection_takes_the_place_of_the_old() -> None:
    async with agent() as one:
        old = one.socket
        await one.connect()
        await old.send_json({"command": "heartbeat"})
        async with asyncio.timeout(5):
            assert (await old.receive()).type is aiohttp.WSMsgType.CLOSE


async def test_voice_that_nobody_plays_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server.tenroom, "VOICE_QUEUE_S", 0.5)
    queue = Voice(16_000)
    with pytest.raises(Busy):
        for _ in range(20):
            queue.put(sound(0.1))
    assert queue.waiting_s < 0.8


async def test_the_page_that_shows_it() -> None:
    async with agent(api_key="secret") as one:
        assert one.given["watch_url"].endswith(f"#{one.given['session_id']}.{one.given['watch_token']}")
        response = await one.client.get("/api/ten/page")
        text = await response.text()
        assert response.status == 200 and 'fetch("watch"' in text and response.content_type == "text/html"


# ---- our extension


@pytest.fixture
def addons(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """The package, imported as TEN's runtime does."""
    names = [name for name in sys.modules if name.startswith("integrations")]
    for name in names:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "ten_runtime", ten_runtime)
    ten_runtime.ADDONS.clear()
    module: ModuleType = importlib.import_module("integrations.ten.visage_avatar")
    monkeypatch.setattr(importlib.import_module(f"{module.__name__}.client"), "RECONNECT_DELAYS_S", (0.01,))
    yield dict(ten_runtime.ADDONS)
    for name in [name for name in sys.modules if name.startswith("integrations")]:
        del sys.modules[name]


class Graph:
    """A graph with our extension in it, and a server."""

    def __init__(self, extension: Any, env: AsyncTenEnv, client: Http, stage: Stage) -> None:
        self.extension, self.env, self.client, self.stage = extension, env, client, stage

    @property
    def room(self) -> Room:
        [room] = self.stage.app[ROOMS].rooms.values()
        return room

    async def watch(self) -> FakeReal:
        session_id, token = self.env.data[-1].properties["watch_url"].partition("#")[2].split(".")
        agent = Agent(self.client, self.stage, {"session_id": session_id, "watch_token": token})
        await until(lambda: self.room.connections)
        return await agent.watch()

    async def speak(self, frame: AudioFrame) -> None:
        await self.extension.on_audio_frame(self.env, frame)


@contextlib.asynccontextmanager
async def graph(addons: dict[str, Any], **properties: Any) -> AsyncIterator[Graph]:
    async with serving(api_key="secret") as (client, stage):
        made = TenEnv()
        addons["visage_avatar"]().on_create_instance(made, "avatar", None)
        env = AsyncTenEnv(**{"base_url": str(client.make_url("")), "api_key": "secret", **properties})
        extension: Any = made.made[0]
        await extension.on_start(env)
        yield Graph(extension, env, client, stage)
        await extension.on_stop(env)


async def test_the_manifest_names_the_addon(addons: dict[str, Any]) -> None:
    manifest = json.loads((PACKAGE / "manifest.json").read_text())
    assert list(addons) == [manifest["name"]]
    properties = json.loads((PACKAGE / "property.json").read_text())
    assert set(properties) == set(manifest["api"]["property"]["properties"])


async def test_a_graphs_speech_is_spoken(addons: dict[str, Any]) -> None:
    async with graph(addons, avatar_id="mei") as one:
        real = await one.watch()
        for _ in range(20):
            await one.speak(AudioFrame.of(sound(0.01, 24_000), 24_000))
        stereo = np.stack([np.full(240, 8000), np.zeros(240)], 1).astype("<i2").tobytes()
        await one.speak(AudioFrame.of(stereo, 24_000, channels=2))
        ended = Data("tts_audio_end")
        ended.properties = {"reason": 1, "request_id": "r"}
        await one.extension.on_data(one.env, ended)
        await until(lambda: real.playing and all(task.done() for task in real.playing))
        assert abs(len(real.pcm) - 3_360) < 20 and real.pcm[1600] == pytest.approx(0.5, abs=0.01)
        assert real.pcm[-80:-40].mean() == pytest.approx(8000 / 32768, abs=0.01), "of two channels the first"
        await one.extension.on_stop(one.env)
        assert real.closed and not one.stage.app[ROOMS].rooms


async def test_without_an_end_a_silence_ends_the_utterance(addons: dict[str, Any]) -> None:
    async with graph(addons) as one:
        real = await one.watch()
        await one.speak(AudioFrame.of(sound(0.1)))
        await until(lambda: real.playing and all(task.done() for task in real.playing))


async def test_flush_silences_and_is_passed_on(addons: dict[str, Any]) -> None:
    async with graph(addons) as one:
        real = await one.watch()
        await one.speak(AudioFrame.of(sound(0.5)))
        await until(lambda: real.playing)
        await one.extension.on_cmd(one.env, Cmd("flush"))
        await until(lambda: real.turn == 1)
        await one.extension.on_cmd(one.env, Cmd("something"))
        assert [cmd.get_name() for cmd in one.env.cmds] == ["flush"]
        assert [result.status for result in one.env.results] == [StatusCode.OK, StatusCode.OK]


async def test_an_avatar_that_was_stopped_is_started_anew(addons: dict[str, Any]) -> None:
    async with graph(addons) as one:
        await until(lambda: one.room.connections)
        first = one.room
        one.stage.app[ROOMS].close(first)
        await one.extension.on_cmd(one.env, Cmd("flush"))  # whereupon the server ends the connection
        await until(lambda: len(one.env.data) == 2)
        real = await one.watch()
        await one.speak(AudioFrame.of(sound(0.1)))
        await until(lambda: real.playing)


async def test_a_graph_goes_on_without_its_avatar(addons: dict[str, Any]) -> None:
    for properties, reason in (
        ({"base_url": ""}, "base_url is missing"),
        ({"base_url": "http://127.0.0.1:9"}, "started no avatar"),
        ({"api_key": "wrong"}, "API key is wrong"),
        ({"avatar_id": "nobody"}, "nobody"),
    ):
        async with graph(addons, **properties) as one:
            assert any(log.startswith("error") and reason in log for log in one.env.logs), one.env.logs
            await one.speak(AudioFrame.of(sound(0.1)))
            await one.extension.on_cmd(one.env, Cmd("flush"))
            await one.extension.on_data(one.env, Data("tts_audio_end"))
            assert len(one.env.results) == 1


async def test_sound_that_is_not_16_bit_is_told_once(addons: dict[str, Any]) -> None:
    async with graph(addons) as one:
        for _ in range(3):
            await one.speak(AudioFrame.of(bytes(64), width=4))
        assert sum("4 bytes a sample" in log for log in one.env.logs) == 1
