"""The command line as a person and as a script meet it."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mien.cli import main
from mien.photo.provenance import read_mark

EXAMPLE = Path(__file__).parent.parent / "examples" / "astronaut.png"


def run(*words: object) -> int:
    """The exit code of ``mien`` with these words."""
    with pytest.raises(SystemExit) as end:
        main([str(word) for word in words])
    return int(end.value.code or 0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two photographs of one person, one picture without a face, and a file that is no picture."""
    photos = tmp_path / "photos"
    photos.mkdir()
    head = Image.open(EXAMPLE).convert("RGB").crop((120, 10, 340, 270))
    head.save(photos / "a.jpg", quality=95)
    head.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(photos / "b.png")
    Image.new("RGB", (150, 150), (90, 120, 60)).save(photos / "empty.png")
    (photos / "bad.jpg").write_bytes(b"not a picture")
    (photos / "notes.txt").write_text("left alone")
    return photos


def test_edit_writes_a_marked_picture_and_keeps_the_source(folder: Path, tmp_path: Path) -> None:
    before = (folder / "b.png").read_bytes()
    assert run("edit", folder / "b.png", "--to", "surprise", "-o", tmp_path / "out.png") == 0
    assert (folder / "b.png").read_bytes() == before
    assert "rainedAlgorithmicMedia" in read_mark(tmp_path / "out.png")["source_type"]
    changed = np.asarray(Image.open(tmp_path / "out.png")) != np.asarray(Image.open(folder / "b.png"))
    assert 0.01 < changed.any(-1).mean() < 0.9


def test_no_mark_writes_no_mark(folder: Path, tmp_path: Path) -> None:
    assert run("edit", folder / "b.png", "--to", "surprise", "-o", tmp_path / "out.png", "--no-mark") == 0
    assert read_mark(tmp_path / "out.png") == {}


def test_no_occlusion_paints_over_what_is_before_a_face(folder: Path, tmp_path: Path) -> None:
    covered = np.asarray(Image.open(folder / "b.png")).copy()
    covered[130:180, 60:160] = 150  # a sheet of paper before mouth and chin
    Image.fromarray(covered).save(folder / "b.png")
    for name, words in (("kept", []), ("painted", ["--no-occlusion"])):
        assert run("edit", folder / "b.png", "--to", "surprise", "-o", tmp_path / f"{name}.png", *words) == 0
    kept, painted = (np.asarray(Image.open(tmp_path / f"{name}.png")).astype(int) for name in ("kept", "painted"))
    paper = np.s_[132:178, 62:158]
    assert np.abs(kept - covered)[paper].max() <= 1
    assert np.abs(painted - covered)[paper].max() > 10


def test_intensity_zero_writes_the_same_file(folder: Path, tmp_path: Path) -> None:
    assert run("edit", folder / "a.jpg", "--to", "surprise", "--intensity", 0, "-o", tmp_path / "out.jpg") == 0
    assert (tmp_path / "out.jpg").read_bytes() == (folder / "a.jpg").read_bytes()


def test_an_existing_file_is_kept_unless_told_otherwise(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.png"
    out.write_bytes(b"precious")
    assert run("edit", folder / "b.png", "--to", "anger", "-o", out) == 2
    assert out.read_bytes() == b"precious"
    assert "--overwrite" in capsys.readouterr().err
    assert run("edit", folder / "b.png", "--to", "anger", "-o", out, "--overwrite") == 0
    assert Image.open(out).size == (220, 260)


def test_a_folder_goes_on_past_files_that_fail_and_says_which(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "edited"
    assert run("edit", folder, "--to", "sadness", "-o", out, "--json") == 2
    report = {Path(item["file"]).name: item for item in json.loads(capsys.readouterr().out)}
    assert sorted(p.name for p in out.iterdir()) == ["a.jpg", "b.png"]
    assert "no face" in report["empty.png"]["error"]
    assert "bad.jpg" in report["bad.jpg"]["error"]
    assert report["a.jpg"]["edited"] == [1]
    assert "notes.txt" not in report


def test_a_pattern_is_a_list_of_photographs(folder: Path, tmp_path: Path) -> None:
    assert run("edit", folder / "[ab].*", "--to", "happiness", "-o", tmp_path / "edited") == 0
    assert sorted(p.name for p in (tmp_path / "edited").iterdir()) == ["a.jpg", "b.png"]


def test_faces_lists_and_numbers(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("faces", folder / "b.png", "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert len(report["faces"]) == 1
    assert report["faces"][0]["expression"] == "happiness"
    assert 0 <= report["faces"][0]["blendshapes"]["mouthSmileLeft"] <= 1
    assert Image.open(report["picture"]).size == (220, 260)


def test_sheet_shows_expressions_down_and_intensities_across(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "sheet.jpg"
    words = ["--to", "anger", "surprise", "--intensities", 0, 1, "--cell", 64, "-o", out]
    assert run("sheet", folder / "b.png", *words) == 0
    width, height = Image.open(out).size
    assert 2 * 64 < width < 2 * 64 + 120
    assert 2 * 64 < height < 2 * 64 + 60


def test_models_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("models") == 0
    assert "flowfill" in capsys.readouterr().out
    assert run("models", "--muscles") == 0
    assert len(capsys.readouterr().out.split()) == 51


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["edit", "nowhere.jpg", "--to", "anger"], "nowhere.jpg"),
        (["edit", str(EXAMPLE)], "say what to change to"),
        (["edit", str(EXAMPLE), "--to", "anger", "--muscle", "jawOpen=1"], "one of --to"),
        (["edit", str(EXAMPLE), "--muscle", "jawOpen"], "NAME=SCORE"),
        (["edit", str(EXAMPLE), "--to", "anger", "-o", "out.xyz"], "xyz"),
        (["edit", str(EXAMPLE), "--to", "anger", "--model", "nosuch"], "flowfill"),
        (["edit", str(EXAMPLE), "--to", "anger", "--face", "9", "-o", "never.png"], "1"),
        (["edit", str(EXAMPLE), "--to", "anger", "--finder", "mediapipe", "--finder-model", "none.task"], "none.task"),
        (["frown"], "choose one of"),
        (["train", "nosuch"], "choose one of"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(*words) == 2
    said = capsys.readouterr().err.strip()
    assert message in said
    assert "\n" not in said
    assert "Traceback" not in said
    assert list(tmp_path.iterdir()) == []


def test_help_is_shown_for_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("edit", "faces", "sheet", "models"):
        assert run(command, "--help") == 0
        assert "usage: mien " + command in capsys.readouterr().out
    assert run("--help") == 0
