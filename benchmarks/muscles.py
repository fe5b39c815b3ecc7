"""Nine muscles, each driven alone through four intensities: does each grow, and what else moves with it?

    python benchmarks/muscles.py flowfill ganimation.onnx --data lfw-expressions-128.parquet --judges weights/

Neutral faces of ``split`` go through the editor with one muscle (both sides of it) asked to stand at 1, at intensities
0, 0.25, 0.5, 0.75 and 1, and every edit is measured again: by the muscles reader that comes with mien, and by MediaPipe
where its file lies in ``judges``. MediaPipe made the labels that models learn from, so neither is independent.

rank: Spearman's correlation of intensity and score, averaged over faces, with its interval over people. grows: whether
the mean score is higher at each intensity than at the one before. score: its mean at the five. others: how far the
other muscles (gaze left out) move at full intensity, mean absolute difference; and the one that moves most.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro
from rich.progress import track

from mien.editor import Editor, Seen
from mien.expressions import BLENDSHAPES, GAZE
from mien.lab.chosen import Chosen, Wish, choose
from mien.lab.compare import measured, opened
from mien.lab.judges import Judge, find_judges
from mien.lab.metrics import figure, rank_correlation
from mien.photo.read import Photo
from mien.target import by_muscles

NINE = (
    *("browInnerUp", "browOuterUp", "browDown", "eyeBlink", "eyeSquint"),
    *("mouthSmile", "mouthFrown", "mouthPucker", "jawOpen"),
)
STEPS = (0.0, 0.25, 0.5, 0.75, 1.0)
HEAD = (
    f"| muscle | rank | grows | score at {', '.join(f'{step:g}' for step in STEPS)} | others | most |\n{'| --- ' * 6}|"
)


@dataclass(frozen=True)
class Line:
    """What a judge says of one muscle: ``scores`` (N, 5) of it at each of ``STEPS``, ``moved`` (52,) all muscles."""

    muscle: str
    scores: np.ndarray
    moved: np.ndarray

    def cells(self, people: np.ndarray) -> list[str]:
        """A row of the table."""
        seen = np.isfinite(self.scores).all(1)
        if not seen.any():
            return [self.muscle, "no face read", "", "", "", ""]
        scores, mean = self.scores[seen], self.scores[seen].mean(0)
        rank = figure(rank_correlation(STEPS, scores), people[seen])
        others = [i for i, name in enumerate(BLENDSHAPES) if i and name not in GAZE and i not in sides(self.muscle)]
        most = max(others, key=lambda i: abs(self.moved[i]))
        return [
            self.muscle,
            f"{rank.value:.2f} [{rank.low:.2f}, {rank.high:.2f}]",
            "yes" if grows(mean) else "no",
            " ".join(f"{value:.2f}" for value in mean),
            f"{np.abs(self.moved[others]).mean():.3f}",
            f"{BLENDSHAPES[most]} {self.moved[most]:+.2f}",
        ]


def main(
    models: tyro.conf.Positional[tuple[str, ...]],
    data: Path,
    judges: Path | None = None,
    split: str = "val",
    count: int = 40,
    muscles: tuple[str, ...] = NINE,
) -> None:
    """Print a table for each model and judge; ``muscles`` without Left and Right stand for both sides."""
    for muscle in muscles:
        wanted(muscle)  # a name that is none is refused before any edit
    editors = opened(models)
    judges_, absent = find_judges(judges)
    chosen, _ = choose(Wish(data, "happiness", split=split, count=count))
    faces = measured(chosen)
    readers = [judge for judge in judges_ if judge.kind == "muscles"]
    for name, editor in editors.items():
        edits = {muscle: swept(editor, chosen, faces, muscle) for muscle in track(muscles, name)}
        same = all((images[:, 0] == chosen.images).all() for images in edits.values())
        print(f"\n{name}: {len(chosen.images)} faces of {split}; intensity 0 changes {'nothing' if same else 'PIXELS'}")
        for judge in readers:
            lines = [read(judge, muscle, images) for muscle, images in edits.items()]
            print(f"\n{name}, read by {judge.name}\n\n{HEAD}")
            for line in lines:
                print(f"| {' | '.join(line.cells(chosen.people))} |")
            print(f"\n{sum(grows(np.nanmean(line.scores, 0)) for line in lines)} of {len(lines)} grow", flush=True)
    for what in absent:
        if "face_landmarker" in what:
            print(f"left out: {what}")


def sides(muscle: str) -> list[int]:
    """The columns of ``muscle``: itself, or its left and its right."""
    return [i for i, name in enumerate(BLENDSHAPES) if name in (muscle, f"{muscle}Left", f"{muscle}Right")]


def wanted(muscle: str) -> dict[str, float]:
    """All of ``muscle`` at 1; MienError for one that is not there."""
    names = [BLENDSHAPES[i] for i in sides(muscle)] or [muscle]
    wish = dict.fromkeys(names, 1.0)
    by_muscles(wish)
    return wish


def swept(editor: Editor, chosen: Chosen, faces: list[Seen], muscle: str) -> np.ndarray:
    """(N, 5, S, S, 3) uint8: each face at each intensity."""
    rows = []
    for image, face in zip(chosen.images, faces, strict=True):
        edits = editor.sweep(Photo.from_array(image), wanted(muscle), STEPS, seen=[face])
        rows.append(np.stack([edit.rgb for edit in edits]))
    return np.stack(rows)


def read(judge: Judge, muscle: str, images: np.ndarray) -> Line:
    """The judge's readings of (N, 5, S, S, 3)."""
    scores = judge.read(images.reshape(-1, *images.shape[2:])).reshape(*images.shape[:2], len(BLENDSHAPES))
    scores = scores.astype(float)
    return Line(muscle, scores[..., sides(muscle)].mean(-1), np.nanmean(scores[:, -1] - scores[:, 0], 0))


def grows(mean: np.ndarray) -> bool:
    """Whether each is higher than the one before."""
    return bool((np.diff(mean) > 0).all())


if __name__ == "__main__":
    tyro.cli(main)
