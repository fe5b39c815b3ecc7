"""`mien bulk`: the same pictures as `mien edit`, each once, whatever is killed and whatever is wrong with some."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import mien
from mien import Editor

fsspec = pytest.importorskip("fsspec", reason="needs the extra bulk")

from mien.bulk import local, work  # noqa: E402
from mien.bulk.commands import ABOUT, ERRORS, main  # noqa: E402
from mien.bulk.files import Place  # noqa: E402
from mien.errors import MienError  # noqa: E402

EXAMPLE = Path(__file__).parent.parent / "examples" / "astronaut.png"
NAMES = ["a.jpg", "deep/b.webp", "deep/er/c.png"]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three photographs of a face, one that is no picture, one without a face, and what is no photograph at all."""
    folder = tmp_path / "photos"
    (folder / "deep" / "er").mkdir(parents=True)
    face = Image.open(EXAMPLE).convert("RGB").crop((150, 0, 310, 160))
    for shift, name in enumerate(NAMES):
        face.rotate(3 * shift).save(folder / name)
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff no picture")
    Image.new("RGB", (160, 160), (90, 120, 90)).save(folder / "meadow.png")
    (folder / "notes.txt").write_text("no photograph")
    (folder / ".hidden.jpg").write_bytes(b"")
    return folder


def run(*words: object) -> int:
    return main("bulk", [str(word) for word in words])


def files(folder: Path) -> dict[str, bytes]:
    """What lies in a folder, aside from what tells about the job."""
    found = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return {name: content for name, content in found.items() if name not in (ABOUT, ERRORS)}


def singly(photos: Path, out: Path) -> dict[str, bytes]:
    """The same edits by the editor, one by one."""
    editor = Editor()
    for name in NAMES:
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        editor.edit(photos / name, "happiness").save(out / name)
    return files(out)


def errors(text: str) -> dict[str, str]:
    return {line["file"]: line["error"] for line in map(json.loads, text.splitlines())}


