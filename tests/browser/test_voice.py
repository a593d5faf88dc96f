"""Talking to the page: the microphone from permission to its end, what it says meanwhile, and why it cannot be had."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest
from playwright.async_api import Page, expect

from tests.browser.conftest import WEB, Fake, OpenPage
from tests.browser.test_page import LINES, PHONE, PROBLEM, STATUS, problems, say

VOICE = "[data-testid=voice]"
TROUBLE = "[data-testid=voice-trouble]"
MICROPHONE = "[data-testid=microphone]"
ALLOWED = {"permissions": ["microphone"]}
LATENCY = {
    "event": "latency", "turn_s": 0.41, "first_text_s": 0.16, "first_voice_s": 0.21, "first_picture_s": 0.06,
    "first_sound_s": 0.27, "total_s": 0.84,
}  # fmt: skip

KEEP_STREAM = """{
  const ask = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
  navigator.mediaDevices.getUserMedia = async (wish) => {
    window.wish = wish;
    return window.taken = await ask(wish);
  };
}"""
REFUSE = "navigator.mediaDevices.getUserMedia = async () => { throw new DOMException('scripted', '%s'); };"

LISTEN = """{
  const context = new AudioContext(), heard = new AnalyserNode(context, {fftSize: 1024});
  context.createMediaStreamSource(document.querySelector('video').srcObject).connect(heard);
  const sound = new Float32Array(heard.fftSize);
  window.loudness = () => { heard.getFloatTimeDomainData(sound); return Math.max(...sound.map(Math.abs)); };
}"""


def event(name: str, **data: Any) -> dict[str, Any]:
    return {"event": name, **data}


async def shown(page: Page, state: str) -> None:
    await expect(page.locator(VOICE)).to_have_attribute("data-shown", state)


async def switch_on(page: Page, state: str = "listening") -> None:
    await page.locator(MICROPHONE).click()
    await shown(page, state)


async def with_script(page: Page, script: str) -> None:
    """Run `script` before the page's own, from its start."""
    await page.add_init_script(script)
    await page.reload()
    await page.locator(f"{STATUS}[data-phase=live]").wait_for()


async def heard_more(fake: Fake, than: float) -> dict[str, float]:
    """What was heard once it is more than so many frames."""
    async with asyncio.timeout(10):
        while (found := await fake.heard())["frames"] <= than:  # noqa: ASYNC110 (nothing tells, so it is asked)
            await asyncio.sleep(0.05)
    return found


async def ordered(fake: Fake, *actions: str) -> None:
    """Wait until exactly these orders have come."""
    async with asyncio.timeout(10):
        while [body["action"] for body in await fake.seen("/api/listening")] != list(actions):  # noqa: ASYNC110 (as above)
            await asyncio.sleep(0.05)


