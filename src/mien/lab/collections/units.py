"""Tables of action units: OpenFace, py-feat and EmotioNet, and what the units are called as blendshapes.

Naming. OpenFace 2 (TadasBaltrusaitis/OpenFace, wiki "Output Format"): ``processed/NAME.csv`` with columns frame or
face, confidence, success, ``AU01_r`` .. ``AU45_r`` (intensity 0 to 5; older releases put a blank before each name), the
faces in ``NAME_aligned/frame_det_00_000001.bmp`` (FeatureExtraction) or ``face_det_000000.bmp`` (FaceLandmarkImg).
py-feat (cosanlab/py-feat, ``Fex.to_csv``): columns FaceRectX, FaceRectY, FaceRectWidth, FaceRectHeight, FaceScore,
``AU01`` .. ``AU43`` (0 to 1) and ``input``, the picture. EmotioNet (``emotioNet_challenge_files_server_challenge_1.2``,
``dataFile_1000.txt``): tab-separated lines without a header, the picture's URL, that of its origin, then AU 1 to 60
as 0, 1 or 999 for "not annotated"; its tables with a header call the columns ``URL`` and ``AU 1`` or ``AU1``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path, PureWindowsPath

from mien.errors import MienError
from mien.lab.collections.entry import Entry, box_of, header, number, pictures, table
from mien.photo.write import SUFFIXES

SHAPES: dict[int, tuple[str, ...]] = {
    1: ("browInnerUp",),  # inner brow raiser
    2: ("browOuterUpLeft", "browOuterUpRight"),  # outer brow raiser
    4: ("browDownLeft", "browDownRight"),  # brow lowerer
    5: ("eyeWideLeft", "eyeWideRight"),  # upper lid raiser
    6: ("cheekSquintLeft", "cheekSquintRight"),  # cheek raiser
    7: ("eyeSquintLeft", "eyeSquintRight"),  # lid tightener
    9: ("noseSneerLeft", "noseSneerRight"),  # nose wrinkler
    10: ("mouthUpperUpLeft", "mouthUpperUpRight"),  # upper lip raiser
    12: ("mouthSmileLeft", "mouthSmileRight"),  # lip corner puller
    14: ("mouthDimpleLeft", "mouthDimpleRight"),  # dimpler
    15: ("mouthFrownLeft", "mouthFrownRight"),  # lip corner depressor
    16: ("mouthLowerDownLeft", "mouthLowerDownRight"),  # lower lip depressor
    17: ("mouthShrugLower",),  # chin raiser
    18: ("mouthPucker",),  # lip pucker
    20: ("mouthStretchLeft", "mouthStretchRight"),  # lip stretcher
    22: ("mouthFunnel",),  # lip funneler
    24: ("mouthPressLeft", "mouthPressRight"),  # lip pressor
    26: ("jawOpen",),  # jaw drop
    27: ("jawOpen",),  # mouth stretch, the far end of the same movement
    28: ("mouthRollLower", "mouthRollUpper"),  # lip suck
    29: ("jawForward",),  # jaw thrust
    34: ("cheekPuff",),  # puff
    43: ("eyeBlinkLeft", "eyeBlinkRight"),  # eye closure
    45: ("eyeBlinkLeft", "eyeBlinkRight"),  # blink
}
"""FACS action unit (Ekman, Friesen and Hager 2002) -> the ARKit blendshapes that move the same way.

