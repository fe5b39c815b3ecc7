"""The page of a comparison: tables, charts and pictures in one HTML file that asks for nothing from outside."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np

from mien.lab import metrics
from mien.lab.charts import chart, key, scatter
from mien.lab.compare import Comparison, Row
from mien.lab.gallery import extremes, ranges, side_by_side
from mien.lab.measures import Measure
from mien.lab.metrics import Figure
from mien.lab.tables import better, dagger, groups, rows_of, short, stamped, title

MAPPED = 12
"""People on the map of identities."""


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
    for heading, columns in groups(made):
        head = "".join(f"<th>{escape(m.title)}{dagger(m, '†')}</th>" for m in columns)
        body = ""
        for row in rows_of(made, columns):
            cells = "".join(cell(row.figures.get(m.key)) for m in columns)
            body += f'<tr class="{row.case.kind}"><th>{escape(row.case.name)}</th>{cells}</tr>\n'
        meanings = "".join(f"<li><b>{escape(m.title)}</b>: {escape(m.meaning)}{better(m)}</li>" for m in columns)
        found.append(
            f'<h2>{heading}</h2><div class="wide"><table><thead><tr><th></th>{head}</tr></thead>\n'
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


STYLE = """
:root{color-scheme:light dark;--ink:#1d1d1f;--soft:#66666b;--line:#d9d9de;--paper:#fff;--shade:#f4f4f6}
@media(prefers-color-scheme:dark){:root{--ink:#ececf0;--soft:#a0a0a8;--line:#3a3a40;--paper:#161618;--shade:#222226}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:1080px;padding:16px;font:16px/1.5 system-ui,sans-serif;color:var(--ink);
background:var(--paper);overflow-wrap:anywhere}
h1{font-size:1.5em;line-height:1.25}h2{margin:2em 0 .5em;font-size:1.2em}h3{margin:1.5em 0 .3em;font-size:1em}
h4{margin:.6em 0 .2em;font-size:.9em;color:var(--soft);font-weight:600}
.wide{overflow-x:auto;background:linear-gradient(90deg,transparent 80%,var(--paper)) 100%/40px 100% no-repeat local,
linear-gradient(90deg,transparent,var(--line)) 100%/14px 100% no-repeat scroll}
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
.key{display:flex;flex-wrap:wrap;gap:4px 16px;margin-bottom:12px;font-size:.85em}
.key i{display:inline-block;width:12px;height:12px;border-radius:6px;margin-right:5px}
.grid{display:grid;gap:4px;width:max-content;max-width:100%;min-width:min-content}
.grid b,.grid i{font-size:.75em;font-weight:600;align-self:end;text-align:center}
.grid i{align-self:center;color:var(--soft);font-weight:400}
img{display:block;width:100%;height:auto;border-radius:4px}
.cases{display:grid;grid-template-columns:repeat(auto-fill,minmax(150px,1fr));gap:10px}
.cases figure{margin:0;max-width:260px}.pair{display:grid;grid-template-columns:1fr 1fr;gap:2px}
ul{padding-left:1.2em}li{margin:.15em 0}
"""
