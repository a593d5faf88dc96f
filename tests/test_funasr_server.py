"""FunASR's protocol as its clients and LiveTalking's page use it, over scripted ears."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest
from aiohttp import web

import server.application
import server.funasr
import server.funasrclient
import tests.fakes.app
from asr.funasr import FunAsrRecogniser
from errors import EngineError
from listening.listener import Listener, ListenerEvents
from listening.settings import ListeningSettings
from listening.turns import TurnDetector
from server.ears import Ears
from server.endpoint import Services
from server.funasrclient import Client
from server.increments import Increments, joined
from tests.fakes.app import Stage, serving, until
from tests.fakes.listening import LoudnessVad, ScriptedRecogniser
from tests.fakes.sounds import written
from tests.virtual_time import run_virtual

CONFIG = {
    "mode": "2pass", "chunk_size": [5, 10, 5], "chunk_interval": 10, "wav_name": "h5", "is_speaking": True, "itn": True,
    "hotwords": '{"阿里巴巴": 20}',
}  # fmt: skip
STOP = {"chunk_size": [5, 10, 5], "wav_name": "h5", "is_speaking": False, "chunk_interval": 10}


def sound(seconds: float, level: float = 0.3, rate_hz: int = 16_000) -> bytes:
    """s16le, loud or silent."""
    return np.full(round(seconds * rate_hz), round(level * 32767), "<i2").tobytes()


SUBTYPES = {"WAV": "PCM_16", "OGG": "VORBIS", "FLAC": "PCM_16"}


class Page:
    """LiveTalking's page, as far as it has ears."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse, recogniser: ScriptedRecogniser) -> None:
        self.socket = socket
        self.recogniser = recogniser

    async def tell(self, **values: Any) -> None:
        await self.socket.send_str(json.dumps(values))

    async def send(self, data: bytes) -> None:
        """In its pieces of 960 samples."""
        for begin in range(0, len(data), 1920):
            await self.socket.send_bytes(data[begin : begin + 1920])

    async def speak(self, seconds: float) -> None:
        await self.send(sound(seconds))

    async def pause(self, seconds: float = 2.0) -> None:
        await self.send(sound(seconds, 0.0))

    async def answer(self) -> dict[str, Any]:
        async with asyncio.timeout(5):
            message = await self.socket.receive()
        assert message.type is aiohttp.WSMsgType.TEXT, message
        answered: dict[str, Any] = json.loads(message.data)
        return answered

    async def finished(self) -> dict[str, Any]:
        """The next answer that is no caption."""
        while (answered := await self.answer())["mode"] != "2pass-offline":
            pass
        return answered

    async def end(self) -> aiohttp.WSMessage:
        async with asyncio.timeout(5):
            return await self.socket.receive()


@contextlib.asynccontextmanager
async def page(*texts: str | Exception, partial: str = "what is it", **config: Any) -> AsyncIterator[Page]:
    """A page that has just connected to a server whose recogniser gives these texts."""
    recogniser = ScriptedRecogniser(*texts, takes_s=0.0, partial=partial)
    async with serving() as (client, stage):
        ears(stage).recogniser = recogniser
        async with client.ws_connect("/api/asr") as socket:
            made = Page(socket, recogniser)
            await made.tell(**{**CONFIG, **config})
            yield made


def ears(stage: Stage) -> Ears:
    assert stage.services.ears is not None
    return stage.services.ears


