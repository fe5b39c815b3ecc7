"""How well an identity reader tells people apart whom it never saw, beside an outside network on the same pairs.

    python benchmarks/identity.py --run runs/identity --data lfw-expressions-128.parquet --judges weights/

Pairs: up to ten of one person, and as many of two people. The threshold on the cosine is the one that is right most
often on val; accuracy and its bootstrap 95 % interval (over people) are those on test.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import numpy as np
import torch
import tyro

from mien.lab.commands import restore
from mien.lab.data import FaceTable, load
from mien.lab.judges import MobileFaceNet

Embedder = Callable[[FaceTable], np.ndarray]


def main(run: Path, data: Path, judges: Path | None = None) -> None:
    """Print threshold, accuracy and mean cosines of each embedder."""
    method, _ = restore(run)

    @torch.no_grad()
    def ours(table: FaceTable) -> np.ndarray:
        parts = torch.arange(len(table)).split(128)
        return torch.cat([method(table.take(rows).image) for rows in parts]).numpy()

    embedders: dict[str, Embedder] = {"identity": ours}
    if judges is not None:
        outside = MobileFaceNet(judges / "MobileFaceNet.onnx")
        embedders["MobileFaceNet"] = lambda table: outside.read(table.faces.image.permute(0, 2, 3, 1).numpy())
    tables = {split: load(data, split, frozenset({"image", "identity"}), 128) for split in ("val", "test")}
    for name, embed in embedders.items():
        cosine, same, _ = judged(tables["val"], embed)
        steps = np.linspace(-1, 1, 401)
        threshold = steps[np.argmax([np.mean((cosine > step) == same) for step in steps])]
        cosine, same, person = judged(tables["test"], embed)
        right = (cosine > threshold) == same
        low, high = interval(right, person)
        print(
            f"{name}: {right.mean():.3f} [{low:.3f}, {high:.3f}] of {len(right)} pairs; threshold {threshold:.2f}; "
            f"mean cosine {cosine[same].mean():.2f} of one person, {cosine[~same].mean():.2f} of two"
        )


def judged(table: FaceTable, embed: Embedder) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cosine of each pair, whether it is one person, and who its first face is."""
    identity, rng = table.faces.identity.numpy(), np.random.default_rng(0)
    pairs = []
    for person in np.unique(identity):
        mine = list(combinations(np.flatnonzero(identity == person), 2))
        pairs += [mine[i] for i in rng.permutation(len(mine))[:10]]
    strangers: list[tuple[int, int]] = []
    while len(strangers) < len(pairs):
        a, b = rng.integers(0, len(identity), 2)
        if identity[a] != identity[b]:
            strangers.append((a, b))
    first, second = np.array(pairs + strangers).T
    read = embed(table)
    read = read / np.linalg.norm(read, axis=1, keepdims=True)
    return (read[first] * read[second]).sum(1), identity[first] == identity[second], identity[first]


def interval(right: np.ndarray, person: np.ndarray) -> tuple[float, float]:
    rng, groups = np.random.default_rng(0), [np.flatnonzero(person == p) for p in np.unique(person)]
    drawn = [
        right[np.concatenate([groups[i] for i in rng.integers(0, len(groups), len(groups))])].mean()
        for _ in range(1000)
    ]
    return float(np.quantile(drawn, 0.025)), float(np.quantile(drawn, 0.975))


if __name__ == "__main__":
    tyro.cli(main)