async def test_a_turn_from_permission_to_the_answer(fake: Fake, open_page: OpenPage) -> None:
    page = await open_page(fake.base, **ALLOWED)
    await with_script(page, KEEP_STREAM)
    before = await fake.heard()
    assert before["frames"] == 0
    await expect(page.locator(MICROPHONE)).to_have_attribute("aria-pressed", "false")
    await switch_on(page)
    await expect(page.locator(MICROPHONE)).to_have_attribute("aria-pressed", "true")
    assert (await heard_more(fake, 60))["loudest"] > 0.01
    wish = (await page.evaluate("wish"))["audio"]
    assert wish["echoCancellation"] and wish["noiseSuppression"] and wish["autoGainControl"]
    await page.wait_for_function(
        "Number(document.querySelector('[data-testid=level]').style.getPropertyValue('--level')) > 0.1"
    )

    await fake.tell(event("user.started"), event("transcript.partial", text="How high is", language="en"))
    await shown(page, "hearing")
    await expect(page.locator(LINES)).to_contain_text("How high is")
    await expect(page.get_by_test_id("your-caption")).to_have_text("How high is")
    await expect(page.locator(LINES)).to_have_attribute("data-state", "speaking")
    await fake.tell(
        event("user.stopped"),
        event("transcript.final", text="How high is the tower?", language="en", confidence=0.9),
        event("turn.ended", wait_s=0.3, reason="finished"),
    )
    await shown(page, "thinking")
    await expect(page.get_by_test_id("your-caption")).to_have_count(0)
    await expect(page.locator(LINES)).to_have_count(2)
    await expect(page.locator(LINES).first).to_contain_text("How high is the tower?")
    await fake.tell(event("speech.started", text="It is 330 m high."), LATENCY)
    await fake.tell(event("clause.started", text="It is 330 m high."))
    await shown(page, "speaking")
    await expect(page.locator(LINES).last).to_contain_text("It is 330 m high.")
    await fake.tell(event("speech.ended"))
    await shown(page, "listening")
    latency = page.get_by_test_id("latency")
    await latency.locator("summary").click()
    for figure in ("0.84", "0.41", "0.16", "0.21", "0.06"):
        await expect(latency).to_contain_text(figure)
    await latency.locator("summary").click()

    await page.locator(MICROPHONE).click()
    await expect(page.locator(VOICE)).to_have_count(0)
    assert await page.evaluate("taken.getTracks().map((track) => track.readyState)") == ["ended"]
    frames = (await fake.heard())["frames"]
    await switch_on(page)
    await heard_more(fake, frames + 20)
    assert len(await fake.seen("/offer")) == 2, "the reload's offer and the first: switching on negotiates nothing"
    assert problems(page) == []


async def test_text_and_voice_are_one_conversation(fake: Fake, open_page: OpenPage) -> None:
    page = await open_page(fake.base, **ALLOWED)
    await switch_on(page)
    await say(page, "Good morning to everyone who has come here today, and welcome.")
    await shown(page, "speaking")
    await fake.tell(event("user.started"), event("transcript.partial", text="Wait, stop", language="en"))
    await shown(page, "hearing")
    await fake.tell(event("interrupted"))
    await expect(page.locator(LINES).first).to_have_attribute("data-state", "stopped")
    await fake.tell(event("listening", state="nothing was recognised"))
    await expect(page.locator(VOICE)).to_contain_text("not understood")
    await expect(page.locator(LINES)).to_have_count(1)


async def test_she_is_silent_as_soon_as_she_has_stopped_whatever_is_still_on_its_way(
    fake: Fake, open_page: OpenPage
) -> None:
    page = await open_page(fake.base, **ALLOWED)
    await page.evaluate(LISTEN)
    await say(page, "word " * 60)
    await page.wait_for_function("loudness() > 0.05")
    async with asyncio.timeout(10):
        while await page.evaluate("loudness()") > 0:
            await fake.tell(event("paused"))  # the tone goes on: it is the page that keeps it back
    await page.wait_for_function("loudness() > 0.05")
    assert problems(page) == []


async def test_muted_nothing_leaves_the_page(fake: Fake, open_page: OpenPage) -> None:
    page = await open_page(fake.base, **ALLOWED)
    await with_script(page, KEEP_STREAM)
    await switch_on(page)
    mute = page.get_by_role("button", name="Mute the microphone")
    await mute.click()
    await shown(page, "muted")
    await expect(mute).to_have_attribute("aria-pressed", "true")
    assert await page.evaluate("taken.getTracks()[0].enabled") is False
    await mute.click()
    await shown(page, "listening")
    assert await page.evaluate("taken.getTracks()[0].enabled") is True
    await ordered(fake, "mute", "unmute")


