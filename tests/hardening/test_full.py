"""A disk that is full and a disk that is read-only: one line, exit code 2, and what was there stays as it was."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

for wing in ("torch", "pyarrow", "av", "fsspec"):
    pytest.importorskip(wing, reason="needs the extras lab, video and bulk")
from jobs import JOBS  # noqa: E402

from mien.cli import main  # noqa: E402

Disk = Callable[[str], Path]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """Mounts a small disk with these options."""
    places: list[Path] = []

    def mount(options: str) -> Path:
        place = tmp_path / "disk"
        place.mkdir(exist_ok=True)
        words = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
        if not shutil.which("mount") or subprocess.run(words, capture_output=True).returncode:
            pytest.skip("no disk can be mounted here (it takes root, and a container that allows it)")
        places.append(place)
        return place

    yield mount
    for place in places:
        subprocess.run(["umount", "-l", str(place)], check=True)


def run(words: list[object], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as end:
        main([str(word) for word in words])
    told = capsys.readouterr().err
    assert end.value.code == 2, told
    assert told.startswith("mien: ")
    return told


@pytest.mark.parametrize("name", JOBS)
def test_a_full_disk_is_told_and_what_was_there_stays(
    name: str, disk: Disk, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    here, out = tmp_path / "here", disk("size=8k")  # two pages
    here.mkdir()
    JOBS[name].reads(here)
    old = out / "old.txt"
    old.write_bytes(b"old" * 1000)
    told = run(JOBS[name].words(here, out), capsys)
    assert len(told.splitlines()) == (4 if name == "edit" else 1)  # a line for each photograph, and the sum
    assert "no space left" in told.lower()
    assert old.read_bytes() == b"old" * 1000
    left = {path.relative_to(out).parts[0] for path in out.rglob("*") if path.is_file() and path != old}
    assert left <= {"mien-bulk.json", "mien-errors.jsonl", "log.jsonl", "faces.parquet.parts"}


@pytest.mark.parametrize("name", JOBS)
def test_a_read_only_disk_is_told_and_what_was_there_stays(
    name: str, disk: Disk, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    here, out = tmp_path / "here", disk("size=1m")
    here.mkdir()
    JOBS[name].reads(here)
    (out / "old.txt").write_text("old")
    subprocess.run(["mount", "-o", "remount,ro", str(out)], check=True)
    told = run(JOBS[name].words(here, out), capsys)
    assert len(told.splitlines()) == (4 if name == "edit" else 1)
    assert "Read-only file system" in told
    assert [path.name for path in out.iterdir()] == ["old.txt"]
