"""A panel of judges of a few lines each, and what they are asked to compare."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mien.expressions import BLENDSHAPES, EXPRESSIONS
from mien.lab.chosen import Wish
from mien.lab.judges import Kind


@dataclass(frozen=True)
class Fake:
    """A judge of a few lines: it looks for red beside the mouth, where a smile's corners go, or at 8 x 8 means."""

    name: str
    kind: Kind
    independent: bool = True

    def read(self, images: np.ndarray) -> np.ndarray:
        side = images.shape[1] // 8
        means = images.reshape(len(images), 8, side, 8, side, 3).mean((2, 4, 5)).reshape(len(images), -1) / 255
        if self.kind == "expression":
            chance = np.full((len(images), len(EXPRESSIONS)), 0.05)
            chance[:, EXPRESSIONS.index("happiness")] = 0.5 + redness(images, 0.71, 0.35) - redness(images, 0.6, 0.3)
            chance[:, EXPRESSIONS.index("neutral")] = 0.52
            return chance
        if self.kind == "muscles":
            return np.tile(means, (1, 2))[:, : len(BLENDSHAPES)]
        return means[:, :9]


def redness(images: np.ndarray, y: float, x: float) -> np.ndarray:
    """(N,) how far red exceeds green in a small square there."""
    side, reach = images.shape[1], max(1, images.shape[1] // 32)
    rows, columns = (slice(round(at * side) - reach, round(at * side) + reach) for at in (y, x))
    patch = images[:, rows, columns].astype(float).mean((1, 2))
    return (patch[:, 0] - patch[:, 1]) / 255


PANEL = [Fake("eye", "expression"), Fake("ear", "identity"), Fake("hand", "muscles", independent=False)]


def wish(data: Path, **changes: object) -> Wish:
    return replace(Wish(data, "happiness", size=32, count=8, intensity=(0.5, 1.0)), **changes)


def rewritten(drawn: Path, path: Path, leave_out: tuple[str, ...] = (), **columns: object) -> Path:
    """The drawn manifest with columns changed row by row, or left out."""
    table = pq.read_table(drawn)
    rows = table.to_pylist()
    for name, change in columns.items():
        values = pa.array([change(row) for row in rows], table.schema.field(name).type)
        table = table.set_column(table.column_names.index(name), name, values)
    pq.write_table(table.drop_columns(list(leave_out)), path)
    return path
