"""``mien augment``: who is edited to what, what a new row holds, and that nothing is measured on one."""

from __future__ import annotations

import io
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from PIL import Image
from tiny import QUIET, tiny, trainer_of

from mien.errors import MienError
from mien.lab import chosen, commands, synthetic
from mien.lab.balance import Wish, evenly, plan
from mien.lab.collections.measure import find
from mien.lab.data import load
from mien.lab.export import export
from mien.lab.readers.vgg19 import VGG19, VGG19Config
from mien.lab.synthetic import augment
from mien.model import find_model

FILL = Wish(balance=True)
IMAGE = frozenset({"image", "emotion", "landmarks", "blendshapes", "identity"})


@pytest.fixture(scope="module")
def few(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train: four people neutral, three of them happy, two surprised. Test: one person with four expressions."""
    table = pq.read_table(drawn)
    kept = [
        f"p{person:03d}_{photo}" for photo, people in enumerate([(1, 2, 3, 5), (1, 2, 3), (1, 2)]) for person in people
    ]
    kept += [f"p004_{photo}" for photo in range(4)]
    path = tmp_path_factory.mktemp("few") / "few.parquet"
    some = table.filter(pc.is_in(table["name"], pa.array(kept)))
    pq.write_table(some.append_column("note", pa.array(["n"] * len(some))), path)
    return path


@pytest.fixture(scope="module")
def filled(few: Path) -> Path:
    out = few.with_name("filled.parquet")
    report = augment(few, out, FILL, console=QUIET)
    assert str(report) == "train: happiness 3 + 1 edited\ntrain: surprise 2 + 2 edited"
    return out


def about(name: str = "flowfill") -> dict:
    return find_model(name).about


def table_of(rows: list[tuple[str, str, str]]) -> pa.Table:
    """A table with a row for each (person, expression, split)."""
    columns = dict(zip(("identity", "emotion", "split"), map(list, zip(*rows, strict=True)), strict=True))
    blank = {"name": [f"r{i}" for i in range(len(rows))], "image": [b""] * len(rows), "landmarks": [[0.0]] * len(rows)}
    return pa.table(columns | blank)


def planned(table: pa.Table, **wish: object) -> list[tuple[int, str]]:
    edits = plan(table, table["emotion"].to_pylist(), replace(FILL, **wish), about())
    return [(edit.row, edit.to) for edit in edits]


# --- who becomes what ----------------------------------------------------------------------------------------------


def test_everybody_is_edited_once_before_anybody_twice() -> None:
    people = ["a"] * 50 + ["b", "c"]
    counts = Counter(people[row] for row in evenly(range(52), people, 7, np.random.default_rng(0)))
    assert sorted(counts.values()) == [2, 2, 3]
    rows = evenly(range(50), people, 50, np.random.default_rng(0))
    assert sorted(rows) == list(range(50)), "a person's own faces come in turn"


def test_classes_are_filled_up_from_real_faces_of_their_split() -> None:
    rows = [(f"p{i}", "neutral", "train") for i in range(5)] + [("p0", "happiness", "train"), ("q", "neutral", "test")]
    rows += [("p1", "surprise", "train"), ("q", "surprise", "test"), ("r", "", "train")]
    table = table_of(rows)
    assert Counter(to for _, to in planned(table)) == {"happiness": 4, "surprise": 4}
    assert {row for row, _ in planned(table)} <= set(range(5))
    assert Counter(to for _, to in planned(table, count=3)) == {"happiness": 2, "surprise": 2}
    assert Counter(to for _, to in planned(table, balance=False, count=3, to=("anger",))) == {"anger": 3}
    made = table.append_column("synthetic", pa.array([i in (0, 1, 2, 3) for i in range(len(rows))]))
    assert {row for row, _ in planned(made)} == {4}, "an edit is never edited again"
    both = planned(table, splits=("train", "test"), to=("happiness",))
    assert [row for row, _ in both if row == 6] == [6], "asked for, test is filled up from its own people"


def test_neutral_is_made_of_the_largest_other_class() -> None:
    rows = [("a", "neutral", "train"), ("b", "happiness", "train"), ("c", "happiness", "train"), ("d", "fear", "train")]
    assert {row for row, to in planned(table_of(rows)) if to == "neutral"} <= {1, 2}
    assert {row for row, to in planned(table_of(rows), start="fear", to=("neutral",))} == {3}


def test_intensities_fill_the_range_and_follow_the_seed() -> None:
    table = table_of([(f"p{i}", "neutral", "train") for i in range(200)] + [("p0", "anger", "train")])
    labels = table["emotion"].to_pylist()
    drawn = [edit.intensity for edit in plan(table, labels, replace(FILL, intensity=(0.5, 0.9)), about())]
    assert 0.5 <= min(drawn) < 0.52 < 0.88 < max(drawn) <= 0.9
    assert plan(table, labels, FILL, about()) == plan(table, labels, FILL, about())
    assert planned(table, seed=1) != planned(table)


# --- what is written -----------------------------------------------------------------------------------------------


def test_the_real_rows_stay_and_the_new_ones_say_what_they_are(few: Path, filled: Path) -> None:
    before, after = pq.read_table(few), pq.read_table(filled)
    assert after.slice(0, len(before)).select(before.column_names).equals(before)
    assert after.schema.metadata == before.schema.metadata
    assert after["synthetic"].to_pylist() == [False] * len(before) + [True] * 3
    source = {row["name"]: row for row in before.to_pylist()}
    for row in after.slice(len(before)).to_pylist():
        real = source[row["source"]]
        assert (row["identity"], row["split"]) == (real["identity"], "train")
        assert (real["emotion"], row["model"], row["note"]) == ("neutral", "flowfill 0.1.0", None)
        assert 0.6 <= row["intensity"] <= 1
        assert row["name"] == f"{row['source']}~{row['emotion']}"
    assert Counter(after["emotion"].to_pylist()[len(before) :]) == {"happiness": 1, "surprise": 2}
    assert [path.name for path in few.parent.iterdir() if "filled" in path.name] == ["filled.parquet"]


def test_new_rows_are_other_pictures_measured_again(few: Path, filled: Path) -> None:
    table = pq.read_table(filled)
    source = {row["name"]: row for row in table.to_pylist()}
    for row in table.filter(table["synthetic"]).to_pylist():
        real = source[row["source"]]
        pictures = [np.asarray(Image.open(io.BytesIO(each["image"]))) for each in (row, real)]
        assert pictures[0].shape == pictures[1].shape
        assert np.abs(pictures[0].astype(int) - pictures[1]).mean() > 1
        face = find(pictures[0])
        assert face is not None
        assert np.abs(face.landmarks.ravel() / len(pictures[0]) - row["landmarks"]).mean() < 0.015
        assert row["blendshapes"] != real["blendshapes"]


def test_training_reads_it_and_nothing_is_measured_on_it(few: Path, filled: Path) -> None:
    assert len(load(filled, "train", IMAGE, 32)) == 12
    real = load(filled, "train", IMAGE, 32, real=True)
    assert (real.names, real.digest) == ((own := load(few, "train", IMAGE, 32)).names, own.digest)
    with pytest.raises(MienError, match="it has neutral 4, happiness 3, surprise 2;"):
        chosen.choose(chosen.Wish(filled, "happiness", split="train", size=32))


def test_edited_twice_names_stay_unlike(few: Path, filled: Path, tmp_path: Path) -> None:
    augment(filled, tmp_path / "again.parquet", Wish(count=2, to=("happiness",)), console=QUIET)
    table = pq.read_table(tmp_path / "again.parquet")
    names = table["name"].to_pylist()
    assert len(set(names)) == len(names) == len(pq.read_table(filled)) + 2
    assert not any("~" in name for name in table["source"].to_pylist() if name)


def test_votes_get_a_column_of_labels(few: Path, tmp_path: Path) -> None:
    table = pq.read_table(few)
    votes = [[9 * (label == name) for name in ("neutral", "happiness")] for label in table["emotion"].to_pylist()]
    voted = table.drop_columns("emotion").append_column("votes", pa.array(votes))
    pq.write_table(voted.replace_schema_metadata({"votes": "neutral,happiness"}), tmp_path / "v.parquet")
    augment(tmp_path / "v.parquet", tmp_path / "o.parquet", FILL, console=QUIET)
    assert Counter(load(tmp_path / "o.parquet", "train", IMAGE, 32).faces.emotion.tolist()) == {0: 4, 1: 4}


def test_interrupted_it_goes_on(few: Path, filled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two edits of three are done when it is interrupted; the third alone is left to do."""
    monkeypatch.setattr(synthetic, "PART", 1)
    done = []

    def counted(*given, stop: int, do=synthetic.find) -> object:
        if len(done) == stop:
            raise KeyboardInterrupt
        done.append(given)
        return do(*given)

    out = tmp_path / "out.parquet"
    monkeypatch.setattr(synthetic, "find", lambda *given: counted(*given, stop=2))
    with pytest.raises(KeyboardInterrupt):
        augment(few, out, FILL, console=QUIET)
    assert not out.exists()
    monkeypatch.setattr(synthetic, "find", lambda *given: counted(*given, stop=3))
    augment(few, out, FILL, console=QUIET)
    assert len(done) == 3
    assert pq.read_table(out).equals(pq.read_table(filled))
    assert [path.name for path in tmp_path.iterdir()] == ["out.parquet"]


def test_edits_without_a_face_are_left_out(few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out.parquet"
    good = synthetic.find
    calls: list[object] = []
    monkeypatch.setattr(synthetic, "find", lambda image: good(image) if calls or calls.append(image) else None)
    report = augment(few, out, Wish(count=2, to=("happiness",)), console=QUIET)
    assert (report.lost, sum(report.added.values())) == (1, 1)
    assert "left out 1: no face found in the edit" in str(report)
    monkeypatch.setattr(synthetic, "find", lambda image: None)
    with pytest.raises(MienError, match="no face was found in any of 1 edits"):
        augment(few, tmp_path / "none.parquet", Wish(count=1, to=("happiness",)), console=QUIET)


# --- refused, before any edit --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        (Wish(), "how many"),
        (Wish(count=0), "--count 0"),
        (replace(FILL, intensity=(0.9, 0.5)), "--intensity"),
        (replace(FILL, intensity=(0.0, 2.0)), "--intensity"),
        (replace(FILL, to=("fear",), start="fear"), "from fear to fear"),
        (replace(FILL, splits=("dev",)), "nothing in dev; give --splits test train"),
        (replace(FILL, to=("neutral",)), "nothing to add"),
        (replace(FILL, start="anger"), "no real anger face in split train to edit to happiness"),
        (replace(FILL, model="nobody"), "no model 'nobody'"),
    ],
)
def test_wishes_that_cannot_be_met(few: Path, tmp_path: Path, wish: Wish, said: str) -> None:
    with pytest.raises(MienError, match=said):
        augment(few, tmp_path / "o.parquet", wish, console=QUIET)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("column", "said"),
    [("emotion", "no column emotion"), ("landmarks", "no column landmarks"), ("split", "no column split")],
)
def test_manifests_that_lack_a_column(few: Path, tmp_path: Path, column: str, said: str) -> None:
    pq.write_table(pq.read_table(few).drop_columns(column), tmp_path / "m.parquet")
    with pytest.raises(MienError, match=said):
        augment(tmp_path / "m.parquet", tmp_path / "o.parquet", FILL, console=QUIET)


