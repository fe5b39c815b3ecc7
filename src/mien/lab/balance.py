"""Which faces of a manifest become what, so that its rare expressions are rare no more."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import tyro

from mien.editor import STRONGEST
from mien.errors import MienError
from mien.expressions import EXPRESSIONS, Expression
from mien.model import DEFAULT


@dataclass(frozen=True)
class Wish:
    """What to add.

    Attributes:
        balance: Fill every class up to the largest one of its split, or to --count faces.
        count: Faces of each class: to fill up to with --balance, else to add.
        to: The classes to add to; all that the split has, by default.
        start: The expression that edited faces wear: neutral, and for neutral itself the largest other class.
        splits: Whose faces; val and test stay real unless they are named.
        model: A model that `mien models` lists, or the path of an .onnx file.
        intensity: The least and the most; each edit's lies between, at random.
        seed: Another one edits other faces at other intensities.
    """

    balance: bool = False
    count: int | None = None
    to: tuple[Expression, ...] = ()
    start: Annotated[Expression | None, tyro.conf.arg(name="from")] = None
    splits: tuple[str, ...] = ("train",)
    model: str = DEFAULT
    intensity: tuple[float, float] = (0.6, 1.0)
    seed: int = 0


@dataclass(frozen=True)
class Edit:
    """One face to add: the ``row`` of the manifest that is edited, to what, how strongly."""

    row: int
    to: str
    intensity: float


def checked(wish: Wish) -> Wish:
    """The wish; MienError where it makes no sense."""
    if wish.count is None and not wish.balance:
        raise MienError("how many? --balance fills every class up to the largest, --count N adds N faces to each")
    if wish.count is not None and wish.count < 1:
        raise MienError(f"--count {wish.count}: give 1 or more")
    if not 0 < wish.intensity[0] <= wish.intensity[1] <= STRONGEST:
        raise MienError(f"--intensity: give the least and the most, above 0 and up to {STRONGEST}, for example 0.6 1")
    if wish.start in wish.to:
        raise MienError(f"from {wish.start} to {wish.start} is no change; give another --from or --to")
    return wish


def plan(table: pa.Table, labels: Sequence[str], wish: Wish, about: dict[str, Any]) -> list[Edit]:
    """Which rows of ``table`` become what, the same for the same wish; only real faces of the split are edited.

    labels: (rows,) the expression of each. about: the model's metadata. Raises MienError for a class without a face to
    edit, and for one that the model does not know.
    """
    known = about.get("knows", EXPRESSIONS) if "emotion" in about["target"] else EXPRESSIONS
    usable = pc.and_(pc.is_valid(table["image"]), pc.invert(_flags(table)))
    if "landmarks" in about["source"]:
        usable = pc.and_(usable, pc.is_valid(table["landmarks"]))
    fit, split = usable.to_numpy(), np.array(table["split"].to_pylist(), object)
    people = table["identity" if "identity" in table.column_names else "name"].to_pylist()
    edits = []
    for place, here in enumerate(wish.splits):
        label = np.where(split == here, np.array(labels, object), "")
        sizes: dict[str, int] = {name: int((label == name).sum()) for name in EXPRESSIONS}
        wanted = wish.to or [name for name in EXPRESSIONS if sizes[name] and name != wish.start]
        for to in dict.fromkeys(wanted):
            if wish.balance:
                count = max((max(sizes.values()) if wish.count is None else wish.count) - sizes[to], 0)
            else:
                count = wish.count or 0
            if not count:
                continue
            if to not in known:
                raise MienError(
                    f"model {about['name']} was not taught {to}, only {' and '.join(known)}: name others with --to"
                )
            largest = max((name for name in EXPRESSIONS if name != to), key=lambda name: sizes[name])
            start = wish.start or (largest if to == "neutral" else "neutral")
            rows = np.flatnonzero((label == start) & fit)
            if not len(rows):
                raise MienError(f"no real {start} face in split {here} to edit to {to}; give another --from")
            random = np.random.default_rng([wish.seed, place, EXPRESSIONS.index(to)])
            strength = random.uniform(*wish.intensity, count)
            chosen = evenly(rows, people, count, random)
            edits += [Edit(row, to, round(float(at), 3)) for row, at in zip(chosen, strength, strict=True)]
    return edits


def evenly(
    rows: Sequence[int] | np.ndarray, people: Sequence[str], count: int, random: np.random.Generator
) -> list[int]:
    """``count`` of ``rows``, in random order: everybody once before anybody twice, and a person's faces in turn."""
    albums: dict[str, list[int]] = defaultdict(list)
    for row in random.permutation(rows).tolist():
        albums[people[row]].append(row)
    turns = -(-count // len(albums))
    return list(islice((album[turn % len(album)] for turn in range(turns) for album in albums.values()), count))


def _flags(table: pa.Table) -> Any:
    """(rows,) whether a row was edited."""
    if "synthetic" not in table.column_names:
        return pa.array([False] * len(table))
    return pc.fill_null(table["synthetic"], False).combine_chunks()
