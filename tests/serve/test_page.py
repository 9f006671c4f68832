"""The page in a real browser: every way to bring a photo, every way to look at its words."""

from __future__ import annotations

import base64
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from serving import listening, make_app, picture

from seesay.outputs.alt_text.files import packet_of
from seesay.outputs.alt_text.packet import ALT_TEXT, Packet
from seesay.serve.guard import Access

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
AXE = Path(os.environ.get("SEESAY_AXE", ""))  # axe.min.js of the npm package axe-core
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM, reason="no Chromium: apt-get install chromium"),
]
expect = playwright.expect
Page = Any


@pytest.fixture(scope="module")
def url(tiny_bundle: Path) -> Iterator[str]:
    with listening(make_app(tiny_bundle)) as url:
        yield url


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def context(browser: Any) -> Iterator[Any]:
    context = browser.new_context(viewport={"width": 1100, "height": 900})
    context.set_default_timeout(30_000)
    yield context
    context.close()


@pytest.fixture
def page(context: Any, url: str) -> Iterator[Page]:
    """The open page; what it fetches from elsewhere, and what its policy blocks, fails the test."""
    page = context.new_page()
    said: list[str] = []
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("console", lambda message: said.append(message.text) if blocked(message) else None)
    page.on("request", lambda request: said.append(request.url) if foreign(request.url) else None)

    def foreign(address: str) -> bool:
        return not address.startswith((url, "blob:", "data:"))

    page.goto(url)
    yield page
    assert said == []


def blocked(message: Any) -> bool:
    return message.type == "error" and "Failed to load resource" not in message.text


def file(name: str = "dog.png", seed: int = 0, kind: str = "PNG") -> dict[str, Any]:
    return {"name": name, "mimeType": "image/png", "buffer": picture(seed, kind, (320, 240))}


def choose(page: Page, *files: dict[str, Any]) -> None:
    page.set_input_files("#files", list(files))


def captioned(page: Page, number: int = 1) -> Any:
    """The cards, once all of them have their captions."""
    cards = page.locator(".card")
    expect(cards).to_have_count(number)
    expect(page.locator(".card .caption")).to_have_count(number)
    return cards


def light(page: Page) -> int:
    """How much of the canvas over the first photo is painted."""
    page.wait_for_timeout(400)  # the fade is over
    return page.evaluate(
        """() => {
          const canvas = document.querySelector(".card canvas");
          const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
          let sum = 0;
          for (let i = 3; i < pixels.length; i += 4) sum += pixels[i];
          return sum;
        }"""
    )


def give(page: Page, event: str, photo: bytes) -> None:
    """Drop or paste a photo as the browser tells a page of it."""
    page.evaluate(
        """([event, photo]) => {
          const bytes = Uint8Array.from(atob(photo), (letter) => letter.charCodeAt(0));
          const transfer = new DataTransfer();
          transfer.items.add(new File([bytes], "given.png", { type: "image/png" }));
          const init = { bubbles: true, cancelable: true };
          const made = event === "paste" ? new ClipboardEvent(event, { ...init, clipboardData: transfer })
            : new DragEvent(event, { ...init, dataTransfer: transfer });
          document.body.dispatchEvent(made);
        }""",
        [event, base64.b64encode(photo).decode()],
    )


def test_a_withheld_caption_is_marked_and_not_read_out(context: Any, calibrated_bundle: Path) -> None:
    with listening(make_app(calibrated_bundle, min_confidence=1)) as url:
        page = context.new_page()
        page.goto(url)
        choose(page, file())
        card = captioned(page)
        expect(card.locator(".facts")).to_contain_text("Confidence")
        expect(card.locator(".warning")).to_have_text("The model is not sure of this caption.")
        expect(card.locator("img")).to_have_attribute("alt", "not sure")
        expect(page.locator("#live")).to_have_text("dog.png: not sure")
        page.close()


