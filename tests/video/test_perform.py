"""A photograph that performs, and one that another face drives."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from clips import EXAMPLE, blank, frames, packets, run, still, times, write_clip
from PIL import Image

from mien.editor import Editor
from mien.photo.provenance import SOURCE_TYPE, read_mark


@pytest.fixture(scope="module")
def portrait(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("photo") / "me.png"
    Image.fromarray(still(241, height=255)).save(path)
    return path


@pytest.mark.parametrize("suffix", [".mp4", ".webm", ".gif", ".webp"])
def test_a_performance_begins_and_ends_with_the_photograph(portrait: Path, tmp_path: Path, suffix: str) -> None:
    out = tmp_path / f"out{suffix}"
    assert run("perform", portrait, "--to", "surprise", "--seconds", "0.8", "--rate", "10", "-o", out) == 0
    assert read_mark(out)["source_type"] == SOURCE_TYPE
    if suffix == ".webp":
        with Image.open(out) as image:
            spans = []
            for number in range(image.n_frames):
                image.seek(number)
                image.load()
                spans.append(image.info["duration"])
        assert len(spans) > 3  # frames alike are one in WebP
        assert sum(spans) == 800
        return
    clip = frames(out).astype(int)
    assert clip.shape[:3] == (8, 254, 240)
    assert times(out) == pytest.approx(np.arange(8) / 10)
    change = np.abs(clip - clip[0]).mean((1, 2, 3))
    assert change[4] > 3 * change[7]
    assert change[4] >= change[2] >= change[0]


def test_a_photograph_is_made_smaller_on_request_and_bad_wishes_are_told(
    portrait: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.mp4"
    words = ("perform", portrait, "--muscle", "mouthSmileLeft=0", "--seconds", "0.2", "-o", out)
    assert run(*words, "--size", "128") == 0
    assert frames(out).shape[1:3] == (128, 120)
    capsys.readouterr()
    for more, message in (
        ((), "exists"),
        (("--overwrite", "--rate", "0"), "--rate 0"),
        (("--overwrite", "--seconds", "0"), "--seconds 0"),
        (("--overwrite", "--to", "fear"), "one of --to"),
        (("--overwrite", "--face", "all", "--size", "20"), "--size 20"),
    ):
        assert run(*words, *more) == 2
        error = capsys.readouterr().err.strip()
        assert message in error
        assert "\n" not in error


@pytest.fixture(scope="module")
def smiling_less(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A head whose smile goes and whose brows rise, after a frame without a face; with sound."""
    editor, rgb = Editor(), still()
    steps = editor.sweep(rgb, "surprise", [0, 0.5, 1.0], seen=editor.see(rgb))
    pictures = [blank(), *(np.asarray(step.image) for step in steps)]
    return write_clip(tmp_path_factory.mktemp("by") / "by.mp4", pictures, times=[0, 40, 150, 200])


def test_a_driven_photograph_moves_as_the_clip_does(portrait: Path, smiling_less: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.mp4"
    assert run("drive", portrait, "--by", smiling_less, "-o", out) == 0
    clip = frames(out).astype(int)
    change = np.abs(clip - clip[0]).mean((1, 2, 3))
    assert change[3] > 2 * change[1]
    assert change[3] > change[2]
    assert times(out) == times(smiling_less)
    assert packets(out, "audio") == packets(smiling_less, "audio")
    with av.open(str(out)) as container:
        assert container.streams.video[0].codec_context.colorspace == 1


def test_only_the_named_parts_move_and_strength_counts(portrait: Path, smiling_less: Path, tmp_path: Path) -> None:
    changes = {}
    for name, words in {
        "mouth": ("--parts", "mouth"),
        "brows": ("--parts", "brows"),
        "faint": ("--parts", "mouth", "--strength", "0.3"),
    }.items():
        out = tmp_path / f"{name}.mp4"
        assert run("drive", portrait, "--by", smiling_less, "-o", out, *words) == 0
        clip = frames(out).astype(int)
        changes[name] = np.abs(clip[-1] - clip[0]).mean(-1)
    upper, lower = np.s_[60:130], np.s_[150:210]
    assert changes["mouth"][lower].mean() > 2 * changes["brows"][lower].mean()
    assert changes["brows"][upper].mean() > changes["brows"][lower].mean()
    assert changes["faint"].mean() < 0.8 * changes["mouth"].mean()


def test_the_calmest_frame_can_be_the_rest(portrait: Path, smiling_less: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.mp4"
    assert run("drive", portrait, "--by", smiling_less, "--start", "calmest", "-o", out) == 0
    assert len(frames(out)) == 4


def test_driving_mistakes_are_told(portrait: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wall = write_clip(tmp_path / "wall.mp4", [blank()] * 3)
    for words, message in (
        (("--by", wall), "no face found in 3 frames"),
        (("--by", wall, "--parts", "nose"), "eyes,brows,mouth"),
        (("--by", wall, "--strength", "0"), "--strength 0"),
        (("--by", tmp_path / "none.mp4"), "cannot be read"),
    ):
        assert run("drive", portrait, "-o", tmp_path / "out.mp4", *words) == 2
        error = capsys.readouterr().err.strip()
        assert message in error
        assert "\n" not in error
    assert not (tmp_path / "out.mp4").exists()
    assert run("edit", EXAMPLE, "--to", "fear", "-o", tmp_path / "out.mp4") == 2
    assert "is a photograph" in capsys.readouterr().err


def test_brows_and_mouth_each_move_in_their_own_time(portrait: Path, tmp_path: Path) -> None:
    """In this take of anger brows come first; with --dynamics smooth the face moves at once."""
    upper, lower = np.s_[60:130], np.s_[150:210]
    ahead = {}
    for how in ("learned", "smooth"):
        out = tmp_path / f"{how}.mp4"
        words = ("--to", "anger", "--dynamics", how, "--seed", "0", "--seconds", "1", "--rate", "20", "-o", out)
        assert run("perform", portrait, *words) == 0
        clip = frames(out)[[0, 5, 11]].astype(int)
        early, late = (np.abs(clip[i] - clip[0]).mean(-1) for i in (1, 2))
        ahead[how] = early[upper].mean() / late[upper].mean() - early[lower].mean() / late[lower].mean()
    assert ahead["learned"] > ahead["smooth"] + 0.1


def test_learned_motions_take_no_keys(portrait: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("perform", portrait, "--dynamics", "learned", "-o", tmp_path / "out.mp4")
    for more, message in ((("--to", "fear", "--keys", "0:1"), "--keys"), (("--muscle", "jawOpen=1"), "give --to")):
        assert run(*words, *more) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "out.mp4").exists()
