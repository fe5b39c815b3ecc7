"""How long an edit takes, stage by stage: median of several runs in one process, and the whole command from the shell.

python benchmarks/edit.py examples/astronaut.png --megapixels 0.26 1 12
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import hardware
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
    clock: Literal["wall", "cpu"] = "wall",
) -> None:
    """Print a table and the same as JSON.

    clock: cpu counts what all threads compute, and is not blurred by other work as the clock on the wall is.
    """
    rows: list[dict[str, Any]] = []
    starts = {"python": "pass", "import numpy, PIL, onnxruntime": "import numpy, PIL.Image, onnxruntime",
              "import mien": "import mien", "help": "import mien.cli; mien.cli.main(['--help'])"}  # fmt: skip
    cold = {name: started(["-c", code], runs, clock) for name, code in starts.items()}
    for size in megapixels:
        with tempfile.TemporaryDirectory() as folder:
            path = enlarged(photo, size, Path(folder) / f"photo.{kind}")
            rows.append({"megapixels": size} | stages(path, runs, clock) | shell(path, runs, clock))
    print(f"{hardware.named()}, {runs} runs, median ms ({clock})")
    for row in rows:
        print("  ".join(f"{name} {value}" for name, value in row.items()))
    print("cold start: " + "  ".join(f"{name} {value}" for name, value in cold.items()))
    print(json.dumps([cold, *rows]))


def stages(path: Path, runs: int, clock: str) -> dict[str, Any]:
    """Each stage of a warm edit in one process, and the quartiles of the whole."""
    now = time.perf_counter if clock == "wall" else time.process_time
    editor, out = Editor(), path.with_name(f"out{path.suffix}")
    spent: dict[str, float] = {}
    editor.finder.find = watched(editor.finder.find, "find", spent, now)  # type: ignore[method-assign]
    editor._run = watched(editor._run, "model", spent, now)  # type: ignore[method-assign]
    see, edit = watched(editor.see, "see", spent, now), watched(editor.edit, "edit", spent, now)
    load = watched(read, "read", spent, now)
    save = watched(lambda edited: edited.save(out, overwrite=True), "write", spent, now)
    rows = []
    for _ in range(runs + 1):
        given = load(path)
        save(edit(given, "happiness", seen=see(given)))
        whole = sum(spent[name] for name in ("read", "see", "edit", "write"))
        rows.append([spent["read"], spent["find"], spent["see"] - spent["find"], spent["model"],
                     spent["edit"] - spent["model"], spent["write"], whole])  # fmt: skip
    low, middle, high = np.quantile(rows[1:], (0.25, 0.5, 0.75), axis=0) * 1e3
    names = ("read", "find", "measure", "model", "blend", "write", "all")
    middles = {name: round(float(value), 1) for name, value in zip(names, middle, strict=True)}
    return middles | {"quartiles": f"{low[-1]:.0f} to {high[-1]:.0f}"}


def watched(
    work: Callable[..., Any], name: str, spent: dict[str, float], now: Callable[[], float]
) -> Callable[..., Any]:
    """``work``, which notes how long it took."""

    def timed_(*arguments: Any, **named: Any) -> Any:
        began = now()
        result = work(*arguments, **named)
        spent[name] = now() - began
        return result

    return timed_


def shell(path: Path, runs: int, clock: str) -> dict[str, Any]:
    """From process start to written file, with the largest memory that any run took."""
    out = path.with_name(f"shell{path.suffix}")
    words = ["-m", "mien", "edit", str(path), "--to", "happiness", "-o", str(out), "--overwrite"]
    spent = started(words, runs, clock)
    return {"from the shell": spent, "peak MB": round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)}


def started(words: list[str], runs: int, clock: str) -> int:
    """Median ms of a Python process from its start to its end."""

    def now() -> float:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return time.perf_counter() if clock == "wall" else used.ru_utime + used.ru_stime

    spent = []
    for _ in range(runs):
        began = now()
        subprocess.run([sys.executable, *words], check=True, capture_output=True)
        spent.append(now() - began)
    return round(float(np.median(spent)) * 1e3)


def enlarged(photo: Path, megapixels: float, path: Path) -> Path:
    """The photograph at so many megapixels."""
    picture = Image.open(photo).convert("RGB")
    scale = (megapixels * 1e6 / (picture.width * picture.height)) ** 0.5
    size = (round(picture.width * scale), round(picture.height * scale))
    picture.resize(size, Image.Resampling.LANCZOS).save(path, **({"quality": 92} if path.suffix == ".jpg" else {}))
    return path


if __name__ == "__main__":
    tyro.cli(main)
