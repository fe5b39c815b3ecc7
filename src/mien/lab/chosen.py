"""Whose faces a comparison edits, and which real photographs stand beside them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import pyarrow.parquet as pq
import tyro

from mien import target as targets
from mien.editor import STRONGEST
from mien.errors import MienError
from mien.expressions import EXPRESSIONS, Expression
from mien.lab.data import load
from mien.lab.measures import FEWEST

Numbers = tyro.constructors.PrimitiveConstructorSpec(
    nargs="*",
    metavar="0.5,1",
    instance_from_str=lambda words: tuple(float(part) for word in words for part in word.split(",")),
    is_instance=lambda value: isinstance(value, tuple),
    str_from_instance=lambda value: [f"{number:g}" for number in value],
)
"""On the command line: numbers parted by commas or spaces."""


@dataclass(frozen=True)
class Wish:
    """What to compare on.

    Attributes:
        data: A Parquet manifest of aligned faces.
        to: The expression to change to.
        start: The expression that the faces wear.
        split: Whose faces: test holds people that no model was trained or chosen on.
        count: Faces to edit, at most; people with a real photograph of the target come first.
        intensity: The strengths to edit at; the tables are of the last and largest.
        size: Side in pixels at which the crops are edited and judged.
        reference: Real photographs of the target, of other people, at most, that distances are measured from.
    """

    data: Path
    to: Expression
    start: Annotated[Expression, tyro.conf.arg(name="from")] = "neutral"
    split: str = "test"
    count: int = 200
    intensity: Annotated[tuple[float, ...], Numbers] = (0.25, 0.5, 0.75, 1.0)
    size: int = 128
    reference: int = 500


@dataclass(frozen=True)
class Chosen:
    """The faces of a comparison, uint8 (N, S, S, 3).

    people: (N,) who each source is. landmarks: (N, 68, 2) in fractions, None where the manifest has none.
    real: (M, S, S, 3) photographs of the target expression. pair: (M,) which source each of them is of, -1 where it is
    of another person. others: (M,) who each of them is. reference: further real photographs of the target, of people
    who are not among the sources.
    """

    images: np.ndarray
    names: list[str]
    people: np.ndarray
    landmarks: np.ndarray | None
    real: np.ndarray
    pair: np.ndarray
    others: np.ndarray
    reference: np.ndarray


def checked(wish: Wish) -> Wish:
    """The wish with its intensities in order; MienError where it makes no sense."""
    targets.by_name(wish.to)
    if wish.to == wish.start:
        raise MienError(f"from {wish.start} to {wish.to} is no change; give another --from or --to")
    for value in wish.intensity:
        if not 0 < value <= STRONGEST:
            raise MienError(f"intensity {value:g}: give numbers above 0 and up to {STRONGEST}; 0 is the control row")
    if not wish.intensity:
        raise MienError("no intensity to edit at; give one or more, for example --intensity 0.5 1")
    if wish.size < 32:
        raise MienError(f"size {wish.size}: faces of less than 32 pixels cannot be judged")
    if min(wish.count, wish.reference) < 0:
        raise MienError("--count and --reference are numbers of faces: give 0 or more")
    return replace(wish, intensity=tuple(sorted(set(wish.intensity))))


def choose(wish: Wish) -> tuple[Chosen, str]:
    """The faces to edit, the real ones beside them, and a digest of the data; MienError where there are too few."""
    try:
        columns = set(pq.read_schema(wish.data).names)
    except (OSError, ValueError) as error:
        raise MienError(f"{wish.data}: not a readable Parquet manifest; check --data") from error
    optional = {"landmarks", "identity"} & columns
    table = load(wish.data, wish.split, frozenset({"image", "emotion"} | optional), wish.size, real=True)
    label = table.faces.emotion.numpy()
    people = np.arange(len(table)) if table.faces.identity is None else table.faces.identity.numpy()
    order = np.argsort(table.names, kind="stable")
    of = {name: [i for i in order if EXPRESSIONS[label[i]] == name] for name in EXPRESSIONS}
    sources = spread(of[wish.start], people, {people[i] for i in of[wish.to]}, wish.count)
    if len({people[i] for i in sources}) < FEWEST:
        there = ", ".join(f"{name} {len(rows)}" for name, rows in of.items() if rows)
        raise MienError(
            f"{wish.data}: {len(sources)} {wish.start} faces to edit in split {wish.split}, and {FEWEST} people "
            f"are needed; it has {there}; give another --from, --split or --count"
        )
    real, pair = partners(sources, of[wish.to], people)
    taken = {people[i] for i in [*sources, *real]}
    rest = spread([i for i in of[wish.to] if people[i] not in taken], people, set(), wish.reference)
    pixels = table.faces.image.permute(0, 2, 3, 1).numpy()
    landmarks = None if table.faces.landmarks is None else table.faces.landmarks.numpy()[sources]
    return Chosen(
        pixels[sources],
        [table.names[i] for i in sources],
        people[sources],
        landmarks,
        pixels[real],
        np.array(pair, int),
        people[real],
        pixels[rest],
    ), table.digest


def spread(rows: Sequence[int], people: np.ndarray, first: set[int], count: int) -> list[int]:
    """``count`` of ``rows``: everybody's first photograph before any second, people in ``first`` before others.

    Of a group that does not fit whole, evenly spread ones are taken.
    """
    photos: Counter[int] = Counter()
    groups: dict[tuple[int, bool], list[int]] = defaultdict(list)
    for i in rows:
        who = people[i]
        groups[photos[who], who not in first].append(i)
        photos[who] += 1
    taken: list[int] = []
    for key in sorted(groups):
        group, room = groups[key], count - len(taken)
        taken += group if len(group) <= room else [group[k] for k in np.linspace(0, len(group) - 1, room).astype(int)]
    return sorted(taken, key=rows.index)


def partners(sources: list[int], wanted: list[int], people: np.ndarray) -> tuple[list[int], list[int]]:
    """For each source a row of ``wanted``: of the same person where there is one, else of somebody else, each once.

    Also which source each is of, -1 for somebody else.
    """
    here = {people[i] for i in sources}
    own: dict[int, list[int]] = defaultdict(list)
    for i in wanted:
        own[people[i]].append(i)
    pairs = [(own[people[i]].pop(0), k) for k, i in enumerate(sources) if own[people[i]]]
    strangers = spread([i for i in wanted if people[i] not in here], people, set(), len(sources) - len(pairs))
    both = pairs + [(i, -1) for i in strangers]
    return [i for i, _ in both], [k for _, k in both]


def missing(chosen: Chosen, wish: Wish) -> list[str]:
    """What the data do not have, in words."""
    said = []
    if chosen.landmarks is None:
        said.append("outside: the manifest has no landmarks to tell a face from its surroundings")
    if not len(chosen.real):
        said.append(f"ceiling: the split has no real photograph of {wish.to}")
    if not len(chosen.reference):
        said.append(f"distances: the split has no real photograph of {wish.to} of other people than those edited")
    if len(wish.intensity) < 2:
        said.append("linearity, ACD, ACD-I: edits at one intensity only")
    return said
