"""The page in Chromium."""

import io
import re
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from browser import MISSING, launch
from hostile import encoded
from PIL import Image

from jseg.files import shipped_folder

pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"browser tests need {MISSING}; see docs/web.md")

SAMPLES = shipped_folder("samples")
PHONE = {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def browser():
    with launch() as started:
        yield started


@pytest.fixture
def open_page(browser, server, address):
    """open_page(fragment, **options) -> a page that shows the masks of its sample.

    Afterwards checks that there was no error of a script or of the policy, and no request to another server.
    """
    pages, wrong = [], []

    def open_(fragment="", **options):
        page = browser.new_page(**options)
        pages.append(page)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda line: "Policy" in line.text and wrong.append(line.text))
        page.on("request", lambda request: request.url.startswith(address.link) or wrong.append(request.url))
        page.goto(address.link + fragment)
        page.wait_for_selector("#legend table")
        return page

    yield open_
    for page in pages:
        page.close()
    assert not [line for line in wrong if not line.startswith("blob:")]


def answered(page, act):
    """Calls `act`, waits until the page shows the answer of the server, and returns the answer."""
    with page.expect_response("**/api/segment") as response:
        act()
    wait(page, ".busy", state="detached")
    frame(page)
    return response.value.json()


def wait(page, selector, **options):
    """Waits for an element. Waiting for an expression requires `eval`, which the page's policy forbids."""
    page.wait_for_selector(selector, **options)


def frame(page):
    """Waits until the page has drawn."""
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def add(page, text):
    page.locator("#word").fill(text)
    page.locator("#word").press("Enter")


def legend(page):
    """Returns the shown words with their areas."""
    rows = page.locator("#legend tbody tr:not(.none)")
    return {
        row.locator("button").inner_text().split("\n")[0]: row.locator("td").first.inner_text()
        for row in rows.all()
    }


def pixel(page, x, y, pane=0):
    """Returns the colour of the canvas at a place from 0 to 1."""
    script = """([x, y, pane]) => {
      const canvas = document.querySelectorAll(".pane canvas")[pane];
      return [...canvas.getContext("2d").getImageData(x * canvas.width, y * canvas.height, 1, 1).data];
    }"""
    return np.array(page.evaluate(script, [x, y, pane])[:3])


def give(page, event, name, kind, content):
    """Drops or pastes a file. `content` is a list of bytes, or a number of zero bytes."""
    script = """([event, name, type, content]) => {
      const data = new DataTransfer();
      data.items.add(new File([new Uint8Array(content)], name, { type }));
      const [kind, key] = event === "drop" ? [DragEvent, "dataTransfer"] : [ClipboardEvent, "clipboardData"];
      document.body.dispatchEvent(new kind(event, { [key]: data, bubbles: true, cancelable: true }));
    }"""
    page.evaluate(script, [event, name, kind, content])


def slide(page, name, value):
    page.locator(f"#{name}").fill(str(value))


def test_the_start_shows_a_sample_and_says_which_model_this_is(open_page):
    page = open_page()
    assert "photographs" in page.locator("#note").inner_text()
    assert set(legend(page)) == {"red circle", "yellow ring", "blue triangle"}
    assert page.locator("[data-sample=drawing_1]").get_attribute("aria-pressed") == "true"
    red, nothing = pixel(page, 0.2, 0.75), pixel(page, 0.7, 0.15)
    assert red[0] > 150 and red[1:].max() < 100 and np.ptp(nothing) < 60
    label = page.locator(".pane canvas").get_attribute("aria-label")
    assert "red circle 14 %" in label


def test_words_follow_and_the_photo_is_encoded_once(open_page):
    page = open_page()
    answer = answered(page, lambda: add(page, "green ring"))
    assert answer["encoded"] is False and answer["classes"][-1]["name"] == "green ring"
    answer = answered(page, lambda: page.locator("#word").type("azure ring | blue ring,"))
    assert answer["classes"][-1]["name"] == "azure ring"
    assert page.locator(".chip").last.inner_text().startswith("azure ring | blue ring")
    answer = answered(page, lambda: page.get_by_role("button", name="Remove red circle").click())
    assert "red circle" not in [word["name"] for word in answer["classes"]] and "red circle" not in legend(
        page
    )
    answered(page, lambda: page.locator("#word").press("Backspace"))
    assert page.locator("#word").input_value() == "azure ring | blue ring"
    count = page.locator(".chip").count()
    page.locator("#word").press("Enter")
    assert page.locator(".chip").count() == count + 1


