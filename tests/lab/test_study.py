"""``mien study``: a blind page of a comparison's pictures, and the count of what people answered."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from mien.errors import MienError
from mien.lab.album import Shot, png, write_album
from mien.lab.commands import main
from mien.lab.study.questions import STRANGER, Question, write_study
from mien.lab.study.tally import markdown, read_key, share, tally

METHODS = ("unedited", "secretgan", "hiddenflow", "real happiness")


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a comparison leaves: 12 people in two photographs each, of whom 8 have a real photograph of the target."""
    folder = tmp_path_factory.mktemp("report")
    colours = np.random.default_rng(0).integers(0, 256, (4, 24, 3)).astype(np.uint8)
    shots = []
    for row, kind in zip(METHODS, ("control", "model", "model", "ceiling"), strict=True):
        for face in range(24):
            at = -1 if kind == "ceiling" and face >= 16 else face
            picture = np.broadcast_to(colours[METHODS.index(row), face], (16, 16, 3))
            shots.append(Shot(row, kind, at, face // 2 if at >= 0 else 100 + face, png(picture)))
    write_album(shots, "happiness", folder / "pictures.parquet")
    return folder


@pytest.fixture(scope="module")
def made(report: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_study(report, tmp_path_factory.mktemp("study"), each=12).parent


def test_rows_meet_equally_often(made: Path) -> None:
    key = read_key(made / "key.json")
    pairs = {
        ask: Counter(frozenset((q.left, q.right)) for q in key.questions if q.ask == ask)
        for ask in ("real", "shows", "same")
    }
    assert [sum(count.values()) for count in pairs.values()] == [12, 12, 12]
    assert set(pairs["real"].values()) == {4}, "two models and real photographs"
    assert set(pairs["shows"].values()) == {2}, "and the unedited one"
    assert set(pairs["same"].values()) == {3}
    assert {q.right for q in key.questions if q.ask == "same"} == {*METHODS[1:], STRANGER}
    assert {q.left for q in key.questions if q.ask == "same"} == {"unedited"}
    sides = Counter(q.left for q in key.questions if q.ask == "shows")
    assert len(sides) > 2, "left and right are drawn"
    asks = [q.ask for q in key.questions]
    assert asks != sorted(asks), "the kinds are mixed"
    assert all(q.face < 16 for q in key.questions if "real happiness" in (q.left, q.right))


def shown(page: str) -> list[list[str]]:
    (told,) = re.findall(r"const study = (\{.*\});", page)
    return json.loads(told)["questions"]


def test_the_page_is_blind_and_asks_for_nothing_from_outside(made: Path) -> None:
    page = (made / "study.html").read_text()
    assert not [name for name in (*METHODS, STRANGER) if name in page]
    assert not re.findall(r"(?:src|href)=\"|url\(|@import|https?://", page)
    assert "width=device-width" in page
    questions, key = shown(page), read_key(made / "key.json")
    assert [q[0] for q in questions] == [q.ask for q in key.questions]
    again = {(q.left, q.face): told[1] for q, told in zip(key.questions, questions, strict=True)}
    for q, (_, left, right) in zip(key.questions, questions, strict=True):
        assert left != right
        assert again[q.left, q.face] == left, "the same picture stands for a row and a face wherever it is shown"
        assert left.startswith("data:image/webp;base64,")


def test_a_seed_gives_the_same_study_and_another_another(report: Path, made: Path, tmp_path: Path) -> None:
    same, other = (write_study(report, tmp_path / str(seed), 12, seed) for seed in (0, 1))
    for name in ("study.html", "key.json"):
        assert (same.parent / name).read_bytes() == (made / name).read_bytes()
        assert (other.parent / name).read_bytes() != (made / name).read_bytes()


def saved(path: Path, study: str, rater: str, answers: list[int]) -> Path:
    path.write_text(json.dumps({"study": study, "rater": rater, "answers": answers}))
    return path


def key_of(path: Path) -> Path:
    """Two methods, five questions."""
    questions = [
        Question("real", "a", "b", 0),
        Question("real", "b", "a", 1),
        Question("shows", "unedited", "a", 2),
        Question("same", "unedited", "b", 3),
        Question("same", "unedited", STRANGER, 4),
    ]
    told = {"study": "s", "expression": "fear", "questions": [vars(q) for q in questions]}
    path.write_text(json.dumps(told))
    return path


def test_the_tally_of_answers_made_by_hand(tmp_path: Path) -> None:
    key = key_of(tmp_path / "key.json")
    files = [
        saved(tmp_path / "1.json", "s", "x", [1, 2, 2, 1, 2]),
        saved(tmp_path / "2.json", "s", "y", [1, 1, 2, 2, 2]),
        saved(tmp_path / "3.json", "s", "z", [2]),
    ]
    found = tally(files, key)
    assert (found.raters, found.answers) == (3, 11)
    shares = {row: {ask: (f.value, f.count) for ask, f in asks.items()} for row, asks in found.figures.items()}
    assert shares == {
        "a": {"real": (3 / 5, 5), "shows": (1.0, 2)},
        "b": {"real": (2 / 5, 5), "same": (1 / 2, 2)},
        "unedited": {"shows": (0.0, 2)},
        STRANGER: {"same": (0.0, 2)},
    }
    text = markdown(found)
    assert text.splitlines()[0] == "3 raters, 11 answers"
    assert "| | looks real | shows fear | same person |" in text
    assert "| unedited | – | 0.000 [0.000, 0.658] (2) | – |" in text


def test_intervals_are_wilsons() -> None:
    """Wilson 1927: the shares p for which |won / n - p| is 1.96 standard errors of p itself."""
    for won, n in ((0, 7), (3, 10), (40, 40), (55, 100)):
        found = share(won, n)
        for p in (found.low, found.high):
            assert abs(won / n - p) == pytest.approx(1.959964 * (p * (1 - p) / n) ** 0.5, abs=1e-6)
        assert 0 <= found.low <= found.value <= found.high <= 1


def test_answers_that_cannot_be_counted_are_refused_in_one_line(tmp_path: Path) -> None:
    key = key_of(tmp_path / "key.json")
    good = saved(tmp_path / "good.json", "s", "x", [1, 2])
    (tmp_path / "text.json").write_text("yes")
    (tmp_path / "list.json").write_text("[1, 2]")
    for files, words in (
        ([tmp_path / "absent.json"], "not answers to a study"),
        ([tmp_path / "text.json"], "not answers to a study"),
        ([tmp_path / "list.json"], "not answers to a study"),
        ([saved(tmp_path / "other.json", "t", "x", [1])], "another study"),
        ([saved(tmp_path / "three.json", "s", "y", [3])], "cannot have saved"),
        ([saved(tmp_path / "long.json", "s", "y", [1] * 6)], "cannot have saved"),
        ([good, saved(tmp_path / "twice.json", "s", "x", [1])], "the same rater as"),
        ([saved(tmp_path / "none.json", "s", "y", [])], "no answer to count"),
    ):
        with pytest.raises(MienError, match=words) as error:
            tally(files, key)
        assert "\n" not in str(error.value)
    with pytest.raises(MienError, match="not the key of a study"):
        tally([good], good)


def test_from_words_to_a_page_and_a_table(report: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [str(report), "-o", str(tmp_path / "s"), "--each", "4"]
    assert main("study", words) == 0
    assert str(tmp_path / "s" / "study.html") in capsys.readouterr().out
    with pytest.raises(MienError, match="give --overwrite"):
        main("study", words)
    main("study", [*words, "--overwrite", "--seed", "3"])
    key = tmp_path / "s" / "key.json"
    files = [saved(tmp_path / f"{k}.json", read_key(key).study, f"r{k}", [1 + k] * 12) for k in (0, 1)]
    capsys.readouterr()
    main("study", ["--tally", *map(str, files), "--key", str(key)])
    said = capsys.readouterr().out
    assert said.startswith("2 raters, 24 answers")
    assert all(f"| {name} |" in said for name in (*METHODS, STRANGER))
    main("study", ["--tally", *map(str, files), "--key", str(key), "--json"])
    assert json.loads(capsys.readouterr().out)["figures"][STRANGER]["same"]["value"] == 0.5


def test_what_no_study_can_be_made_of_is_refused(report: Path, tmp_path: Path) -> None:
    write_album([Shot("unedited", "control", 0, 0, b"")], "fear", tmp_path / "pictures.parquet")
    for words, said in (
        ([], "give the folder of a comparison"),
        ([str(report), "--tally", "x.json"], "give the folder of a comparison"),
        ([str(tmp_path / "absent")], "no pictures of a comparison"),
        ([str(tmp_path)], "a study needs the pictures of a model"),
        ([str(report), "--each", "0"], "--each 0"),
    ):
        with pytest.raises(MienError, match=said):
            main("study", [*words, "--out", str(tmp_path / "s")])
    assert not (tmp_path / "s").exists()


def test_the_page_answers_to_keys_and_buttons(made: Path, tmp_path: Path) -> None:
    """In a browser: 1, 2, back, the right button, then 1 to the end; what it would save is counted."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("needs Chromium")
    presses = """<script>
    const press = key => document.dispatchEvent(new KeyboardEvent("keydown", {key}));
    press("1"); press("2"); press("Backspace"); get("two").click();
    for (let k = 2; k < 50; k++) press("1");
    document.title = JSON.stringify(state);
    document.body.innerHTML = get("save").download + (get("asking").hidden ? " over" : " goes on");
    </script></body>"""
    (tmp_path / "page.html").write_text((made / "study.html").read_text().replace("</body>", presses))
    quiet = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-background-networking",
    ]
    offline = ["--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom"]
    words = [browser, *quiet, *offline, (tmp_path / "page.html").as_uri()]
    dom = subprocess.run(words, capture_output=True, text=True, timeout=300, check=True).stdout
    (state,) = re.findall(r"<title>(\{.*\})</title>", dom)
    assert json.loads(state)["answers"] == [1, 2, *[1] * 34]
    assert re.search(r"answers-\w+\.json over", dom)
    (tmp_path / "answers.json").write_text(state)
    assert tally([tmp_path / "answers.json"], made / "key.json").answers == 36