async def test_push_to_talk_by_button_and_space_bar_is_remembered(fake: Fake, open_page: OpenPage) -> None:
    page = await open_page(fake.base, **ALLOWED)
    await switch_on(page)
    await page.get_by_role("button", name="Push-to-talk").click()
    await shown(page, "hold")
    await ordered(fake, "mute")
    hold = page.get_by_test_id("hold")
    await hold.hover()
    await page.mouse.down()
    await shown(page, "held")
    await ordered(fake, "mute", "press")
    await page.mouse.up()
    await shown(page, "hold")
    await ordered(fake, "mute", "press", "release")

    await page.keyboard.down("Space")  # the focus is still on the button that was clicked
    await shown(page, "held")
    await page.keyboard.up("Space")
    await shown(page, "hold")
    await ordered(fake, "mute", "press", "release", "press", "release")
    await page.locator("textarea").focus()
    await page.keyboard.press("Space")
    await expect(page.locator("textarea")).to_have_value(" ")
    await page.keyboard.press("Shift+Tab")  # whoever comes to a control by keyboard operates it
    await page.get_by_role("button", name="Mute the microphone").focus()
    await page.keyboard.press("Space")
    await shown(page, "muted")

    await page.reload()
    await page.locator(f"{STATUS}[data-phase=live]").wait_for()
    await switch_on(page, "hold")
    await page.get_by_role("button", name="Push-to-talk").click()
    await shown(page, "listening")


@pytest.mark.parametrize(
    ("trouble", "mode", "script", "words"),
    [
        ("missing", "", REFUSE % "NotFoundError", "No microphone was found"),
        ("busy", "", REFUSE % "NotReadableError", "Another program holds it"),
        ("deaf", "earless", "", "weights pull whisper-base"),
        ("deaf", "plain", "", "cannot listen"),
    ],
)
async def test_says_why_nobody_is_heard(
    fake: Fake, open_page: OpenPage, trouble: str, mode: str, script: str, words: str
) -> None:
    page = await open_page(f"{fake.base}/?mode={mode}", **ALLOWED)
    await with_script(page, script)
    await page.locator(MICROPHONE).click()
    card = page.locator(TROUBLE)
    await expect(card).to_have_attribute("data-trouble", trouble)
    await expect(card).to_contain_text(words)
    await expect(page.locator(MICROPHONE)).to_have_attribute("aria-pressed", "false")
    await card.get_by_role("button", name="Close").click()
    await expect(card).to_have_count(0)
    await say(page, "Hello.")
    assert len(await fake.seen("/human")) == 1


async def test_a_refused_permission_is_named_and_can_be_given(fake: Fake, open_page: OpenPage) -> None:
    page = await open_page(fake.base, locale="zh-CN")
    await page.locator(MICROPHONE).click()
    await expect(page.locator(TROUBLE)).to_have_attribute("data-trouble", "denied")
    await expect(page.locator(TROUBLE)).to_contain_text("麦克风已被禁止")
    await page.context.grant_permissions(["microphone"])
    await page.locator(TROUBLE).get_by_role("button", name="重试").click()
    await shown(page, "listening")
    await expect(page.locator(VOICE)).to_contain_text("聆听中")
    await expect(page.locator(TROUBLE)).to_have_count(0)


async def test_a_page_without_https_says_that_it_needs_it(fake: Fake, open_page: OpenPage) -> None:
    page = await open_page(fake.base.replace("127.0.0.1", "insecure.test"))
    await page.locator(MICROPHONE).click()
    await expect(page.locator(TROUBLE)).to_have_attribute("data-trouble", "insecure")
    await expect(page.locator(TROUBLE)).to_contain_text("https://")


async def test_a_microphone_that_is_unplugged(fake: Fake, open_page: OpenPage) -> None:
    page = await open_page(fake.base, **ALLOWED)
    await with_script(page, KEEP_STREAM)
    await switch_on(page)
    await page.evaluate("taken.getTracks()[0].dispatchEvent(new Event('ended'))")
    await expect(page.locator(TROUBLE)).to_have_attribute("data-trouble", "unplugged")
    await expect(page.locator(VOICE)).to_have_count(0)
    await page.locator(TROUBLE).get_by_role("button", name="Try again").click()
    await shown(page, "listening")


