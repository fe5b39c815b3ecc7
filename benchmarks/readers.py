"""How well the shipped readers read, on people that they never saw, beside outside networks where those are at hand.

python benchmarks/readers.py --lfw lfw-expressions-128.parquet --fer fer2013-48.parquet --judges weights/
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime as ort
import torch
import tyro
from PIL import Image

from mien.expressions import BLENDSHAPES, EXPRESSIONS, GAZE
from mien.lab.data import FaceTable, load
from mien.model import picture, shipped

# The order in which the two outside networks name the expressions.
XCEPTION = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")
FACEAPI = ("neutral", "happiness", "sadness", "anger", "fear", "disgust", "surprise")


def main(lfw: Path, fer: Path, judges: Path | None = None, split: str = "test") -> None:
    """Print every figure with its count and bootstrap 95 % interval."""
    muscles(load(lfw, split, frozenset({"image", "blendshapes"}), shipped("muscles").size), split)
    for path in (fer, lfw):
        table = load(path, split, frozenset({"image", "emotion"}), 128)
        truth = table.faces.emotion.numpy()
        crops = table.faces.image.permute(0, 2, 3, 1).numpy()
        report(f"emotion, {path.stem}", read_emotion(crops) == truth, truth)
        if judges is not None:
            for name, reader in (("mini-xception-fer2013", xception), ("face-api-expression", faceapi)):
                session = ort.InferenceSession(str(judges / f"{name}.onnx"), providers=["CPUExecutionProvider"])
                report(f"  {name}", reader(session, crops) == truth, truth)


def muscles(table: FaceTable, split: str) -> None:
    """Correlation and mean absolute error of every muscle that varies."""
    crops = table.faces.image.permute(0, 2, 3, 1).numpy()
    read = np.concatenate([shipped("muscles").run({"image": picture(part)})["read"] for part in parts(crops)])
    truth = table.faces.blendshapes.numpy()
    varies = [i for i, name in enumerate(BLENDSHAPES) if name not in GAZE and truth[:, i].std() > 0.03]
    r = {BLENDSHAPES[i]: np.corrcoef(read[:, i], truth[:, i])[0, 1] for i in varies}
    print(
        f"muscles, {split}, {len(read)} faces: mean correlation {np.mean(list(r.values())):.3f} over {len(r)} muscles,"
    )
    print(f"  mean absolute error {np.abs(read - truth)[:, varies].mean():.3f}")
    print("  " + "  ".join(f"{name} {value:.2f}" for name, value in sorted(r.items(), key=lambda item: -item[1])))


def report(name: str, right: np.ndarray, truth: np.ndarray) -> None:
    """Accuracy over all faces with its interval, and over each expression."""
    rng = np.random.default_rng(0)
    draws = right[rng.integers(0, len(right), (1000, len(right)))].mean(1)
    low, high = np.quantile(draws, [0.025, 0.975])
    each = "  ".join(f"{e} {right[truth == k].mean():.2f}" for k, e in enumerate(EXPRESSIONS) if (truth == k).any())
    print(f"{name}: accuracy {right.mean():.3f} [{low:.3f}, {high:.3f}] of {len(right)}   {each}", flush=True)


def read_emotion(crops: np.ndarray) -> np.ndarray:
    model = shipped("emotion")
    return np.concatenate(
        [model.run({"image": picture(resized(p, model.size))})["read"].argmax(1) for p in parts(crops)]
    )


def xception(session: ort.InferenceSession, crops: np.ndarray) -> np.ndarray:
    order = np.array([EXPRESSIONS.index(name) for name in XCEPTION])  # type: ignore[arg-type]
    gray = (resized(crops, 64).astype(np.float32) @ [0.299, 0.587, 0.114]).astype(np.float32)
    return order[
        np.concatenate([session.run(None, {"gray64": p[:, None] / 127.5 - 1})[0].argmax(1) for p in parts(gray)])
    ]


def faceapi(session: ort.InferenceSession, crops: np.ndarray) -> np.ndarray:
    order = np.array([EXPRESSIONS.index(name) for name in FACEAPI])  # type: ignore[arg-type]
    small = resized(crops, 112).astype(np.float32)
    return order[np.concatenate([session.run(None, {"rgb112": p})[0].argmax(1) for p in parts(small)])]


def resized(crops: np.ndarray, side: int) -> np.ndarray:
    if crops.shape[1] == side:
        return crops
    return np.stack([np.asarray(Image.fromarray(c).resize((side, side), Image.Resampling.BILINEAR)) for c in crops])


def parts(crops: np.ndarray, size: int = 64) -> list[np.ndarray]:
    return [crops[i : i + size] for i in range(0, len(crops), size)]


if __name__ == "__main__":
    torch.set_num_threads(1)
    tyro.cli(main)
