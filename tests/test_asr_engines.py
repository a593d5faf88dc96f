"""Recognisers against scripted servers that speak the real protocols, and Whisper with and without its weights."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import io
import json
import types
import wave
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import hibari
import numpy as np
import pytest
import soxr
from aiohttp import WSMsgType, web
from aiohttp.test_utils import TestServer

import asr.funasr
import asr.openai
from asr.build import build_recognisers
from asr.funasr import FunAsrRecogniser
from asr.openai import OpenAiRecogniser
from asr.whisper import WINDOWS, WhisperRecogniser
from errors import BadRequest, EngineError
from media import SAMPLE_RATE_HZ

TONE = (0.3 * np.sin(2 * np.pi * 200 / 16_000 * np.arange(24_000))).astype(np.float32)
SILENCE = np.zeros(16_000, np.float32)


@contextlib.asynccontextmanager
async def serving(method: str, path: str, handler: Callable[[web.Request], Any]) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_route(method, path, handler)
    server = TestServer(app)
    await server.start_server()
    try:
        yield str(server.make_url("/")).rstrip("/")
    finally:
        await server.close()


# any server with /v1/audio/transcriptions


class Transcriptions:
    """Answers with `status` and `body`; notes what was asked."""

    def __init__(self, body: Any = None, status: int = 200, hangs: bool = False) -> None:
        self.body = {"text": " Good morning. "} if body is None else body
        self.status, self.hangs = status, hangs
        self.asked: list[dict[str, Any]] = []
        self.sound: list[bytes] = []
        self.headers: list[dict[str, str]] = []

    async def answer(self, request: web.Request) -> web.Response:
        if self.hangs:
            await asyncio.sleep(1e6)
        fields = await request.post()
        upload = fields["file"]
        assert isinstance(upload, web.FileField)
        self.sound.append(upload.file.read())
        self.asked.append({name: value for name, value in fields.items() if name != "file"})
        self.headers.append(dict(request.headers))
        if isinstance(self.body, bytes):
            return web.Response(body=self.body, status=self.status)
        return web.json_response(self.body, status=self.status)


@contextlib.asynccontextmanager
async def openai(server: Transcriptions, model: str = "whisper-1", **options: Any) -> AsyncIterator[OpenAiRecogniser]:
    async with serving("POST", "/v1/audio/transcriptions", server.answer) as url:
        engine = OpenAiRecogniser(f"{url}/v1/", model, **options)
        try:
            yield engine
        finally:
            await engine.aclose()


async def test_openai_is_sent_a_wav_and_a_key() -> None:
    server = Transcriptions({"text": " 這是門票。", "language": "chinese"})
    async with openai(server, api_key="k1") as engine:
        transcript = await engine.transcribe(2 * TONE, language="zh")
    assert (transcript.text, transcript.language, transcript.seconds) == ("这是门票。", "zh", 1.5)
    assert server.headers[0]["Authorization"] == "Bearer k1"
    asked = {"model": "whisper-1", "response_format": "verbose_json", "temperature": "0", "language": "zh"}
    assert server.asked == [asked]
    with wave.open(io.BytesIO(server.sound[0])) as sound:
        assert sound.getparams()[:4] == (1, 2, 16_000, 24_000)
        assert np.abs(np.frombuffer(sound.readframes(24_000), "<i2").astype(int)).max() == round(0.6 * 32767)


async def test_openai_tells_the_language_by_the_text_where_the_server_does_not() -> None:
    server = Transcriptions({"text": "你好，请问几点？"})
    async with openai(server, "gpt-4o-transcribe") as engine:
        assert (await engine.transcribe(TONE)).language == "zh"
    assert server.asked[0]["response_format"] == "json" and "language" not in server.asked[0]
    assert "Authorization" not in server.headers[0]


@pytest.mark.parametrize(
    ("no_speech", "logprob", "text"), [(0.9, -0.8, ""), (0.1, -0.2, "Good morning."), (0.5, -1.6, "")]
)
async def test_openai_what_the_server_doubts_is_dropped(no_speech: float, logprob: float, text: str) -> None:
    segment = {"start": 0.0, "end": 1.5, "no_speech_prob": no_speech, "avg_logprob": logprob}
    async with openai(Transcriptions({"text": "Good morning.", "segments": [segment]})) as engine:
        transcript = await engine.transcribe(TONE)
    assert transcript.text == text and transcript.no_speech == pytest.approx(no_speech)
    assert transcript.confidence == pytest.approx(np.exp(logprob) if text else 0.0)


async def test_openai_credits_are_dropped_and_silence_is_not_sent() -> None:
    server = Transcriptions({"text": "Thanks for watching!"})
    async with openai(server) as engine:
        assert not (await engine.transcribe(TONE)).text
        assert not (await engine.transcribe(SILENCE)).text
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("status", "retryable"),
    [(400, False), (401, False), (403, False), (413, False), (429, True), (500, True), (503, True)],
)
async def test_openai_statuses(status: int, retryable: bool) -> None:
    async with openai(Transcriptions({"error": {"message": "scripted"}}, status)) as engine:
        with pytest.raises(EngineError, match=f"openai: .* answered {status}: .*scripted") as failure:
            await engine.transcribe(TONE)
    assert failure.value.retryable is retryable


@pytest.mark.parametrize("body", [b"<html>", b"[]", {"words": []}, {"text": 7}, b"x" * ((1 << 20) + 1)])
async def test_openai_rubbish(body: Any) -> None:
    async with openai(Transcriptions(body)) as engine:
        with pytest.raises(EngineError, match="openai: "):
            await engine.transcribe(TONE)


async def test_openai_hanging_or_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asr.openai, "ANSWER_TIMEOUT_S", 0.05)
    async with openai(Transcriptions(hangs=True)) as engine:
        with pytest.raises(EngineError, match="did not answer in time") as failure:
            await engine.transcribe(TONE)
        assert failure.value.retryable
    absent = OpenAiRecogniser("http://127.0.0.1:9/v1")
    with pytest.raises(EngineError, match="openai: http://127.0.0.1:9"):
        await absent.transcribe(TONE)
    await absent.aclose()


# FunASR

Reply = dict[str, Any] | str | None
"""A message; None closes the connection."""


class FunAsrServer:
    """Takes an utterance as FunASR's servers do and answers its end with `replies`."""

    def __init__(self, *replies: Reply, answers_pings: bool = True) -> None:
        self.replies, self.answers_pings = replies, answers_pings
        self.first: list[dict[str, Any]] = []
        self.chunks: list[bytes] = []
        self.at_once = self.most_at_once = 0

    async def talk(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(protocols=("binary",), autoping=self.answers_pings)
        await socket.prepare(request)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            async for message in socket:
                if message.type == WSMsgType.BINARY:
                    self.chunks.append(message.data)
                elif message.type == WSMsgType.TEXT:
                    facts = json.loads(message.data)
                    if facts["is_speaking"]:
                        self.first.append(facts)
                    else:
                        await self._reply(socket)
        finally:
            self.at_once -= 1
        return socket

    async def _reply(self, socket: web.WebSocketResponse) -> None:
        for reply in self.replies:
            if reply is None:
                await socket.close()
            else:
                await socket.send_str(reply if isinstance(reply, str) else json.dumps(reply))


@contextlib.asynccontextmanager
async def funasr(server: FunAsrServer) -> AsyncIterator[FunAsrRecogniser]:
    async with serving("GET", "/", server.talk) as url:
        engine = FunAsrRecogniser(url.replace("http", "ws"))
        try:
            yield engine
        finally:
            await engine.aclose()


async def test_funasr_protocol() -> None:
    server = FunAsrServer({"mode": "offline", "text": "欢迎大家来体验。", "wav_name": "u", "is_final": True})
    async with funasr(server) as engine:
        transcript = await engine.transcribe(TONE)
    assert (transcript.text, transcript.language, transcript.seconds) == ("欢迎大家来体验。", "zh", 1.5)
    (first,) = server.first
    assert first["mode"] == "offline" and first["wav_format"] == "pcm" and first["audio_fs"] == 16_000
    assert first["chunk_size"] == [5, 10, 5] and first["chunk_interval"] == 10, "without it the server fails"
    assert len(server.chunks) == 25 and {len(chunk) for chunk in server.chunks} == {1920}
    assert np.allclose(np.frombuffer(b"".join(server.chunks), "<i2") / 32767, TONE, atol=1e-4)


@pytest.mark.parametrize(
    ("replies", "text", "language"),
    [
        # In Python: `is_final` is whether somebody still speaks.
        (({"mode": "offline", "text": "今天", "is_final": True}, {"mode": "offline", "text": "很好。"}),
         "今天很好。", "zh"),
        (({"mode": "2pass-online", "text": "good"}, {"mode": "2pass-offline", "text": "Good day."}, {"is_end": True}),
         "Good day.", "en"),
        (({"text": "One.", "mode": "offline"}, {"text": "Two.", "mode": "offline"}, {"is_end": True, "is_final": True}),
         "One. Two.", "en"),
        (({"text": "<|ja|><|NEUTRAL|><|Speech|>東京。", "mode": "offline", "is_end": True},), "東京。", "ja"),
        (({"text": "再见。", "mode": "offline"}, None), "再见。", "zh"),
        (({"text": "", "mode": "offline", "is_final": True},), "", "zh"),
        (({"text": "谢谢观看", "mode": "offline", "is_end": True},), "", "zh"),
    ],
)  # fmt: skip
async def test_funasr_servers_differ(replies: tuple[Reply, ...], text: str, language: str) -> None:
    async with funasr(FunAsrServer(*replies)) as engine:
        transcript = await engine.transcribe(TONE, language=language)
    assert (transcript.text, transcript.language) == (text, language)


async def test_funasr_that_says_nothing_is_asked_whether_it_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asr.funasr, "NOTHING_S", 0.02)
    monkeypatch.setattr(asr.funasr, "ANSWER_TIMEOUT_S", 0.3)
    async with funasr(FunAsrServer()) as engine:
        assert not (await engine.transcribe(TONE)).text
    async with funasr(FunAsrServer(answers_pings=False)) as engine:
        with pytest.raises(EngineError, match="did not answer in time"):
            await engine.transcribe(TONE)


