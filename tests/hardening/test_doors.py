"""Odd names and places, the network, and pickles: doors that stay shut."""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from pictures import chunk, saved

from mien.cli import main
from mien.errors import MienError
from mien.photo.read import read

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "astronaut.png"
PICKLED = (
    r"^\s*(import|from) (pickle|cPickle|_pickle|dill|cloudpickle|joblib|shelve|marshal)\b",
    r"torch\.load\(",
    r"torch\.jit\.load\(",
    r"allow_pickle\s*=\s*True",
    r"read_pickle\(",
    r"yaml\.(unsafe_)?load\(",
)


def run(*words: object) -> int:
    with pytest.raises(SystemExit) as end:
        main([str(word) for word in words])
    return int(end.value.code or 0)


def test_nothing_is_ever_unpickled() -> None:
    sources = list((ROOT / "src").rglob("*.py"))
    assert len(sources) > 50
    for path in sources:
        for pattern in PICKLED:
            assert not re.search(pattern, path.read_text(), re.MULTILINE), (path, pattern)


@pytest.mark.parametrize("line", ["import pickle", "x = torch.load(path)", "np.load(f, allow_pickle=True)"])
def test_the_search_for_pickles_would_find_one(line: str) -> None:
    assert any(re.search(pattern, line, re.MULTILINE) for pattern in PICKLED)


@pytest.fixture
def no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No connection may be asked for, and no temporary file may be left."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a connection was asked for")

    for name in ("socket", "create_connection", "getaddrinfo", "gethostbyname", "socketpair"):
        monkeypatch.setattr(socket, name, refuse)
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    yield
    assert not list(temporary.iterdir())
    assert not list(tmp_path.rglob(".mien-*"))


def test_the_user_wing_works_without_a_network(tmp_path: Path, no_network: None) -> None:
    out, photos = tmp_path / "out.png", tmp_path / "photos"
    photos.mkdir()
    shutil.copy(EXAMPLE, photos / "a.png")
    assert run("edit", EXAMPLE, "--to", "happiness", "-o", out) == 0
    assert run("faces", EXAMPLE, "-o", tmp_path / "faces.png") == 0
    assert run("sheet", EXAMPLE, "-o", tmp_path / "s.jpg", "--to", "anger", "--intensities", "0", "1") == 0
    assert run("grid", "--src", photos, "--ref", photos, "-o", tmp_path / "grid.png", "--size", 32) == 0
    assert run("models") == 0
    assert run("inspect", out) == 0


def test_libraries_leave_nothing_at_home(tmp_path: Path) -> None:
    """ONNX Runtime's telemetry, of which Python's sockets see nothing, would keep a device's number there."""
    home, temporary = tmp_path / "home", tmp_path / "temporary"
    home.mkdir()
    temporary.mkdir()
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ORT_", "XDG_"))}
    words = ["edit", EXAMPLE, "--to", "happiness", "-o", tmp_path / "out.png"]
    environment = kept | {"HOME": str(home), "TMPDIR": str(temporary)}
    subprocess.run([sys.executable, "-m", "mien", *map(str, words)], env=environment, check=True)
    assert (tmp_path / "out.png").exists()
    assert not [*home.iterdir(), *temporary.iterdir()]


def test_clips_need_no_network(tmp_path: Path, no_network: None) -> None:
    pytest.importorskip("av", reason="needs the extra video")
    clip = tmp_path / "a.mp4"
    assert run("perform", EXAMPLE, "--to", "anger", "-o", clip, "--seconds", 0.2, "--size", 128) == 0
    assert run("edit", clip, "--to", "happiness", "-o", tmp_path / "b.mp4") == 0
    assert run("drive", EXAMPLE, "--by", clip, "-o", tmp_path / "c.mp4", "--size", 128) == 0
    assert run("inspect", tmp_path / "c.mp4") == 0


