"""``mien grid``: sources down, references across, and the animation between references."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageSequence

from mien.cli import main
from mien.editor import Editor
from mien.errors import MienError
from mien.grid import HOLD, STEP, Moment, Sitter, frames, matrix, moments, sitters, write_video
from mien.photo.draw import grid
from mien.photo.provenance import read_mark

EXAMPLE = Path(__file__).parent.parent / "examples" / "astronaut.png"
SIZE = 64


def run(*words: object) -> int:
    """The exit code of ``mien grid`` with these words."""
    with pytest.raises(SystemExit) as end:
        main(["grid", *(str(word) for word in words)])
    return int(end.value.code or 0)


@pytest.fixture(scope="module")
def editor() -> Editor:
    return Editor()


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory, editor: Editor) -> Path:
    """``src``: the example's head, its mirror in a subfolder, a field and a broken file. ``ref``: two expressions."""
    place = tmp_path_factory.mktemp("grid")
    for name in ("src/more", "ref", "fields", "empty"):
        (place / name).mkdir(parents=True)
    head = Image.open(EXAMPLE).convert("RGB").crop((120, 10, 340, 270))
    head.save(place / "src" / "a.png")
    head.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(place / "src" / "more" / "b.png")
    head.save(place / "ref" / "smiling.png")
    editor.edit(head, "surprise").save(place / "ref" / "surprised.png")
    for name in ("src", "fields"):
        Image.new("RGB", (150, 150), (90, 120, 60)).save(place / name / "field.png")
    (place / "src" / "bad.jpg").write_bytes(b"not a picture")
    (place / "src" / "notes.txt").write_text("left alone")
    return place


@pytest.fixture(scope="module")
def cast(folders: Path, editor: Editor) -> tuple[list[Sitter], list[Sitter]]:
    return sitters(folders / "src", editor), sitters(folders / "ref", editor)


def test_every_cell_is_the_editors_own_edit_like_the_reference(
    editor: Editor, cast: tuple[list[Sitter], list[Sitter]]
) -> None:
    sources, references = cast
    rows = [[np.full((2, 2, 3), 250, np.uint8), *(reference.face for reference in references)]]
    for source in sources:
        edits = [editor.edit(source.photo, like=reference.photo, face="largest") for reference in references]
        rows.append([source.face, *(source.shown(edit.rgb) for edit in edits)])
    expected = grid(rows, [""] * 3, ["", "a", "b"], SIZE)
    shown = matrix(editor, sources, references, SIZE)
    left, top = expected.width - 3 * (SIZE + 4), expected.height - 3 * (SIZE + 4)  # names are drawn before these
    np.testing.assert_array_equal(shown[top:, left:], np.asarray(expected)[top:, left:])
    surprised, smiling = (shown[-SIZE:-10, left + k * (SIZE + 4) :][:, :SIZE] for k in (2, 1))
    assert np.abs(surprised.astype(int) - smiling).max() > 60, "every column looks alike"


def test_an_animation_goes_from_each_reference_to_the_next(cast: tuple[list[Sitter], list[Sitter]]) -> None:
    first, second = cast[1]
    steps = moments([first, second, first], 3)
    assert [step.share for step in steps] == [0, 0.25, 0.5, 0.75, 0, 0.25, 0.5, 0.75, 0]
    assert [step.nearest is first for step in steps] == [True, True, False, False, False, False, True, True, True]
    start, end = first.target.scores, second.target.scores
    for step in steps[:4]:
        target, intensity = step.aim(by_muscles=True)
        np.testing.assert_allclose(target.scores, (1 - step.share) * start + step.share * end, atol=1e-6)
        assert intensity == 1
    np.testing.assert_array_equal(steps[-1].aim(True)[0].scores, start)


def test_labels_fade_out_and_in(cast: tuple[list[Sitter], list[Sitter]]) -> None:
    """A model that knows expressions only has nothing between two of them but the face as it is."""
    first, second = cast[1]
    aims = [Moment(first, second, share).aim(by_muscles=False) for share in (0, 0.25, 0.5, 0.75)]
    assert [intensity for _, intensity in aims] == [1, 0.5, 0, 0.5]
    assert [target.emotion for target, _ in aims] == [first.target.emotion] * 2 + [second.target.emotion] * 2
    assert first.target.emotion != second.target.emotion


def test_frames_begin_and_end_as_the_grid_and_move_between(
    editor: Editor, cast: tuple[list[Sitter], list[Sitter]]
) -> None:
    sources, references = cast
    shown = list(frames(editor, sources[:1], moments(references, 1), SIZE))
    worn = [frame[-SIZE - 4 :, -SIZE - 4 :].astype(int) for frame in shown]
    whole = matrix(editor, sources[:1], references, SIZE)[-SIZE - 4 :]
    for cell, at in ((worn[0], -2), (worn[2], -1)):
        here = whole[:, at * (SIZE + 4) :][:, : SIZE + 4]
        np.testing.assert_array_equal(cell, here)
    way = np.abs(worn[2] - worn[0]).mean()
    assert max(np.abs(worn[1] - worn[0]).mean(), np.abs(worn[2] - worn[1]).mean()) < 0.9 * way
    assert way > 0.5


