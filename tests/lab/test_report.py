"""A comparison as files: the page, the tables, the pictures, and the same ones each time."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from panel import PANEL, wish
from tiny import QUIET

from mien.errors import MienError
from mien.lab import commands
from mien.lab.album import read_album
from mien.lab.charts import LEFT, RIGHT, around, label, ticks
from mien.lab.compare import Comparison, compare
from mien.lab.gallery import best_and_worst, extremes
from mien.lab.report import write
from mien.lab.tables import groups

STAMP = re.compile(r'Measured 20\d\d-.*|"stamp": \{.*\}', re.S)


def test_the_same_report_from_the_same_inputs_but_for_the_stamp(
    made: Comparison, stargan: str, drawn: Path, tmp_path: Path
) -> None:
    write(made, tmp_path / "one")
    later = {"date": "2031-01-01T00:00:00+00:00", "machine": "a drum", "milliseconds_per_edit": {"mine": 1e6}}
    again = compare([stargan], wish(drawn), PANEL, ["no such judge"], QUIET)
    write(replace(again, stamp=later), tmp_path / "two")
    assert (tmp_path / "one" / "pictures.parquet").read_bytes() == (tmp_path / "two" / "pictures.parquet").read_bytes()
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


def test_judges_that_are_not_independent_have_a_table_of_their_own(made: Comparison) -> None:
    (_, independent), (heading, others), (_, between) = groups(made)
    assert [m.key for m in independent[:3]] == ["change", "identity/ear", "identity p5/ear"]
    assert "not independent" in heading
    assert {m.key for m in others} == {"error/hand", "signature/hand"} & {m.key for m in made.measures}
    assert between[0].key == "change"


def test_best_and_worst_cases_are_those_of_each_measure(made: Comparison) -> None:
    html = "".join(extremes(made))
    for measure in groups(made)[0][1]:
        assert (f"<summary>{measure.title}</summary>" in html) == (not measure.key.startswith("identity p5"))
    assert html.count("<details open>") == 2
    case, change = made.rows[1].case, made.measures[0]
    scores = np.array([3, 1, np.nan, 8, 5, 4, 7, 6.0])
    for better, words, worst, best in (
        ("higher", "Worst Best", "1.000 3.000 4.000", "8.000 7.000 6.000"),
        ("lower", "Worst Best", "8.000 7.000 6.000", "1.000 3.000 4.000"),
        ("near 1", "Worst Best", "8.000 7.000 6.000", "1.000 3.000 4.000"),
        ("", "Lowest Highest", "1.000 3.000 4.000", "8.000 7.000 6.000"),
    ):
        html = best_and_worst(made, case, scores, replace(change, better=better))
        assert re.findall("<h4>(.*?)</h4>", html) == words.split()
        assert re.findall("<figcaption>(.*?)</figcaption>", html) == [*worst.split(), *best.split()]


def test_the_pictures_of_every_row_are_kept_without_loss(made: Comparison, tmp_path: Path) -> None:
    write(made, tmp_path)
    shots, to = read_album(tmp_path / "pictures.parquet")
    assert to == "happiness"
    assert [s.row for s in shots] == ["unedited"] * 8 + ["mine"] * 8 + ["real happiness"] * 8
    assert [s.face for s in shots[:16]] == [*range(8), *range(8)]
    assert [s.face for s in shots[16:]] == made.chosen.pair.tolist()
    assert [s.person for s in shots[16:]] == made.chosen.others.tolist()
    np.testing.assert_array_equal(np.asarray(shots[9].pixels), made.rows[1].case.images[1])
    (tmp_path / "text.parquet").write_text("no table")
    for name in ("absent.parquet", "text.parquet"):
        with pytest.raises(MienError, match="no pictures of a comparison"):
            read_album(tmp_path / name)


def test_labels_of_a_chart_hide_no_point() -> None:
    taken = [around(320, 100, 5)]
    places = [(RIGHT, 96.0, "end"), (LEFT + 4, 96.0, "start")]
    assert 'x="48.0"' in label("real happiness", places, taken)
    assert len(taken) == 2
    assert f'x="{RIGHT:.1f}"' in label("else", [(RIGHT, 60.0, "end"), places[1]], taken)
    assert f'x="{RIGHT:.1f}"' in label("unedited", places, taken), "where all hide something, the first"


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


def test_from_words_to_a_report(stargan: str, drawn: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [stargan, "--data", str(drawn), "--to", "happiness", "--from", "sadness", "--out", str(tmp_path / "r")]
    more = ["--size", "32", "--count", "6", "--intensity", "0.5,1", "--split", "val"]
    assert commands.main("compare", [*words, *more]) == 0
    assert str(tmp_path / "r" / "report.html") in capsys.readouterr().out
    report = json.loads((tmp_path / "r" / "report.json").read_text())
    assert report["asked"] == {
        "data": "drawn.parquet", "to": "happiness", "start": "sadness", "split": "val", "count": 6,
        "intensity": [0.5, 1.0], "size": 32, "reference": 500,
    }  # fmt: skip
    assert [judge["name"] for judge in report["judges"]] == ["mien emotion", "mien muscles"]
    assert any("--judges FOLDER" in said for said in report["left_out"])
    assert any("--inception FILE" in said for said in report["left_out"])
    assert {path.name for path in (tmp_path / "r").iterdir()} == {
        "report.html", "report.json", "table.md", "table.tex", "pictures.parquet",
    }  # fmt: skip
    with pytest.raises(MienError, match="give --overwrite"):
        commands.main("compare", [*words, *more])
    assert commands.main("compare", [*words, *more[:-4], "--intensity", "1", "--overwrite"]) == 0
    report = json.loads((tmp_path / "r" / "report.json").read_text())
    assert report["asked"]["intensity"] == [1.0]
