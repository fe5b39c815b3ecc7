"""What a visitor asks for, and the command and the Python line that ask for the same."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mien import target as targets
from mien.expressions import BLENDSHAPES, GAZE, mirrored
from mien.model import DEFAULT
from mien.target import Target

GROUPS = {
    "Brow": ("brow",),
    "Eye": ("eye",),
    "Cheek and nose": ("cheek", "nose"),
    "Mouth": ("mouth",),
    "Jaw": ("jaw",),
}
"""The muscles' groups, by how their names begin."""


def _pair(**scores: float) -> dict[str, float]:
    """Scores of the left muscle and of the right one."""
    return {f"{name}{side}": score for name, score in scores.items() for side in ("Left", "Right")}


PRESETS = {
    "Smile": _pair(mouthSmile=0.8, cheekSquint=0.5),
    "Straight mouth": _pair(mouthSmile=0.0, mouthFrown=0.0),
    "Open mouth": {"jawOpen": 0.5},
    "Raised brows": {"browInnerUp": 0.9, **_pair(browOuterUp=0.9, browDown=0.0)},
    "Lowered brows": {"browInnerUp": 0.0, **_pair(browDown=0.9, browOuterUp=0.0)},
    "Wide eyes": _pair(eyeWide=0.9, eyeSquint=0.0, eyeBlink=0.0),
    "Narrow eyes": _pair(eyeSquint=0.9, eyeWide=0.0),
    "Heavy lids": _pair(eyeBlink=0.9, eyeWide=0.0),
}
"""Muscles that are often moved together; what they do not name stays as it is."""


@dataclass(frozen=True, eq=False)
class Like:
    """A face to be like: the name of its photograph and what was measured on it."""

    name: str
    target: Target


@dataclass(frozen=True)
class Wish:
    """One edit in the words of ``mien edit``: at most one of ``to``, ``muscles`` and ``like``; with none, no edit."""

    to: str | None = None
    muscles: tuple[tuple[str, float], ...] = ()
    like: Like | None = None
    intensity: float = 1.0
    face: str = "all"
    model: str = DEFAULT

    @property
    def request(self) -> str | dict[str, float] | Target | None:
        """``to`` of ``Editor.edit``; None where nothing is asked."""
        return self.to or dict(self.muscles) or (self.like.target if self.like else None)

    @property
    def name(self) -> str:
        """What ``mien edit`` adds to the name of the file."""
        return self.to or (f"like-{Path(self.like.name).stem}" if self.like else "muscles")

    @property
    def title(self) -> str:
        """What is asked, for a person to read."""
        asked = f"{len(self.muscles)} muscle{'s' * (len(self.muscles) != 1)}" if self.muscles else self.to
        return asked or (f"like {self.like.name}" if self.like else "as it was")

    def goal(self, start: np.ndarray) -> np.ndarray:
        """(52,) scores that this asks of a face with the scores ``start``."""
        request = self.request
        if request is None:
            return start
        if isinstance(request, str):
            return targets.by_name(request).goal(start)
        return (request if isinstance(request, Target) else targets.by_muscles(request)).goal(start)

    def moved(self, name: str, value: float, start: np.ndarray, linked: bool) -> tuple[tuple[str, float], ...]:
        """The muscles of this wish with one moved, and its mirror image with it where they are ``linked``."""
        return self.posed(dict.fromkeys({name, mirrored(name)} if linked else {name}, value), start)

    def posed(self, scores: Mapping[str, float], start: np.ndarray) -> tuple[tuple[str, float], ...]:
        """The muscles of this wish with those of ``scores`` moved.

        An expression or a reference becomes the muscles that it moves. One that is back where it was measured
        (``start``, to two digits) is no longer asked for.
        """
        rest = {muscle: round(float(v), 2) for muscle, v in zip(BLENDSHAPES, start, strict=True)}
        asked = dict(self.muscles)
        if not asked and self.request is not None:
            goal = zip(BLENDSHAPES[1:], self.goal(start)[1:], strict=True)
            asked = {muscle: round(float(v), 2) for muscle, v in goal if muscle not in GAZE}
        asked |= {muscle: round(value, 2) for muscle, value in scores.items()}
        return tuple(
            (muscle, asked[muscle]) for muscle in BLENDSHAPES if asked.get(muscle, rest[muscle]) != rest[muscle]
        )

    def command(self, photo: str) -> str:
        """The line for a shell."""
        if self.request is None:
            return "# choose an expression, move a muscle or copy a face"
        words = ["mien", "edit", photo]
        if self.muscles:
            words += [word for muscle, value in self.muscles for word in ("--muscle", f"{muscle}={value:g}")]
        else:
            words += ["--to", self.to] if self.to else ["--like", self.like.name if self.like else ""]
        words += ["--intensity", f"{self.intensity:g}"] if self.intensity != 1 else []
        words += ["--face", self.face] if self.face != "all" else []
        words += ["--model", self.model] if self.model != DEFAULT else []
        return shlex.join(words)

    def python(self, photo: str) -> str:
        """The same in Python."""
        if self.request is None:
            return "# choose an expression, move a muscle or copy a face"
        asked = f"like={self.like.name!r}" if self.like else repr(self.to or dict(self.muscles))
        words = [repr(photo), asked]
        words += [f"intensity={self.intensity:g}"] if self.intensity != 1 else []
        words += [f"face={self.face!r}"] if self.face != "all" else []
        model = "" if self.model == DEFAULT else repr(self.model)
        return f"from mien import Editor\n\nEditor({model}).edit({', '.join(words)}).save({self.file(photo)!r})"

    def file(self, photo: str) -> str:
        """The name of the edited file, as ``mien edit`` gives it."""
        return f"{Path(photo).stem}-{self.name}{Path(photo).suffix}"


def paired(muscles: Iterable[str]) -> list[str]:
    """``muscles`` with each right one behind its left one."""
    return list(dict.fromkeys(each for muscle in muscles for each in (muscle, mirrored(muscle))))


def label(muscle: str, group: str) -> str:
    """``mouthSmileLeft`` in the group of the mouth -> ``Smile, left``."""
    stem = next((muscle[len(start) :] for start in GROUPS[group][:1] if muscle.startswith(start)), muscle)
    side = ""
    for end in ("Left", "Right"):
        if stem.endswith(end) and mirrored(muscle) in BLENDSHAPES and stem != end:
            stem, side = stem[: -len(end)], f", {end.lower()}"
    words = "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in stem).strip()
    return words.capitalize() + side
