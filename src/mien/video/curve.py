"""How strong an edit is at each moment: a number, keys in time, or the curve of an expression that comes and goes."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from mien.editor import STRONGEST
from mien.errors import MienError


@dataclass(frozen=True)
class Curve:
    """keys: (seconds, intensity), in order; before the first and after the last it stays. It never overshoots a key."""

    keys: tuple[tuple[float, float], ...]

    def __post_init__(self) -> None:
        if not self.keys:
            raise MienError("--keys: give at least one SECONDS:INTENSITY")
        if not all(np.isfinite(time) for time, _ in self.keys):
            raise MienError("--keys: seconds are numbers, e.g. 0:0,1.5:1,3:0")
        for (a, _), (b, _) in pairwise(self.keys):
            if not a < b:
                raise MienError(f"--keys: {b:g} s does not come after {a:g} s; give the keys in the order of time")
        for _, value in self.keys:
            if not 0 <= value <= STRONGEST:
                raise MienError(f"intensity {value:g}: give a number between 0 and {STRONGEST}")

    def __call__(self, time: float) -> float:
        """The intensity at ``time`` seconds: at rest at each key, with the least jerk in between.

        Flash and Hogan 1985, as hands move; the change of a face over an expression's onset is much the same.
        """
        times, values = zip(*self.keys, strict=True)
        after = int(np.searchsorted(times, time, "right"))
        if after in (0, len(times)):
            return float(values[min(after, len(times) - 1)])
        t = (time - times[after - 1]) / (times[after] - times[after - 1])
        return float(values[after - 1] + (values[after] - values[after - 1]) * t**3 * (10 - 15 * t + 6 * t * t))

    @property
    def still(self) -> bool:
        """Whether it is 0 all along."""
        return all(value == 0 for _, value in self.keys)


def constant(intensity: float) -> Curve:
    """The same intensity all along."""
    return Curve(((0.0, intensity),))


def parsed(text: str) -> Curve:
    """``"0:0,1.5:1,3:0"`` -> a curve; MienError where it is none."""
    try:
        keys = [tuple(map(float, part.split(":"))) for part in text.split(",")]
        return Curve(tuple((time, value) for time, value in keys))
    except ValueError:
        raise MienError(f"--keys {text}: write it as SECONDS:INTENSITY,SECONDS:INTENSITY, e.g. 0:0,1.5:1,3:0") from None


def performance(seconds: float, intensity: float = 1.0) -> Curve:
    """Rest, the expression's onset, its apex, and the way back, which takes longer, within ``seconds``."""
    shares = ((0.0, 0.0), (0.1, 0.0), (0.35, intensity), (0.6, intensity), (0.95, 0.0))
    return Curve(tuple((share * seconds, value) for share, value in shares))