def test_a_photo_chosen_by_the_button(page: Page) -> None:
    with page.expect_file_chooser() as chooser:
        page.get_by_label("Choose photos").click()
    chooser.value.set_files([file()])
    card = captioned(page)
    assert len(card.locator(".caption .word").all()) >= 2
    expect(card.locator(".file")).to_have_text("dog.png")
    expect(card.locator(".facts")).to_contain_text("Log-probability")
    expect(card.locator(".others li")).not_to_have_count(0)
    expect(page.locator("#live")).to_contain_text("dog.png: ")
    expect(page.locator("#model")).to_have_text("tiny")


@pytest.mark.parametrize("event", ["drop", "paste"])
def test_a_photo_dropped_or_pasted(page: Page, event: str) -> None:
    if event == "drop":
        give(page, "dragover", picture())
        expect(page.locator("#drop")).to_have_class("drop over")
    give(page, event, picture(1, "PNG", (320, 240)))
    captioned(page)
    expect(page.locator("#drop")).to_have_class("drop")


def test_pointing_at_a_word_lights_the_photo(page: Page) -> None:
    choose(page, file())
    card = captioned(page)
    assert light(page) == 0
    word = card.locator(".word").first
    word.hover()
    assert light(page) > 0
    expect(card.locator(".readout")).to_contain_text("%")
    page.mouse.move(2, 2)
    assert light(page) == 0
    word.click()
    page.mouse.move(2, 2)
    expect(word).to_have_attribute("aria-pressed", "true")
    assert light(page) > 0


def test_playing_the_sentence(page: Page) -> None:
    choose(page, file())
    card = captioned(page)
    card.locator(".play").click()
    expect(card.locator(".play")).to_have_text("Stop")
    expect(card.locator(".word.lit")).to_have_count(1)
    card.locator(".play").click()
    expect(card.locator(".word.lit")).to_have_count(0)


def test_all_of_it_by_the_keyboard(page: Page) -> None:
    page.keyboard.press("Tab")
    expect(page.locator("#files")).to_be_focused()
    choose(page, file())
    card = captioned(page)
    for _ in range(12):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.classList.contains('word')"):
            break
    first, second = card.locator(".word").nth(0), card.locator(".word").nth(1)
    expect(first).to_be_focused()
    assert light(page) > 0
    page.keyboard.press("ArrowRight")
    expect(second).to_be_focused()
    page.keyboard.press("Enter")
    expect(second).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("Escape")
    expect(second).to_have_attribute("aria-pressed", "false")
    card.locator(".own input").focus()
    page.keyboard.type("a dog runs")
    page.keyboard.press("Enter")
    expect(card.locator(".back")).to_be_visible()
    expect(card.locator(".word").first).to_be_focused()


def test_a_sentence_of_ones_own(page: Page) -> None:
    choose(page, file())
    card = captioned(page)
    own = card.locator(".caption").inner_text()
    card.locator(".own input").fill("Two dogs play!")
    card.get_by_role("button", name="Score it").click()
    expect(card.locator(".caption")).to_have_text("two dogs play")
    card.locator(".word").nth(1).hover()
    assert light(page) > 0
    card.locator(".own input").fill("a xylophone")
    card.get_by_role("button", name="Score it").click()
    expect(card.get_by_role("alert")).to_contain_text("does not know 'xylophone'")
    card.locator(".back").click()
    expect(card.locator(".caption")).to_have_text(own)


def test_an_alternative_is_shown_word_by_word(page: Page) -> None:
    choose(page, file())
    card = captioned(page)
    other = card.locator(".others .link").first
    text = other.inner_text()
    other.click()
    expect(card.locator(".caption")).to_have_text(text)


def test_no_photo_and_too_large_a_photo_are_said(page: Page, url: str) -> None:
    text = {"name": "notes.txt", "mimeType": "text/plain", "buffer": b"some notes"}
    choose(page, text)
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("not a picture of any format known here")
    bomb = {"name": "big.ppm", "mimeType": "image/png", "buffer": b"P6 100000 100000 255\n0"}
    choose(page, bomb)
    expect(page.locator(".card").first.get_by_role("alert")).to_contain_text("too large")
    expect(page.locator(".card").first).to_have_attribute("aria-busy", "false")


