"""``mien augment``: more faces of rare expressions, edited from real ones of their split and marked as such.

Each edit goes the way of ``mien edit``, in its source's crop, so that nothing but the edit tells the two apart, and is
measured again. Edits are kept beside the new manifest, a few at a time, until it is written: begun again after whatever
ended it, the same command goes on where it was.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tyro
from PIL import Image
from rich.console import Console
from rich.progress import Progress

from mien import __version__
from mien.editor import Editor, Seen
from mien.errors import MienError
from mien.expressions import TEMPLATE
from mien.lab.balance import Edit, Wish, checked, plan
from mien.lab.collections.measure import find
from mien.lab.data import emotion_labels
from mien.lab.judges import Own, to_crop
from mien.lab.kept import Arrays, Kept
from mien.photo.find import face_of
from mien.photo.read import Photo
from mien.photo.write import write_aside

PART = 32
"""Edits a part: what is lost when it is interrupted."""
Made = dict[str, Any]
"""An edited face: image, landmarks and blendshapes, as the columns of a manifest hold them."""
MARKS = pa.schema({"synthetic": pa.bool_(), "source": pa.string(), "model": pa.string(), "intensity": pa.float32()})
"""The columns that say of a row whether it was edited, from which row, by which model, how strongly."""


@dataclass(frozen=True)
class Report:
    """Faces by (split, expression): those that were there and those added; and edits in which no face was found."""

    there: Counter[tuple[str, str]]
    added: Counter[tuple[str, str]]
    lost: int

    def __str__(self) -> str:
        said = [
            f"{split}: {name} {self.there[split, name]:,} + {count:,} edited"
            for (split, name), count in self.added.items()
        ]
        return "\n".join(said + [f"left out {self.lost:,}: no face found in the edit"] * (self.lost > 0))


def augment(
    manifest: Path, out: Path, wish: Wish, *, overwrite: bool = False, console: Console | None = None
) -> Report:
    """Write ``manifest`` with edited faces behind its own as ``out``; ``manifest`` itself stays as it is.

    A new row has its source's identity and split, the new expression, pixels, landmarks and blendshapes of its own, the
    columns ``MARKS``, and nothing in any other column. Raises MienError before any edit for what cannot be met.
    """
    editor = Editor(wish.model)
    table = _read(manifest, out, checked(wish), editor, overwrite)
    labels = emotion_labels(table, manifest)
    edits = plan(table, labels, wish, editor.model.about)
    if not edits:
        raise MienError(f"{manifest}: every class is as large as wished already; there is nothing to add")
    kept, made = Kept(out.with_name(f"{out.name}.parts")), []
    with Progress(console=console or Console(stderr=True)) as progress:
        for first in progress.track(range(0, len(edits), PART), description="editing"):
            made += _part(kept, table, edits[first : first + PART], editor)
    done = [(edit, face) for edit, face in zip(edits, made, strict=True) if face is not None]
    if not done:
        raise MienError(f"model {wish.model}: no face was found in any of {len(edits)} edits; give another --model")
    with write_aside(out, overwrite) as aside:
        pq.write_table(_joined(table, labels, done, editor.model.about), aside, compression="zstd")
    kept.clear()
    split = table["split"].to_pylist()
    added = Counter((split[edit.row], edit.to) for edit, _ in done)
    return Report(Counter(zip(split, labels, strict=True)), added, len(edits) - len(done))


# --- edits, a part at a time ---------------------------------------------------------------------------------------


def _part(kept: Kept, table: pa.Table, edits: Sequence[Edit], editor: Editor) -> list[Made | None]:
    """What ``edits`` make, measured; None where no face is found in it."""
    some = table.take([edit.row for edit in edits])
    blobs, names = some["image"].to_pylist(), some["name"].to_pylist()
    points: list[Any] = some["landmarks"].to_pylist() if "landmarks" in some.column_names else [None] * len(some)

    def made() -> Arrays:
        found: Arrays = {}
        for k, (name, blob, edit, at) in enumerate(zip(names, blobs, edits, points, strict=True)):
            image = _edited(editor, edit, _pixels(blob, name), at)
            if (face := find(image)) is None:
                continue
            webp = io.BytesIO()
            Image.fromarray(image).save(webp, "WEBP", quality=95)
            found[f"{k} image"] = np.frombuffer(webp.getvalue(), np.uint8)
            found[f"{k} landmarks"] = (face.landmarks.ravel() / len(image)).astype(np.float16)
            found[f"{k} blendshapes"] = Own("muscles").read(image[None])[0].clip(0, 1).astype(np.float16)
        return found

    found = kept.arrays((__version__, editor.model.path.read_bytes(), *blobs, points, edits), made)
    return [
        {"image": found[f"{k} image"].tobytes()} | {name: found[f"{k} {name}"] for name in ("landmarks", "blendshapes")}
        if f"{k} image" in found
        else None
        for k in range(len(edits))
    ]


def _edited(editor: Editor, edit: Edit, image: np.ndarray, points: Any) -> np.ndarray:
    """(S, S, 3) uint8 of a crop as the editor edits a photograph's face; points: its 136 landmarks, if any."""
    landmarks = np.resize(TEMPLATE if points is None else np.array(points, np.float32), (68, 2))
    muscles, emotion = (Own(reader).read(image[None])[0] for reader in ("muscles", "emotion"))
    seen = Seen(face_of(landmarks * len(image), 1), to_crop(image), muscles, emotion)
    return editor.edit(Photo.from_array(image), edit.to, intensity=edit.intensity, seen=[seen]).rgb


