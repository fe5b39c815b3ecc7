"""Does an edit work as well for everybody? Figures of one model by apparent skin tone, age, glasses and beard.

    python benchmarks/groups.py flowfill --data lfw-expressions-128.parquet --judges weights/

Neutral faces of the test split become happy. Skin tone is measured: the individual typology angle (Chardon et al.
1991) of the cheeks, arctan((L* - 50) / b*), whose thirds are compared. It is that of a news photograph under its own
light, not of a person. Age, glasses and beards are in groups.csv, as one onlooker guessed them from crops of 128 px;
they are apparent, not true, and the groups are small. Read the intervals before the differences.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import tyro
from rich.progress import track

from mien.expressions import BLENDSHAPES, EXPRESSIONS
from mien.lab.chosen import Wish, choose
from mien.lab.compare import measured, opened
from mien.lab.judges import find_judges
from mien.lab.metrics import cosine, figure
from mien.photo.read import Photo

SMILE = [BLENDSHAPES.index(name) for name in ("mouthSmileLeft", "mouthSmileRight")]
CHEEKS = (slice(64, 82), np.r_[36:48, 80:92])
"""Rows and columns of an aligned crop of 128 px, between eyes and mouth, beside the nose."""

LABELS = Path(__file__).with_suffix(".csv")
RGB_TO_XYZ = np.array([[0.4339, 0.3762, 0.1899], [0.2126, 0.7152, 0.0722], [0.0177, 0.1095, 0.8728]])
"""Linear sRGB to XYZ, each over that of D65's white."""


def main(
    model: tyro.conf.Positional[str],
    data: Path,
    judges: Path,
    labels: Path = LABELS,
    intensity: float = 1.0,
) -> None:
    """Print a table: a row a group."""
    rows = {row["name"]: row for row in csv.DictReader(labels.open())}
    chosen, _ = choose(Wish(data, "happiness", split="test", count=len(rows)))
    kept = [i for i, name in enumerate(chosen.names) if name in rows]
    about = [rows[chosen.names[i]] for i in kept]
    before, faces = chosen.images[kept], measured(chosen)
    (editor,) = opened([model]).values()
    edits = [
        editor.edit(Photo.from_array(chosen.images[i]), "happiness", intensity=intensity, seen=[faces[i]]).rgb
        for i in track(kept, model)
    ]
    values = outcomes(before, np.stack(edits), judges)
    heads = ["group", "faces", *values]
    print(f"| {' | '.join(heads)} |\n{'| --- ' * len(heads)}|")
    for group, member in groups(before, about).items():
        cells = [figure(value[member], chosen.people[kept][member]) for value in values.values()]
        shown = " | ".join(f"{cell.value:.2f} [{cell.low:.2f}, {cell.high:.2f}]" for cell in cells)
        print(f"| {group} | {member.sum()} | {shown} |")


def outcomes(before: np.ndarray, after: np.ndarray, folder: Path) -> dict[str, np.ndarray]:
    """What each judge says of each face: (N,) values by title."""
    happy, values = EXPRESSIONS.index("happiness"), {}
    for judge in find_judges(folder)[0]:
        old, new = judge.read(before), judge.read(after)
        if judge.kind == "expression" and judge.independent:
            values[f"happy before, {judge.name}"] = (old.argmax(1) == happy).astype(float)
            values[f"happy, {judge.name}"] = (new.argmax(1) == happy).astype(float)
        elif judge.kind == "identity":
            values[f"identity, {judge.name}"] = cosine(old, new)
        elif judge.name == "MediaPipe":
            values["signature, MediaPipe"] = new[:, SMILE].mean(1)
    return values


def groups(crops: np.ndarray, about: list[dict[str, str]]) -> dict[str, np.ndarray]:
    """Which of the N faces belong to each group."""
    tone = np.array([typology_angle(crop) for crop in crops])
    low, high = np.quantile(tone, [1 / 3, 2 / 3])
    column = {key: np.array([row[key] for row in about]) for key in ("glasses", "beard", "age")}
    return {
        "everybody": np.full(len(crops), True),
        f"darkest third (angle under {low:.0f} degrees)": tone < low,
        "middle third": (tone >= low) & (tone < high),
        f"lightest third (over {high:.0f})": tone >= high,
        **{f"looks {age}": column["age"] == age for age in ("under 35", "35 to 60", "over 60")},
        "glasses": column["glasses"] == "1",
        "no glasses": column["glasses"] == "0",
        "beard or moustache": column["beard"] == "1",
    }


def typology_angle(crop: np.ndarray) -> float:
    """Degrees, of the median colour of the cheeks of (128, 128, 3) uint8; high is light."""
    rows, columns = CHEEKS
    colour = np.median(crop[rows][:, columns].reshape(-1, 3), 0) / 255
    linear = np.where(colour <= 0.04045, colour / 12.92, ((colour + 0.055) / 1.055) ** 2.4)
    _, y, z = np.cbrt(RGB_TO_XYZ @ linear)  # CIELAB's linear part, for near-black, is left out
    return float(np.degrees(np.arctan2(116 * y - 16 - 50, max(200 * (y - z), 1e-6))))


if __name__ == "__main__":
    tyro.cli(main)
