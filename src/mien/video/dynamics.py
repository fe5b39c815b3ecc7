"""When each part of a face moves into an expression: curves that MotionGAN dreamt (``dynamics.json``).

A take has a curve for each part, in percent of what the part does at the expression's height. Brows may come before the
mouth, and either may overshoot.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Literal

import numpy as np

from mien.editor import STRONGEST
from mien.errors import MienError
from mien.expressions import BLENDSHAPES
from mien.video.curve import Curve, performance

Part = Literal["brows", "eyes", "mouth"]
PARTS: dict[Part, tuple[str, ...]] = {
    "brows": ("brow",),
    "eyes": ("eye",),
    "mouth": ("mouth", "jaw", "cheek", "nose", "_neutral"),
}
"""Which blendshapes a part of the face has, by how their names begin."""
PART_OF = np.array([[n.startswith(begin) for begin in PARTS.values()].index(True) for n in BLENDSHAPES])
"""(52,) the part of each blendshape, as its place in ``PARTS``."""


@dataclass(frozen=True)
class Learned:
    """A take in place of the onset of ``smooth``, a performance; the way back is the same.

    take: (3, T) a curve for each of ``PARTS``, even in time, from 0 to about 1.
    """

    take: np.ndarray
    smooth: Curve

    def __call__(self, time: float) -> np.ndarray:
        """(3,) the intensity of each of ``PARTS`` at ``time`` seconds."""
        begins, _, leaves, _ = (at for at, _ in self.smooth.keys[1:])
        at = np.linspace(begins, leaves, self.take.shape[1])
        risen = np.array([np.interp(time, at, line) for line in self.take])
        return np.minimum(risen * self.smooth(max(time, leaves)), STRONGEST)


def played(
    expression: str | None,
    seconds: float,
    intensity: float = 1.0,
    dynamics: Literal["learned", "smooth"] | None = None,
    seed: int = 0,
) -> Curve | Learned:
    """How an expression, or None for single muscles, is performed: ``dynamics``, by default learned where there is one.

    seed: the number of the take, counted round. Raises MienError where a learned one is asked for that is not there.
    """
    smooth, known = performance(seconds, intensity), takes()
    if dynamics == "learned" and expression not in known:
        raise MienError(f"--dynamics learned: give --to {', '.join(known)}, or use --dynamics smooth")
    if dynamics == "smooth" or expression not in known:
        return smooth
    return Learned(known[expression][seed % len(known[expression])], smooth)


@lru_cache(maxsize=1)
def takes() -> dict[str, np.ndarray]:
    """(takes, 3, T) of each expression that was learned."""
    stored = json.loads((resources.files("mien") / "video" / "dynamics.json").read_text())
    return {name: np.array([[take[part] for part in PARTS] for take in some]) / 100 for name, some in stored.items()}
