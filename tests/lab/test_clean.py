"""``mien clean``: which labels go, which stay, and that nothing else is touched."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from tiny import QUIET, faces, trainer_of

from mien.errors import MienError
from mien.expressions import EXPRESSIONS
from mien.lab import clean as cleaning
from mien.lab.clean import ANOTHER, KEPT, RELABELLED, UNSURE, Reader, clean, verdicts
from mien.lab.commands import expression_reader, main
from mien.lab.data import load
from mien.lab.readers.vgg19 import VGG19, VGG19Config
from mien.model import shipped

SMILE, FROWN = "happiness", "sadness"


def noisy(drawn: Path, path: Path, changes: dict[int, str | None], leave_out: tuple[str, ...] = ()) -> Path:
    """The drawn manifest with other labels in some rows, and a column that no method knows."""
    table = pq.read_table(drawn).append_column("note", pa.array([f"n{i}" for i in range(256)]))
    labels = table["emotion"].to_pylist()
    for row, label in changes.items():
        labels[row] = label
    place = table.column_names.index("emotion")
    pq.write_table(table.set_column(place, "emotion", pa.array(labels)).drop_columns(list(leave_out)), path)
    return path


def oracle(drawn: Path, sure: Callable[[int], float] = lambda row: 0.9) -> Reader:
    """Knows each drawn face's own expression by its pixels, and is as ``sure`` as told."""
    table = pq.read_table(drawn)
    known = {}
    for split in ("train", "val", "test"):
        rows = np.flatnonzero(np.array(table["split"].to_pylist()) == split)
        images = load(drawn, split, frozenset({"image"}), 16).faces.image
        known |= {bytes(image.numpy()): int(row) for image, row in zip(images, rows, strict=True)}

    def read(image: torch.Tensor) -> np.ndarray:
        rows = [known[bytes(face.numpy())] for face in ((image + 1) * 127.5).round().byte()]
        chances = np.array([[(1 - sure(row)) / 6] * 7 for row in rows])
        for chance, row in zip(chances, rows, strict=True):
            chance[EXPRESSIONS.index(table["emotion"][row].as_py())] = sure(row)
        return chances

    return Reader("oracle", 16, read)


def rows_of(drawn: Path, split: str, count: int) -> list[int]:
    return [i for i, name in enumerate(pq.read_table(drawn)["split"].to_pylist()) if name == split][:count]


def test_verdicts_are_by_confidence_then_agreement() -> None:
    label, said, sure = np.array([1, 1, 1, 1]), np.array([1, 1, 2, 2]), np.array([0.5, 0.49, 0.5, 0.49])
    assert verdicts(label, said, sure, 0.5, False).tolist() == [KEPT, UNSURE, ANOTHER, UNSURE]
    assert verdicts(label, said, sure, 0.5, True).tolist() == [KEPT, UNSURE, RELABELLED, UNSURE]


def test_wrong_labels_go_and_all_else_stays(drawn: Path, tmp_path: Path) -> None:
    wrong, elsewhere = rows_of(drawn, "train", 6), rows_of(drawn, "test", 3)
    unsure = rows_of(drawn, "val", 2)
    path = noisy(drawn, tmp_path / "noisy.parquet", dict.fromkeys(wrong + elsewhere, "anger"))
    before, source = path.read_bytes(), pq.read_table(path)
    report = clean(path, tmp_path / "c.parquet", oracle(drawn, lambda row: 0.4 if row in unsure else 0.9))
    left = pq.read_table(tmp_path / "c.parquet")
    stay = [row for row in range(256) if row not in wrong + unsure]
    assert left.equals(source.take(stay))
    assert left.schema.equals(source.schema, check_metadata=True)
    assert left.schema.metadata[b"template"]
    assert path.read_bytes() == before
    assert report.counts().sum(0).tolist() == [216, 2, 6, 0]
    assert "Nothing is left of anger*" in (tmp_path / "c.md").read_text()
    assert load(tmp_path / "c.parquet", "train", frozenset({"image", "emotion"}), 16).names


def test_relabelled_faces_get_what_the_reader_is_sure_of(drawn: Path, tmp_path: Path) -> None:
    wrong = rows_of(drawn, "train", 5)
    path = noisy(drawn, tmp_path / "noisy.parquet", dict.fromkeys(wrong, "anger"))
    report = clean(path, tmp_path / "c.parquet", oracle(drawn), relabel=True)
    cleaned, truth = pq.read_table(tmp_path / "c.parquet"), pq.read_table(drawn)
    assert cleaned["emotion"].to_pylist() == truth["emotion"].to_pylist()
    assert cleaned.schema.equals(pq.read_schema(path), check_metadata=True)
    assert report.counts()[EXPRESSIONS.index("anger"), RELABELLED] == 5
    assert report.after().sum() == 224
    assert report.after()[EXPRESSIONS.index("anger")] == 0


