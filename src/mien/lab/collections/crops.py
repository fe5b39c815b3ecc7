"""FER2013, FER+ and AffectNet: faces from the web, cut out, each of another person.

Naming. FER2013 as its Kaggle challenge (2013) gives it: ``fer2013.csv`` with columns emotion, pixels (48 x 48 gray
values), Usage (Training, PublicTest, PrivateTest); the same as folders (Kaggle ``msambare/fer2013``):
``train/angry/Training_3908.jpg``, ``test/angry/PrivateTest_88305.jpg``. FER+ (microsoft/FERPlus, README and
``src/generate_training_data.py``): ``fer2013new.csv`` whose rows are those of ``fer2013.csv``, or the folders
``FER2013Train``, ``FER2013Valid``, ``FER2013Test`` of ``fer0000000.png`` with a ``label.csv`` each. AffectNet
(Mollahosseini et al. 2017): ``Manually_Annotated_file_lists/training.csv`` and ``validation.csv`` with columns
subDirectory_filePath, face_x, face_y, face_width, face_height, facial_landmarks, expression, valence, arousal; since
2021 also ``train_set`` and ``val_set`` with ``images/0.jpg`` and ``annotations/0_exp.npy``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path

import numpy as np

from mien.errors import MienError
from mien.lab.collections.entry import (
    SPLIT,
    Entry,
    box_of,
    emotion_of,
    first,
    header,
    named,
    needed,
    number,
    pictures,
    table,
)

FER_LABELS = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")
FER_SPLITS = {"Training": "train", "PublicTest": "val", "PrivateTest": "test"}
FER_FILE = r"(Training|PublicTest|PrivateTest)_\d+\.(jpg|png)"
FERPLUS_VOTES = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt", "unknown", "NF")
FERPLUS_FOLDERS = {"FER2013Train": "train", "FER2013Valid": "val", "FER2013Test": "test"}
AFFECTNET_LABELS = (
    *("neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger", "contempt"),
    *("", "", None),  # none of these, uncertain, no face
)


def _fer_table(path: Path) -> Path:
    return path if path.is_file() else needed(path, "fer2013.csv", "fer2013/fer2013.csv", "icml_face_data.csv")


def is_fer2013(path: Path) -> bool:
    """Whether ``path`` is FER2013's table, or the folder that holds it."""
    file = path if path.is_file() else first(path, "fer2013.csv", "fer2013/fer2013.csv", "icml_face_data.csv")
    return file is not None and file.suffix.lower() == ".csv" and {"emotion", "pixels", "Usage"} <= set(header(file))


def fer2013(path: Path) -> Iterator[Entry]:
    """FER2013 as a table, in its own splits: PublicTest is val, PrivateTest is test."""
    for row, name in _fer_rows(_fer_table(path)):
        label = number(row["emotion"])
        yield _fer_entry(row, name, FER_LABELS[int(label)] if label is not None and 0 <= label < 7 else "")


def _fer_rows(path: Path) -> Iterator[tuple[dict[str, str], str]]:
    """The rows with the names that FER+ gives them."""
    return ((row, f"fer{i:07d}.png") for i, row in enumerate(table(path, "emotion", "pixels", "Usage")))


def _fer_entry(row: dict[str, str], name: str, emotion: str, unusable: str = "") -> Entry:
    split = FER_SPLITS.get(row["Usage"])
    try:
        picture = np.array(row["pixels"].split(), np.uint8).reshape(48, 48)
    except (ValueError, OverflowError):
        picture, unusable = np.zeros((1, 1), np.uint8), "its pixels cannot be read"
    return Entry(name, picture, emotion, split=split, cropped=True, unusable=unusable)


def is_fer2013_folders(path: Path) -> bool:
    """Whether ``path`` holds FER2013's files in folders named after the expressions."""
    return named(path, rf"[a-z]+/{FER_FILE}")


def fer2013_folders(path: Path) -> Iterator[Entry]:
    """FER2013 as folders, ``train/angry/...``; original names of files tell val from test."""
    for place in pictures(path):
        parts = place.relative_to(path).parts
        usage = re.fullmatch(FER_FILE, place.name)
        folder = next((SPLIT[part] for part in parts[:-1] if part in SPLIT), None)
        split = FER_SPLITS[usage[1]] if usage else folder
        yield Entry("/".join(parts), place, emotion_of(place.parent.name), split=split, cropped=True)


