from __future__ import annotations

import asyncio
import contextlib
import io
import json
import stat
import threading
import time
from collections.abc import AsyncIterator, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import aiohttp
import av
import edge_tts
import numpy as np
import onnxruntime
import pytest

import tts.edge
import tts.kokoro
from errors import EngineError
from media import SAMPLES_PER_FRAME, SpeechFrame
from tts import onnxpatch
from tts.base import Sound, SpeechEngine, Voice
from tts.chain import Chain
from tts.edge import EdgeEngine
from tts.espeak import EspeakEngine, pinyin
from tts.hibari import HibariEngine
from tts.kokoro import KokoroEngine
from tts.phonemes import Spelling, chunks
from tts.speller import Speller
from tts.worker import Worker
from ttsreal import BaseTTS

ENGLISH = "Good morning, it is a lovely day for a walk."
CHINESE = "我们明天一起去北京看长城吧。"

needs_kokoro = pytest.mark.skipif(
    KokoroEngine().why_not() is not None, reason="no Kokoro weights: `python app.py weights pull kokoro`"
)
needs_espeak = pytest.mark.skipif(EspeakEngine().why_not() is not None, reason="no espeak-ng: `apt install espeak-ng`")


def voice_of(engine: SpeechEngine, language: str) -> Voice:
    return next(v for v in engine.voices() if v.languages[0] == language or len(v.languages) > 5)


async def say(engine: SpeechEngine, text: str, language: str, **options: Any) -> tuple[np.ndarray[Any, Any], list[Any]]:
    sounds = [sound async for sound in engine.speak(text, voice_of(engine, language), language, **options)]
    words = [word for sound in sounds for word in sound.words]
    return np.concatenate([sound.pcm for sound in sounds]), words


