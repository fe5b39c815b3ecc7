"""``mien compare`` on drawn faces: what is measured, refused and left out, and the same report each time."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tiny import QUIET, tiny, trainer_of

from mien import Editor
from mien.editor import Seen
from mien.errors import MienError
from mien.expressions import BLENDSHAPES, EXPRESSIONS
from mien.lab import commands, judges
from mien.lab.charts import ticks
from mien.lab.compare import Comparison, Wish, choose, compare, face_mask, spread
from mien.lab.export import export
from mien.lab.judges import Kind, find_judges
from mien.lab.report import write
from mien.photo.find import face_of

STAMP = re.compile(r'Measured 20\d\d-.*|"stamp": \{.*\}', re.S)


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


@pytest.fixture(scope="module")
def stargan(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny trained stargan, exported."""
    folder = tmp_path_factory.mktemp("stargan")
    trainer_of(tiny("stargan"), drawn, folder, "stargan", steps=3).run(console=QUIET)
    export(*commands.restore(folder), folder / "mine.onnx")
    return str(folder / "mine.onnx")


def wish(data: Path, **changes: object) -> Wish:
    return replace(Wish(data, "happiness", size=32, count=8, intensity=(0.5, 1.0)), **changes)


@pytest.fixture(scope="module")
def made(stargan: str, drawn: Path) -> Comparison:
    return compare([stargan], wish(drawn), PANEL, ["no such judge"], QUIET)


def test_control_model_and_ceiling_stand_side_by_side(made: Comparison) -> None:
    control, model, ceiling = made.rows
    assert [row.case.name for row in made.rows] == ["unedited", "mine", "real happiness"]
    assert control.figures["change"].value == 0
    assert control.figures["ssim"].value == pytest.approx(1)
    assert control.figures["identity/ear"].value == pytest.approx(1)
    assert control.figures["sharpness"].value == 1
    assert control.figures["accuracy/eye"].value < 0.5, "the control must look bad where expression is measured"
    assert model.figures["change"].value > 0
    assert model.figures["identity/ear"].value < 1
    assert "change" not in ceiling.figures
    assert ceiling.figures["identity/ear"].count == 8
    for row in made.rows:
        assert all(f.low <= f.value <= f.high and f.count == 8 for f in row.figures.values())


def test_a_models_figures_are_those_of_what_the_editor_makes(made: Comparison, stargan: str) -> None:
    """Edited again here, by the public editor, face by face."""
    editor, case = Editor(stargan), made.rows[1].case
    emotions = judges.Own("emotion").read(made.chosen.images)
    for k in range(3):
        image = made.chosen.images[k]
        face = face_of(made.chosen.landmarks[k] * 32, 1)
        seen = Seen(face, judges.to_crop(image), np.zeros(52, np.float32), emotions[k])
        alone = editor.edit(image, "happiness", seen=[seen]).rgb
        np.testing.assert_allclose(alone.astype(int), case.images[k], atol=1)
    assert made.rows[1].figures["change"].value == pytest.approx(
        np.abs(made.chosen.images.astype(int) - case.images).mean()
    )


def test_intensities_are_steps_of_the_model_alone(made: Comparison) -> None:
    control, model, _ = made.rows
    half, full = (figures["change"].value for _, figures in model.steps)
    assert 0 < half != full > 0
    assert full == model.figures["change"].value
    assert not control.steps
    assert -1 <= model.figures["linearity/eye"].value <= 1
    assert model.figures["acd/ear"].value > 0
    assert "linearity/eye" not in control.figures


def test_the_ceiling_is_of_the_same_people_where_they_have_one(drawn: Path) -> None:
    chosen, _ = choose(wish(drawn))
    assert (chosen.pair >= 0).all()
    assert chosen.others.tolist() == chosen.people[chosen.pair].tolist()
    assert all(name.endswith("_0") for name in chosen.names)
    assert not len(chosen.reference), "all other people's smiles are taken"


def test_everybody_comes_once_before_anybody_comes_twice() -> None:
    people = np.array([0, 0, 0, 1, 1, 2, 3, 4])
    rows = list(range(8))
    assert spread(rows, people, set(), 5) == [0, 3, 5, 6, 7]
    assert spread(rows, people, set(), 6) == [0, 1, 3, 5, 6, 7]
    assert spread(rows, people, {2, 4}, 2) == [5, 7]
    assert spread(rows, people, {2}, 3) == [0, 5, 7]
    assert spread(rows, people, set(), 99) == rows


