"""How tests look at a page: Chromium, and what they do again and again in it."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from mien.cli import main

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"),
    *("--disable-sync", "--disable-dev-shm-usage", "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1"),
    *("--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"),
]
PATIENCE = 60_000
"""Milliseconds that a busy machine may take."""
SCREENS = Path(__file__).parents[2] / "out" / "studio"


def says(page: Any, words: str, where: str = "#status") -> None:
    """Wait until the line below the picture, or another, says so."""
    expect(page.locator(where)).to_contain_text(re.compile(words))


def expect(locator: Any) -> Any:
    """Playwright's ``expect``, patient."""
    from playwright.sync_api import expect as expected

    expected.set_options(timeout=PATIENCE)
    return expected(locator)


def give(page: Any, path: Path, words: str) -> None:
    """Upload a photograph and wait for what is said of it."""
    page.locator("#photo input[type=file]").set_input_files(str(path))
    says(page, words)


def shown(page: Any) -> list[str]:
    """Addresses of the pictures before and after."""
    return page.locator("#viewer img").evaluate_all("all => all.map(image => image.src)")


def saved(page: Any, button: str, folder: Path) -> Path:
    """What a button or link downloads, under the name that it suggests."""
    with page.expect_download() as waiting:
        page.locator(button).first.click()
    waiting.value.save_as(folder / waiting.value.suggested_filename)
    return folder / waiting.value.suggested_filename


def typed(*words: object) -> None:
    """Run a command of mien's that must end well."""
    with pytest.raises(SystemExit) as end:
        main([str(word) for word in words])
    assert not end.value.code


def keep(page: Any, name: str) -> None:
    """A screenshot to look at, once the page has come to rest."""
    SCREENS.mkdir(parents=True, exist_ok=True)
    page.wait_for_timeout(600)
    page.screenshot(path=SCREENS / f"{name}.png", full_page=True)


def focused(page: Any) -> Any:
    """What has the keyboard: the nearest id, the value, the name, the role and the text."""
    return page.evaluate("""() => {
        const e = document.activeElement, home = e.closest('[id]:not(input):not([id^=component])');
        return {id: home?.id, value: e.value, name: e.getAttribute('aria-label'), role: e.role, text: e.innerText};
    }""")
