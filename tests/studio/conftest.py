"""A studio that runs, pictures to give it, and a browser to look at it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

pytest.importorskip("gradio", reason='needs pip install "mien[studio]"')

from looking import CHROMIUM, FLAGS, PATIENCE
from running import Running

EXAMPLE = Path(__file__).parents[2] / "examples" / "astronaut.png"
KNOWN = "localStorage.setItem('mien-consent', '1')"
"""What the browser of a visitor remembers who has been here before."""


@pytest.fixture(scope="session")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One studio for all tests, with two models; its temporary files lie in a folder of the test's own."""
    folder = tmp_path_factory.mktemp("studio")
    other = folder / "other.onnx"
    shutil.copyfile(Path(__file__).parents[2] / "src" / "mien" / "weights" / "flowfill.onnx", other)
    running = Running(
        "--models", "flowfill", str(other), "--max-megabytes", "4", "--max-pixels", "3000000", TMPDIR=str(folder)
    )
    yield running
    running.stop()


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One face (me.jpg), two faces (two.png), none (wall.png), no picture (notes.jpg), and a camera's film."""
    folder = tmp_path_factory.mktemp("pictures")
    whole = Image.open(EXAMPLE).convert("RGB")
    head = whole.crop((100, 0, 360, 260))
    head.save(folder / "me.jpg", quality=92, comment="mine")
    pair = Image.new("RGB", (480, 260), (128, 128, 128))
    pair.paste(head, (0, 0))
    pair.paste(head.resize((200, 200)).transpose(Image.Transpose.FLIP_LEFT_RIGHT), (270, 30))
    pair.save(folder / "two.png")
    Image.new("RGB", (200, 200), (90, 120, 60)).save(folder / "wall.png")
    (folder / "notes.jpg").write_text("not a picture")
    frame = Image.new("RGB", (640, 480), (128, 128, 128))
    frame.paste(head.resize((480, 480)), (80, 0))
    frame.save(folder / "frame.jpg", quality=95)
    (folder / "camera.mjpeg").write_bytes((folder / "frame.jpg").read_bytes() * 10)
    return folder


@pytest.fixture(scope="module")
def browser(pictures: Path) -> Iterator[Any]:
    """Chromium, with a film in place of a camera."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    if CHROMIUM is None:
        pytest.skip("needs Chromium (apt-get install chromium)")
    film = f"--use-file-for-fake-video-capture={pictures / 'camera.mjpeg'}"
    with playwright.sync_playwright() as player:
        chromium = player.chromium.launch(executable_path=CHROMIUM, args=[*FLAGS, film])
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def usual(browser: Any) -> Any:
    """A browser that has been here before."""
    context = browser.new_context()
    context.add_init_script(KNOWN)
    return context


@pytest.fixture
def visit(browser: Any, usual: Any, request: pytest.FixtureRequest) -> Iterator[Callable[..., Any]]:
    """Opens the page as a visitor, once the example is shown. No request may leave the machine, no script fail.

    new: in a browser that was never here. url: of another studio than that for all tests.
    """
    pages, strays = [], []

    def open_page(width: int = 1280, height: int = 900, scheme: str = "light", new: bool = False, url: str = "") -> Any:
        url = url or request.getfixturevalue("studio").url
        context = browser.new_context() if new else usual
        context.grant_permissions(["clipboard-read", "clipboard-write", "camera"])
        page = context.new_page()
        pages.append(page)
        page.set_viewport_size({"width": width, "height": height})
        page.emulate_media(color_scheme=scheme)
        page.set_default_timeout(PATIENCE)
        page.on("request", lambda r: strays.append(r.url) if not r.url.startswith((url, "data:", "blob:")) else 0)
        page.on("pageerror", lambda error: strays.append(str(error)))
        page.goto(url)
        page.wait_for_selector("#strip img")
        return page

    yield open_page
    for page in pages:
        page.close() if page.context is usual else page.context.close()
    assert not strays
