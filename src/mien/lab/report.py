"""A comparison as files: a page that carries its own pictures, JSON, tables for Markdown and LaTeX, and the pictures.

Everything but the stamp (date, machine, milliseconds) is the same for the same comparison, byte for byte; the stamp
stands on one line of its own in the page and in the tables, and under its own key in the JSON.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from mien import __version__
from mien.lab.album import Shot, png, write_album
from mien.lab.compare import Comparison
from mien.lab.kept import make_folder
from mien.lab.metrics import Figure
from mien.lab.page import page
from mien.lab.tables import latex, markdown
from mien.photo.write import write_aside

FILES = ("pictures.parquet", "table.tex", "table.md", "report.json", "report.html")


def write(made: Comparison, out: Path) -> Path:
    """Write ``FILES`` into the folder ``out``, each aside and then renamed; gives the page's path.

    What is there is replaced. Raises MienError where nothing can be written.
    """
    texts = (latex(made), markdown(made), as_json(made), page(made))
    make_folder(out)
    with write_aside(out / FILES[0], overwrite=True) as aside:
        write_album(shots(made), made.wish.to, aside)
    for name, text in zip(FILES[1:], texts, strict=True):
        with write_aside(out / name, overwrite=True) as aside:
            aside.write_text(text, encoding="utf-8")
    return out / FILES[-1]


def shots(made: Comparison) -> list[Shot]:
    """The pictures of every row at full intensity."""
    found = []
    for row in made.rows:
        case = row.case
        faces = made.chosen.pair if case.kind == "ceiling" else range(len(case.images))
        for image, face, person in zip(case.images, faces, case.people, strict=True):
            found.append(Shot(case.name, case.kind, int(face), int(person), png(image)))
    return found


def as_json(made: Comparison) -> str:
    """Every figure by row and key, what the keys mean, what was left out; "stamp" alone differs from run to run."""

    def figures(found: dict[str, Figure]) -> dict[str, object]:
        return {name: {k: round(v, 6) for k, v in asdict(figure).items()} for name, figure in found.items()}

    told = ("name", "version", "size", "licence", "data", "images_seen", "config")
    report = {
        "mien": __version__,
        "asked": {k: v.name if isinstance(v, Path) else v for k, v in asdict(made.wish).items()},
        "data": made.digest,
        "faces": made.chosen.names,
        "judges": [{"name": j.name, "kind": j.kind, "independent": j.independent} for j in made.judges],
        "measures": [
            {k: getattr(m, k) for k in ("key", "title", "meaning", "group", "better", "independent")}
            for m in made.measures
        ],
        "rows": [
            {
                "name": row.case.name,
                "kind": row.case.kind,
                "model": {k: row.about[k] for k in told if k in row.about},
                "figures": figures(row.figures),
                "steps": [
                    {"intensity": at, "figures": figures(found)}
                    for at, (_, found) in zip(made.wish.intensity, row.steps, strict=bool(row.steps))
                ],
            }
            for row in made.rows
        ],
        "left_out": made.left_out,
        "stamp": made.stamp,
    }
    return json.dumps(report, indent=1, ensure_ascii=False) + "\n"
