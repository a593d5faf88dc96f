"""The page against a scripted server: it plays, says what is wrong, and does what its controls promise."""

from __future__ import annotations

import asyncio
import os
import re
from typing import Any
from urllib.parse import quote

import pytest
from playwright.async_api import Page, expect

from tests.browser.conftest import WEB, Fake, OpenPage
from tests.browser.fake_server import LIBRARY_VOICE

STATUS = "[data-testid=status]"
TROUBLE = "[data-testid=trouble]"
CAPTION = "[data-testid=caption]"
LINES = "[data-testid=line]"
PROBLEM = "[data-testid=problem]"
PHONE = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True}

PLAYBACK = """async () => {
  const video = document.querySelector("video");
  const state = () => ({at: video.currentTime, frames: video.getVideoPlaybackQuality().totalVideoFrames});
  const before = state();
  await new Promise((resolve) => {
    const poll = setInterval(() => {
      if (state().frames >= before.frames + 10) { clearInterval(poll); resolve(); }
    }, 50);
  });
  return {before, after: state(), muted: video.muted, width: video.videoWidth};
}"""
LOUDNESS = """async () => {
  const audio = new AudioContext();
  const tap = audio.createAnalyser();
  audio.createMediaStreamSource(document.querySelector("video").srcObject).connect(tap);
  const samples = new Float32Array(tap.fftSize);
  let loudest = 0;
  for (let k = 0; k < 40 && loudest < 0.02; k++) {
    await new Promise((resolve) => setTimeout(resolve, 50));
    tap.getFloatTimeDomainData(samples);
    loudest = Math.max(loudest, Math.hypot(...samples) / Math.sqrt(samples.length));
  }
  await audio.close();
  return loudest;
}"""


async def say(page: Page, text: str) -> None:
    await page.locator("textarea").fill(text)
    await page.locator("textarea").press("Enter")


def problems(page: Page) -> list[str]:
    found: list[str] = page.problems  # type: ignore[attr-defined]
    return found


async def test_connects_by_itself_and_plays(fake: Fake, open_page: OpenPage) -> None:
    page = await open_page(fake.base)
    played: dict[str, Any] = await page.evaluate(PLAYBACK)
    assert played["after"]["at"] > played["before"]["at"]
    assert played["width"] == 256
    assert not played["muted"]
    assert await fake.seen("/offer") == [{"avatar": None}]
    assert problems(page) == []


async def test_asks_for_a_buffer_that_keeps_sound_and_picture_in_step(fake: Fake, open_page: OpenPage) -> None:
    """The peer connection is the page's own, so the test listens where it is made."""
    page = await open_page(fake.base, live=False)
    await page.add_init_script(
        "const Real = RTCPeerConnection; window.peers = [];"
        "window.RTCPeerConnection = class extends Real { constructor(...a) { super(...a); window.peers.push(this); } };"
    )
    await page.reload()
    await page.locator(f"{STATUS}[data-phase=live]").wait_for()
    receivers = await page.evaluate("peers[0].getReceivers().map((r) => [r.track.kind, r.jitterBufferTarget])")
    assert receivers == [["video", 100], ["audio", 100]]
    directions = await page.evaluate("peers[0].getTransceivers().map((t) => t.direction)")
    assert directions == ["recvonly", "sendrecv"]


async def test_speaks_what_is_typed_and_captions_follow(fake: Fake, open_page: OpenPage) -> None:
    page = await open_page(fake.base)
    await say(page, "Hello there, good morning to everyone.")
    await expect(page.locator(CAPTION)).to_contain_text("Hello there,")
    await expect(page.locator(STATUS)).to_have_text("Speaking")
    assert await page.evaluate(LOUDNESS) > 0.02
    await expect(page.locator(f"{CAPTION} mark")).to_have_text(re.compile("^good morning"))
    line = page.locator(LINES)
    await expect(line).to_contain_text("Hello there, good morning to everyone.")
    await expect(line).to_have_attribute("data-state", "said", timeout=10_000)
    await expect(page.locator(STATUS)).to_have_text("Live")
    [sent] = await fake.seen("/human")
    assert sent["type"] == "echo"
    assert sent["text"] == "Hello there, good morning to everyone."
    assert isinstance(sent["sessionid"], str)
    assert "tts" not in sent
    assert problems(page) == []


