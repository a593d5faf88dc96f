"""Texts said into files and streams, by voices of the library and built-in ones."""

from __future__ import annotations

import asyncio
import base64
import io
import json
from pathlib import Path
from typing import Any

import aiohttp
import av
import numpy as np
import pytest
import soundfile

from audiofile import decode, inspect
from errors import EngineError
from tests.fakes.app import until
from tests.fakes.library import Client, clip, made, shelves
from tests.fakes.maker import FakeMaker
from tests.fakes.sounds import pitch_hz
from tests.test_voice_library import data, stored
from tests.watchdog import watched
from voices.encoding import FORMATS, Encoder
from voices.marking import Marker
from voices.watermark import Watermark

TEXT = "Good morning to all of you. 大家早上好！"


async def generate(client: Client, voice: str, text: str = TEXT, **more: Any) -> tuple[int, dict[str, Any]]:
    response = await client.post("/api/tts/generate", json={"voiceId": voice, "input": text, **more})
    body = await response.json()
    return response.status, body["data"] if body["success"] else body["error"]


@pytest.mark.parametrize("format", ["mp3", "wav", "opus", "flac"])
async def test_a_text_becomes_a_file_that_is_kept(format: str, tmp_path: Path) -> None:
    async with shelves(tmp_path) as (client, stage):
        voice = await made(client)
        status, told = await generate(client, voice["voiceId"], format=format, encoding="base64")
        assert status == 201 and told["characters"] == len(TEXT) and not told["cached"] and told["model"] == "hum-1"
        answer = await client.get("/" + told["url"])
        sound = await answer.read()
        assert answer.headers["Content-Type"] == FORMATS[format].media and base64.b64decode(told["audio"]) == sound
        facts = inspect(io.BytesIO(sound), 60)
        assert abs(facts.duration_s - told["duration"]) < 0.1, "but for an encoder's padding"
        pcm = np.concatenate(list(decode(io.BytesIO(sound), 60)))
        assert abs(pitch_hz(pcm[2_000:12_000], 16_000) - (100 + int(stage.maker.made[0][0][:4], 16) % 200)) < 4
        expected_s = len(TEXT) * 0.05
        assert expected_s < told["duration"] < expected_s + 0.8, "with a pause between the sentences"
        key = next(key for key in stored(tmp_path) if key.startswith("tts_outputs"))
        assert key.startswith(f"tts_outputs/{voice['voiceId']}/") and key.endswith(FORMATS[format].suffix)
        assert [said[1:3] for said in stage.maker.said[1:]] == [
            ("Good morning to all of you.", "en"),
            ("大家早上好！", "zh"),
        ]


def marks_of(sound: bytes) -> str:
    with av.open(io.BytesIO(sound)) as container:
        streams = [value for stream in container.streams for value in stream.metadata.values()]
        return " ".join([*container.metadata.values(), *streams])


@pytest.mark.parametrize("format", ["mp3", "wav", "opus", "flac"])
@pytest.mark.parametrize("whole", [True, False])
def test_every_file_says_that_a_machine_made_it(format: str, whole: bool) -> None:
    pcm = np.asarray(0.3 * np.sin(np.arange(24_000) / 20), np.float32)
    encoder = Encoder(format, {"comment": "made by AI; trainedAlgorithmicMedia"}, whole=whole)
    parts = [encoder.feed(pcm[at : at + 1_000]) for at in range(0, pcm.size, 1_000)]
    sound = b"".join([*parts, encoder.finish()])
    assert bool(b"".join(parts)) is not whole
    assert "trainedAlgorithmicMedia" in marks_of(sound)
    back, rate_hz = soundfile.read(io.BytesIO(sound)) if format == "flac" and whole else (None, 0)
    assert back is None or (rate_hz == 24_000 and len(back) == pcm.size)
    decoded = np.concatenate(list(decode(io.BytesIO(sound), 60, 24_000)))
    assert abs(decoded.size - pcm.size) < 3_000 and encoder.seconds == 1.0


