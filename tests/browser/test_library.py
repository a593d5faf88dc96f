"""The voice library's pages in a real browser, over the real application with a scripted maker of voices."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, Page, expect

from errors import EngineError
from tests.browser.conftest import WEB, LiveServer, OpenPage
from tests.browser.test_page import LINES, PHONE, STATUS, problems, say
from tests.fakes.library import CONSENT, Client, LibraryStage, clip, made, shelves
from tests.fakes.maker import FakeMaker
from voices.audio.prepare import wav_bytes

CARD = "[data-testid=voice-card]"
MAKING = "[data-testid=making]"
TOAST = "[data-testid=toast]"
CHINESE = re.compile("[一-鿿]")
RECORDED_S = 3.0
MADE_MS = 90_000
"""Where the speaker model and the voice share two cores with everything else."""
LENGTHS = {"voice_seconds_min": 1.5, "voice_seconds_max": RECORDED_S}


class Shelf:
    """A library with its page."""

    def __init__(self, client: Client, stage: LibraryStage) -> None:
        self.client, self.stage = client, stage
        self.base = str(client.make_url("/")).rstrip("/")

    async def data(self, path: str) -> Any:
        """What the server says itself."""
        return (await (await self.client.get(path)).json())["data"]


@pytest_asyncio.fixture(loop_scope="package")
async def shelf(built_page: Path, tmp_path: Path) -> AsyncIterator[Callable[..., Any]]:
    """`await shelf(**settings)`: a server with an empty library of the test's own."""
    async with contextlib.AsyncExitStack() as stack:

        async def serve(**more: Any) -> Shelf:
            return Shelf(*await stack.enter_async_context(shelves(tmp_path, **more)))

        yield serve


async def consent(page: Page, speaker: str = "Ada") -> None:
    await page.get_by_label("Who is heard?").fill(speaker)
    await page.get_by_label("They gave me permission").check()
    await page.get_by_label("I confirm this").check()


async def choose(page: Page, name: str, kind: str, data: bytes) -> None:
    file: Any = {"name": name, "mimeType": kind, "buffer": data}
    await page.get_by_test_id("recording-file").set_input_files(file)


async def test_voices_are_found_heard_and_opened(shelf: Any, open_page: OpenPage) -> None:
    here = await shelf()
    names = ["Nora", "Theo", "温柔的小晴"]
    for number, name in enumerate(names):
        await made(here.client, number, name=name, description="calm" if number else "loud", sample_text="Hello there.")
    page = await open_page(f"{here.base}/voices", live=False)
    await expect(page.locator(CARD)).to_have_count(3)
    await expect(page.get_by_text("3 voices")).to_be_visible()
    await page.get_by_role("searchbox").fill("小晴")
    await expect(page.locator(CARD)).to_have_count(1)
    await expect(page).to_have_url(re.compile(r"\?q=%E5%B0%8F"))
    await page.get_by_role("button", name="Clear the search").click()
    await expect(page.locator(CARD)).to_have_count(3)
    await page.get_by_label("Order").select_option("name")
    await expect(page.locator(CARD).first).to_contain_text("Nora")
    await page.get_by_label("Language").select_option("ja")
    await expect(page.get_by_test_id("blank")).to_contain_text("Nothing fits")
    await page.get_by_role("button", name="Clear search and filters").click()

    play = page.locator(CARD).filter(has_text="Nora").locator(".play")
    await play.click()
    await expect(play).to_have_attribute("data-phase", "playing")
    await expect(play).to_have_accessible_name("Pause Nora")
    await play.click()
    await expect(play).to_have_attribute("data-phase", re.compile("paused|idle"))

    await page.get_by_role("radio", name="Built-in").check()
    await expect(page.locator(CARD)).to_have_count(len(here.stage.services.voices()))
    await page.goto(f"{here.base}/voices")
    await page.get_by_role("link", name="Theo").click()
    await expect(page.get_by_role("heading", level=1, name="Theo")).to_be_visible()
    await expect(page).to_have_title("Theo · Visage")
    assert problems(page) == []