async def test_stops_at_once_by_key_and_by_button(fake: Fake, open_page: OpenPage) -> None:
    page = await open_page(fake.base)
    for stop in ("key", "button"):
        await say(page, "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen")
        await expect(page.locator(STATUS)).to_have_text("Speaking")
        if stop == "key":
            await page.keyboard.press("Escape")
        else:
            await page.get_by_role("button", name="Stop speaking").click()
        await expect(page.locator(STATUS)).to_have_text("Live")
        await expect(page.locator(LINES).last).to_have_attribute("data-state", "stopped")
    assert len(await fake.seen("/interrupt_talk")) == 2


async def test_a_question_interrupts_and_is_answered(fake: Fake, open_page: OpenPage) -> None:
    page = await open_page(fake.base)
    await page.get_by_label("Chat", exact=True).check()
    await say(page, "Who are you?")
    await expect(page.locator(LINES)).to_have_count(2)
    await expect(page.locator(LINES).last).to_contain_text("You asked: Who are you?")
    [sent] = await fake.seen("/human")
    assert (sent["type"], sent["interrupt"]) == ("chat", True)


async def test_enter_does_not_send_while_a_word_is_being_composed(fake: Fake, open_page: OpenPage) -> None:
    page = await open_page(fake.base)
    box = page.locator("textarea")
    await box.fill("nihao")
    await box.evaluate(
        "b => b.dispatchEvent(new KeyboardEvent('keydown', {key: 'Enter', isComposing: true, bubbles: true}))"
    )
    await box.press("Shift+Enter")
    await box.press("Enter")
    await expect(page.locator(LINES)).to_have_count(1)
    assert [sent["text"] for sent in await fake.seen("/human")] == ["nihao"]


async def test_text_beyond_the_limit_stays_in_the_box(fake: Fake, open_page: OpenPage) -> None:
    page = await open_page(fake.base)
    await page.locator("textarea").fill("字" * 490)
    await expect(page.get_by_text("10 characters left")).to_be_visible()
    await page.locator("textarea").fill("字" * 503)
    await expect(page.get_by_text("3 characters too many")).to_be_visible()
    await expect(page.get_by_role("button", name="Send")).to_be_disabled()
    await page.locator("textarea").press("Enter")
    assert await fake.seen("/human") == []


async def test_refused_chat_keeps_the_text_and_says_why(fake: Fake, open_page: OpenPage) -> None:
    page = await open_page(f"{fake.base}/?mode=nollm")
    await page.get_by_label("Chat", exact=True).check()
    await expect(page.get_by_text("This server has no language model yet.")).to_be_visible()
    await say(page, "Who are you?")
    await expect(page.locator(PROBLEM)).to_contain_text("no language model is configured")
    await expect(page.locator("textarea")).to_have_value("Who are you?")
    await expect(page.locator(LINES)).to_have_count(0)


async def test_uploads_a_recording(fake: Fake, open_page: OpenPage) -> None:
    page = await open_page(fake.base)
    await page.locator("[data-testid=file]").set_input_files(
        {"name": "hello.wav", "mimeType": "audio/wav", "buffer": b"RIFF" + bytes(50_000)}
    )
    await expect(page.locator(LINES)).to_contain_text("hello.wav")
    [sent] = await fake.seen("/humanaudio")
    assert (sent["name"], sent["bytes"]) == ("hello.wav", 50_004)
    await page.locator("[data-testid=file]").set_input_files(
        {"name": "a.txt", "mimeType": "text/plain", "buffer": b"x"}
    )
    await expect(page.locator(PROBLEM)).to_contain_text("a.txt is not a sound file")
    await page.locator("[data-testid=file]").set_input_files(
        {"name": "long.wav", "mimeType": "audio/wav", "buffer": bytes(2**20 + 1)}
    )
    await expect(page.locator(PROBLEM)).to_contain_text("long.wav is too large")


async def test_takes_a_dropped_recording_and_shows_the_servers_refusal(fake: Fake, open_page: OpenPage) -> None:
    page = await open_page(f"{fake.base}/?mode=deaf")
    data = await page.evaluate_handle(
        """() => {
          const data = new DataTransfer();
          data.items.add(new File(["x"], "noise.mp3", {type: "audio/mpeg"}));
          return data;
        }"""
    )
    await page.dispatch_event("main", "dragover", {"dataTransfer": data})
    await expect(page.get_by_text("Drop a recording")).to_be_visible()
    await page.dispatch_event("main", "drop", {"dataTransfer": data})
    await expect(page.locator(PROBLEM)).to_contain_text("noise.mp3 is not audio that can be decoded")
    await expect(page.get_by_text("Drop a recording")).to_have_count(0)


