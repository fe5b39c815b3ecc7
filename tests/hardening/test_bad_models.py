"""Models from elsewhere: opened if they are what they say, refused in one line if not; files beside them stay shut."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from watch import watched

from mien.editor import Editor
from mien.errors import MienError
from mien.model import LARGEST, Model, shipped

onnx = pytest.importorskip("onnx")
EXAMPLE = Path(__file__).parents[2] / "examples" / "astronaut.png"
Change = Callable[[object], None]


def metadata(**said: object) -> Change:
    """Says something else; None: says nothing of it."""

    def change(model: object) -> None:
        about = {entry.key: entry.value for entry in model.metadata_props}  # type: ignore[attr-defined]
        about |= {key: value if isinstance(value, str) else json.dumps(value) for key, value in said.items()}
        onnx.helper.set_model_props(model, {k: v for k, v in about.items() if said.get(k, 0) is not None})

    return change


def outside(place: str) -> Change:
    def change(model: object) -> None:
        tensor = model.graph.initializer[0]  # type: ignore[attr-defined]
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        entry = tensor.external_data.add()
        entry.key, entry.value = "location", place

    return change


def opset(model: object) -> None:
    model.opset_import[0].version = 9999  # type: ignore[attr-defined]


def renamed(model: object) -> None:
    node = next(n for n in model.graph.node if "flow" in n.output)  # type: ignore[attr-defined]
    node.output[list(node.output).index("flow")] = "wolf"
    next(o for o in model.graph.output if o.name == "flow").name = "wolf"  # type: ignore[attr-defined]


def shapes(model: object) -> None:
    weight = max(model.graph.initializer, key=lambda t: len(t.raw_data))  # type: ignore[attr-defined]
    weight.dims[0] += 1


def no_numbers(model: object) -> None:
    for weight in model.graph.initializer:  # type: ignore[attr-defined]
        values = onnx.numpy_helper.to_array(weight)
        if values.dtype.kind == "f" and values.size > 1000:
            weight.CopyFrom(onnx.numpy_helper.from_array(np.full_like(values, np.nan), weight.name))


def no_nodes(model: object) -> None:
    del model.graph.node[:]  # type: ignore[attr-defined]


CHANGES: dict[str, Change] = {
    "opset": opset,
    "renamed": renamed,
    "shapes": shapes,
    "no-numbers": no_numbers,
    "no-nodes": no_nodes,
    "outside": outside("w.bin"),
    "outside-absolute": outside("/etc/passwd"),
    "outside-above": outside("../../etc/passwd"),
    "size-lies": metadata(size=64),
    "size-is-no-number": metadata(size="large"),
    "size-negative": metadata(size=-128),
    "size-huge": metadata(size=10**9),
    "size-missing": metadata(size=None),
    "name-missing": metadata(name=None),
    "target-missing": metadata(target=None),
    "target-of-numbers": metadata(target=7),
    "kind-lies": metadata(mien="reader"),
    "kind-missing": metadata(mien=None),
    "no-text": metadata(novel="no text"),
    "nested": metadata(size="[" * 100_000),
    "digits": metadata(size="9" * 100_000),
    "reads-what-nobody-has": metadata(target=["emotion"], knows=[]),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_model_that_lies_is_refused_in_one_line(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "w.bin").write_bytes(bytes(10_000_000))
    model = onnx.load(shipped("flowfill").path)
    CHANGES[name](model)
    path = tmp_path / "other.onnx"
    path.write_bytes(model.SerializeToString().replace(b"no text", b"no\xfftext"))
    with pytest.raises(MienError) as error:
        watched(name, lambda: Editor(str(path)).edit(EXAMPLE, "happiness"))
    assert "\n" not in str(error.value)
    assert ("another file" in str(error.value)) == name.startswith("outside")


def test_a_model_cut_short_anywhere_is_refused(tmp_path: Path) -> None:
    whole, path = shipped("render").path.read_bytes(), tmp_path / "cut.onnx"
    for end in range(0, len(whole), max(len(whole) // 40, 1)):
        path.write_bytes(whole[:end])
        with pytest.raises(MienError, match=r"cut\.onnx"):
            watched(f"cut-onnx-{end}", lambda: Model(path).about)


def test_much_metadata_is_read_and_too_much_is_refused_unread(tmp_path: Path) -> None:
    model = onnx.load(shipped("render").path)
    metadata(novel="x" * 20_000_000)(model)
    path = tmp_path / "talks.onnx"
    path.write_bytes(model.SerializeToString())
    assert watched("20 MB of metadata", lambda: Model(path).about)["name"] == "render"
    with path.open("r+b") as file:
        file.truncate(LARGEST + 1)  # sparse: a gigabyte would do the same
    with pytest.raises(MienError, match="larger"):
        watched("large model", lambda: Model(path).about)


def test_a_model_named_with_its_sha256_is_that_model_or_none(tmp_path: Path) -> None:
    path = tmp_path / "mine.onnx"
    path.write_bytes(shipped("flowfill").path.read_bytes())
    digest = sha256(path.read_bytes()).hexdigest()
    assert Editor(f"{path}#sha256={digest.upper()}").model.about["name"] == "flowfill"
    path.write_bytes(path.read_bytes() + b"\0")
    for name, told in (
        (f"{path}#sha256={digest}", "its SHA-256 is"),
        (f"{path}#sha256={digest[:60]}", "64 hexadecimal"),
        (f"{path}#sha256=", "64 hexadecimal"),
        (f"flowfill#sha256={digest}", "only an .onnx file"),
    ):
        with pytest.raises(MienError, match=told):
            Editor(name)


def test_pipes_and_folders_are_no_models(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.onnx")
    (tmp_path / "folder.onnx").mkdir()
    for name in ("pipe.onnx", "folder.onnx", "-absent\n.onnx"):
        with pytest.raises(MienError):
            Editor(str(tmp_path / name))
