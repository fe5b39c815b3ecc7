"""How near an edit comes to a real photograph of the same person: SSIM and PSNR on people whom nobody trained on.

    python benchmarks/landmarkcgan.py runs/landmarkcgan runs/cgan runs/pix2pix --data lfw-expressions-128.parquet

Each pair is two photographs of one person of the test split; the first is given the second's expression. By
blendshapes, as an edit is asked for, it keeps its own pose; by landmarks the second's own are drawn, pose and all, as
in training. Means with bootstrap 95 % intervals over people, beside the photograph as it is and the 3D face model; and
the differences of each two runs on the same pairs, whose intervals are narrower, since a hard pair is hard for all.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import tyro
from torch import Tensor

from mien.lab.commands import restore
from mien.lab.data import FaceTable, load
from mien.lab.faces import Faces
from mien.lab.methods.landmarkcgan import LandmarkCGAN
from mien.lab.methods.morphable import Morphable, MorphableConfig
from mien.lab.metrics import figure, psnr, ssim
from mien.lab.sheet import write_grid


@torch.no_grad()
def main(
    runs: Annotated[list[Path], tyro.conf.Positional], data: Path, sheet: Path | None = None, most: int = 1
) -> None:
    """Print a table.

    Args:
        runs: Training runs of landmarkcgan, all of one size.
        data: The Parquet manifest.
        sheet: Also write a picture of eight pairs: source, real photograph, then each run by blendshapes, by landmarks.
        most: Pairs of one person, at most.
    """
    methods = {run.name: restore(run)[0] for run in runs}
    size = {method.config.size for method in methods.values()}.pop()
    table = load(data, "test", LandmarkCGAN.reads, size)
    first, second = pairs_of(table, most)
    source, target = table.take(first), table.take(second)
    bar = Morphable(MorphableConfig(size))
    made: dict[str, Tensor] = {"unedited": source.image}
    made["morphable"] = torch.cat([bar.edit(a, b, torch.ones(len(a))).image for a, b in parts(source, target)])
    for name, method in methods.items():
        assert isinstance(method, LandmarkCGAN), f"{name} is no run of landmarkcgan"
        asked = [method.edit(a, b, torch.ones(len(a))).image for a, b in parts(source, target)]
        shown = [method.painted(a.image, b.landmarks) for a, b in parts(source, target)]
        made |= {f"{name}, by blendshapes": torch.cat(asked), f"{name}, by landmarks": torch.cat(shown)}
    people = source.identity.numpy()
    print(f"{len(first)} pairs of {len(np.unique(people))} people, {size} px\n")
    print("| | SSIM | PSNR, dB |\n| --- | --- | --- |")
    real = levels(target.image)
    measured = {name: [measure(real, levels(images)) for measure in (ssim, psnr)] for name, images in made.items()}

    def row(name: str, values: list[np.ndarray]) -> None:
        means = [figure(each, people) for each in values]
        cells = [f"{f.value:.{d}f} [{f.low:.{d}f}, {f.high:.{d}f}]" for f, d in zip(means, (3, 2), strict=True)]
        print(f"| {name} | {' | '.join(cells)} |")

    for name, values in measured.items():
        row(name, values)
    for way in ("by blendshapes", "by landmarks"):
        for one, other in combinations(methods, 2):
            mine, others = measured[f"{one}, {way}"], measured[f"{other}, {way}"]
            row(f"{one} less {other}, {way}", [a - b for a, b in zip(mine, others, strict=True)])
    if sheet is not None:
        rows = torch.linspace(0, len(first) - 1, 8).long()
        columns = [source.image, target.image, *list(made.values())[1:]]
        write_grid(torch.stack([image[rows] for image in columns], 1), sheet)


def parts(source: Faces, target: Faces, count: int = 32) -> Iterator[tuple[Faces, Faces]]:
    """Both, ``count`` faces at a time."""
    for start in range(0, len(source), count):
        yield source[start : start + count], target[start : start + count]


def pairs_of(table: FaceTable, most: int) -> tuple[Tensor, Tensor]:
    """Rows of two photographs of one person, up to ``most`` pairs of each, drawn by chance."""
    identity, rng = table.faces.identity.numpy(), np.random.default_rng(0)
    pairs: list[tuple[int, int]] = []
    for person in np.unique(identity):
        mine = list(combinations(np.flatnonzero(identity == person), 2))
        pairs += [mine[i][:: rng.choice([-1, 1])] for i in rng.permutation(len(mine))[:most]]
    first, second = torch.tensor(np.array(pairs)).unbind(1)
    return first, second


def levels(images: Tensor) -> np.ndarray:
    """(N, 3, S, S) in [-1, 1] -> (N, S, S, 3) uint8."""
    return ((images.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()


if __name__ == "__main__":
    tyro.cli(main)
