"""Models as files: an ``.onnx`` that says in its metadata what it is, what it reads and how large its crop is."""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from mien.errors import MienError

DEFAULT = "flowfill"
LARGEST = 256_000_000
"""Bytes of a model file, at most: ONNX Runtime needs several times as much memory to open one."""
Arrays = dict[str, np.ndarray]
_ELSEWHERE = re.compile(rb"(\n|\x8a\x80*\x00)(\x08|\x88\x80*\x00)location")
"""The key, in protobuf's bytes, that every tensor has whose values lie in another file."""
_CHANNELS = {"image": 3, "delta": 3, "flow": 2}


@dataclass(frozen=True)
class Model:
    """One ``.onnx`` file. It is opened at first use and stays open as long as the object lives.

    threads: how many compute; 0 leaves that to the environment variable MIEN_THREADS, and without it to ONNX Runtime,
    which takes a core each. sha256: what the file must have, in 64 hexadecimal digits; empty: any file will do.
    """

    path: Path
    threads: int = 0
    sha256: str = ""

    @cached_property
    def session(self) -> ort.InferenceSession:
        options = ort.SessionOptions()
        options.log_severity_level = 4
        usual = os.environ.get("MIEN_THREADS", "")
        options.intra_op_num_threads = self.threads or (int(usual) if usual.isdecimal() else 0)
        contents = self._contents()
        if _ELSEWHERE.search(contents):
            raise MienError(
                f"{self.path}: keeps weights in another file, which mien never opens; export it as one file"
            )
        try:
            session = ort.InferenceSession(contents, options, providers=["CPUExecutionProvider"])
            nodes = session.get_inputs() + session.get_outputs()
            _ = session.get_modelmeta().custom_metadata_map, [node.name for node in nodes]  # all of it is text
            return session
        except Exception as error:  # onnxruntime's own exceptions share no base class
            raise MienError(f"{self.path}: not a model that ONNX Runtime can open; export it again") from error

    def _contents(self) -> bytes:
        try:
            if self.path.exists() and not self.path.is_file():  # a pipe would block
                raise MienError(f"{self.path}: not a regular file; name an .onnx file")
            if self.path.stat().st_size > LARGEST:
                raise MienError(
                    f"{self.path}: larger than {LARGEST // 10**6} MB, too large for an edit model or reader"
                )
            contents = self.path.read_bytes()
        except OSError as error:
            raise MienError(f"{self.path}: cannot be read ({error.strerror or error})") from error
        if self.sha256 and (found := hashlib.sha256(contents).hexdigest()) != self.sha256.lower():
            raise MienError(f"{self.path}: its SHA-256 is {found}, not the one asked for; get the right file")
        return contents

    @cached_property
    def about(self) -> dict[str, Any]:
        """The metadata: name, version, size, licence, source and target fields, data."""
        stored = self.session.get_modelmeta().custom_metadata_map
        if "mien" not in stored:
            raise MienError(f"{self.path}: no model of mien (its metadata says nothing); export it with `mien export`")
        return {key: _parsed(value) for key, value in stored.items()}

    @property
    def size(self) -> int:
        """Side of the crop that the model reads, in pixels."""
        return int(self.about["size"])

    def run(self, inputs: Arrays) -> Arrays:
        """Run the graph on the named arrays that it asks for; others are ignored."""
        wanted = [node.name for node in self.session.get_inputs()]
        missing = [name for name in wanted if name not in inputs]
        if missing:
            raise MienError(f"{self.path}: asks for {', '.join(missing)}, which this edit does not give")
        outputs = [node.name for node in self.session.get_outputs()]
        try:
            values = self.session.run(outputs, {name: inputs[name] for name in wanted})
        except Exception as error:  # as above
            raise MienError(f"{self.path}: its graph cannot compute what an edit asks; export it again") from error
        if not all(np.isfinite(value).all() for value in values if getattr(value, "dtype", np.dtype(int)).kind == "f"):
            raise MienError(f"{self.path}: computes values that are no numbers; train or export it again")
        return dict(zip(outputs, values, strict=True))


def _parsed(value: str) -> Any:
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


@lru_cache(maxsize=16)
def shipped(name: str, threads: int = 0) -> Model:
    """A model that comes with mien; ``threads`` as in ``Model``."""
    path = Path(str(resources.files("mien") / "weights" / f"{name}.onnx"))
    if not path.is_file():
        raise MienError(f"no model {name!r}: choose one of {', '.join(edit_models())}, or give a path to an .onnx file")
    return Model(path, threads)


def edit_models() -> list[str]:
    """The names of the edit models that come with mien."""
    folder = Path(str(resources.files("mien") / "weights"))
    kinds = {path.stem: Model(path).about["mien"] for path in sorted(folder.glob("*.onnx"))}
    return [name for name, kind in kinds.items() if kind == "edit"]


def find_model(name: str) -> Model:
    """An edit model by name, or by path: ``FILE.onnx``, or ``FILE.onnx#sha256=DIGITS``, which is that file or none."""
    path, pinned, digest = name.partition("#sha256=")
    if pinned and not path.endswith(".onnx"):
        raise MienError(f"{name}: only an .onnx file is named with its SHA-256")
    if pinned and not re.fullmatch("[0-9a-fA-F]{64}", digest):
        raise MienError(f"{name}: a SHA-256 has 64 hexadecimal digits")
    model = Model(Path(path), sha256=digest) if path.endswith(".onnx") else shipped(name)
    if model.about["mien"] != "edit":
        raise MienError(f"{name}: a {model.about['mien']}, not an edit model; see `mien models`")
    _check(model, name)
    return model


def _check(model: Model, name: str) -> None:
    """Raises MienError where an edit model's metadata and its graph cannot be what an editor needs."""
    about, nodes = model.about, model.session.get_outputs()
    outputs, size = {node.name: node.shape for node in nodes}, about.get("size")
    told = (
        type(size) is int
        and 16 <= size <= 1024
        and all(isinstance(about.get(key), list) for key in ("source", "target"))
        and isinstance(about.get("name"), str)
    )
    shaped = all(
        len(shape) == 4 and shape[1] == _CHANNELS[key]
        for key, shape in outputs.items()
        if key in _CHANNELS and all(isinstance(side, int) for side in shape[1:])
    )
    if not (told and shaped and ("image" in outputs or {"flow", "delta"} <= outputs.keys())):
        raise MienError(f"{name}: its metadata or its outputs are not those of an edit model; export it again")


def picture(crops: np.ndarray) -> np.ndarray:
    """(B, S, S, 3) uint8 -> (B, 3, S, S) float32 in [-1, 1], as every model reads it."""
    return np.ascontiguousarray(crops.transpose(0, 3, 1, 2), np.float32) / 127.5 - 1