async def test_an_empty_library_says_what_to_do(shelf: Any, open_page: OpenPage) -> None:
    here = await shelf()
    page = await open_page(f"{here.base}/voices", live=False)
    await expect(page.get_by_test_id("blank")).to_contain_text("No voices yet")
    await page.get_by_role("link", name="Create the first voice").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Create a voice")
    await page.get_by_role("link", name="My voices").click()
    await expect(page.get_by_test_id("blank")).to_contain_text("You have no voices yet")


async def test_many_voices_come_page_by_page(shelf: Any, open_page: OpenPage) -> None:
    here = await shelf()
    voice = await made(here.client, 0, name="Nora")
    card = next(row for row in (await here.data("/api/voices"))["voices"] if row["voiceId"] == voice["voiceId"])
    page = await open_page("about:blank", live=False)

    async def answer(route: Any) -> None:
        number = int(re.findall(r"page=(\d+)", route.request.url)[0])
        rows = [{**card, "voiceId": f"voice-{k:024x}"} for k in range(24 * number, 24 * number + 24)]
        found = {"voices": rows, "total": 10_000, "page": number, "size": 24, "pages": 417}
        await route.fulfill(json={"success": True, "data": found, "message": "", "error": None})

    async def popular(route: Any) -> None:
        found = {"voices": [{**card, "uses": 7}]}
        await route.fulfill(json={"success": True, "data": found, "message": "", "error": None})

    await page.route("**/api/voices?*", answer)
    await page.route("**/api/voices/popular?*", popular)
    await page.goto(f"{here.base}/voices")
    await expect(page.get_by_role("region", name="Popular now").locator(CARD)).to_contain_text("7 uses")
    every = page.get_by_role("region", name="All voices").locator(CARD)
    await expect(every).to_have_count(24)
    await page.get_by_role("button", name="Show more").click()
    await expect(every).to_have_count(48)
    await expect(page.get_by_text("48 of 10000")).to_be_visible()


async def test_a_voice_is_recorded_and_made_step_by_step(shelf: Any, speaking_browser: Browser) -> None:
    here = await shelf(**LENGTHS)
    here.stage.maker.held.clear()
    context = await speaking_browser.new_context(locale="en-US", permissions=["microphone"])
    page = await opened(context, f"{here.base}/voices/create")
    await page.get_by_role("button", name="Record now").click()
    await expect(page.get_by_test_id("live-wave")).to_be_visible()
    await expect(page.get_by_test_id("chosen-wave")).to_be_visible()  # it stops by itself
    await expect(page.get_by_role("list", name="Checks")).to_contain_text("3 sec")
    await page.get_by_label("Name", exact=True).fill("Nora")
    await page.get_by_label("Text for the preview").fill("Hello there.")
    await page.get_by_label("Tags").fill("warm, calm")
    await page.get_by_label("Model").select_option(label="hum-2 (clones)")
    await page.get_by_role("button", name="Create voice").click()
    await expect(page.get_by_text("Say who is heard.")).to_be_visible()
    await consent(page)
    await page.get_by_role("button", name="Create voice").click()
    await expect(page.locator(f"{MAKING}[data-status=running]")).to_be_visible()
    await expect(page.get_by_test_id("stage")).to_contain_text("Making the voice")
    await page.reload()  # the job goes on, and its page follows it
    await expect(page.get_by_test_id("stage")).to_contain_text("Making the voice")
    here.stage.maker.held.set()
    await expect(page.get_by_test_id("made")).to_contain_text("Nora is ready")
    await page.get_by_role("button", name="Create another").click()
    await expect(page.get_by_label("Name", exact=True)).to_have_value("")
    await page.go_back()
    await page.get_by_role("link", name="Open the voice").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Nora")
    await expect(page.get_by_text("#warm")).to_be_visible()

    [card] = (await here.data("/api/voices"))["voices"]
    info = await here.data(f"/api/voices/{card['voiceId']}")
    assert info["consent"]["speaker"] == "Ada" and info["consent"]["relation"] == "permitted"
    assert info["model"] == "hum-2" and info["sample_text"] == "Hello there." and not info["public"]
    assert abs((await here.data(f"/api/files/{info['fileId']}"))["duration"] - RECORDED_S) < 1
    assert problems(page) == []
    await context.close()