@pytest.mark.parametrize(
    ("mode", "trouble", "words"),
    [
        ("capacity", "capacity", "all 4 sessions are taken"),
        ("busy", "busy", "Trying again in"),
        ("media", "media", "UDP"),
    ],
)
async def test_says_plainly_what_is_wrong(fake: Fake, open_page: OpenPage, mode: str, trouble: str, words: str) -> None:
    page = await open_page(f"{fake.base}/?mode={mode}", live=False)
    card = page.locator(TROUBLE)
    await expect(card).to_have_attribute("data-trouble", trouble, timeout=20_000)
    await expect(card).to_contain_text(words)
    await expect(card.get_by_role("button", name="Try now")).to_be_visible()
    await expect(page.get_by_role("button", name="Send")).to_be_disabled()
    assert problems(page) == []


async def test_asks_for_a_key_and_remembers_it(fake: Fake, open_page: OpenPage) -> None:
    page = await open_page(f"{fake.base}/?mode=key", live=False)
    await expect(page.locator(TROUBLE)).to_have_attribute("data-trouble", "key")
    await page.get_by_label("API key").fill("wrong")
    await page.get_by_role("button", name="Connect").click()
    await expect(page.locator(TROUBLE)).to_have_attribute("data-trouble", "key")
    await page.get_by_label("API key").fill("secret")
    await page.get_by_role("button", name="Connect").click()
    await page.locator(f"{STATUS}[data-phase=live]").wait_for()
    await expect(page.get_by_role("combobox", name="Presenter")).to_have_value("mia")
    await page.reload()
    await page.locator(f"{STATUS}[data-phase=live]").wait_for()


async def test_reconnects_when_the_server_ends_the_connection(fake: Fake, open_page: OpenPage) -> None:
    page = await open_page(fake.base)
    assert await fake.drop() == 1
    await expect(page.locator(STATUS)).to_have_text("Reconnecting")
    await page.locator(f"{STATUS}[data-phase=live]").wait_for(timeout=20_000)
    await page.evaluate(PLAYBACK)
    assert len(await fake.seen("/offer")) == 2


async def test_an_unreachable_server_is_named_and_waited_for(fake: Fake, open_page: OpenPage) -> None:
    page = await open_page(fake.base)
    await page.route("**/offer", lambda route: route.abort("connectionrefused"))
    await fake.drop()
    await expect(page.locator(TROUBLE)).to_have_attribute("data-trouble", "unreachable", timeout=15_000)
    await page.unroute("**/offer")
    await page.get_by_role("button", name="Try now").click()
    await page.locator(f"{STATUS}[data-phase=live]").wait_for()
    await expect(page.locator(TROUBLE)).to_have_count(0)


async def test_comes_back_with_the_network(fake: Fake, open_page: OpenPage) -> None:
    page = await open_page(fake.base)
    await page.context.set_offline(True)
    await fake.drop()
    await expect(page.locator(TROUBLE)).to_have_attribute("data-trouble", "offline")
    await expect(page.locator(STATUS)).to_have_text("Offline")
    await page.context.set_offline(False)
    await page.locator(f"{STATUS}[data-phase=live]").wait_for()


async def test_a_session_the_server_has_forgotten_is_replaced(fake: Fake, open_page: OpenPage) -> None:
    page = await open_page(fake.base)
    await page.route("**/human", lambda route: route.fulfill(status=404, json={"code": -1, "msg": "session not found"}))
    await say(page, "Hello.")
    await expect(page.locator(PROBLEM)).to_contain_text("session not found")
    await page.unroute("**/human")
    await page.locator(f"{STATUS}[data-phase=live]").wait_for()
    assert len(await fake.seen("/offer")) == 2
    await page.get_by_role("button", name="Send").click()
    await expect(page.locator(LINES)).to_have_attribute("data-state", "said")


