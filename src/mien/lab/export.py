"""Trained methods and readers -> ``.onnx`` files that describe themselves."""

from __future__ import annotations

import io
import json
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from mien import __version__
from mien.expressions import BLENDSHAPES, EXPRESSIONS, TEMPLATE
from mien.lab.checkpoint import Progress
from mien.lab.faces import Faces
from mien.lab.method import Graph, Method
from mien.lab.render import Render
from mien.model import Model

OPSET = 18


class EditGraph(nn.Module):
    """``Method.edit`` on plain tensors: source fields, target fields, intensity -> flow and delta, or image."""

    def __init__(self, method: Method) -> None:
        super().__init__()
        self.method = method
        self.inputs = [f"source_{f}" for f in method.source_fields] + [f"target_{f}" for f in method.condition]

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        count = len(self.method.source_fields)
        source = Faces(**dict(zip(self.method.source_fields, tensors[:count], strict=True)))
        target = Faces(**dict(zip(self.method.condition, tensors[count:-1], strict=True)))
        edit = self.method.edit(source, target, tensors[-1])
        return (edit.image,) if edit.flow is None or edit.delta is None else (edit.flow, edit.delta)


def export(method: Method, progress: Progress, path: Path, half: bool = True) -> None:
    """Write ``method`` as an edit model, or as a reader where it has nothing to edit; ``half``: weights in fp16."""
    method = method.eval()
    about = {
        "mien": "edit" if method.condition else "reader",
        "name": progress.method,
        "version": __version__,
        "size": method.config.size,
        "template": TEMPLATE,
        "licence": "Apache-2.0",
        "images_seen": progress.images,
        "data": progress.data,
        "config": progress.config,
    }
    graph = method.graph() or (edit_graph(method) if method.condition else reader_graph(method))
    write_graph(graph, path, about | graph.about, half)


def weights(model: Model) -> tuple[str, dict[str, Tensor]]:
    """The way back: whose networks ``model`` holds, and their weights by name, as exactly as they are stored.

    Raises MienError where it is no model. Weights that the export has folded into others are not there by name.
    """
    name = model.about["name"]
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(model.path).graph.initializer}
    bare = {key.removeprefix("method.").removesuffix("_half"): value for key, value in tensors.items()}
    return name, {key: torch.from_numpy(value.astype(np.float32)) for key, value in bare.items()}


def edit_graph(method: Method) -> Graph:
    """``method.edit`` as a graph: the fields it reads and an intensity -> flow and delta, or an image."""
    module = EditGraph(method)
    have = sample(method.config.size).present()
    tensors = [have[f] for f in method.source_fields] + [have[f] for f in method.condition] + [torch.ones(2)]
    with torch.no_grad():
        outputs = ["flow", "delta"] if len(module(*tensors)) == 2 else ["image"]
    about = {
        "source": method.source_fields,
        "target": method.condition,
        "expressions": EXPRESSIONS,
        "knows": method.knows,
        "blendshapes": BLENDSHAPES,
    }
    return Graph(module, tensors, [*module.inputs, "intensity"], outputs, about=about)


def reader_graph(method: Method) -> Graph:
    """A reader's ``forward`` as a graph: image (B, 3, S, S) -> what it reads."""
    size = method.config.size
    return Graph(method, [torch.zeros(2, 3, size, size)], ["image"], ["read"])


def export_render(path: Path) -> None:
    """Write the graph of ``mien.lab.render``."""
    size, tensors = 8, [torch.zeros(1, 20, 30, 3, dtype=torch.uint8), torch.eye(2, 3), torch.eye(2)]
    tensors += [torch.ones(1, 1, size, size), torch.zeros(1, 2, size, size), torch.zeros(1, 3, size, size)]
    dynamic = {"photo": {1: "height", 2: "width"}, "edited": {1: "height", 2: "width"}}
    dynamic |= {name: {2: "size", 3: "size"} for name in ("weight", "flow", "delta")}
    about = {"mien": "render", "name": "render", "version": __version__, "licence": "Apache-2.0"}
    names = ["photo", "to_crop", "to_photo", "weight", "flow", "delta"]
    write_graph(Graph(Render(), tensors, names, ["edited"], dynamic), path, about, half=False)


def write_graph(graph: Graph, path: Path, about: dict[str, Any], half: bool) -> None:
    """Trace ``graph``, write what it is into the file's metadata, check it and put it in place whole."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of constants that the trace keeps, as it should
        torch.onnx.export(
            graph.module,
            tuple(graph.tensors),
            buffer,  # type: ignore[arg-type]
            input_names=graph.inputs,
            output_names=graph.outputs,
            dynamic_axes=graph.dynamic or {name: {0: "batch"} for name in [*graph.inputs, *graph.outputs]},
            opset_version=OPSET,
            dynamo=False,
        )
    model = onnx.load_from_string(buffer.getvalue())
    if half:
        store_half(model)
    helper.set_model_props(model, {k: v if isinstance(v, str) else json.dumps(v) for k, v in about.items()})
    onnx.checker.check_model(model)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        aside.write_bytes(model.SerializeToString())
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def store_half(model: onnx.ModelProto, least: int = 1024) -> None:
    """Store float weights of ``least`` values or more as fp16, each followed by a cast: half the file."""
    graph, casts = model.graph, []
    for tensor in graph.initializer:
        values = numpy_helper.to_array(tensor)
        if tensor.data_type != TensorProto.FLOAT or values.size < least or np.abs(values).max() > 6e4:
            continue
        stored = numpy_helper.from_array(values.astype(np.float16), tensor.name + "_half")
        casts.append(helper.make_node("Cast", [stored.name], [tensor.name], to=TensorProto.FLOAT))
        tensor.CopyFrom(stored)
    for cast in reversed(casts):
        graph.node.insert(0, cast)


def sample(size: int, count: int = 2) -> Faces:
    """Made-up faces with every field, to trace and to test with."""
    return Faces(
        image=torch.rand(count, 3, size, size) * 2 - 1,
        emotion=torch.arange(count) % len(EXPRESSIONS),
        blendshapes=torch.rand(count, len(BLENDSHAPES)),
        landmarks=torch.rand(count, 68, 2),
        identity=torch.arange(count),
        regions=torch.zeros(count, size, size, dtype=torch.uint8),
    )
