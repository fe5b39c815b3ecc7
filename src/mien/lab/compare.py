"""Models side by side on people that none of them saw: what is edited, what is measured, what cannot be."""

from __future__ import annotations

import os
import platform
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pyarrow.parquet as pq
import tyro
from PIL import Image, ImageDraw
from rich.console import Console
from rich.progress import Progress
from scipy.spatial import ConvexHull

from mien import target as targets
from mien.editor import STRONGEST, Editor, Seen
from mien.errors import MienError
from mien.expressions import EXPRESSIONS, TEMPLATE, Expression
from mien.lab.data import load
from mien.lab.judges import Judge, Own, to_crop
from mien.lab.measures import FEWEST, Case, Measure, Readings, measures_of
from mien.lab.metrics import Figure
from mien.photo.find import face_of
from mien.photo.read import Photo

REFERENCE = 500
"""Real photographs of the target, at most, that distances are measured from."""


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
    """

    data: Path
    to: Expression
    start: Annotated[Expression, tyro.conf.arg(name="from")] = "neutral"
    split: str = "test"
    count: int = 200
    intensity: Annotated[tuple[float, ...], Numbers] = (0.25, 0.5, 0.75, 1.0)
    size: int = 128


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


@dataclass(frozen=True)
class Row:
    """A model, the control or the ceiling. steps: a model's case and figures at each intensity. about: its metadata."""

    case: Case
    figures: dict[str, Figure]
    steps: list[tuple[Case, dict[str, Figure]]]
    about: dict[str, Any]


@dataclass(frozen=True)
class Comparison:
    """All that a report says. stamp: date, machine and times: the only part that differs from run to run."""

    wish: Wish
    digest: str
    chosen: Chosen
    judges: Sequence[Judge]
    measures: list[Measure]
    rows: list[Row]
    left_out: list[str]
    stamp: dict[str, Any]


def compare(
    models: Sequence[str],
    wish: Wish,
    judges: Sequence[Judge],
    absent: Sequence[str] = (),
    console: Console | None = None,
) -> Comparison:
    """Edit the same faces with each of ``models`` (shipped names or ``.onnx`` files) and have ``judges`` measure all.

    absent: what is known to be missing, for the report to say. Raises MienError before any edit for an unknown model,
    split or expression, for a class without faces, for too few faces, and for a model that cannot edit these.
    """
    editors = opened(models)
    wish = checked(wish)
    chosen, digest = choose(wish)
    for name, editor in editors.items():
        if "landmarks" in editor.model.about["source"] and chosen.landmarks is None:
            raise MienError(f"{name} reads landmarks, which {wish.data} has not; `mien prepare` measures them")
    with Progress(console=console or Console(stderr=True)) as progress:
        seen = measured(chosen)
        edits, spent = {}, {}
        for name, editor in editors.items():
            edits[name], spent[name] = edited(editor, chosen, seen, wish, progress, name)
        pictures = {"source": chosen.images, "real": chosen.real, "reference": chosen.reference}
        pictures |= {f"{name}@{at}": images for name, each in edits.items() for at, images in each.items()}
        readings = read_all(judges, pictures, progress)
        measures = measures_of(judges, wish.to, len(chosen.reference))
        cases = cases_of(chosen, wish, editors, seen, edits, readings)
        rows, lacks = [], defaultdict(list)
        for case, *steps in progress.track(cases, description="intervals"):
            figures, why = figured(measures, case)
            for said in why:
                lacks[said].append(case.name)
            each = [(step, figured(measures, step)[0]) for step in steps]
            rows.append(Row(case, figures, each, editors[case.name].model.about if case.kind == "model" else {}))
    shown = [measure for measure in measures if any(measure.key in row.figures for row in rows)]
    left_out = [*absent, *missing(chosen, wish), *(f"{said} ({', '.join(names)})" for said, names in lacks.items())]
    return Comparison(wish, digest, chosen, judges, shown, rows, left_out, stamp_of(spent))


def stamp_of(spent: dict[str, float]) -> dict[str, Any]:
    """When, where and how fast; spent: milliseconds an edit, by model."""
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}",
        "milliseconds_per_edit": {name: round(value, 1) for name, value in spent.items()},
    }


def opened(models: Sequence[str]) -> dict[str, Editor]:
    """An editor a model, by a short name; MienError for one that is not there or is no edit model."""
    if not models:
        raise MienError("nothing to compare: give a model that `mien models` lists, or an .onnx file")
    if len(set(models)) < len(models):
        raise MienError("a model is given twice; give each once")
    short = [Path(name).stem if name.endswith(".onnx") else name for name in models]
    names = [s if short.count(s) == 1 else name for s, name in zip(short, models, strict=True)]
    return {name: Editor(model) for name, model in zip(names, models, strict=True)}


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
    return replace(wish, intensity=tuple(sorted(set(wish.intensity))))


def choose(wish: Wish) -> tuple[Chosen, str]:
    """The faces to edit, the real ones beside them, and a digest of the data; MienError where there are too few."""
    try:
        columns = set(pq.read_schema(wish.data).names)
    except (OSError, ValueError) as error:
        raise MienError(f"{wish.data}: not a readable Parquet manifest; check --data") from error
    optional = {"landmarks", "identity"} & columns
    table = load(wish.data, wish.split, frozenset({"image", "emotion"} | optional), wish.size)
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
    rest = spread([i for i in of[wish.to] if people[i] not in taken], people, set(), REFERENCE)
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


