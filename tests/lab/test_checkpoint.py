"""Checkpoints: whole or not at all, and never mistaken for one."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from mien.errors import MienError
from mien.lab import checkpoint
from mien.lab.checkpoint import Progress

PROGRESS = Progress("flowfill", {"size": 32, "widths": [8, 8]}, "a-digest", "0.1", step=7, images=28, seconds=1.5)
TENSORS = {"method/w": torch.randn(4, 3, 3, 3), "method/count": torch.tensor(3), "average/w": torch.randn(4).half()}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    checkpoint.save(tmp_path / "c.safetensors", TENSORS, PROGRESS)
    return tmp_path / "c.safetensors"


def test_gives_back_what_was_saved(file: Path) -> None:
    tensors, progress = checkpoint.load(file)
    assert progress == PROGRESS
    assert tensors.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert tensors[name].dtype == tensor.dtype
        assert torch.equal(tensors[name], tensor)


def test_saves_weights_in_channels_last_and_views(tmp_path: Path) -> None:
    weight = torch.randn(8, 4, 3, 3).to(memory_format=torch.channels_last)
    checkpoint.save(tmp_path / "c", {"a": weight, "b": weight[:2]}, PROGRESS)
    assert torch.equal(checkpoint.load(tmp_path / "c")[0]["a"], weight)
    assert torch.equal(checkpoint.load(tmp_path / "c")[0]["b"], weight[:2])


@pytest.mark.parametrize("keep", [0, 4, 8, 100, -1])
def test_a_truncated_file_is_named(file: Path, keep: int) -> None:
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(MienError, match=r"c\.safetensors: not a checkpoint of mien"):
        checkpoint.load(file)


def test_a_damaged_header_is_named_or_harmless(file: Path) -> None:
    """Any bit of the header may flip: one line, never another exception."""
    sound, rng = file.read_bytes(), random.Random(0)
    header = 8 + int.from_bytes(sound[:8], "little")
    refused: list[str] = []
    for _ in range(300):
        damaged = bytearray(sound)
        damaged[rng.randrange(header)] ^= 1 << rng.randrange(8)
        file.write_bytes(damaged)
        try:
            checkpoint.load(file)
        except MienError as error:
            refused.append(str(error))
    assert len(refused) > 100
    assert not any("\n" in message for message in refused)


def test_other_files_are_no_checkpoints(tmp_path: Path) -> None:
    save_file({"w": torch.ones(2)}, tmp_path / "foreign.safetensors")
    (tmp_path / "text").write_text("hello")
    for path in (tmp_path / "foreign.safetensors", tmp_path / "text", tmp_path / "absent", tmp_path):
        with pytest.raises(MienError, match="not a checkpoint of mien"):
            checkpoint.load(path)


@pytest.mark.parametrize("breaks", ["mien.lab.checkpoint.serialized", "os.fsync", "os.replace"])
def test_a_failed_save_leaves_the_old_file_and_nothing_else(
    file: Path, monkeypatch: pytest.MonkeyPatch, breaks: str
) -> None:
    before = file.read_bytes()

    def half_written(_: object, path: object = None, **__: object) -> None:
        if isinstance(path, Path) and path != file:
            path.write_bytes(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr(breaks, half_written)
    with pytest.raises(MienError, match="no space"):
        checkpoint.save(file, {"method/w": torch.zeros(2)}, PROGRESS)
    assert file.read_bytes() == before
    assert [entry.name for entry in file.parent.iterdir()] == [file.name]


KILLED = """
import resource, signal, sys, torch
from pathlib import Path
from mien.lab.checkpoint import Progress, save
signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # the system ends whoever writes a file of more than 100 kB
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
save(Path(sys.argv[1]), {"a": torch.zeros(1000, 1000)}, Progress("stargan", {}, "digest", "0.1"))
"""


def test_killed_while_it_writes_it_leaves_only_what_the_next_start_removes(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, tmp_path / "checkpoint.safetensors"], capture_output=True)
    assert done.returncode < 0, done.stderr
    left = list(tmp_path.iterdir())
    assert left
    assert left == list(tmp_path.glob(".checkpoint.safetensors.*"))
