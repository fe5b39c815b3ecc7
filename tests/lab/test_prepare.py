"""``mien prepare``: real faces in small collections -> a manifest that trains, whatever happens on the way."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image, ImageDraw

from mien.cli import main
from mien.editor import Editor
from mien.errors import MienError
from mien.expressions import BLENDSHAPES, TEMPLATE
from mien.lab import prepare as module
from mien.lab.collections import Entry
from mien.lab.collections.measure import _find_enlarged, _instruments, find, measure
from mien.lab.data import load
from mien.lab.prepare import prepare
from mien.lab.readers.segmenter import REGIONS, Segmenter, iou, labels
from mien.lab.readers.segmenter import drawn as label
from mien.photo.align import five_points

HEAD = Image.open(Path(__file__).parents[2] / "examples" / "astronaut.png").convert("RGB").crop((120, 0, 340, 260))
BLANK = Image.new("RGB", (90, 90), (90, 120, 60))


def run(*words: object) -> int:
    """The exit code of ``mien prepare`` with these words."""
    with pytest.raises(SystemExit) as end:
        main(["prepare", *(str(word) for word in words)])
    return int(end.value.code or 0)


def lfw(root: Path, count: int = 3) -> Path:
    """So many people, each with one photograph, a picture without a face, and a file that is no picture."""
    for i in range(count):
        place = root / f"Some_Body{i}" / f"Some_Body{i}_0001.jpg"
        place.parent.mkdir(parents=True)
        HEAD.rotate(3 * i).save(place, quality=90)
    BLANK.save(root / "Some_Body0" / "Some_Body0_0002.jpg")
    (root / "Some_Body0" / "Some_Body0_0003.jpg").write_bytes(b"not a picture")
    return root


def fer(root: Path) -> Path:
    """FER2013: a face, the same held out in test and, mirrored, in val, a picture without a face, bad pixels."""
    face = HEAD.crop((30, 40, 180, 190)).convert("L").resize((48, 48), Image.Resampling.BOX)
    rows = [
        (3, face, "Training"),
        (3, face, "PrivateTest"),
        (6, face.transpose(Image.Transpose.FLIP_LEFT_RIGHT), "PublicTest"),
        (0, Image.new("L", (48, 48), 200), "Training"),
    ]
    lines = [f"{label},{' '.join(map(str, image.tobytes()))},{usage}" for label, image, usage in rows]
    root.mkdir(exist_ok=True)
    (root / "fer2013.csv").write_text("\n".join(["emotion,pixels,Usage", *lines, "1,1 2 3,Training"]))
    return root


def contents(folder: Path) -> dict[str, str]:
    return {str(p): hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_a_collection_becomes_a_manifest_and_stays_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = lfw(tmp_path / "lfw"), tmp_path / "faces.parquet"
    before = contents(source)
    assert run(source, "-o", out, "--size", 64, "--workers", 1) == 0
    assert contents(source) == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["faces.parquet", "lfw"], "nothing else is left"

    said = capsys.readouterr().out
    assert "5 pictures -> 3 faces of 3 people" in said
    assert "left out 1: no face found (Some_Body0_0002.jpg)" in said
    assert "left out 1: cannot be read (Some_Body0_0003.jpg: is not a JPEG" in said

    table = pq.read_table(out)
    columns = ["name", "identity", "emotion", "split", "image", "landmarks", "blendshapes", "regions"]
    assert table.column_names == columns
    assert table["regions"].null_count == 3, "LFW has no masks"
    assert table["identity"].to_pylist() == ["Some_Body0", "Some_Body1", "Some_Body2"]
    assert table.schema.metadata[b"size"] == b"64"
    assert table.schema.metadata[b"blendshapes"].decode().split(",") == list(BLENDSHAPES)
    assert str([list(point) for point in TEMPLATE]).encode() == table.schema.metadata[b"template"]
    image = Image.open(io.BytesIO(table["image"][0].as_py()))
    assert (image.format, image.size) == ("WEBP", (64, 64))
    for split in set(table["split"].to_pylist()):
        faces = load(out, split, frozenset({"image", "landmarks", "blendshapes", "identity"}), 64)
        assert len(faces) == table["split"].to_pylist().count(split)


def test_faces_lie_on_the_template_and_are_measured_as_the_editor_does() -> None:
    pixels = np.asarray(HEAD.rotate(10))
    measured, seen = measure(Entry("a", pixels), 128), Editor().see(pixels)[0]
    points = five_points(measured.landmarks.reshape(68, 2))
    assert np.abs(points - np.array(TEMPLATE)).max() < 0.06
    np.testing.assert_allclose(measured.landmarks.reshape(68, 2), seen.landmarks, atol=1e-4)
    np.testing.assert_allclose(measured.blendshapes, seen.blendshapes, atol=1e-4)


def test_the_face_that_is_meant_is_the_one_in_the_box_or_else_in_the_middle() -> None:
    pair = np.concatenate([np.asarray(HEAD), np.asarray(HEAD)[:, ::-1], np.zeros_like(np.asarray(HEAD))[:, :60]], 1)
    left, right = find(pair, (40, 60, 180, 220)), find(pair, (260, 60, 400, 220))
    assert left is not None
    assert left.box[2] < 220
    assert right is not None
    assert right.box[0] > 220
    middle = find(pair)
    assert middle is not None
    assert middle.box == right.box
    assert find(pair, (441, 0, 499, 50)) is None


def masked(root: Path) -> Path:
    """CelebAMask-HQ with one picture: masks half its size, on each eye and on the mouth, over skin."""
    face = find(np.asarray(HEAD))
    assert face is not None
    folder = root / "CelebAMask-HQ-mask-anno" / "0"
    folder.mkdir(parents=True)
    (root / "CelebA-HQ-img").mkdir()
    HEAD.save(root / "CelebA-HQ-img" / "7.jpg", quality=95)
    points = face.landmarks / 2
    shapes = {"skin": points[:17], "l_eye": points[36:42], "r_eye": points[42:48], "u_lip": points[48:60]}
    for name, outline in shapes.items():
        mask = Image.new("RGB", (HEAD.width // 2, HEAD.height // 2))
        ImageDraw.Draw(mask).polygon([tuple(point) for point in outline], fill=(255, 255, 255))
        mask.save(folder / f"00007_{name}.png")
    return root


def test_masks_are_cropped_with_their_picture_and_taught_in_place_of_landmarks(tmp_path: Path) -> None:
    out = tmp_path / "faces.parquet"
    prepare([masked(tmp_path / "hq")], out, size=64, workers=1)
    split = pq.read_table(out)["split"][0].as_py()
    face = load(out, split, Segmenter.reads, 64).faces
    taught, drawn = labels(face.landmarks, face.regions)[0], label(face.landmarks, 64)[0]
    assert set(taught.unique().tolist()) == {REGIONS.index(name) for name in ("background", "skin", "eyes", "mouth")}
    agree = iou(taught, drawn)
    assert agree[REGIONS.index("mouth")] > 0.75
    assert agree[REGIONS.index("eyes")] > 0.4, "three pixels high"
    assert not (taught == REGIONS.index("nose")).any(), "no mask of a nose, no label"
    assert torch.equal(face.flipped().regions[0], face.regions[0].flip(-1))


def test_a_mask_that_cannot_be_read_leaves_the_picture_out(tmp_path: Path) -> None:
    source = masked(tmp_path / "hq")
    (source / "CelebAMask-HQ-mask-anno" / "0" / "00007_skin.png").write_bytes(b"not a picture")
    with pytest.raises(MienError, match=r"its masks cannot be read \(7.jpg: .*00007_skin.png"):
        prepare([source], tmp_path / "faces.parquet", size=64, workers=1)


def test_looking_again_enlarged_finds_the_same_place() -> None:
    small = np.asarray(HEAD.resize((110, 130)))
    [again], [once] = _find_enlarged(small, _instruments()[0]), _instruments()[0].find(small)
    assert np.abs(again.landmarks - once.landmarks).mean() < 1
    np.testing.assert_allclose(again.box, [*again.landmarks.min(0), *again.landmarks.max(0)], rtol=1e-5)


def test_face_crops_are_usable_whole_and_twins_stay_out_of_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(fer(tmp_path / "fer"), "-o", tmp_path / "faces.parquet", "--size", 48, "--workers", 1) == 0
    said = capsys.readouterr().out
    assert "1 face crops with no face found in them, kept whole and unmeasured (fer0000003.png)" in said
    assert (
        "left out 2: the same person or picture stands in a split that is held out (fer0000000.png; fer0000002" in said
    )
    assert "left out 1: its pixels cannot be read (fer0000004.png)" in said
    rows = pq.read_table(tmp_path / "faces.parquet").to_pylist()
    face, whole = rows
    assert [(row["name"], row["emotion"]) for row in rows] == [
        ("fer0000001.png", "happiness"),
        ("fer0000003.png", "anger"),
    ]
    assert (face["split"], face["identity"]) == ("test", "fer0000000.png")
    assert len(face["landmarks"]) == 136
    assert whole["landmarks"] is None
    assert whole["blendshapes"] is None
    assert np.asarray(Image.open(io.BytesIO(whole["image"]))).mean() == pytest.approx(200, abs=3)
    assert len(load(tmp_path / "faces.parquet", whole["split"], frozenset({"image", "emotion"}), 48)) == 1


def test_splitting_by_person_sets_official_splits_aside(tmp_path: Path) -> None:
    out = tmp_path / "faces.parquet"
    report = prepare([fer(tmp_path / "fer")], out, size=48, split="identity", workers=1)
    assert report.faces == 4
    twins = [row["split"] for row in pq.read_table(out, columns=["identity", "split"]).to_pylist()][:3]
    assert len(set(twins)) == 1


def test_workers_and_runs_make_no_difference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = lfw(tmp_path / "lfw", 2)
    monkeypatch.setattr(module, "PART", 2)
    made = [tmp_path / f"{workers}.parquet" for workers in (1, 2)]
    for workers, out in enumerate(made, 1):
        prepare([source], out, size=48, workers=workers)
    assert made[0].read_bytes() == made[1].read_bytes()


KILLED = """
import os, signal, sys
from multiprocessing import active_children
from pathlib import Path
from mien.lab import prepare as module

