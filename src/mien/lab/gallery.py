"""The pictures on the page of a comparison: people side by side, every intensity, best and worst cases."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape

import numpy as np
from PIL import Image

from mien.lab.compare import Comparison
from mien.lab.measures import Case, Measure
from mien.lab.tables import dagger, short

PEOPLE, EXTREMES = 8, 4
"""People shown side by side, best and worst cases each."""


def side_by_side(made: Comparison) -> list[str]:
    """The same people through every model."""
    chosen = made.chosen
    count = min(PEOPLE, len(chosen.names))
    models = [row.case for row in made.rows if row.case.kind == "model"]
    partner = {int(k): i for i, k in enumerate(chosen.pair)}
    heads = ["unedited", *(case.name for case in models), *([f"real {made.wish.to}"] if len(chosen.real) else [])]
    cells = [f"<b>{escape(head)}</b>" for head in heads]
    for k in np.linspace(0, len(chosen.names) - 1, count).astype(int).tolist():
        cells.append(picture(chosen.images[k], chosen.names[k]))
        cells += [picture(case.images[k], f"{chosen.names[k]}, {case.name}") for case in models]
        if len(chosen.real):
            mine = partner.get(k)
            cells.append(
                "<i>no such photograph</i>" if mine is None else picture(chosen.real[mine], f"real {made.wish.to}")
            )
    return ["<h2>The same people side by side</h2>" + gallery(cells, len(heads))]


def ranges(made: Comparison) -> list[str]:
    """Three people over all intensities, model by model."""
    if len(made.wish.intensity) < 2:
        return []
    chosen, found = made.chosen, []
    for row in made.rows:
        if row.case.kind != "model":
            continue
        cells = [f"<b>{at:g}</b>" for at in (0, *made.wish.intensity)]
        for k in np.linspace(0, len(chosen.names) - 1, 3).astype(int).tolist():
            cells.append(picture(chosen.images[k], chosen.names[k]))
            cells += [picture(case.images[k], f"{chosen.names[k]}, intensity") for case, _ in row.steps]
        found.append(f"<h3>{escape(row.case.name)}</h3>" + gallery(cells, len(made.wish.intensity) + 1))
    return ["<h2>Every intensity</h2>", *found]


def extremes(made: Comparison) -> list[str]:
    """Each model's best and worst edits by every measure of single faces; those of the first two stand open."""
    columns = [m for m in made.measures if m.group == "edit" and not m.key.startswith("identity p5")]
    first = [next((m.key for m in columns if m.key.startswith(kind)), "") for kind in ("identity/", "accuracy/")]
    found = []
    for row in made.rows:
        if row.case.kind != "model":
            continue
        found.append(f"<h3>{escape(row.case.name)}</h3>")
        for measure in columns:
            scores = (measure.order or measure.scores)(row.case)
            if scores is not None:
                shown = " open" if measure.key in first else ""
                name = f"{escape(measure.title)}{dagger(measure, '†')}"
                cases = best_and_worst(made, row.case, scores, measure)
                found.append(f"<details{shown}><summary>{name}</summary>{cases}</details>")
    said = "Before and after, with the score; where a judge only says right or wrong, its chance of the target."
    return [f"<h2>Best and worst cases</h2><p>{said}</p>", *found]


def best_and_worst(made: Comparison, case: Case, scores: np.ndarray, measure: Measure) -> str:
    good = -np.abs(np.log(np.maximum(scores, 1e-6))) if measure.better == "near 1" else scores
    good = -good if measure.better == "lower" else good
    order = [int(k) for k in np.argsort(good, kind="stable") if np.isfinite(good[k])]
    few = min(EXTREMES, len(order) // 2)
    words = ("Worst", "Best") if measure.better else ("Lowest", "Highest")
    html = ""
    for word, group in zip(words, (order[:few], order[::-1][:few]), strict=True):
        cells = []
        for k in group:
            before = picture(made.chosen.images[k], made.chosen.names[k])
            after = picture(case.images[k], f"{made.chosen.names[k]} edited")
            cells.append(
                f'<figure><div class="pair">{before}{after}</div><figcaption>{short(scores[k])}</figcaption></figure>'
            )
        html += f'<h4>{word}</h4><div class="cases">{"".join(cells)}</div>'
    return html


def picture(rgb: np.ndarray, alt: str) -> str:
    """An <img> that carries its own pixels (H, W, 3) uint8."""
    blob = io.BytesIO()
    Image.fromarray(rgb).save(blob, "WEBP", quality=88)
    data = base64.b64encode(blob.getvalue()).decode()
    return f'<img alt="{escape(alt)}" src="data:image/webp;base64,{data}">'


def gallery(cells: Sequence[str], columns: int) -> str:
    """Cells in so many columns, which scroll sideways where the page is too narrow."""
    return (
        f'<div class="wide"><div class="grid" style="grid-template-columns:repeat({columns},minmax(56px,128px))">'
        f"{''.join(cells)}</div></div>"
    )
