"""Charts as inline SVG, drawn for a column of 330 pixels so that their letters stay readable on a phone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from itertools import pairwise

import numpy as np

from mien.lab.metrics import Figure

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c564b", "#7f7f7f")
"""Okabe and Ito's, which the colour-blind can tell apart; from the ninth model on they begin anew."""
WIDTH, HEIGHT = 340, 240
LEFT, RIGHT, TOP, BOTTOM = 44, 330, 10, 200
Box = tuple[float, float, float, float]
"""x0, y0, x1, y1 in the chart's units."""


def colour(number: int) -> str:
    return COLOURS[number % len(COLOURS)]


def key(names: Sequence[str]) -> str:
    """Which colour is which model."""
    spots = (f'<span><i style="background:{colour(i)}"></i>{escape(name)}</span>' for i, name in enumerate(names))
    return f'<div class="key">{"".join(spots)}</div>'


def chart(
    title: str,
    across: str,
    up: str,
    series: Sequence[Sequence[tuple[float, Figure]]],
    levels: Mapping[str, float],
    spots: Sequence[tuple[str, float, float]] = (),
) -> str:
    """Lines of (x, figure) with intervals, one a model; named horizontal levels; named single spots (x, y)."""
    xs = [x for line in series for x, _ in line] + [x for _, x, _ in spots] + [0.0]
    ys = [v for line in series for _, f in line for v in (f.low, f.high)] + [*levels.values(), *(y for *_, y in spots)]
    if not ys:
        return ""
    x_ticks, y_ticks = ticks(min(xs), max(xs)), ticks(min(ys), max(ys))

    def px(x: float) -> float:
        return LEFT + (x - x_ticks[0]) / (x_ticks[-1] - x_ticks[0]) * (RIGHT - LEFT)

    def py(y: float) -> float:
        return BOTTOM - (y - y_ticks[0]) / (y_ticks[-1] - y_ticks[0]) * (BOTTOM - TOP)

    parts = [
        line(LEFT, py(y), RIGHT, py(y), "var(--line)") + text(LEFT - 5, py(y) + 4, f"{y:g}", "end") for y in y_ticks
    ]
    parts += [text(px(x), BOTTOM + 16, f"{x:g}", "middle") for x in x_ticks]
    parts.append(text((LEFT + RIGHT) / 2, HEIGHT - 6, across, "middle"))
    taken: list[Box] = []
    for y in levels.values():
        parts.append(line(LEFT, py(y), RIGHT, py(y), "var(--soft)", 'stroke-dasharray="4 3"'))
    for number, points in enumerate(series):
        path = " ".join(f"{px(x):.1f},{py(f.value):.1f}" for x, f in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour(number)}" stroke-width="2"/>')
        for x, f in points:
            parts.append(line(px(x), py(f.low), px(x), py(f.high), colour(number)))
            parts.append(dot(px(x), py(f.value), 3.5, colour(number)))
            taken += [around(px(x), py(f.value), 5), (px(x) - 2, py(f.high), px(x) + 2, py(f.low))]
        for (x0, f0), (x1, f1) in pairwise(points):
            between = np.linspace((px(x0), py(f0.value)), (px(x1), py(f1.value)), 12)
            taken += [around(float(x), float(y), 1) for x, y in between]
    for _, x, y in spots:
        parts.append(dot(px(x), py(y), 4, "var(--soft)"))
        taken.append(around(px(x), py(y), 5))
    for name, y in levels.items():
        places = [(at, py(y) + off, side) for off in (-4, 12) for at, side in ((RIGHT, "end"), (LEFT + 4, "start"))]
        parts.append(label(name, places, taken))
    for name, x, y in spots:
        beside = [(px(x) + 8, py(y) + 4, "start"), (px(x) - 8, py(y) + 4, "end")]
        below = [(px(x), py(y) - 8, "middle"), (px(x), py(y) + 16, "middle")]
        parts.append(label(name, beside + below, taken))
    return figure(title, f"up: {up}", "".join(parts), HEIGHT)


def around(x: float, y: float, radius: float) -> Box:
    return x - radius, y - radius, x + radius, y + radius


def label(words: str, places: Sequence[tuple[float, float, str]], taken: list[Box]) -> str:
    """``words`` at the first of ``places`` (x, y, anchor) that hides nothing, else where they hide least.

    taken: what is drawn already; the label is added to it.
    """
    width = 5.8 * len(words)

    def box(place: tuple[float, float, str]) -> Box:
        x, y, anchor = place
        left = x - width * {"start": 0, "middle": 0.5, "end": 1}[anchor]
        return left, y - 9, left + width, y + 2

    def hidden(place: tuple[float, float, str]) -> int:
        x0, y0, x1, y1 = box(place)
        beyond = x0 < LEFT or x1 > WIDTH or y0 < 0 or y1 > BOTTOM + 4
        return 20 * beyond + sum(x0 < b[2] and b[0] < x1 and y0 < b[3] and b[1] < y1 for b in taken)

    best = min(places, key=hidden)
    taken.append(box(best))
    return text(best[0], best[1], words, best[2])


def scatter(title: str, note: str, places: np.ndarray, marks: Sequence[int], owners: Sequence[int]) -> str:
    """A map of ``places`` (N, 2). marks: -1 a source (ring), -2 a real photograph (square), else the model's number.

    owners: (N,) who each is; a person's first place is joined to the others.
    """
    low, high = places.min(0), places.max(0)
    scale = (WIDTH - 24) / max(float((high - low).max()), 1e-9)
    spots = 12 + (places - low) * scale
    homes: dict[int, np.ndarray] = {}
    joins, dots = [], []
    for (x, y), mark, owner in zip(spots, marks, owners, strict=True):
        home = homes.setdefault(owner, np.array([x, y]))
        joins.append(line(home[0], home[1], x, y, "var(--soft)", 'stroke-width="0.6"'))
        if mark == -1:
            dots.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="none" stroke="var(--ink)" stroke-width="1.5"/>')
        elif mark == -2:
            dots.append(
                f'<rect x="{x - 4:.1f}" y="{y - 4:.1f}" width="8" height="8" fill="none" stroke="var(--soft)"/>'
            )
        else:
            dots.append(dot(x, y, 3.5, colour(mark)))
    height = int(24 + (high - low)[1] * scale)
    return figure(title, note, "".join(joins + dots), height)


def ticks(low: float, high: float) -> list[float]:
    """Eight round numbers or fewer, from at or below ``low`` to at or above ``high``."""
    span = max(high - low, 1e-6)
    step = float(10 ** np.floor(np.log10(span / 4)))
    step *= next(k for k in (1, 2, 2.5, 5, 10) if span / (step * k) <= 6)
    first, last = np.floor(low / step + 1e-9), np.ceil(high / step - 1e-9)
    return [float(round(k * step, 10)) for k in np.arange(first, max(last, first + 1) + 1)]


def figure(title: str, note: str, inner: str, height: int) -> str:
    return (
        f'<figure class="chart"><figcaption>{escape(title)}</figcaption><p>{escape(note)}</p>'
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(title)}" font-size="11" '
        f'fill="currentColor">{inner}</svg></figure>'
    )


def line(x0: float, y0: float, x1: float, y1: float, stroke: str, more: str = "") -> str:
    return f'<line x1="{x0:.1f}" y1="{y0:.1f}" x2="{x1:.1f}" y2="{y1:.1f}" stroke="{stroke}" {more}/>'


def dot(x: float, y: float, radius: float, fill: str) -> str:
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" fill="{fill}"/>'


def text(x: float, y: float, words: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'
