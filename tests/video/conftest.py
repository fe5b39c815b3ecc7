"""What the tests of clips share."""

from __future__ import annotations

from pathlib import Path

import pytest
from clips import moving, write_clip

from mien.editor import Editor


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """As `mien edit` sets it for clips; here so that it does not stay set."""
    monkeypatch.setenv("MIEN_THREADS", "1")


@pytest.fixture(scope="session")
def editor() -> Editor:
    return Editor()


@pytest.fixture(scope="session")
def head(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six frames of a moving head, with sound."""
    return write_clip(tmp_path_factory.mktemp("clip") / "head.mp4", moving(6))