def test_no_words_is_no_error(open_page):
    page = open_page("#words=red+ring")
    page.get_by_role("button", name="Remove red ring").click()
    wait(page, "#status:has-text('Add at least one word')")
    assert page.locator("#error").is_hidden() and page.locator("#legend table").count() == 0


def test_a_photo_is_chosen_dropped_or_pasted(open_page):
    page = open_page()
    body = (SAMPLES / "drawing_2.png").read_bytes()
    file = {"name": "mine.png", "mimeType": "image/png", "buffer": body}
    answer = answered(page, lambda: page.locator("#file").set_input_files(file))
    assert answer["encoded"] and "purple cross" in legend(page)
    for event, name in (("drop", "drawing_4"), ("paste", "drawing_1")):
        content = list((SAMPLES / f"{name}.png").read_bytes())
        answered(page, lambda: give(page, event, "a.png", "image/png", content))  # noqa: B023
        assert ("blue triangle" in legend(page)) is (name == "drawing_1")


def test_the_pointer_and_the_arrow_keys_read_out_a_place(open_page):
    page = open_page()
    canvas, readout = page.locator(".pane canvas"), page.locator(".probe")
    box = canvas.bounding_box()
    canvas.hover(position={"x": 0.2 * box["width"], "y": 0.75 * box["height"]})
    assert re.fullmatch(r"red circle \d+ % · region: .+ \d+ %", readout.inner_text())
    canvas.hover(position={"x": 0.7 * box["width"], "y": 0.15 * box["height"]})
    assert re.match(r"nothing \(best score \d", readout.inner_text())
    page.mouse.move(0, 0)
    assert readout.inner_text() == ""
    canvas.focus()
    for key in ["ArrowDown"] * 9 + ["ArrowLeft"] * 9:
        page.keyboard.press(key)
    assert readout.inner_text().startswith("red circle")


def test_sliders(open_page):
    page = open_page()
    asked = []
    page.on("request", lambda request: "/api/" in request.url and asked.append(request.url))
    before = pixel(page, 0.2, 0.75)
    slide(page, "opacity", 0)
    page.locator("#outlines").uncheck()
    frame(page)
    with Image.open(SAMPLES / "drawing_1.png") as drawing:
        photo = np.asarray(drawing.convert("RGB"))[48, 12]
    np.testing.assert_allclose(pixel(page, 0.2, 0.75), photo, atol=1)
    assert np.abs(before - photo).max() > 5 and not asked  # drawn without the server
    answer = answered(page, lambda: slide(page, "threshold", 1))
    assert answer["nothing"]["share"] == 1 and legend(page) == {}
    answer = answered(page, lambda: slide(page, "threshold", 0))
    unseen = [word["name"] for word in answer["classes"]].index("red circle")
    assert answer["nothing"]["share"] == 0 and answer["classes"][unseen]["share"] < 0.5
    answer = answered(page, lambda: slide(page, "bias", 0.4))
    assert answer["nothing"]["share"] == 0 and answer["classes"][unseen]["share"] > 0.7
    answer = answered(page, lambda: page.locator("#background").fill("blue ring"))
    assert answer["nothing"]["share"] > 0.1 and "blue ring" not in legend(page)
    answered(page, lambda: page.locator("#reset").click())
    assert page.locator("output[for=bias]").inner_text() == "0.00 (default)" and len(legend(page)) == 3


def test_the_legend_lights_up_a_word(open_page):
    page = open_page()
    plain = pixel(page, 0.2, 0.75)
    yellow = page.locator("#legend button", has_text="yellow ring")
    yellow.hover()
    frame(page)
    assert np.ptp(pixel(page, 0.2, 0.75)) < np.ptp(plain) / 2  # the red circle is dimmed
    yellow.click()
    page.mouse.move(0, 0)
    frame(page)
    assert (
        yellow.get_attribute("aria-pressed") == "true" and np.ptp(pixel(page, 0.2, 0.75)) < np.ptp(plain) / 2
    )
    yellow.click()
    page.mouse.move(0, 0)
    frame(page)
    np.testing.assert_array_equal(pixel(page, 0.2, 0.75), plain)