@pytest.mark.parametrize(
    ("replies", "message"),
    [
        ((None,), "closed the connection without an answer"),
        (("<html>",), "funasr: ws"),
        (("[]",), "must be an object"),
        (({"is_end": True, "is_final": False, "error": "out of memory"},), "out of memory"),
    ],
)
async def test_funasr_failures(replies: tuple[Reply, ...], message: str) -> None:
    async with funasr(FunAsrServer(*replies)) as engine:
        with pytest.raises(EngineError, match=message) as failure:
            await engine.transcribe(TONE)
    assert failure.value.retryable


async def test_funasr_absent_and_one_at_a_time() -> None:
    absent = FunAsrRecogniser("ws://127.0.0.1:9")
    with pytest.raises(EngineError, match="funasr: ws://127.0.0.1:9"):
        await absent.transcribe(TONE)
    await absent.aclose()
    server = FunAsrServer({"text": "好。", "mode": "offline", "is_end": True})
    async with funasr(server) as engine:
        assert {t.text for t in await asyncio.gather(*(engine.transcribe(TONE) for _ in range(4)))} == {"好。"}
    assert server.most_at_once == 1, "a second connection would end the first"


# building


def settings(**changes: Any) -> Any:
    facts: dict[str, Any] = {"asr": ("whisper-base",), "asr_base_url": "", "asr_api_key": "", "asr_model": "m"}
    facts |= {"asr_server": "", "asr_threads": 1, "asr_beam": 5, "asr_window": "short"}
    return types.SimpleNamespace(**(facts | changes))


