"""The studio as a person meets it, in Chromium. Screenshots are kept in out/studio: look at them."""

from __future__ import annotations

import re
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from running import FLAGS, Running

from mien.cli import main

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (apt-get install chromium)")
PATIENCE = 60_000
"""Milliseconds that a busy machine may take."""
playwright.expect.set_options(timeout=PATIENCE)
SCREENS = Path(__file__).parents[2] / "out" / "studio"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as player:
        chromium = player.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture
def visit(browser: Any, studio: Running) -> Iterator[Callable[..., Any]]:
    """Opens the page as a new visitor, once the example is shown. No request may leave the machine, no script fail."""
    contexts, strays = [], []

    def open_page(width: int = 1280, height: int = 900, scheme: str = "light") -> Any:
        context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        page.on(
            "request", lambda r: strays.append(r.url) if not r.url.startswith((studio.url, "data:", "blob:")) else 0
        )
        page.on("pageerror", lambda error: strays.append(str(error)))
        page.goto(studio.url)
        page.wait_for_selector("#strip img")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not strays


def says(page: Any, words: str) -> None:
    """Wait until the line below the picture says so."""
    playwright.expect(page.locator("#status")).to_contain_text(re.compile(words))


def give(page: Any, path: Path, words: str) -> None:
    page.locator("#photo input[type=file]").set_input_files(str(path))
    says(page, words)


def saved(page: Any, folder: Path) -> Path:
    """What the button Download gives, under the name that it suggests."""
    with page.expect_download() as waiting:
        page.click("#save")
    waiting.value.save_as(folder / waiting.value.suggested_filename)
    return folder / waiting.value.suggested_filename


def typed(*words: object) -> None:
    with pytest.raises(SystemExit) as end:
        main([str(word) for word in words])
    assert not end.value.code


def keep(page: Any, name: str) -> None:
    SCREENS.mkdir(parents=True, exist_ok=True)
    page.wait_for_timeout(600)
    page.screenshot(path=SCREENS / f"{name}.png", full_page=True)


def test_the_first_visit_shows_an_example_before_and_after(visit: Callable[..., Any]) -> None:
    page = visit()
    says(page, "surprise.*512 × 512")
    sources = page.locator("#viewer img").evaluate_all("all => all.map(image => image.src)")
    assert len(set(sources)) == 2
    assert page.locator("#strip button img").count() == 7
    keep(page, "first")


def test_the_second_face_is_edited_and_nothing_else_and_the_download_is_the_command_lines(
    visit: Callable[..., Any], pictures: Path, tmp_path: Path
) -> None:
    page = visit()
    give(page, pictures / "two.png", "all 2 faces.*480 × 260")
    page.locator("#faces button").nth(2).click()
    says(page, "face 2 of 2")
    page.get_by_text("Happiness", exact=True).first.click()
    says(page, "happiness")
    before = page.locator("#viewer img").nth(1).get_attribute("src")
    slider = page.locator("#intensity input[type=range]")
    box = slider.bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.4, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + box["height"] / 2, steps=4)
    page.mouse.up()
    says(page, r"intensity 0\.[89]5?|intensity 0\.9")
    assert page.locator("#viewer img").nth(1).get_attribute("src") != before
    keep(page, "second-face")
    intensity = float(page.locator("#intensity input[type=number]").input_value())
    page.wait_for_timeout(500)
    mine = saved(page, tmp_path)
    assert mine.name == "two-happiness.png"
    typed(
        "edit",
        pictures / "two.png",
        "--to",
        "happiness",
        "--intensity",
        intensity,
        "--face",
        2,
        "-o",
        tmp_path / "cli.png",
    )
    assert mine.read_bytes() == (tmp_path / "cli.png").read_bytes()
    changed = (np.asarray(Image.open(mine)) != np.asarray(Image.open(pictures / "two.png"))).any(-1)
    assert changed[30:230, 270:470].mean() > 0.05
    assert not changed[:, :260].any()


