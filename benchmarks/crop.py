"""The edit model by itself, by provider and precision: ms a crop, how far from fp32, what a reader sees in its edits.

python benchmarks/crop.py --photo examples/astronaut.png --threads 1 --data faces.parquet
"""

from __future__ import annotations

import io
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hardware
import numpy as np
import onnx
import onnxruntime as ort
import tyro
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_dynamic, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from onnxruntime.transformers.float16 import convert_float_to_float16
from PIL import Image

from mien import Editor
from mien.expressions import BLENDSHAPES
from mien.model import DEFAULT, Arrays, find_model, picture, shipped
from mien.photo import align, blend
from mien.target import by_name

Run = Callable[[Arrays], Arrays]


def main(
    photo: Path,
    model: str = DEFAULT,
    threads: int = 1,
    batch: int = 1,
    runs: int = 20,
    data: Path | None = None,
    faces: int = 24,
) -> None:
    """Print a table and the same as JSON: opening, median and quartiles of wall time, CPU time, differences to fp32.

    data: a manifest of faces; of ``faces`` calm ones of its validation split, smiling, the muscle reader's smile.
    """
    path, inputs = find_model(model).path, asked(photo, model, batch)
    people = calm(data, faces, find_model(model).size) if data else []
    ways: dict[str, Run] = {}
    opened: dict[str, float] = {}

    def opens(name: str, work: Callable[[], Run]) -> None:
        began = time.process_time()
        ways[name] = work()
        opened[name] = round((time.process_time() - began) * 1e3)

    with tempfile.TemporaryDirectory() as folder:
        opens("ONNX Runtime fp32", lambda: by_onnxruntime(path, threads))
        for name, small in smaller(path, [inputs, *people][-8:], Path(folder)).items():
            opens(f"ONNX Runtime {name}", lambda small=small: by_onnxruntime(small, threads))  # type: ignore[misc]
        try:
            for precision in ("f32", "bf16"):
                opens(f"OpenVINO {precision}", lambda kind=precision: by_openvino(path, threads, kind))  # type: ignore[misc]
        except ImportError:
            print("OpenVINO: not installed")
        truth = ways["ONNX Runtime fp32"](inputs)
        rows = [
            {"way": name, "opened, CPU ms": opened[name]} | timed(run, inputs, runs, truth, batch) | smiles(run, people)
            for name, run in ways.items()
        ]
    print(f"{hardware.named()}, {threads} threads, batch {batch}")
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


def smaller(path: Path, known: list[Arrays], folder: Path) -> dict[str, Path]:
    """The model in fp16 and int8 (dynamic: ranges taken in each run; static: convolutions, ranges of ``known``)."""
    ready, half = folder / "ready.onnx", folder / "fp16.onnx"
    quant_pre_process(onnx.load(path), ready, skip_symbolic_shape=True)
    onnx.save(convert_float_to_float16(onnx.load(ready), keep_io_types=True, disable_shape_infer=True), half)
    dynamic, static = folder / "dynamic.onnx", folder / "static.onnx"
    quantize_dynamic(ready, dynamic)

    class Known(CalibrationDataReader):
        def __init__(self) -> None:
            self.left = list(known)

        def get_next(self) -> Any:
            return self.left.pop() if self.left else None

    quantize_static(
        ready, static, Known(), op_types_to_quantize=["Conv"], weight_type=QuantType.QInt8, per_channel=True
    )
    return {"fp16": half, "int8 dynamic": dynamic, "int8 static": static}


def calm(data: Path, count: int, size: int) -> list[Arrays]:
    """What the editor would give the model for calm faces of the validation split that are to smile."""
    import pyarrow.parquet as pq

    rows = pq.read_table(data, filters=[("split", "=", "val"), ("emotion", "=", "neutral")]).slice(0, count).to_pylist()
    target, found = by_name("happiness"), []
    for row in rows:
        image = Image.open(io.BytesIO(row["image"])).convert("RGB").resize((size, size), Image.Resampling.LANCZOS)
        scores = np.array(row["blendshapes"], np.float32)
        found.append(
            {
                "source_image": picture(np.asarray(image)[None]),
                "source_blendshapes": scores[None],
                "source_landmarks": np.array(row["landmarks"], np.float32).reshape(1, 68, 2),
                "target_blendshapes": target.goal(scores)[None],
                "intensity": np.ones(1, np.float32),
            }
        )
    return found


def smiles(run: Run, people: list[Arrays]) -> dict[str, float]:
    """The mean smile that mien's muscle reader sees in the edits of ``people``, at the size of the crop."""
    seen = []
    for inputs in people:
        size = inputs["source_image"].shape[-1]
        edit, matrix = run(inputs), np.array([[1 / size, 0, 0], [0, 1 / size, 0]])
        crop = np.rint((inputs["source_image"][0].transpose(1, 2, 0) + 1) * 127.5).astype(np.uint8)
        edited = blend.apply(crop, matrix, blend.weights(matrix, [], size), edit["flow"][0], edit["delta"][0])
        reader = shipped("muscles")
        scores = reader.run({"image": picture(align.crop(edited, matrix, reader.size)[None])})["read"][0]
        seen.append(scores[[BLENDSHAPES.index("mouthSmileLeft"), BLENDSHAPES.index("mouthSmileRight")]].mean())
    return {"smile": round(float(np.mean(seen)), 4)} if seen else {}


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