def test_a_file_without_sound_is_a_file_still() -> None:
    for format in FORMATS:
        assert isinstance(Encoder(format, {}, whole=True).finish(), bytes)


async def test_the_same_again_is_answered_from_before(tmp_path: Path) -> None:
    async with shelves(tmp_path) as (client, stage):
        voice = (await made(client))["voiceId"]
        first = await generate(client, voice)
        spoken = len(stage.maker.said)
        status, again = await generate(client, voice)
        assert status == 200 and again["cached"] and again["requestId"] == first[1]["requestId"]
        assert len(stage.maker.said) == spoken
        for other in ({"speed": 1.5}, {"format": "wav"}, {"text": TEXT + "!"}, {"model": "hum-2"}):
            assert (await generate(client, voice, **other))[0] == 201
        (tmp_path / "storage" / next(key for key in stored(tmp_path) if key.endswith(".mp3"))).unlink()
        results = [await generate(client, voice) for _ in range(2)]
        assert [status for status, _ in results] in ([201, 200], [200, 200])


async def test_the_same_asked_for_many_times_at_once_is_said_once(tmp_path: Path) -> None:
    async with shelves(tmp_path) as (client, stage):
        voice = (await made(client))["voiceId"]
        before = len(stage.maker.said)
        answers = await asyncio.gather(*(generate(client, voice) for _ in range(6)))
        assert len({told["requestId"] for _, told in answers}) == 1 and len(stage.maker.said) == before + 2
        assert sorted(status for status, _ in answers) == [200] * 5 + [201]


async def test_built_in_voices_speak_too(tmp_path: Path) -> None:
    async with shelves(tmp_path) as (client, stage):
        status, told = await generate(client, "fake:male", "Good morning.", speed=2.0)
        assert status == 201 and told["voiceId"] == "fake:male" and told["voice_name"] == "male"
        assert stage.engine.asked == [("Good morning.", "fake:male", "en", 2.0)]
        assert (await generate(client, "male", "Good morning.", speed=2.0))[1]["requestId"] == told["requestId"]
        assert (await data(client, "/api/tts/history", voiceId="fake:male"))["total"] == 1


async def test_history_and_usage(tmp_path: Path) -> None:
    async with shelves(tmp_path) as (client, stage):
        voice = await made(client, name="小明")
        texts = ["First text.", "第二个文本。", "Third 100% text."]
        told = [(await generate(client, voice["voiceId"], text))[1] for text in texts]
        await generate(client, voice["voiceId"], texts[0])
        page = await data(client, "/api/tts/history", size=2)
        assert [one["input"] for one in page["requests"]] == [texts[2], texts[1]] and page["total"] == 3
        assert page["requests"][0]["voice_name"] == "小明"
        assert [one["input"] for one in (await data(client, "/api/tts/history", q="二个"))["requests"]] == [texts[1]]
        assert (await data(client, "/api/tts/history", q="100%"))["total"] == 1
        assert (await data(client, f"/api/tts/{told[0]['requestId']}"))["input"] == texts[0]
        await (await stage.library.opened()).usage.flush()
        usage = await data(client, "/api/tts/usage")
        assert usage["calls"] == 4 and usage["characters"] == sum(map(len, texts)) + len(texts[0])
        assert len(usage["by_day"]) == 1 and usage["by_voice"][0]["name"] == "小明"
        assert usage["seconds"] == pytest.approx(sum(one["duration"] for one in told), abs=0.02)
        info = await data(client, f"/api/voices/{voice['voiceId']}")
        assert info["uses"] == info["usage"]["calls"] == 4 and info["last_used_at"]
        assert info["updated_at"] == info["created_at"]
        assert [one["name"] for one in (await data(client, "/api/voices/popular"))["voices"]] == ["小明"]
        gone = await client.delete(f"/api/tts/{told[0]['requestId']}")
        assert (await gone.json())["data"] == {"deleted": True, "files": 1, "generations": 1}
        assert (await client.get("/" + told[0]["url"])).status == 404
        await until(lambda: sum(key.startswith("tts_outputs") for key in stored(tmp_path)) == 2)