def test_places_that_will_not_do(few: Path, tmp_path: Path) -> None:
    (tmp_path / "there.parquet").touch()
    for out, said in (
        (few, "manifest itself"),
        ("o.csv", "parquet"),
        ("there.parquet", "exists"),
        ("a/o.parquet", "folder"),
    ):
        with pytest.raises(MienError, match=said):
            augment(few, tmp_path / out, FILL, console=QUIET)
    pq.write_table(pq.read_table(few).append_column("model", pa.array([1] * 13)), tmp_path / "m.parquet")
    with pytest.raises(MienError, match="column model is not string"):
        augment(tmp_path / "m.parquet", tmp_path / "o.parquet", FILL, console=QUIET)
    with pytest.raises(MienError, match="not a readable Parquet"):
        augment(tmp_path / "there.parquet", tmp_path / "o.parquet", FILL, console=QUIET)


def test_a_model_that_does_not_know_the_expression(drawn: Path, few: Path, tmp_path: Path) -> None:
    trainer_of(tiny("cyclegan"), drawn, tmp_path / "run", "cyclegan", steps=1).run(console=QUIET)
    model = tmp_path / "smile.onnx"
    export(*commands.restore(tmp_path / "run"), model)
    with pytest.raises(MienError, match="cyclegan was not taught surprise, only neutral and happiness"):
        augment(few, tmp_path / "o.parquet", replace(FILL, model=str(model)), console=QUIET)


def test_the_command(few: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "o.parquet"
    words = [str(few), "--count", "1", "--to", "happiness", "--intensity", "0.5", "0.5", "-o", str(out)]
    assert commands.main("augment", words) == 0
    assert capsys.readouterr().out == f"train: happiness 3 + 1 edited\n{out}\n"
    assert pq.read_table(out)["intensity"].to_pylist()[-1] == 0.5


def test_vgg16_is_vgg19_with_three_layers_fewer() -> None:
    """The recogniser of docs/results/augmentation.md: Simonyan & Zisserman 2015, table 1, columns D and E."""
    counts = [
        sum(len(p.shape) == 4 for p in VGG19(VGG19Config(size=32, width=2, depth=depth)).parameters())
        for depth in (16, 19)
    ]
    assert counts == [13, 16]
    with pytest.raises(MienError, match="--depth 17: choose one of 16, 19"):
        VGG19(VGG19Config(depth=17))
