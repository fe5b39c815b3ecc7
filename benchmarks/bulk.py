"""What a photograph costs a worker of `mien bulk`, by size: CPU time on one thread, which other work does not blur.

python benchmarks/bulk.py examples/astronaut.png --megapixels 0.26 1 12
"""

from __future__ import annotations

import json
import resource
import tempfile
import time
from pathlib import Path
from typing import Annotated

import hardware
import numpy as np
import tyro
from edit import enlarged

from mien.bulk.work import Job, Worker


def main(
    photo: Annotated[Path, tyro.conf.Positional], megapixels: tuple[float, ...] = (0.26, 1.0, 12.0), runs: int = 5
) -> None:
    """Print a table and the same as JSON: editing and measuring, median CPU ms, photographs/s a core, megabytes."""
    rows = []
    for size in megapixels:
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder) / "in"
            source.mkdir()
            path = enlarged(photo, size, source / "photo.jpg")
            row: dict[str, float] = {"megapixels": size, "file MB": round(path.stat().st_size / 1e6, 2)}
            for name, target in (("edit", "happiness"), ("measure", None)):
                cost = spent(Worker(Job(str(source), f"{folder}/out", target)), path.name, runs)
                row |= {f"{name} ms": round(cost * 1e3), f"{name} photographs/s": round(1 / cost, 1)}
            row["peak MB"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
            rows.append(row)
            print("  ".join(f"{name} {value:g}" for name, value in row.items()), flush=True)
    print(f"{hardware.named()}, one thread, median of {runs} runs")
    print(json.dumps(rows))


def spent(worker: Worker, name: str, runs: int) -> float:
    times = []
    for _ in range(runs + 1):
        (Path(worker.out.root) / name).unlink(missing_ok=True)
        began = time.process_time()
        assert "error" not in worker(name)
        times.append(time.process_time() - began)
    return float(np.median(times[1:]))


if __name__ == "__main__":
    tyro.cli(main)
