"""One picture of a raw collection as its layout tells of it, and what the layouts share."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from mien.errors import MienError
from mien.photo.write import SUFFIXES

WORDS = {
    "neutral": ("neutral", "neutrality", "calm"),
    "happiness": ("happiness", "happy", "joy"),
    "surprise": ("surprise", "surprised"),
    "sadness": ("sadness", "sad"),
    "anger": ("anger", "angry"),
    "disgust": ("disgust", "disgusted"),
    "fear": ("fear", "fearful", "afraid", "scared"),
    "contempt": ("contempt", "contemptuous"),
}
EMOTION = {word: emotion for emotion, words in WORDS.items() for word in words}
"""What collections call the expressions -> mien's names. Contempt is none of mien's seven, and is kept as it is."""

SPLIT = {
    **{"train": "train", "training": "train"},
    **{"val": "val", "valid": "val", "validation": "val", "dev": "val"},
    **{"test": "test", "testing": "test"},
}
"""What collections call the splits -> mien's names."""

REGIONS = ("background", "skin", "brows", "eyes", "nose", "mouth")
"""What the pixels of a crop are told apart into, in the order of the labels."""


@dataclass(frozen=True)
class Entry:
    """One picture of a collection. It is opened later, by whoever measures it.

    name: unlike any other in the collection. picture: a file, or (H, W) or (H, W, 3) uint8 pixels.
    emotion: one of ``EMOTION``'s values, "" where unlabelled. identity: the person, None where nobody is named.
    split: train, val or test where the collection prescribes one.
    muscles: scores in [0, 1] of some blendshapes, by name, from the collection's own table.
    box: x0, y0, x1, y1 in pixels of the picture: which face is meant, where there are several.
    regions: the collection's own masks as (index into ``REGIONS``, black and white picture), later over earlier.
    cropped: the picture is a face crop already, so that it will do whole where no face is found in it.
    unusable: why the picture is to be left out unseen; "" for nearly all.
    """

    name: str
    picture: Path | np.ndarray
    emotion: str = ""
    identity: str | None = None
    split: str | None = None
    muscles: Mapping[str, float] | None = None
    box: tuple[float, float, float, float] | None = None
    regions: tuple[tuple[int, Path], ...] = ()
    cropped: bool = False
    unusable: str = ""


def emotion_of(text: str) -> str:
    """mien's name of an expression, "" for a word that names none."""
    return EMOTION.get(text.strip().lower(), "")


def pictures(folder: Path) -> Iterator[Path]:
    """Every picture under ``folder``, in an order that is the same on every machine; hidden ones are left out."""
    for where, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if Path(name).suffix.lower() in SUFFIXES and not name.startswith("."):
                yield Path(where, name)


def some(folder: Path, count: int = 100) -> list[str]:
    """The first pictures under ``folder`` as relative paths with slashes: enough to recognise a layout by."""
    return [path.relative_to(folder).as_posix() for path in islice(pictures(folder), count)]


def named(folder: Path, pattern: str) -> bool:
    """Whether one of the first pictures under ``folder`` has a relative path that ends as ``pattern`` says."""
    return folder.is_dir() and any(re.search(f"(^|/){pattern}$", name, re.IGNORECASE) for name in some(folder))


def first(folder: Path, *places: str) -> Path | None:
    """The first of these places under ``folder`` that exists."""
    return next((folder / place for place in places if (folder / place).exists()), None)


def needed(folder: Path, *places: str) -> Path:
    """As ``first``; raises MienError, naming them, where none exists."""
    found = first(folder, *places)
    if found is None:
        raise MienError(f"{folder}: no {' and no '.join(places)}; give the folder that holds it")
    return found


def table(path: Path, *columns: str, delimiter: str = ",") -> Iterator[dict[str, str]]:
    """The rows of a CSV file with a header, by column, blanks around names and values taken off.

    Raises MienError where the file cannot be read or lacks one of ``columns``.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
            rows = csv.reader(file, delimiter=delimiter)
            header = [name.strip() for name in next(rows, [])]
            lacking = [name for name in columns if name not in header]
            if lacking:
                raise MienError(f"{path}: no column {', '.join(lacking)}; it has {', '.join(header) or 'none'}")
            for row in rows:
                if row:
                    yield {name: value.strip() for name, value in zip(header, row, strict=False)}
    except (OSError, csv.Error) as error:
        raise MienError(f"{path}: cannot be read as a table ({error})") from error


def header(path: Path, delimiter: str = ",") -> list[str]:
    """The column names of a CSV file; [] for what is none."""
    try:
        with path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
            return [name.strip() for name in next(csv.reader(file, delimiter=delimiter), [])]
    except (OSError, csv.Error):
        return []


def lines(path: Path) -> list[list[str]]:
    """The words of every line of a text file; MienError where it cannot be read."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise MienError(f"{path}: cannot be read ({error.strerror or error})") from error
    return [line.split() for line in text.splitlines() if line.strip()]


def number(text: str | None) -> float | None:
    """A finite number, None for anything else."""
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if np.isfinite(value) else None


def box_of(row: Mapping[str, str], x: str, y: str, width: str, height: str) -> tuple[float, float, float, float] | None:
    """The box that four columns give by corner and size, None where they give none."""
    values = [number(row.get(name)) for name in (x, y, width, height)]
    x0, y0, w, h = (value if value is not None else -1.0 for value in values)
    return (x0, y0, x0 + w, y0 + h) if w > 0 and h > 0 else None