def test_regions_and_two_models_side_by_side(open_page):
    page = open_page()
    answer = answered(page, lambda: page.locator("#regions").select_option("16"))
    assert answer["encoded"] and answer["regions"]["rows"] == 4
    assert page.locator("#regions option[value='256']").is_disabled()  # more than patches
    before = pixel(page, 0.25, 0.1)
    page.locator("#grid").check()
    frame(page)
    assert (pixel(page, 0.25, 0.1) != before).any()  # on a line of the grid
    page.locator("#compare").check()
    wait(page, "#legend table:nth-child(2)")
    assert page.locator("figcaption").all_inner_texts() == [
        "CLIP-RC, small, for drawings",
        "CLIP alone, training-free",
    ]
    page.locator(".pane canvas").first.hover()
    assert all(text for text in page.locator(".probe").all_inner_texts())
    page.locator("#compare").uncheck()
    wait(page, ".pane:nth-child(2)", state="detached")


def test_what_does_not_work_is_named_and_the_photo_stays(open_page):
    page = open_page()
    before = legend(page)
    for name, kind, content, said in (
        ("notes.txt", "text/plain", 10, "notes.txt is not"),
        ("page.svg", "image/svg+xml", 10, "JPEG, PNG or WebP"),
        ("cut.jpg", "image/jpeg", list(encoded("JPEG")[:-400]), "damaged"),
        ("large.png", "image/png", (32 << 20) + 1, "larger than 32 MB"),
    ):
        give(page, "drop", name, kind, content)
        wait(page, f"#error:has-text('{said}')")
        assert legend(page) == before
    add(page, "x" * 101)
    wait(page, "#error:has-text('101 letters')")
    assert page.get_by_role("alert").is_visible() and legend(page) == before
    answered(page, lambda: page.locator(".chip button").last.click())
    assert page.locator("#error").is_hidden() and legend(page) == before


def test_a_busy_server_is_asked_again_and_a_silent_one_is_named(open_page):
    page = open_page()
    refusals = iter([{"status": 503, "headers": {"Retry-After": "1"}, "json": {"error": "busy"}}])

    def busy(route):
        refusal = next(refusals, None)
        route.fulfill(**refusal) if refusal else route.continue_()

    page.route("**/api/segment", busy)
    add(page, "green ring")
    wait(page, "#legend:has-text('green ring')")
    assert page.locator("#error").is_hidden()
    page.unroute("**/api/segment")
    page.route("**/api/segment", lambda route: route.abort())
    add(page, "green cross")
    add(page, "blue ring")
    wait(page, "#error:not([hidden])")
    assert "jseg web" in page.get_by_role("alert").inner_text()


def test_a_photo_that_the_server_has_dropped_is_sent_again(open_page, server):
    page = open_page()
    server.worker.run(lambda _: server.engine._photos._photos.clear())
    with page.expect_request("**/api/images"):
        add(page, "green ring")
    wait(page, "#legend:has-text('green ring')")


def test_a_link_restores_words_options_and_sample(open_page, address):
    page = open_page()
    answered(page, lambda: page.locator("[data-sample=drawing_2]").click())
    answered(page, lambda: add(page, "purple ring|violet ring"))
    answered(page, lambda: slide(page, "threshold", 0.4))
    slide(page, "opacity", 0.25)
    page.locator("#grid").check()
    page.locator("#link").click()
    link = page.url
    assert link.startswith(address.link + "#")
    again = open_page(link.removeprefix(address.link))
    assert again.locator("[data-sample=drawing_2]").get_attribute("aria-pressed") == "true"
    assert again.locator(".chip").last.inner_text().startswith("purple ring | violet ring")
    values = [again.locator(f"#{name}").input_value() for name in ("threshold", "opacity")]
    assert values == ["0.4", "0.25"] and again.locator("#grid").is_checked() and again.url == link
    assert legend(again) == legend(page)