async def test_the_microphone_survives_a_reconnection(fake: Fake, open_page: OpenPage) -> None:
    page = await open_page(fake.base, **ALLOWED)
    await switch_on(page)
    await fake.drop()
    await shown(page, "waking")
    await page.locator(f"{STATUS}[data-phase=live]").wait_for()
    await shown(page, "listening")
    assert (await heard_more(fake, 60))["loudest"] > 0.01


async def test_what_goes_wrong_meanwhile_is_said_once(fake: Fake, open_page: OpenPage) -> None:
    page = await open_page(f"{fake.base}/?mode=nollm", **ALLOWED)
    await switch_on(page)
    await expect(page.get_by_text("This server has no language model yet.")).to_be_visible()
    await fake.tell(
        event("user.started"),
        event("transcript.final", text="Hello?", language="en"),
        event("turn.ended", reason="finished"),
        event("error", message="chat needs a language model: start the server with --llm_base_url"),
    )
    await expect(page.locator(PROBLEM)).to_contain_text("nobody can answer yet")
    await expect(page.locator(PROBLEM)).to_contain_text("--llm_base_url")
    await shown(page, "listening")
    await expect(page.locator(LINES)).to_have_count(1)
    await fake.tell(event("error", message="recogniser failed: whisper-base: its process has ended"))
    await expect(page.locator(PROBLEM)).to_contain_text("could not be recognised")
    await fake.tell(event("error", message="she cannot hear: whisper-base: no weights"))
    await expect(page.locator(TROUBLE)).to_have_attribute("data-trouble", "deaf")
    await expect(page.locator(PROBLEM)).to_contain_text("could not be recognised")


@pytest.mark.parametrize("language", ["en-US", "zh-CN"])
@pytest.mark.parametrize("theme", ["light", "dark"])
async def test_fits_a_phone_and_has_no_accessibility_faults(
    fake: Fake, open_page: OpenPage, theme: str, language: str
) -> None:
    page = await open_page(fake.base, color_scheme=theme, locale=language, **ALLOWED, **PHONE)
    await switch_on(page)
    await page.locator(VOICE).get_by_role("button").first.click()
    await shown(page, "hold")
    await fake.tell(event("transcript.partial", text="How high is", language="en"), LATENCY)
    await page.get_by_test_id("latency").locator("summary").click()
    await page.add_script_tag(path=WEB / "node_modules" / "axe-core" / "axe.min.js")
    found = await page.evaluate("axe.run({resultTypes: ['violations']})")
    assert [(fault["id"], [node["html"] for node in fault["nodes"]]) for fault in found["violations"]] == []
    for width, height in ((360, 740), (320, 560), (820, 1180)):
        await page.set_viewport_size({"width": width, "height": height})
        extent = await page.evaluate("[document.documentElement.scrollWidth, document.documentElement.scrollHeight]")
        assert extent[0] <= width, f"scrolls sideways at {width} x {height}"
        for name in (".send", MICROPHONE, "[data-testid=hold]"):
            box = await page.locator(name).bounding_box()
            assert box and box["x"] + box["width"] <= width and box["y"] + box["height"] <= height, f"{name}, {width}"
        said = await page.locator(".lines").bounding_box()
        assert said and said["height"] >= (60 if height > 600 else 0), f"no room for what is said at {width} x {height}"


async def test_nothing_moves_that_should_not(fake: Fake, open_page: OpenPage) -> None:
    """With reduced motion the meter tells, a few times a second, and nothing is animated for long."""
    page = await open_page(fake.base, reduced_motion="reduce", **ALLOWED)
    await switch_on(page)
    changes = await page.evaluate("""() => new Promise((resolve) => {
      let changes = 0;
      const level = document.querySelector("[data-testid=level]");
      new MutationObserver(() => changes++).observe(level, {attributes: true, attributeFilter: ["style"]});
      setTimeout(() => resolve(changes), 2_000);
    })""")
    assert 1 <= changes <= 8
    status = page.get_by_role("status").filter(has_text=re.compile("^Listening$"))
    await expect(status).to_have_count(1)