def test_the_chain_is_built_as_configured() -> None:
    names = ("funasr", "openai", "whisper-large-v3-turbo", "Whisper-base", "openai")
    chain = build_recognisers(settings(asr=names, asr_base_url="http://a/v1", asr_server="ws://b"))
    assert [engine.name for engine in chain.engines] == ["funasr", "openai", "whisper-large-v3-turbo", "whisper-base"]
    partial = [engine.name for engine in chain.engines if engine.takes_partials]
    assert partial == ["funasr", "whisper-base"], "captions cost neither money nor seconds"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"asr": ("vosk",)}, "'vosk', but must name one or more of whisper-base"),
        ({"asr": ()}, "nothing, but must name"),
        ({"asr": ("openai",)}, "openai, which needs asr_base_url"),
        ({"asr": ("funasr",)}, "funasr, which needs asr_server"),
        ({"asr_threads": 3}, "3 threads, but must be 1 or 2"),
        ({"asr_beam": 0}, "beam is 0, but must be 1..10"),
        ({"asr_window": "wide"}, "'wide', but must be one of short, whole"),
    ],
)
def test_what_cannot_be_built_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(BadRequest, match=message):
        build_recognisers(settings(**changes))


# Whisper


def test_whisper_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert "ctranslate2 and faster_whisper not installed" in str(WhisperRecogniser(models=str(tmp_path)).why_not())
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    engine = WhisperRecogniser(models=str(tmp_path))
    (tmp_path / "whisper-base" / "other").mkdir(parents=True)
    for name in ("config.json", "other/model.bin", "tokenizer.json"):
        assert "weights pull whisper-base" in str(engine.why_not())
        (tmp_path / "whisper-base" / name).touch()
    assert "weights pull" in str(engine.why_not()), "no vocabulary"
    (tmp_path / "whisper-base" / "other" / "vocabulary.json").touch()
    assert engine.why_not() is None, "each file may come from either source"