def rewritten(drawn: Path, path: Path, leave_out: tuple[str, ...] = (), **columns: object) -> Path:
    """The drawn manifest with columns changed row by row, or left out."""
    table = pq.read_table(drawn)
    rows = table.to_pylist()
    for name, change in columns.items():
        values = pa.array([change(row) for row in rows], table.schema.field(name).type)
        table = table.set_column(table.column_names.index(name), name, values)
    pq.write_table(table.drop_columns(list(leave_out)), path)
    return path


def test_sets_are_compared_where_there_are_enough_of_other_people(stargan: str, drawn: Path, tmp_path: Path) -> None:
    data = rewritten(drawn, tmp_path / "all.parquet", split=lambda row: "test")
    made = compare([stargan], wish(data, count=24, intensity=(1.0,)), PANEL, console=QUIET)
    assert len(made.chosen.reference) == 40
    assert not set(made.chosen.people) & set(made.chosen.others[made.chosen.pair < 0])
    control, model, ceiling = made.rows
    for row in made.rows:
        assert {"kernel/ear", "frechet/ear"} <= set(row.figures)
    assert model.figures["frechet/ear"].value > ceiling.figures["frechet/ear"].value
    assert control.figures["kernel/ear"].low <= control.figures["kernel/ear"].value
    said = "\n".join(made.left_out)
    assert "Frechet distance, hand: 24 faces and 40 real ones, 53 of each are needed (unedited, mine, real" in said
    assert "one intensity only" in said


def test_too_few_faces_for_a_measure_are_said_and_no_number_is_made_up(made: Comparison, drawn: Path) -> None:
    assert "no such judge" in made.left_out
    assert any("no real photograph of happiness of other people" in said for said in made.left_out)
    assert not [key for row in made.rows for key in row.figures if key.startswith(("kernel", "frechet"))]


def test_a_judge_that_sees_no_face_is_not_counted(stargan: str, drawn: Path) -> None:
    class Blind(Fake):
        def read(self, images: np.ndarray) -> np.ndarray:
            read = super().read(images)
            read[:2] = np.nan
            return read

    made = compare([stargan], wish(drawn), [Blind("eye", "expression"), Blind("ear", "identity")], console=QUIET)
    assert {made.rows[1].figures[key].count for key in ("accuracy/eye", "identity/ear", "linearity/eye")} == {6}
    assert made.rows[1].figures["change"].count == 8

    class Blinder(Fake):
        def read(self, images: np.ndarray) -> np.ndarray:
            return np.full_like(super().read(images), np.nan)

    made = compare([stargan], wish(drawn), [Blinder("eye", "expression")], console=QUIET)
    assert "accuracy/eye" not in made.rows[1].figures
    assert any(said.startswith("happiness, eye: 0 people, 5 are needed") for said in made.left_out)


def test_nothing_to_compare_with_is_said(stargan: str, drawn: Path, tmp_path: Path) -> None:
    """No smile in the split, no landmarks and no identities."""
    data = rewritten(
        drawn,
        tmp_path / "bare.parquet",
        ("landmarks", "identity"),
        emotion=lambda row: "neutral" if row["emotion"] == "happiness" else row["emotion"],
    )
    made = compare([stargan], wish(data), PANEL, console=QUIET)
    assert [row.case.kind for row in made.rows] == ["control", "model"]
    said = "\n".join(made.left_out)
    for what in ("ceiling: the split has no real photograph", "outside: the manifest has no landmarks", "distances"):
        assert what in said
    assert "outside" not in made.rows[1].figures


def test_what_cannot_be_compared_is_refused_in_one_line(stargan: str, drawn: Path, tmp_path: Path) -> None:
    few = rewritten(drawn, tmp_path / "few.parquet", split=lambda r: "test" if r["identity"] < "p004" else "train")
    for models, asked, words in (
        (["flowfil"], {}, "no model 'flowfil': choose one of"),
        ([str(tmp_path / "absent.onnx")], {}, "cannot be read"),
        (["muscles"], {}, "not an edit model"),
        ([], {}, "nothing to compare"),
        ([stargan, stargan], {}, "given twice"),
        ([stargan], {"split": "tests"}, "'tests' is no split"),
        ([stargan], {"start": "fear"}, "0 fear faces.*it has neutral 8, happiness 8"),
        ([stargan], {"count": 3}, "3 neutral faces to edit in split test, and 5 people are needed"),
        ([stargan], {"data": few}, "4 neutral faces"),
        ([stargan], {"data": tmp_path / "absent.parquet"}, "not a readable Parquet manifest"),
        ([stargan], {"to": "joy"}, "no expression 'joy'"),
        ([stargan], {"start": "happiness"}, "no change"),
        ([stargan], {"intensity": (0.0, 1.0)}, "intensity 0: give numbers above 0"),
        ([stargan], {"intensity": (2.0,)}, "up to 1.5"),
        ([stargan], {"intensity": ()}, "no intensity"),
        ([stargan], {"size": 16}, "size 16"),
    ):
        with pytest.raises(MienError, match=words) as error:
            compare(models, wish(**({"data": drawn} | asked)), PANEL, console=QUIET)
        assert "\n" not in str(error.value)


