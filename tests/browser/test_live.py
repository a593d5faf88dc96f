"""The page against the real server: she is there, speaks with moving lips, and stops."""

from __future__ import annotations

import asyncio
import io
import math
import struct
import wave
from typing import Any

import av
import pytest
from playwright.async_api import Page, expect

from tests.browser.conftest import LiveServer, OpenPage
from tests.browser.test_page import CAPTION, LINES, PLAYBACK, STATUS, TROUBLE, problems, say

ENGLISH_ONLY = ("--tts", "hibari")
"""No engine of the network, so that a test depends on nothing outside."""

WATCH = """async ({seconds, untilSilentFor}) => {
  // What is heard and how much the mouth moves, 25 times a second.
  const video = document.querySelector("video");
  const audio = new AudioContext();
  const tap = audio.createAnalyser();
  audio.createMediaStreamSource(video.srcObject).connect(tap);
  const canvas = new OffscreenCanvas(48, 32);
  const context = canvas.getContext("2d", {willReadFrequently: true});
  const samples = new Float32Array(tap.fftSize);
  const rows = [];
  const start = performance.now();
  let before = null;
  let heardAt = start;
  while (performance.now() - start < seconds * 1000) {
    await new Promise((resolve) => setTimeout(resolve, 40));
    const [w, h] = [video.videoWidth, video.videoHeight];
    context.drawImage(video, 0.35 * w, 0.5 * h, 0.3 * w, 0.2 * h, 0, 0, 48, 32);
    const pixels = context.getImageData(0, 0, 48, 32).data;
    let motion = 0;
    if (before) for (let k = 0; k < pixels.length; k += 4) motion += Math.abs(pixels[k] - before[k]);
    tap.getFloatTimeDomainData(samples);
    const level = Math.hypot(...samples) / Math.sqrt(samples.length);
    rows.push({at: (performance.now() - start) / 1000, level, motion: before ? motion / (48 * 32) : 0});
    before = pixels;
    if (level > 0.01) heardAt = performance.now();
    if (untilSilentFor && performance.now() - heardAt > untilSilentFor * 1000) break;
  }
  await audio.close();
  return rows;
}"""

LOUD = 0.01


async def watch(page: Page, seconds: float, until_silent_for: float = 0) -> list[dict[str, float]]:
    """Rows of `at` (seconds), `level` (RMS, 0..1) and `motion` of the mouth (mean difference of grey levels)."""
    rows: list[dict[str, float]] = await page.evaluate(WATCH, {"seconds": seconds, "untilSilentFor": until_silent_for})
    return rows


def mean(values: list[float]) -> float:
    assert values
    return sum(values) / len(values)


def recording(seconds: float = 1.5, rate_hz: int = 22_050) -> bytes:
    """A WAV whose loudness rises and falls like syllables."""
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(rate_hz)
        for k in range(int(seconds * rate_hz)):
            t = k / rate_hz
            syllable = 0.5 - 0.5 * math.cos(2 * math.pi * 4 * t)
            voice = sum(math.sin(2 * math.pi * 140 * n * t) / n for n in range(1, 9))
            out.writeframesraw(struct.pack("<h", int(8_000 * syllable * voice)))
    return file.getvalue()


async def test_she_is_there_without_being_asked(live_server: LiveServer, open_page: OpenPage) -> None:
    page = await open_page(await live_server(*ENGLISH_ONLY))
    played: dict[str, Any] = await page.evaluate(PLAYBACK)
    assert played["after"]["at"] > played["before"]["at"]
    assert played["width"] >= 256
    assert await page.locator("img.poster").evaluate("img => img.naturalWidth") >= 256
    assert await page.get_by_role("combobox", name="Presenter").input_value() != ""
    rows = await watch(page, 3)
    assert max(row["level"] for row in rows) < LOUD, "she makes a sound unasked"
    assert problems(page) == []


@pytest.mark.voice
async def test_her_lips_move_with_what_is_heard(live_server: LiveServer, open_page: OpenPage) -> None:
    page = await open_page(await live_server(*ENGLISH_ONLY))
    await page.evaluate(PLAYBACK)
    await say(page, "Hello, and welcome. My name is Mira, and I am very happy to meet you today.")
    rows = await watch(page, 20, until_silent_for=2.5)
    loud = [k for k, row in enumerate(rows) if row["level"] > LOUD]
    assert loud, "nothing was heard"
    speaking = mean([row["motion"] for row in rows[loud[0] : loud[-1]]])
    idle = mean([row["motion"] for row in rows[loud[-1] + 15 :]])
    assert speaking > 3 * idle, f"mouth motion {speaking:.2f} speaking, {idle:.2f} idle"
    await expect(page.locator(LINES)).to_have_attribute("data-state", "said")
    await expect(page.locator(STATUS)).to_have_text("Live")
    assert problems(page) == []