async def test_ranges_and_versions_of_a_file(tmp_path: Path) -> None:
    async with shelves(tmp_path) as (client, _):
        _, told = await generate(client, "fake:male", "Good morning.")
        url = "/" + told["url"]
        whole = await client.get(url)
        sound = await whole.read()
        assert whole.headers["Accept-Ranges"] == "bytes" and int(whole.headers["Content-Length"]) == len(sound)
        for given, begin, end in (
            ("bytes=0-9", 0, 10), ("bytes=5-", 5, len(sound)), ("bytes=-7", len(sound) - 7, len(sound)),
            ("bytes=10-999999999", 10, len(sound)),
        ):  # fmt: skip
            part = await client.get(url, headers={"Range": given})
            assert part.status == 206 and await part.read() == sound[begin:end]
            assert part.headers["Content-Range"] == f"bytes {begin}-{end - 1}/{len(sound)}"
        for given in ("bytes=999999999-", f"bytes={len(sound)}-"):
            refused = await client.get(url, headers={"Range": given})
            assert refused.status == 416 and refused.headers["Content-Range"] == f"bytes */{len(sound)}"
            assert (await refused.json())["success"] is False
        for given in ("bytes=x-y", "items=0-1", "bytes=9-2"):
            assert (await client.get(url, headers={"Range": given})).status in (200, 416)
        same = await client.get(url, headers={"If-None-Match": whole.headers["ETag"]})
        assert same.status == 304 and await same.read() == b""


async def test_openais_clients_are_served(tmp_path: Path) -> None:
    async with shelves(tmp_path) as (client, stage):
        voice = (await made(client))["voiceId"]
        for format in ("mp3", "opus", "aac", "flac", "wav", "pcm"):
            asked = {"model": "tts-1", "voice": voice, "input": TEXT, "response_format": format}
            answer = await client.post("/v1/audio/speech", json=asked)
            sound = await answer.read()
            assert answer.status == 200 and answer.headers["Content-Type"] == FORMATS[format].media
            if format == "pcm":
                assert len(sound) % 2 == 0 and abs(len(sound) / 48_000 - len(TEXT) * 0.05) < 0.8
            else:
                assert np.concatenate(list(decode(io.BytesIO(sound), 60))).size > 16_000
        spoken = len(stage.maker.said)
        again = await client.post("/v1/audio/speech", json={**asked, "voice": {"id": voice}})
        assert await again.read() == sound and len(stage.maker.said) == spoken, "from the cache"
        for name in ("alloy", "onyx"):
            answer = await client.post("/v1/audio/speech", json={"model": "x", "voice": name, "input": "Hello there."})
            assert answer.status == 200 and len(await answer.read()) > 1_000
        assert [asked[1] for asked in stage.engine.asked] == ["fake:female", "fake:male"]
        assert not any("tts_" in key for key in stored(tmp_path))


async def test_openais_events_carry_the_same_sound(tmp_path: Path) -> None:
    async with shelves(tmp_path) as (client, _):
        asked = {
            "model": "x",
            "voice": "male",
            "input": "Hello there, all of you who listen.",
            "response_format": "pcm",
        }
        plain = await (await client.post("/v1/audio/speech", json=asked)).read()
        answer = await client.post(
            "/v1/audio/speech", json={**asked, "input": "Hello there, all of you who listen!", "stream_format": "sse"}
        )
        assert answer.headers["Content-Type"] == "text/event-stream"
        events = [json.loads(line[6:]) for line in (await answer.text()).splitlines() if line.startswith("data: ")]
        assert {event["type"] for event in events[:-1]} == {"speech.audio.delta"} and len(events) > 2
        assert events[-1]["type"] == "speech.audio.done" and events[-1]["usage"]["total_tokens"] == 35
        assert b"".join(base64.b64decode(event["audio"]) for event in events[:-1]) == plain