def test_the_unlabelled_go_unless_they_are_kept(drawn: Path, tmp_path: Path) -> None:
    row, odd, other = [*rows_of(drawn, "train", 2), rows_of(drawn, "test", 1)[0]]
    path = noisy(drawn, tmp_path / "noisy.parquet", {row: None, odd: "contempt", other: ""})
    report = clean(path, tmp_path / "less.parquet", oracle(drawn))
    clean(path, tmp_path / "all.parquet", oracle(drawn), keep_unlabelled=True)
    names = pq.read_table(path)["name"].to_pylist()
    kept = pq.read_table(tmp_path / "less.parquet")["name"].to_pylist()
    assert kept == [name for i, name in enumerate(names) if i not in (row, odd)], "the test split keeps its own"
    assert pq.read_table(tmp_path / "all.parquet").equals(pq.read_table(path))
    assert report.unlabelled == 2


def test_other_splits_are_cleaned_when_asked(drawn: Path, tmp_path: Path) -> None:
    train, test = rows_of(drawn, "train", 2), rows_of(drawn, "test", 3)
    path = noisy(drawn, tmp_path / "noisy.parquet", dict.fromkeys(train + test, "anger"))
    report = clean(path, tmp_path / "c.parquet", oracle(drawn), splits=["test", "test"])
    assert len(report.rows) == 32
    names = pq.read_table(path)["name"].to_pylist()
    left = pq.read_table(tmp_path / "c.parquet")["name"].to_pylist()
    assert left == [name for i, name in enumerate(names) if i not in test]


def test_votes_are_labels_too(drawn: Path, tmp_path: Path) -> None:
    """Dropped rows take their votes along; new labels come as a column, and those that were not touched stay."""
    truth = pq.read_table(drawn)["emotion"].to_pylist()
    index = [EXPRESSIONS.index(label) for label in truth]
    wrong, undecided = rows_of(drawn, "train", 3), rows_of(drawn, "test", 1)[0]
    votes = np.zeros((256, 7), np.uint8)
    votes[range(256), index] = 10
    votes[wrong] = np.eye(7, dtype=np.uint8)[EXPRESSIONS.index("fear")] * 10
    votes[undecided] = 1
    table = pq.read_table(drawn).drop_columns(["emotion"])
    table = table.append_column("votes", pa.array(votes.tolist(), pa.list_(pa.uint8(), 7)))
    path = tmp_path / "votes.parquet"
    pq.write_table(table.replace_schema_metadata({"votes": ",".join(EXPRESSIONS)}), path)
    clean(path, tmp_path / "less.parquet", oracle(drawn))
    left = pq.read_table(tmp_path / "less.parquet")
    assert left.schema.equals(pq.read_schema(path), check_metadata=True)
    assert len(left) == 253
    clean(path, tmp_path / "new.parquet", oracle(drawn), relabel=True)
    new = pq.read_table(tmp_path / "new.parquet")
    assert new["emotion"].to_pylist() == [label if i != undecided else "" for i, label in enumerate(truth)]
    assert new["votes"].equals(table["votes"])
    assert new.schema.metadata[b"votes"]


def test_report_and_picture_tell_the_same(drawn: Path, tmp_path: Path) -> None:
    smiles = [i for i, label in enumerate(pq.read_table(drawn)["emotion"].to_pylist()) if label == SMILE]
    wrong = [i for i in smiles if i in rows_of(drawn, "train", 99)][:4]
    path = noisy(drawn, tmp_path / "noisy.parquet", dict.fromkeys(wrong, FROWN))
    report = clean(path, tmp_path / "c.parquet", oracle(drawn))
    assert report.confusion()[EXPRESSIONS.index(FROWN), EXPRESSIONS.index(SMILE)] == 4
    assert report.confusion().sum() == report.counts().sum() == len(report.rows) == 224
    page = (tmp_path / "c.md").read_text()
    assert "Nothing is left" not in page
    assert "| sadness | 60 | 56 | 0 | 4 | 0 | 56 |" in page
    assert "| sadness | 0 | 4 | 0 | 56 | 0 | 0 | 0 |" in page
    picture = Image.open(tmp_path / "c.jpg")  # four labels with faces that are kept, one with some dropped
    assert picture.height == pytest.approx(5 * cleaning.CELL, rel=0.15)
    assert picture.width > cleaning.EXAMPLES * cleaning.CELL