async def test_another_presenter_and_voice(fake: Fake, open_page: OpenPage) -> None:
    page = await open_page(fake.base)
    await page.get_by_role("combobox", name="Voice").select_option("kokoro:zf_xiaobei")
    await page.get_by_role("combobox", name="Presenter").select_option("leo")
    await expect(page.locator(STATUS)).to_have_attribute("data-phase", "connecting")
    await page.locator(f"{STATUS}[data-phase=live]").wait_for()
    await say(page, "你好")
    await expect(page.locator(LINES)).to_contain_text("Leo")
    assert await fake.seen("/offer") == [{"avatar": None}, {"avatar": "leo", "refaudio": "kokoro:zf_xiaobei"}]
    assert (await fake.seen("/human"))[0]["tts"] == {"voice": "kokoro:zf_xiaobei"}
    assert len(await fake.seen("/session/")) == 1
    groups = page.locator("optgroup")
    assert [await groups.nth(k).get_attribute("label") for k in (0, 1)] == ["Voice library", "English"]


async def test_a_voice_of_the_library_comes_by_the_address(fake: Fake, open_page: OpenPage) -> None:
    page = await open_page(f"{fake.base}/?voice={quote(LIBRARY_VOICE)}")
    await expect(page.get_by_role("combobox", name="Voice").locator("option:checked")).to_have_text("Nora")
    await expect(page).to_have_url(f"{fake.base}/")
    await say(page, "Hello")
    await fake.awaited("/human")
    assert (await fake.seen("/human"))[0]["tts"] == {"voice": LIBRARY_VOICE}
    assert await fake.seen("/offer") == [{"avatar": None, "refaudio": LIBRARY_VOICE}]


async def test_leaving_the_page_gives_the_session_back(fake: Fake, open_page: OpenPage) -> None:
    page = await open_page(fake.base)
    await page.goto("about:blank")
    assert len(await fake.awaited("/session/")) == 1


async def test_language_and_theme_are_chosen_and_remembered(fake: Fake, open_page: OpenPage) -> None:
    page = await open_page(fake.base, locale="zh-CN", color_scheme="dark")
    root = page.locator("html")
    await expect(root).to_have_attribute("lang", "zh-CN")
    await expect(root).to_have_attribute("data-theme", "dark")
    await expect(page.get_by_role("button", name="发送")).to_be_visible()
    await page.get_by_role("button", name="Switch to English").click()
    await page.get_by_role("button", name="Switch to light").click()
    await page.reload()
    await expect(root).to_have_attribute("lang", "en")
    await expect(root).to_have_attribute("data-theme", "light")
    await expect(page.get_by_role("button", name="Send")).to_be_visible()


async def test_records_and_downloads(fake: Fake, open_page: OpenPage) -> None:
    page = await open_page(fake.base)
    await page.get_by_role("button", name="Record", exact=True).click()
    await expect(page.get_by_label("Recording, 0:0")).to_be_visible()
    async with page.expect_download() as waiting:
        await page.get_by_role("button", name="Stop recording").click()
    download = await waiting.value
    assert download.suggested_filename.endswith(".mp4")
    assert await asyncio.to_thread(os.path.getsize, await download.path()) == 4_096
    assert [sent["type"] for sent in await fake.seen("/record")] == ["start_record", "end_record"]


async def test_statistics_are_off_until_asked_for(fake: Fake, open_page: OpenPage) -> None:
    page = await open_page(fake.base)
    panel = page.get_by_test_id("statistics")
    await expect(panel).to_have_count(0)
    await page.get_by_role("button", name="Statistics").click()
    await expect(panel).to_contain_text("256 × 256")
    await expect(panel).to_contain_text("kbps")
    await expect(panel).to_contain_text("+ opus")


async def test_sound_waits_for_a_gesture_where_the_browser_wants_one(fake: Fake, open_page: OpenPage) -> None:
    page = await open_page(fake.base, live=False)
    await page.add_init_script("""{
      const play = HTMLMediaElement.prototype.play;
      let touched = false;
      addEventListener("pointerup", () => (touched = true), true);
      HTMLMediaElement.prototype.play = function () {
        if (touched || this.muted) return play.call(this);
        this.pause();
        return Promise.reject(new DOMException("wants a gesture", "NotAllowedError"));
      };
    }""")
    await page.reload()
    button = page.get_by_role("button", name="Tap for sound")
    await expect(button).to_be_visible(timeout=20_000)
    assert (await page.evaluate(PLAYBACK))["muted"]
    await fake.drop()
    await expect(page.locator(STATUS)).to_have_text("Reconnecting")
    await page.locator(f"{STATUS}[data-phase=live]").wait_for()
    await expect(button).to_be_visible()
    assert (await page.evaluate(PLAYBACK))["muted"]
    await button.click()
    await expect(button).to_have_count(0)
    assert not (await page.evaluate(PLAYBACK))["muted"]