async def test_openais_list_goes_page_by_page(tmp_path: Path) -> None:
    async with shelves(tmp_path) as (client, _):
        mine = [(await made(client, number))["voiceId"] for number in range(2)]
        found: list[str] = []
        after = ""
        while True:
            answer = await client.get("/v1/audio/voices", params={"limit": 3, "after": after})
            page = await answer.json()
            found += page["voices"]
            assert page["object"] == "list" and [one["id"] for one in page["data"]] == page["voices"]
            if not page["has_more"]:
                break
            after = page["last_id"]
        assert found == ["fake:female", "fake:male", mine[1], mine[0]]
        refused = await client.get("/v1/audio/voices", params={"after": "nobody"})
        assert refused.status == 404 and (await refused.json())["error"]["code"] == "not_found"


async def test_a_voice_that_fails_at_once_is_told_in_each_shape(tmp_path: Path) -> None:
    maker = FakeMaker(gives_sample=True, speak_failure=EngineError("scripted", "429 from the service"), fail_after=0)
    async with shelves(tmp_path, makers=[maker]) as (client, _):
        voice = (await made(client))["voiceId"]
        status, error = await generate(client, voice)
        assert (
            status == 502
            and error["code"] == "engine_failed"
            and "429 from" in error["details"]["en"]
            and error["details"]["zh"]
        )
        answer = await client.post("/v1/audio/speech", json={"model": "x", "voice": voice, "input": "Hello."})
        body = await answer.json()
        assert (
            answer.status == 502
            and body["error"]["type"] == "server_error"
            and body["error"]["code"] == "engine_failed"
        )
        assert not any(key.startswith("tts_") for key in stored(tmp_path))
        assert (await data(client, "/api/tts/history"))["total"] == 0


async def test_a_voice_that_fails_midway_leaves_no_file_and_no_whole_answer(tmp_path: Path) -> None:
    maker = FakeMaker(gives_sample=True, speak_failure=EngineError("scripted", "reset"), fail_after=12)
    async with shelves(tmp_path, makers=[maker]) as (client, _):
        voice = (await made(client))["voiceId"]
        long = "This is a rather long sentence that takes a while to say. " * 3
        assert (await generate(client, voice, long))[0] == 502
        answer = await client.post(
            "/v1/audio/speech", json={"model": "x", "voice": voice, "input": long, "response_format": "pcm"}
        )
        assert answer.status == 200
        with pytest.raises(Exception, match=r"(?i)closed|not completed|payload|reset"):
            await answer.read()
        events = await client.post(
            "/v1/audio/speech",
            json={"model": "x", "voice": voice, "input": long, "response_format": "pcm", "stream_format": "sse"},
        )
        told = [json.loads(line[6:]) for line in (await events.text()).splitlines() if line.startswith("data: ")]
        assert "error" in [event["type"] for event in told]
        assert not any(key.startswith("tts_") for key in stored(tmp_path))


async def test_a_listener_who_leaves_stops_the_work(tmp_path: Path) -> None:
    async with shelves(tmp_path) as (client, stage):
        stage.engine.chunk_s = 0.01
        long = "One more sentence that nobody waits for. " * 80
        answer = await client.post("/v1/audio/speech", json={"model": "x", "voice": "male", "input": long})
        await answer.content.read(1_000)
        answer.close()
        await until(lambda: stage.engine.at_work == 0)
        assert len(stage.engine.asked) < 40


async def checked(client: Client, sound: bytes) -> dict[str, Any]:
    form = aiohttp.FormData()
    form.add_field("file", sound, filename="x.bin")
    answer = await client.post("/api/tts/check", data=form)
    body = await answer.json()
    assert answer.status == 200, body
    found: dict[str, Any] = body["data"]
    return found