async def opened(context: BrowserContext, url: str) -> Page:
    """A page whose complaints are kept."""
    page = await context.new_page()
    found: list[str] = []
    page.problems = found  # type: ignore[attr-defined]
    page.on("pageerror", lambda error: found.append(str(error)))
    await page.goto(url)
    return page


async def test_what_cannot_become_a_voice_is_said(shelf: Any, open_page: OpenPage) -> None:
    here = await shelf()
    page = await open_page(f"{here.base}/voices/create", live=False)
    fault = page.get_by_test_id("recording-fault")
    await choose(page, "notes.txt", "text/plain", b"words")
    await expect(fault).to_contain_text("not a sound file")
    await choose(page, "short.wav", "audio/wav", clip()[: 44 + 2 * 24_000])
    await expect(fault).to_contain_text("too short")
    silence = wav_bytes(np.zeros(7 * 24_000, np.float32), 24_000)
    await choose(page, "silence.wav", "audio/wav", silence)
    await expect(page.get_by_test_id("chosen-wave")).to_be_visible()
    await consent(page)
    await page.get_by_role("button", name="Create voice").click()
    await expect(page.get_by_test_id("refused")).to_contain_text("nobody is heard")
    await expect(page.get_by_label("Who is heard?")).to_have_value("Ada")
    await page.get_by_role("button", name="Choose another").click()
    await page.get_by_role("button", name="Record now").click()  # nobody allowed it
    await expect(fault).to_contain_text("blocked")


async def test_the_best_part_of_a_long_recording_is_chosen(shelf: Any, open_page: OpenPage) -> None:
    here = await shelf(**LENGTHS)
    page = await open_page(f"{here.base}/voices/create", live=False)
    await choose(page, "long.wav", "audio/wav", clip())
    await page.get_by_label("Starts at, seconds").fill("2")
    await page.get_by_label("Length, seconds").fill("2.5")
    await consent(page)
    await page.get_by_role("button", name="Create voice").click()
    await expect(page.get_by_test_id("made")).to_be_visible()
    [card] = (await here.data("/api/voices"))["voices"]
    assert card["name"] == "long"
    info = await here.data(f"/api/voices/{card['voiceId']}")
    assert 1.5 < (await here.data(f"/api/files/{info['fileId']}"))["duration"] <= 2.55


async def test_a_creation_that_failed_is_tried_again(shelf: Any, open_page: OpenPage) -> None:
    maker = FakeMaker(failure=EngineError("scripted", "the server hung up"))
    here = await shelf(makers=[maker])
    page = await open_page(f"{here.base}/voices/create", live=False)
    await choose(page, "me.wav", "audio/wav", clip())
    await consent(page)
    await page.get_by_role("button", name="Create voice").click()
    failed = page.locator(f"{MAKING}[data-status=failed]")
    await expect(failed).to_contain_text("hung up", timeout=30_000)
    await page.get_by_role("link", name="My voices").click()
    await page.get_by_test_id("job").get_by_role("link").click()
    maker.failure = None
    await failed.get_by_role("button", name="Try again").click()
    await expect(page.get_by_test_id("made")).to_be_visible()
    await page.goto(f"{here.base}/voices/create?job=job-{0:024x}")
    await page.get_by_role("button", name="Create another").click()
    await expect(page.get_by_test_id("drop-box")).to_be_visible()


