"""The fuzzers' targets, on their seeds and on a few blind mutations of each; fuzz.py looks for longer, and guided."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from fuzz import TARGETS, seeds, tried
from watch import SOAK, watched

NEEDS = {"manifest": ("torch", "pyarrow"), "checkpoint": ("torch", "safetensors", "pyarrow"), "clip": ("av",)}


def mutated(data: bytes, draw: np.random.Generator) -> bytes:
    """A few bytes changed, taken out, doubled, or cut off behind."""
    into = bytearray(data)
    for _ in range(int(draw.integers(1, 6))):
        at, size = int(draw.integers(0, len(into) + 1)), int(draw.integers(1, 9))
        new = [b"", draw.bytes(size), into[at : at + size] * 2, b"\xff" * size, bytes(size)][int(draw.integers(5))]
        into[at : at + size] = new
        if draw.random() < 0.05:
            del into[at:]
    return bytes(into)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", TARGETS)
def test_nothing_but_a_mistake_comes_of_mutated_bytes(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for wing in NEEDS.get(name, ()):
        pytest.importorskip(wing)
    sound = list(seeds(name))
    outcomes = set()
    for number, data in enumerate(sound):
        outcomes.add(watched(f"{name} seed {number}", lambda data=data: tried(name, data)))
    assert True in outcomes
    draw = np.random.default_rng(None if SOAK else 5)
    count = 2000 if SOAK else 60  # in a soak, fuzz.py goes on from here, guided
    for number in range(count):
        data = mutated(sound[int(draw.integers(len(sound)))], draw)
        watched(f"{name} {number}", lambda data=data: tried(name, data))
