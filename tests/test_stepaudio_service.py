"""`python app.py stepaudio`: the service, the voice and the language model that ask it, and the commands."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import json
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

torch = pytest.importorskip("torch")
pytest.importorskip("sentencepiece")

from aiohttp import FormData  # noqa: E402
from aiohttp.test_utils import TestClient, TestServer  # noqa: E402

import app  # noqa: E402
import stepaudio.model  # noqa: E402
import stepaudio.tts  # noqa: E402
from errors import BadRequest, EngineError, NotFound  # noqa: E402
from stepaudio import checkpoints, cli, text  # noqa: E402
from stepaudio.generation import Sampling  # noqa: E402
from stepaudio.model import StepAudio  # noqa: E402
from stepaudio.served import StepAudioModel  # noqa: E402
from stepaudio.service import Service  # noqa: E402
from stepaudio.tokenizer import StepAudioTokenizer  # noqa: E402
from stepaudio.tts import StepAudioTTS  # noqa: E402
from tests.stepaudio_networks import recording, write_step1, write_tts  # noqa: E402
from tts.stepaudio import StepAudioOptions, StepAudioVoice  # noqa: E402

Client = TestClient[Any, Any]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = write_tts(tmp_path_factory.mktemp("models"))
    write_step1(root / "Step-Audio-Chat", speaks=False)
    return root


@pytest.fixture(scope="module")
def talking(root: Path) -> Iterator[StepAudio]:
    encoder = StepAudioTokenizer.load(root / "Step-Audio-Tokenizer")
    decoder = StepAudioTTS.load(root / "Step-Audio-TTS-3B", encoder, sampling=Sampling(max_new_tokens=30, top_p=1.0))
    model = checkpoints.load_step1(root / "Step-Audio-Chat", "")
    made = StepAudio(model, text.load(root / "Step-Audio-Chat", ""), encoder, decoder, Sampling(max_new_tokens=9))
    yield made
    made.close()


@contextlib.asynccontextmanager
async def served(talking: StepAudio, *, chat: bool = True) -> AsyncIterator[Client]:
    service = Service(talking.decoder, talking if chat else None)
    async with TestClient(TestServer(service.app())) as client:
        yield client


def wav(seconds: float = 1.0) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, recording(seconds, 4), 24_000, format="WAV")
    return file.getvalue()


def clone_form(**fields: str) -> FormData:
    form = FormData({"tts_text": "你好", "prompt_text": "a recording", "speaker_name": "me", **fields})
    form.add_field("prompt_wav", wav(), filename="a.wav")
    return form


async def heard(response: Any) -> tuple[Any, int]:
    assert response.status == 200 and response.content_type == "audio/wav", await response.text()
    pcm, rate_hz = soundfile.read(io.BytesIO(await response.read()))
    return pcm, rate_hz


async def test_the_publishers_requests_are_answered(talking: StepAudio) -> None:
    async with served(talking) as client:
        assert await (await client.get("/voices")).json() == ["Tingting", "TingtingRAP", "Tingting哼唱"]
        pcm, rate_hz = await heard(await client.post("/tts", data={"tts_text": "你好", "seed": "1"}))
        assert rate_hz == 22_050 and abs(len(pcm) / rate_hz - 30 * 0.024) < 0.03
        slow, _ = await heard(await client.post("/tts", data={"tts_text": "你好", "seed": "1", "speed_ratio": "0.5"}))
        assert abs(len(slow) / len(pcm) - 2) < 0.1
        cloned, _ = await heard(await client.post("/clone", data=clone_form(seed="1")))
        registered = await client.post("/register_voice", data=clone_form())
        assert (await registered.json())["speaker_name"] == "me"
        again, _ = await heard(await client.post("/tts", data={"tts_text": "你好", "speaker": "me", "seed": "1"}))
        assert len(again) == len(cloned) == len(pcm) and not np.array_equal(cloned, pcm)
        assert (await client.post("/register_voice", data=clone_form())).status == 409
        page = await client.get("/")
        assert page.content_type == "text/html" and "Step-Audio" in await page.text()


@pytest.mark.parametrize(
    ("path", "data", "status", "words"),
    [
        ("/tts", {}, 400, "tts_text is missing"), ("/tts", {"tts_text": "好", "speaker": "X"}, 404, "speaker 'X'"),
        ("/tts", {"tts_text": "好", "speed_ratio": "fast"}, 400, "no number"),
        ("/tts", {"tts_text": "好", "volumn_ratio": "nan"}, 400, "volume nan"),
        ("/clone", {"tts_text": "好", "prompt_text": "x"}, 400, "prompt_wav"),
        ("/clone", {"tts_text": "好", "prompt_text": "x", "prompt_wav": "/etc/passwd"}, 400, "prompt_wav"),
        ("/register_voice", {"speaker_name": "a"}, 400, "prompt_text is missing"),
    ],
)  # fmt: skip
async def test_bad_forms_are_refused_in_the_clients_language(
    talking: StepAudio, path: str, data: dict[str, str], status: int, words: str
) -> None:
    async with served(talking) as client:
        response = await client.post(path, data=data)
        assert response.status == status and words in (await response.json())["detail"]
        chinese = await client.post(path, data=data, headers={"Accept-Language": "zh-CN"})
        assert any("\u4e00" <= character <= "\u9fff" for character in (await chinese.json())["detail"])


async def test_what_is_no_recording_is_refused_and_other_sites_are_too(talking: StepAudio) -> None:
    async with served(talking) as client:
        form = FormData({"tts_text": "好", "prompt_text": "x", "speaker_name": "y"})
        form.add_field("prompt_wav", b"no sound", filename="a.wav")
        assert (await client.post("/clone", data=form)).status == 422
        evil = await client.post("/tts", data={"tts_text": "好"}, headers={"Origin": "http://evil.example"})
        assert evil.status == 401 and "evil.example" in await evil.text()
        own = await client.get("/voices", headers={"Origin": str(client.make_url("")).rstrip("/")})
        assert own.status == 200


async def test_it_talks_as_openai_has_it_and_hears(talking: StepAudio) -> None:
    sound = {"type": "input_audio", "input_audio": {"data": base64.b64encode(wav()).decode(), "format": "wav"}}
    messages = [{"role": "user", "content": [{"type": "text", "text": "What is said?"}, sound]}]
    async with served(talking) as client:
        assert (await (await client.get("/v1/models")).json())["data"][0]["id"] == "step-audio-chat"
        asked = {"messages": messages, "seed": 1}
        whole = await (await client.post("/v1/chat/completions", json=asked)).json()
        said = whole["choices"][0]["message"]["content"]
        streamed = await (await client.post("/v1/chat/completions", json={**asked, "stream": True})).text()
        lines = [line.removeprefix("data: ") for line in streamed.split("\n\n") if line]
        deltas = [json.loads(line)["choices"][0]["delta"].get("content", "") for line in lines[:-1]]
        assert said and "".join(deltas) == said and lines[-1] == "[DONE]" and len(deltas) > 3
        path = {"type": "audio", "audio": "/etc/passwd"}
        for content, status in (([path], 400), ([{**sound, "input_audio": {"data": "?"}}], 400), (7, 400)):
            bad = {"messages": [{"role": "user", "content": content}], "stream": True}
            assert (await client.post("/v1/chat/completions", json=bad)).status == status
        assert (await client.post("/v1/chat/completions", data=b"{")).status == 400
        assert (await client.post("/v1/chat/completions", json={"messages": 1})).status == 400
    async with served(talking, chat=False) as client:
        refused = await client.post("/v1/chat/completions", json=asked)
        assert refused.status == 503 and "--chat" in await refused.text()


async def test_visages_own_voice_and_language_model_use_it(talking: StepAudio) -> None:
    async with served(talking) as client:
        address = str(client.make_url("")).rstrip("/")
        voice = StepAudioVoice(StepAudioOptions(server=address))
        sounds = [sound async for sound in voice.speak("你好。", voice.voices()[0], "zh")]
        assert sum(len(sound.pcm) for sound in sounds) > 10_000 and sounds[0].rate_hz == 22_050
        await voice.warm_up()
        assert [one.id for one in voice.voices()][0] == "stepaudio:Tingting"
        await voice.aclose()
        model = StepAudioModel(f"{address}/v1")
        assert "".join([piece async for piece in model.stream([{"role": "user", "content": "hi"}])])
        with pytest.raises(EngineError, match="answered 413: the conversation has 20012 tokens"):
            await anext(model.stream([{"role": "user", "content": "x" * 20_000}]))
        await model.aclose()


async def test_a_client_that_hangs_up_stops_the_work(talking: StepAudio, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, ended = threading.Event(), threading.Event()

    def endless(text: str, speaker: str, *, stopped: Any) -> Any:
        begun.set()
        while not stopped():
            time.sleep(0.005)
        ended.set()
        raise EngineError("stepaudio", "stopped")

    service = Service(talking.decoder)
    monkeypatch.setattr(service, "_tts", endless)
    asking = asyncio.create_task(service._made(lambda stopped: endless("", "", stopped=stopped)))
    assert await asyncio.to_thread(begun.wait, 10)
    asking.cancel()
    assert await asyncio.to_thread(ended.wait, 10)
    await service._close(service.app())
    with pytest.raises(EngineError, match="nobody waits"):
        talking.decoder("你好", "Tingting", stopped=lambda: True)


# ---- commands


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """The narrow models never end by themselves."""
    monkeypatch.setattr(stepaudio.tts, "SAMPLING", Sampling(max_new_tokens=30, top_p=1.0))
    monkeypatch.setattr(stepaudio.model, "SAMPLING", Sampling(max_new_tokens=9))


def test_one_text_is_spoken_into_a_file(root: Path, tmp_path: Path, short: None) -> None:
    out = tmp_path / "a.wav"
    arguments = [
        "stepaudio",
        "speak",
        "(RAP)你好",
        "--out",
        str(out),
        "--models",
        str(root),
        "--device",
        "cpu",
        "--seed",
        "1",
    ]
    assert app.main(arguments) == 0
    assert soundfile.info(out).samplerate == 22_050 and abs(soundfile.info(out).duration - 0.72) < 0.03


def test_a_batch_goes_on_after_a_failure(root: Path, tmp_path: Path, short: None, capsys: Any) -> None:
    jobs = tmp_path / "jobs.jsonl"
    clone = {"wav_path": str(root / "Step-Audio" / "speakers" / "Tingting_prompt.wav"), "prompt_text": "你好"}
    lines = [
        {"text": "你好", "name": "hello", "seed": 1}, {"text": "好", "speaker": "Nobody"},
        {"text": "再见", "clone": clone, "speed_ratio": 2},
        {"messages": [{"role": "user", "content": "hi"}], "name": "talk", "tags": "(高兴1)"},
    ]  # fmt: skip
    jobs.write_text("\n".join(json.dumps(line) for line in lines) + "\n\n")
    assert app.main(["stepaudio", "batch", str(jobs), "--out", str(tmp_path / "out"), "--models", str(root)]) == 1
    results = [json.loads(line) for line in (tmp_path / "out" / "results.jsonl").read_text().splitlines()]
    assert [result["name"] for result in results] == ["hello", "0002", "0003", "talk"]
    assert results[1]["status"] == 404 and "没有音色" in results[1]["error_zh"] and results[3]["text"]
    for result in (results[0], results[2], results[3]):
        assert abs(soundfile.info(tmp_path / "out" / result["file"]).duration - result["seconds"]) < 0.01
    assert "2/4 0002: the speaker 'Nobody' is not known" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "line 2 is no JSON"), ("[]", "either text or messages"), ('{"text": "a", "messages": []}', "either text"),
        ('{"text": "a", "colour": 1}', "colour is unknown"), ('{"text": "a", "name": "../x"}', "cannot be a file's"),
        ('{"text": "a", "name": "first"}', "the name 'first' is taken"),
    ],
)  # fmt: skip
def test_a_line_that_is_no_job_is_named_before_any_work(tmp_path: Path, line: str, words: str) -> None:
    jobs = tmp_path / "jobs.jsonl"
    jobs.write_text('{"text": "a", "name": "first"}\n' + line)
    with pytest.raises(BadRequest, match=words):
        list(cli.read_jobs(jobs))
    with pytest.raises(NotFound):
        list(cli.read_jobs(tmp_path / "nowhere"))


def test_what_is_there_and_tokens_are_printed(root: Path, tmp_path: Path, capsys: Any) -> None:
    assert cli.main(["check", "--models", str(tmp_path)]) == 1
    told = capsys.readouterr().out
    assert "✗ Step-Audio-Tokenizer" in told and "· Step-Audio-Chat" in told
    assert "hf download stepfun-ai/Step-Audio-TTS-3B --local-dir" in told and "git clone" in told
    file = root / "Step-Audio" / "speakers" / "Tingting_prompt.wav"
    assert cli.main(["tokens", str(file), "--models", str(root), "--device", "cpu"]) == 0
    assert capsys.readouterr().out.startswith("<audio_")


def test_bad_arguments_are_refused(root: Path, capsys: Any) -> None:
    for arguments, words in (
        (["serve", "--host", "0.0.0.0"], "reachable from other machines"),
        (["tokens", "x.wav", "--models", str(root)], "x.wav is not there"),
        (["speak", "x", "--out", "x.wav", "--device", "tpu", "--models", str(root)], "--device 'tpu'"),
        (
            ["speak", "x", "--out", "x.wav", "--device", "cpu", "--models", "/nowhere"],
            "/nowhere/Step-Audio-Tokenizer lacks",
        ),
    ):
        assert app.main(["stepaudio", *arguments]) == 1
        assert words in capsys.readouterr().err
