"""Commands that write much, small enough to be killed often: what they read, their words, how one is begun."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from PIL import Image

PORTRAIT = Path(__file__).parents[2] / "examples" / "astronaut.png"
PRELOADED = ["mien.cli", "mien.commands", "mien.video.commands", "mien.bulk.commands", "mien.lab.commands"]


@dataclass(frozen=True)
class Job:
    """reads: fills the folder of what the command reads. words: of the command line, given both folders."""

    reads: Callable[[Path], None]
    words: Callable[[Path, Path], list[object]]


def portraits(folder: Path, suffixes: str = "png jpg webp") -> None:
    face = Image.open(PORTRAIT).convert("RGB").crop((125, 15, 320, 210)).resize((160, 160))
    for number, suffix in enumerate(suffixes.split()):
        face.rotate(2 * number).save(folder / f"{number}.{suffix}")


def moving(folder: Path) -> None:
    from bad_clips import clip, head

    (folder / "head.mp4").write_bytes(clip([head()] * 12, sound=True))


def faces(folder: Path) -> None:
    """A manifest of coloured squares."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    def square(number: int) -> bytes:
        file = BytesIO()
        Image.new("RGB", (32, 32), (20 * number, 90, 70)).save(file, "PNG")
        return file.getvalue()

    count = 12
    columns = {
        "name": [str(i) for i in range(count)],
        "identity": [str(i) for i in range(count)],
        "split": [("train", "train", "train", "train", "val", "test")[i % 6] for i in range(count)],
        "emotion": [("neutral", "happiness", "surprise")[i % 3] for i in range(count)],
        "image": [square(i) for i in range(count)],
    }
    pq.write_table(pa.table(columns), folder / "faces.parquet")


SMALL = "--size 32 --width 4 --blocks 1 --steps 24 --batch 4 --save-every 2 --log-every 1 --device cpu --no-bf16"
JOBS = {
    "edit": Job(portraits, lambda here, out: ["edit", here, "--to", "anger", "-o", out]),
    "video": Job(moving, lambda here, out: ["edit", here / "head.mp4", "--to", "anger", "-o", out / "out.mp4"]),
    "bulk": Job(portraits, lambda here, out: ["bulk", here, out, "--to", "anger", "--workers", 1]),
    "prepare": Job(
        lambda folder: portraits(folder, "png jpg webp png jpg webp"),
        lambda here, out: ["prepare", here, "-o", out / "faces.parquet", "--layout", "folder", "--workers", 1],
    ),
    "train": Job(
        faces,
        lambda here, out: ["train", "stargan", "--data", here / "faces.parquet", "--out", out, *SMALL.split()],
    ),
}


def begin(words: list[str], notes: str) -> None:
    """In a process of its own: the command, with what it says in the file ``notes``."""
    for stream in (1, 2):
        os.dup2(os.open(notes, os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream)
    os.environ["MIEN_THREADS"] = "1"
    from mien.cli import main
    from mien.lab import prepare

    prepare.PART = 2
    sys.argv[1:] = words
    main(words)
