"""The columns of a comparison: what each one looks at, how it is summed up, and when it cannot be had."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np

from mien.expressions import BLENDSHAPES, EXPRESSIONS, GAZE, Expression
from mien.lab import metrics
from mien.lab.inception import Inception
from mien.lab.judges import Judge
from mien.lab.metrics import Figure

FEWEST = 5
"""People below which no interval is worth its name, so that the measure is left out."""
FEWEST_OF_A_SET = 20
"""Faces below which a set is not compared with another."""
WIDE_DRAWS = 40
"""Resamplings for the interval of FID, whose 2048 features take seconds each time."""

SIGNATURE: dict[str, tuple[str, ...]] = {
    "happiness": ("mouthSmileLeft", "mouthSmileRight"),
    "surprise": ("jawOpen", "browInnerUp", "eyeWideLeft", "eyeWideRight"),
    "sadness": ("mouthFrownLeft", "mouthFrownRight", "browInnerUp"),
    "anger": ("browDownLeft", "browDownRight"),
    "disgust": ("noseSneerLeft", "noseSneerRight", "mouthUpperUpLeft", "mouthUpperUpRight"),
    "fear": ("browInnerUp", "eyeWideLeft", "eyeWideRight", "mouthStretchLeft", "mouthStretchRight"),
}
"""The muscles by which an expression is known; neutral has none."""

Readings = dict[str, np.ndarray]
"""What each judge reads of the same faces, by its name."""


@dataclass(frozen=True)
class Case:
    """What there is to measure of one row: N faces after an edit and, where they are known, before it.

    people: (N,) who each is. images, source: uint8 (N, S, S, 3) after and before; None before real photographs.
    read, before: the judges' readings of them, NaN where there is none. mask: (N, S, S) where the face is.
    goals: (N, 52) blendshapes asked for. steps: readings at each of the ``intensities``. reference: readings of real
    photographs of the target expression, None where the row is not to be compared with them.
    """

    name: str
    kind: Literal["control", "model", "ceiling"]
    people: np.ndarray
    images: np.ndarray
    read: Readings
    before: Readings
    source: np.ndarray | None = None
    mask: np.ndarray | None = None
    goals: np.ndarray | None = None
    intensities: Sequence[float] = ()
    steps: Sequence[Readings] = ()
    reference: Readings | None = None


Scores = Callable[[Case], np.ndarray | None]
Summary = Callable[[np.ndarray, np.ndarray, Case], Figure | str]
Distance = Callable[[np.ndarray, np.ndarray, np.ndarray], Figure]


def averaged(values: np.ndarray, people: np.ndarray, case: Case) -> Figure:
    return metrics.figure(values, people)


def typical(values: np.ndarray, people: np.ndarray, case: Case) -> Figure:
    return metrics.figure(values, people, metrics.median)


def lowest(values: np.ndarray, people: np.ndarray, case: Case) -> Figure:
    return metrics.figure(values, people, metrics.worst)


@dataclass(frozen=True)
class Measure:
    """A column. scores: a row a face, NaN where there is none, or None where the measure does not apply to the case.

    better: which way is good. independent: False where mien's models, or their labels, had to do with the judge.
    order: what tells better faces from worse where ``scores`` are only right and wrong.
    """

    key: str
    title: str
    meaning: str
    scores: Scores
    summary: Summary = averaged
    group: Literal["edit", "range", "distance"] = "edit"
    better: Literal["higher", "lower", "near 1", ""] = "higher"
    independent: bool = True
    order: Scores | None = None

    def figure(self, case: Case) -> Figure | str | None:
        """The figure; in words why there is none; or None where it does not apply."""
        values = self.scores(case)
        if values is None:
            return None
        there = np.isfinite(values.reshape(len(values), -1)).all(1)
        people = len(np.unique(case.people[there]))
        if people < FEWEST:
            return f"{people} people, {FEWEST} are needed"
        return self.summary(values[there], case.people[there], case)


def measures_of(judges: Sequence[Judge], to: Expression, reference: int) -> list[Measure]:
    """Every column that these judges can fill; reference: how many real photographs of ``to`` there are beside."""
    found = [
        Measure("change", "change", "mean absolute difference of the pixels, 0 to 255", change, better=""),
    ]
    for kind, columns in (("identity", of_identity), ("expression", of_expression), ("muscles", of_muscles)):
        for judge in judges:
            found += columns(judge, to) if judge.kind == kind else []
    sharp = "variance of the Laplacian after / before, median: 1 is as sharp as the source"
    found.append(Measure("sharpness", "sharpness", sharp, sharpness, typical, better="near 1"))
    beyond = "share of the pixels outside the face that differ by 3 of 255 or more"
    found.append(Measure("ssim", "SSIM", "structural similarity to the source, at most 1", ssim, better=""))
    found.append(Measure("outside", "outside", beyond, outside, better="lower"))
    for judge in judges:
        if judge.kind != "expression" and reference:
            found += of_a_set(judge, reference)
    return found


def of_expression(judge: Judge, to: Expression) -> list[Measure]:
    """Accuracy, and how steadily the chance of ``to`` grows."""
    name, label = judge.name, EXPRESSIONS.index(to)

    def right(case: Case) -> np.ndarray:
        seen = np.isfinite(case.read[name]).all(1)
        return np.where(seen, metrics.accuracy(np.nan_to_num(case.read[name]), label), np.nan)

    def chance(read: Readings) -> np.ndarray:
        return read[name][:, label]

    measure = partial(Measure, independent=judge.independent)
    share = f"share of faces that {name} calls {to}"
    steady = f"rank correlation of the intensity asked for with the chance that {name} gives {to}, at most 1"
    return [
        measure(f"accuracy/{name}", f"{to}, {name}", share, right, order=lambda case: chance(case.read)),
        measure(f"linearity/{name}", f"linearity, {name}", steady, partial(linearity, strength=chance), group="range"),
    ]


def of_muscles(judge: Judge, to: Expression) -> list[Measure]:
    """The target's own muscles, how steadily they grow, and how far all are from what was asked for."""
    name, own = judge.name, SIGNATURE.get(to, ())
    kept = [i for i, muscle in enumerate(BLENDSHAPES) if muscle not in GAZE]
    places = [BLENDSHAPES.index(muscle) for muscle in own]

    def signature(read: Readings) -> np.ndarray:
        return read[name][:, places].mean(1)

    def error(case: Case) -> np.ndarray | None:
        return None if case.goals is None else np.abs(case.read[name] - case.goals)[:, kept].mean(1)

    measure = partial(Measure, independent=judge.independent)
    off = f"mean absolute difference of {name}'s scores from the muscles asked for, gaze left out"
    found = [measure(f"error/{name}", f"muscle error, {name}", off, error, better="lower")]
    if own:
        strong = f"mean score of {', '.join(own)} by {name}, 0 to 1"
        steady = f"rank correlation of the intensity asked for with the signature that {name} reads, at most 1"
        grows = partial(linearity, strength=signature)
        found += [
            measure(f"signature/{name}", f"signature, {name}", strong, lambda case: signature(case.read)),
            measure(f"linearity/{name}", f"linearity, {name}", steady, grows, group="range"),
        ]
    return found