def advance(done, total):
    if done:
        print(*(child.pid for child in active_children()), flush=True)
        os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    module.PART = 1
    module.prepare([Path(sys.argv[1])], Path(sys.argv[2]), size=48, workers=2, advance=advance)
"""


def test_killed_it_goes_on_and_ends_at_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, out = lfw(tmp_path / "lfw"), tmp_path / "faces.parquet"
    (tmp_path / "killed.py").write_text(KILLED)
    words = [sys.executable, str(tmp_path / "killed.py"), str(source), str(out)]
    dead = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert dead.returncode == -9, dead.stderr
    assert not out.exists()
    workers = [int(word) for word in dead.stdout.split()]
    assert len(workers) == 2
    assert all(ended(worker) for worker in workers), "no worker outlives its parent"

    monkeypatch.setattr(module, "PART", 1)
    measured: list[str] = []
    monkeypatch.setattr(module, "measure", lambda entry, *rest: measured.append(entry.name) or measure(entry, *rest))
    parts = {part.name: part.read_bytes() for part in (tmp_path / "faces.parquet.parts").glob("*.parquet")}
    whole = [name for name in parts if not name.startswith(".")]
    prepare([source], out, size=48, workers=1)
    assert 1 <= len(whole) == 5 - len(measured)
    prepare([source], tmp_path / "at-once.parquet", size=48, workers=1)
    assert out.read_bytes() == (tmp_path / "at-once.parquet").read_bytes()


def ended(process: int, seconds: float = 20) -> bool:
    """Whether the process ends within so many seconds (one that nobody has waited for counts as ended)."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            os.kill(process, 0)
            if Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.05)
    return False