def test_several_photos_at_once(page: Page) -> None:
    choose(page, file("a.png", 1), file("b.png", 2), file("c.png", 3))
    cards = captioned(page, 3)
    assert [card.locator(".file").inner_text() for card in cards.all()] == ["c.png", "b.png", "a.png"]
    expect(page.locator("#count")).to_have_text("3 photos")
    cards.first.locator(".remove").click()
    captioned(page, 2)
    page.locator("#clear").click()
    expect(page.locator(".card")).to_have_count(0)


def test_the_samples(page: Page) -> None:
    page.locator("#samples").click()
    captioned(page, 5)


def test_copy_and_save(page: Page, context: Any) -> None:
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    choose(page, file())
    card = captioned(page)
    card.locator(".copy").click()
    expect(card.locator(".copy")).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == card.locator(".caption").inner_text()
    saved = {".figure": "dog-seesay.png", ".save-page": "dog-seesay.html", ".save-photo": "dog-seesay.png"}
    for button, name in saved.items():
        with page.expect_download() as download:
            card.locator(f".actions {button}").click()
        assert download.value.suggested_filename == name
        content = Path(download.value.path()).read_bytes()
        assert len(content) > 2000
        if button == ".save-photo":
            assert Packet(packet_of(content)).text(ALT_TEXT) == card.locator(".caption").inner_text()


def test_the_token_is_asked_for_and_can_stand_in_the_address(context: Any, tiny_bundle: Path) -> None:
    with listening(make_app(tiny_bundle, Access("s3cret"))) as url:
        page = context.new_page()
        page.goto(f"{url}/#token=s3cret")
        expect(page.locator("#model")).to_have_text("tiny")
        assert page.url == f"{url}/"
        page.evaluate("sessionStorage.clear()")
        page.goto(url)
        page.get_by_label("The token that").fill("s3cret")
        page.get_by_role("button", name="Continue").click()
        expect(page.locator("#model")).to_have_text("tiny")
        choose(page, file())
        captioned(page)
        page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone(browser: Any, url: str, scheme: str) -> None:
    context = browser.new_context(
        viewport={"width": 360, "height": 740}, color_scheme=scheme, has_touch=True, is_mobile=True
    )
    page = context.new_page()
    page.goto(url)
    expect(page.get_by_text("Take a photo")).to_be_visible()
    choose(page, file("a-name-that-is-much-longer-than-the-screen-of-a-phone-is-wide-0123456789.png"))
    card = captioned(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    card.locator(".word").first.tap()
    assert light(page) > 0
    paper = page.evaluate("getComputedStyle(document.querySelector('main')).backgroundColor")
    assert (paper == "rgb(23, 22, 20)") == (scheme == "dark")
    context.close()


@pytest.mark.skipif(not AXE.is_file(), reason="SEESAY_AXE is not the axe.min.js of axe-core")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(browser: Any, url: str, scheme: str) -> None:
    context = browser.new_context(color_scheme=scheme, bypass_csp=True)
    page = context.new_page()
    page.goto(url)
    choose(page, file(), {"name": "notes.txt", "mimeType": "text/plain", "buffer": b"x"})
    expect(page.get_by_role("alert")).to_be_visible()
    card = page.locator(".card", has=page.locator(".caption"))
    card.locator(".own input").fill("a xylophone")
    card.get_by_role("button", name="Score it").click()
    expect(card.get_by_role("alert")).to_be_visible()
    card.locator(".word").first.click()
    page.add_script_tag(path=AXE)
    found = page.evaluate("axe.run().then((result) => result.violations)")
    bad = [each for each in found if each["impact"] in ("serious", "critical")]
    assert bad == [], [(each["id"], each["nodes"][0]["html"]) for each in bad]
    context.close()


def test_the_api_can_be_tried_in_swagger(page: Page, url: str) -> None:
    page.goto(f"{url}/docs")
    expect(page.get_by_text("/v1/captions")).to_be_visible()
    page.get_by_role("button", name="GET /v1/models", exact=False).first.click()
    page.get_by_role("button", name="Execute").first.click()
    expect(page.locator(".responses-wrapper")).to_contain_text("tiny")