def test_bulk_needs_no_network(tmp_path: Path, no_network: None, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("fsspec", reason="needs the extra bulk")
    from mien.bulk import local
    from mien.bulk.work import Worker

    (tmp_path / "photos").mkdir()
    shutil.copy(EXAMPLE, tmp_path / "photos" / "a.png")
    monkeypatch.setenv("MIEN_THREADS", "1")
    monkeypatch.setattr(local, "run", lambda job, names, workers: map(Worker(job), names))  # in this process
    assert run("bulk", tmp_path / "photos", tmp_path / "out", "--to", "anger") == 0


@pytest.mark.parametrize(
    "words",
    [
        *(["sheet", "--to", "anger", "--cell", number] for number in ("0", "-1", "9" * 20)),
        *(["sheet", "--to", "anger", "--intensities", number] for number in ("-1", "nan", "inf", "9" * 20)),
        *(["edit", "--to", "anger", "--intensity", number] for number in ("-0.1", "nan", "inf")),
        *(["edit", "--to", "anger", "--face", number] for number in ("0", "-1", "nan", "1.5", "inf,nan", "9" * 20)),
        *(["edit", "--to", "anger", "--max-pixels", number] for number in ("0", "-1")),
        *(["edit", "--muscle", f"jawOpen={number}"] for number in ("nan", "inf", "-0.1", "9" * 20, "", "=")),
    ],
)
def test_numbers_that_make_no_sense_are_told_in_one_line(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(words[0], EXAMPLE, *words[1:], "-o", tmp_path / "out.png") == 2
    told = capsys.readouterr().err
    assert told.startswith("mien: ")
    assert told.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "name", ["-me.png", "--to.png", "a\nb.png", "ü😀 ‮gnp.png", "a b'\".png", "%s{x}.png", "*.png", "[1].png"]
)
def test_odd_names_are_names(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(EXAMPLE, name)
    assert run("edit", tmp_path / name, "--to", "happiness", "--intensity", "0") == 0
    made = Path(name).with_name(f"{Path(name).stem}-happiness.png")
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([name, made.name])
    assert made.read_bytes() == EXAMPLE.read_bytes()


def test_a_message_about_an_odd_name_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a\nb.png").write_bytes(b"junk")
    for name in ("a\nb.png", "absent\n\x1b[31m.png"):
        assert run("edit", tmp_path / name, "--to", "happiness") == 2
        told = capsys.readouterr().err
        assert told.count("\n") == 1
        assert "\x1b" not in told


def test_links_pipes_and_folders(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.webp")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "loop.png").symlink_to("loop.png")
    (tmp_path / "gone.png").symlink_to("absent")
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    (tmp_path / "sound.png").symlink_to(EXAMPLE)
    for name in ("pipe.webp", "folder.png", "loop.png", "gone.png", "zero.png"):
        with pytest.raises(MienError):
            read(tmp_path / name)
        assert run("edit", tmp_path / name, "--to", "happiness", "-o", tmp_path / "out.png") == 2
        assert run("inspect", tmp_path / name) == 2
    assert read(tmp_path / "sound.png").rgb.shape == (512, 512, 3)
    before = EXAMPLE.read_bytes()
    assert run("edit", EXAMPLE, "--to", "happiness", "--intensity", "0", "-o", tmp_path / "gone.png") == 2
    assert run("edit", EXAMPLE, "--to", "anger", "-o", tmp_path / "sound.png", "--overwrite") == 0
    assert EXAMPLE.read_bytes() == before  # the link was replaced, not what it led to
    assert not (tmp_path / "sound.png").is_symlink()


def test_a_read_only_folder_stays_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shut = tmp_path / "shut"
    shut.mkdir(mode=0o500)
    if os.access(shut, os.W_OK):
        pytest.skip("this user may write in read-only folders")
    assert run("edit", EXAMPLE, "--to", "happiness", "-o", shut / "out.png") == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not list(shut.iterdir())


@pytest.fixture
def full(tmp_path: Path):  # type: ignore[no-untyped-def]
    """A disk with 64 kB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if (
        not shutil.which("mount")
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)], capture_output=True
        ).returncode
    ):
        pytest.skip("no small tmpfs can be mounted here")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk_is_told_and_left_as_it_was(full: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (full / "old.png").write_bytes(b"old")
    assert run("edit", EXAMPLE, "--to", "happiness", "-o", full / "old.png", "--overwrite") == 2
    assert "No space left" in capsys.readouterr().err
    assert [(p.name, p.read_bytes()) for p in full.iterdir()] == [("old.png", b"old")]


def limited() -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (20, 20))
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000_000, 10_000_000))


@pytest.mark.parametrize("data", [b"", saved("PNG")[:99], saved("PNG")])
def test_the_program_itself_ends_in_one_line(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(data)
    words = [sys.executable, "-m", "mien.cli", "edit", "a.png", "--to", "happiness"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=60, preexec_fn=limited)
    assert done.returncode == 2
    assert done.stderr.startswith("mien: ")
    assert done.stderr.count("\n") == 1
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]


def test_a_name_that_is_no_text_is_a_name(tmp_path: Path) -> None:
    name = os.fsdecode(b"a\xff.png")
    shutil.copy(EXAMPLE, tmp_path / name)
    for words in (["inspect", name], ["edit", name, "--to", "happiness", "--intensity", "0"]):
        done = subprocess.run([sys.executable, "-m", "mien.cli", *words], cwd=tmp_path, capture_output=True)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / os.fsdecode(b"a\xff-happiness.png")).exists()


def test_inspect_tells_what_is_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.jpg"
    run("edit", EXAMPLE, "--to", "happiness", "-o", out)
    capsys.readouterr()
    before = out.read_bytes()

    def told(path: Path) -> dict[str, object]:
        assert run("inspect", path, "--json") == 0
        return json.loads(capsys.readouterr().out)

    about = told(out)
    assert (about["format"], about["size"], about["edited"], about["by_mien"]) == ("JPEG", [512, 512], True, True)
    assert about["c2pa"] is False
    assert out.read_bytes() == before
    about = told(EXAMPLE)
    assert (about["edited"], about["by_mien"], about["tool"], about["orientation"]) == (False, False, None, 1)
    jumbf = b"JP\0\1\0\0\0\1\0\0\0\x20jumb\0\0\0\x18jumdc2pa"
    (tmp_path / "c.jpg").write_bytes(
        before[:2] + b"\xff\xeb" + (len(jumbf) + 2).to_bytes(2, "big") + jumbf + before[2:]
    )
    assert told(tmp_path / "c.jpg")["c2pa"] is True
    small = saved("PNG")
    (tmp_path / "c.png").write_bytes(small[:33] + chunk(b"caBX", b"jumb") + small[33:])
    assert told(tmp_path / "c.png")["c2pa"] is True
    (tmp_path / "d.png").write_bytes(small)
    assert told(tmp_path / "d.png")["c2pa"] is False
    (tmp_path / "text.jpg").write_text("no picture")
    assert run("inspect", tmp_path / "text.jpg") == 2
    assert capsys.readouterr().err.count("\n") == 1
