"""One table of trained methods: what each cost to train here, and what a comparison measured of it.

    python benchmarks/methods.py report/report.json runs/stargan runs/cyclegan

A run's folder goes with the model of the same name in the report of ``mien compare``; a model without a run has no
cost. Images a second are those of the whole run. Parameters are those of the networks that edit.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import tyro
from safetensors import safe_open

SHOWN = {
    "face-api": "accuracy/face-api",
    "mini-Xception": "accuracy/mini-Xception",
    "signature": "signature/MediaPipe",
    "identity": "identity/MobileFaceNet",
    "change": "change",
    "Frechet, MobileFaceNet": "frechet/MobileFaceNet",
    "sharpness": "sharpness",
}
"""Columns: their heads, and the measures of the report."""


def main(report: tyro.conf.Positional[Path], runs: tyro.conf.Positional[tuple[Path, ...]]) -> None:
    """Print the table in Markdown.

    report: report.json of ``mien compare``. runs: folders of ``mien train``, each called as its model is.
    """
    found = json.loads(report.read_text())
    costs = {folder.name: cost(folder / "checkpoint.safetensors") for folder in runs}
    times = found["stamp"]["milliseconds_per_edit"]
    heads = ["", "side", "parameters", "images seen", "images/s", *SHOWN, "ms an edit"]
    print(f"| {' | '.join(heads)} |\n{'| --- ' * len(heads)}|")
    for row in found["rows"]:
        name, figures = row["name"], row["figures"]
        cells = [shown(figures.get(key)) for key in SHOWN.values()]
        time = f"{times[name]:.0f}" if name in times else ""
        print(f"| {' | '.join([name, *costs.get(name, [''] * 4), *cells, time])} |")


def cost(checkpoint: Path) -> list[str]:
    """Side of the crop, millions of parameters, images seen, images a second."""
    with safe_open(checkpoint, "pt") as file:
        progress = json.loads(file.metadata()["mien"])
        editing = [name for name in file.keys() if name.startswith("average/")]  # noqa: SIM118
        count = sum(math.prod(file.get_slice(name).get_shape()) for name in editing)
    images = progress["images"]
    return [
        f"{progress['config']['size']}",
        f"{count / 1e6:.2f} M",
        f"{images:,}",
        f"{images / max(progress['seconds'], 1):.0f}",
    ]


def shown(figure: dict[str, Any] | None) -> str:
    """0.72 [0.65, 0.78], or nothing where it was not measured."""
    return f"{figure['value']:.2f} [{figure['low']:.2f}, {figure['high']:.2f}]" if figure else ""


if __name__ == "__main__":
    tyro.cli(main)