def test_bulk_is_what_single_edits_are_to_the_bit(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run(photos, out, "--to", "happiness", "--workers", 2) == 2
    assert files(out) == singly(photos, tmp_path / "singly")
    wrong = errors((out / ERRORS).read_text())
    assert set(wrong) == {"broken.jpg", "meadow.png"}
    assert "broken.jpg is damaged" in wrong["broken.jpg"]
    assert "no face found" in wrong["meadow.png"]
    assert capsys.readouterr().out.startswith("3 of 5 photographs done; what was wrong with the others: ")


class Here:
    """The local pool's place taken by this process: what a test counts, it counts here."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def __call__(self, job: work.Job, names: list[str], workers: int) -> Iterator[work.Report]:
        self.names += names
        yield from map(work.Worker(job), names)


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Here:
    monkeypatch.setenv("MIEN_THREADS", "1")
    taken = Here()
    monkeypatch.setattr(local, "run", taken)
    return taken


def test_what_is_done_is_not_done_again(photos: Path, tmp_path: Path, here: Here) -> None:
    out = tmp_path / "out"
    run(photos, out, "--to", "happiness")
    first = files(out)
    (out / "deep" / "b.webp").unlink()
    (out / ".mien-0123.webp").write_bytes(b"half")
    (photos / "broken.jpg").write_bytes((photos / "a.jpg").read_bytes())
    here.names.clear()
    assert run(photos, out, "--to", "happiness") == 2
    assert here.names == ["broken.jpg", "deep/b.webp", "meadow.png"]
    assert files(out) == first | {"broken.jpg": first["a.jpg"]}
    assert set(errors((out / ERRORS).read_text())) == {"meadow.png"}


@pytest.mark.parametrize("other", [("--to", "sadness"), ("--to", "happiness", "--intensity", "0.5"), ("--measure",)])
def test_a_folder_holds_one_job(photos: Path, tmp_path: Path, here: Here, other: tuple[str, ...]) -> None:
    out = tmp_path / "out"
    run(photos, out, "--to", "happiness")
    before = files(out)
    with pytest.raises(MienError, match=r"holds results with another .*give another folder"):
        run(photos, out, *other)
    assert files(out) == before


def test_measurements_are_the_editors(photos: Path, tmp_path: Path, here: Here) -> None:
    tables = pytest.importorskip("pyarrow.parquet", reason="needs the extra bulk")
    out = tmp_path / "out"
    assert run(photos, out, "--measure") == 2
    (photos / "deep" / "new.jpg").write_bytes((photos / "a.jpg").read_bytes())
    here.names.clear()
    assert run(photos, out, "--measure") == 2
    assert here.names == ["broken.jpg", "deep/new.jpg"]
    rows = [row for part in sorted(out.glob("faces-*.parquet")) for row in tables.read_table(part).to_pylist()]
    assert sorted((row["file"], row["face"]) for row in rows) == [
        *((name, 1) for name in ("a.jpg", "deep/b.webp", "deep/er/c.png", "deep/new.jpg")),
        ("meadow.png", 0),
    ]
    for row in rows:
        if row["face"]:
            (seen,) = Editor().see(photos / row["file"])
            assert row["expression"] == seen.expression
            np.testing.assert_array_equal(np.float32(row["blendshapes"]), seen.blendshapes)
            np.testing.assert_allclose(row["box"], seen.face.box, rtol=1e-6)


def test_a_removed_table_is_measured_anew_and_no_other_is_replaced(photos: Path, tmp_path: Path, here: Here) -> None:
    tables = pytest.importorskip("pyarrow.parquet", reason="needs the extra bulk")
    out = tmp_path / "out"
    run(photos, out, "--measure")
    (photos / "new.jpg").write_bytes((photos / "a.jpg").read_bytes())
    run(photos, out, "--measure")
    second = (out / "faces-00002.parquet").read_bytes()
    (out / "faces-00001.parquet").unlink()
    run(photos, out, "--measure")
    assert (out / "faces-00002.parquet").read_bytes() == second
    parts = [tables.read_table(part)["file"].to_pylist() for part in sorted(out.glob("faces-*.parquet"))]
    assert sorted(name for part in parts for name in part) == sorted([*NAMES, "meadow.png", "new.jpg"])


def test_damaged_notes_are_told_and_stay(photos: Path, tmp_path: Path, here: Here) -> None:
    pytest.importorskip("pyarrow", reason="needs the extra bulk")
    out = tmp_path / "out"
    run(photos, out, "--measure")
    (out / "faces-00001.parquet").write_bytes(b"PAR1 no table")
    with pytest.raises(MienError, match=r"faces-00001\.parquet is no table"):
        run(photos, out, "--measure")
    for text in ("{", "7", "[" * 100_000, '["a"]'):
        (out / ABOUT).write_text(text)
        with pytest.raises(MienError, match="is damaged"):
            run(photos, out, "--measure")
        assert (out / ABOUT).read_text() == text
    assert (out / "faces-00001.parquet").read_bytes() == b"PAR1 no table"


def test_names_that_are_no_text_are_names(photos: Path, tmp_path: Path, here: Here) -> None:
    pytest.importorskip("pyarrow", reason="needs the extra bulk")
    good, bad = (os.fsdecode(name) for name in (b"\xff.jpg", b"\xfe.jpg"))
    (photos / good).write_bytes((photos / "a.jpg").read_bytes())
    (photos / bad).write_bytes(b"junk")
    assert run(photos, tmp_path / "edited", "--to", "happiness") == 2
    assert (tmp_path / "edited" / good).exists()
    assert bad in errors((tmp_path / "edited" / ERRORS).read_text())
    for _ in range(2):
        here.names.clear()
        assert run(photos, tmp_path / "measured", "--measure") == 2
    assert here.names == ["broken.jpg", bad]


def test_private_notes_hold_no_names(photos: Path, tmp_path: Path, here: Here) -> None:
    out = tmp_path / "out"
    (photos / "deep" / "secret\n.jpg").write_bytes(b"\xff\xd8\xff no picture")
    assert run(photos, out, "--to", "happiness", "--private") == 2
    told = [json.loads(line) for line in (out / ERRORS).read_text().splitlines()]
    assert [error["photograph"] for error in told] == [2, 5, 6]  # by name: a, broken, deep/b, deep/er/c, deep/secret
    assert told[0]["error"].startswith("it is damaged")
    for note in (ABOUT, ERRORS):
        text = (out / note).read_text()
        assert not [word for word in ("secret", "broken", str(tmp_path), "photos") if word in text], text
    assert run(photos, out, "--to", "happiness", "--private") == 2
    with pytest.raises(MienError, match="another source"):
        run(photos, out, "--to", "happiness")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("photos", "out"), "say what to do"),
        (("photos", "out", "--to", "anger", "--measure"), "say what to do"),
        (("photos", "photos/out", "--to", "anger"), "lie one in the other"),
        (("empty", "out", "--to", "anger"), "no photograph found"),
        (("photos", "out", "--to", "anger", "--workers", "0"), "--workers 0"),
        (("photos", "out", "--to", "anger", "--intensity", "9"), "--intensity 9"),
        (("photos", "out", "--muscle", "nose=1"), "nose"),
        (("photos", "nosuch://out", "--to", "anger"), "nosuch"),
    ],
)
def test_mistakes_are_told_before_any_work(
    photos: Path, tmp_path: Path, here: Here, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MienError, match=message) as error:
        run(*words)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


def test_a_photograph_that_ends_its_worker_is_named_and_the_rest_is_done(tmp_path: Path) -> None:
    """Two workers; what was under way beside the poison is done again."""
    job = work.Job(str(tmp_path), str(tmp_path), "happiness")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(local, "_begin", str)
        patch.setattr(local, "_do", deadly)
        reports = list(local.run(job, ["a", "b", "poison", "c", "d"], 2))
    assert sorted(str(report["file"]) for report in reports) == ["a", "b", "c", "d", "poison"]
    assert [report["file"] for report in reports if "error" in report] == ["poison"]


def deadly(name: str) -> work.Report:
    if name == "poison":
        os.kill(os.getpid(), signal.SIGKILL)
    return {"file": name}


def process(words: list[object], log: Path) -> subprocess.Popen[bytes]:
    environment = os.environ | {"PYTHONPATH": str(Path(mien.__file__).parents[1]), "PYTHONFAULTHANDLER": "1"}
    command = [sys.executable, "-m", "mien", "bulk", *map(str, words)]
    with log.open("ab") as file:
        return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=file)


def children(job: subprocess.Popen[bytes]) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{job.pid}/task/{job.pid}/children").read_text().split()]


def doing(job: subprocess.Popen[bytes], log: Path) -> str:
    """What a job that does not come on has said, and where it and its workers are: they end for it."""
    if job.poll() is None:
        for pid in (*children(job), job.pid):
            os.kill(pid, signal.SIGABRT)
        job.wait(30)
    return f"exit code {job.returncode}\n{log.read_text()}"


def until(ready: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not ready() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert ready()


def test_killed_and_started_again_every_output_is_there_once(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for number in range(30):
        (photos / f"copy{number}.jpg").write_bytes((photos / "a.jpg").read_bytes())
    words: list[object] = [photos, out, "--to", "happiness", "--workers", 1]
    log = tmp_path / "log"
    job = process(words, log)
    try:
        until(lambda: out.exists() and len(files(out)) >= 5)
        worker = children(job)
    except AssertionError:
        pytest.fail(doing(job, log))
    finally:
        job.kill()
        job.wait()
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in worker), 30)  # no orphan goes on writing
    half = {name: (out / name).stat().st_mtime_ns for name in files(out) if not name.startswith(".")}
    assert 5 <= len(half) < 33
    assert process(words, log).wait() == 2, log.read_text()
    whole = files(out)
    assert len(whole) == 33
    assert len({whole[name] for name in whole if name.startswith("copy")}) == 1
    assert {name: (out / name).stat().st_mtime_ns for name in half} == half
    assert set(errors((out / ERRORS).read_text())) == {"broken.jpg", "meadow.png"}


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An S3 server on this machine, with an empty bucket."""
    pytest.importorskip("s3fs", reason="needs s3fs")
    server = pytest.importorskip("moto.server", reason="needs moto[server]").ThreadedMotoServer("127.0.0.1", 0)
    server.start()
    address, port = server.get_host_and_port()
    secrets = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
    for name, value in (secrets | {"AWS_ENDPOINT_URL": f"http://{address}:{port}"}).items():
        monkeypatch.setenv(name, value)
    fsspec.filesystem("s3").mkdir("bucket")
    yield "s3://bucket"
    server.stop()
    fsspec.filesystem("s3").clear_instance_cache()


def test_object_stores_in_and_out(photos: Path, tmp_path: Path, store: str, here: Here) -> None:
    fsspec.filesystem("s3").put(str(photos), "bucket/in", recursive=True)
    assert run(f"{store}/in", f"{store}/out", "--to", "happiness") == 2
    out = Place(f"{store}/out")
    singles = singly(photos, tmp_path / "singly")
    assert set(out.names()) == {*singles, ABOUT, ERRORS}
    for name, content in singles.items():
        with out.brought(name) as path:
            assert path.read_bytes() == content
    assert "broken.jpg is damaged" in errors(out.text(ERRORS))["broken.jpg"]
    here.names.clear()
    run(f"{store}/in", f"{store}/out", "--to", "happiness")
    assert here.names == ["broken.jpg", "meadow.png"]


@pytest.mark.skipif("MIEN_RAY" not in os.environ, reason="slow: MIEN_RAY=1 runs it (docs/bulk.md)")
def test_a_cluster_of_two_nodes_does_the_same_though_a_worker_is_killed(photos: Path, tmp_path: Path) -> None:
    cluster_utils = pytest.importorskip("ray.cluster_utils", reason="needs the extra bulk")
    for number in range(60):
        (photos / f"copy{number}.jpg").write_bytes((photos / "a.jpg").read_bytes())
    out = tmp_path / "out"
    cluster = cluster_utils.Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    cluster.add_node(num_cpus=1)
    try:
        words: list[object] = [photos, out, "--to", "happiness", "--workers", 2, "--cluster", cluster.address]
        job = process(words, tmp_path / "log")
        until(lambda: out.exists() and len(files(out)) >= 5, 300)
        found = subprocess.run(["pgrep", "-f", "ray::.*Actor"], capture_output=True, text=True, check=True)
        os.kill(int(found.stdout.split()[0]), signal.SIGKILL)
        assert job.wait(400) == 2
    finally:
        cluster.shutdown()
    assert len(files(out)) == 63
    assert files(out).items() >= singly(photos, tmp_path / "singly").items()
    assert set(errors((out / ERRORS).read_text())) == {"broken.jpg", "meadow.png"}