async def test_a_voice_is_used_changed_and_deleted(shelf: Any, open_page: OpenPage) -> None:
    here = await shelf()
    voice = await made(here.client, 0, name="Nora", sample_text="Hello there.", text="What I said.")
    page = await open_page(f"{here.base}/voices/{voice['voiceId']}", live=False)
    player = page.get_by_test_id("waveform").first
    await player.get_by_role("button").click()
    await expect(player).to_have_attribute("data-playing", "true")
    async with page.expect_download() as waiting:
        await page.get_by_role("link", name="Download").click()
    assert (await waiting.value).suggested_filename == f"{voice['voiceId']}.wav"
    live = page.get_by_role("link", name="Speak with it live")
    assert await live.get_attribute("href") == f"./?voice=library%3A{voice['voiceId']}"
    await expect(page.get_by_text("What I said.")).to_be_visible()
    await expect(page.get_by_text("Ada, agreed")).to_be_visible()

    await page.get_by_role("button", name="Edit").click()
    window = page.get_by_role("dialog")
    await window.get_by_label("Name").fill("Nora the second")
    await window.get_by_label("Share with").check()
    await window.get_by_role("button", name="Save").click()
    await expect(window).to_have_count(0)
    await expect(page.get_by_role("heading", level=1)).to_have_text("Nora the second")
    assert (await here.data(f"/api/voices/{voice['voiceId']}"))["public"]

    await page.get_by_role("link", name="My voices").click()
    row = page.get_by_test_id("my-voice")
    await row.get_by_role("button", name="Delete Nora the second").click()
    await window.press("Escape")
    await expect(row).to_have_count(1)
    await row.get_by_role("button", name="Delete Nora the second").click()
    await window.get_by_role("button", name="Delete for good").click()
    await expect(page.locator(TOAST)).to_have_text("Nora the second was deleted.")
    await expect(row).to_have_count(0)
    assert (await here.data("/api/voices"))["total"] == 0
    await page.goto(f"{here.base}/voices/{voice['voiceId']}")
    await expect(page.get_by_test_id("blank")).to_contain_text("There is no such voice")
    assert problems(page) == []


async def test_sound_that_may_not_be_read_is_played_all_the_same(shelf: Any, open_page: OpenPage) -> None:
    here = await shelf()
    voice = await made(here.client, 0, name="Nora")

    async def refuse(route: Any) -> None:
        await (route.abort() if route.request.resource_type == "fetch" else route.continue_())

    page = await open_page("about:blank", live=False)
    await page.route("**/sample?*", refuse)
    await page.goto(f"{here.base}/voices/{voice['voiceId']}")
    player = page.get_by_test_id("waveform").first
    await player.get_by_role("button").click()
    await expect(player).to_have_attribute("data-playing", "true")
    await page.unroute("**/sample?*")
    await page.route("**/sample?*", lambda route: route.abort())  # as an address that is too old
    await page.reload()
    await expect(player).to_contain_text("could not be loaded")
    await page.unroute("**/sample?*")
    await player.get_by_role("button", name="Try again").click()
    await player.get_by_role("button").click()
    await expect(player).to_have_attribute("data-playing", "true")


