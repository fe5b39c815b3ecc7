"""Models side by side on people that none of them saw: what is edited, what is measured, what cannot be."""

from __future__ import annotations

import os
import platform
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw
from rich.console import Console
from rich.progress import Progress
from scipy.spatial import ConvexHull

from mien import __version__
from mien import target as targets
from mien.editor import Editor, Seen
from mien.errors import MienError
from mien.expressions import TEMPLATE
from mien.lab.chosen import Chosen, Wish, checked, choose, missing
from mien.lab.judges import Filed, Judge, Own, to_crop
from mien.lab.kept import NOWHERE, Kept, digest
from mien.lab.measures import Case, Measure, Readings, measures_of
from mien.lab.metrics import Figure
from mien.photo.find import face_of
from mien.photo.read import Photo

AT_ONCE = 32
"""Faces that are edited, or read by a judge, between two writings to the disk."""


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
    kept: Kept = NOWHERE,
) -> Comparison:
    """Edit the same faces with each of ``models`` (shipped names or ``.onnx`` files) and have ``judges`` measure all.

    absent: what is known to be missing, for the report to say. kept: where edits and readings stay, so that the same
    call goes on after it was killed; a judge without a file of its own reads anew. Raises MienError before any edit for
    an unknown model, split or expression, for a class without faces, for too few faces, and for a model that cannot
    edit these.
    """
    editors = opened(models)
    wish = checked(wish)
    chosen, data = choose(wish)
    for name, editor in editors.items():
        if "landmarks" in editor.model.about["source"] and chosen.landmarks is None:
            raise MienError(f"{name} reads landmarks, which {wish.data} has not; `mien prepare` measures them")
    with Progress(console=console or Console(stderr=True)) as progress:
        seen = measured(chosen)
        edits, spent = {}, {}
        for name, editor in editors.items():
            edits[name], spent[name] = edited(editor, chosen, seen, wish, progress, name, kept)
        pictures = {"source": chosen.images, "real": chosen.real, "reference": chosen.reference}
        pictures |= {f"{name}@{at}": images for name, each in edits.items() for at, images in each.items()}
        between = {f"{name}@{at}" for name in edits for at in wish.intensity[:-1]}
        readings = read_all(judges, pictures, between, progress, kept)
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
    return Comparison(wish, data, chosen, judges, shown, rows, left_out, stamp_of(spent))


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
    editor: Editor, chosen: Chosen, seen: list[Seen], wish: Wish, progress: Progress, name: str, kept: Kept
) -> tuple[dict[float, np.ndarray], float]:
    """Each face at each intensity through the editor, by intensity; and the median milliseconds of an edit."""
    model, asked = digest(editor.model.path.read_bytes()), (__version__, wish.to, wish.intensity)

    def one(image: np.ndarray, face: Seen) -> tuple[np.ndarray, float]:
        photo = Photo.from_array(image)
        began = time.perf_counter()
        row = np.stack([e.rgb for e in editor.sweep(photo, wish.to, wish.intensity, seen=[face])])
        return row, (time.perf_counter() - began) * 1e3 / len(wish.intensity)

    parts = []
    bar = progress.add_task(f"{name}: edit", total=len(seen))
    for first in range(0, len(seen), AT_ONCE):
        images, faces = chosen.images[first : first + AT_ONCE], seen[first : first + AT_ONCE]

        def made(images: np.ndarray = images, faces: list[Seen] = faces) -> dict[str, np.ndarray]:
            rows, spent = zip(*map(one, images, faces), strict=True)
            return {"images": np.stack(rows), "spent": np.array(spent)}

        read = [value for face in faces for value in (face.face.landmarks, face.blendshapes, face.emotion)]
        parts.append(kept.arrays(("edit", model, asked, images, *read), made))
        progress.advance(bar, len(faces))
    images = np.concatenate([part["images"] for part in parts])
    spent = np.concatenate([part["spent"] for part in parts])
    return {value: images[:, i] for i, value in enumerate(wish.intensity)}, float(np.median(spent))


def read_all(
    judges: Sequence[Judge], pictures: dict[str, np.ndarray], between: set[str], progress: Progress, kept: Kept
) -> dict[str, Readings]:
    """What every judge reads of every set of pictures; sets without a picture are left out.

    between: the sets at lower intensities, which networks that only compare sets need not read.
    """
    full = {name: images for name, images in pictures.items() if len(images)}
    found: dict[str, Readings] = {name: {} for name in full}
    for judge in judges:
        sets = [name for name in full if judge.kind != "features" or name not in between]
        bar = progress.add_task(f"{judge.name}: judge", total=sum(len(full[name]) for name in sets))
        known = (type(judge).__name__, digest(judge.path.read_bytes())) if isinstance(judge, Filed) else None
        for name in sets:
            parts = []
            for first in range(0, len(full[name]), AT_ONCE):
                images = full[name][first : first + AT_ONCE]
                parts.append(read_by(judge, images, known, kept))
                progress.advance(bar, len(images))
            found[name][judge.name] = np.concatenate(parts)
    return found


def read_by(judge: Judge, images: np.ndarray, known: tuple[str, str] | None, kept: Kept) -> np.ndarray:
    """What ``judge`` reads of ``images``, a row a face. known: its type and its file's digest, where it has a file."""

    def made() -> dict[str, np.ndarray]:
        read = np.asarray(judge.read(images), float)
        if read.ndim != 2 or len(read) != len(images):
            raise MienError(f"judge {judge.name}: gave {read.shape} for {len(images)} faces; a row a face is needed")
        return {"read": read}

    return (kept.arrays(("read", __version__, known, images), made) if known else made())["read"]


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


def face_mask(landmarks: np.ndarray, size: int) -> np.ndarray:
    """(size, size) bool: the face with its forehead, the hull of (68, 2) landmarks enlarged by a tenth."""
    brows = landmarks[17:27] - (0, 0.2)
    points = np.concatenate([landmarks, brows]).astype(float)
    middle = points.mean(0)
    corners = points[ConvexHull(points).vertices]
    picture = Image.new("1", (size, size))
    ImageDraw.Draw(picture).polygon([tuple(p) for p in (middle + 1.1 * (corners - middle)) * size], fill=1)
    return np.asarray(picture)
