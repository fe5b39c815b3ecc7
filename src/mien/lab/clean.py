"""Noisy labels, filtered as in "StarGAN v2 Enhancement: Tackling Noise And Identity Preservation": an expression
classifier looks at every labelled face, and the face stays where it is confident of the label.

The paper drops all others (AffectNet: 42,000 faces to 19,628). Here those that the classifier is confident to be of
another expression may be relabelled instead. A filter is no better than its reader, and one that learned from the very
labels agrees with some of their mistakes: the report and the picture are there to be looked at.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from PIL import Image
from torch import Tensor

from mien.errors import MienError
from mien.expressions import EXPRESSIONS
from mien.lab.data import emotion_labels, load
from mien.lab.method import Method
from mien.model import Model
from mien.photo.draw import grid, numbered
from mien.photo.read import Photo
from mien.photo.write import write, write_aside

VERDICTS = ("kept", "dropped, unsure", "dropped, another", "relabelled")
KEPT, UNSURE, ANOTHER, RELABELLED = range(len(VERDICTS))
EXAMPLES, CELL = 8, 112


@dataclass(frozen=True)
class Reader:
    """An expression classifier: ``read`` takes (B, 3, size, size) in [-1, 1] and gives (B, 7) probabilities."""

    name: str
    size: int
    read: Callable[[Tensor], np.ndarray]


@dataclass(frozen=True)
class Report:
    """What became of the N labelled faces in the cleaned splits.

    rows: (N,) where each stands in the manifest. label, said, sure: (N,) its label, the likeliest expression (both as
    indices into EXPRESSIONS) and that one's probability. verdict: (N,) indices into VERDICTS. unlabelled: how many more
    rows of these splits had none of the seven labels, or no picture.
    """

    rows: np.ndarray
    label: np.ndarray
    said: np.ndarray
    sure: np.ndarray
    verdict: np.ndarray
    unlabelled: int

    def counts(self) -> np.ndarray:
        """(7, 4): faces of each label with each verdict."""
        return _crossed(self.label, self.verdict, len(VERDICTS))

    def confusion(self) -> np.ndarray:
        """(7, 7): faces of each label (down) by what the reader says (across), however sure it is."""
        return _crossed(self.label, self.said, len(EXPRESSIONS))

    def after(self) -> np.ndarray:
        """(7,): faces of each label that are left, those that were given it among them."""
        given = np.bincount(self.said[self.verdict == RELABELLED], minlength=len(EXPRESSIONS))
        return self.counts()[:, KEPT] + given


def reader_of_model(model: Model) -> Reader:
    """The expression reader in an ``.onnx`` file; MienError where the file is an edit model."""
    if model.about["mien"] != "reader":
        raise MienError(f"{model.path}: not a reader; give one of expressions, such as emotion or vgg19")
    return Reader(
        str(model.about["name"]), model.size, lambda image: model.run({"image": image.numpy()}).get("read", np.empty(0))
    )


def reader_of_method(name: str, method: Method) -> Reader:
    """The expression reader that a training run holds; MienError where it holds no reader of crops."""
    if method.condition or method.graph() is not None:
        raise MienError(f"{name} is no reader of crops; give a run of one of expressions, such as emotion or vgg19")

    @torch.inference_mode()
    def read(image: Tensor) -> np.ndarray:
        return method(image).float().numpy()

    return Reader(name, method.config.size, read)


def clean(
    manifest: Path,
    out: Path,
    reader: Reader,
    *,
    confidence: float = 0.5,
    relabel: bool = False,
    keep_unlabelled: bool = False,
    splits: Sequence[str] = ("train", "val"),
    overwrite: bool = False,
) -> Report:
    """Write ``manifest`` without the faces of ``splits`` whose labels ``reader`` does not confirm; others as they are.

    A face is kept where the likeliest expression is its label and has a probability of ``confidence`` or more. With
    ``relabel``, one that is as surely of another expression gets that label. Faces without one of the seven labels go,
    unless ``keep_unlabelled``. Of FER+ votes the clear majority is the label; relabelled, such a manifest gains a
    column ``emotion``. Beside ``out`` come the report (.md) and examples (.jpg). Raises MienError, and writes nothing.
    """
    splits = tuple(dict.fromkeys(splits))
    page, picture = out.with_suffix(".md"), out.with_suffix(".jpg")
    _check(manifest, (out, page, picture), confidence, overwrite)
    table = _table(manifest, splits)
    labels = emotion_labels(table, manifest)
    report = judged(manifest, table, labels, reader, confidence, relabel, splits)
    if not report.after().any():
        raise MienError(f"{reader.name} confirms no label of {manifest} at --confidence {confidence}: give a lower one")
    stay = ~np.isin(_split(table), splits)
    if keep_unlabelled:
        stay[:] = True
    stay[report.rows] = (report.verdict == KEPT) | (report.verdict == RELABELLED)
    cleaned = (relabelled(table, labels, report) if relabel else table).filter(pa.array(stay))
    text = f"# {manifest.name} cleaned by {reader.name}\n\nSplits {', '.join(splits)}; confidence {confidence:g}.\n"
    pixels = np.asarray(examples(report, table["image"]))
    with write_aside(out, overwrite) as data, write_aside(page, overwrite) as words:
        pq.write_table(cleaned, data, compression="zstd")
        words.write_text(text + described(report, keep_unlabelled))
        write(Photo.from_array(pixels), pixels, picture, overwrite=overwrite, mark=False)
    return report


def judged(
    manifest: Path,
    table: pa.Table,
    labels: Sequence[str],
    reader: Reader,
    confidence: float,
    relabel: bool,
    splits: Sequence[str],
) -> Report:
    """Every face of ``splits`` with one of the seven labels, read and judged; labels: (rows of the table,)."""
    index: dict[str, int] = {name: i for i, name in enumerate(EXPRESSIONS)}
    truth = np.array([index.get(label, -1) for label in labels], np.int64)
    if not (truth >= 0).any():
        raise MienError(f"{manifest}: no face with one of the labels {', '.join(EXPRESSIONS)} in emotion or votes")
    rows, chances = [], []
    for split in splits:
        here = np.flatnonzero((_split(table) == split) & pc.is_valid(table["image"]).to_numpy())
        labelled = truth[here] >= 0
        images = load(manifest, split, frozenset({"image"}), reader.size).faces.image[torch.from_numpy(labelled)]
        rows.append(here[labelled])
        chances += [_read(reader, part) for part in images.split(256) if len(part)]
    where, read = np.concatenate(rows), np.concatenate([np.empty((0, len(EXPRESSIONS))), *chances])
    said, sure = read.argmax(1), read.max(1, initial=0)
    verdict = verdicts(truth[where], said, sure, confidence, relabel)
    inside = int(np.isin(_split(table), splits).sum())
    return Report(where, truth[where], said, sure, verdict, inside - len(where))


def verdicts(label: np.ndarray, said: np.ndarray, sure: np.ndarray, confidence: float, relabel: bool) -> np.ndarray:
    """(N,) indices into VERDICTS: unsure below ``confidence``, else kept where it says the label, else another."""
    another = RELABELLED if relabel else ANOTHER
    return np.where(sure < confidence, UNSURE, np.where(said == label, KEPT, another))


def relabelled(table: pa.Table, labels: Sequence[str], report: Report) -> pa.Table:
    """``table`` with the new labels in its column emotion, which comes to be where the labels stood as votes."""
    given = report.verdict == RELABELLED
    named = "emotion" in table.column_names
    values = table["emotion"].to_pylist() if named else list(labels)
    for row, said in zip(report.rows[given], report.said[given], strict=True):
        values[row] = EXPRESSIONS[said]
    if not named:
        return table.append_column("emotion", pa.array(values, pa.string()))
    place = table.column_names.index("emotion")
    field = table.schema.field(place)
    return table.set_column(place, field, pa.array(values, field.type))


def described(report: Report, keep_unlabelled: bool) -> str:
    """Counts per label and verdict, and the confusion table, as Markdown."""
    counts, after = report.counts(), report.after()
    lines = [f"| label | faces | {' | '.join(VERDICTS)} | after |", "| --- |" + " ---: |" * (len(VERDICTS) + 2)]
    lines += [
        f"| {name} | {row.sum()} | {' | '.join(map(str, row))} | {left} |"
        for name, row, left in zip(EXPRESSIONS, counts, after, strict=True)
    ]
    lines.append(f"| **all** | {counts.sum()} | {' | '.join(map(str, counts.sum(0)))} | {after.sum()} |")
    if lost := [
        name for name, before, left in zip(EXPRESSIONS, counts.sum(1), after, strict=True) if before > left == 0
    ]:
        lines += ["", f"**Nothing is left of {', '.join(lost)}**: this reader may not know it."]
    fate = "kept" if keep_unlabelled else "dropped"
    lines += ["", f"Without one of these labels: {report.unlabelled}, {fate}.", ""]
    lines += [
        "Label (down) and what the reader says, however sure (across):",
        "",
        f"| | {' | '.join(EXPRESSIONS)} |",
        "| --- |" + " ---: |" * len(EXPRESSIONS),
    ]
    confusion = zip(EXPRESSIONS, report.confusion(), strict=True)
    lines += [f"| {name} | {' | '.join(map(str, row))} |" for name, row in confusion]
    return "\n" + "\n".join(lines) + "\n"


def examples(report: Report, images: pa.ChunkedArray) -> Image.Image:
    """A row of faces for each label and verdict, evenly from the manifest, captioned with what the reader says."""
    rows, names = [], []
    for k, label in enumerate(EXPRESSIONS):
        for v, verdict in enumerate(VERDICTS):
            index = np.flatnonzero((report.label == k) & (report.verdict == v))
            if not len(index):
                continue
            chosen = index[np.unique(np.linspace(0, len(index) - 1, EXAMPLES).round().astype(int))]
            rows.append([_captioned(images[int(report.rows[i])].as_py(), report, i) for i in chosen])
            names.append(f"{label}: {verdict}")
    return grid(rows, [""] * EXAMPLES, names, CELL)


def _captioned(blob: bytes, report: Report, i: int) -> np.ndarray:
    face = Image.open(io.BytesIO(blob)).convert("RGB").resize((CELL, CELL), Image.Resampling.LANCZOS)
    says = f"{EXPRESSIONS[report.said[i]]} {report.sure[i]:.2f}".replace(" 0.", " .")
    return np.asarray(numbered(np.asarray(face), [(0, 0, CELL - 1, CELL - 1)], [says]))


def _read(reader: Reader, images: Tensor) -> np.ndarray:
    """(B, 3, S, S) uint8 -> (B, 7)."""
    chances = reader.read(images.float() / 127.5 - 1)
    if chances.shape != (len(images), len(EXPRESSIONS)) or not np.allclose(chances.sum(1), 1, atol=0.01):
        raise MienError(f"{reader.name} does not read the seven expressions; give emotion, vgg19 or a reader like them")
    return chances


def _check(manifest: Path, places: Sequence[Path], confidence: float, overwrite: bool) -> None:
    """MienError for what would fail, or do harm, after minutes of work."""
    if not 0 <= confidence <= 1:
        raise MienError(f"--confidence {confidence}: give a number between 0 and 1")
    if places[0].suffix != ".parquet":
        raise MienError(f"{places[0]}: give the new manifest a name that ends in .parquet")
    for place in places:
        if place.exists() and manifest.exists() and place.samefile(manifest):
            raise MienError(f"{place} is the manifest itself, which stays as it is; give another -o")
        if place.exists() and not overwrite:
            raise MienError(f"{place} exists; give --overwrite or another -o")
    if not places[0].parent.is_dir():
        raise MienError(f"the folder {places[0].parent} does not exist; make it first")


def _table(manifest: Path, splits: Sequence[str]) -> pa.Table:
    """The whole manifest; MienError where it is none, or has nothing in one of the ``splits``."""
    try:
        table = pq.read_table(manifest)
    except (OSError, pa.ArrowException) as error:
        raise MienError(f"{manifest}: not a readable Parquet manifest ({str(error).splitlines()[0]})") from error
    missing = {"split", "image"} - set(table.column_names)
    if missing:
        raise MienError(f"{manifest}: no column {', '.join(sorted(missing))}; it has {', '.join(table.column_names)}")
    there = sorted(set(filter(None, table["split"].to_pylist())))
    if not splits or set(splits) - set(there):
        raise MienError(f"{manifest}: nothing in {', '.join(splits) or 'no split'}; give --splits {' '.join(there)}")
    return table


def _split(table: pa.Table) -> np.ndarray:
    return np.array(table["split"].to_pylist(), object)


def _crossed(down: np.ndarray, across: np.ndarray, width: int) -> np.ndarray:
    """(7, width) counts of pairs."""
    return np.bincount(down * width + across, minlength=len(EXPRESSIONS) * width).reshape(-1, width)