def is_ferplus(path: Path) -> bool:
    """Whether ``path`` holds FER+'s table beside FER2013's, or FER+'s folders."""
    tables = is_fer2013(path) and path.is_dir() and first(path, "fer2013new.csv", "fer2013/fer2013new.csv")
    return bool(tables or (path / "FER2013Train" / "label.csv").is_file())


def ferplus(path: Path) -> Iterator[Entry]:
    """FER2013 with the ten votes of FER+; a face has the label that more than half of the votes give it.

    What FER+ calls no face (NF, or a row without a name) is left out.
    """
    if (path / "FER2013Train" / "label.csv").is_file():
        yield from _ferplus_folders(path)
        return
    votes = table(needed(path, "fer2013new.csv", "fer2013/fer2013new.csv"), "Image name", *FERPLUS_VOTES)
    for fer, vote in zip_longest(_fer_rows(_fer_table(path)), votes):
        if fer is None or vote is None:
            raise MienError(f"{path}: fer2013.csv and fer2013new.csv differ in length; get both anew")
        (row, name), (emotion, unusable) = fer, _majority([vote.get(column, "") for column in FERPLUS_VOTES])
        yield _fer_entry(row, name, emotion, unusable or ("" if vote["Image name"] else "FER+ says: no face"))


def _ferplus_folders(path: Path) -> Iterator[Entry]:
    for folder, split in FERPLUS_FOLDERS.items():
        labels = path / folder / "label.csv"
        if not labels.is_file():
            continue
        for line in labels.read_text(encoding="utf-8", errors="replace").splitlines():
            cells = re.sub(r'"[^"]*"', "", line).split(",")  # the second column is a quoted box, always the whole
            if cells[0].strip():
                emotion, unusable = _majority(cells[-len(FERPLUS_VOTES) :])
                name = cells[0].strip()
                yield Entry(name, path / folder / name, emotion, None, split, cropped=True, unusable=unusable)


def _majority(votes: Sequence[str]) -> tuple[str, str]:
    """The expression that has most of the votes, "" where none has; and why the picture is not to be used."""
    counts = [number(vote) or 0.0 for vote in votes]
    winner = FERPLUS_VOTES[int(np.argmax(counts))] if 2 * max(counts) > sum(counts) else ""
    return emotion_of(winner), "FER+ says: no face" if winner == "NF" else ""


def is_affectnet(path: Path) -> bool:
    """Whether ``path`` holds AffectNet's file lists, or its folders of pictures and annotations."""
    if not path.is_dir():
        return False
    lists = _affectnet_list(path, "validation.csv") or _affectnet_list(path, "training.csv")
    if lists is not None:
        return "subDirectory_filePath" in header(lists)
    return any((path / part / "annotations").is_dir() for part in ("train_set", "val_set"))


def _affectnet_list(path: Path, name: str) -> Path | None:
    return first(path, *(f"{folder}{name}" for folder in ("Manually_Annotated_file_lists/", "", "Manually_Annotated/")))


def affectnet(path: Path) -> Iterator[Entry]:
    """AffectNet, its validation set as test (it publishes no test set); val is then taken out of its training set."""
    listed = [(_affectnet_list(path, "training.csv"), "train"), (_affectnet_list(path, "validation.csv"), "test")]
    if any(file for file, _ in listed):
        images = needed(path, "Manually_Annotated/Manually_Annotated_Images", "Manually_Annotated_Images")
        for file, split in listed:
            for row in table(file, "subDirectory_filePath", "expression") if file else ():
                emotion, unusable = _affectnet_label(row["expression"])
                name = row["subDirectory_filePath"]
                box = box_of(row, "face_x", "face_y", "face_width", "face_height")
                yield Entry(name, images / name, emotion, split=split, box=box, unusable=unusable)
        return
    for folder, split in (("train_set", "train"), ("val_set", "test")):
        for place in pictures(path / folder / "images"):
            emotion, unusable = _affectnet_label(_array(path / folder / "annotations" / f"{place.stem}_exp.npy"))
            yield Entry(f"{folder}/{place.name}", place, emotion, None, split, cropped=True, unusable=unusable)


def _array(path: Path) -> str:
    """The one value of a .npy file as text, "" where it cannot be read. Nothing is unpickled."""
    try:
        return str(np.load(path, allow_pickle=False).item())
    except (OSError, ValueError):
        return ""


def _affectnet_label(text: str) -> tuple[str, str]:
    label = number(text)
    emotion = AFFECTNET_LABELS[int(label)] if label is not None and 0 <= label < len(AFFECTNET_LABELS) else ""
    return emotion or "", "AffectNet says: no face" if emotion is None else ""
