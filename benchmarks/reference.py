"""The published StarGAN code beside ours, by turns in one process: training and inference, on the same faces.

git clone https://github.com/yunjey/stargan
python benchmarks/reference.py --code stargan --data faces.parquet --batch 16
"""

from __future__ import annotations

import io
import json
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import hardware
import numpy as np
import pyarrow.parquet as pq
import torch
import tyro
from PIL import Image, ImageOps
from torch.utils.data import DataLoader
from training import begun

from mien.expressions import EXPRESSIONS
from mien.lab.export import export, sample
from mien.lab.trainer import Trainer
from mien.model import DEFAULT, Model, find_model

Clocks = tuple[float, float]


def main(
    code: Path,
    data: Path,
    size: int = 128,
    batch: int = 16,
    steps: int = 5,
    rounds: int = 5,
    limit: int = 256,
    threads: int = 1,
) -> None:
    """Print a table and the same as JSON: ms of the clock and of CPU an image, and theirs divided by ours.

    code: a checkout of theirs. steps: of each turn in a round; a multiple of five, of which one moves the generator.
    """
    torch.set_num_threads(threads)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        theirs = solver(code, data, size, batch, steps, limit)
        trainers = {p: begun(data, "stargan", p, batch, limit, "cpu", Path(folder) / p, size) for p in ("fp32", "bf16")}
        ways = {"theirs, fp32": lambda: quietly(theirs.train)} | {
            f"ours, {precision}": played(trainer, steps) for precision, trainer in trainers.items()
        }
        rows += compared("training", ways, rounds, batch * steps)
        rows += compared("inference", inference(theirs, trainers["fp32"], Path(folder), size, threads), rounds, 20)
    print(f"{hardware.named()}, {threads} threads, torch "
          f"{torch.__version__}, {size} px, batch {batch}, {rounds} rounds")  # fmt: skip
    for row in rows:
        print("  ".join(f"{key} {value}" for key, value in row.items()))
    print(json.dumps(rows))


def solver(code: Path, data: Path, size: int, batch: int, steps: int, limit: int) -> Any:
    """Theirs, with the settings of its main.py; it trains on ``steps`` batches each time that it is asked to."""
    try:
        import torchvision.utils  # noqa: F401
    except (ImportError, RuntimeError):  # only its save_image is asked for, and never called here
        stub = ModuleType("torchvision.utils")
        stub.save_image = None  # type: ignore[attr-defined]
        sys.modules |= {"torchvision": ModuleType("torchvision"), "torchvision.utils": stub}
    sys.path.insert(0, str(code))
    from solver import Solver  # type: ignore[import-not-found]

    config = SimpleNamespace(
        **{"c_dim": len(EXPRESSIONS), "c2_dim": 8, "image_size": size, "g_conv_dim": 64, "d_conv_dim": 64},
        **{"g_repeat_num": 6, "d_repeat_num": 6, "lambda_cls": 1, "lambda_rec": 10, "lambda_gp": 10, "dataset": "RaFD"},
        **{"batch_size": batch, "num_iters": steps, "num_iters_decay": 100000, "g_lr": 1e-4, "d_lr": 1e-4},
        **{"n_critic": 5, "beta1": 0.5, "beta2": 0.999, "resume_iters": None, "selected_attrs": []},
        **{"test_iters": steps, "use_tensorboard": False, "log_dir": "", "sample_dir": "", "model_save_dir": ""},
        **{"result_dir": "", "log_step": 10, "sample_step": 10**9, "model_save_step": 10**9, "lr_update_step": 1000},
    )
    loader = DataLoader(Decoded(data, size, limit), batch, shuffle=True, num_workers=0, drop_last=True)
    return quietly(lambda: Solver(None, loader, config))


class Decoded(torch.utils.data.Dataset[tuple[torch.Tensor, int]]):
    """Faces as their loader gives them: decoded each time, mirrored by a coin, resized, in [-1, 1]; and the label."""

    def __init__(self, data: Path, size: int, limit: int) -> None:
        rows = pq.read_table(data, columns=["image", "emotion"], filters=[("emotion", "in", EXPRESSIONS)])
        self.rows, self.size = rows.slice(0, limit).to_pylist(), size

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        picture = Image.open(io.BytesIO(self.rows[index]["image"])).convert("RGB")
        if torch.rand(()) < 0.5:
            picture = ImageOps.mirror(picture)
        picture = picture.resize((self.size, self.size), Image.Resampling.BILINEAR)
        pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1).contiguous()
        return pixels.float().div(255).sub(0.5).div(0.5), EXPRESSIONS.index(self.rows[index]["emotion"])


def played(trainer: Trainer, steps: int) -> Callable[[], None]:
    def play() -> None:
        for step in range(steps):
            trainer.step(step)

    return play


def inference(theirs: Any, trainer: Trainer, folder: Path, size: int, threads: int) -> dict[str, Callable[[], None]]:
    """Twenty faces, one by one: their generator in torch, ours as `mien edit` runs it, and mien's default model."""
    image, label = torch.rand(1, 3, size, size) * 2 - 1, torch.eye(len(EXPRESSIONS))[:1]
    export(trainer.method, trainer.progress, folder / "stargan.onnx")
    own, default = Model(folder / "stargan.onnx", threads), Model(find_model(DEFAULT).path, threads)

    def torch_() -> None:
        with torch.no_grad():
            for _ in range(20):
                theirs.G(image, label)

    def onnx(model: Model) -> Callable[[], None]:
        faces = {name: value[:1].numpy() for name, value in sample(model.size).present().items()}
        inputs = {f"{side}_{name}": value for side in ("source", "target") for name, value in faces.items()}
        inputs |= {"intensity": np.ones(1, np.float32)}

        def run() -> None:
            for _ in range(20):
                model.run(inputs)

        return run

    return {
        "their generator, torch fp32": torch_,
        "the same of ours, ONNX Runtime fp32": onnx(own),
        f"{DEFAULT}, ONNX Runtime fp32": onnx(default),
    }


def compared(what: str, ways: dict[str, Callable[[], None]], rounds: int, images: int) -> list[dict[str, Any]]:
    """The first way is theirs. Each does its work once uncounted, then once a round, one after the other."""
    spent: dict[str, list[Clocks]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, work in ways.items():
            clocks = time.perf_counter(), time.process_time()
            work()
            if number:
                spent[name].append((time.perf_counter() - clocks[0], time.process_time() - clocks[1]))
    first = np.array(spent[next(iter(ways))])
    rows = []
    for name, times in spent.items():
        ratios = first / np.array(times)
        wall, cpu = (float(v) * 1e3 / images for v in np.median(times, 0))
        low, high = ratios[:, 1].min(), ratios[:, 1].max()
        rows.append({"what": what, "way": name, "ms an image": round(wall, 1), "CPU ms": round(cpu, 1),
                     "ratio": round(float(np.median(ratios[:, 1])), 2),
                     "of rounds": f"{low:.2f} to {high:.2f}"})  # fmt: skip
    return rows


def quietly(work: Callable[[], Any]) -> Any:
    with redirect_stdout(io.StringIO()):
        return work()


if __name__ == "__main__":
    tyro.cli(main)
