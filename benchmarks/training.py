"""Training speed: images/s by method and precision, as the trainer's own steps take, with the spread over steps.

python benchmarks/training.py --data faces.parquet --methods flowfill stargan --batch 16
torchrun --nproc-per-node 2 benchmarks/training.py --data faces.parquet --methods stargan
"""

from __future__ import annotations

import json
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import hardware
import numpy as np
import torch
import tyro

from mien.lab import ranks
from mien.lab.commands import find_method
from mien.lab.trainer import Trainer


def main(
    data: Path,
    methods: tuple[str, ...] = ("flowfill", "stargan", "starganv2", "ganimation", "cyclegan"),
    batch: int = 16,
    steps: int = 10,
    precisions: tuple[str, ...] = ("fp32", "bf16"),
    limit: int = 256,
    device: str = "auto",
) -> None:
    """Print a table and the same as JSON. A step counts as it comes: the turns that are due every few steps included.

    limit: faces read of each split. batch: faces a step, of all ranks together.
    """
    rows = []
    with ranks.joined():
        for name in methods:
            for precision in precisions:
                rows.append(measured(data, name, precision, batch, steps, limit, device))
                if not ranks.rank():
                    print("  ".join(f"{key} {value}" for key, value in rows[-1].items()), flush=True)
        if not ranks.rank():
            where = f"{torch.cuda.get_device_name()}, " if rows[0]["device"] == "cuda" else ""
            print(f"{where}{hardware.named()}, batch {batch}, torch {torch.__version__}, {ranks.count()} processes")
            print(json.dumps(rows))


def measured(
    data: Path, name: str, precision: str, batch: int, steps: int, limit: int, device: str
) -> dict[str, str | float]:
    """Median images/s of ``steps`` steps after two that are not counted, quartiles, and CPU time an image."""
    with tempfile.TemporaryDirectory() as folder:
        trainer = begun(data, name, precision, batch, limit, device, Path(folder) / "run")
        times, busy = [], 0.0
        for step in range(-2, steps):
            if step == 0:
                busy = time.process_time()
            began = time.perf_counter()
            trainer.step(step + 2)
            if trainer.device.type == "cuda":
                torch.cuda.synchronize()
            times.append(time.perf_counter() - began)
    cpu = (time.process_time() - busy) * ranks.count() / (steps * batch)
    low, middle, high = (round(batch / float(np.quantile(times[2:], q)), 2) for q in (0.75, 0.5, 0.25))
    return {
        "method": name,
        "size": trainer.method.config.size,
        "precision": precision,
        "device": trainer.device.type,
        "images/s": middle,
        "quartiles": f"{low} to {high}",
        "CPU ms an image": round(1e3 * cpu, 1),
    }


def begun(
    data: Path, name: str, precision: str, batch: int, limit: int, device: str, out: Path, size: int | None = None
) -> Trainer:
    """A run of the method called ``name`` before its first step; ``size``: of the crop, the method's own where None."""
    kind = find_method(name)
    torch.manual_seed(0)
    method = kind(replace(kind.Config(), **({"size": size} if size else {})))
    table, _ = kind.tables([data], method.config.size, limit)
    recipe = replace(kind.recipe, batch=batch, bf16=precision == "bf16", device=device)
    return Trainer(name, method, table, out, recipe)


if __name__ == "__main__":
    tyro.cli(main)