@pytest.mark.parametrize("name", ["out.gif", "out.webp"])
def test_animations_are_marked_and_hold_at_references(name: str, tmp_path: Path) -> None:
    pictures = [np.full((20, 30, 3), value, np.uint8) for value in (10, 90, 170)]
    path = write_video(pictures, [True, False, True], tmp_path / name)
    with Image.open(path) as film:
        assert film.n_frames == 3
        assert film.info["loop"] == 0
        shown = [(frame.convert("RGB"), frame.info["duration"]) for frame in ImageSequence.Iterator(film)]
    assert [duration for _, duration in shown] == [HOLD, STEP, HOLD]
    for (frame, _), picture in zip(shown, pictures, strict=True):
        np.testing.assert_allclose(np.asarray(frame, int), picture, atol=3)
    assert "rainedAlgorithmicMedia" in read_mark(path)["source_type"]
    assert [file.name for file in tmp_path.iterdir()] == [name]


def test_the_command_names_what_it_skips_and_writes_all(
    folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, film, stills = tmp_path / "grid.png", tmp_path / "out.webp", tmp_path / "frames"
    words = ["--src", folders / "src", "--ref", folders / "ref", "-o", out, "--size", SIZE, "--frames-between", 1]
    assert run(*words, "--video", film, "--frames", stills) == 0
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2
    assert "bad.jpg" in said[0]
    assert "field.png: no face found; skipped" in said[1]
    with Image.open(out) as picture:
        assert picture.height == pytest.approx(3 * (SIZE + 4), abs=40)
    assert "rainedAlgorithmicMedia" in read_mark(out)["source_type"]
    assert sorted(file.name for file in stills.iterdir()) == ["00000.png", "00001.png", "00002.png"]
    assert "rainedAlgorithmicMedia" in read_mark(stills / "00001.png")["source_type"]
    with Image.open(film) as animation:
        assert animation.n_frames == 3


@pytest.mark.parametrize("there", ["grid.png", "out.gif", "frames/00000.png"])
def test_what_exists_is_kept_unless_told_otherwise(
    there: str, folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "frames").mkdir()
    (tmp_path / there).write_bytes(b"precious")
    words = ["--src", folders / "ref", "--ref", folders / "ref", "-o", tmp_path / "grid.png", "--size", SIZE]
    words += ["--video", tmp_path / "out.gif", "--frames", tmp_path / "frames", "--frames-between", 0]
    assert run(*words) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert [p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()] == [b"precious"]


def test_overwrite_replaces_all_of_them(folders: Path, tmp_path: Path) -> None:
    (tmp_path / "frames").mkdir()
    files = [tmp_path / name for name in ("grid.png", "out.gif", "frames/00000.png")]
    for file in files:
        file.write_bytes(b"old")
    words = ["--src", folders / "ref", "--ref", folders / "ref", "-o", files[0], "--video", files[1], "--size", SIZE]
    assert run(*words, "--frames", tmp_path / "frames", "--frames-between", 0, "--overwrite") == 0
    assert all(file.stat().st_size > 100 for file in files)


def test_too_long_a_picture_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(MienError, match="smaller --size"):
        write_video([np.zeros((1, 16384, 3), np.uint8)] * 2, [True, True], tmp_path / "out.webp")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--src", "fields"], "no photograph with a face"),
        (["--src", "empty"], "no photograph with a face"),
        (["--src", "nowhere"], "no folder"),
        (["--out", "grid.gif"], "does not write .gif"),
        (["--video", "out.mp4"], ".gif or .webp"),
        (["--size", "4"], "16 pixels"),
        (["--video", "out.gif", "--ref", "one"], "two are needed"),
        (["--video", "out.gif", "--frames-between", "-1"], "0 or more"),
        (["--model", "nosuch"], "flowfill"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    words: list[str],
    message: str,
    folders: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (folders / "one").mkdir(exist_ok=True)
    (folders / "one" / "a.png").write_bytes((folders / "ref" / "smiling.png").read_bytes())
    monkeypatch.chdir(tmp_path)
    options = {"--src": "ref", "--ref": "ref", "--out": "grid.png"} | dict(zip(words[::2], words[1::2], strict=True))
    options |= {key: str(folders / options[key]) for key in ("--src", "--ref")}
    assert run(*(word for pair in options.items() for word in pair)) == 2
    said = capsys.readouterr().err.strip()
    assert message in said
    assert "\n" not in said
    assert list(tmp_path.iterdir()) == []
