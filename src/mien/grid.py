"""Sources x references: every source's face with every reference's expression, as one picture and as an animation.

The outputs of StarGAN v2 that "Facial Emotion Modulation: Leveraging Star Generative Adversarial Networks" shows, from
a folder of source and one of reference photographs.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mien import __version__
from mien.editor import Editor, Seen, worn
from mien.errors import MienError
from mien.photo import provenance
from mien.photo.draw import PAPER, around
from mien.photo.draw import grid as drawn
from mien.photo.read import MAX_PIXELS, Photo, read
from mien.photo.write import SUFFIXES, write_aside
from mien.target import Target

LONGEST = {"GIF": 65535, "WEBP": 16383}
STEP, HOLD = 80, 600
"""Milliseconds that a frame between two references shows, and one that wears a reference's expression fully."""


@dataclass(frozen=True)
class Sitter:
    """The largest face of a photograph. ``seen``: every face in it, the largest first."""

    path: Path
    photo: Photo
    seen: list[Seen]

    @property
    def target(self) -> Target:
        """The expression that this face wears."""
        return worn(self.photo, self.seen[0])

    @property
    def face(self) -> np.ndarray:
        """The square around the face, (side, side, 3) uint8."""
        return self.shown(self.photo.rgb)

    def shown(self, rgb: np.ndarray) -> np.ndarray:
        """The same square of an edit of the photograph."""
        height, width = rgb.shape[:2]
        x0, y0, x1, y1 = around(self.seen[0].face.box, width, height)
        return rgb[y0:y1, x0:x1]


@dataclass(frozen=True)
class Moment:
    """A frame's aim: ``share`` of the way from one reference to the next, 0 <= share < 1; the last reference is 0."""

    start: Sitter
    end: Sitter
    share: float

    @property
    def nearest(self) -> Sitter:
        return self.start if self.share < 0.5 else self.end

    def aim(self, by_muscles: bool) -> tuple[Target, float]:
        """Target and intensity: scores in a line between the two; a label fades out, and the next one fades in."""
        if not by_muscles:
            return self.nearest.target, abs(1 - 2 * self.share)
        start, end = self.start.seen[0].blendshapes, self.end.seen[0].blendshapes
        return Target(scores=start + self.share * (end - start), emotion=self.nearest.target.emotion), 1.0


def sitters(folder: Path, editor: Editor, max_pixels: int = MAX_PIXELS) -> list[Sitter]:
    """The photographs in ``folder`` and its subfolders by name; those without a face are named on stderr and skipped.

    Raises MienError where none is left.
    """
    if not folder.is_dir():
        raise MienError(f"{folder}: no folder; give one with photographs")
    found, failed = [], []
    for path in sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and not p.name.startswith(".")):
        try:
            photo = read(path, max_pixels)
            if not (seen := editor.see(photo)):
                raise MienError(f"{path}: no face found")
            found.append(Sitter(path, photo, seen))
        except MienError as error:
            failed.append(str(error))
    if not found:
        raise MienError(f"{folder}: no photograph with a face{f' ({failed[0]})' if failed else ''}; give clear faces")
    for text in failed:
        print(f"mien: {text}; skipped", file=sys.stderr)
    return found


def wearing(editor: Editor, source: Sitter, target: Target, intensity: float = 1.0) -> np.ndarray:
    """The square around the source's face, edited to ``target``."""
    edited = editor.edit(source.photo, target, intensity=intensity, face="largest", seen=source.seen)
    return source.shown(edited.rgb)


def matrix(editor: Editor, sources: Sequence[Sitter], references: Sequence[Sitter], size: int = 128) -> np.ndarray:
    """Sources down, references across, the photographs themselves at the head of each: (H, W, 3) uint8."""
    rows = [[_blank(), *(reference.face for reference in references)]]
    for source in sources:
        cells = []
        for reference in references:
            try:
                cells.append(wearing(editor, source, reference.target))
            except MienError as error:  # a model that was not taught this reference's expression
                raise MienError(f"{reference.path}: {error}") from error
        rows.append([source.face, *cells])
    names = [_short(sitter.path.stem, size) for sitter in references]
    down = ["", *(_short(sitter.path.stem, size) for sitter in sources)]
    return np.asarray(drawn(rows, ["", *names], down, size))


def moments(references: Sequence[Sitter], between: int) -> list[Moment]:
    """From the first reference to the last, ``between`` frames between each two; MienError for fewer than two."""
    if len(references) < 2:
        raise MienError(f"an animation goes from one reference to the next: two are needed, {len(references)} there")
    if between < 0:
        raise MienError(f"--frames-between {between}: give 0 or more")
    steps = [Moment(a, b, k / (between + 1)) for a, b in pairwise(references) for k in range(between + 1)]
    return [*steps, Moment(references[-1], references[-1], 0.0)]


def frames(editor: Editor, sources: Sequence[Sitter], steps: Sequence[Moment], size: int = 128) -> Iterator[np.ndarray]:
    """A frame a moment, (H, W, 3) uint8: above the sources, below them the nearer reference and its expression."""
    by_muscles = "blendshapes" in editor.model.about["target"]
    for step in steps:
        target, intensity = step.aim(by_muscles)
        worn = [wearing(editor, source, target, intensity) for source in sources]
        rows = [[_blank(), *(source.face for source in sources)], [step.nearest.face, *worn]]
        yield np.asarray(drawn(rows, [""] * len(rows[0]), [], size))


def write_video(pictures: Sequence[np.ndarray], holds: Sequence[bool], path: Path, overwrite: bool = False) -> Path:
    """Write an endless animation, .gif or .webp by the suffix, marked as edited; frames that hold show longer.

    Raises MienError for another suffix, and where the file exists unless ``overwrite``.
    """
    kind = video_format(path)
    if max(pictures[0].shape) > LONGEST[kind]:
        raise MienError(f"{path}: too long a side for {kind}; give fewer sources or a smaller --size")
    images = [Image.fromarray(picture) for picture in pictures]
    options: dict[str, Any] = {
        "save_all": True,
        "append_images": images[1:],
        "duration": [HOLD if hold else STEP for hold in holds],
        "loop": 0,
    }
    mark = provenance.mark(None, f"mien {__version__}")
    with write_aside(path, overwrite) as aside:
        if kind == "WEBP":
            images[0].save(aside, "WEBP", quality=90, xmp=mark, **options)
        else:
            images[0].save(aside, "GIF", **options)
            aside.write_bytes(_gif_with_xmp(aside.read_bytes(), mark))
    return path


def video_format(path: Path) -> str:
    """ "GIF" or "WEBP"; MienError for another suffix."""
    kind = path.suffix[1:].upper()
    if kind not in LONGEST:
        raise MienError(f"{path}: an animation is written as .gif or .webp")
    return kind


def _gif_with_xmp(gif: bytes, packet: bytes) -> bytes:
    """The packet as an application extension at the end, with the 258 bytes that lead a GIF's readers out of it."""
    ladder = b"\x01" + bytes(range(255, -1, -1)) + b"\x00"
    return gif[:-1] + b"\x21\xff\x0bXMP DataXMP" + packet + ladder + gif[-1:]


def _blank() -> np.ndarray:
    return np.full((2, 2, 3), PAPER, np.uint8)


def _short(name: str, size: int) -> str:
    """So much of a name as stands above a picture of ``size`` pixels."""
    most = max(4, size // 8)
    return name if len(name) <= most else name[: most - 1] + "…"
