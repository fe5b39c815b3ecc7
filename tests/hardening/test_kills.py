"""Killed at any moment, a command leaves whole files or none, and begun again it comes to the same result."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import shutil
import time
from pathlib import Path

import pytest
from watch import SOAK

for wing in ("torch", "pyarrow", "av", "fsspec"):
    pytest.importorskip(wing, reason="needs the extras lab, video and bulk")
from jobs import JOBS, PRELOADED, Job, begin  # noqa: E402
from PIL import Image  # noqa: E402

from mien.lab import checkpoint  # noqa: E402

KILLS = 50 if SOAK else 3
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(PRELOADED)  # a command then begins in no time
TEMPORARY = (".mien-", ".checkpoint.safetensors.")
Files = dict[str, bytes]


def files(folder: Path) -> Files:
    """What lies there, aside from what is being written, by names that say so."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_file() and not path.name.startswith(TEMPORARY) and ".parts/" not in name:
            found[name] = path.read_bytes()
    return found


def started(words: list[object], notes: Path) -> multiprocessing.process.BaseProcess:
    process = CONTEXT.Process(target=begin, args=([str(word) for word in words], str(notes)))
    process.start()
    return process


def kill(process: multiprocessing.process.BaseProcess) -> bool:
    """End it, and wait until those are gone that work for it; False where it had come to its end."""
    helpers = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    left = helpers.read_text().split() if helpers.exists() else []
    process.kill()
    process.join()
    deadline = time.monotonic() + 30
    while any(_runs(pid) for pid in left):
        assert time.monotonic() < deadline, "a worker goes on without its command"
        time.sleep(0.01)
    return process.exitcode == -9


def _runs(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def random_kill(words: list[object], out: Path, notes: Path, seconds: float, draw: random.Random) -> bool:
    """Kill it at any time, or every other time just after something has changed in the folder ``out``."""
    process = started(words, notes)
    if draw.random() < 0.5:
        process.join(draw.uniform(0, seconds))
    else:
        for _ in range(draw.randint(1, 6)):
            before = _stamps(out)
            while process.is_alive() and _stamps(out) == before:
                time.sleep(0.0005)
        process.join(draw.uniform(0, 0.02))
    return kill(process)


def _stamps(folder: Path) -> list[tuple[str, int]]:
    found: list[tuple[str, int]] = []
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                found.append((name, os.stat(f"{parent}/{name}").st_size))
            except OSError:
                continue
    return sorted(found)


@pytest.fixture(params=JOBS)
def job(request: pytest.FixtureRequest) -> tuple[str, Job]:
    return request.param, JOBS[request.param]


def same(name: str, out: Path, reference: Files, done: bool) -> None:
    """Every file is whole, as the uninterrupted command made it; all are there where it is ``done``."""
    found = files(out)
    if name != "train":
        found.pop("mien-errors.jsonl", None)
        assert found.items() <= reference.items()
        assert not done or found == reference
        return
    kept = out / "checkpoint.safetensors"
    step = 0
    if kept.exists():
        tensors, progress = checkpoint.load(kept)
        step = progress.step
    lines = found.get("log.jsonl", b"").decode().splitlines(keepends=True)
    steps = [json.loads(line)["step"] for line in lines if line.endswith("\n")]
    assert steps == list(range(1, len(steps) + 1))  # none twice, none left out
    assert len(steps) >= step
    for sheet in out.glob("samples/[!.]*"):
        Image.open(sheet).load()
    if done:
        assert found.keys() == reference.keys()
        assert step == len(steps) == 24
        want = out.parent / "want.safetensors"
        want.write_bytes(reference["checkpoint.safetensors"])
        other, _ = checkpoint.load(want)
        assert tensors.keys() == other.keys()
        assert all(bool((tensors[key] == other[key]).all()) for key in other)


def test_killed_at_random_and_begun_again_it_comes_to_the_same(job: tuple[str, Job], tmp_path: Path) -> None:
    name, work = job
    here, out, notes = tmp_path / "here", tmp_path / "out", tmp_path / "notes.txt"
    here.mkdir(), out.mkdir()
    work.reads(here)
    read, words = files(here), work.words(here, out)
    started(["--version"], notes).join()  # whatever is loaded once
    began = time.monotonic()
    process = started(words, notes)
    process.join()
    seconds = time.monotonic() - began
    reference = files(out)
    assert process.exitcode == 0, notes.read_text()
    reference.pop("mien-errors.jsonl", None)
    draw, kills, ends = random.Random(name), 0, 0
    shutil.rmtree(out), out.mkdir()
    while kills < KILLS:
        assert ends < 4 * KILLS, "it cannot be killed"
        if random_kill(words, out, notes, seconds, draw):
            kills += 1
            same(name, out, reference, done=False)
        else:
            ends += 1
            same(name, out, reference, done=True)
            shutil.rmtree(out), out.mkdir()
    for _ in range(2):  # what is there already is kept, and told by exit code 2 where nothing can be gone on with
        process = started(words, notes)
        process.join()
        assert process.exitcode in (0, 2), notes.read_text()
    same(name, out, reference, done=True)
    assert files(here) == read
    assert sorted(path.name for path in tmp_path.iterdir() if path != tmp_path / "want.safetensors") == [
        *("here", "notes.txt", "out")
    ]
    for trace in notes.read_text().split("Traceback")[1:]:  # of a worker whose command was killed as it was being born
        assert "spawn_main" in trace, trace
        assert "EOFError: Ran out of input" in trace, trace
    if name in ("train", "bulk"):
        assert not [path for path in out.rglob("*") if path.name.startswith(TEMPORARY)]
    print(f"{name}: {kills} kills, {ends} ends in between, {seconds:.1f} s uninterrupted")
