"""Manifests and checkpoints that are damaged, lie, or come from elsewhere; two trainings in one folder."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jobs import JOBS
from pictures import png
from PIL import Image
from watch import watched

pytest.importorskip("torch")
pa = pytest.importorskip("pyarrow")
import pyarrow.parquet as pq  # noqa: E402
import torch  # noqa: E402
from safetensors.torch import save_file  # noqa: E402

from mien.errors import MienError  # noqa: E402
from mien.lab import checkpoint, commands, data  # noqa: E402
from mien.lab.alone import alone  # noqa: E402
from mien.lab.methods.stargan import StarGAN  # noqa: E402

FIELDS = frozenset({"image", "emotion", "blendshapes", "landmarks", "identity"})


def face() -> bytes:
    file = BytesIO()
    Image.new("RGB", (32, 32), (90, 80, 70)).save(file, "PNG")
    return file.getvalue()


def columns(**other: Any) -> dict[str, Any]:
    good: dict[str, Any] = {
        "name": ["a", "b"],
        "split": ["train"] * 2,
        "image": [face()] * 2,
        "emotion": ["happiness", "neutral"],
        "blendshapes": [[0.5] * 52] * 2,
        "landmarks": [[0.5] * 136] * 2,
        "identity": ["x", "y"],
    }
    return {key: value for key, value in {**good, **other}.items() if value is not None}


BAD: dict[str, dict[str, Any]] = {
    **{f"no-{name}": {name: None} for name in columns()},
    "name-of-numbers": {"name": [1, 2]},
    "split-of-numbers": {"split": [1, 2]},
    "emotion-of-numbers": {"emotion": [1, 2]},
    "image-of-text": {"image": ["a", "b"]},
    "image-junk": {"image": [face(), b"junk"]},
    "image-bomb": {"image": [face(), png(50_000, 50_000, bytes(99))]},
    "blendshapes-of-text": {"blendshapes": ["a", "b"]},
    "blendshapes-nan": {"blendshapes": [[0.5] * 52, [float("nan")] * 52]},
    "blendshapes-infinite": {"blendshapes": [[0.5] * 52, [float("inf")] * 52]},
    "blendshapes-short": {"blendshapes": [[0.5] * 52, [0.5] * 51]},
    "blendshapes-shared-out": {"blendshapes": [[0.5] * 51, [0.5] * 53]},
    "blendshapes-with-a-hole": {"blendshapes": [[0.5] * 52, [0.5] * 51 + [None]]},
    "landmarks-nested": {"landmarks": [[[0.5, 0.5]] * 68] * 2},
    "landmarks-number": {"landmarks": [1.0, 2.0]},
    "identity-of-lists": {"identity": [["x"], ["y"]]},
    "votes-of-text": {"emotion": None, "votes": ["a", "b"]},
    "split-unknown": {"split": ["training"] * 2},
    "person-in-two-splits": {"identity": ["x", "x"], "split": ["train", "test"]},
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_manifest_is_refused_in_one_line(name: str, tmp_path: Path) -> None:
    path = tmp_path / "faces.parquet"
    pq.write_table(pa.table(columns(**BAD[name])), path)
    with pytest.raises(MienError, match=r"faces\.parquet") as error:
        watched(name, lambda: data.load(path, "train", FIELDS, 32))
    assert "\n" not in str(error.value)


def test_names_that_are_no_text_and_pipes_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "faces.parquet"
    pq.write_table(pa.table(columns(name=["abcdefgh", "ijklmnop"])), path, compression="none", use_dictionary=False)
    path.write_bytes(path.read_bytes().replace(b"ijklmnop", b"ijkl\xffnop"))
    pipe = tmp_path / "pipe.parquet"
    os.mkfifo(pipe)
    for place in (path, pipe, tmp_path):
        with pytest.raises(MienError):
            data.load(place, "train", FIELDS, 32)


@pytest.mark.parametrize("names", [["a", "a"], ["/etc/passwd", "../../a"], ["a\nb", "-o"]])
def test_names_are_labels_and_never_paths(names: list[str], tmp_path: Path) -> None:
    path = tmp_path / "faces.parquet"
    pq.write_table(pa.table(columns(name=names)), path)
    assert data.load(path, "train", FIELDS, 32).names == names
    assert list(tmp_path.iterdir()) == [path]


def test_a_manifest_cut_short_anywhere_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "faces.parquet"
    pq.write_table(pa.table(columns()), path)
    whole = path.read_bytes()
    for end in range(0, len(whole), max(len(whole) // 50, 10)):
        path.write_bytes(whole[:end])
        with pytest.raises(MienError, match=r"faces\.parquet"):
            watched(f"cut-parquet-{end}", lambda: data.load(path, "train", FIELDS, 32))


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    method = StarGAN(StarGAN.Config(size=32, width=4, blocks=1))
    config = {"size": 32, "width": 4, "blocks": 1}
    tensors = {f"method/{key}": value for key, value in method.state_dict().items()}
    path = tmp_path / "checkpoint.safetensors"
    checkpoint.save(path, tensors, checkpoint.Progress("stargan", config, "digest", "0.1"))
    assert commands.restore(path)[1].method == "stargan"
    return path


def test_every_flipped_bit_of_a_checkpoint_is_noticed(kept: Path) -> None:
    whole, draw = kept.read_bytes(), np.random.default_rng(3)
    start = 8 + int.from_bytes(whole[:8], "little")
    for at in draw.integers(start, len(whole), 20):
        kept.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << int(draw.integers(8))]) + whole[at + 1 :])
        with pytest.raises(MienError, match="checksum"):
            watched("bit in a tensor", lambda: commands.restore(kept))
    for at in draw.integers(0, start, 30):  # the header: refused, or a harmless space
        kept.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << int(draw.integers(8))]) + whole[at + 1 :])
        try:
            watched("bit in a header", lambda: commands.restore(kept))
        except MienError as error:
            assert "\n" not in str(error)  # noqa: PT017
    for end in range(0, len(whole), len(whole) // 20):
        kept.write_bytes(whole[:end])
        with pytest.raises(MienError, match="not a checkpoint"):
            checkpoint.load(kept)


@pytest.mark.parametrize(
    "change",
    [
        {"method": "cyclegan"},
        {"method": "nosuch"},
        {"config": {"size": 32, "width": 4, "blocks": 2}},
        {"config": {"size": 32, "older": 1}},
        {"config": []},
        {"drop": "method/"},
        {"header": {"mien": "[" * 100_000}},
        {"header": {"mien": "7"}},
        {"header": {"mien": '{"method": "stargan", "newer": 1}'}},
        {"header": {}},
    ],
)
def test_a_checkpoint_of_something_else_is_refused_in_one_line(kept: Path, change: dict[str, Any]) -> None:
    tensors, progress = checkpoint.load(kept)
    about = progress.__dict__ | {key: value for key, value in change.items() if key in ("method", "config")}
    if "drop" in change:
        tensors.pop(next(key for key in tensors if key.startswith(change["drop"])))
    save_file(tensors, kept, metadata=change.get("header", {"mien": json.dumps(about)}))
    with pytest.raises(MienError) as error:
        watched("another checkpoint", lambda: commands.restore(kept))
    assert "\n" not in str(error.value)


def test_a_checkpoint_of_version_0_1_without_a_checksum_is_read(kept: Path) -> None:
    tensors, progress = checkpoint.load(kept)
    save_file(tensors, kept, metadata={"mien": json.dumps(progress.__dict__)})
    again = checkpoint.load(kept)[0]
    assert again.keys() == tensors.keys()
    assert all(torch.equal(again[name], tensor) for name, tensor in tensors.items())


@pytest.mark.parametrize("private", [False, True])
def test_a_private_training_keeps_no_pictures_and_no_paths(private: bool, tmp_path: Path) -> None:
    here, out = tmp_path / "here", tmp_path / "out"
    here.mkdir()
    JOBS["train"].reads(here)
    words = [str(word) for word in JOBS["train"].words(here, out)[1:]]
    commands.main("train", [*words, "--steps", "1", *(["--private"] if private else [])])
    assert (out / "samples").exists() != private
    for kept in (out / "log.jsonl", out / "checkpoint.safetensors"):
        assert str(tmp_path).encode() not in kept.read_bytes()


HOLD = """
import sys, time
from pathlib import Path
from mien.lab.alone import alone
with alone(Path(sys.argv[1]), ".checkpoint.safetensors.*"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_training_is_refused_until_the_first_is_dead(tmp_path: Path) -> None:
    run = tmp_path / "run"
    first = subprocess.Popen([sys.executable, "-c", HOLD, str(run)], stdout=subprocess.PIPE, text=True)
    try:
        assert first.stdout is not None
        assert first.stdout.readline() == "held\n"
        with pytest.raises(MienError, match="another process is at work"):
            commands.main("train", ["stargan", "--data", "faces.parquet", "--out", str(run)])
    finally:
        first.send_signal(signal.SIGKILL)
        first.wait()
    stray, other = run / f".checkpoint.safetensors.{first.pid}", run / "notes.txt"
    for path in (stray, other):
        path.write_text("mine")
    with alone(run, ".checkpoint.safetensors.*"):
        assert not stray.exists()
    assert list(run.iterdir()) == [other]


def test_a_mistake_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(MienError, match="absent"):
        commands.main("train", ["stargan", "--data", "absent.parquet", "--out", str(tmp_path / "run")])
    assert not (tmp_path / "run").exists()
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(MienError, match="not a checkpoint"):
        checkpoint.load(tmp_path / "pipe")