async def test_a_livetalking_server_without_lists_or_events_still_plays(fake: Fake, open_page: OpenPage) -> None:
    page = await open_page(f"{fake.base}/?mode=plain")
    await page.evaluate(PLAYBACK)
    await expect(page.get_by_role("combobox", name="Voice")).to_have_count(0)
    await say(page, "Hello.")
    assert len(await fake.seen("/human")) == 1


@pytest.mark.parametrize("language", ["en-US", "zh-CN"])
async def test_fits_every_screen(fake: Fake, open_page: OpenPage, language: str) -> None:
    page = await open_page(fake.base, locale=language)
    await say(page, "word " * 100)
    for width, height in ((360, 740), (320, 560), (740, 360), (820, 1180), (1920, 1080)):
        await page.set_viewport_size({"width": width, "height": height})
        extent = await page.evaluate("[document.documentElement.scrollWidth, document.documentElement.scrollHeight]")
        assert extent[0] <= width, f"scrolls sideways at {width} x {height}"
        assert extent[1] <= height, f"scrolls at {width} x {height}"
        video, send = [await page.locator(name).bounding_box() for name in ("video", ".send")]
        assert video and video["height"] >= 0.3 * height, f"presenter too small at {width} x {height}"
        assert send and send["y"] + send["height"] <= height, f"send button out of sight at {width} x {height}"


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("mode", ["", "capacity", "key"])
async def test_has_no_accessibility_faults(fake: Fake, open_page: OpenPage, theme: str, mode: str) -> None:
    page = await open_page(f"{fake.base}/?mode={mode}", live=mode == "", color_scheme=theme, **PHONE)
    if mode:
        await page.locator(TROUBLE).wait_for()
    else:
        await say(page, "Hello there, good morning to everyone.")
        await page.locator(CAPTION).wait_for()
        await page.get_by_role("button", name="Statistics").click()
    await page.add_script_tag(path=WEB / "node_modules" / "axe-core" / "axe.min.js")
    found = await page.evaluate("axe.run({resultTypes: ['violations']})")
    faults = [(fault["id"], [node["html"] for node in fault["nodes"]]) for fault in found["violations"]]
    assert faults == []


async def test_everything_is_reached_by_keyboard_with_a_visible_focus(fake: Fake, open_page: OpenPage) -> None:
    page = await open_page(fake.base)
    reached = []
    for _ in range(24):
        await page.keyboard.press("Tab")
        if await page.evaluate("document.activeElement === document.body"):
            break
        focus = await page.evaluate("""() => {
          const e = document.activeElement, box = e.type === "radio" ? e.nextElementSibling : e;
          return [e.getAttribute("aria-label") ?? e.name ?? e.textContent, getComputedStyle(box).outlineStyle,
                  e.tagName === "TEXTAREA"];
        }""")
        assert focus[1] != "none" or focus[2], f"{focus[0]} shows no focus"
        reached.append(focus[0])
    for name in (
        "切换为中文",
        "Mute",
        "Volume",
        "Record",
        "Captions",
        "Statistics",
        "Full screen",
        "Message",
        "Upload speech",
    ):
        assert name in reached


async def test_the_plain_page_follows_livetalkings_habit(fake: Fake, open_page: OpenPage) -> None:
    page = await open_page(f"{fake.base}/webrtcapi.html", live=False)
    await page.locator("#start").click()
    await expect(page.locator("#state")).to_have_text("connected", timeout=20_000)
    played: dict[str, Any] = await page.evaluate(PLAYBACK)
    assert played["after"]["at"] > played["before"]["at"]
    await expect(page.locator("#sessionid")).not_to_have_value("0")
    await page.locator("#message").fill("Hello.")
    await page.get_by_role("button", name="Send").click()
    await page.get_by_role("button", name="Interrupt").click()
    await fake.awaited("/interrupt_talk")
    [sent] = await fake.seen("/human")
    assert (sent["text"], sent["interrupt"]) == ("Hello.", True)
    assert problems(page) == []
