"""What tests of both wings share: the way to the real faces, where they are."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with real faces and outside judges; tests that need it are skipped where it is absent."""
    for folder in (os.environ.get("MIEN_SHARED"), ROOT.parent / "shared"):
        if folder and (Path(folder) / "data").is_dir():
            return Path(folder)
    pytest.skip("needs MIEN_SHARED or ../shared (real faces)")