def of_identity(judge: Judge, to: Expression) -> list[Measure]:
    """Whether it is still the same person, and how far the person drifts over the intensities."""
    name = judge.name

    def alike(case: Case) -> np.ndarray:
        return metrics.cosine(case.before[name], case.read[name])

    def clip(case: Case) -> np.ndarray:
        return np.stack([metrics.unit(step[name]) for step in case.steps], 1)

    def drift(case: Case) -> np.ndarray | None:
        return metrics.acd(clip(case)) if len(case.steps) > 1 else None

    def from_source(case: Case) -> np.ndarray | None:
        return metrics.acd_i(clip(case), metrics.unit(case.before[name])) if len(case.steps) > 1 else None

    measure = partial(Measure, independent=judge.independent)
    cosine = f"cosine of {name}'s embeddings of the person before and after"
    between = f"mean distance of {name}'s embeddings, of length 1, between all intensities of a face"
    away = f"mean distance of {name}'s embeddings, of length 1, at all intensities from the source"
    return [
        measure(f"identity/{name}", f"identity, {name}", cosine, alike),
        measure(f"identity p5/{name}", f"identity p5, {name}", "the same, 5th percentile", alike, lowest),
        measure(f"acd/{name}", f"ACD, {name}", between, drift, group="range", better="lower"),
        measure(f"acd-i/{name}", f"ACD-I, {name}", away, from_source, group="range", better="lower"),
    ]


