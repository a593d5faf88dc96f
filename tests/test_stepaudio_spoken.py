"""Step-Audio 2's spoken replies: its vocoder's numbers and files, and conversations with a server of its protocol."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

torch = pytest.importorskip("torch")
pytest.importorskip("sentencepiece")

from aiohttp import web  # noqa: E402
from aiohttp.test_utils import TestServer  # noqa: E402

from errors import BadRequest, EngineError, NotFound, Unprocessable  # noqa: E402
from stepaudio import cli, spoken  # noqa: E402
from stepaudio.spoken import SecondVocoder  # noqa: E402
from stepaudio.vocoder.config import HIFT, EncoderSize, SecondSize, TransformerSize, read_second  # noqa: E402
from stepaudio.vocoder.hift import Hift  # noqa: E402
from stepaudio.vocoder.second import SecondFlow  # noqa: E402
from tests.stepaudio_networks import SECOND, SECOND_HIFT, recording, second_config, write_second  # noqa: E402
from tests.test_stepaudio_tts import fill  # noqa: E402

MESSAGES = [{"role": "user", "content": "长城有多长？"}]


@pytest.fixture(scope="module", autouse=True)
def narrow() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spoken, "HIFT", SECOND_HIFT)
        yield


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_second(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def second(directory: Path) -> SecondVocoder:
    return spoken.load(directory)


@pytest.fixture
def served() -> Iterator[str]:
    """A Step-Audio 2 in a thread, for commands have event loops of their own; it says ten codes a chunk."""
    loop, ready = asyncio.new_event_loop(), threading.Event()
    address = ""

    async def chat(request: web.Request) -> web.StreamResponse:
        asked = await request.json()
        assert asked["messages"][-1] == {"role": "assistant", "content": "<tts_start>", "eot": False}
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for word in ("很", "长", "。"):
            audio = "".join(f"<audio_{100 * ord(word) % 6561}>" for _ in range(10))
            delta = {"content": "", "tts_content": {"tts_text": word, "tts_audio": audio}}
            await response.write(f"data: {json.dumps({'choices': [{'delta': delta}]})}\n\n".encode())
        await response.write(b"data: [DONE]\n\n")
        return response

    async def models(request: web.Request) -> web.StreamResponse:
        return web.json_response({"data": [{"id": "step-audio-2-mini"}]})

    async def run(stop: asyncio.Event) -> None:
        nonlocal address
        app = web.Application()
        app.add_routes([web.post("/v1/chat/completions", chat), web.get("/v1/models", models)])
        server = TestServer(app)
        await server.start_server()
        address = str(server.make_url("/v1"))
        ready.set()
        await stop.wait()
        await server.close()

    stop = asyncio.Event()
    thread = threading.Thread(target=lambda: loop.run_until_complete(run(stop)))
    thread.start()
    assert ready.wait(10)
    yield address
    loop.call_soon_threadsafe(stop.set)
    thread.join(10)
    loop.close()


def test_the_flow_is_the_published_codes_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """What Step-Audio 2's `CausalMaskedDiffWithXvec` gives for the same weights, codes, recording and noise."""
    estimator = TransformerSize(depth=1, num_heads=2, head_dim=4, hidden_size=12)
    encoder = EncoderSize(16, 16, 2, 24, 1)
    flow = fill(
        SecondFlow(SecondSize(40, spk_embed_dim=12, encoder=encoder, num_up_blocks=1, estimator=estimator)), 0.3
    )
    noise = torch.sin(torch.arange(80 * 50) * 1.3).reshape(1, 80, 50)
    monkeypatch.setattr(torch, "randn", lambda *_, **__: noise.clone())
    prompt, speaker = torch.cos(torch.arange(20 * 80.0)).reshape(1, 20, 80), torch.cos(torch.arange(12.0))[None]
    mel = flow(torch.arange(15) * 7 % 40, torch.arange(10) * 3 % 40, prompt, speaker)
    assert mel.shape == (1, 80, 30) and mel[0, ::20, ::6].flatten().tolist() == pytest.approx([
        -0.00053, -0.12989, -1.4734, -1.58411, -0.16013, 0.50034, 1.35029, 0.2371, -0.64053, 0.28744, 0.4565, 1.76704,
        1.28452, 0.00292, 0.26846, -1.28578, -0.06684, 0.31942, -0.96254, -1.38467,
    ], abs=1e-3)  # fmt: skip


