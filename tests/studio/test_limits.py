"""A full queue, a visit that was left alone, and a studio that is killed."""

from __future__ import annotations

import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from looking import PATIENCE, expect, keep, says
from running import Running

from mien.studio.serve import private_folder


class Edits:
    """Edits through HTTP, asked for by hand."""

    def __init__(self, url: str, photo: Path) -> None:
        self.api = httpx.Client(base_url=f"{url}/gradio_api", timeout=PATIENCE / 1000)
        (self.path,) = self.api.post("/upload", files={"files": photo.open("rb")}).json()

    def ask(self, _: int = 0) -> httpx.Response:
        photo = {"path": self.path, "meta": {"_type": "gradio.FileData"}}
        return self.api.post("/call/edit", json={"data": [photo, "anger", None, None, 1.0, "all", "flowfill"]})

    def answer(self, asked: httpx.Response) -> str:
        return self.api.get(f"/call/edit/{asked.json()['event_id']}").text


def test_a_full_queue_is_told_and_nothing_that_was_let_in_is_lost(
    visit: Callable[..., Any], pictures: Path, tmp_path: Path
) -> None:
    running = Running("--queue", "1", "--at-once", "1", TMPDIR=str(tmp_path))
    try:
        page = visit(url=running.url)
        edits, over, told = Edits(running.url, pictures / "two.png"), threading.Event(), []

        def flood(_: int) -> list[str]:
            answers = []
            while not over.is_set():
                asked = edits.ask()
                if asked.status_code == 503:
                    told.append(asked.json()["detail"])
                else:
                    answers.append(edits.answer(asked))
            return answers

        with ThreadPoolExecutor(4) as pool:
            floods = [pool.submit(flood, number) for number in range(4)]
            try:
                toast = page.get_by_test_id("toast-body").filter(has_text="busy. Please try again")
                for name in ("Anger", "Fear", "Sadness", "Disgust", "Neutral") * 10:
                    page.get_by_text(name, exact=True).first.click()
                    page.wait_for_timeout(500)
                    if toast.count():
                        break
                keep(page, "queue")
                assert toast.count()
            finally:
                over.set()
        answers = [answer for each in floods for answer in each.result()]
        assert answers
        assert all("event: complete" in answer for answer in answers)
        assert set(told) == {"Queue is full. Max size is 1 and size is 1."}
        page.get_by_text("Happiness", exact=True).first.click()
        says(page, "happiness")
    finally:
        running.stop()


def test_a_visit_left_alone_is_deleted_and_a_killed_studio_leaves_nothing(
    visit: Callable[..., Any], pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    user, temporary = tmp_path / "user", tmp_path / "temporary"
    user.mkdir()
    temporary.mkdir()
    shutil.copyfile(pictures / "two.png", user / "two.png")
    running = Running("--keep-minutes", "0.05", cwd=user, TMPDIR=str(temporary))
    try:
        page = visit(url=running.url)
        patience = time.monotonic() + PATIENCE / 1000
        while list(temporary.glob("mien-studio-*/*/photo")) and time.monotonic() < patience:
            time.sleep(0.2)
        assert not list(temporary.glob("mien-studio-*/*/photo"))
        page.get_by_text("Anger", exact=True).first.click()
        expect(page.get_by_test_id("toast-body")).to_contain_text("left alone for long")
        page.close()

        edits = Edits(running.url, user / "two.png")
        with ThreadPoolExecutor(3) as pool:
            asked = list(pool.map(edits.ask, range(3)))
        assert "event: complete" in edits.answer(asked[0])
    finally:
        running.kill()  # in the midst of the others
    assert [path.name for path in user.iterdir()] == ["two.png"]
    assert (user / "two.png").read_bytes() == (pictures / "two.png").read_bytes()
    (left,) = temporary.glob("mien-studio-*")

    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    monkeypatch.setenv("GRADIO_TEMP_DIR", "")
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    with private_folder() as folder:
        assert not left.exists()
        assert list(temporary.glob("mien-studio-*")) == [folder]
    assert not list(temporary.glob("mien-studio-*"))
