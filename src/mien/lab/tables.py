"""The tables of a comparison: which columns stand together, and all of them in Markdown and in LaTeX."""

from __future__ import annotations

from collections.abc import Sequence

from mien.lab.compare import Comparison, Row
from mien.lab.measures import Measure
from mien.lab.metrics import Figure


def groups(made: Comparison) -> list[tuple[str, list[Measure]]]:
    """A heading and its columns, a table each. Change stands in every table that says how well a person is kept."""
    edit, between, distance = ([m for m in made.measures if m.group == g] for g in ("edit", "range", "distance"))
    change = [m for m in edit if m.key == "change"]
    full = f"At full intensity ({made.wish.intensity[-1]:g})"
    tables = [
        (full, [m for m in edit if m.independent]),
        (f"{full}, by judges that are not independent", [m for m in edit if not m.independent]),
        ("Over all intensities", between and [*change, *between]),
        ("Distance from real photographs", distance),
    ]
    return [(heading, columns) for heading, columns in tables if columns]


def markdown(made: Comparison) -> str:
    """The tables in Markdown: value [95 % interval] (faces)."""
    lines = [f"# {title(made)}", ""]
    for heading, columns in groups(made):
        lines += [f"## {heading}", ""]
        lines += [
            "| | " + " | ".join(m.title + dagger(m, "†") for m in columns) + " |",
            "| --- " * (len(columns) + 1) + "|",
        ]
        for row in rows_of(made, columns):
            cells = [told(row.figures[m.key]) if m.key in row.figures else "–" for m in columns]
            lines.append(f"| {row.case.name} | " + " | ".join(cells) + " |")
        lines += ["", *(f"- {m.title}: {m.meaning}{better(m)}" for m in columns), ""]
    lines += ["† the judge had to do with mien's models or their labels: not independent.", ""]
    lines += ["Left out:", "", *(f"- {said}" for said in made.left_out), ""] if made.left_out else []
    return "\n".join([*lines, stamped(made), ""])


def latex(made: Comparison) -> str:
    """The tables in LaTeX (package booktabs)."""
    blocks = []
    for heading, columns in groups(made):
        head = " & ".join(["", *(tex(m.title) + dagger(m, "$^\\dagger$") for m in columns)])
        body = []
        for row in rows_of(made, columns):
            cells = [
                f"{short(f.value)} {{\\scriptsize [{short(f.low)}, {short(f.high)}] ({f.count})}}" if f else "--"
                for f in (row.figures.get(m.key) for m in columns)
            ]
            body.append(" & ".join([tex(row.case.name), *cells]) + r" \\")
        note = r" $^\dagger$: not independent." if any(not m.independent for m in columns) else ""
        caption = f"{tex(title(made))}. {heading}: value, 95\\,\\% interval, faces.{note}"
        blocks += [
            r"\begin{table*}",
            r"\centering\small",
            f"\\caption{{{caption}}}",
            f"\\begin{{tabular}}{{l{'r' * len(columns)}}}",
            r"\toprule",
            head + r" \\",
            r"\midrule",
            *body,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table*}",
            "",
        ]
    return "\n".join([*blocks, f"% {stamped(made)}", ""])


def title(made: Comparison) -> str:
    wish = made.wish
    return f"{wish.start} to {wish.to}: {len(made.chosen.names)} faces of {wish.data.name}, split {wish.split}"


def stamped(made: Comparison) -> str:
    """The one line that differs from run to run."""
    times = made.stamp["milliseconds_per_edit"]
    spent = ", ".join(f"{name} {value:g}" for name, value in times.items())
    return f"Measured {made.stamp['date']} on {made.stamp['machine']}; milliseconds an edit of a crop: {spent}."


def rows_of(made: Comparison, columns: Sequence[Measure]) -> list[Row]:
    """The rows that have a figure in any of the columns."""
    return [row for row in made.rows if any(m.key in row.figures for m in columns)]


def better(measure: Measure) -> str:
    return {"": "", "near 1": "; best near 1"}.get(measure.better, f"; {measure.better} is better")


def dagger(measure: Measure, mark: str) -> str:
    return "" if measure.independent else mark


def told(figure: Figure) -> str:
    return f"{short(figure.value)} [{short(figure.low)}, {short(figure.high)}] ({figure.count})"


def short(value: float) -> str:
    """Three decimals, or three digits where that says nothing."""
    value += 0.0  # no -0
    return f"{value:.3f}" if 0.01 <= abs(value) < 10 or value == 0 else f"{value:.3g}"


def tex(text: str) -> str:
    for sign in "&%$#_{}":
        text = text.replace(sign, "\\" + sign)
    return text