def _pixels(blob: bytes, name: str) -> np.ndarray:
    """(S, S, 3) uint8."""
    try:
        picture = Image.open(io.BytesIO(blob), formats=["WEBP", "PNG", "JPEG"]).convert("RGB")
    except OSError as error:
        raise MienError(f"the image of row {name!r} cannot be read (WebP, PNG or JPEG is)") from error
    return np.asarray(picture.resize((picture.height, picture.height)))


# --- the manifest --------------------------------------------------------------------------------------------------


def _joined(table: pa.Table, labels: Sequence[str], done: list[tuple[Edit, Made]], about: dict[str, Any]) -> pa.Table:
    """``table`` and, behind it, a row for each edit; labels that stood as votes get a column ``emotion``."""
    source, met = table.take([edit.row for edit, _ in done]), set(table["name"].to_pylist())
    names, count = source["name"].to_pylist(), len(done)
    if "emotion" not in table.column_names:
        table = table.append_column("emotion", pa.array(labels, pa.string()))
    for field in MARKS:
        if field.name not in table.column_names:
            nothing = pa.nulls(len(table), field.type)
            table = table.append_column(field, nothing.fill_null(False) if field.name == "synthetic" else nothing)
    new: dict[str, list[Any]] = {name: [None] * count for name in table.column_names}
    new |= {name: source[name].to_pylist() for name in ("identity", "split") if name in new}
    new |= {name: [face[name] for _, face in done] for name in ("image", "landmarks", "blendshapes") if name in new}
    new["name"] = [_named(f"{name}~{edit.to}", met) for name, (edit, _) in zip(names, done, strict=True)]
    new["emotion"] = [edit.to for edit, _ in done]
    new |= {"synthetic": [True] * count, "source": names, "model": [f"{about['name']} {about['version']}"] * count}
    new["intensity"] = [edit.intensity for edit, _ in done]
    schema = pa.schema([field.with_nullable(True) for field in table.schema], table.schema.metadata)
    added = pa.table([pa.array(new[field.name], field.type) for field in schema], schema)
    return pa.concat_tables([table.cast(schema), added])


def _named(name: str, met: set[str]) -> str:
    """``name``, numbered where it is taken."""
    free, number = name, 1
    while free in met:
        number += 1
        free = f"{name}~{number}"
    met.add(free)
    return free


def _read(manifest: Path, out: Path, wish: Wish, editor: Editor, overwrite: bool) -> pa.Table:
    """The whole manifest; MienError for what would fail, or do harm, after minutes of work."""
    if out.suffix != ".parquet":
        raise MienError(f"{out}: give the new manifest a name that ends in .parquet")
    if out.exists() and manifest.exists() and out.samefile(manifest):
        raise MienError(f"{out} is the manifest itself, which stays as it is; give another -o")
    if out.exists() and not overwrite:
        raise MienError(f"{out} exists; give --overwrite or another -o")
    if not out.parent.is_dir():
        raise MienError(f"the folder {out.parent} does not exist; make it first")
    try:
        table = pq.read_table(manifest)
    except (OSError, pa.ArrowException) as error:
        raise MienError(f"{manifest}: not a readable Parquet manifest ({str(error).splitlines()[0]})") from error
    needed = {"name", "split", "image"} | ({"emotion"} if "votes" not in table.column_names else set())
    if "landmarks" in editor.model.about["source"]:
        needed.add("landmarks")
    if missing := needed - set(table.column_names):
        raise MienError(f"{manifest}: no column {', '.join(sorted(missing))}; it has {', '.join(table.column_names)}")
    for field in MARKS:
        if field.name in table.column_names and table.schema.field(field.name).type != field.type:
            raise MienError(f"{manifest}: its column {field.name} is not {field.type}; rename it first")
    there = sorted(set(filter(None, table["split"].to_pylist())))
    if not wish.splits or set(wish.splits) - set(there):
        raise MienError(
            f"{manifest}: nothing in {', '.join(wish.splits) or 'no split'}; give --splits {' '.join(there)}"
        )
    return table


# --- the command ---------------------------------------------------------------------------------------------------


def command(
    manifest: Annotated[Path, tyro.conf.Positional],
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])],
    wish: tyro.conf.OmitArgPrefixes[Wish],
    overwrite: bool = False,
) -> None:
    """Write a manifest anew with edited faces of rare expressions behind the real ones, each marked as edited.

    Started again after an interruption, the same command goes on where it stopped.

    Args:
        manifest: The Parquet manifest, which stays as it is.
        out: The Parquet file to write.
        overwrite: Replace a file that exists.
    """
    print(f"{augment(manifest, out, wish, overwrite=overwrite)}\n{out}")


def main(words: list[str]) -> int:
    """``mien augment``, from its words on the command line."""
    tyro.cli(command, prog="mien augment", args=words, config=(tyro.conf.FlagCreatePairsOff,))
    return 0