def test_a_model_that_reads_landmarks_needs_them(drawn: Path, tmp_path: Path) -> None:
    data = rewritten(drawn, tmp_path / "bare.parquet", ("landmarks",))
    with pytest.raises(MienError, match="flowfill reads landmarks"):
        compare(["flowfill"], wish(data), PANEL, console=QUIET)


def test_a_judge_that_gives_another_number_of_rows_is_refused(stargan: str, drawn: Path) -> None:
    class Short(Fake):
        def read(self, images: np.ndarray) -> np.ndarray:
            return super().read(images)[1:]

    with pytest.raises(MienError, match="judge eye: gave"):
        compare([stargan], wish(drawn), [Short("eye", "expression")], console=QUIET)


def test_the_same_report_from_the_same_inputs_but_for_the_stamp(
    made: Comparison, stargan: str, drawn: Path, tmp_path: Path
) -> None:
    write(made, tmp_path / "one")
    later = {"date": "2031-01-01T00:00:00+00:00", "machine": "a drum", "milliseconds_per_edit": {"mine": 1e6}}
    again = compare([stargan], wish(drawn), PANEL, ["no such judge"], QUIET)
    write(replace(again, stamp=later), tmp_path / "two")
    for name in ("report.html", "report.json", "table.md", "table.tex"):
        one, two = ((tmp_path / folder / name).read_text() for folder in ("one", "two"))
        assert one != two
        assert STAMP.search(one), name
        assert not any("Measured" in text.split("Measured 2")[0][-200:] for text in (one, two))
        if name == "report.json":
            assert json.loads(two).pop("stamp") == later
            one, two = (json.dumps({**json.loads(text), "stamp": 0}) for text in (one, two))
        kept = [[line for line in text.splitlines() if "Measured 20" not in line] for text in (one, two)]
        assert kept[0] == kept[1]
        assert len(one.splitlines()) - len(kept[0]) == (0 if name == "report.json" else 1)


def test_the_page_asks_for_nothing_from_outside(made: Comparison, tmp_path: Path) -> None:
    page = write(made, tmp_path).read_text()
    assert not re.findall(r"(?:src|href)=\"(?!data:)|url\(|@import|<script|https?://", page)
    assert "width=device-width" in page
    pictures = page.count("data:image/webp;base64,")
    assert pictures >= 8 * 3 + 3 * 3
    for said in ("Identity against change", "Identity against expression", "Map of identities", "Left out", "hand†"):
        assert said in page
    assert page.count("<div") == page.count("</div>")
    assert page.count("<svg") == page.count("</svg>") == 4


def test_axes_have_a_few_round_ticks_around_the_values() -> None:
    for low, high in ((0, 1), (0.62, 0.98), (-0.3, 7.9), (0, 0.013), (4, 4), (0, 1000), (0.1, 0.7)):
        marks = ticks(low, high)
        assert marks[0] <= low <= high <= marks[-1] + 1e-9
        assert 2 <= len(marks) <= 8
        assert np.allclose(np.diff(marks), marks[1] - marks[0])


def test_names_cannot_break_the_page_or_the_tables(made: Comparison, tmp_path: Path) -> None:
    rows = [replace(row, case=replace(row.case, name="<b>a_b&")) for row in made.rows[:2]]
    write(replace(made, rows=rows), tmp_path)
    assert "<b>a_b&" not in (tmp_path / "report.html").read_text()
    assert r"<b>a\_b\&" in (tmp_path / "table.tex").read_text()


def test_json_and_tables_tell_the_same_figures(made: Comparison, tmp_path: Path) -> None:
    write(made, tmp_path)
    report = json.loads((tmp_path / "report.json").read_text())
    model = report["rows"][1]
    assert model["model"]["name"] == "stargan"
    assert [step["intensity"] for step in model["steps"]] == [0.5, 1.0]
    figure = model["figures"]["change"]
    told = f"{figure['value']:.3g} [{figure['low']:.3g}, {figure['high']:.3g}] (8)"
    assert told in (tmp_path / "table.md").read_text()
    assert f"{figure['value']:.3g} " in (tmp_path / "table.tex").read_text()
    assert report["judges"][2] == {"name": "hand", "kind": "muscles", "independent": False}
    assert report["asked"]["data"] == "drawn.parquet"