def of_a_set(judge: Judge, reference: int) -> list[Measure]:
    """Distances of all faces of a row, as a set, from real photographs of the target expression."""
    name = judge.name

    def summed(distance: Distance, more: int, values: np.ndarray, people: np.ndarray, case: Case) -> Figure | str:
        real = (case.reference or {})[name]
        real = real[np.isfinite(real).all(1)]
        varies = np.ones(real.shape[1], bool)
        if judge.kind == "muscles":  # one of which is always 0
            varies = real.std(0) > 1e-6 if len(real) else ~varies
        least = max(FEWEST_OF_A_SET, more * (int(varies.sum()) + 1))
        if min(len(values), len(real)) < least:
            return f"{len(values)} faces and {len(real)} real ones, {least} of each are needed"
        return distance(values[:, varies], real[:, varies], people)

    def features(case: Case) -> np.ndarray | None:
        return None if case.reference is None else case.read[name]

    measure = partial(Measure, group="distance", better="lower", independent=judge.independent)
    what = f"{name}'s {'scores' if judge.kind == 'muscles' else 'features'} from those of {reference} real photographs"
    frechet = metrics.frechet
    keys, titles = (f"kernel/{name}", f"frechet/{name}"), (f"kernel distance, {name}", f"Frechet distance, {name}")
    if isinstance(judge, Inception):  # whose distances alone bear these names
        frechet = partial(frechet, draws=WIDE_DRAWS)
        keys, titles = ("kid", "fid"), ("KID", "FID")
    kid_says, frechet_says = f"squared MMD, unbiased, as in KID, of {what}", f"Frechet distance of {what}"
    return [
        measure(keys[0], titles[0], kid_says, features, partial(summed, metrics.kid, 0)),
        measure(keys[1], titles[1], frechet_says, features, partial(summed, frechet, 1)),
    ]


def change(case: Case) -> np.ndarray | None:
    return None if case.source is None else metrics.change(case.source, case.images)


def ssim(case: Case) -> np.ndarray | None:
    return None if case.source is None else metrics.ssim(case.source, case.images)


def sharpness(case: Case) -> np.ndarray | None:
    """Measured in the middle three quarters of the crop."""
    if case.source is None:
        return None
    side = case.images.shape[1]
    return metrics.sharpness(case.source, case.images, slice(side // 8, side - side // 8))


def outside(case: Case) -> np.ndarray | None:
    if case.source is None or case.mask is None:
        return None
    return metrics.changed_outside(case.source, case.images, case.mask)


def linearity(case: Case, strength: Callable[[Readings], np.ndarray]) -> np.ndarray | None:
    """How steadily ``strength`` grows from the source through all intensities."""
    if len(case.steps) < 2:
        return None
    seen = np.stack([strength(read) for read in (case.before, *case.steps)], 1)
    whole = np.isfinite(seen).all(1)
    return np.where(whole, metrics.rank_correlation(np.array([0, *case.intensities]), np.nan_to_num(seen)), np.nan)