def test_parts_of_another_preparation_are_not_mixed_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, out = lfw(tmp_path / "lfw"), tmp_path / "faces.parquet"

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare([source], out, size=48, workers=1, advance=stop)
    with pytest.raises(MienError, match="left from another preparation"):
        prepare([source], out, size=64, workers=1)
    assert prepare([source], out, size=48, workers=1).faces == 3


def test_muscles_come_from_the_table_where_it_has_a_column(tmp_path: Path) -> None:
    HEAD.save(tmp_path / "a.png")
    (tmp_path / "mine.csv").write_text("path,identity,AU12,jawOpen\na.png,ann,0.25,\n")
    shapes = []
    for muscles in ("table", "measured"):
        out = tmp_path / f"{muscles}.parquet"
        assert run(tmp_path / "mine.csv", "-o", out, "--muscles", muscles, "--workers", 1) == 0
        shapes.append(np.array(pq.read_table(out)["blendshapes"][0].as_py(), float))
    smile = [BLENDSHAPES.index("mouthSmileLeft"), BLENDSHAPES.index("mouthSmileRight")]
    assert shapes[0][smile].tolist() == [0.25, 0.25]
    assert (shapes[1][smile] > 0.5).all(), "the astronaut smiles broadly"
    others = np.delete(np.arange(52), smile)
    np.testing.assert_array_equal(shapes[0][others], shapes[1][others])