def test_the_face_is_inside_its_mask_and_the_corners_are_not(drawn: Path) -> None:
    chosen, _ = choose(wish(drawn))
    mask = face_mask(chosen.landmarks[0], 32)
    for x, y in (chosen.landmarks[0] * 32).astype(int):
        assert mask[min(y, 31), x]
    assert not mask[[0, 0], [0, 31]].any()
    assert 0.3 < mask.mean() < 0.9


def test_judges_are_found_by_their_files(tmp_path: Path) -> None:
    found, absent = find_judges(None)
    assert [judge.name for judge in found] == ["mien emotion", "mien muscles"]
    assert not any(judge.independent for judge in found)
    assert len(absent) == 4
    with pytest.raises(MienError, match="no judge in there"):
        find_judges(tmp_path)
    (tmp_path / "MobileFaceNet.onnx").write_text("not a network")
    found, absent = find_judges(tmp_path)
    assert found[0].name == "MobileFaceNet"
    assert len(absent) == 3
    with pytest.raises(MienError, match="not a network"):
        found[0].read(np.zeros((1, 32, 32, 3), np.uint8))


def test_own_readers_read_any_size_of_crop() -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 48, 48, 3)).astype(np.uint8)
    chances = judges.Own("emotion").read(images)
    np.testing.assert_allclose(chances.sum(1), 1, atol=1e-5)
    assert judges.Own("muscles").read(images).shape == (3, len(BLENDSHAPES))


def test_the_square_around_the_face_is_where_it_should_be() -> None:
    """A bright column and a bright row, found again at their places in the square."""
    image = np.zeros((1, 100, 100, 3), np.uint8)
    image[0, :, 48:52] = 255
    image[0, 56:60] = 255
    cut = judges.faces(image, 91, "L")[0].astype(int)
    assert abs(cut[5].argmax() - 45) <= 2
    assert abs(cut[:, 5].argmax() - 45) <= 2


def test_outside_judges_know_real_faces(shared: Path, tmp_path: Path) -> None:
    """Each adaptor on real photographs: chances that sum to 1, people told apart, expressions mostly right."""
    data = shared / "data" / "lfw-expressions-128.parquet"
    if not (shared / "weights" / "MobileFaceNet.onnx").is_file():
        pytest.skip("needs the judges' weights beside the data")
    chosen, _ = choose(Wish(data, "happiness", split="val", count=20))
    found, _ = find_judges(shared / "weights")
    panel = {judge.name: judge for judge in found}
    smiles = panel["face-api"].read(chosen.real)
    np.testing.assert_allclose(smiles.sum(1), 1, atol=1e-4)
    happy = EXPRESSIONS.index("happiness")
    assert (smiles.argmax(1) == happy).mean() > 0.75
    assert (panel["mini-Xception"].read(chosen.real).argmax(1) == happy).mean() > 0.5
    before, after = (panel["MobileFaceNet"].read(images) for images in (chosen.images, chosen.real))
    before, after = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (before[chosen.pair], after))
    assert (before * after).sum(1).mean() > 0.45
    assert abs((before * np.roll(after, 1, 0)).sum(1).mean()) < 0.15


def test_from_words_to_a_report(stargan: str, drawn: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [stargan, "--data", str(drawn), "--to", "happiness", "--from", "sadness", "--out", str(tmp_path / "r")]
    more = ["--size", "32", "--count", "6", "--intensity", "0.5,1", "--split", "val"]
    assert commands.main("compare", [*words, *more]) == 0
    assert str(tmp_path / "r" / "report.html") in capsys.readouterr().out
    report = json.loads((tmp_path / "r" / "report.json").read_text())
    assert report["asked"] == {
        "data": "drawn.parquet", "to": "happiness", "start": "sadness", "split": "val", "count": 6,
        "intensity": [0.5, 1.0], "size": 32,
    }  # fmt: skip
    assert [judge["name"] for judge in report["judges"]] == ["mien emotion", "mien muscles"]
    assert any("--judges FOLDER" in said for said in report["left_out"])
    with pytest.raises(MienError, match="give --overwrite"):
        commands.main("compare", [*words, *more])
    assert commands.main("compare", [*words, *more[:-4], "--intensity", "1", "--overwrite"]) == 0
    report = json.loads((tmp_path / "r" / "report.json").read_text())
    assert report["asked"]["intensity"] == [1.0]