@pytest.fixture(autouse=True)
def scripted_ears(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every stage hears with fakes; sound may come much faster than it is spoken."""

    def make_app(services: Services, web_root: Path) -> web.Application:
        async def listener(events: ListenerEvents, language: str | None) -> Listener:
            settings = ListeningSettings(partial_first_s=0.5, partial_every_s=0.5)
            return Listener(LoudnessVad(), TurnDetector(settings), mine.recogniser, settings, events, language=language)

        mine = services.ears = Ears(ScriptedRecogniser("unused"), listener)
        return real(services, web_root)

    real = server.application.make_app
    monkeypatch.setattr(tests.fakes.app, "make_app", make_app)
    monkeypatch.setattr(server.funasrclient, "AHEAD_S", 4.5)


async def test_a_page_is_hands_free() -> None:
    async with page("What is it?", "And that?") as one:
        await one.speak(1.2)
        await until(lambda: one.recogniser.partials)
        await one.speak(1.0)
        captioned = await one.answer()
        assert (captioned["mode"], captioned["text"], captioned["is_final"]) == ("2pass-online", "what is it", False)
        await one.pause()
        finished = await one.finished()
        assert finished == {"mode": "2pass-offline", "text": "What is it?", "wav_name": "h5", "is_final": False}
        await one.speak(0.4)
        await one.pause()
        assert (await one.finished())["text"] == "And that?"
        await one.tell(**STOP)
        assert (await one.answer()) == {"mode": "2pass-online", "text": "", "wav_name": "h5", "is_final": True}


async def test_stopping_ends_what_is_being_said() -> None:
    async with page("Half a sentence") as one:
        await one.speak(0.45)
        await one.tell(**STOP, mode="2pass")
        assert (await one.answer()) == {
            "mode": "2pass-offline", "text": "Half a sentence", "wav_name": "h5", "is_final": True,
        }  # fmt: skip
        await one.tell(is_speaking=True)
        await one.speak(0.45)
        await one.tell(is_speaking=False)
        assert (await one.answer())["text"] == "Half a sentence", "it can begin again on the same connection"


async def test_stopping_without_a_word_is_answered_all_the_same() -> None:
    async with page("unused") as one:
        await one.tell(**STOP)
        assert (await one.answer())["is_final"] is True
        assert not one.recogniser.finals


async def test_online_mode_appends_and_never_takes_back() -> None:
    async with page("What is it, then?", mode="online") as one:
        await one.speak(1.2)
        await until(lambda: one.recogniser.partials)
        await one.speak(1.0)
        texts = [await one.answer()]
        await one.pause()
        while not texts[-1]["text"].endswith("?"):
            texts.append(await one.answer())
        assert "".join(text["text"] for text in texts) == "what is it, then?"
        assert {text["mode"] for text in texts} == {"online"}


@pytest.mark.parametrize("rate_hz", [8_000, 48_000])
async def test_other_rates_are_heard(rate_hz: int) -> None:
    async with page("你好", audio_fs=rate_hz, svs_lang="zh") as one:
        await one.send(sound(0.6, rate_hz=rate_hz))
        await one.tell(is_speaking=False)
        assert (await one.answer())["text"] == "你好"
        assert 0.5 < one.recogniser.finals[0] < 1.2


@pytest.mark.parametrize(
    ("wav_format", "kind"),
    [("PCM", "WAV"), ("wav", "WAV"), ("ogg", "OGG"), ("flac", "FLAC"), ("PCM", None), ("wav", None)],
)
async def test_a_file_is_recognised_whole(wav_format: str, kind: str | None) -> None:
    async with page("A whole file", mode="offline", wav_format=wav_format) as one:
        data = sound(1.0) if kind is None else written(1.0, 44_100, 2, SUBTYPES[kind], kind)
        await one.send(data)
        await one.tell(**STOP, mode="offline")
        assert (await one.answer()) == {"mode": "offline", "text": "A whole file", "wav_name": "h5", "is_final": True}
        assert one.recogniser.finals == [pytest.approx(1.0, abs=0.05)]


async def test_a_long_recording_is_recognised_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server.funasrclient, "PIECE_S", 10.0)
    async with page("一二", "三四。", mode="offline") as one:
        await one.send(sound(12))
        await one.tell(is_speaking=False)
        assert (await one.answer())["text"] == "一二三四。"


async def test_a_recogniser_that_fails_is_told_and_survived() -> None:
    async with page(EngineError("whisper", "out of memory"), "Better now") as one:
        await one.speak(0.6)
        await one.pause()
        failed = await one.answer()
        assert failed["text"] == "" and "out of memory" in failed["error"] and not failed["is_final"]
        await one.speak(0.6)
        await one.pause(1.5)
        assert (await one.finished())["text"] == "Better now"
    async with page(EngineError("whisper", "out of memory"), mode="offline") as one:
        await one.speak(0.6)
        await one.tell(is_speaking=False)
        failed = await one.answer()
        assert failed["is_final"] and "out of memory" in failed["error"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "not JSON"),
        ("[1]", "must be an object"),
        ("[" * 100_000, "not JSON"),
        ('{"mode": "3pass"}', "mode"),
        ('{"audio_fs": 1}', "audio_fs"),
        ('{"svs_lang": "Klingon!"}', "svs_lang"),
    ],
)
async def test_a_message_that_makes_no_sense_ends_the_connection_with_its_reason(text: str, reason: str) -> None:
    async with page("unused") as one:
        await one.socket.send_str(text)
        ended = await one.end()
        assert ended.type is aiohttp.WSMsgType.CLOSE and ended.data == 1008 and reason in str(ended.extra)


async def test_a_rate_no_microphone_has_is_refused() -> None:
    async with page("unused", audio_fs=11_025) as one:
        await one.speak(0.1)
        assert "11025" in str((await one.end()).extra)


async def test_too_large_a_file_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server.funasr, "COLLECTED_MIB_MAX", 1)
    async with page("unused", mode="offline") as one:
        await one.socket.send_bytes(bytes(1 << 19))
        await one.socket.send_bytes(bytes(1 << 19))
        await one.socket.send_bytes(b"x")
        assert "more than" in str((await one.end()).extra)


async def test_rubbish_in_a_file_is_told() -> None:
    async with page("unused", mode="offline", wav_format="mp3") as one:
        await one.socket.send_bytes(b"RIFF" + bytes(3000))
        await one.tell(is_speaking=False)
        answered = await one.answer()
        assert answered["is_final"] and answered["error"] and not one.recogniser.finals


async def test_clients_are_counted_and_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server.funasr, "CLIENTS_MAX", 2)
    async with serving() as (client, stage):
        async with (
            client.ws_connect("/api/asr") as first,
            client.ws_connect("/api/asr", protocols=["binary"]) as second,
        ):
            assert second.protocol == "binary" and not first.closed
            third = await client.get("/api/asr", headers=UPGRADE)
            assert third.status == 429
        await until(lambda: ears(stage).clients == 0)
        assert (await client.get("/api/asr")).status == 400


UPGRADE = {
    "Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}  # fmt: skip


async def test_the_key_is_wanted_and_taken_from_the_address() -> None:
    async with serving(api_key="secret") as (client, _):
        assert (await client.get("/api/asr", headers=UPGRADE)).status == 401
        async with client.ws_connect("/api/asr?api_key=secret") as socket:
            assert not socket.closed


async def test_without_recognition_clients_are_told_before_they_connect() -> None:
    async with serving() as (client, stage):
        ears(stage).why_not = lambda: "no weights of whisper-base"
        response = await client.get("/api/asr", headers=UPGRADE)
        assert response.status == 503 and "whisper-base" in (await response.json())["msg"]
        stage.services.ears = None
        assert (await client.get("/api/asr", headers=UPGRADE)).status == 503


@pytest.mark.parametrize(
    ("captions", "final", "told"),
    [
        (["what", "what is", "what is it"], "What is it?", ["", "what", " is", " it?"]),
        (["你", "你好", "你好吗"], "你好吗？", ["", "你", "好", "吗？"]),
        (["I can", "Ike an", "I can't"], "I can't.", ["", "", "", "I can't."]),
        (["one two", "one two", "one"], "one", ["", "one two", "", ""]),
        ([], "Hello, there", ["Hello, there"]),
        (["a b", "a b"], "", ["", "a b", ""]),
    ],
)
def test_increments(captions: list[str], final: str, told: list[str]) -> None:
    increments = Increments()
    assert [*(increments.partial(text) for text in captions), increments.final(final)] == told
    assert increments.final("again") == "again", "the next utterance begins anew"


def test_pieces_join_as_each_script_does() -> None:
    assert joined(["今天", "很好。", "真的", "Yes", "it is", ""]) == "今天很好。真的 Yes it is"


def test_sound_that_waited_for_the_models_is_caught_up_with() -> None:
    async def scenario() -> None:
        now = asyncio.get_running_loop().time
        settings = ListeningSettings()
        recogniser = ScriptedRecogniser("First.", "Second.", takes_s=0.3)

        async def listener(events: ListenerEvents, language: str | None) -> Listener:
            await asyncio.sleep(10)  # the models are loaded
            return Listener(LoudnessVad(), TurnDetector(settings), recogniser, settings, events, now=now)

        async def no_file(data: bytes) -> Any: ...

        client = Client(Ears(recogniser, listener), no_file, 0, 0.0, now)
        for _ in range(2):
            await client.hear(sound(1.0))
            await client.hear(sound(4.0, 0.0))
        assert 14 < now() < 15.5, "10 s of sound that waited take 5"
        answers = [client.answers.get_nowait() for _ in range(client.answers.qsize())]
        texts = [answer["text"] for answer in answers if answer["mode"] == "2pass-offline"]
        assert texts == ["First.", "Second."], "and two turns are two"
        await client.hear(sound(20))
        assert now() > 25, "what comes too early waits for its time"
        await client.aclose()

    run_virtual(scenario())


async def test_our_own_client_of_the_protocol_understands_it() -> None:
    async with serving() as (client, stage):
        ears(stage).recogniser = ScriptedRecogniser("今天天气很好。", takes_s=0.0)
        recogniser = FunAsrRecogniser(str(client.make_url("/api/asr")).replace("http", "ws"))
        pcm = np.full(16_000, 0.3, np.float32)
        try:
            assert (await recogniser.transcribe(pcm)).text == "今天天气很好。"
        finally:
            await recogniser.aclose()
