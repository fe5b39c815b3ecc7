"""One model on portraits of people who were photographed calm and smiling, by what they said of themselves.

    python benchmarks/portraits.py flowfill --calm neutral_front --smiling smiling_front --about london_info.csv \
        --judges weights/

Made for the Face Research Lab London Set (DeBruine & Jones 2017, CC BY 4.0, figshare 5047666): 102 adults under the
same light, with their age, gender and ethnicity. Calm portraits become happy; beside each figure stands that of the
same people's real smiles, taken minutes later. Judged are the aligned crops of 128 px.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import tyro
from groups import outcomes
from judged import portraits
from rich.progress import track

from mien import Editor, Photo
from mien.lab.metrics import figure
from mien.photo import align

SIZE = 128


def main(
    model: tyro.conf.Positional[str],
    calm: Path,
    smiling: Path,
    about: Path,
    judges: Path,
    intensity: float = 1.0,
    split: str = "all",
    side: int = 640,
) -> None:
    """Print a table: two rows a group. split: val or test, every second person each, or all."""
    editor, told = Editor(model), {row["face_id"]: row for row in csv.DictReader(about.open())}
    names, crops = [], []
    pairs = zip(portraits(calm, split, side), portraits(smiling, split, side), strict=True)
    for (name, before), (_, real) in track(list(pairs), model):
        seen = editor.see(Photo.from_array(before))[:1]
        after = editor.edit(Photo.from_array(before), "happiness", intensity=intensity, seen=seen).rgb
        matrix = editor.see(Photo.from_array(real))[0].matrix
        names.append(name.split("_")[0])
        crops.append(
            [align.crop(rgb, m, SIZE) for rgb, m in ((before, seen[0].matrix), (after, seen[0].matrix), (real, matrix))]
        )
    before, after, real = np.stack(crops).swapaxes(0, 1)
    rows = {"edited": outcomes(before, after, judges), "really smiling": outcomes(before, real, judges)}
    heads = ["group", "people", "", *rows["edited"]]
    print(f"| {' | '.join(heads)} |\n{'| --- ' * len(heads)}|")
    for group, member in groups([told[name] for name in names]).items():
        for kind, values in rows.items():
            cells = [figure(value[member]) for value in values.values()]
            shown = " | ".join(f"{cell.value:.2f} [{cell.low:.2f}, {cell.high:.2f}]" for cell in cells)
            print(f"| {group} | {member.sum()} | {kind} | {shown} |")


def groups(people: list[dict[str, str]]) -> dict[str, np.ndarray]:
    """Which of the N people belong to each group, by their own words, where they said."""
    column = {key: np.array([row[f"face_{key}"] for row in people]) for key in ("eth", "gender", "age")}
    age = np.array([int(value) if value.isdigit() else -1 for value in column["age"]])
    return {
        "everybody": np.full(len(people), True),
        **{name.replace("_", " "): column["eth"] == name for name in ("white", "black", "west_asian", "east_asian")},
        **{name: column["gender"] == name for name in ("female", "male")},
        "under 25": (age >= 0) & (age < 25),
        "25 to 34": (age >= 25) & (age < 35),
        "35 and over": age >= 35,
    }


if __name__ == "__main__":
    tyro.cli(main)
