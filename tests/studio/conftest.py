"""A studio that runs, and pictures to give it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

pytest.importorskip("gradio", reason='needs pip install "mien[studio]"')

from running import Running

EXAMPLE = Path(__file__).parents[2] / "examples" / "astronaut.png"


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
    """One face (me.jpg), two faces (two.png), none (wall.png), and a file that is no picture (notes.jpg)."""
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
    return folder
