"""One's own pictures: folders named after the expressions, or a table that names each picture."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mien.errors import MienError
from mien.expressions import BLENDSHAPES
from mien.lab.collections.entry import (
    EMOTION,
    SPLIT,
    Entry,
    emotion_of,
    header,
    number,
    pictures,
    table,
)
from mien.lab.collections.units import muscles_of

PATH = ("path", "image", "file", "filename")
LABEL = ("emotion", "expression", "label")
PERSON = ("identity", "person", "subject")
BOX = ("x0", "y0", "x1", "y1")


def is_folder(path: Path) -> bool:
    """Whether a folder in ``path``, or in its folders train, val and test, is named after an expression."""
    if not path.is_dir():
        return False
    inside = [place for place in path.iterdir() if place.is_dir()]
    splits = [place for place in inside if place.name.lower() in SPLIT]
    return any(emotion_of(place.name) for top in (path, *splits) for place in top.iterdir() if place.is_dir())


def folder(path: Path) -> Iterator[Entry]:
    """``[SPLIT/]LABEL/[PERSON/]picture``: folders named after expressions, below them one a person where known.

    Pictures in no such folder are unlabelled. A folder between label and picture is a person; without one, every
    picture is a person of its own (and its near-identical twins are that person, too).
    """
    if not path.is_dir():
        raise MienError(f"{path} is no folder; layout folder reads a folder of pictures")
    for place in pictures(path):
        parts = list(place.relative_to(path).parts[:-1])
        split = SPLIT.get(parts[0].lower()) if parts else None
        parts = parts[1:] if split else parts
        label = parts[0] if parts and parts[0].lower() in EMOTION else None
        parts = parts[1:] if label else parts
        person = "/".join(parts) or None
        yield Entry(place.relative_to(path).as_posix(), place, emotion_of(label or ""), person, split)


def is_csv(path: Path) -> bool:
    """Whether ``path`` is a table with a column of pictures."""
    return path.is_file() and path.suffix.lower() == ".csv" and any(name in header(path) for name in PATH)


def csv(path: Path) -> Iterator[Entry]:
    """A CSV file with a header: path (as seen from the table), and any of emotion, identity, split, name, x0, y0, x1,
    y1 (the box of the face that is meant, in pixels), blendshapes by their ARKit names (0 to 1), AU columns.

    Also understood are image, file or filename for path, expression or label for emotion, person or subject for
    identity. Other columns are ignored.
    """
    columns = header(path)
    place = next((name for name in PATH if name in columns), PATH[0])
    label = next((name for name in LABEL if name in columns), LABEL[0])
    person = next((name for name in PERSON if name in columns), PERSON[0])
    for row in table(path, place):
        split = row.get("split", "")
        if split and split.lower() not in SPLIT:
            raise MienError(f"{path}: {split!r} is no split: write train, val or test, or leave it empty")
        shapes = {name: value for name in BLENDSHAPES if (value := number(row.get(name))) is not None}
        corners = [value for name in BOX if (value := number(row.get(name))) is not None]
        yield Entry(
            name=row.get("name") or row[place],
            picture=path.parent / row[place],
            emotion=emotion_of(row.get(label, "")),
            identity=row.get(person) or None,
            split=SPLIT.get(split.lower()),
            muscles=muscles_of(row) | shapes or None,
            box=(corners[0], corners[1], corners[2], corners[3]) if len(corners) == 4 else None,
        )
