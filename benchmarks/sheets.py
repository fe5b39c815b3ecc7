"""A contact sheet of each kind of face: people down, and from the left the photograph and what is made of it.

    python benchmarks/sheets.py --data lfw-expressions-128.parquet --out out/sheets
    python benchmarks/sheets.py --data lfw-expressions-128.parquet --calm neutral_front --out out/sheets

People of the test split whom groups.csv describes; skin tone by the colour of the cheeks, turns of the head by where
the nose lies between the ears, hands by the occlusion reader. With ``calm``, also sheets of portraits: all expressions,
one at six intensities, single muscles.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import tyro
from groups import LABELS, typology_angle
from judged import portraits
from PIL import Image

from mien import Editor, Photo
from mien.editor import Request
from mien.expressions import EXPRESSIONS
from mien.lab.chosen import Wish, choose
from mien.photo.align import crop

WISHES: list[tuple[Request, float]] = [(name, 1.0) for name in EXPRESSIONS if name != "neutral"]
MUSCLES: list[tuple[Request, float]] = [
    *[({f"eyeBlink{side}": 0.9}, 1.0) for side in ("Left", "Right")],
    ({"eyeBlinkLeft": 0.9, "eyeBlinkRight": 0.9}, 1.0),
    ({"browInnerUp": 0.7, "browOuterUpLeft": 0.6, "browOuterUpRight": 0.6}, 1.0),
    ({"browDownLeft": 0.8, "browDownRight": 0.8}, 1.0),
    *[({name: value}, 1.0) for name, value in (("jawOpen", 0.5), ("mouthPucker", 0.9))],
    *[({f"mouthSmile{side}": 0.7}, 1.0) for side in ("Left", "Right")],
]
SIDE = 112


def main(
    data: Path, out: Path = Path("out/sheets"), calm: Path | None = None, model: str = "flowfill", count: int = 6
) -> None:
    """Write out/KIND.jpg for every kind."""
    editor, rows = Editor(model), {row["name"]: row for row in csv.DictReader(LABELS.open())}
    chosen, _ = choose(Wish(data, "happiness", split="test", count=len(rows)))
    known = [i for i, name in enumerate(chosen.names) if name in rows]
    about = [rows[chosen.names[i]] for i in known]
    crops = [np.pad(chosen.images[i], ((16, 16), (16, 16), (0, 0)), "edge") for i in known]
    seen = [editor.see(Photo.from_array(image)) for image in crops]
    tone = np.array([typology_angle(chosen.images[i]) for i in known])
    turned = np.array([turn(faces[0].face.landmarks) if faces else 0 for faces in seen])
    hidden = np.array([(faces[0].cover > 0.5).mean() if faces else 0 for faces in seen])
    kinds: dict[str, np.ndarray] = {
        "dark": np.argsort(tone),
        "light": np.argsort(-tone),
        **{kind: np.flatnonzero([row[kind] == "1" for row in about]) for kind in ("beard", "glasses")},
        "young": np.flatnonzero([row["age"] == "under 35" for row in about]),
        "old": np.flatnonzero([row["age"] == "over 60" for row in about]),
        "turned": np.argsort(-np.abs(turned)),
        "hands": np.argsort(-hidden),
    }
    out.mkdir(parents=True, exist_ok=True)
    for kind, order in kinds.items():
        some = [crops[i] for i in order if seen[i]][:count]
        save(editor, some, WISHES, out / f"{kind}.jpg")
    glad, _ = choose(Wish(data, "neutral", start="happiness", split="test", count=count))
    smiles = [np.pad(image, ((16, 16), (16, 16), (0, 0)), "edge") for image in glad.images]
    save(editor, smiles, [("neutral", 0.5), ("neutral", 1.0), *WISHES[1:]], out / "smiling.jpg")
    if calm:
        people = [rgb for _, rgb in portraits(calm, "test", 640)]
        spread = [people[i] for i in np.linspace(0, len(people) - 1, count).astype(int)]
        save(editor, spread, WISHES, out / "portraits.jpg")
        save(editor, spread, [("happiness", value / 4) for value in range(1, 7)], out / "intensities.jpg")
        save(editor, spread, MUSCLES, out / "muscles.jpg")


def turn(landmarks: np.ndarray) -> float:
    """How far (68, 2) landmarks are turned to a side: 0 from the front, 1 in profile."""
    left, nose, right = landmarks[[0, 30, 16], 0]
    return float(2 * (nose - left) / (right - left) - 1)


def save(editor: Editor, pictures: list[np.ndarray], wishes: list[tuple[Request, float]], file: Path) -> None:
    """A row a picture: itself, then every wish."""
    lines = []
    for rgb in pictures:
        photo = Photo.from_array(rgb)
        faces = editor.see(photo)[:1]
        edits = [editor.edit(photo, to, intensity=value, seen=faces).rgb for to, value in wishes]
        lines.append(np.concatenate([crop(each, wider(faces[0].matrix), SIDE) for each in (rgb, *edits)], 1))
    Image.fromarray(np.concatenate(lines)).save(file, quality=85)


def wider(matrix: np.ndarray) -> np.ndarray:
    """The same crop, of 1.3 times the side around the same middle."""
    return np.column_stack([matrix[:, :2], matrix[:, 2] - 0.5]) / 1.3 + np.array([0, 0, 0.5])


if __name__ == "__main__":
    tyro.cli(main)