def test_the_token_leaves_the_address(open_page):
    page = open_page("#token=secret&opacity=0.5")
    assert "secret" not in page.url and "opacity=0.5" in page.url
    with page.expect_request("**/api/segment") as request:
        add(page, "green ring")
    assert request.value.headers["authorization"] == "Bearer secret"


def test_files_are_those_of_jseg_segment(open_page):
    page = open_page()
    for form, name in (
        ("mask", "drawing_1.png"),
        ("overlay", "drawing_1.overlay.png"),
        ("json", "drawing_1.json"),
    ):
        with page.expect_download() as download:
            page.locator(f"#save-{form}").click()
        assert download.value.suggested_filename == name
        content = download.value.path().read_bytes()
        if form == "mask":
            mask = Image.open(io.BytesIO(content))
            assert mask.mode == "P" and set(np.unique(np.asarray(mask))) == {0, 1, 2, 255}
        assert content[:4] == (b'{\n "' if form == "json" else b"\x89PNG")


def test_a_phone_needs_no_sideways_scrolling_and_keeps_photo_and_errors_in_view(open_page):
    page = open_page(viewport=PHONE)
    add(page, "a very long word " + "withoutaspaceinit" * 3)
    for least in (340, 150):
        frame(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
        assert page.locator(".pane canvas").first.bounding_box()["width"] > least
        page.locator("#compare").check()
        wait(page, "#legend table:nth-child(2)")
    assert page.locator("#add").bounding_box()["height"] >= 40
    add(page, "x" * 101)
    wait(page, "#error:not([hidden])")
    page.locator("#link").focus()
    frame(page)
    assert page.evaluate("scrollY") > PHONE["height"]
    photo, message, focused = (
        page.locator(name).first.bounding_box() for name in ("#panes", "#error", "#link")
    )
    assert photo["y"] == 0 <= message["y"] < photo["height"] < focused["y"] < PHONE["height"]
    page.locator("#dismiss").click()
    assert page.locator("#error").is_hidden()


def test_every_control_has_a_name_and_a_place_in_the_order_of_the_tab_key(open_page):
    page = open_page()
    nameless = page.evaluate("""[...document.querySelectorAll("input, select, button, canvas[tabindex]")]
      .filter((item) => !(item.labels?.length || item.textContent.trim() || item.getAttribute("aria-label")))
      .map((item) => item.outerHTML)""")
    assert nameless == []
    page.locator("#word").focus()
    seen = set()
    while True:
        page.keyboard.press("Tab")
        name, outline = page.evaluate("""[document.activeElement.id || document.activeElement.dataset.word,
          getComputedStyle(document.activeElement).outlineStyle]""")
        if name is None:  # behind the last control
            break
        seen.add(name)
        assert outline != "none", name
    assert {
        "add",
        "red circle",
        "model",
        "compare",
        "opacity",
        "threshold",
        "bias",
        "regions",
        "grid",
        "save-mask",
        "link",
    } <= seen


def test_contrast_is_at_least_that_of_wcag_aa(open_page):
    page = open_page()
    low = (Path(__file__).parent / "contrast.js").read_text(encoding="utf-8")
    give(page, "drop", "notes.txt", "text/plain", 10)
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        assert page.evaluate(low) == [], scheme


def test_a_photo_with_more_pixels_than_the_preview(open_page):
    """The mask has the size of the preview, and the canvas has the colours of the photo."""
    rows = b"".join(b"\0" + bytes([10, 200, 30]) * 1400 for _ in range(700))
    head = struct.pack(">IIBBBBB", 1400, 700, 8, 2, 0, 0, 0)
    parts = ((b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    chunks = (struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in parts)
    file = {"name": "a.png", "mimeType": "image/png", "buffer": b"\x89PNG\r\n\x1a\n" + b"".join(chunks)}
    page = open_page("#threshold=1")
    answer = answered(page, lambda: page.locator("#file").set_input_files(file))
    assert (answer["width"], answer["height"]) == (1024, 512)
    np.testing.assert_allclose(pixel(page, 0.5, 0.5), [10, 200, 30], atol=4)
