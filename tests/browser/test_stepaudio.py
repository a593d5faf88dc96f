"""The page of `python app.py stepaudio serve`: speaks, sings, clones and talks, in both languages."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

pytest.importorskip("torch")
pytest.importorskip("sentencepiece")

from aiohttp.test_utils import TestServer

from stepaudio import checkpoints, text
from stepaudio.generation import Sampling
from stepaudio.model import StepAudio
from stepaudio.service import Service
from stepaudio.tokenizer import StepAudioTokenizer
from stepaudio.tts import StepAudioTTS
from tests.stepaudio_networks import write_step1, write_tts


def load(root: Path) -> StepAudio:
    write_step1(write_tts(root) / "Step-Audio-Chat", speaks=False)
    encoder = StepAudioTokenizer.load(root / "Step-Audio-Tokenizer")
    decoder = StepAudioTTS.load(root / "Step-Audio-TTS-3B", encoder, sampling=Sampling(max_new_tokens=20, top_p=1.0))
    model = checkpoints.load_step1(root / "Step-Audio-Chat", "")
    return StepAudio(model, text.load(root / "Step-Audio-Chat", ""), encoder, decoder, Sampling(max_new_tokens=9))


@pytest_asyncio.fixture(loop_scope="package")
async def page(browser: Browser, tmp_path: Path) -> AsyncIterator[tuple[Page, Path]]:
    talking = await asyncio.to_thread(load, tmp_path)
    server = TestServer(Service(talking.decoder, talking).app())
    await server.start_server()
    context = await browser.new_context(locale="en-US")
    opened = await context.new_page()
    wrong: list[str] = []
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    await opened.goto(str(server.make_url("/")))
    yield opened, tmp_path / "Step-Audio" / "speakers" / "Tingting_prompt.wav"
    await context.close()
    await server.close()
    talking.close()
    assert not wrong


async def test_it_speaks_sings_clones_and_talks(page: tuple[Page, Path]) -> None:
    opened, recording = page
    status, go, audio = opened.locator("#status"), opened.locator("#go"), opened.locator("#audio")
    await expect(opened.locator("#speaker option")).to_have_text(["Tingting"])
    await go.click()
    await expect(status).to_have_text("tts_text is missing")
    await opened.locator("#text").fill("Hello")
    for tab in ("speak", "sing"):
        await opened.locator(f"[data-tab={tab}]").click()
        await go.click()
        await expect(status).to_have_text("Done")
        await expect(audio).to_have_js_property("error", None)
        assert await audio.evaluate("node => node.src.startsWith('blob:')")
    await opened.locator("[data-tab=clone]").click()
    await opened.locator("#language").click()
    await go.click()
    await expect(status).to_have_text("缺少录音文件 prompt_wav")
    await opened.locator("#wav").set_input_files(recording)
    await opened.locator("#said").fill("你好")
    await go.click()
    await expect(status).to_have_text("完成")
    await opened.locator("[data-tab=talk]").click()
    await opened.locator("#asked").set_input_files(recording)
    await go.click()
    await expect(status).to_have_text("完成")
    await expect(opened.locator("#talked li")).to_have_count(2)
    await expect(opened.locator("#talked li.assistant")).not_to_be_empty()
