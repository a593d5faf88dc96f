"""When a turn has ended: what it sounds like, what it says, and how long to wait for more."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiohttp import web

from asr.base import Transcript
from errors import NotFound
from listening.frames import MicFrame
from listening.models import ListeningModels
from listening.settings import MODES, ListeningSettings
from listening.smartturn import MEL_BANDS, MEL_FRAMES, SAMPLES, WEIGHTS, SmartTurn, features, mel_filters
from listening.turns import TenClassifier, TurnDetector
from listening.turntext import judge
from media import SAMPLE_RATE_HZ, SAMPLES_PER_FRAME
from tests.fakes.listening import ScriptedEnd, ScriptedRecogniser, Told, inline

SETTINGS = ListeningSettings()
CERTAIN = Transcript("It is red.", "en", 1.0, 0.0, 1.0)

EN_FINISHED = [
    "What are you looking for?",
    "Where are you from",
    "What do you need",
    "I know where it is.",
    "Yes, I am.",
    "No, we can't.",
    "I'd love to.",
    "Come in.",
    "Turn it on.",
    "I think so.",
    "That's what I want.",
    "When is the museum open?",
    "If it rains tomorrow, we stay at home.",
    "Thank you very much.",
    "My number is five five five one two three four.",
    "He did it very well.",
    "I don't know how much it is.",
    "Nothing.",
]
EN_UNFINISHED = [
    "I would like to",
    "We went to the market and",
    "I can't come because.",
    "So my brother and the",
    "If it rains tomorrow.",
    "When I came home.",
    "Can you tell me",
    "I think",
    "It was raining, so",
    "What I wanted to say is",
    "Um",
    "Well, uh...",
    "The answer is four point",
    "My number is five five five",
    "I'm going to buy some bread,",
    "Do you know if",
    "I usually",
    "She lives in",
    "",
    "...",
]
EN_WAIT = [
    "Wait.",
    "Wait a moment, please.",
    "Hold on a second.",
    "Um, let me think.",
    "One moment.",
    "I want to book a, no, hold on.",
    "Could you wait a minute?",
    "Okay, just a second",
]
ZH_FINISHED = [
    "你从哪里来？",
    "今天天气怎么样",
    "我叫什么",
    "好的。",
    "是的",
    "没有。",
    "我也是。",
    "谢谢你。",
    "我昨天买的是红色的。",
    "如果下雨我们就不去了。",
    "因为太贵了，所以我没买。",
    "现在三点。",
    "我的电话是一三八零零一三八零零零。",
    "你等我吧",
    "这是一件很好的衣服。",
]
ZH_UNFINISHED = [
    "我昨天去了超市，然后",
    "因为",
    "因为今天太热了。",
    "如果明天下雨。",
    "如果明天下雨的话，",
    "虽然他很忙。",
    "我想要一个",
    "那个，嗯",
    "请问",
    "我想买一件红色的",
    "她告诉我",
    "我觉得",
    "我每天从学校到",
    "吃饭的时候",
    "我的电话是一三八",
    "这本书特别",
    "我和他",
]
ZH_WAIT = ["等一下。", "请等一下", "稍等片刻", "嗯，让我想想。", "等等，等等", "我要订票，等一下", "先别说话"]


@pytest.mark.parametrize(
    ("language", "text", "verdict"),
    [("en", text, "finished") for text in EN_FINISHED]
    + [("en", text, "unfinished") for text in EN_UNFINISHED]
    + [("en", text, "wait") for text in EN_WAIT]
    + [("zh", text, "finished") for text in ZH_FINISHED]
    + [("zh", text, "unfinished") for text in ZH_UNFINISHED]
    + [("zh", text, "wait") for text in ZH_WAIT],
)
def test_the_text_says_whether_it_is_finished(language: str, text: str, verdict: str) -> None:
    assert judge(text, language) == verdict


def test_asking_somebody_else_to_wait_is_no_request_to_wait() -> None:
    assert judge("Please tell my sister to wait a moment.", "en") == "finished"
    assert judge("我让她在门口等一下。", "zh") == "finished"


def test_the_end_decides_in_a_text_of_both_languages() -> None:
    assert judge("我想听 Hello", "zh") == "finished"
    assert judge("I want to say 你好", "en") == "finished"
    assert judge("My teacher said 因为", "en") == "unfinished"
    assert judge("WHERE ARE YOU FROM", None) == "finished"
    assert judge("I WANT TO", None) == "unfinished"
    assert judge("Ich heiße Anna.", "de") == "finished"


def test_long_rubbish_is_judged_at_once() -> None:
    assert judge("wait " * 5000, "en") in ("finished", "unfinished", "wait")
    assert judge("等" * 5000, "zh") in ("finished", "unfinished", "wait")
    assert judge("if " * 5000, "en") == "unfinished"


@pytest.mark.parametrize("mode", MODES.values(), ids=MODES)
def test_more_doubt_waits_longer(mode: ListeningSettings) -> None:
    turns = TurnDetector(mode)
    for verdict in ("finished", "unfinished"):
        waits = [turns.judgement(p, verdict, CERTAIN).wait_s for p in (0.99, mode.likely, 0.1)]
        assert waits == sorted(waits) and waits[0] < waits[-1]
    for p in (0.99, mode.likely, 0.1, None):
        finished, unfinished = (turns.judgement(p, verdict, CERTAIN) for verdict in ("finished", "unfinished"))
        assert finished.wait_s < unfinished.wait_s <= mode.limit_s
        assert finished.is_likely
        assert turns.judgement(p, "wait", CERTAIN).wait_s == mode.wait_limit_s
        assert not turns.judgement(p, "wait", CERTAIN).is_likely


@pytest.mark.parametrize(
    ("text", "confidence", "wait_s"),
    [
        ("It is red.", 1.0, SETTINGS.sure_s),
        ("它是红色的。", 0.9, SETTINGS.sure_s),
        ("It is red", 0.9, SETTINGS.likely_s),
        ("It is red...", 0.9, SETTINGS.likely_s),
        ("A table for you.", 0.6, SETTINGS.likely_s),
        ("它是红色的", 0.9, SETTINGS.sure_s),
        ("它是红色的", 0.6, SETTINGS.likely_s),
        ("A table for you", 0.6, SETTINGS.unlikely_s),
    ],
)
def test_a_text_that_is_doubted_waits_longer(text: str, confidence: float, wait_s: float) -> None:
    transcript = dataclasses.replace(CERTAIN, text=text, confidence=confidence)
    assert TurnDetector(SETTINGS).judgement(0.99, "finished", transcript).wait_s == wait_s


async def test_smart_turn_that_is_absent_or_fails_leaves_it_to_the_text(caplog: pytest.LogCaptureFixture) -> None:
    pcm = np.zeros(SAMPLE_RATE_HZ, np.float32)
    assert await TurnDetector(SETTINGS, None).sounds_finished(pcm) is None
    failing = TurnDetector(SETTINGS, ScriptedEnd(RuntimeError("scripted")), run=inline)
    assert await failing.sounds_finished(pcm) is None
    assert "smart-turn failed" in caplog.text
    assert TurnDetector(SETTINGS).judgement(None, "finished", CERTAIN).wait_s == SETTINGS.likely_s


async def test_smart_turn_works_off_the_loop() -> None:
    end = ScriptedEnd(0.7)
    assert await TurnDetector(SETTINGS, end).sounds_finished(np.zeros(SAMPLE_RATE_HZ, np.float32)) == 0.7
    assert end.asked == [1.0]


def test_features_are_those_of_whisper() -> None:
    filters = mel_filters()
    assert filters.shape == (201, MEL_BANDS)
    peaks_hz = filters.argmax(0) * 40
    assert (np.diff(peaks_hz) >= 0).all() and peaks_hz[-1] > 7600
    rng = np.random.default_rng(0)
    pcm = (0.1 * rng.standard_normal(3 * SAMPLE_RATE_HZ)).astype(np.float32)
    found = features(pcm)
    assert found.shape == (MEL_BANDS, MEL_FRAMES) and found.dtype == np.float32
    assert found.max() - found.min() <= 2.0 + 1e-6, "80 dB are 2 units"
    assert (found[:, :490] == found.min()).all(), "what is missing of 8 s is silence in front"
    assert found[:, 510:].mean() > found.min() + 0.5
    assert np.allclose(features(pcm * 0.1), found, atol=1e-3), "level does not count"
    longer = np.concatenate([np.ones(SAMPLE_RATE_HZ, np.float32), np.zeros(SAMPLES - len(pcm), np.float32), pcm])
    assert np.allclose(features(longer)[:, 5:], found[:, 5:], atol=1e-3), "only the last 8 s count"


def test_a_tone_stands_in_its_band() -> None:
    tone = np.sin(2 * np.pi * 440 * np.arange(SAMPLES) / SAMPLE_RATE_HZ).astype(np.float32)
    band = int(features(tone)[:, 400].argmax())
    assert mel_filters()[11, band] > 0, "bin 11 is 440 Hz"


def test_smart_turn_hears_an_end() -> None:
    hibari = pytest.importorskip("hibari")
    soxr = pytest.importorskip("soxr")
    if not WEIGHTS.is_file():
        pytest.skip("smart-turn's weights are not here: python app.py weights pull listening")
    network = SmartTurn()
    pause = np.zeros(SAMPLE_RATE_HZ // 5, np.float32)

    def said(text: str, share: float = 1.0) -> float:
        wav = hibari.Hibari()(text, seed=1)
        pcm = np.asarray(soxr.resample(wav, hibari.SAMPLE_RATE, SAMPLE_RATE_HZ), np.float32)
        return network.probability(np.concatenate([pcm[: round(len(pcm) * share)], pause]))

    text = "I was going to call you yesterday, but my telephone did not work."
    assert said(text) > 0.5 > said(text, share=0.55)


def test_missing_weights_name_their_command() -> None:
    with pytest.raises(NotFound, match="weights pull listening"):
        SmartTurn(WEIGHTS.with_name("no.onnx"))


async def test_models_are_loaded_once_and_shared(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    models = ListeningModels(tmp_path / "none.onnx")
    assert "weights pull listening" in str(models.why_not())
    settings = dataclasses.replace(SETTINGS, classifier_url="http://127.0.0.1:1/v1")
    told = Told(lambda: 0.0)
    one = await models.listener(ScriptedRecogniser("Hello."), settings, told)
    other = await models.listener(ScriptedRecogniser("Hello."), settings, told, language="zh")
    assert other.language == "zh" and not one.is_speaking
    await one.feed(MicFrame(np.zeros(SAMPLES_PER_FRAME, np.float32), 0.0))
    await one.aclose()
    await other.aclose()
    await models.aclose()
    (tmp_path / "none.onnx").write_bytes(b"no network")
    await models.warm_up()
    assert "judged by the text alone" in caplog.text and models.why_not() is None


@asynccontextmanager
async def server(answer: Any) -> AsyncIterator[tuple[str, list[dict[str, Any]]]]:
    """A chat endpoint on a loopback port that always gives `answer`: text, or a status, or None for never."""
    asked: list[dict[str, Any]] = []
    over = asyncio.Event()

    async def completions(request: web.Request) -> web.Response:
        asked.append({**await request.json(), "authorization": request.headers.get("Authorization")})
        if answer is None:
            await over.wait()
        if isinstance(answer, int):
            return web.Response(status=answer)
        return web.Response(text=answer, content_type="application/json")

    app = web.Application()
    app.router.add_post("/v1/chat/completions", completions)
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    listener = socket.create_server(("127.0.0.1", 0))
    await web.SockSite(runner, listener).start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1", asked
    finally:
        over.set()
        await runner.cleanup()


def chat(content: Any) -> str:
    return json.dumps({"choices": [{"message": {"content": content}}]})


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        (chat("finished"), "finished"),
        (chat(" Wait."), "wait"),
        (chat("unfinished"), "unfinished"),
        (chat("banana"), "unfinished"),
        (chat(None), "unfinished"),
        ("{}", "unfinished"),
        ("no json", "unfinished"),
        ("[]", "unfinished"),
        (500, "unfinished"),
        (401, "unfinished"),
    ],
)
async def test_the_classifier_is_asked_as_ten_asks_it(answer: Any, verdict: str) -> None:
    async with server(answer) as (url, asked):
        classifier = TenClassifier(url, "TEN_Turn_Detection", 5.0, "secret")
        turns = TurnDetector(SETTINGS, classifier=classifier)
        assert await turns.reads_finished("I would like", "en") == verdict
        await classifier.aclose()
    (body,) = asked
    assert (body["model"], body["max_tokens"], body["temperature"]) == ("TEN_Turn_Detection", 1, 0.1)
    assert body["messages"][-1] == {"role": "user", "content": "I would like"}
    assert body["authorization"] == "Bearer secret"


async def test_a_classifier_that_is_silent_or_gone_says_unfinished() -> None:
    async with server(None) as (url, _):
        classifier = TenClassifier(url, "m", 0.05)
        assert await classifier.judge("hello") == "unfinished"
        await classifier.aclose()
    classifier = TenClassifier(url, "m", 0.5)
    assert await classifier.judge("hello") == "unfinished"
    await classifier.aclose()