def measured(chosen: Chosen) -> list[Seen]:
    """The crops as the editor sees the faces of a photograph: read by the readers that come with mien."""
    size = chosen.images.shape[1]
    muscles, emotions = (Own(reader).read(chosen.images) for reader in ("muscles", "emotion"))
    landmarks = chosen.landmarks
    if landmarks is None:  # read by none of the models, which was checked
        landmarks = np.tile(np.resize(TEMPLATE, (68, 2)), (len(chosen.images), 1, 1))
    parts = zip(chosen.images, landmarks, muscles, emotions, strict=True)
    return [Seen(face_of(points * size, 1), to_crop(image), *read) for image, points, *read in parts]


def edited(
    editor: Editor, chosen: Chosen, seen: list[Seen], wish: Wish, progress: Progress, name: str
) -> tuple[dict[float, np.ndarray], float]:
    """Each face at each intensity through the editor, by intensity; and the median milliseconds of an edit."""
    results, spent = [], []
    for image, face in progress.track(list(zip(chosen.images, seen, strict=True)), description=f"{name}: edit"):
        photo = Photo.from_array(image)
        began = time.perf_counter()
        results.append([e.rgb for e in editor.sweep(photo, wish.to, wish.intensity, seen=[face])])
        spent.append((time.perf_counter() - began) * 1e3 / len(wish.intensity))
    images = {value: np.stack([row[i] for row in results]) for i, value in enumerate(wish.intensity)}
    return images, float(np.median(spent))


def read_all(judges: Sequence[Judge], pictures: dict[str, np.ndarray], progress: Progress) -> dict[str, Readings]:
    """What every judge reads of every set of pictures; sets without a picture are left out."""
    full = {name: images for name, images in pictures.items() if len(images)}
    found: dict[str, Readings] = {name: {} for name in full}
    work = [(judge, name) for judge in judges for name in full]
    for judge, name in progress.track(work, description="judge"):
        read = np.asarray(judge.read(full[name]), float)
        if read.ndim != 2 or len(read) != len(full[name]):
            raise MienError(
                f"judge {judge.name}: gave {read.shape} for {len(full[name])} faces; a row a face is needed"
            )
        found[name][judge.name] = read
    return found


def cases_of(
    chosen: Chosen,
    wish: Wish,
    editors: dict[str, Editor],
    seen: list[Seen],
    edits: dict[str, dict[float, np.ndarray]],
    readings: dict[str, Readings],
) -> list[list[Case]]:
    """A list a row: its case and, of a model, a case for each intensity. Control, models, ceiling."""
    before, size = readings["source"], chosen.images.shape[1]
    bare = Case("unedited", "control", chosen.people, chosen.images, before, before, chosen.images)
    if chosen.landmarks is not None:
        bare = replace(bare, mask=np.stack([face_mask(points, size) for points in chosen.landmarks]))
    bare = replace(bare, reference=readings.get("reference"))
    goals = np.stack([targets.by_name(wish.to).goal(face.blendshapes) for face in seen])
    cases = [[bare]]
    for name, each in edits.items():
        steps = [readings[f"{name}@{at}"] for at in wish.intensity]
        aimed = goals if "blendshapes" in editors[name].model.about["target"] else None
        case = replace(bare, name=name, kind="model", goals=aimed)
        parts = zip(wish.intensity, steps, strict=True)
        at = [replace(case, images=each[value], read=read, reference=None) for value, read in parts]
        full = replace(at[-1], intensities=wish.intensity, steps=steps, reference=bare.reference)
        cases.append([full, *at])
    if any(case.goals is not None for (case, *_) in cases):
        cases[0] = [replace(bare, goals=goals)]
    if len(chosen.real):
        known = (chosen.pair >= 0)[:, None]
        pairs = {name: np.where(known, read[chosen.pair], np.nan) for name, read in before.items()}
        real = Case(f"real {wish.to}", "ceiling", chosen.others, chosen.real, readings["real"], pairs)
        cases.append([replace(real, reference=readings.get("reference"))])
    return cases


def figured(measures: Sequence[Measure], case: Case) -> tuple[dict[str, Figure], list[str]]:
    """The figures that the case has, by their measures' keys; and in words, which it has not and why."""
    found, lacks = {}, []
    for measure in measures:
        figure = measure.figure(case)
        if isinstance(figure, Figure):
            found[measure.key] = figure
        elif figure is not None:
            lacks.append(f"{measure.title}: {figure}")
    return found, lacks


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


def face_mask(landmarks: np.ndarray, size: int) -> np.ndarray:
    """(size, size) bool: the face with its forehead, the hull of (68, 2) landmarks enlarged by a tenth."""
    brows = landmarks[17:27] - (0, 0.2)
    points = np.concatenate([landmarks, brows]).astype(float)
    middle = points.mean(0)
    corners = points[ConvexHull(points).vertices]
    picture = Image.new("1", (size, size))
    ImageDraw.Draw(picture).polygon([tuple(p) for p in (middle + 1.1 * (corners - middle)) * size], fill=1)
    return np.asarray(picture)