A unit tells no side, so both sides get its value; where two units share a blendshape, the larger value counts. Units
without a counterpart are left out: 11, 13, 23 (the lips tighten, which no blendshape does), 25 (the lips part, which
in ARKit is a sum of several), 30 and 46 (they need a side).
"""

_UNIT = re.compile(r"AU[ _]?0*(\d+)(_r)?")


def muscles_of(row: Mapping[str, str]) -> dict[str, float]:
    """Blendshapes in [0, 1] of the AU columns that a row has: ``AU12_r`` goes to 5, ``AU12`` to 1, 999 is none."""
    scores: dict[str, float] = {}
    for name, text in row.items():
        unit, value = _UNIT.fullmatch(name), number(text)
        if unit is None or value is None or value == 999:
            continue
        value = min(max(value / 5 if unit[2] else value, 0.0), 1.0)
        for shape in SHAPES.get(int(unit[1]), ()):
            scores[shape] = max(scores.get(shape, 0.0), value)
    return scores


def _openface_tables(path: Path) -> list[Path]:
    found = [path] if path.is_file() else sorted(path.rglob("*.csv")) if path.is_dir() else []
    return [file for file in found if file.suffix.lower() == ".csv" and "AU01_r" in header(file)]


def is_openface(path: Path) -> bool:
    """Whether ``path`` is a table of OpenFace, or has one among its first tables."""
    if path.is_file():
        return path.suffix.lower() == ".csv" and "AU01_r" in header(path) and "confidence" in header(path)
    return any("AU01_r" in header(file) for file in islice(path.rglob("*.csv"), 10))


def openface(path: Path) -> Iterator[Entry]:
    """OpenFace's output: a table, or a folder of them, each beside its aligned faces or its one photograph.

    A table is of one person (its name is the identity) where it is of a sequence, and of several where it is of a
    photograph. Rows that OpenFace marks as failed are left out.
    """
    tables = _openface_tables(path)
    if not tables:
        raise MienError(f"{path}: no table with a column AU01_r, as OpenFace writes them")
    root = path.parent if path.is_file() else path
    for file in tables:
        aligned, stem = file.with_name(f"{file.stem}_aligned"), file.relative_to(root).with_suffix("").as_posix()
        for count, row in enumerate(table(file)):
            frame, person = row.get("frame"), int(number(row.get("face_id") or row.get("face")) or 0)
            index = int(number(frame) or 0) if frame else count
            where = f"frame_det_{person:02d}_{index:06d}" if frame else f"face_det_{count:06d}"
            places = [aligned / f"{where}{suffix}" for suffix in SUFFIXES]
            beside = [] if frame else [file.with_suffix(suffix) for suffix in SUFFIXES]
            picture = next((place for place in places + beside if place.is_file()), aligned / f"{where}.bmp")
            x, y = ([v for i in range(68) if (v := number(row.get(f"{a}_{i}"))) is not None] for a in "xy")
            yield Entry(
                name=f"{stem}/{where}",
                picture=picture,
                identity=f"{stem}/{person}" if frame else None,
                muscles=muscles_of(row),
                box=(min(x), min(y), max(x), max(y)) if x and y and picture in beside else None,
                cropped=picture not in beside,
                unusable="OpenFace found no face" if row.get("success") in ("0", "0.0") else "",
            )


def is_pyfeat(path: Path) -> bool:
    """Whether ``path`` is a table of py-feat."""
    return path.is_file() and {"input", "AU01", "FaceRectX"} <= set(header(path))


def pyfeat(path: Path) -> Iterator[Entry]:
    """A table that py-feat wrote: a row a face, the picture in ``input`` (or, if it is not there, beside the table)."""
    for count, row in enumerate(table(path, "input", "AU01")):
        place = Path(row["input"])
        if not (path.parent / place).is_file():
            place = Path(PureWindowsPath(row["input"]).name)
        yield Entry(
            name=f"{place.as_posix()}#{count}",
            picture=path.parent / place,
            muscles=muscles_of(row),
            box=box_of(row, "FaceRectX", "FaceRectY", "FaceRectWidth", "FaceRectHeight"),
            unusable="py-feat found no face" if number(row.get("FaceScore")) is None else "",
        )


def _emotionet_lists(path: Path) -> list[Path]:
    found = [path] if path.is_file() else sorted(path.rglob("*.txt")) + sorted(path.rglob("*.csv"))
    return [file for file in found if _rows(file)]


def _rows(path: Path) -> str:
    """How a list of EmotioNet's separates its columns; "" for what is no such list."""
    for delimiter in ("\t", ","):
        words = header(path, delimiter)
        if len(words) > 2 and ("/Images/" in words[0] or words[0].upper() == "URL"):
            return delimiter
    return ""


def is_emotionet(path: Path) -> bool:
    """Whether ``path`` is, or holds at no great depth, a list of EmotioNet's."""
    if path.is_file():
        return bool(_rows(path))
    patterns = ("dataFile_*.txt", "*/dataFile_*.txt", "*.csv", "*/*.csv")
    return any(_rows(file) for pattern in patterns for file in islice(path.glob(pattern), 10))


def emotionet(path: Path) -> Iterator[Entry]:
    """EmotioNet's lists beside the pictures one has downloaded, in folders as their URLs have them or in one.

    Nobody is named, and no expression: EmotioNet labels action units, present or not.
    """
    lists = _emotionet_lists(path)
    if not lists:
        raise MienError(f"{path}: no list of EmotioNet's (tab-separated URL, origin, action units)")
    root = path.parent if path.is_file() else path
    have = {place.name: place for place in pictures(root)}
    for file in lists:
        delimiter = _rows(file)
        for row in _emotionet_rows(file, delimiter):
            tail = row["URL"].rsplit("/Images/", 1)[-1]
            place = have.get(tail.rsplit("/", 1)[-1])
            yield Entry(tail, place or root / tail, muscles=muscles_of(row), unusable="" if place else "not downloaded")


def _emotionet_rows(path: Path, delimiter: str) -> Iterator[dict[str, str]]:
    """With a header or without one: there, columns after the two URLs are AU 1, 2, 3 and so on."""
    words = header(path, delimiter)
    if words[0].upper() == "URL":
        yield from ({**row, "URL": row[words[0]]} for row in table(path, delimiter=delimiter))
        return
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        cells = [cell.strip() for cell in line.split(delimiter)]
        if len(cells) > 2:
            yield {"URL": cells[0]} | {f"AU{unit}": cell for unit, cell in enumerate(cells[2:], 1)}
