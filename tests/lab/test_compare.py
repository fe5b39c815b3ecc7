"""``mien compare`` on drawn faces: what is measured, refused and left out, and going on after a kill."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from panel import PANEL, Fake, rewritten, wish
from tiny import QUIET

from mien import Editor
from mien.editor import Seen
from mien.errors import MienError
from mien.lab import judges
from mien.lab.chosen import choose, spread
from mien.lab.compare import Comparison, compare, face_mask
from mien.lab.kept import Kept
from mien.photo.find import face_of


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
        ([stargan], {"reference": -1}, "numbers of faces"),
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


def test_a_killed_comparison_goes_on_where_it_was(
    made: Comparison, stargan: str, drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second run edits nothing, reads only what was not read, and says the same."""
    seen: list[int] = []

    @dataclass(frozen=True)
    class OfAFile(Fake):
        path: Path = Path(__file__)

        def read(self, images: np.ndarray) -> np.ndarray:
            seen.append(len(images))
            return super().read(images)

    class Killer(Fake):
        def read(self, images: np.ndarray) -> np.ndarray:
            raise KeyboardInterrupt

    kept = Kept(tmp_path / "kept")
    eye = OfAFile("eye", "expression")
    with pytest.raises(KeyboardInterrupt):
        compare([stargan], wish(drawn), [eye, Killer("ear", "identity")], ["no such judge"], QUIET, kept)
    assert sum(seen) == 8 * 4
    monkeypatch.setattr(Editor, "sweep", None)
    again = compare([stargan], wish(drawn), [eye, *PANEL[1:]], ["no such judge"], QUIET, kept)
    assert sum(seen) == 8 * 4
    for one, two in zip(made.rows, again.rows, strict=True):
        assert one.figures == two.figures
        np.testing.assert_array_equal(one.case.images, two.case.images)
    monkeypatch.undo()
    other = compare([stargan], wish(drawn, intensity=(1.0,)), [eye], console=QUIET, kept=kept)
    assert "change" in other.rows[1].figures, "another wish is edited anew"
    assert sum(seen) == 8 * 4, "the same pictures are not read again"


def test_networks_that_compare_sets_read_full_intensity_alone(stargan: str, drawn: Path) -> None:
    seen: list[int] = []

    class Features(Fake):
        def read(self, images: np.ndarray) -> np.ndarray:
            seen.append(len(images))
            return super().read(images)

    compare([stargan], wish(drawn), [Features("nose", "features")], console=QUIET)
    assert sum(seen) == 8 * 3


def test_the_face_is_inside_its_mask_and_the_corners_are_not(drawn: Path) -> None:
    chosen, _ = choose(wish(drawn))
    mask = face_mask(chosen.landmarks[0], 32)
    for x, y in (chosen.landmarks[0] * 32).astype(int):
        assert mask[min(y, 31), x]
    assert not mask[[0, 0], [0, 31]].any()
    assert 0.3 < mask.mean() < 0.9
