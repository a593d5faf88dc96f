"""RTVI: what pipecat's clients are told, what they may ask, and one of them over real WebRTC."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from aiortc import RTCSessionDescription

from config import Settings
from llm import Conversation
from media import Event
from server.application import make_app
from server.endpoint import Services
from server.metrics import Metrics
from server.narrator import Narrator
from server.rtvi import COMMANDS_MAX, Rtvi
from sessions.manager import SessionManager
from sessions.session import Built, Wish
from tests.fakes.app import SDP, Stage, connect, serving, until
from tests.fakes.llm import FakeLlm, talking
from tests.fakes.real import FakeReal
from tests.fakes.viewer import PATIENCE_S, Viewer
from transport.recordings import Recordings
from webrtc import PeerSession


def told(*events: tuple[str, dict[str, Any]]) -> list[tuple[str, Any]]:
    narrator = Narrator()
    messages = [m for name, data in events for m in narrator.tell(Event(name, 0, data))]
    assert all(m["label"] == "rtvi-ai" for m in messages)
    return [(m["type"], m.get("data")) for m in messages]


def test_a_spoken_sentence_is_told_as_it_is_heard() -> None:
    messages = told(
        ("speech.started", {"text": "Good day to you."}),
        ("clause.started", {"text": "Good day to you."}),
        ("word", {"text": "Good", "start_s": 0.0, "end_s": 0.2}),
        ("word", {"text": "day", "start_s": 0.2, "end_s": 0.4}),
        ("speech.ended", {}),
    )
    assert [name for name, _ in messages] == [
        "bot-tts-started", "bot-started-speaking", "bot-output", "bot-transcription", "bot-tts-text", "bot-output",
        "bot-tts-text", "bot-output", "bot-output", "bot-tts-stopped", "bot-stopped-speaking",
    ]  # fmt: skip
    outputs = [data for name, data in messages if name == "bot-output"]
    progress = [(one["spoken_status"], one["spoken_progress"]["accumulated_text"]) for one in outputs]
    assert progress == [
        ("in-progress", ""), ("in-progress", "Good"), ("in-progress", "Good day"), ("completed", "Good day to you."),
    ]  # fmt: skip
    assert {one["segment_id"] for one in outputs} == {1} and outputs[1]["spoken_progress"]["remaining_text"] == (
        " day to you."
    )


def test_a_voice_without_words_has_its_clauses_told() -> None:
    messages = told(
        ("speech.started", {}),
        ("clause.started", {"text": "你好，"}),
        ("clause.started", {"text": "很高兴。"}),
        ("speech.ended", {}),
    )
    assert [data["text"] for name, data in messages if name == "bot-tts-text"] == ["你好，", "很高兴。"]
    assert [d["segment_id"] for n, d in messages if n == "bot-output" and d["spoken_status"] == "completed"] == [1, 2]


def test_an_interruption_ends_what_was_begun_and_completes_nothing() -> None:
    messages = told(
        ("speech.started", {}), ("clause.started", {"text": "A long story"}), ("interrupted", {}), ("interrupted", {})
    )
    names = [name for name, _ in messages]
    assert names[4:] == ["bot-tts-stopped", "bot-stopped-speaking", "bot-interrupted", "bot-interrupted"]
    assert all(data["spoken_status"] != "completed" for name, data in messages if name == "bot-output")


def test_a_pause_is_silence_and_resuming_is_speech() -> None:
    names = [n for n, _ in told(("speech.started", {}), ("paused", {}), ("resumed", {}), ("speech.ended", {}))]
    assert names == [
        "bot-tts-started", "bot-started-speaking", "bot-stopped-speaking", "bot-started-speaking", "bot-tts-stopped",
        "bot-stopped-speaking",
    ]  # fmt: skip


def test_a_suspended_sentence_that_is_dropped_has_ended() -> None:
    names = [n for n, _ in told(("speech.started", {}), ("paused", {}), ("interrupted", {}))]
    assert names[2:] == ["bot-stopped-speaking", "bot-tts-stopped", "bot-interrupted"]


def test_what_the_user_says_and_the_model_answers() -> None:
    messages = told(
        ("user.started", {}),
        ("transcript.partial", {"text": "what is", "language": "en"}),
        ("user.stopped", {"seconds": 1.2}),
        ("transcript.final", {"text": "What is it?", "language": "en", "confidence": 0.9}),
        ("reply.started", {}),
        ("reply.text", {"text": "A cat."}),
        ("reply.ended", {}),
    )
    assert [name for name, _ in messages] == [
        "user-started-speaking", "user-transcription", "user-stopped-speaking", "user-transcription", "user-llm-text",
        "bot-llm-started", "bot-llm-text", "bot-llm-stopped",
    ]  # fmt: skip
    partial, final = (data for name, data in messages if name == "user-transcription")
    assert (partial["text"], partial["final"]) == ("what is", False)
    assert (final["text"], final["final"]) == ("What is it?", True)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", final["timestamp"]) and final["user_id"]
    assert dict(messages)["user-llm-text"] == {"text": "What is it?"}


def test_latency_becomes_metrics_of_what_is_known() -> None:
    [(name, data)] = told(("latency", {"turn_s": 0.5, "first_text_s": 0.2, "first_sound_s": None, "total_s": 0.9}))
    assert name == "metrics" and data == {
        "ttfb": [{"processor": "llm", "value": 0.2}],
        "processing": [{"processor": "turn", "value": 0.5}, {"processor": "voice_to_voice", "value": 0.9}],
    }


def test_errors_are_not_fatal_and_unknown_events_are_server_messages() -> None:
    messages = told(("error", {"message": "no voice"}), ("listening", {"state": "muted"}))
    assert messages[0] == ("error", {"error": "no voice", "message": "no voice", "fatal": False})
    assert messages[1] == ("server-message", {"state": "muted", "event": "listening", "turn": 0})


class Client:
    """Speaks to an `Rtvi` of a session on fakes."""

    def __init__(self, stage: Stage, sessionid: str, answer: Any = "chat") -> None:
        self.sent: list[dict[str, Any]] = []
        self.session = stage.services.sessions.get(sessionid)
        self.real = stage.reals[sessionid]
        self.rtvi = Rtvi(stage.services, self.session, self.sent.append, answer)

    def say(self, type_: str, data: Any = None, id_: Any = "7") -> None:
        self.rtvi.told({"label": "rtvi-ai", "type": type_, "id": id_, "data": data})

    async def ask(self, type_: str, data: Any = None, id_: Any = "7") -> dict[str, Any]:
        before = len(self.sent)
        self.say(type_, data, id_)
        await until(lambda: len(self.sent) > before)
        return self.sent[-1]


@contextlib.asynccontextmanager
async def talking_to(answer: str = "chat", model: Any = None) -> AsyncIterator[tuple[Client, Stage]]:
    async with serving(model) as (client, stage):
        yield Client(stage, await connect(client), answer), stage


async def test_client_ready_is_answered_with_bot_ready_of_the_same_id() -> None:
    async with talking_to() as (client, _):
        ready = await client.ask("client-ready", {"version": "2.1.0", "about": {"library": "x"}})
        assert ready["type"] == "bot-ready" and ready["id"] == "7" and ready["data"]["version"].startswith("2.")
        assert ready["data"]["about"]["session_id"] == client.session.id


async def test_sent_text_is_spoken_where_that_was_asked_for() -> None:
    async with talking_to("echo") as (client, _):
        client.say("send-text", {"content": "Hello\u0007 there", "options": {}})
        await until(lambda: client.real.said)
        assert client.real.said[0].text == "Hello there" and client.real.turn == 1 and not client.sent[1:]


async def test_sent_text_is_answered_by_the_language_model() -> None:
    fake = FakeLlm(["A cat", " is an animal."])
    async with talking(fake) as model, talking_to(model=model) as (client, _):
        client.say("send-text", {"content": "By the way, I like cats.", "options": {"run_immediately": False}})
        client.say("send-text", {"content": "What is a cat?"})
        await until(lambda: "".join(said.text for said in client.real.said) == "A cat is an animal.")
        assert fake.requests[0]["messages"][-1]["content"] == "By the way, I like cats.\nWhat is a cat?"
        assert len(fake.requests) == 1


async def test_without_a_language_model_the_client_is_told() -> None:
    async with talking_to() as (client, _):
        refused = await client.ask("send-text", {"content": "What is a cat?"})
        assert refused["type"] == "error-response" and refused["id"] == "7"
        assert "no language model" in refused["data"]["error"] and not client.real.said


@pytest.mark.parametrize(
    ("type_", "data", "reason"),
    [
        ("send-text", {"content": ""}, "content"),
        ("send-text", {"content": "…"}, "no letter"),
        ("send-text", "hello", "must be an object"),
        ("send-text", {"content": "hi", "options": {"audio_response": False}}, "audio_response"),
        ("send-text", {"content": "x" * 5_001}, "at most 5000"),
        ("client-message", {"t": "dance"}, "dance"),
        ("client-message", {"t": "say", "d": 4}, "must be an object"),
        ("ui-event", {"event": "x"}, "ui-event"),
        ("None", None, "None"),
    ],
)
async def test_what_cannot_be_done_is_refused_with_a_reason(type_: str, data: Any, reason: str) -> None:
    async with talking_to("echo") as (client, _):
        refused = await client.ask(type_, data)
        assert refused["type"] == "error-response" and reason in refused["data"]["error"]
        assert not client.real.said


async def test_our_own_commands_come_as_client_messages() -> None:
    async with talking_to() as (client, _):
        answered = await client.ask("client-message", {"t": "say", "d": {"text": "Hello"}})
        assert (answered["type"], answered["id"], answered["data"]["t"]) == ("server-response", "7", "say")
        assert client.real.said[0].text == "Hello"
        turn = client.real.turn
        await client.ask("client-message", {"t": "interrupt"})
        assert client.real.turn == turn + 1


async def test_disconnect_bot_ends_the_session() -> None:
    async with talking_to() as (client, stage):
        client.say("disconnect-bot", {})
        await until(lambda: client.real.closed)
        assert len(stage.services.sessions) == 0


async def test_a_flood_is_refused_and_other_labels_are_not_for_us() -> None:
    async with talking_to("echo") as (client, _):
        client.rtvi.told({"label": "other", "type": "send-text", "data": {"content": "hi"}})
        for _ in range(COMMANDS_MAX + 1):
            client.say("send-text", {"content": "hi"}, 5)
        assert [m["type"] for m in client.sent] == ["error-response"] and "16" in client.sent[0]["data"]["error"]
        await until(lambda: len(client.real.said) == COMMANDS_MAX)


# ---- connecting


async def test_the_transports_offer_is_answered_with_a_connection_id() -> None:
    async with serving() as (client, stage):
        offer = {"sdp": SDP, "type": "offer", "pc_id": None, "restart_pc": False, "requestData": {"avatar": "mei"}}
        response = await client.post("/api/offer", json=offer)
        body = await response.json()
        assert response.status == 200 and {"sdp", "type", "pc_id", "sessionid"} < set(body)
        assert body["type"] == "answer" and stage.services.sessions.get(body["pc_id"]).wish.avatar == "mei"

        candidate = {"candidate": "candidate:1 1 udp 1 127.0.0.1 9 typ host", "sdp_mid": "0", "sdp_mline_index": 0}
        trickle = {"pc_id": body["pc_id"], "candidates": [candidate]}
        assert (await client.patch("/api/offer", json=trickle)).status == 200
        assert (await client.patch("/api/offer", json={**trickle, "pc_id": "123"})).status == 404

        again = await client.post("/api/offer", json={**offer, "pc_id": body["pc_id"]})
        assert again.status == 409 and "restart_pc" in (await again.json())["msg"]
        again = await client.post("/api/offer", json={**offer, "pc_id": body["pc_id"], "restart_pc": True})
        assert (await again.json())["pc_id"] != body["pc_id"]
        assert stage.reals[body["pc_id"]].closed and len(stage.services.sessions) == 1
        gone = await client.post("/api/offer", json={**offer, "pc_id": body["pc_id"], "restart_pc": True})
        assert gone.status == 200, "a connection that is over is made anew"


async def test_bad_offers_are_refused_as_everywhere() -> None:
    async with serving(api_key="secret") as (client, _):
        offer = {"sdp": SDP, "type": "offer"}
        assert (await client.post("/api/offer", json=offer)).status == 401
        headers = {"X-API-Key": "secret"}
        for status, change in (
            (404, {"requestData": {"avatar": "nobody"}}),
            (422, {"sdp": "v=0\r\n"}),
            (400, {"type": "answer"}),
            (400, {"requestData": {"text": "sing"}}),
        ):
            response = await client.post("/api/offer", json={**offer, **change}, headers=headers)
            assert response.status == status, await response.text()


class TalkingReal(FakeReal):
    """Speaks a tone for every text."""

    speaking = False

    async def say(self, text: str, **_: Any) -> None:
        self.speak(5, text=text)

    def act(self, audiotype: int) -> None: ...


@contextlib.asynccontextmanager
async def on_webrtc() -> AsyncIterator[tuple[TestClient[web.Request, web.Application], Services]]:
    """The application with real peers."""

    async def build(sessionid: str, wish: Wish, on_closed: Callable[[], None]) -> Built:
        real = TalkingReal(sessionid)
        return Built(cast(Any, real), PeerSession(real, None, lambda _: on_closed()), "ada")

    sessions = SessionManager(
        build, max_session=2, conversation=lambda _: Conversation(), connect_timeout_s=PATIENCE_S, idle_timeout_s=0
    )
    with ThreadPoolExecutor(1) as decoders:
        services = Services(Settings(), sessions, Metrics(), decoders, list, list, Recordings(Path("unused")))
        async with TestClient(TestServer(make_app(services, Path("unused")))) as client:
            yield client, services


@pytest.mark.webrtc
async def test_a_client_over_webrtc() -> None:
    """What SmallWebRTCTransport does: an offer without candidates, signalling, pings, then RTVI."""
    viewer = Viewer(("audio", "video"), microphone=True)
    chat = viewer.pc.createDataChannel("chat", ordered=True)
    heard: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    opened = asyncio.Event()
    chat.on("open", opened.set)
    chat.on("message", lambda text: heard.put_nowait(json.loads(text)))

    async def next_of(type_: str) -> dict[str, Any]:
        async with asyncio.timeout(PATIENCE_S):
            while (message := await heard.get()).get("type") != type_:
                pass
        return message

    async with on_webrtc() as (client, services):
        sdp = "".join(x for x in (await viewer.offer()).splitlines(True) if "candidate" not in x)
        offer = {"sdp": sdp, "type": "offer", "pc_id": None, "requestData": {"text": "echo"}}
        answer = await (await client.post("/api/offer", json=offer)).json()
        await viewer.pc.setRemoteDescription(RTCSessionDescription(answer["sdp"], answer["type"]))
        await asyncio.wait_for(opened.wait(), PATIENCE_S)
        chat.send(json.dumps({"type": "signalling", "message": {"type": "trackStatus", "receiver_index": 0}}))
        for rubbish in ("ping: 1", "{", "[" * 50_000, b"\x00", '{"label": "rtvi-ai"}'):
            chat.send(rubbish)
        chat.send(json.dumps({"label": "rtvi-ai", "type": "client-ready", "id": "a1", "data": {"version": "2.1.0"}}))
        assert (await next_of("bot-ready"))["id"] == "a1"
        await viewer.picture()
        chat.send(json.dumps({"label": "rtvi-ai", "type": "send-text", "id": "a2", "data": {"content": "hello"}}))
        await next_of("bot-started-speaking")
        await next_of("bot-stopped-speaking")
        assert (await viewer.event())["event"] == "speech.started", "the other channel is told as ever"
        await services.sessions.close(answer["pc_id"])
        assert (await next_of("signalling"))["message"] == {"type": "peerLeft"}
    await viewer.close()
