"""Measurements as Parquet tables: parts of some thousand photographs, each written whole by one process."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any

from mien.bulk.files import Place, as_text
from mien.errors import MienError
from mien.expressions import BLENDSHAPES, EXPRESSIONS

if TYPE_CHECKING:
    import pyarrow as pa

PART, SECONDS = 5000, 120.0
"""A part is written when it has so many photographs, or is so old: what a kill can lose, and no more."""


class Tables:
    """The parts in ``out``, faces-00001.parquet and on; a photograph stands in one of them, with all its faces."""

    def __init__(self, out: Place) -> None:
        try:
            import pyarrow.parquet
        except ImportError as error:
            raise MienError(f'`mien bulk --measure` needs {error.name}: pip install "mien[bulk]"') from error
        self.out, self.parquet = out, pyarrow.parquet
        self.parts = [name for name in out.names() if name.startswith("faces-") and name.endswith(".parquet")]
        numbers = [int(found[1]) for part in self.parts if (found := re.fullmatch(r"faces-(\d+)\.parquet", part))]
        self.number = max(numbers, default=0)
        self.rows: list[dict[str, Any]] = []
        self.photographs, self.since = 0, time.monotonic()

    def done(self) -> set[str]:
        """The photographs that stand in the parts."""
        names: set[str] = set()
        for part in self.parts:
            with self.out.brought(part) as path:
                try:
                    names.update(self.parquet.read_table(path, columns=["file"])["file"].to_pylist())
                except (OSError, KeyError, ValueError) as error:
                    raise MienError(f"{part} is no table of mien bulk; remove it, and run the same again") from error
        return names

    def add(self, rows: list[dict[str, Any]]) -> None:
        """The rows of one photograph."""
        self.rows += [row | {"file": as_text(row["file"])} for row in rows]
        self.photographs += 1
        if self.photographs >= PART or time.monotonic() - self.since > SECONDS:
            self.write()

    def write(self) -> None:
        """Write the rows that are held as the next part."""
        if self.rows:
            import pyarrow as pa

            self.number += 1  # beyond the highest: where a part was removed, its number is not taken again
            name = f"faces-{self.number:05d}.parquet"
            with self.out.writing(name) as path:
                self.parquet.write_table(pa.Table.from_pylist(self.rows, _schema()), path)
            self.parts.append(name)
        self.rows, self.photographs, self.since = [], 0, time.monotonic()


def _schema() -> pa.Schema:
    import pyarrow as pa

    columns = {
        "file": pa.string(),
        "face": pa.int32(),
        "box": pa.list_(pa.float32(), 4),
        "score": pa.float32(),
        "expression": pa.string(),
        "chances": pa.struct([(name, pa.float32()) for name in EXPRESSIONS]),
        "blendshapes": pa.list_(pa.float32(), len(BLENDSHAPES)),
    }
    return pa.schema(columns, {"blendshapes": ",".join(BLENDSHAPES)})
