"""Presenters of one's own, made on the page against the scripted server: the whole way, and every way it can end."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.async_api import Locator, Page, expect

from tests.browser.conftest import WEB, Fake, OpenPage
from tests.browser.test_page import PHONE, PROBLEM, STATUS, problems

BUILD = "[data-testid=build]"
OWN = "[data-testid=own]"
FAULT = "[data-testid=maker-problem]"
OPENER = "button.workshop-button"
LONG = "a-very-long-name-without-a-space-" * 6


def clip(name: str = "Anna at the Sea.mp4", size: int = 3_000, kind: str = "video/mp4") -> Any:
    return {"name": name, "mimeType": kind, "buffer": bytes(size)}


async def workshop(page: Page) -> Locator:
    """The window, open."""
    await page.locator(OPENER).click()
    window = page.get_by_role("dialog", name="Your own presenter")
    await expect(window).to_be_visible()
    return window


async def upload(window: Locator, file: Any, id: str = "") -> None:
    await window.get_by_test_id("clip").set_input_files(file)
    if id:
        await window.get_by_label("Id").fill(id)
    await window.get_by_role("button", name="Make presenter").click()


async def test_a_clip_becomes_a_presenter_who_is_chosen_at_once(fake: Fake, open_page: OpenPage) -> None:
    page = await open_page(fake.base)
    window = await workshop(page)
    await expect(window).to_contain_text("None yet.")
    await expect(window.get_by_role("button", name="Make presenter")).to_be_disabled()
    await window.get_by_test_id("clip").set_input_files(clip())
    await expect(window.get_by_label("Name")).to_have_value("Anna at the Sea")
    await expect(window.get_by_label("Id")).to_have_value("anna-at-the-sea")
    await window.get_by_label("Name").fill("Anna")
    await expect(window.get_by_label("Id")).to_have_value("anna")
    await window.get_by_role("button", name="Make presenter").click()
    row = window.locator(BUILD)
    await expect(row).to_contain_text("Anna")
    await expect(row).to_contain_text("Beginning · 0 %")
    stages = {
        "decode": "Reading the pictures",
        "track": "Following the face",
        "write": "Preparing the presenter",
        "preview": "Making the preview",
    }
    for k, (stage, words) in enumerate(stages.items()):
        await fake.build(stage=stage, progress=20 * k + 10)
        await expect(row).to_contain_text(f"{words} · {20 * k + 10} %")
        await expect(window.get_by_role("progressbar", name=f"Anna: {words}")).to_have_attribute(
            "value", str(20 * k + 10)
        )
    await fake.build(stage="write", progress=90, notes=["no face in 2 of 50 frames: 0.40 s to 0.48 s"])
    await expect(row.get_by_test_id("note")).to_have_text("no face in 2 of 50 frames: 0.40 s to 0.48 s")
    await fake.build()
    await expect(row).to_contain_text("Ready, took 12 sec")
    await expect(page.locator("select").first.locator("option")).to_have_text(["Mia", "Leo", "Anna"])
    await row.get_by_role("button", name="Show").click()
    await expect(window).to_be_hidden()
    await expect(page.get_by_role("combobox", name="Presenter")).to_have_value("anna")
    await page.locator(f"{STATUS}[data-phase=live]").wait_for()
    assert [sent["avatar"] for sent in await fake.seen("/offer")] == [None, "anna"]
    assert await fake.seen("/api/avatar/task") == [
        {"avatar_id": "anna", "name": "Anna", "file": "Anna at the Sea.mp4", "bytes": 3_000}
    ]
    assert problems(page) == []


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            "no face was found in any of its 50 frames (2.00 s); a face seen from the front is needed",
            "No face was found.",
        ),
        ("0.40 s shows two faces, one 80 wide; one is needed, or ask for the largest", "There are two faces."),
        ("clip.mp4 lasts 0.20 s; at least 1 s is needed", "The clip is too short."),
        ("the build ended with -9: it said nothing", "It did not work out."),
    ],
)
async def test_says_why_it_failed_and_tries_again(fake: Fake, open_page: OpenPage, error: str, words: str) -> None:
    page = await open_page(fake.base)
    window = await workshop(page)
    await upload(window, clip("me.mov"))
    await fake.awaited("/api/avatar/task")
    await fake.build(error=error)
    row = window.locator(BUILD)
    await expect(row).to_contain_text(words)
    await expect(row).to_contain_text(error)
    await row.get_by_role("button", name="Try again").click()
    await expect(window.locator(f"{BUILD}[data-status=running]")).to_have_count(1)
    await expect(row).to_have_count(1)  # the new build has taken the failed one's place
    await fake.build()
    await expect(row).to_contain_text("Ready")
    uploads = [sent["avatar_id"] for sent in await fake.seen("/api/avatar/task") if "avatar_id" in sent]
    assert uploads == ["me", "me"]


async def test_waits_its_turn_and_is_cancelled(fake: Fake, open_page: OpenPage) -> None:
    page = await open_page(fake.base)
    window = await workshop(page)
    for n, name in enumerate(("first.mp4", "second.mp4", "third.mp4")):
        await upload(window, clip(name))
        await expect(window.locator(BUILD)).to_have_count(n + 1)
    third, second, first = (window.locator(BUILD).nth(n) for n in range(3))
    await expect(third).to_contain_text("Waiting, 2 builds before it")
    await expect(second).to_contain_text("Waiting, one build before it")
    await first.get_by_role("button", name="Cancel first").click()
    await expect(first).to_contain_text("Cancelled")
    await expect(second).to_have_attribute("data-status", "running")
    await expect(third).to_contain_text("Waiting, one build before it")
    await third.get_by_role("button", name="Cancel third").click()
    await expect(third).to_contain_text("Cancelled")
    await third.get_by_role("button", name="Remove third from the list").click()
    await expect(window.locator(BUILD)).to_have_count(2)
    await expect(window.locator(BUILD).last.get_by_role("button", name="Try again")).to_be_visible()


async def test_an_upload_shows_its_progress_and_is_cancelled(fake: Fake, open_page: OpenPage) -> None:
    page = await open_page(f"{fake.base}/?mode=hold")
    window = await workshop(page)
    await upload(window, clip(size=2 << 20))
    await expect(window.get_by_role("progressbar")).to_be_visible()
    await expect(window.get_by_label("Name")).to_be_disabled()
    await window.get_by_role("button", name="Cancel upload").click()
    await expect(window).to_contain_text("Upload cancelled.")
    await expect(window.get_by_label("Id")).to_have_value("anna-at-the-sea")
    await expect(window.get_by_role("button", name="Make presenter")).to_be_enabled()
    await expect(window).to_contain_text("None yet.")


async def test_refuses_what_cannot_be_sent(fake: Fake, open_page: OpenPage) -> None:
    page = await open_page(fake.base)
    window = await workshop(page)
    files = window.get_by_test_id("clip")
    await files.set_input_files(clip("song.mp3", kind="audio/mpeg"))
    await expect(window.locator(FAULT)).to_contain_text("song.mp3 is neither a video nor a picture")
    await files.set_input_files(clip("long.mp4", (2 << 20) + 1))
    await expect(window.locator(FAULT)).to_contain_text("long.mp4 is too large. This server takes clips up to 2 MiB.")
    await files.set_input_files(clip("empty.mp4", 0))
    await expect(window.locator(FAULT)).to_contain_text("empty.mp4 is empty")
    await files.set_input_files(clip("photo.png", kind="image/png"))
    await expect(window.locator(FAULT)).to_have_count(0)
    make = window.get_by_role("button", name="Make presenter")
    for id, words in (("mia", "There is one with this id"), ("a b", "Use 1 to 64"), ("", "An id is needed")):
        await window.get_by_label("Id").fill(id)
        await expect(window.get_by_text(words)).to_be_visible()
        await expect(make).to_be_disabled()
    await window.get_by_label("Id").fill("mia-2")
    await expect(make).to_be_enabled()
    assert await fake.seen("/api/avatar/task") == []


async def test_shows_what_the_server_refuses(fake: Fake, open_page: OpenPage) -> None:
    page = await open_page(f"{fake.base}/?mode=full")
    window = await workshop(page)
    await upload(window, clip())
    await expect(window.locator(FAULT)).to_contain_text("16 avatars are waiting to be built")
    await expect(window.get_by_role("button", name="Make presenter")).to_be_enabled()
    await page.route("**/api/avatar/task", lambda route: route.fulfill(status=401, json={"code": -1, "msg": "wrong"}))
    await window.get_by_role("button", name="Make presenter").click()
    await expect(window.locator(FAULT)).to_contain_text("This server needs an API key")


async def test_an_unreachable_server_is_named_and_waited_for(fake: Fake, open_page: OpenPage) -> None:
    page = await open_page(fake.base)
    window = await workshop(page)
    await upload(window, clip("me.mp4"))
    await expect(window.locator(BUILD)).to_contain_text("Beginning")
    await page.route("**/api/avatar/**", lambda route: route.abort("connectionrefused"))
    away = window.get_by_test_id("builds-away")
    await expect(away).to_contain_text("The server does not answer.")
    await expect(window.locator(BUILD)).to_have_count(1)
    await upload(window, clip("two.mp4"))
    await expect(window.locator(FAULT)).to_contain_text("the upload was not taken")
    await page.unroute("**/api/avatar/**")
    await fake.build(stage="track", progress=50)
    await expect(window.locator(BUILD)).to_contain_text("Following the face · 50 %")
    await expect(away).to_have_count(0)


async def test_goes_on_with_the_window_closed_and_after_a_reload(fake: Fake, open_page: OpenPage) -> None:
    page = await open_page(fake.base)
    await upload(await workshop(page), clip("me.mp4"))
    await fake.build(stage="track", progress=40)
    await page.keyboard.press("Escape")
    await expect(page.get_by_role("dialog")).to_have_count(0)
    await expect(page.locator(OPENER)).to_be_focused()
    await expect(page.locator(OPENER)).to_have_attribute("aria-label", "Your own presenter, 40 % done")
    assert await fake.seen("/interrupt_talk") == []
    await page.reload()
    await expect(page.locator(OPENER)).to_have_attribute("aria-label", "Your own presenter, 40 % done")
    await fake.build()
    await expect(page.get_by_text("me is ready.")).to_be_visible()
    await expect(page.locator(OPENER)).to_have_attribute("aria-label", "Your own presenter")
    await upload(await workshop(page), clip("you.mp4"))
    await page.keyboard.press("Escape")
    await fake.build(error="no face was found in it")
    await expect(page.locator(PROBLEM)).to_contain_text("you could not be made.")


async def made(fake: Fake, page: Page, name: str = "me.mp4") -> Locator:
    """An avatar is made; the window, open."""
    window = await workshop(page)
    await upload(window, clip(name))
    await expect(window.locator(BUILD).first).to_contain_text("Beginning")
    await fake.build()
    await expect(window.locator(OWN)).to_be_visible()
    return window


async def test_deletes_one_of_ones_own_after_asking(fake: Fake, open_page: OpenPage) -> None:
    page = await open_page(fake.base)
    window = await made(fake, page)
    await window.locator(OWN).get_by_role("button", name="Show").click()
    await page.locator(f"{STATUS}[data-phase=live]").wait_for()
    await expect(page.get_by_role("combobox", name="Presenter")).to_have_value("me")
    window = await workshop(page)
    row = window.locator(OWN)
    await expect(row).to_have_count(1)
    await row.get_by_role("button", name="Delete me").click()
    await expect(row.get_by_role("button", name="Keep")).to_be_focused()
    await row.get_by_role("button", name="Keep").click()
    await expect(row.get_by_role("button", name="Delete me")).to_be_focused()
    assert await fake.seen("/api/avatars/") == []
    await row.get_by_role("button", name="Delete me").click()
    await row.get_by_role("button", name="Delete for good").click()
    await expect(row).to_have_count(0)
    await expect(window.locator(BUILD)).to_have_count(0)
    await page.keyboard.press("Escape")
    await expect(page.get_by_role("combobox", name="Presenter")).to_have_value("mia")
    await expect(page.get_by_text("me was deleted.")).to_be_visible()
    await page.locator(f"{STATUS}[data-phase=live]").wait_for()


async def test_one_that_somebody_looks_at_is_not_deleted(fake: Fake, open_page: OpenPage) -> None:
    page = await open_page(fake.base)
    window = await made(fake, page)
    other = await open_page(fake.base)
    await other.get_by_role("combobox", name="Presenter").select_option("me")
    await other.locator(f"{STATUS}[data-phase=live]").wait_for()
    row = window.locator(OWN)
    await row.get_by_role("button", name="Delete me").click()
    await row.get_by_role("button", name="Delete for good").click()
    await expect(row.get_by_role("alert")).to_contain_text("me cannot be deleted now.")
    await expect(row.get_by_role("alert")).to_contain_text("avatar me is shown by session")


@pytest.mark.parametrize("mode", ["plain", "nobuild"])
async def test_a_server_that_makes_none_offers_none(fake: Fake, open_page: OpenPage, mode: str) -> None:
    page = await open_page(f"{fake.base}/?mode={mode}")
    if mode == "nobuild":
        await expect(page.get_by_role("combobox", name="Presenter")).to_be_visible()
    await expect(page.locator(OPENER)).to_have_count(0)
    assert await fake.seen("/api/avatar/task") == []


async def test_a_file_dropped_on_the_window_is_not_spoken(fake: Fake, open_page: OpenPage) -> None:
    page = await open_page(fake.base)
    window = await workshop(page)
    data = await page.evaluate_handle(
        """() => {
          const data = new DataTransfer();
          data.items.add(new File(["x"], "小美.mp4", {type: "video/mp4"}));
          return data;
        }"""
    )
    await window.dispatch_event("dragover", {"dataTransfer": data})
    await expect(window.get_by_text("Drop it here", exact=True)).to_be_visible()
    await expect(page.get_by_text("Drop a recording")).to_have_count(0)
    await window.dispatch_event("drop", {"dataTransfer": data})
    await expect(window.get_by_label("Name")).to_have_value("小美")
    await expect(window.get_by_label("Id")).to_have_value("presenter")
    assert await fake.seen("/humanaudio") == []


@pytest.mark.parametrize("language", ["en-US", "zh-CN"])
async def test_fits_every_screen_with_long_names(fake: Fake, open_page: OpenPage, language: str) -> None:
    page = await open_page(fake.base, locale=language)
    await page.locator(OPENER).click()
    window = page.get_by_role("dialog")
    for name in (f"{LONG}.mp4", "two.mp4"):
        await window.get_by_test_id("clip").set_input_files(clip(name))
        await window.locator("button[type=submit]").click()
        await expect(window.locator(BUILD).filter(has_text=name[:3])).to_be_visible()
    await fake.build(error=f"{LONG}.mp4: no face was found")
    await window.get_by_test_id("clip").set_input_files(clip(f"{LONG}.mov", kind="video/quicktime"))
    for width, height in ((360, 740), (320, 560), (740, 360), (1280, 800)):
        await page.set_viewport_size({"width": width, "height": height})
        box = await window.bounding_box()
        assert box and box["x"] >= 0 and box["x"] + box["width"] <= width, f"out of sight at {width} x {height}"
        assert box["y"] >= 0 and box["y"] + box["height"] <= height, f"out of sight at {width} x {height}"
        body = window.locator(".workshop-body")
        assert await body.evaluate("e => e.scrollWidth <= e.clientWidth"), f"scrolls sideways at {width} x {height}"
        for button in await window.get_by_role("button").all():
            await button.scroll_into_view_if_needed()
            edges = await button.bounding_box()
            assert edges and edges["x"] >= box["x"] and edges["x"] + edges["width"] <= box["x"] + box["width"]


@pytest.mark.parametrize("theme", ["light", "dark"])
async def test_has_no_accessibility_faults(fake: Fake, open_page: OpenPage, theme: str) -> None:
    page = await open_page(fake.base, color_scheme=theme, reduced_motion="reduce", **PHONE)
    window = await made(fake, page)
    for name in ("bad.mp4", "run.mp4", "late.mp4"):
        await upload(window, clip(name))
        await expect(window.locator(BUILD).filter(has_text=name[:-4])).to_be_visible()
    await fake.build(error="no face was found in it")
    await fake.build(stage="track", progress=40)
    await window.locator(OWN).get_by_role("button", name="Delete me").click()
    await window.get_by_test_id("clip").set_input_files(clip("song.mp3", kind="audio/mpeg"))
    await window.get_by_label("Id").fill("mia")
    await expect(window.locator(BUILD).filter(has_text="run")).to_contain_text("40 %")
    await page.add_script_tag(path=WEB / "node_modules" / "axe-core" / "axe.min.js")
    found = await page.evaluate("axe.run({resultTypes: ['violations']})")
    faults = [(fault["id"], [node["html"] for node in fault["nodes"]]) for fault in found["violations"]]
    assert faults == []


async def test_is_worked_by_keyboard_alone(fake: Fake, open_page: OpenPage) -> None:
    page = await open_page(fake.base)
    await page.locator(OPENER).focus()
    await page.keyboard.press("Enter")
    window = page.get_by_role("dialog")
    await expect(window).to_be_visible()
    await window.get_by_test_id("clip").set_input_files(clip("me.mp4"))
    await window.get_by_label("Name").focus()
    await page.keyboard.press("Enter")
    row = window.locator(BUILD)
    await expect(row).to_contain_text("Beginning")
    reached: list[str] = []
    while "Cancel me" not in reached and len(reached) < 8:
        await page.keyboard.press("Tab")
        name, outline, control = await page.evaluate("""() => {
          const e = document.activeElement;
          const name = e.getAttribute("aria-label") ?? e.textContent;
          return [name, getComputedStyle(e).outlineStyle, e.matches("button, input")];
        }""")
        assert not control or outline != "none", f"{name} shows no focus"
        reached.append(name)
    assert reached[-1] == "Cancel me", reached
    await page.keyboard.press("Enter")
    await expect(row).to_contain_text("Cancelled")
