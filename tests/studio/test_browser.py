"""The photo tab as a person meets it, in Chromium. Screenshots are kept in out/studio: look at them."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from looking import expect, focused, give, keep, saved, says, shown, typed
from PIL import Image

PASTE = """async data => {
    const blob = await (await fetch('data:image/png;base64,' + data)).blob();
    await navigator.clipboard.write([new ClipboardItem({'image/png': blob})]);
}"""


def test_the_first_visit_shows_an_example_before_and_after(visit: Callable[..., Any]) -> None:
    page = visit()
    says(page, "surprise.*512 × 512")
    assert len(set(shown(page))) == 2
    assert page.locator("#strip button img").count() == 7
    keep(page, "first")


def test_the_second_face_is_edited_and_nothing_else_and_the_download_is_the_command_lines(
    visit: Callable[..., Any], pictures: Path, tmp_path: Path
) -> None:
    page = visit()
    give(page, pictures / "two.png", "all 2 faces.*480 × 260")
    page.locator("#faces button").nth(2).click()
    says(page, "face 2 of 2")
    page.get_by_text("Surprise", exact=True).first.click()
    says(page, "surprise")
    before = shown(page)[1]
    box = page.locator("#intensity input[type=range]").bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.4, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + box["height"] / 2, steps=4)
    says(page, r"intensity 0\.[89]5?|intensity 0\.9")  # it answers while it is dragged
    page.mouse.up()
    assert shown(page)[1] != before
    keep(page, "second-face")
    intensity = float(page.locator("#intensity input[type=number]").input_value())
    says(page, f"intensity {intensity:g} ")
    mine = saved(page, "#save", tmp_path)
    assert mine.name == "two-surprise.png"
    words = ("--to", "surprise", "--intensity", intensity, "--face", 2, "-o", tmp_path / "cli.png")
    typed("edit", pictures / "two.png", *words)
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
    expect(page.locator("#code .cm-content").first).to_contain_text("--muscle browInnerUp=0.9")
    copies = page.locator("#code").get_by_role("button", name="Copy")
    copies.nth(0).click()
    command = page.evaluate("navigator.clipboard.readText()")
    copies.nth(1).click()
    python = page.evaluate("navigator.clipboard.readText()")
    mine = saved(page, "#save", tmp_path).rename(tmp_path / "studio.jpg")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "me.jpg").write_bytes((pictures / "me.jpg").read_bytes())
    typed(*command.split()[1:])
    written = tmp_path / "me-muscles.jpg"
    assert mine.read_bytes() == written.read_bytes()
    written.unlink()
    exec(python, {})
    assert mine.read_bytes() == written.read_bytes()


def test_undo_and_reset_go_back(visit: Callable[..., Any]) -> None:
    page = visit()
    page.get_by_text("Anger", exact=True).first.click()
    says(page, "anger")
    page.locator("#strip button").nth(2).click()
    says(page, "anger.*intensity 0.5")
    page.click("#undo")
    says(page, "anger.*intensity 1")
    page.click("#undo")
    says(page, "surprise.*intensity 1")
    expect(page.get_by_role("radio", name="Surprise")).to_be_checked()
    page.click("#reset")
    says(page, "as it was")
    assert len(set(shown(page))) == 1


def test_the_strip_is_made_anew_though_the_intensity_moves_at_once(visit: Callable[..., Any]) -> None:
    page = visit()
    old = page.locator("#strip img").nth(4).get_attribute("src")
    page.get_by_text("Anger", exact=True).first.click()
    says(page, "anger")
    page.locator("#intensity input[type=number]").fill("0.8")
    says(page, "anger.*intensity 0.8")
    expect(page.locator("#strip img").nth(4)).not_to_have_attribute("src", old)


def test_the_wipe_shows_more_of_before(visit: Callable[..., Any]) -> None:
    page = visit()
    after, handle = page.locator("#viewer img").nth(1), page.locator("#viewer .icon-wrap")
    clip = after.evaluate("image => image.style.clipPath")
    box = handle.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + 200, box["y"] + box["height"] / 2, steps=4)
    page.mouse.up()
    moved = after.evaluate("image => image.style.clipPath")
    assert float(moved.split()[3].rstrip("%)")) > float(clip.split()[3].rstrip("%)")) + 10


def test_presets_move_several_muscles_and_leave_the_others(visit: Callable[..., Any]) -> None:
    page = visit()
    brow = page.locator("#browInnerUp input[type=number]").input_value()
    page.get_by_role("button", name="Wide eyes").click()
    says(page, "muscles")
    assert page.locator("#browInnerUp input[type=number]").input_value() == brow
    page.get_by_role("tab", name="Eye").click()
    expect(page.locator("#eyeWideRight input[type=number]")).to_have_value("0.9")
    page.click("#undo")
    says(page, "surprise")


def test_left_and_right_move_together_unless_told_otherwise(visit: Callable[..., Any]) -> None:
    page = visit()
    left, right = (page.locator(f"#browOuterUp{side} input[type=number]") for side in ("Left", "Right"))
    left.fill("0.8")
    expect(right).to_have_value("0.8")
    page.get_by_label("Move left and right together").uncheck()
    before = shown(page)[1]
    right.fill("0.1")
    page.wait_for_function("src => document.querySelectorAll('#viewer img')[1].src !== src", arg=before)
    assert left.input_value() == "0.8"


def test_another_face_is_copied(visit: Callable[..., Any], pictures: Path) -> None:
    page = visit()
    page.get_by_text("Copy another face").click()
    page.locator("#reference input[type=file]").set_input_files(str(pictures / "me.jpg"))
    says(page, "like me.jpg")
    keep(page, "reference")


def test_a_photograph_is_pasted(visit: Callable[..., Any], pictures: Path) -> None:
    page = visit()
    page.evaluate(PASTE, base64.b64encode((pictures / "two.png").read_bytes()).decode())
    page.get_by_role("button", name="Paste from clipboard").first.click()
    says(page, "all 2 faces.*480 × 260")


def test_a_photograph_is_taken(visit: Callable[..., Any], tmp_path: Path) -> None:
    page = visit()
    page.locator("#photo").get_by_role("button", name="Capture from camera").click()
    page.locator("#photo").get_by_text("Click to Access Webcam").click()
    page.wait_for_function("document.querySelector('#photo video')?.videoWidth > 0")
    page.get_by_label("capture photo").click()
    says(page, "640 × 480")
    keep(page, "camera")
    assert Image.open(saved(page, "#save", tmp_path)).size == (640, 480)


def test_a_wrong_file_gets_a_friendly_message_and_the_photograph_stays(
    visit: Callable[..., Any], pictures: Path
) -> None:
    page = visit()
    page.locator("#photo input[type=file]").set_input_files(str(pictures / "notes.jpg"))
    toast = page.get_by_test_id("toast-body")
    expect(toast).to_contain_text("notes.jpg is not a JPEG, PNG, WebP, TIFF or BMP picture")
    assert "/tmp" not in toast.inner_text()
    says(page, "surprise.*512 × 512")
    give(page, pictures / "wall.png", "No face found")


def test_two_visitors_do_not_mix(visit: Callable[..., Any], pictures: Path) -> None:
    one, two = visit(), visit(new=True)
    two.keyboard.press("Enter")  # the page on consent
    give(one, pictures / "two.png", "480 × 260")
    give(two, pictures / "me.jpg", "260 × 260")
    one.get_by_text("Fear", exact=True).first.click()
    two.get_by_text("Disgust", exact=True).first.click()
    says(one, "fear.*480 × 260")
    says(two, "disgust.*260 × 260")


def test_everything_is_reached_and_done_by_keyboard(visit: Callable[..., Any]) -> None:
    page = visit()
    met = set[str]()
    for _ in range(70):
        page.keyboard.press("Tab")
        here = focused(page)
        met |= {here["id"], here["text"] or ""}
        if here["value"] == "anger":
            page.keyboard.press("Space")
            says(page, "anger")
        if here["name"] == "range slider for Intensity":
            page.keyboard.press("ArrowRight")
            says(page, r"anger.*intensity 1\.05")
    assert {"photo", "undo", "reset", "save", "strip", "expression", "intensity", "browInnerUp", "Smile"} <= met
    says(page, r"anger.*intensity 1\.05")


def test_controls_have_names(visit: Callable[..., Any]) -> None:
    page = visit()
    unnamed = page.evaluate("""() => [...document.querySelectorAll('button, input')].filter(e => e.offsetParent
        && !(e.getAttribute('aria-label') || e.innerText || e.labels?.[0]?.innerText || e.title
             || e.querySelector('img[alt]'))).map(e => e.outerHTML.slice(0, 200))""")
    assert unnamed == []


def test_the_picture_stays_in_sight_on_a_phone(visit: Callable[..., Any]) -> None:
    page = visit(360, 740)
    page.locator("#browInnerUp").scroll_into_view_if_needed()
    assert page.locator("#viewer").bounding_box()["y"] >= 0