async def test_speech_is_generated_kept_and_deleted(shelf: Any, open_page: OpenPage) -> None:
    here = await shelf()
    for number, name in enumerate(("Nora", "Theo")):
        await made(here.client, number, name=name)
    page = await open_page(f"{here.base}/voices/generate", live=False)
    await page.get_by_test_id("picker").click()
    await page.get_by_role("combobox", name="Search voices").fill("theo")
    await expect(page.get_by_role("listbox", name="Voice").get_by_role("option")).to_have_count(1)
    await page.keyboard.press("Enter")
    await expect(page.get_by_test_id("picker")).to_contain_text("Theo")
    await page.get_by_label("Text").fill("It is a quiet morning by the sea.")
    await page.get_by_label("Format").select_option("wav")
    await page.get_by_label("Model").select_option("hum-2")
    await page.get_by_role("button", name="Generate").click()
    result = page.get_by_test_id("result")
    await expect(result.get_by_test_id("waveform")).to_have_attribute("data-playing", "true")
    row = page.get_by_test_id("speech")
    await expect(row).to_contain_text("Theo · 0:02 · WAV")
    [said] = (await here.data("/api/tts/history"))["requests"]
    assert said["model"] == "hum-2" and said["format"] == "wav"
    await page.goto(f"{here.base}/voices/generate")
    await expect(page.get_by_test_id("picker")).to_contain_text("Theo")  # the one chosen last
    await row.get_by_role("button", name="Use this text").click()
    await page.get_by_label("Format").select_option("wav")
    await page.get_by_label("Model").select_option("hum-2")
    await page.get_by_role("button", name="Generate").click()
    await expect(result).to_contain_text("Said before")
    await page.get_by_label("Search what was said").fill("evening")
    await expect(page.get_by_text("Nothing was said with these words.")).to_be_visible()
    await page.get_by_label("Search what was said").fill("")
    await page.get_by_role("link", name="My voices").click()
    await expect(page.get_by_role("list", name="Speech of the last 30 days")).to_contain_text("sec")
    await page.get_by_role("link", name="Generate").click()
    await row.get_by_role("button", name=re.compile("^Delete")).click()
    await expect(row).to_have_count(0)
    assert problems(page) == []


async def test_a_locked_library_asks_for_the_key(shelf: Any, open_page: OpenPage) -> None:
    here = await shelf(api_key="secret")
    page = await open_page(f"{here.base}/voices", live=False)
    gate = page.get_by_test_id("key-gate")
    await gate.get_by_label("API key").fill("wrong")
    await gate.get_by_role("button").click()
    await expect(gate).to_contain_text("not right")
    await gate.get_by_label("API key").fill("secret")
    await gate.get_by_role("button").click()
    await expect(page.get_by_test_id("blank")).to_contain_text("No voices yet")


async def test_a_server_that_is_away_or_keeps_no_library_is_told_of(shelf: Any, open_page: OpenPage) -> None:
    here = await shelf()
    page = await open_page("about:blank", live=False)
    await page.route("**/api/voices?*", lambda route: route.fulfill(
        status=503, json={"success": False, "data": None, "message": "this server keeps no voice library", "error": {}}
    ))  # fmt: skip
    await page.goto(f"{here.base}/voices")
    await expect(page.get_by_test_id("failure")).to_contain_text("keeps no voice library")
    await page.unroute("**/api/voices?*")
    await page.get_by_role("button", name="Try again").click()
    await expect(page.get_by_test_id("blank")).to_be_visible()
    await page.context.set_offline(True)
    await expect(page.get_by_text("You are offline.")).to_be_visible()
    await page.context.set_offline(False)
    await expect(page.get_by_text("You are offline.")).to_have_count(0)


async def faults(page: Page) -> list[tuple[str, list[Any]]]:
    """What axe finds, and where."""
    await page.add_script_tag(path=WEB / "node_modules" / "axe-core" / "axe.min.js")
    found = await page.evaluate("axe.run({resultTypes: ['violations']})")
    return [(one["id"], [node["target"] for node in one["nodes"]]) for one in found["violations"]]