def test_windows_are_as_long_as_the_sentence_and_a_little_more() -> None:
    short = WINDOWS["short"]
    assert [short.seconds(s, "zh") for s in (0.1, 8.0, 8.011, 20.0, 29.0)] == [10.0, 10.0, 10.02, 22.0, 30.0]
    assert [short.seconds(s, "en") for s in (0.1, 6.0, 6.011, 29.0)] == [8.0, 8.0, 8.02, 30.0]
    assert WINDOWS["whole"].seconds(1.0, "en") == 30.0


class ScriptedModel:
    """In place of faster-whisper's: the sound's first sample says what is heard."""

    max_length = 448

    def __init__(self, heard: Callable[[float], tuple[str, float, float]]) -> None:
        self.heard = heard
        self.order: list[tuple[str, float]] = []
        self.limits: list[int] = []
        self.beams: list[int] = []
        self.windows_s: list[float] = []
        self.model = self
        self.hf_tokenizer = self

    def feature_extractor(self, pcm: Any, padding: int) -> Any:
        return pcm

    def encode(self, pcm: Any, **_: Any) -> float:
        self.order.append(("look", round(float(pcm[0]), 2)))
        self.windows_s.append(len(pcm) / 16_000)
        return float(pcm[0])

    def detect_language(self, encoded: float) -> list[list[tuple[str, float]]]:
        return [[("<|ko|>", 0.8), ("<|zh|>", 0.15 if encoded > 0.5 else 0.01), ("<|en|>", 0.05)]]

    def token_to_id(self, token: str) -> int | None:
        return None if token == "<|xx|>" else hash(token) & 0xFFFF

    def generate(self, encoded: float, prompts: Any, *, max_length: int, beam_size: int, **_: Any) -> list[Any]:
        self.beams.append(beam_size)
        self.order.append(("write", round(encoded, 2)))
        self.limits.append(max_length)
        text, no_speech, logprob = self.heard(encoded)
        self.text = text
        return [types.SimpleNamespace(sequences_ids=[[1] * 9], scores=[logprob * 10 / 9], no_speech_prob=no_speech)]

    def decode(self, tokens: list[int]) -> str:
        return self.text


def scripted(heard: Callable[[float], tuple[str, float, float]]) -> tuple[WhisperRecogniser, ScriptedModel]:
    engine, model = WhisperRecogniser(), ScriptedModel(heard)
    engine._model = model
    return engine, model


def marked(value: float, seconds: float = 1.0) -> Any:
    return np.full(round(seconds * 16_000), value, np.float32)


async def test_whisper_tells_languages_apart_among_those_it_may() -> None:
    engine, model = scripted(lambda _: ("這裡", 0.01, -0.5))
    english, chinese = await engine.transcribe(marked(0.2)), await engine.transcribe(marked(0.8))
    assert (english.language, english.text) == ("en", "這裡") and (chinese.language, chinese.text) == ("zh", "这里")
    assert chinese.confidence == pytest.approx(np.exp(-0.5)) and chinese.seconds == 1.0
    assert (await engine.transcribe(marked(0.2), language="ko")).language == "ko"
    with pytest.raises(BadRequest, match="does not know the language 'xx'"):
        await engine.transcribe(marked(0.2), language="xx")
    assert max(model.limits) < 50, "no text is longer than one can speak in that time"
    await engine.aclose()


async def test_whisper_looks_as_far_as_the_language_it_expects_needs() -> None:
    engine, model = scripted(lambda _: ("Yes.", 0.01, -0.01))
    for value in (0.2, 0.2, 0.8, 0.8, 0.2, 0.2):
        await engine.transcribe(marked(value))
    assert model.windows_s == [8.0, 8.0, 8.0, 10.0, 10.0, 10.0, 8.0], "only the first Chinese is looked at twice"
    await engine.aclose()


