"""A comparison as files: a page that carries its own pictures, JSON, and tables for Markdown and LaTeX.

Everything but the stamp (date, machine, milliseconds) is the same for the same comparison, byte for byte; the stamp
stands on one line of its own in the page and in the tables, and under its own key in the JSON.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from html import escape
from pathlib import Path

import numpy as np
from PIL import Image

from mien import __version__
from mien.expressions import EXPRESSIONS
from mien.lab import metrics
from mien.lab.charts import chart, key, scatter
from mien.lab.compare import Comparison, Row
from mien.lab.measures import Case, Measure
from mien.lab.metrics import Figure

GROUPS = {
    "edit": "At full intensity",
    "range": "Over all intensities",
    "distance": "Distance from real photographs",
}
PEOPLE, EXTREMES, MAPPED = 8, 4, 12
"""People shown side by side, best and worst cases each, people on the map."""


def write(made: Comparison, out: Path) -> Path:
    """Write report.html, report.json, table.md and table.tex into the folder ``out``; gives the page's path."""
    files = {
        "report.html": page(made),
        "report.json": as_json(made),
        "table.md": markdown(made),
        "table.tex": latex(made),
    }
    out.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (out / name).write_text(text, encoding="utf-8")
    return out / "report.html"


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


def markdown(made: Comparison) -> str:
    """The tables in Markdown: value [95 % interval] (faces)."""
    lines = [f"# {title(made)}", ""]
    for group, heading in GROUPS.items():
        columns = of_group(made, group)
        if not columns:
            continue
        lines += [f"## {heading}" + (f" ({made.wish.intensity[-1]:g})" if group == "edit" else ""), ""]
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
    for group, heading in GROUPS.items():
        columns = of_group(made, group)
        if not columns:
            continue
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


def page(made: Comparison) -> str:
    """The report as one HTML file that asks for nothing from outside."""
    sections = [
        f"<h1>{escape(title(made))}</h1>",
        f"<p>{introduction(made)}</p>",
        *tables(made),
        *charts(made),
        *side_by_side(made),
        *ranges(made),
        *extremes(made),
        *fine_print(made),
    ]
    body = "\n".join(sections)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title(made))}</title>\n<style>{STYLE}</style></head>\n<body>\n{body}\n</body></html>\n"
    )


def title(made: Comparison) -> str:
    wish = made.wish
    return f"{wish.start} to {wish.to}: {len(made.chosen.names)} faces of {wish.data.name}, split {wish.split}"


def introduction(made: Comparison) -> str:
    models = ", ".join(escape(row.case.name) for row in made.rows if row.case.kind == "model")
    people = len(np.unique(made.chosen.people))
    own = int((made.chosen.pair >= 0).sum())
    real = (
        f"<b>real {made.wish.to}</b> is the ceiling: {len(made.chosen.real)} real photographs of that expression, "
        f"{own} of them of the same people, whose identity figure is theirs alone. "
        if len(made.chosen.real)
        else ""
    )
    return (
        f"{models}: edits of {people} people whose photographs are in the split. <b>unedited</b> is the control, an "
        f"edit that changes nothing: it keeps the person perfectly and must lose on the expression. {real}"
        "Each figure has its 95 % interval (bootstrap over people) and the number of faces. "
        "† marks a judge that had to do with the models or with the labels that they learned from."
    )


def tables(made: Comparison) -> list[str]:
    found = []
    for group, heading in GROUPS.items():
        columns = of_group(made, group)
        if not columns:
            continue
        head = "".join(f"<th>{escape(m.title)}{dagger(m, '†')}</th>" for m in columns)
        body = ""
        for row in rows_of(made, columns):
            cells = "".join(cell(row.figures.get(m.key)) for m in columns)
            body += f'<tr class="{row.case.kind}"><th>{escape(row.case.name)}</th>{cells}</tr>\n'
        meanings = "".join(f"<li><b>{escape(m.title)}</b>: {escape(m.meaning)}{better(m)}</li>" for m in columns)
        at = f" ({made.wish.intensity[-1]:g})" if group == "edit" else ""
        found.append(
            f'<h2>{heading}{at}</h2><div class="wide"><table><thead><tr><th></th>{head}</tr></thead>\n'
            f"<tbody>{body}</tbody></table></div><details><summary>What the columns mean</summary>"
            f"<ul>{meanings}</ul></details>"
        )
    return found


def cell(figure: Figure | None) -> str:
    if figure is None:
        return "<td>–</td>"
    span = f"{short(figure.low)} to {short(figure.high)}"
    return f"<td>{short(figure.value)}<small>{span}<br>{figure.count} faces</small></td>"