def test_several_sources_in_one_manifest(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name / "happy" / "ann").mkdir(parents=True)
        HEAD.save(tmp_path / name / "happy" / "ann" / "1.jpg")
    out = tmp_path / "faces.parquet"
    report = prepare([tmp_path / "one", tmp_path / "two"], out, size=48, workers=1)
    assert (report.faces, report.people) == (2, 2)
    assert pq.read_table(out)["name"].to_pylist() == ["one/happy/ann/1.jpg", "two/happy/ann/1.jpg"]
    with pytest.raises(MienError, match="two sources are called one"):
        prepare([tmp_path / "one", tmp_path / "one"], tmp_path / "more.parquet", size=48)


def test_what_cannot_work_is_said_in_one_line_before_the_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = lfw(tmp_path / "lfw", 1), tmp_path / "faces.parquet"
    (tmp_path / "old.parquet").write_bytes(b"precious")
    (tmp_path / "empty").mkdir()
    (tmp_path / "noface" / "happy").mkdir(parents=True)
    BLANK.save(tmp_path / "noface" / "happy" / "a.png")
    (tmp_path / "bad.csv").write_text("path,split\na.png,someday\n")
    for words, message in (
        ((source, "-o", out, "--layout", "lwf"), "no layout 'lwf': choose one of"),
        ((tmp_path / "gone", "-o", out), "does not exist"),
        ((tmp_path / "empty", "-o", out), "in no layout that mien knows"),
        ((tmp_path / "empty", "-o", out, "--layout", "rafd"), "no picture in it that fits layout rafd"),
        ((source / "Some_Body0" / "Some_Body0_0001.jpg", "-o", out, "--layout", "folder"), "is no folder"),
        ((source, "-o", tmp_path / "gone" / "faces.parquet"), "cannot be written"),
        ((source, "-o", source / "Some_Body0" / "Some_Body0_0001.jpg" / "faces.parquet"), "cannot be written"),
        ((source, "-o", tmp_path), "is a folder"),
        ((source, "-o", tmp_path / "old.parquet"), "exists; give --overwrite"),
        ((source, "-o", out, "--size", 4), "--size 4"),
        ((source, "-o", out, "--workers", 0), "--workers 0"),
        ((source, "-o", out, "--muscles", "table"), "no table of muscles"),
        ((tmp_path / "bad.csv", "-o", out), "'someday' is no split"),
        ((tmp_path / "noface", "-o", out, "--workers", 1), "no usable face in 1 pictures: left out 1: no face found"),
        (("-o", out), "name a folder of pictures"),
    ):
        assert run(*words) == 2, words
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1, error
    assert (tmp_path / "old.parquet").read_bytes() == b"precious"
    assert not out.exists()
    assert not list(tmp_path.glob("*.parts"))


def test_an_old_manifest_is_replaced_when_asked(tmp_path: Path) -> None:
    (out := tmp_path / "faces.parquet").write_bytes(b"old")
    assert run(lfw(tmp_path / "lfw", 1), "-o", out, "--overwrite", "--workers", 1, "--size", 32) == 0
    assert len(pq.read_table(out)) == 1


def test_help_tells_the_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--help") == 0
    said = capsys.readouterr().out
    assert all(option in said for option in ("--layout", "--size", "--split", "--workers", "--muscles", "--overwrite"))
