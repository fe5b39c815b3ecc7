"""Drawn faces and one thread for the lab's tests; without torch they are not collected."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from mien.lab.compare import Comparison

if find_spec("torch") is None or find_spec("pyarrow") is None:
    collect_ignore_glob = ["test_*.py"]
else:
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest of 256 drawn faces of 64 people."""
    from drawn import manifest

    return manifest(tmp_path_factory.mktemp("drawn") / "drawn.parquet")


@pytest.fixture(scope="session")
def stargan(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny trained stargan, exported."""
    from tiny import QUIET, tiny, trainer_of

    from mien.lab import commands
    from mien.lab.export import export

    folder = tmp_path_factory.mktemp("stargan")
    trainer_of(tiny("stargan"), drawn, folder, "stargan", steps=3).run(console=QUIET)
    export(*commands.restore(folder), folder / "mine.onnx")
    return str(folder / "mine.onnx")


@pytest.fixture(scope="session")
def made(stargan: str, drawn: Path) -> Comparison:
    """The drawn faces through that model, with a ceiling and three judges."""
    from panel import PANEL, wish
    from tiny import QUIET

    from mien.lab.compare import compare

    return compare([stargan], wish(drawn), PANEL, ["no such judge"], QUIET)