def charts(made: Comparison) -> list[str]:
    """Accuracy against intensity, identity against change and against accuracy, the map of identities."""
    models = [row for row in made.rows if row.case.kind == "model"]
    said = [m for m in made.measures if m.key.startswith("accuracy/")]
    same = [m for m in made.measures if m.key.startswith("identity/")][:1]
    found = [over_intensity(made, models, measure) for measure in said]
    for identity in same:
        change = next(m for m in made.measures if m.key == "change")
        found.append(against(made, models, "Identity against change", change, identity))
        found += [against(made, models, "Identity against expression", measure, identity) for measure in said[:1]]
        found.append(identity_map(made, models, identity.key.split("/", 1)[1]))
    if not found:
        return []
    lead = "One line a model, a point an intensity; bars are 95 % intervals."
    names = key([row.case.name for row in models])
    return [f'<h2>Charts</h2><p>{lead}</p>{names}<div class="charts">{"".join(found)}</div>']


def over_intensity(made: Comparison, models: Sequence[Row], measure: Measure) -> str:
    """How a measure grows with intensity; the rows without intensities stand as levels."""
    series = [
        [(at, f[measure.key]) for at, (_, f) in zip(made.wish.intensity, row.steps, strict=True) if measure.key in f]
        for row in models
    ]
    rest = [row for row in made.rows if row.case.kind != "model" and measure.key in row.figures]
    levels = {row.case.name: row.figures[measure.key].value for row in rest}
    name = f"{measure.title}{dagger(measure, '†')}"
    return chart(name[0].upper() + name[1:], "intensity", "share of faces", series, levels)


def against(made: Comparison, models: Sequence[Row], name: str, across: Measure, up: Measure) -> str:
    """One measure against another, at every intensity; rows that lack ``across`` stand as levels, others as spots."""
    series = [
        [(f[across.key].value, f[up.key]) for _, f in row.steps if across.key in f and up.key in f] for row in models
    ]
    rest = [row for row in made.rows if row.case.kind != "model" and up.key in row.figures]
    levels = {row.case.name: row.figures[up.key].value for row in rest if across.key not in row.figures}
    spots = [
        (row.case.name, row.figures[across.key].value, row.figures[up.key].value)
        for row in rest
        if across.key in row.figures
    ]
    titles = [f"{m.title}{dagger(m, '†')}" for m in (across, up)]
    return chart(name, titles[0], titles[1], series, levels, spots)


def identity_map(made: Comparison, models: Sequence[Row], judge: str) -> str:
    """People, their edits and their real photographs, as near to each other as the judge finds them alike."""
    chosen = made.chosen
    shown = [int(k) for k in np.linspace(0, len(chosen.names) - 1, min(MAPPED, len(chosen.names))).astype(int)]
    cases = {row.case.kind: row.case for row in made.rows}
    partner = {int(k): i for i, k in enumerate(chosen.pair)}
    features, marks, owners = [], [], []
    for owner, k in enumerate(shown):
        rows = [(-1, cases["control"].read[judge][k])]
        rows += [(i, row.case.read[judge][k]) for i, row in enumerate(models)]
        rows += [(-2, cases["ceiling"].read[judge][partner[k]])] if k in partner and "ceiling" in cases else []
        for mark, row in rows:
            if np.isfinite(row).all():
                features.append(row)
                marks.append(mark)
                owners.append(owner)
    places = metrics.mds(metrics.unit(np.stack(features)))
    note = f"{len(shown)} people: ring the source, dot an edit, square a real photograph of {made.wish.to}"
    return scatter(f"Map of identities, {judge} (MDS)", note, places, marks, owners)


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
    """Each model's best and worst edits by the first identity judge and by the first expression judge."""
    found = []
    for row in made.rows:
        for kind, what in (("identity", "identity"), ("expression", made.wish.to)) if row.case.kind == "model" else ():
            judge = next((judge.name for judge in made.judges if judge.kind == kind), None)
            if judge is not None:
                score = strength(row.case, judge, kind, made.wish.to)
                name = f"{escape(row.case.name)}: {what} by {escape(judge)}"
                found.append(best_and_worst(made, row.case, score, name))
    if not found:
        return []
    return ["<h2>Best and worst cases</h2><p>Before and after, each with the judge's score.</p>", *found]


def strength(case: Case, judge: str, kind: str, to: str) -> np.ndarray:
    """(N,) cosine with the source, or chance of the target expression."""
    if kind == "identity":
        return metrics.cosine(case.before[judge], case.read[judge])
    return case.read[judge][:, list(map(str, EXPRESSIONS)).index(to)]