def check_speech(pcm: np.ndarray[Any, Any], rate_hz: int, least_s: float, most_s: float) -> None:
    assert pcm.dtype == np.float32 and np.isfinite(pcm).all()
    assert least_s < pcm.size / rate_hz < most_s
    level_db = 20 * np.log10(np.sqrt(np.mean(pcm**2)))
    assert -35 < level_db < -9 and np.abs(pcm).max() < 1.2
    # Speech, unlike noise or a hum, changes its level all the time and has most of its power under 4 kHz.
    blocks = pcm[: pcm.size // 480 * 480].reshape(-1, 480)
    levels = 20 * np.log10(np.sqrt((blocks**2).mean(axis=1)) + 1e-5)
    assert levels.std() > 5
    power = np.abs(np.fft.rfft(pcm)) ** 2
    assert power[: int(4000 * pcm.size / rate_hz)].sum() > 0.8 * power.sum()


async def frames_of(engine: SpeechEngine, text: str) -> list[SpeechFrame]:
    return [frame async for burst in BaseTTS(Chain([engine])).speak(text, turn=1) for frame in burst]


# hibari: its weights are in the package


async def test_hibari_speaks_english() -> None:
    engine = HibariEngine()
    pcm, words = await say(engine, ENGLISH, "en")
    check_speech(pcm, engine.sample_rate_hz, 1.8, 5)
    assert [word.text for word in words] == ENGLISH.split()
    assert all(a.end_s <= b.start_s for a, b in pairwise(words))
    # The pause at the comma is where its words say it is.
    comma_s = next((a.end_s + b.start_s) / 2 for a, b in pairwise(words) if a.text.endswith(","))
    levels = np.abs(pcm[: pcm.size // 600 * 600]).reshape(-1, 600).max(axis=1)
    assert levels[max(0, int(comma_s / 0.025) - 3) : int(comma_s / 0.025) + 4].min() < 0.1 * levels.max()
    assert words[-1].end_s <= pcm.size / engine.sample_rate_hz + 0.01
    _, words = await say(engine, "Yes. I will.", "en")
    assert [word.text for word in words] == ["Yes.", "I", "will."]
    assert all(a.end_s <= b.start_s for a, b in pairwise(words))
    for odd in ("1" * 200, "$5.00!", "C++ & C#", "½", "Ünïcödé", "https://a.b/c?d=e"):
        pcm_of_odd, _ = await say(engine, odd, "en")
        assert pcm_of_odd.size > 5_000 and np.isfinite(pcm_of_odd).all()
    faster, _ = await say(engine, ENGLISH, "en", speed=1.5)
    assert faster.size < 0.8 * pcm.size
    frames = await frames_of(engine, ENGLISH)
    assert all(frame.pcm.shape == (SAMPLES_PER_FRAME,) for frame in frames)
    first = next(n for n, frame in enumerate(frames) if np.abs(frame.pcm).max() > 0.01)
    assert first <= 2, "her first sound comes within 40 ms"
    await engine.aclose()


# kokoro


@pytest.fixture(scope="module")
def kokoro() -> Iterator[KokoroEngine]:
    engine = KokoroEngine()
    yield engine
    asyncio.run(engine.aclose())


@pytest.mark.voice
@needs_kokoro
async def test_kokoro_speaks_chinese_and_tells_words(kokoro: KokoroEngine) -> None:
    pcm, words = await say(kokoro, CHINESE, "zh")
    check_speech(pcm, kokoro.sample_rate_hz, 1.8, 4)
    assert "".join(word.text for word in words) == CHINESE.rstrip("。")
    ends = [0.0, *(word.end_s for word in words)]
    assert all(before - 0.001 <= word.start_s < word.end_s for before, word in zip(ends, words, strict=False))
    assert words[-1].end_s <= pcm.size / kokoro.sample_rate_hz
    hurried = kokoro.speak(CHINESE * 2, voice_of(kokoro, "zh"), "zh", hurry=True)
    sounds = [sound async for sound in hurried if sound.pcm.size]
    assert len(sounds) >= 2
    assert "".join(word.text for sound in sounds for word in sound.words) == CHINESE.rstrip("。") * 2
    starts = [word.start_s for sound in sounds for word in sound.words]
    assert starts == sorted(starts)


@pytest.mark.voice
@needs_kokoro
async def test_kokoro_speaks_english_and_both_at_once(kokoro: KokoroEngine) -> None:
    pcm, words = await say(kokoro, ENGLISH, "en")
    check_speech(pcm, kokoro.sample_rate_hz, 1.8, 4.5)
    assert [word.text for word in words] == ENGLISH.split()
    pcm, words = await say(kokoro, "我喜欢 Python 3.11 编程", "zh")
    check_speech(pcm, kokoro.sample_rate_hz, 1.5, 5)
    assert [word.text for word in words] == ["我", "喜欢", "Python", "三点", "一一", "编程"]


@pytest.mark.voice
@needs_kokoro
async def test_kokoro_stops_within_a_frame_and_speaks_again(kokoro: KokoroEngine) -> None:
    await kokoro.warm_up()
    long = "今天我想和大家一起聊一聊我们这座城市里最古老的那条街和它背后的故事"
    stream = kokoro.speak(long, voice_of(kokoro, "zh"), "zh")
    asking = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0.15)
    began = time.monotonic()
    asking.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await asking
    await stream.aclose()
    assert time.monotonic() - began < 0.1
    # The thread is free long before the abandoned sentence could have been finished.
    pcm, _ = await say(kokoro, "你好。", "zh")
    check_speech(pcm, kokoro.sample_rate_hz, 0.3, 2)


@pytest.mark.voice
@needs_kokoro
@pytest.mark.parametrize(
    "text",
    [
        "好" + "—" * 600 + "吧",
        "价格是1000元，打8折。",
        "A",
        "嗯",
        "（好）！",
        "ＡＢＣ你好１２３",
        "12:30 见 3.5%",
        "号码" + "7" * 20,
    ],
)
async def test_kokoro_takes_any_clause(text: str, kokoro: KokoroEngine) -> None:
    pcm, _ = await say(kokoro, text, "zh")
    assert pcm.size > 2000 and np.isfinite(pcm).all()


async def test_kokoro_lets_the_chain_give_up_on_a_stuck_thread(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    gate = threading.Event()
    engine = KokoroEngine(tmp_path)
    monkeypatch.setattr(engine, "_spell", lambda *_: gate.wait() and [])
    for name in ("HEARTBEAT_S", "PATIENCE_S"):
        monkeypatch.setattr(tts.kokoro, name, getattr(tts.kokoro, name) / 50)
    voice = Voice("kokoro:zf_x", "kokoro", ("zh",), "female", "Apache-2.0")
    beats = 0
    stream = engine.speak("你好", voice, "zh")
    with pytest.raises(TimeoutError):
        while True:
            async with asyncio.timeout(0.3):
                beats += (await anext(stream)).pcm.size == 0
    assert 1 <= beats <= 10
    gate.set()
    await engine.aclose()


async def test_kokoro_without_weights_says_how_to_get_them(tmp_path: Path) -> None:
    engine = KokoroEngine(tmp_path)
    assert engine.voices() == ()
    assert "weights pull kokoro" in (engine.why_not() or "")
    await engine.warm_up()
    await engine.aclose()


# spelling


def spellings(text: str) -> list[Spelling]:
    return [Spelling(word, "x") for word in text.split("|")]


def test_chunks_are_even_and_cut_between_words() -> None:
    clause = spellings("我们|明天|一起|去|北京|看|长城|吧|。")
    assert chunks(clause, 4.5) == [clause]
    first, rest = chunks(clause, 4.5, 1.3)
    assert "".join(s.text for s in first) == "我们明天" and first + rest == clause
    long = clause[:-1] * 5
    parts = chunks(long, 4.5)
    assert [s for part in parts for s in part] == long
    sizes = [sum(len(s.text) for s in part) for part in parts]
    assert max(sizes) <= 24 and min(sizes) >= 10


def test_a_mark_is_a_better_place_to_cut() -> None:
    clause = spellings("今天|天气|不错|，|我们|去|公园|散步|吧|。")
    first, _ = chunks(clause, 9, 1.3)
    assert "".join(s.text for s in first) == "今天天气不错，"


def test_no_word_is_cut_from_the_one_it_leans_on() -> None:
    clause = spellings("博物馆|的|门票|可以|在|网上|预订|。")
    for near_s in (0.7, 1.0, 1.3):
        first, _ = chunks(clause, 9, near_s)[:2]
        assert "".join(s.text for s in first) != "博物馆"


def test_a_short_clause_is_not_cut_in_a_hurry() -> None:
    clause = spellings("你好|，|欢迎|。")
    assert chunks(clause, 4.5, 1.3) == [clause]


@pytest.fixture(scope="module")
def speller(tmp_path_factory: pytest.TempPathFactory) -> Speller:
    return Speller(tmp_path_factory.mktemp("jieba"))


def test_spelling_needs_no_place_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert Speller(tmp_path / "file" / "cache").spell("你好", "zh")


@pytest.mark.parametrize(
    ("clause", "words"),
    [
        ("今天25℃，-3度", "今天二十五摄氏度,负三度"),
        ("电话13800138000", "电话一三八零零一三八零零零"),
        ("价格是3.5元", "价格是三点五元"),
        ("ＡＢＣ和5G", "ABC和五G"),
        ("2026年11月20日", "二零二六年十一月二十日"),
    ],
)
def test_chinese_numbers_are_read(clause: str, words: str, speller: Speller) -> None:
    spelt = speller.spell(clause, "zh")
    assert "".join(spelling.text for spelling in spelt) == words
    assert all(spelling.phonemes for spelling in spelt if spelling.spoken)


# espeak


@needs_espeak
async def test_espeak_speaks_and_stops() -> None:
    engine = EspeakEngine()
    for text, language in ((ENGLISH, "en"), (CHINESE, "zh"), ("Привет, как дела?", "ru")):
        pcm, _ = await say(engine, text, language)
        check_speech(pcm, engine.sample_rate_hz, 0.8, 6)
    stream = engine.speak(ENGLISH * 50, engine.voices()[0], "en")
    assert (await anext(stream)).pcm.size
    await stream.aclose()


def test_chinese_reaches_espeak_as_syllables() -> None:
    assert pinyin("你好，很高兴！ OK 3") == "ni3 hao3, hen3 gao1 xing4, OK 3"


@needs_espeak
async def test_espeak_does_not_take_text_for_options() -> None:
    pcm, _ = await say(EspeakEngine(), "--version -w /tmp/x hello there my friend", "en")
    check_speech(pcm, 22_050, 0.8, 8)


async def test_espeak_missing_or_failing(tmp_path: Path) -> None:
    assert "apt install espeak-ng" in (EspeakEngine("espeak-nowhere").why_not() or "")
    assert EspeakEngine("espeak-nowhere").voices() == ()
    program = tmp_path / "espeak-bad"
    program.write_text("#!/bin/sh\ncat >/dev/null\necho no such voice >&2\nexit 1\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    with pytest.raises(EngineError, match="no such voice"):
        await say(EspeakEngine(str(program)), "hello", "en")


# edge: the service itself is not asked


def mp3(seconds: float) -> bytes:
    out = io.BytesIO()
    tone = (0.3 * np.sin(2 * np.pi * 220 / 24_000 * np.arange(round(seconds * 24_000)))).astype(np.float32)
    with av.open(out, "w", format="mp3") as container:
        stream = container.add_stream("mp3", rate=24_000, layout="mono")
        for at in range(0, tone.size - 575, 576):
            frame = av.AudioFrame.from_ndarray(tone[None, at : at + 576], format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 24_000, at
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return out.getvalue()


class FakeService:
    """Stands for `edge_tts.Communicate`."""

    asked: list[tuple[str, str, str]] = []
    error: Exception | None = None
    fail_after = 10**9

    def __init__(self, text: str, voice: str, *, rate: str, **options: Any) -> None:
        assert options == {"boundary": "WordBoundary", "connect_timeout": 1, "receive_timeout": 10}
        self.asked.append((text, voice, rate))

    async def stream(self) -> AsyncIterator[dict[str, Any]]:
        if self.error and self.fail_after == 0:
            raise self.error
        yield {"type": "WordBoundary", "offset": 1_000_000, "duration": 5_000_000, "text": "hello"}
        data = mp3(1.5)
        for number, at in enumerate(range(0, len(data), 700), 1):
            yield {"type": "audio", "data": data[at : at + 700]}
            if self.error and number >= self.fail_after:
                raise self.error


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[FakeService]]:
    monkeypatch.setattr(edge_tts, "Communicate", FakeService)
    monkeypatch.setattr(tts.edge, "HOST", "127.0.0.1")
    monkeypatch.setattr(tts.edge, "PORT", 9)
    FakeService.asked, FakeService.error, FakeService.fail_after = [], None, 10**9
    yield FakeService


async def test_edge_decodes_as_it_arrives(service: type[FakeService]) -> None:
    engine = EdgeEngine()
    voice = next(v for v in engine.voices() if v.id == "edge:zh-CN-XiaoxiaoNeural")
    assert voice.languages == ("zh",) and engine.voices()[0] == voice
    sounds = [sound async for sound in engine.speak("你好", voice, "zh", 1.25)]
    assert service.asked == [("你好", "zh-CN-XiaoxiaoNeural", "+25%")]
    assert len(sounds) > 10
    assert [word.text for word in sounds[0].words] == ["hello"] and sounds[0].words[0].end_s == 0.6
    pcm = np.concatenate([sound.pcm for sound in sounds])
    assert 1.4 < pcm.size / 24_000 < 1.7
    crossings = np.flatnonzero(np.diff(np.signbit(pcm[6_000:-6_000])))
    assert np.median(np.diff(crossings)) == pytest.approx(24_000 / 440, abs=1)
    await engine.aclose()


@pytest.mark.parametrize("fail_after", [0, 3])
async def test_edge_offline_is_remembered_and_asked_again_in_the_background(
    service: type[FakeService], fail_after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.error, service.fail_after = aiohttp.ClientConnectionError("no route"), fail_after
    engine = EdgeEngine()
    for _ in range(2):
        with pytest.raises(EngineError, match="no route|cannot be reached"):
            async for _ in engine.speak("hello", engine.voices()[0], "en"):
                pass
    assert len(service.asked) == 1
    assert "internet" in (engine.why_not() or "")
    listener = await asyncio.start_server(lambda r, w: w.close(), "127.0.0.1", 0)
    monkeypatch.setattr(tts.edge, "PORT", listener.sockets[0].getsockname()[1])
    await engine.warm_up()
    assert engine.why_not() is None
    listener.close()
    await engine.aclose()


async def test_edge_warm_up_finds_out_that_there_is_no_network(service: type[FakeService]) -> None:
    chain = Chain([EdgeEngine(), HibariEngine()], now=lambda: 0.0)
    await chain.warm_up()
    assert [engine.name for engine, _ in chain.candidates("en", None)] == ["hibari", "edge"]
    assert json.dumps(chain.describe())
    await chain.aclose()


# parts


async def test_a_worker_runs_in_one_thread_and_drops_what_was_cancelled() -> None:
    worker = Worker("test", nice=1)
    gate, ran = threading.Event(), list[str]()
    first = asyncio.ensure_future(worker.run(gate.wait))
    second = asyncio.ensure_future(worker.run(lambda: ran.append("cancelled")))
    await asyncio.sleep(0.01)
    second.cancel()
    await asyncio.sleep(0)
    gate.set()
    assert await first
    await worker.run(lambda: ran.append(threading.current_thread().name))
    assert ran == ["test_0"]
    await worker.aclose()


def test_a_model_can_be_extended_without_the_onnx_package() -> None:
    """y = x + x, written by hand; then y is halved to z by nodes added later, and y is given out as well."""
    field, integer = onnxpatch._field, onnxpatch._integer
    graph = onnxpatch.node("Add", ["x", "x"], ["y"]) + field(2, b"g")
    graph += onnxpatch.input_value("x", onnxpatch.FLOAT, ["n"]) + onnxpatch.output_value("z", onnxpatch.FLOAT, ["n"])
    graph += onnxpatch.node("Relu", ["y"], ["z"])
    model = bytearray(integer(1, 9) + field(8, field(1, b"") + integer(2, 18)) + field(7, graph))
    onnxpatch.rename_output(model, "y", "w")
    onnxpatch.extend(
        model,
        onnxpatch.constant("first", 1),
        onnxpatch.constant("last", 3),
        onnxpatch.constant("axis", 0),
        onnxpatch.node("Slice", ["w", "first", "last", "axis"], ["y"]),
        onnxpatch.output_value("w", onnxpatch.FLOAT, ["n"]),
    )
    session = onnxruntime.InferenceSession(bytes(model), providers=["CPUExecutionProvider"])
    z, w = session.run(["z", "w"], {"x": np.array([-1, 2, 3, 4], np.float32)})
    assert z.tolist() == [4, 6] and w.tolist() == [-2, 4, 6, 8]
    with pytest.raises(ValueError, match="cannot be renamed"):
        onnxpatch.rename_output(model, "absent", "absenT")


def test_sounds_are_plain_data() -> None:
    assert Sound(np.zeros(3, np.float32)).words == ()
