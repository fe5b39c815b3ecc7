"""What is asked of a face, as scores or as a label: an expression's name, single muscles, or another face."""

from __future__ import annotations

import json
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from importlib import resources

import numpy as np

from mien.errors import MienError
from mien.expressions import BLENDSHAPES, EXPRESSIONS, GAZE


@dataclass(frozen=True)
class Target:
    """One of three: ``expression`` by name, ``muscles`` by name (0..1), or ``scores`` (52,) measured on another face.

    relax: begin from the person's neutral face, so that ``muscles`` do not add to what is there.
    face: the aligned crop (S, S, 3) uint8 of that other face, for models that look at it themselves.
    """

    expression: str | None = None
    muscles: tuple[tuple[str, float], ...] = ()
    scores: np.ndarray | None = None
    emotion: int | None = None
    relax: bool = False
    face: np.ndarray | None = None

    def goal(self, start: np.ndarray) -> np.ndarray:
        """(52,) scores to reach from the measured ``start`` (52,), both in [0, 1]. Gaze stays as it is."""
        goal = start.copy()
        if self.relax or self.expression:
            goal = reached(prototypes()[self.expression or "neutral"], start)
        if self.scores is not None:
            goal = self.scores.copy()
        for name, value in self.muscles:
            goal[BLENDSHAPES.index(name)] = value
        named = {name for name, _ in self.muscles}
        kept = [i for i, name in enumerate(BLENDSHAPES) if name in GAZE and name not in named]
        goal[kept] = start[kept]
        return goal.astype(np.float32)


def by_name(name: str) -> Target:
    """The target of a named expression; MienError with the choices otherwise."""
    if name not in EXPRESSIONS:
        raise MienError(f"no expression {name!r}: choose one of {', '.join(EXPRESSIONS)}")
    return Target(expression=name, emotion=EXPRESSIONS.index(name))


def by_muscles(muscles: dict[str, float], relax: bool = False) -> Target:
    """The target of single muscles, scores in [0, 1]; MienError for a name or a number that is none."""
    for name, value in muscles.items():
        if name not in BLENDSHAPES[1:]:
            near = get_close_matches(name, BLENDSHAPES, 3) or ["mouthSmileLeft", "browInnerUp", "jawOpen"]
            raise MienError(f"no muscle {name!r}: did you mean {', '.join(near)}? (`mien models --muscles` lists all)")
        if not 0 <= value <= 1:
            raise MienError(f"{name}={value}: a muscle's score lies between 0 and 1")
    return Target(muscles=tuple(muscles.items()), relax=relax)


def reached(expression: np.ndarray, start: np.ndarray) -> np.ndarray:
    """``expression`` (..., 52), a prototype, as the person with scores ``start`` (..., 52) would wear it.

    A heavy brow or a narrow eye is a trait, not an expression: how far brows and eyes lie from the average neutral face
    is kept, within the range in which nine in ten neutral faces lie. A mouth has no such range: it is set. What the
    expression raises is never lowered: a broad smile asked to be happy stays as broad.
    """
    stored = prototypes()
    own = np.clip(start - stored["neutral"], stored["own_low"], stored["own_high"])
    rises = expression > stored["neutral"] + 0.1
    return np.clip(np.where(rises, np.maximum(expression + own, start), expression + own), 0, 1)


@lru_cache(maxsize=1)
def prototypes() -> dict[str, np.ndarray]:
    """(52,) blendshapes of each expression at full strength, and the range of a person's own (own_low, own_high)."""
    text = (resources.files("mien") / "weights" / "prototypes.json").read_text()
    return {
        name: np.array([muscles.get(muscle, 0.0) for muscle in BLENDSHAPES], np.float32)
        for name, muscles in json.loads(text).items()
    }