@pytest.mark.parametrize("format", ["mp3", "wav", "opus", "flac"])
async def test_a_file_tells_where_it_comes_from(format: str, tmp_path: Path) -> None:
    async with shelves(tmp_path) as (client, _):
        voice = await made(client)
        _, told = await generate(client, voice["voiceId"], format=format)
        found = await checked(client, await (await client.get("/" + told["url"])).read())
        assert found["generated"] and {"visage", "iptc"} <= {claim["kind"] for claim in found["claims"]}
        facts = next(claim["facts"] for claim in found["claims"] if claim["kind"] == "visage")
        assert facts["content_id"] == told["requestId"] and facts["voice"] == voice["voiceId"] and facts["cloned"]
        sample = await (await client.get("/" + voice["sample_url"])).read()
        assert (await checked(client, sample))["generated"]
        answer = await client.post("/v1/audio/speech", json={"model": "x", "voice": "male", "input": TEXT})
        assert (await checked(client, await answer.read()))["generated"]
        plain = await checked(client, clip())
        assert not plain["generated"] and plain["claims"] == [] and plain["duration"] > 6


def test_the_mark_goes_through_without_a_gap() -> None:
    class Doubling(Watermark):
        def __init__(self) -> None:
            super().__init__()
            self.sizes: list[int] = []

        def why_not(self) -> str | None:
            return None

        def mark(self, pcm: Any, rate_hz: int) -> Any:
            self.sizes.append(pcm.size)
            return 2 * pcm

    watermark = Doubling()
    marker = Marker(watermark, 1_000)
    pcm = np.arange(4_321, dtype=np.float32)
    parts = [marker.feed(pcm[at : at + 100]) for at in range(0, pcm.size, 100)]
    assert (np.concatenate([*parts, marker.finish()]) == 2 * pcm).all()
    assert min(watermark.sizes) >= 500 and len(watermark.sizes) > 2
    assert Marker(watermark, 1_000).finish().size == 0


WRONG: list[tuple[dict[str, Any], int, str]] = [
    ({"voiceId": "voice-" + "0" * 24}, 404, "not_found"),
    ({"voiceId": "nobody"}, 404, "not_found"),
    ({"voiceId": "../../etc/passwd"}, 404, "not_found"),
    ({"voiceId": "library:fake:male"}, 404, "not_found"),
    ({"input": "   "}, 400, "bad_request"),
    ({"input": "😀🎉…"}, 422, "unprocessable"),
    ({"input": "こんにちは、世界"}, 422, "unprocessable"),
    ({"input": ""}, 400, "bad_request"),
    ({"input": "x" * 5_001}, 413, "too_large"),
    ({"format": "exe"}, 400, "bad_request"),
    ({"speed": 9}, 400, "bad_request"),
    ({"speed": "fast"}, 400, "bad_request"),
    ({"language": "english"}, 400, "bad_request"),
    ({"input": None}, 400, "bad_request"),
]


@pytest.mark.parametrize(("wrong", "status", "code"), WRONG)
async def test_what_cannot_be_said_is_refused(wrong: dict[str, Any], status: int, code: str, tmp_path: Path) -> None:
    async with shelves(tmp_path) as (client, _):
        answer = await client.post("/api/tts/generate", json={"voiceId": "fake:male", "input": "Hello.", **wrong})
        body = await answer.json()
        assert answer.status == status and body["error"]["code"] == code and body["success"] is False, body
        assert stored(tmp_path) == []


async def test_the_loop_is_never_held_by_speech(tmp_path: Path) -> None:
    async with shelves(tmp_path) as (client, _):
        voice = (await made(client))["voiceId"]
        await generate(client, voice)
        async with watched() as watchdog:
            status, told = await generate(client, voice, "A sentence that is said once more. " * 25)
            assert status == 201 and told["duration"] > 40
            await (await client.get("/" + told["url"])).read()
        assert watchdog.blocks(0.05) == []
