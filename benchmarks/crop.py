"""The edit model by itself: milliseconds a crop by provider and precision, and how far each is from fp32.

python benchmarks/crop.py --photo examples/astronaut.png --threads 1
"""

from __future__ import annotations

import json
import os
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import tyro
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from mien import Editor
from mien.model import DEFAULT, Arrays, find_model

Run = Callable[[Arrays], Arrays]


def main(photo: Path, model: str = DEFAULT, threads: int = 1, batch: int = 1, runs: int = 20) -> None:
    """Print a table and the same as JSON: median and quartiles of wall time, CPU time, largest and mean difference."""
    path, inputs = find_model(model).path, asked(photo, model, batch)
    ways: dict[str, Run] = {"ONNX Runtime fp32": by_onnxruntime(path, threads)}
    with tempfile.TemporaryDirectory() as folder:
        ways["ONNX Runtime int8"] = by_onnxruntime(quantized(path, inputs, Path(folder)), threads)
        try:
            ways["OpenVINO f32"] = by_openvino(path, threads, "f32")
            ways["OpenVINO bf16"] = by_openvino(path, threads, "bf16")
        except ImportError:
            print("OpenVINO: not installed")
        truth = ways["ONNX Runtime fp32"](inputs)
        rows = [{"way": name} | timed(run, inputs, runs, truth, batch) for name, run in ways.items()]
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, {threads} threads, batch {batch}")
    for row in rows:
        print("  ".join(f"{key} {value}" for key, value in row.items()))
    print(json.dumps(rows))


def asked(photo: Path, model: str, batch: int) -> Arrays:
    """What the editor gives the model for the largest face of ``photo``, ``batch`` intensities of it."""
    editor, kept = Editor(model), {}
    run = editor.model.run

    class Listening:
        about, size = editor.model.about, editor.model.size

        def run(self, inputs: Arrays) -> Arrays:
            kept.update(inputs)
            return run(inputs)

    editor.model = Listening()  # type: ignore[assignment]
    editor.sweep(photo, "happiness", list(np.linspace(0.5, 1, batch)), face="largest")
    names = [node.name for node in find_model(model).session.get_inputs()]
    return {name: kept[name] for name in names}


def by_onnxruntime(path: Path, threads: int) -> Run:
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 4
    session = ort.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
    names = [node.name for node in session.get_outputs()]
    return lambda inputs: dict(zip(names, session.run(names, inputs), strict=True))


def by_openvino(path: Path, threads: int, precision: str) -> Run:
    import openvino

    settings = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": threads}
    compiled = openvino.Core().compile_model(str(path), "CPU", settings)
    return lambda inputs: {name: value for output, value in compiled(inputs).items() for name in output.get_names()}


def quantized(path: Path, inputs: Arrays, folder: Path) -> Path:
    """Convolutions in int8, their ranges taken from this one face: the speed is fair, the quality at its best."""
    ready, small = folder / "ready.onnx", folder / "int8.onnx"
    quant_pre_process(onnx.load(path), ready, skip_symbolic_shape=True)

    class Once(CalibrationDataReader):
        def __init__(self) -> None:
            self.left = [inputs]

        def get_next(self) -> Any:
            return self.left.pop() if self.left else None

    quantize_static(ready, small, Once(), op_types_to_quantize=["Conv"], weight_type=QuantType.QInt8, per_channel=True)
    return small


def timed(run: Run, inputs: Arrays, runs: int, truth: Arrays, batch: int) -> dict[str, Any]:
    walls, first = [], run(inputs)
    busy = time.process_time()
    for _ in range(runs):
        began = time.perf_counter()
        run(inputs)
        walls.append(time.perf_counter() - began)
    cpu = (time.process_time() - busy) / runs / batch
    low, middle, high = (round(float(q) * 1e3 / batch, 1) for q in np.quantile(walls, [0.25, 0.5, 0.75]))
    rows = {"ms a crop": middle, "quartiles": f"{low} to {high}", "CPU ms": round(cpu * 1e3, 1)}
    difference = {name: np.abs(first[name] - value) for name, value in truth.items()}
    return rows | {f"{name} off by": f"{d.max():.2g} (mean {d.mean():.1g})" for name, d in difference.items()}


if __name__ == "__main__":
    tyro.cli(main)