def best_and_worst(made: Comparison, case: Case, score: np.ndarray, name: str) -> str:
    order = [int(k) for k in np.argsort(score, kind="stable") if np.isfinite(score[k])]
    few = min(EXTREMES, len(order) // 2)
    html = f"<h3>{name}</h3>"
    for word, group in (("Worst", order[:few]), ("Best", order[::-1][:few])):
        cells = []
        for k in group:
            before = picture(made.chosen.images[k], made.chosen.names[k])
            after = picture(case.images[k], f"{made.chosen.names[k]} edited")
            cells.append(
                f'<figure><div class="pair">{before}{after}</div><figcaption>{score[k]:.2f}</figcaption></figure>'
            )
        html += f'<h4>{word}</h4><div class="cases">{"".join(cells)}</div>'
    return html


def fine_print(made: Comparison) -> list[str]:
    said = "".join(f"<li>{escape(text)}</li>" for text in made.left_out) or "<li>nothing</li>"
    judges = "".join(
        f"<li>{escape(j.name)}: {j.kind}, {'independent' if j.independent else 'not independent †'}</li>"
        for j in made.judges
    )
    models = "".join(
        f"<li>{escape(row.case.name)}: {escape(trained(row))}</li>" for row in made.rows if row.case.kind == "model"
    )
    return [
        f"<h2>Left out</h2><ul>{said}</ul>",
        f"<h2>Judges</h2><ul>{judges}</ul><h2>Models</h2><ul>{models}</ul>",
        "<h2>When, and how fast</h2><p>The next line differs from run to run; all above is the same for the same "
        "inputs.</p>",
        f'<p id="stamp">{escape(stamped(made))}</p>',
    ]


def trained(row: Row) -> str:
    """What a model's file says of itself."""
    about = row.about
    seen = f", {about['images_seen']:,} images seen" if "images_seen" in about else ""
    data = f", data {about['data']}" if "data" in about else ""
    return f"{about['name']} of mien {about['version']}, {about['size']} px{seen}{data}"


def stamped(made: Comparison) -> str:
    """The one line that differs from run to run."""
    times = made.stamp["milliseconds_per_edit"]
    spent = ", ".join(f"{name} {value:g}" for name, value in times.items())
    return f"Measured {made.stamp['date']} on {made.stamp['machine']}; milliseconds an edit of a crop: {spent}."


def of_group(made: Comparison, group: str) -> list[Measure]:
    return [measure for measure in made.measures if measure.group == group]


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


STYLE = """
:root{color-scheme:light dark;--ink:#1d1d1f;--soft:#66666b;--line:#d9d9de;--paper:#fff;--shade:#f4f4f6}
@media(prefers-color-scheme:dark){:root{--ink:#ececf0;--soft:#a0a0a8;--line:#3a3a40;--paper:#161618;--shade:#222226}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:1080px;padding:16px;font:16px/1.5 system-ui,sans-serif;color:var(--ink);
background:var(--paper);overflow-wrap:anywhere}
h1{font-size:1.5em;line-height:1.25}h2{margin:2em 0 .5em;font-size:1.2em}h3{margin:1.5em 0 .3em;font-size:1em}
h4{margin:.6em 0 .2em;font-size:.9em;color:var(--soft);font-weight:600}
.wide{overflow-x:auto}
table{border-collapse:collapse;font-variant-numeric:tabular-nums;overflow-wrap:normal}
th,td{padding:6px 10px;border-bottom:1px solid var(--line);text-align:right;vertical-align:top;white-space:nowrap}
thead th{white-space:normal;min-width:6.2em;font-size:.85em;vertical-align:bottom}
th:first-child{position:sticky;left:0;background:var(--paper);text-align:left;min-width:0;padding-left:0}
tr.control,tr.ceiling{color:var(--soft)}tr.control th,tr.ceiling th{font-weight:400}
td small{display:block;font-size:.72em;color:var(--soft);line-height:1.3}
details{margin:.6em 0}summary{cursor:pointer;color:var(--soft)}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,330px),1fr));gap:20px}
.chart{margin:0}.chart svg{display:block;width:100%;height:auto;max-width:520px}
figcaption{font-size:.85em}.chart figcaption{font-weight:600}.chart p{margin:0;font-size:.8em;color:var(--soft)}
.key{display:flex;flex-wrap:wrap;gap:4px 16px;font-size:.85em}
.key i{display:inline-block;width:12px;height:12px;border-radius:6px;margin-right:5px}
.grid{display:grid;gap:4px;width:max-content;max-width:100%;min-width:min-content}
.grid b,.grid i{font-size:.75em;font-weight:600;align-self:end;text-align:center}
.grid i{align-self:center;color:var(--soft);font-weight:400}
img{display:block;width:100%;height:auto;border-radius:4px}
.cases{display:grid;grid-template-columns:repeat(auto-fill,minmax(150px,1fr));gap:10px}
.cases figure{margin:0;max-width:260px}.pair{display:grid;grid-template-columns:1fr 1fr;gap:2px}
ul{padding-left:1.2em}li{margin:.15em 0}
"""
