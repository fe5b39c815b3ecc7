"""The pictures of a comparison as a file, ``pictures.parquet``: every row's faces at full intensity, without loss.

Columns: row (its name), kind (control, model or ceiling), face (which source it is of, counted from 0; -1 where it is a
real photograph of somebody else), person, image (PNG). The schema's metadata holds the expression under "mien".
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from mien.errors import MienError

COLUMNS = ("row", "kind", "face", "person", "image")


@dataclass(frozen=True)
class Shot:
    """A picture, as a row of the file."""

    row: str
    kind: str
    face: int
    person: int
    image: bytes

    @property
    def pixels(self) -> Image.Image:
        return Image.open(io.BytesIO(self.image), formats=("PNG",)).convert("RGB")


def png(rgb: np.ndarray) -> bytes:
    """(H, W, 3) uint8 as a PNG file."""
    file = io.BytesIO()
    Image.fromarray(rgb).save(file, "PNG")
    return file.getvalue()


def write_album(shots: list[Shot], expression: str, path: Path) -> None:
    """Write ``shots`` of edits to ``expression``."""
    about = {b"mien": json.dumps({"to": expression}).encode()}
    types = (pa.string(), pa.string(), pa.int32(), pa.int64(), pa.binary())
    columns = [pa.array([getattr(s, name) for s in shots], kind) for name, kind in zip(COLUMNS, types, strict=True)]
    pq.write_table(pa.table(columns, COLUMNS).replace_schema_metadata(about), path)


def read_album(path: Path) -> tuple[list[Shot], str]:
    """The shots and the expression; MienError where there is no such file."""
    try:
        table = pq.read_table(path, columns=list(COLUMNS))
        about = json.loads((table.schema.metadata or {})[b"mien"])
        return [Shot(**row) for row in table.to_pylist()], about["to"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise MienError(f"{path}: no pictures of a comparison; give a folder that `mien compare` made") from error
