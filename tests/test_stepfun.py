"""Voices cloned by StepFun, against a server of its protocol, refusals and nonsense included."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from errors import BadRequest, EngineError, VisageError
from media import Pcm
from tests.fakes.stepfun import KEY, RATE_HZ, Says, stepfun, text, tone
from tts.breaker import BACKOFF_FIRST_S
from voices.cloning.base import Clip, Made
from voices.cloning.stepfun import StepFunMaker
from voices.cloning.vendor import ATTEMPTS, BACKOFF_S, KEY_REST_S, PATIENCE_S

SAID = "今天的天气很好。"


def recording(folder: Path, seconds: float = 6.0, said: str = SAID) -> Clip:
    path = folder / "clip.wav"
    soundfile.write(path, tone(seconds), RATE_HZ, subtype="PCM_16")
    return Clip(path, tone(seconds), "a" * 64, said, "zh")


async def make(maker: StepFunMaker, clip: Clip, model: str = "step-tts-2") -> Made:
    return await maker.make(clip, model, "你好。", lambda *_: None)


async def said(maker: StepFunMaker, voice_id: str, words: str = "你好，世界。") -> Pcm:
    async with contextlib.aclosing(maker.speak(voice_id, {}, words, "zh", "step-tts-2", 1.0)) as sounds:
        return np.concatenate([np.zeros(0, np.float32), *[sound.pcm async for sound in sounds]])


async def test_a_recording_becomes_a_voice_that_speaks_and_is_forgotten(tmp_path: Path) -> None:
    async with stepfun() as (maker, vendor, _):
        assert maker.why_not() is None and maker.clones and maker.models[0] == "step-tts-2"
        steps: list[str] = []
        made = await maker.make(recording(tmp_path), "step-tts-mini", "你好。", lambda stage, _: steps.append(stage))
        assert steps == ["uploading", "cloning", "previewing"] and not made.duplicated
        assert made.languages[0] == "zh" and made.voice_id in vendor.voices
        sample, rate_hz = soundfile.read(io.BytesIO(made.sample))
        assert len(sample) == rate_hz == RATE_HZ
        uploaded, cloned = vendor.asked[0][2], vendor.asked[1][2]
        assert uploaded["purpose"] == "storage" and uploaded["file"] == (tmp_path / "clip.wav").read_bytes()
        assert cloned == {
            "model": "step-tts-mini", "file_id": "file-000001", "text": SAID, "sample_text": "你好。",
        }  # fmt: skip
        assert len(vendor.asked) == 2, "what the answer holds is not asked for again"
        assert (await said(maker, made.voice_id)).size == RATE_HZ * 3 // 10
        assert vendor.asked[-1][2]["voice"] == made.voice_id
        await maker.forget(made.voice_id, made.recipe)
        assert not vendor.voices and not vendor.files
        await maker.forget(made.voice_id, made.recipe)


@pytest.mark.parametrize("way", ["preview", "as json", "none", "broken", "noise"])
async def test_the_preview_comes_from_where_it_is_to_be_had(way: str, tmp_path: Path) -> None:
    async with stepfun() as (maker, vendor, _):
        vendor.gives_samples = False
        vendor.has_preview = way == "preview"
        samples = {"as json": vendor_sample(0.5), "noise": base64.b64encode(b"{}").decode()}
        if way in samples:
            vendor.will("POST", "/audio/voices/preview", Says(body=text({"sample_audio": samples[way]})))
        if way == "broken":
            vendor.will("POST", "/audio/voices/preview", Says(body=b"RIFF....WAVEwhatever", media="audio/wav"))
        made = await make(maker, recording(tmp_path, said=""))
        assert "text" not in vendor.asked[1][2], "what is said is left out where nobody knows"
        seconds = {"preview": 0.7, "as json": 0.5}.get(way, 0.0)
        assert (soundfile.info(io.BytesIO(made.sample)).duration if made.sample else 0.0) == seconds


def vendor_sample(seconds: float) -> str:
    file = io.BytesIO()
    soundfile.write(file, np.stack([tone(seconds)] * 2, axis=1), RATE_HZ, format="WAV", subtype="PCM_16")
    return base64.b64encode(file.getvalue()).decode()


async def test_the_same_again_is_the_same_voice_and_one_recording(tmp_path: Path) -> None:
    async with stepfun() as (maker, vendor, _):
        for _ in range(4):  # others, so that the list has pages
            vendor.voices[vendor._new("voice-tone")] = {"file_id": "f", "model": "m", "sha256": "s"}
        first = await make(maker, recording(tmp_path))
        again = await make(maker, recording(tmp_path))
        assert again.duplicated and (again.voice_id, again.recipe) == (first.voice_id, first.recipe)
        assert list(vendor.files) == [first.recipe["file_id"]]
        other = await make(maker, recording(tmp_path), "step-audio-2")
        assert not other.duplicated and other.voice_id != first.voice_id


async def test_two_uploads_are_kept_where_the_list_does_not_tell(tmp_path: Path) -> None:
    async with stepfun() as (maker, vendor, _):
        await make(maker, recording(tmp_path))
        vendor.will("GET", "/audio/voices", Says(status=400))
        again = await make(maker, recording(tmp_path))
        assert again.duplicated and again.recipe["file_id"] in vendor.files and len(vendor.files) == 2


@pytest.mark.parametrize(
    ("answered", "status", "code"),
    [
        (400, 400, "refused_by_vendor"),
        (401, 502, "invalid_api_key"),
        (402, 502, "no_balance"),
        (404, 503, "engine_failed"),
        (429, 429, "busy"),
        (451, 400, "content_refused"),
        (500, 503, "engine_failed"),
        (503, 503, "engine_failed"),
    ],
)
async def test_refusals_mean_what_they_mean_and_leave_nothing_behind(
    answered: int, status: int, code: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    asked_again = answered == 429 or answered >= 500
    async with stepfun() as (maker, vendor, waits):
        vendor.will("POST", "/audio/voices", *[Says(status=answered)] * (ATTEMPTS if asked_again else 1))
        with pytest.raises(EngineError, match=f"answered {answered}") as caught:
            await make(maker, recording(tmp_path))
        assert (caught.value.status, caught.value.code) == (status, code)
        assert vendor.count("POST", "/audio/voices") == (ATTEMPTS if asked_again else 1)
        assert len(waits.waited_s) == (ATTEMPTS - 1 if asked_again else 0)
        shown = caplog.text + str(caught.value) + caught.value.chinese()
        assert KEY not in shown, "the vendor repeated the key"
        if status in (400, 429) or answered == 401:
            assert "阶跃星辰" in caught.value.zh
        if not asked_again and answered not in (401, 402):
            assert not vendor.files, "the recording was taken back"


async def test_it_waits_as_it_is_told_and_longer_each_time(tmp_path: Path) -> None:
    async with stepfun() as (maker, vendor, waits):
        vendor.will("POST", "/files", Says(status=429, headers={"Retry-After": "7"}), Says(status=503))
        vendor.will("POST", "/audio/voices", Says(cut=True), Says(cut=True), Says(status=500))
        made = await make(maker, recording(tmp_path))
        assert made.voice_id in vendor.voices
        assert waits.waited_s[0] == 7.0
        bounds = [(BACKOFF_S * 2**attempt * 0.75, BACKOFF_S * 2**attempt * 1.25) for attempt in (1, 0, 1)]
        assert all(least <= s <= most for s, (least, most) in zip(waits.waited_s[1:], bounds, strict=True))
        assert maker.figures()["voices_stepfun_retries_total"] == 4
        vendor.will("POST", "/files", Says(status=429, headers={"Retry-After": str(PATIENCE_S + 1)}))
        with pytest.raises(EngineError):
            await make(maker, recording(tmp_path))
        assert len(waits.waited_s) == 4, "so long nobody waits"


async def test_a_refused_key_is_told_once_and_asked_with_no_more(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with stepfun() as (maker, vendor, waits):
        vendor.key = "another"
        for _ in range(3):
            with pytest.raises(EngineError, match="refuses the key"):
                await make(maker, recording(tmp_path))
        assert len(vendor.asked) == 1
        with pytest.raises(EngineError, match="refuses the key"):
            await maker.forget("voice-tone-1", {})
        assert "refuses the key" in str(maker.why_not()) and "STEP_API_KEY" in str(maker.why_not())
        assert maker.figures()["voices_stepfun_key_refused"] == 1.0
        waits.now += KEY_REST_S
        assert maker.why_not() is None, "it is tried again"
        with pytest.raises(EngineError, match="refuses the key"):
            await make(maker, recording(tmp_path))
        alerts = [record for record in caplog.records if record.levelno == logging.ERROR]
        assert len(alerts) == 1 and "ALERT" in alerts[0].message and KEY not in caplog.text
        assert maker.figures()["voices_stepfun_key_refusals_total"] == 2.0
        vendor.key = KEY
        waits.now += KEY_REST_S
        assert (await make(maker, recording(tmp_path))).voice_id in vendor.voices
        assert maker.why_not() is None and maker.figures()["voices_stepfun_key_refused"] == 0.0


async def test_a_service_that_fails_is_left_alone_for_a_while(tmp_path: Path) -> None:
    async with stepfun() as (maker, vendor, waits):
        vendor.will("POST", "/files", *[Says(status=500)] * ATTEMPTS)
        with pytest.raises(EngineError, match="answered 500"):
            await make(maker, recording(tmp_path))
        with pytest.raises(EngineError, match="asked again in 5 s"):
            await said(maker, "linjiajiejie")
        assert len(vendor.asked) == ATTEMPTS
        assert maker.why_not() is None, "it may be back before anybody asks"
        waits.now += BACKOFF_FIRST_S
        assert (await said(maker, "linjiajiejie")).size > 0
        assert (await make(maker, recording(tmp_path))).voice_id in vendor.voices


async def test_refused_requests_do_not_stop_the_others(tmp_path: Path) -> None:
    async with stepfun() as (maker, vendor, _):
        for status in (400, 451, 404, 400, 422):
            vendor.will("POST", "/audio/speech", Says(status=status))
            with pytest.raises(EngineError, match=f"answered {status}"):
                await said(maker, "linjiajiejie")
        assert (await said(maker, "linjiajiejie")).size > 0


NONSENSE = {
    "no json": b"<html>502</html>",
    "empty": b"",
    "null": b"null",
    "a list": b"[1, 2]",
    "no id": b"{}",
    "id is no text": b'{"id": 7}',
    "id is a path": b'{"id": "../../etc/passwd"}',
    "id is too long": text({"id": "v" * 5000}),
    "an error": text({"error": {"message": f"Bearer {KEY}", "code": "x"}}),
    "not utf-8": b'{"id": "\xff\xfe"}',
    "deep": b"[" * 100_000,
}


@pytest.mark.parametrize("path", ["/files", "/audio/voices"])
@pytest.mark.parametrize("kind", NONSENSE)
async def test_answers_that_are_none(kind: str, path: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with stepfun() as (maker, vendor, _):
        vendor.will("POST", path, Says(body=NONSENSE[kind]))
        with pytest.raises(VisageError) as caught:
            await make(maker, recording(tmp_path))
        assert KEY not in f"{caught.value}{caplog.text}" and not vendor.files


@pytest.mark.parametrize("sample", [7, "", "no base64!", "data:audio/wav;base64,AAAA", "UklGRg==", None, {"a": 1}])
async def test_previews_that_are_none(sample: Any, tmp_path: Path) -> None:
    async with stepfun() as (maker, vendor, _):
        vendor.has_preview = False
        vendor.will("POST", "/audio/voices", Says(body=text({"id": "voice-tone-1", "sample_audio": sample})))
        made = await make(maker, recording(tmp_path))
        assert (made.voice_id, made.sample, made.duplicated) == ("voice-tone-1", b"", False)


async def test_speech_is_heard_while_it_is_made() -> None:
    async with stepfun() as (maker, vendor, _):
        vendor.release.clear()
        words = "一句很长的话，" * 20
        async with contextlib.aclosing(maker.speak("linjiajiejie", {}, words, "zh", "", 3.0)) as sounds:
            first = await anext(sounds)
            assert first.pcm.size > 0
            vendor.release.set()
            assert [sound async for sound in sounds]
        assert vendor.asked[0][2]["speed"] == 2.0 and vendor.asked[0][2]["model"] == "step-tts-2"


async def test_a_long_text_is_said_in_parts() -> None:
    async with stepfun() as (maker, vendor, _):
        await said(maker, "linjiajiejie", "天气很好。" * 500 + "……")
        texts = [sent["input"] for _, _, sent in vendor.asked]
        assert len(texts) == 3 and max(map(len, texts)) <= 1_000
        assert (await said(maker, "linjiajiejie", "……！？")).size == 0 and len(vendor.asked) == 3


@pytest.mark.parametrize("how", [Says(cut=True, after=2), Says(hang=True, after=2)])
async def test_speech_that_breaks_off_is_not_begun_again(how: Says) -> None:
    async with stepfun(timeout_s=0.3) as (maker, vendor, _):
        vendor.will("POST", "/audio/speech", how)
        with pytest.raises(EngineError):
            await said(maker, "linjiajiejie", "一句话。" * 10)
        assert vendor.count("POST", "/audio/speech") == 1


async def test_speech_that_did_not_begin_is_asked_for_again() -> None:
    async with stepfun(timeout_s=0.3) as (maker, vendor, waits):
        vendor.will("POST", "/audio/speech", Says(status=503, headers={"Retry-After": "2"}), Says(hang=True))
        assert (await said(maker, "linjiajiejie")).size > 0
        assert waits.waited_s[0] == 2.0 and len(waits.waited_s) == 2


@pytest.mark.parametrize("body", [text({"error": {"message": KEY}}), b"<html></html>", b"{", b"[" * 70_000])
@pytest.mark.parametrize("media", ["application/json", "audio/pcm"])
async def test_json_for_speech_is_an_error_whatever_it_is_called(body: bytes, media: str) -> None:
    async with stepfun() as (maker, vendor, _):
        vendor.will("POST", "/audio/speech", Says(body=body, media=media))
        with pytest.raises(EngineError) as caught:
            await said(maker, "linjiajiejie")
        assert KEY not in str(caught.value)


@pytest.mark.parametrize("seconds", [4.9, 10.1])
async def test_a_recording_that_would_be_refused_is_not_sent(seconds: float, tmp_path: Path) -> None:
    async with stepfun() as (maker, vendor, _):
        with pytest.raises(BadRequest, match="must last 5 to 10 s") as caught:
            await make(maker, recording(tmp_path, seconds))
        assert "5 至 10 秒" in caught.value.zh and not vendor.asked


async def test_a_creation_that_is_stopped_leaves_no_recording(tmp_path: Path) -> None:
    async with stepfun() as (maker, vendor, _):
        vendor.will("POST", "/audio/voices", Says(hang=True))
        task = asyncio.create_task(make(maker, recording(tmp_path)))
        async with asyncio.timeout(5):
            await vendor.hanging.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not vendor.files


async def test_voices_that_cannot_be_deleted_lose_their_recording(tmp_path: Path) -> None:
    async with stepfun() as (maker, vendor, _):
        made = await make(maker, recording(tmp_path))
        vendor.lets_delete_voices = False
        await maker.forget(made.voice_id, made.recipe)
        assert vendor.voices and not vendor.files
        vendor.will("DELETE", "/audio/voices", *[Says(status=500)] * ATTEMPTS)
        with pytest.raises(EngineError):
            await maker.forget(made.voice_id, made.recipe)


async def test_without_a_key_nothing_is_asked() -> None:
    async with stepfun(key=" ") as (maker, vendor, _):
        assert "STEP_API_KEY not set" in str(maker.why_not()) and "未设置" in maker.why_not_zh()
        with pytest.raises(EngineError, match="STEP_API_KEY"):
            await maker.forget("voice-tone-1", {})
        assert not vendor.asked


async def test_the_key_is_asked_about() -> None:
    async with stepfun() as (maker, vendor, _):
        assert await maker.check() == "the key is taken; step-tts-2 has 4 voices of its own"
        vendor.key = "another"
        with pytest.raises(EngineError, match="refuses the key"):
            await maker.check()
