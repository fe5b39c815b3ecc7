"""People as judges: a blind page made of a comparison's pictures, for any browser and without a server.

Three questions: which of two pictures of a person looks real, which of two shows the expression, and whether two
pictures are of one person. Which method made a picture stands in the key beside the page, never in the page.
"""

from __future__ import annotations

import base64
import io
import json
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from html import escape
from itertools import combinations
from pathlib import Path
from typing import Literal

from PIL import Image

from mien.errors import MienError
from mien.lab.album import Shot, read_album
from mien.lab.kept import digest, make_folder
from mien.lab.study.page import PAGE
from mien.photo.write import write_aside

Ask = Literal["real", "shows", "same"]
STRANGER = "another person"
"""The row of pairs that are truly of two people: how often answers take them for one."""


@dataclass(frozen=True)
class Question:
    """Two pictures, left and right, by the rows of the comparison that they are of, both of source ``face``.

    For "same" the left one is the photograph and the right one the row that is asked about.
    """

    ask: Ask
    left: str
    right: str
    face: int


@dataclass(frozen=True)
class Key:
    """What the page does not say. study: by which answers are known to be of this page."""

    study: str
    expression: str
    questions: list[Question]


def write_study(report: Path, out: Path, each: int = 30, seed: int = 0, overwrite: bool = False) -> Path:
    """Write study.html and key.json into the folder ``out``, ``each`` of the three questions; gives the page's path.

    report: the folder of a comparison. Raises MienError where it holds no pictures or no model's.
    """
    page, key = out / "study.html", out / "key.json"
    for path in (page, key):
        if path.exists() and not overwrite:
            raise MienError(f"{path} exists; give --overwrite or another --out")
    if each < 1:
        raise MienError(f"--each {each}: give 1 question of each kind or more")
    shots, expression = read_album(report / "pictures.parquet")
    asked, pictures = drawn(shots, each, seed)
    study = digest(seed, expression, [asdict(question) for question in asked], *pictures.values())[:12]
    make_folder(out)
    told = asdict(Key(study, expression, asked))
    with write_aside(key, overwrite) as aside:
        aside.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    with write_aside(page, overwrite) as aside:
        aside.write_text(as_page(study, expression, asked, pictures), encoding="utf-8")
    return page


def drawn(shots: Sequence[Shot], each: int, seed: int) -> tuple[list[Question], dict[tuple[str, int], bytes]]:
    """``each`` questions of every kind in random order, and the pictures that they show by row and face.

    Every two rows meet as often as any other two, but for one question; left and right are drawn. A face comes again
    only when all others did.
    """
    by = random.Random(seed)
    at = {(shot.row, shot.face): shot for shot in shots if shot.face >= 0}
    rows = {shot.row: shot.kind for shot in shots}
    control = next((row for row, kind in rows.items() if kind == "control"), None)
    others = [row for row, kind in rows.items() if kind != "control" and any(name == row for name, _ in at)]
    if control is None or "model" not in rows.values() or len({shot.person for shot in at.values()}) < 2:
        raise MienError("a study needs the pictures of a model and of several people; make them with `mien compare`")
    faces = sorted(face for row, face in at if row == control)
    pictures = {place: shot.image for place, shot in at.items()}
    real = others if len(others) > 1 else [control, *others]
    contests: dict[Ask, list[tuple[str, str]]] = {
        "real": list(combinations(real, 2)),
        "shows": list(combinations([control, *others], 2)),
        "same": [(control, row) for row in [*others, STRANGER]],
    }
    found = []
    for ask, contest in contests.items():
        by.shuffle(contest)
        unseen: dict[tuple[str, str], list[int]] = {}
        for number in range(each):
            a, b = pair = contest[number % len(contest)]
            if not unseen.get(pair):
                both = [k for k in faces if (a, k) in at and (b == STRANGER or (b, k) in at)]
                unseen[pair] = by.sample(both, len(both))
            face = unseen[pair].pop()
            if b == STRANGER:
                strangers = [k for k in faces if at[a, k].person != at[a, face].person]
                pictures[b, face] = at[a, by.choice(strangers)].image
            found.append(Question(ask, *((b, a) if ask != "same" and by.random() < 0.5 else (a, b)), face))
    by.shuffle(found)
    return found, {place: pictures[place] for q in found for place in ((q.left, q.face), (q.right, q.face))}


def as_page(study: str, expression: str, asked: Sequence[Question], pictures: dict[tuple[str, int], bytes]) -> str:
    """One HTML file that asks for nothing from outside and names no row."""

    def data(place: tuple[str, int]) -> str:
        file = io.BytesIO()  # encoded anew: a file's size or metadata could tell who made it
        Image.open(io.BytesIO(pictures[place]), formats=("PNG",)).save(file, "WEBP", quality=92)
        return "data:image/webp;base64," + base64.b64encode(file.getvalue()).decode()

    shown = {place: data(place) for place in pictures}
    questions = [[q.ask, shown[q.left, q.face], shown[q.right, q.face]] for q in asked]
    filled = json.dumps({"study": study, "expression": expression, "questions": questions}).replace("<", "\\u003c")
    return PAGE.replace("EXPRESSION", escape(expression)).replace("STUDY_DATA", filled)