def test_the_source_runs_on_from_frame_to_frame() -> None:
    source = Hift(HIFT).m_source
    cycles = source._cycles(torch.full((1, 20), 240.0), None)[0, 0].double()
    steps = np.diff(np.unwrap(cycles.numpy() * 2 * np.pi))[480:-480]
    assert np.allclose(steps, 2 * np.pi * 240 / 24_000, atol=1e-3)


def test_codes_become_sound_in_a_recordings_voice(second: SecondVocoder) -> None:
    like = second.likeness(recording(2.0).astype(np.float32), 24_000)
    assert len(like.tokens) == 50 and like.mel.shape == (1, 100, 80) and max(like.tokens) < 6561
    pcm = second.speak([5, 6560, 17] * 10, like, seed=1)
    assert len(pcm) == 30 * 2 * 480 and np.abs(pcm).max() <= 0.99
    assert np.array_equal(pcm, second.speak([5, 6560, 17] * 10, like, seed=1))
    other = second.likeness(recording(2.0, 7).astype(np.float32), 24_000)
    assert not np.array_equal(pcm, second.speak([5, 6560, 17] * 10, other, seed=1))
    with pytest.raises(EngineError, match="no code of sound"):
        second.speak([], like)
    for seconds in (0.3, 31.0):
        with pytest.raises(Unprocessable, match=f"lasts {seconds} s") as caught:
            second.likeness(np.zeros(int(seconds * 16_000), np.float32), 16_000)
        assert "录音长" in caught.value.chinese()


def test_its_files_are_named_where_they_are_damaged(directory: Path, tmp_path: Path) -> None:
    source = directory / "token2wav"
    (tmp_path / "token2wav").mkdir()
    for path in source.iterdir():
        (tmp_path / "token2wav" / path.name).symlink_to(path)
    for path in source.iterdir():
        copy = tmp_path / "token2wav" / path.name
        copy.unlink()
        with pytest.raises(NotFound, match=path.name):
            spoken.load(tmp_path)
        copy.write_bytes(path.read_bytes()[: path.stat().st_size // 3])
        with pytest.raises(Unprocessable, match=path.name):
            spoken.load(tmp_path)
        copy.unlink()
        copy.symlink_to(path)


def test_its_config_is_read_and_others_refused(tmp_path: Path) -> None:
    path = tmp_path / "flow.yaml"
    path.write_text(second_config())
    assert read_second(path, "") == SECOND
    for old, new, words in (
        ("decoder_dit.DiT", "decoder.ConditionalDecoder", "estimator is ConditionalDecoder"),
        ("up_stride: 2", "up_stride: 3", "up_stride is 3"), ("encoder: ", "encoding: ", "describes no vocoder"),
    ):  # fmt: skip
        path.write_text(second_config().replace(old, new))
        with pytest.raises(Unprocessable, match=words):
            read_second(path, "")


def test_a_batch_of_conversations_is_answered_by_a_server(directory: Path, tmp_path: Path, served: str) -> None:
    jobs, voice = tmp_path / "jobs.jsonl", tmp_path / "voice.wav"
    soundfile.write(voice, recording(1.0), 24_000)
    jobs.write_text(
        json.dumps({"messages": MESSAGES, "name": "wall"}) + "\n" + json.dumps({"messages": [{"role": "x"}]})
    )
    given = [str(jobs), "--out", str(tmp_path / "out"), "--models", str(directory.parent), "--device", "cpu"]
    assert cli.main(["batch", *given, "--served", served, "--voice", str(voice)]) == 1
    results: list[Any] = [json.loads(line) for line in (tmp_path / "out" / "results.jsonl").read_text().splitlines()]
    assert (results[0]["text"], results[0]["seconds"]) == ("很长。", 30 * 2 * 480 / 24_000)
    assert soundfile.info(tmp_path / "out" / "wall.wav").samplerate == 24_000
    assert results[1]["status"] == 400 and "'x'" in results[1]["error"]
    with pytest.raises(BadRequest, match="--voice"):
        cli.main(["batch", *given, "--served", served])
