"""Coverage-guided fuzzing of what reads strangers' bytes, by atheris (LibFuzzer): python fuzz.py TARGET --runs 100000.

Guided are mien's own parsers and Pillow's, which are Python; what FFmpeg, Arrow and ONNX Runtime do inside is not seen,
so that there the bytes are mutated blindly. Any exception but MienError, and any run above 5 s or 2 GB, is a find.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
SECONDS, MEGABYTES = 5, 2048
Target = Callable[[bytes], object]


def written(data: bytes, suffix: str) -> Path:
    """The bytes as a file, the same one each time."""
    path = Path(tempfile.gettempdir()) / f"fuzzed{suffix}"
    path.write_bytes(data)
    return path


def photo(data: bytes) -> None:
    from mien.photo.inspect import inspect, told
    from mien.photo.read import read
    from mien.photo.write import write

    path = written(data, ".png")
    told(inspect(path))
    found = read(path, 1_000_000)
    for suffix in (".jpg", ".tif"):
        write(found, 255 - found.rgb, written(b"", suffix), overwrite=True)


def xmp(data: bytes) -> None:
    from mien.photo.provenance import SOURCE_TYPE, mark, marked

    marked(data)
    assert marked(mark(data, "mien")) == {"source_type": SOURCE_TYPE, "tool": "mien"}


def words(data: bytes) -> None:
    """What is typed: keys in time, muscles, faces, names of models."""
    import numpy as np

    from mien.model import find_model
    from mien.options import muscle_of
    from mien.photo.find import choose, face_of
    from mien.target import by_muscles
    from mien.video.curve import parsed

    text = data.decode("utf-8", "replace")
    face = face_of(np.arange(136.0).reshape(68, 2), 1.0)
    for read in (
        lambda: [0 <= parsed(text)(time) <= 1.5 or 1 / 0 for time in (-1.0, 0.0, 0.5, 1e9)],
        lambda: by_muscles(dict([muscle_of(text)])),
        lambda: choose([face], text),
        lambda: find_model(text.replace("\0", "") + ".onnx"),
    ):
        with suppress(_mistake()):
            read()


def model(data: bytes) -> None:
    from mien.model import Model, find_model

    path = written(data, ".onnx")
    assert isinstance(Model(path).about, dict)
    with suppress(_mistake()):  # the seed is no edit model: those are large
        find_model(str(path))


def manifest(data: bytes) -> None:
    from mien.lab.data import load

    load(written(data, ".parquet"), "train", frozenset({"image", "emotion"}), 32)


def checkpoint(data: bytes) -> None:
    from mien.lab.commands import restore

    restore(written(data, ".safetensors"))


def clip(data: bytes) -> None:
    from mien.video.clip import open_clip

    with open_clip(written(data, ".mp4"), 1_000_000) as opened:
        for _, item in zip(range(20), opened, strict=False):
            repr(item)


TARGETS: dict[str, Target] = {
    "photo": photo,
    "xmp": xmp,
    "words": words,
    "model": model,
    "manifest": manifest,
    "checkpoint": checkpoint,
    "clip": clip,
}


def seeds(name: str) -> Iterator[bytes]:
    """Sound inputs to begin from."""
    if name == "photo":
        from pictures import metadata, odd, saved

        yield from (saved(kind) for kind in ("JPEG", "PNG", "WEBP", "TIFF", "BMP"))
        yield from (data for part in (odd, metadata) for _, data, _ in part() if len(data) < 20_000)
    elif name == "xmp":
        from mien.photo.provenance import mark

        yield mark(None, "another")
        yield b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "c">]><rdf:RDF>&b;</rdf:RDF>'
    elif name == "words":
        yield from (b"0:0,1.5:1,3:0", b"jawOpen=0.8", b"all", b"1", b"3,4", b"flowfill", b"nan:inf", b"../a.onnx")
    elif name == "model":
        from mien.model import shipped

        yield shipped("render").path.read_bytes()
    elif name in ("manifest", "checkpoint"):
        yield _of_the_lab(name)
    else:
        from bad_clips import whole

        yield from whole().values()


def _of_the_lab(name: str) -> bytes:
    from jobs import faces
    from safetensors.torch import save

    from mien.lab.methods.stargan import StarGAN

    if name == "manifest":
        with tempfile.TemporaryDirectory() as folder:
            faces(Path(folder))
            return (Path(folder) / "faces.parquet").read_bytes()
    config = {"size": 32, "width": 2, "blocks": 1}
    tensors = {f"method/{key}": value for key, value in StarGAN(StarGAN.Config(**config)).state_dict().items()}
    about = '{"method": "stargan", "config": {"size": 32, "width": 2, "blocks": 1}, "data": "", "version": ""}'
    return bytes(save(tensors, {"mien": about}))


def tried(name: str, data: bytes) -> bool:
    """One input; False where it was refused in one line."""
    try:
        TARGETS[name](data)
    except _mistake() as error:
        assert "\n" not in str(error)  # noqa: PT017
        return False
    return True


def _mistake() -> type[Exception]:
    from mien.errors import MienError

    return MienError


def fuzz(name: str, runs: int, seconds: int, finds: str) -> None:
    """Does not return. finds: how the names of inputs begin that broke something."""
    try:
        import atheris
    except ImportError:
        sys.exit("fuzz.py needs atheris: pip install atheris")
    with atheris.instrument_imports(include=["mien", "PIL", "xml"]):
        sound = list(seeds(name))
        for data in sound:  # whatever is imported on the way is instrumented
            tried(name, data)
    corpus = Path(tempfile.mkdtemp())
    for number, data in enumerate(sound):
        (corpus / f"{number:04d}").write_bytes(data)
    most = MEGABYTES
    if name == "model":  # it may ask for any amount of memory (docs/threats.md): here the system says no
        resource.setrlimit(resource.RLIMIT_AS, (most << 20, most << 20))
        most *= 2
    limits = [f"-runs={runs}", f"-max_total_time={seconds}", f"-timeout={SECONDS}", f"-rss_limit_mb={most}"]
    longest = max(map(len, sound))
    words_ = [name, *limits, f"-max_len={2 * longest}", f"-artifact_prefix={finds}", str(corpus)]
    atheris.Setup(words_, lambda data: tried(name, data) and None)
    atheris.Fuzz()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("target", choices=[*TARGETS, "all"])
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--seconds", type=int, default=600, help="at most so long, for each target")
    parser.add_argument("--finds", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.finds:
        fuzz(asked.target, asked.runs, asked.seconds, asked.finds)
    failed = []
    for name in TARGETS if asked.target == "all" else [asked.target]:  # each in a process and a folder of its own
        finds = f"{tempfile.gettempdir()}/mien-fuzz-find-{name}-"
        words_ = [name, "--runs", str(asked.runs), "--seconds", str(asked.seconds), "--finds", finds]
        shared = "/dev/shm" if Path("/dev/shm").is_dir() else None  # in memory
        with tempfile.TemporaryDirectory(prefix="mien-fuzz-", dir=shared) as folder:
            done = subprocess.run([sys.executable, __file__, *words_], env=os.environ | {"TMPDIR": folder})
        failed += [name] if done.returncode else []
    sys.exit(f"finds in {', '.join(failed)}" if failed else 0)


if __name__ == "__main__":
    main()