def test_what_fails_leaves_nothing(drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(pq, "write_table", full)
    with pytest.raises(MienError, match="cannot be written"):
        clean(drawn, tmp_path / "c.parquet", oracle(drawn))
    assert list(tmp_path.iterdir()) == []


def test_existing_files_are_kept_unless_told_otherwise(drawn: Path, tmp_path: Path) -> None:
    for name in ("c.parquet", "c.md", "c.jpg"):
        (tmp_path / name).write_bytes(b"precious")
        with pytest.raises(MienError, match="--overwrite"):
            clean(drawn, tmp_path / "c.parquet", oracle(drawn))
        assert [file.read_bytes() for file in tmp_path.iterdir()] == [b"precious"]
        (tmp_path / name).unlink()
    (tmp_path / "c.parquet").write_bytes(b"old")
    clean(drawn, tmp_path / "c.parquet", oracle(drawn), overwrite=True)
    assert len(pq.read_table(tmp_path / "c.parquet")) == 256


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"confidence": 2.0}, "between 0 and 1"),
        ({"confidence": 1.0}, "confirms no label"),
        ({"out": "c.txt"}, r"\.parquet"),
        ({"out": "nowhere/c.parquet"}, "nowhere does not exist"),
        ({"out": "same.parquet", "overwrite": True}, "stays as it is"),
        ({"splits": ["train", "valid"]}, "--splits test train val"),
        ({"splits": []}, "--splits"),
        ({"manifest": "absent.parquet"}, "absent.parquet"),
        ({"manifest": "bare.parquet"}, "no face with one of the labels"),
        ({"manifest": "rows.parquet"}, "no column image"),
    ],
)
def test_mistakes_are_said_in_one_line(change: dict, message: str, drawn: Path, tmp_path: Path) -> None:
    (tmp_path / "same.parquet").write_bytes(drawn.read_bytes())
    noisy(drawn, tmp_path / "bare.parquet", {}, leave_out=("emotion",))
    noisy(drawn, tmp_path / "rows.parquet", {}, leave_out=("image",))
    there = {file.name for file in tmp_path.iterdir()}
    options = {"manifest": "same.parquet", "out": "c.parquet"} | change
    places = {key: tmp_path / options.pop(key) for key in ("manifest", "out")}
    with pytest.raises(MienError, match=message) as error:
        clean(*places.values(), oracle(drawn), **options)
    assert "\n" not in str(error.value)
    assert {file.name for file in tmp_path.iterdir()} == there


def test_readers_of_other_things_are_refused(drawn: Path, tmp_path: Path) -> None:
    with pytest.raises(MienError, match="give emotion"):
        expression_reader("emotions")
    with pytest.raises(MienError, match="not a reader"):
        expression_reader(str(shipped("flowfill").path))
    with pytest.raises(MienError, match="seven expressions"):
        clean(drawn, tmp_path / "c.parquet", expression_reader(str(shipped("muscles").path)))
    small = ["--size", "32", "--width", "8", "--blocks", "1", "--steps", "0"]
    main("train", ["stargan", "--data", str(drawn), "--out", str(tmp_path / "run"), *small])
    with pytest.raises(MienError, match="no reader of crops"):
        expression_reader(str(tmp_path / "run"))
    assert not (tmp_path / "c.parquet").exists()


def test_vgg19_learns_expressions_and_finds_the_wrong_labels(
    drawn: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The paper's way, small: the classifier learns from clean labels and filters noisy ones; its run and its .onnx
    file filter alike."""
    method = VGG19(VGG19Config(size=32, width=8))
    trainer_of(method, drawn, tmp_path / "run", "vgg19", steps=120, batch=16, ema=0.9).run(console=QUIET)
    held = faces(drawn, "test")
    read = expression_reader(str(tmp_path / "run")).read(held.take(torch.arange(len(held))).image)
    np.testing.assert_allclose(read.sum(1), 1, atol=1e-4)
    assert (read.argmax(1) == held.faces.emotion.numpy()).mean() > 0.9

    wrong = rows_of(drawn, "val", 12)
    truth = pq.read_table(drawn)["emotion"].to_pylist()
    path = noisy(drawn, tmp_path / "noisy.parquet", {row: SMILE if truth[row] != SMILE else FROWN for row in wrong})
    main("export", [str(tmp_path / "run"), "-o", str(tmp_path / "vgg19.onnx")])
    left = []
    for number, by in enumerate(("run", "vgg19.onnx")):
        out = tmp_path / f"c{number}.parquet"
        assert main("clean", [str(path), "-o", str(out), "--by", str(tmp_path / by), "--splits", "val"]) == 0
        left.append(pq.read_table(out)["name"].to_pylist())
    assert left[0] == left[1]
    names = pq.read_table(path)["name"].to_pylist()
    assert len(set(left[0]) & {names[row] for row in wrong}) <= 1, "wrong labels that stayed"
    assert len(left[0]) >= 256 - len(wrong) - 3, "right labels that went"
    assert "| happiness |" in capsys.readouterr().out


def test_a_picture_smaller_than_five_poolings_is_refused() -> None:
    with pytest.raises(MienError, match="32 or more"):
        VGG19(VGG19Config(size=16, width=2))
