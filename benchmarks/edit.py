"""How long an edit takes, stage by stage: median of several runs in one process, and the whole command from the shell.

python benchmarks/edit.py examples/astronaut.png --megapixels 0.26 1 12
"""

from __future__ import annotations

import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from PIL import Image

from mien import Editor
from mien.photo.read import read


def main(
    photo: Annotated[Path, tyro.conf.Positional],
    megapixels: tuple[float, ...] = (0.26, 1.0, 12.0),
    runs: int = 5,
    kind: str = "jpg",
) -> None:
    """Print a table and the same as JSON."""
    rows = []
    for size in megapixels:
        with tempfile.TemporaryDirectory() as folder:
            path = enlarged(photo, size, Path(folder) / f"photo.{kind}")
            rows.append({"megapixels": size} | stages(path, runs) | shell(path, runs))
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, median of {runs} runs, milliseconds")
    for row in rows:
        print("  ".join(f"{name} {value:g}" for name, value in row.items()))
    print(json.dumps(rows))


def stages(path: Path, runs: int) -> dict[str, Any]:
    """Each stage of a warm edit in one process."""
    editor, out = Editor(), path.with_name(f"out{path.suffix}")
    times: dict[str, list[float]] = {"read": [], "find": [], "see": [], "edit": [], "write": [], "all": []}
    for _ in range(runs + 1):
        began = time.perf_counter()
        photo = timed(times["read"], lambda: read(path))
        timed(times["find"], lambda photo=photo: editor.finder.find(photo.rgb))  # type: ignore[misc]
        seen = timed(times["see"], lambda photo=photo: editor.see(photo))  # type: ignore[misc]
        edited = timed(times["edit"], lambda photo=photo, seen=seen: editor.edit(photo, "happiness", seen=seen))  # type: ignore[misc]
        timed(times["write"], lambda edited=edited: edited.save(out, overwrite=True))  # type: ignore[misc]
        times["all"].append(time.perf_counter() - began - times["find"][-1])
    return {name: round(float(np.median(values[1:])) * 1e3, 1) for name, values in times.items()}


def shell(path: Path, runs: int) -> dict[str, Any]:
    """From process start to written file, with the largest memory that any run took."""
    out = path.with_name(f"shell{path.suffix}")
    command = [sys.executable, "-m", "mien.cli", "edit", str(path), "--to", "happiness", "-o", str(out), "--overwrite"]
    spent: list[float] = []
    for _ in range(runs):
        timed(spent, lambda: subprocess.run(command, check=True, capture_output=True))
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    return {"from the shell": round(float(np.median(spent)) * 1e3), "peak MB": round(peak)}


def timed(times: list[float], work: Callable[[], Any]) -> Any:
    began = time.perf_counter()
    result = work()
    times.append(time.perf_counter() - began)
    return result


def enlarged(photo: Path, megapixels: float, path: Path) -> Path:
    """The photograph at so many megapixels."""
    picture = Image.open(photo).convert("RGB")
    scale = (megapixels * 1e6 / (picture.width * picture.height)) ** 0.5
    size = (round(picture.width * scale), round(picture.height * scale))
    picture.resize(size, Image.Resampling.LANCZOS).save(path, **({"quality": 92} if path.suffix == ".jpg" else {}))
    return path


if __name__ == "__main__":
    tyro.cli(main)