@pytest.mark.parametrize("look", [{"color_scheme": "light"}, {"color_scheme": "dark", **PHONE}], ids=["light", "phone"])
async def test_every_page_is_accessible_and_fits(shelf: Any, open_page: OpenPage, look: dict[str, Any]) -> None:
    here = await shelf()
    voice = await made(here.client, 0, name="Nora", sample_text="Hello there.", tags=["calm"])
    asked = {"voiceId": voice["voiceId"], "input": "A sentence that was said."}
    assert (await here.client.post("/api/tts/generate", json=asked)).status == 201
    page = await open_page(f"{here.base}/voices", live=False, reduced_motion="reduce", **look)
    paths = ("", "/create", "/generate", "/mine", f"/{voice['voiceId']}", "/nowhere")
    for path in paths:
        await page.goto(f"{here.base}/voices{path}")
        await page.get_by_role("heading", level=1).wait_for()
        await expect(page.locator(".skeleton")).to_have_count(0)
        assert await faults(page) == [], path
        width = await page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        assert width[0] <= width[1], f"{path} is wider than the window"
    await page.goto(f"{here.base}/voices/{voice['voiceId']}")
    await page.get_by_role("button", name="Edit").click()
    assert await faults(page) == []
    await page.goto(f"{here.base}/voices/generate")
    await page.get_by_test_id("picker").click()
    await page.get_by_role("listbox").get_by_role("option").first.wait_for()
    assert await faults(page) == []


async def test_every_page_speaks_chinese(shelf: Any, open_page: OpenPage) -> None:
    here = await shelf()
    voice = await made(here.client, 0, name="小晴", sample_text="你好。", consent={**CONSENT, "speaker": "小晴"})
    page = await open_page(f"{here.base}/voices", live=False, locale="zh-CN")
    for path in ("", "/create", "/generate", "/mine", f"/{voice['voiceId']}"):
        await page.goto(f"{here.base}/voices{path}")
        await expect(page.locator(".skeleton")).to_have_count(0)
        for label in await page.get_by_role("button").all_inner_texts():
            assert not label.strip() or CHINESE.search(label) or label == "English", f"{path}: {label}"
        await expect(page.get_by_role("heading", level=1)).to_have_text(CHINESE)
    await page.get_by_role("button", name="Switch to English").click()
    await expect(page.get_by_role("button", name="Edit")).to_be_visible()


@pytest.mark.voice
async def test_a_visitor_hears_their_own_voice_from_her(
    live_server: LiveServer, speaking_browser: Browser, tmp_path: Path
) -> None:
    """Nothing is scripted: microphone, judgement, speaker model, the voice, the avatar that speaks with it."""
    kept = ("--database_url", f"sqlite:///{tmp_path}/library.db", "--storage_path", str(tmp_path / "storage"))
    lengths = ("--voice_seconds_min", "2", "--voice_seconds_max", "3")
    base = await live_server("--tts", "hibari", *kept, *lengths)
    context = await speaking_browser.new_context(locale="en-US", permissions=["microphone"])
    page = await opened(context, f"{base}/voices/create")
    await page.get_by_role("button", name="Record now").click()
    await expect(page.get_by_test_id("chosen-wave")).to_be_visible()
    await page.get_by_label("Name", exact=True).fill("Mine")
    await consent(page)
    await page.get_by_role("button", name="Create voice").click()
    await expect(page.get_by_test_id("made")).to_contain_text("no clone", timeout=MADE_MS)
    player = page.get_by_test_id("waveform")
    await player.get_by_role("button").click()
    await expect(player).to_have_attribute("data-playing", "true")
    await page.get_by_role("link", name="Speak with it live").click()
    await page.locator(f"{STATUS}[data-phase=live]").wait_for()
    await expect(page.get_by_role("combobox", name="Voice").locator("option:checked")).to_have_text("Mine")
    await say(page, "Good morning.")
    await expect(page.locator(LINES)).to_have_attribute("data-state", "said")
    async with asyncio.timeout(20):  # what was used is written down every other second
        while (await (await page.request.get(f"{base}/api/voices")).json())["data"]["voices"][0]["uses"] != 1:  # noqa: ASYNC110 (nothing tells, so it is asked)
            await asyncio.sleep(0.2)
    await page.goto(f"{base}/voices/mine")
    await expect(page.get_by_test_id("my-voice")).to_contain_text("1 use")
    assert problems(page) == []
    await context.close()