async def test_whisper_searches_where_one_hypothesis_is_not_sure_enough() -> None:
    sure = {0.2: -0.02, 0.3: -0.3, 0.8: -0.02}
    engine, model = scripted(lambda encoded: ("Yes.", 0.01, sure[round(encoded, 1)]))
    for value, beams in ((0.2, [1]), (0.3, [1, 5]), (0.8, [5])):
        model.beams.clear()
        await engine.transcribe(marked(value))
        assert model.beams == beams
    await engine.aclose()


async def test_whisper_drops_what_is_not_to_be_believed_and_does_not_look_at_silence() -> None:
    engine, model = scripted(lambda _: ("Thank you.", 0.85, -0.7))
    transcript = await engine.transcribe(marked(0.2))
    assert (transcript.text, transcript.confidence, transcript.no_speech) == ("", 0.0, 0.85)
    model.order.clear()
    assert (await engine.transcribe(SILENCE)).no_speech == 1.0 and not model.order
    assert not (await engine.transcribe(np.zeros(0, np.float32))).text
    await engine.aclose()


async def test_whisper_takes_damaged_sound_and_long_sound() -> None:
    engine, model = scripted(lambda value: (f"Part {value:.1f}.", 0.01, -0.1))
    broken = marked(4.0)
    broken[1::2] = np.nan
    assert (await engine.transcribe(broken.astype(np.float64))).text == "Part 1.0."
    long = np.concatenate((marked(0.2, 20.0), marked(0.0, 1.0), marked(0.4, 20.0)))
    long[20 * 16_000 + 8_000] = 0.4
    transcript = await engine.transcribe(long)
    assert transcript.text.startswith("Part 0.2. Part ") and transcript.seconds == 41.0
    await engine.aclose()


async def test_whisper_finals_go_before_captions_and_captions_let_them_pass() -> None:
    engine, model = scripted(lambda _: ("Yes.", 0.01, -0.1))
    gate = asyncio.Event()
    worked, began = engine._worker.run, asyncio.Event()

    async def slowly(job: Callable[[], Any]) -> Any:
        began.set()
        await gate.wait()
        return await worked(job)

    engine._worker.run = slowly  # type: ignore[method-assign]
    caption = asyncio.create_task(engine.transcribe(marked(0.1), final=False))
    await began.wait()  # it looks; who comes now waits
    late = asyncio.create_task(engine.transcribe(marked(0.2), final=False))
    finals = [asyncio.create_task(engine.transcribe(marked(v))) for v in (0.3, 0.4)]
    await asyncio.sleep(0)
    finals[0].cancel()
    gate.set()
    await asyncio.gather(caption, late, *finals, return_exceptions=True)
    assert model.order[0] == ("look", 0.1) and finals[0].cancelled()
    assert model.order[1] == ("look", 0.4) and model.order.index(("write", 0.4)) < model.order.index(("write", 0.1))
    assert ("look", 0.3) not in model.order and ("write", 0.2) in model.order
    await engine.aclose()


async def test_whisper_errors_are_those_of_the_engine(tmp_path: Path) -> None:
    pytest.importorskip("faster_whisper")
    directory = tmp_path / "whisper-base"
    directory.mkdir()
    for name in ("model.bin", "config.json", "tokenizer.json", "vocabulary.txt"):
        (directory / name).write_bytes(b"{}")
    engine = WhisperRecogniser(models=str(tmp_path))
    with pytest.raises(EngineError, match="whisper-base: "):
        await engine.transcribe(TONE)
    await engine.aclose()


@pytest.mark.skipif(
    WhisperRecogniser().why_not() is not None, reason="`python app.py weights pull whisper-base` brings the weights"
)
async def test_whisper_with_its_weights_hears_words_and_nothing_in_noise() -> None:
    wav = hibari.Hibari()("Where is the ticket office?", seed=1)
    engine = WhisperRecogniser()
    rng = np.random.default_rng(0)
    try:
        heard = await engine.transcribe(soxr.resample(wav, hibari.SAMPLE_RATE, SAMPLE_RATE_HZ))
        assert heard.language == "en" and "ticket office" in heard.text.lower() and heard.confidence > 0.5
        noise = rng.standard_normal(80_000).astype(np.float32)
        for sound in (0.03 * noise, np.clip(3 * noise, -1, 1), np.tile(TONE, 3), np.clip(5 * TONE, -1, 1)):
            assert not (await engine.transcribe(sound)).text
    finally:
        await engine.aclose()