@pytest.mark.voice
async def test_captions_show_the_clause_that_is_heard(live_server: LiveServer, open_page: OpenPage) -> None:
    page = await open_page(await live_server(*ENGLISH_ONLY))
    await say(page, "This is the first sentence. And this is the second one.")
    await expect(page.locator(CAPTION)).to_contain_text("This is the first sentence.")
    await expect(page.locator(CAPTION)).to_contain_text("And this is the second one.")


@pytest.mark.voice
async def test_she_stops_when_told(live_server: LiveServer, open_page: OpenPage) -> None:
    page = await open_page(await live_server(*ENGLISH_ONLY))
    await say(page, "I will now count to a hundred. " + ", ".join(str(n) for n in range(1, 60)) + ".")
    await expect(page.locator(CAPTION)).not_to_have_text("")
    await page.keyboard.press("Escape")
    rows = await watch(page, 4)
    last = max((row["at"] for row in rows if row["level"] > LOUD), default=0.0)
    assert last < 2, f"still heard {last:.1f} s after stop"
    await expect(page.locator(LINES)).to_have_attribute("data-state", "stopped")
    await say(page, "Good.")
    await expect(page.locator(LINES).last).to_have_attribute("data-state", "said")


async def test_she_speaks_a_recording(live_server: LiveServer, open_page: OpenPage) -> None:
    page = await open_page(await live_server(*ENGLISH_ONLY))
    sound = {"name": "hello.wav", "mimeType": "audio/wav", "buffer": recording()}
    await page.locator("[data-testid=file]").set_input_files(sound)  # type: ignore[arg-type]
    rows = await watch(page, 10, until_silent_for=2)
    assert max(row["level"] for row in rows) > LOUD
    await expect(page.locator(LINES)).to_contain_text("hello.wav")
    await expect(page.locator(LINES)).to_have_attribute("data-state", "said")
    broken = {"name": "broken.wav", "mimeType": "audio/wav", "buffer": b"RIFF not a recording"}
    await page.locator("[data-testid=file]").set_input_files(broken)  # type: ignore[arg-type]
    await expect(page.get_by_test_id("problem")).not_to_be_empty()


async def test_a_recording_of_her_can_be_downloaded(live_server: LiveServer, open_page: OpenPage) -> None:
    page = await open_page(await live_server(*ENGLISH_ONLY))
    await page.get_by_role("button", name="Record", exact=True).click()
    await expect(page.get_by_label("Recording, 0:02")).to_be_visible()
    async with page.expect_download() as waiting:
        await page.get_by_role("button", name="Stop recording").click()
    download = await waiting.value
    frames, audio_s = await asyncio.to_thread(contents, str(await download.path()))
    assert frames >= 25
    assert audio_s >= 1
    assert problems(page) == []


def contents(path: str) -> tuple[int, float]:
    """Pictures and seconds of sound in a file."""
    with av.open(path) as container:
        pictures = sum(1 for _ in container.decode(video=0))
    with av.open(path) as container:
        sound = sum(frame.samples / frame.sample_rate for frame in container.decode(audio=0))
    return pictures, sound


async def test_a_full_server_wants_a_key_and_then_patience(live_server: LiveServer, open_page: OpenPage) -> None:
    base = await live_server(*ENGLISH_ONLY, "--api_key", "secret", "--max_session", "1")
    first = await open_page(base, live=False)
    await expect(first.locator(TROUBLE)).to_have_attribute("data-trouble", "key")
    await first.get_by_label("API key").fill("secret")
    await first.get_by_role("button", name="Connect").click()
    await first.locator(f"{STATUS}[data-phase=live]").wait_for()
    second = await open_page(base, live=False)
    await second.get_by_label("API key").fill("secret")
    await second.get_by_role("button", name="Connect").click()
    await expect(second.locator(TROUBLE)).to_have_attribute("data-trouble", "capacity")
    await first.close()
    await second.locator(f"{STATUS}[data-phase=live]").wait_for(timeout=40_000)


async def test_the_plain_page_plays(live_server: LiveServer, open_page: OpenPage) -> None:
    page = await open_page(f"{await live_server(*ENGLISH_ONLY)}/webrtcapi.html", live=False)
    await page.locator("#start").click()
    await expect(page.locator("#state")).to_have_text("connected")
    await page.evaluate(PLAYBACK)
    await expect(page.locator("#sessionid")).not_to_have_value("0")
    assert problems(page) == []
