"""Drawn faces and one thread for the lab's tests; without torch they are not collected."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

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