def test_a_jpeg_downloads_as_the_command_line_writes_it_and_the_command_shown_is_that_command(
    visit: Callable[..., Any], pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = visit()
    give(page, pictures / "me.jpg", "260 × 260")
    page.locator("#browInnerUp input[type=number]").fill("0.9")
    says(page, "muscles")
    page.get_by_text("The same from a shell or Python").click()
    command = page.locator("#code .cm-content").first.inner_text().replace("\n", "")
    assert "--muscle browInnerUp=0.9" in command
    mine = saved(page, tmp_path)
    monkeypatch.chdir(tmp_path)
    shutil.copyfile(pictures / "me.jpg", tmp_path / "me.jpg")
    mine = mine.rename(tmp_path / "studio.jpg")
    typed(*command.split()[1:])
    assert mine.read_bytes() == (tmp_path / "me-muscles.jpg").read_bytes()


def test_undo_and_reset_go_back(visit: Callable[..., Any]) -> None:
    page = visit()
    page.get_by_text("Anger", exact=True).first.click()
    says(page, "anger")
    page.locator("#strip button").nth(2).click()
    says(page, "anger.*intensity 0.5")
    page.click("#undo")
    says(page, "anger.*intensity 0.65")
    page.click("#undo")
    says(page, "surprise.*intensity 0.65")
    playwright.expect(page.get_by_role("radio", name="Surprise")).to_be_checked()
    page.click("#reset")
    says(page, "as it was")
    sources = page.locator("#viewer img").evaluate_all("all => all.map(image => image.src)")
    assert len(set(sources)) == 1


def test_left_and_right_move_together_unless_told_otherwise(visit: Callable[..., Any]) -> None:
    page = visit()
    left, right = (page.locator(f"#browOuterUp{side} input[type=number]") for side in ("Left", "Right"))
    left.fill("0.8")
    playwright.expect(right).to_have_value("0.8")
    page.get_by_label("Move left and right together").uncheck()
    right.fill("0.1")
    says(page, "muscles")
    page.wait_for_timeout(300)
    assert left.input_value() == "0.8"


def test_another_face_is_copied(visit: Callable[..., Any], pictures: Path) -> None:
    page = visit()
    page.get_by_text("Copy another face").click()
    page.locator("#reference input[type=file]").set_input_files(str(pictures / "me.jpg"))
    says(page, "like me.jpg")


def test_a_wrong_file_gets_a_friendly_message_and_the_photograph_stays(
    visit: Callable[..., Any], pictures: Path
) -> None:
    page = visit()
    page.locator("#photo input[type=file]").set_input_files(str(pictures / "notes.jpg"))
    toast = page.get_by_test_id("toast-body")
    playwright.expect(toast).to_contain_text("notes.jpg is not a JPEG, PNG, WebP, TIFF or BMP picture")
    assert "/tmp" not in toast.inner_text()
    says(page, "surprise.*512 × 512")
    give(page, pictures / "wall.png", "No face found")


def test_two_visitors_do_not_mix(visit: Callable[..., Any], pictures: Path) -> None:
    one, two = visit(), visit()
    give(one, pictures / "two.png", "480 × 260")
    give(two, pictures / "me.jpg", "260 × 260")
    one.get_by_text("Fear", exact=True).first.click()
    two.get_by_text("Disgust", exact=True).first.click()
    says(one, "fear.*480 × 260")
    says(two, "disgust.*260 × 260")


def test_everything_is_reached_and_done_by_keyboard(visit: Callable[..., Any]) -> None:
    page = visit()
    met, here = set[str](), "document.activeElement"
    for _ in range(60):
        page.keyboard.press("Tab")
        met.add(page.evaluate(f"({here}.closest('[id]:not(input)') || {here}).id"))
        if page.evaluate(f"{here}.value") == "anger":
            page.keyboard.press("Space")
            says(page, "anger")
        if page.evaluate(f"{here}.getAttribute('aria-label')") == "range slider for Intensity":
            page.keyboard.press("ArrowRight")
            says(page, r"anger.*intensity 0\.7")
    assert {"photo", "undo", "reset", "save", "strip", "expression", "intensity", "browInnerUp"} <= met
    says(page, r"anger.*intensity 0\.7")


def test_controls_have_names(visit: Callable[..., Any]) -> None:
    page = visit()
    unnamed = page.evaluate("""() => [...document.querySelectorAll('button, input')].filter(e => e.offsetParent
        && !(e.getAttribute('aria-label') || e.innerText || e.labels?.[0]?.innerText || e.title
             || e.querySelector('img[alt]'))).map(e => e.outerHTML.slice(0, 200))""")
    assert unnamed == []


@pytest.mark.parametrize(("width", "scheme"), [(360, "light"), (1600, "light"), (1600, "dark")])
def test_the_page_fits_the_window(visit: Callable[..., Any], width: int, scheme: str) -> None:
    page = visit(width, 740 if width == 360 else 1000, scheme)
    keep(page, f"{scheme}-{width}")
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_the_picture_stays_in_sight_on_a_phone(visit: Callable[..., Any]) -> None:
    page = visit(360, 740)
    page.locator("#browInnerUp").scroll_into_view_if_needed()
    assert page.locator("#viewer").bounding_box()["y"] >= 0


def test_models_are_compared(visit: Callable[..., Any]) -> None:
    page = visit()
    page.get_by_role("tab", name="Compare").click()
    page.get_by_role("button", name="Compare").click()
    playwright.expect(page.locator(".caption-label", has_text="other")).to_be_visible()
    keep(page, "compare")


def test_a_batch_comes_back_as_a_zip(visit: Callable[..., Any], pictures: Path, tmp_path: Path) -> None:
    page = visit()
    page.get_by_role("tab", name="Batch").click()
    files = [str(pictures / name) for name in ("me.jpg", "two.png", "notes.jpg", "wall.png")]
    page.locator(".tabitem:visible input[type=file]").first.set_input_files(files)
    page.get_by_text("wall", exact=False).first.wait_for()
    page.click("#batch-go")
    page.get_by_text("2 of 4 photographs edited").wait_for()
    playwright.expect(page.get_by_text("no face found")).to_be_visible()
    keep(page, "batch")
    with page.expect_download() as waiting:
        page.locator("#batch-zip a").first.click()
    waiting.value.save_as(tmp_path / "out.zip")
    with zipfile.ZipFile(tmp_path / "out.zip") as packed:
        assert sorted(packed.namelist()) == ["me.jpg", "two.png"]
        typed("edit", pictures / "me.jpg", "--to", "happiness", "-o", tmp_path / "cli.jpg")
        assert packed.read("me.jpg") == (tmp_path / "cli.jpg").read_bytes()
