"""Methods small enough to train in a test, and a trainer for them."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from mien.lab.data import FaceTable, load
from mien.lab.method import Method
from mien.lab.methods import METHODS, READERS
from mien.lab.trainer import Trainer

CONFIGS: dict[str, dict[str, Any]] = {
    "flowfill": {"size": 32, "width": 8},
    "stargan": {"size": 32, "width": 8, "blocks": 1, "critic_steps": 2},
    "muscles": {"size": 32, "widths": (8, 8, 8)},
    "emotion": {"size": 32, "widths": (8, 8, 8)},
}
ELSEWHERE = {"finder", "landmarks"}
"""Readers of whole photographs: they learn from another table, and test_finder.py holds them to the same contract."""

EVERY = [name for name in METHODS | READERS if name not in ELSEWHERE]
EDITS = [name for name in EVERY if (METHODS | READERS)[name].condition]
QUIET = Console(quiet=True)


def tiny(name: str, seed: int = 0) -> Method:
    """A tiny instance of the method called ``name``."""
    if name not in CONFIGS:
        pytest.fail(
            f"the contract suite does not know how small {name!r} can be: add it to CONFIGS in tests/lab/tiny.py"
        )
    torch.manual_seed(seed)
    kind = (METHODS | READERS)[name]
    return kind(kind.Config(**CONFIGS[name]))


@lru_cache
def faces(path: Path, split: str = "train", size: int = 32) -> FaceTable:
    """Drawn faces with every field."""
    return load(path, split, frozenset({"image", "emotion", "blendshapes", "landmarks", "identity"}), size)


def trainer_of(method: Method, path: Path, out: Path, name: str = "test", **recipe: Any) -> Trainer:
    """A trainer on the drawn faces that the method reads, for steps of four faces unless told otherwise."""
    table = faces(path, size=method.config.size)
    table = FaceTable(table.faces.only(*method.reads), table.names, table.digest)
    small = {"batch": 4, "bf16": False, "device": "cpu", "log_every": 1, "steps": 4}
    return Trainer(name, method, table, out, replace(method.recipe, **(small | recipe)))
