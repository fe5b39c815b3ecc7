"""A photograph that moves: it performs an expression, or follows a clip's face."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Literal

import av
import numpy as np
from PIL import Image

from mien.editor import Editor, Seen
from mien.errors import MienError
from mien.expressions import BLENDSHAPES
from mien.photo.credentials import Seal
from mien.photo.find import choose
from mien.photo.read import Photo, read
from mien.target import Target
from mien.video.clip import Frame, open_clip
from mien.video.curve import Curve
from mien.video.dynamics import PART_OF, PARTS, Learned, Part
from mien.video.edit import on_one_thread, side_by_side
from mien.video.track import Tracker
from mien.video.who import Chosen
from mien.video.write import clip_writer

STEPS = 100
"""Intensities are rounded to one in so many: frames that look the same are edited once."""


@dataclass(frozen=True)
class Sitter:
    """The photograph at the size of the clip, and its faces."""

    photo: Photo
    seen: list[Seen]
    face: int

    @property
    def scores(self) -> np.ndarray:
        return self.seen[self.face].blendshapes

    def edited(self, editor: Editor, target: Target, intensity: float = 1.0) -> np.ndarray:
        """The pixels with the face wearing ``target``."""
        face = str(self.face + 1)
        return editor.edit(self.photo, target, intensity=intensity, face=face, seen=self.seen).rgb


def sit(path: Path, editor: Editor, face: str, longest: int, max_pixels: int) -> Sitter:
    """Read a photograph, reduced to ``longest`` pixels on its longer side and to even sides, and find the face."""
    if longest < 64:
        raise MienError(f"--size {longest}: give 64 pixels or more")
    photo = read(path, max_pixels)
    height, width = photo.rgb.shape[:2]
    scale = min(1.0, longest / max(height, width))
    size = tuple(max(2, round(side * scale) // 2 * 2) for side in (width, height))
    small = np.asarray(Image.fromarray(photo.rgb).resize((size[0], size[1]), Image.Resampling.LANCZOS))
    sitter = Photo.from_array(small)
    seen = editor.see(sitter)
    if not seen:
        raise MienError(f"{path}: no face found; one of 32 pixels or more, turned no further than profile, is needed")
    chosen = choose([each.face for each in seen], face)
    if len(chosen) != 1:
        raise MienError(f"{path} has {len(seen)} faces: say which moves with --face largest, a number or x,y")
    return Sitter(sitter, seen, chosen[0])


def perform(
    sitter: Sitter,
    to: Target,
    curve: Curve | Learned,
    path: Path,
    editor: Editor,
    *,
    frames: int,
    rate: int = 25,
    overwrite: bool = False,
    mark: bool = True,
    seal: Seal | None = None,
    advance: Callable[[], None] = lambda: None,
) -> None:
    """Write ``frames`` frames of the photograph in which its face, or each part, wears ``to`` as ``curve`` says.

    Where the curve is 0 the picture is the photograph itself. A model that knows no muscles cannot part the face: with
    it the whole follows the part that is furthest.
    """
    editor = on_one_thread(editor)
    full = to.goal(sitter.scores) - sitter.scores

    def picture(steps: np.ndarray) -> np.ndarray:
        most = max(int(steps.max()), 1)
        goal = sitter.scores + (steps / most)[PART_OF] * full
        target = Target(scores=goal.astype(np.float32), emotion=to.emotion, face=to.face)
        return sitter.edited(editor, target, steps.max() / STEPS)

    def work() -> Iterator[tuple[int, Callable[[], np.ndarray] | None]]:
        before = np.empty(0)
        for number in range(frames):
            steps = np.rint(np.broadcast_to(curve(number / rate), len(PARTS)) * STEPS).astype(int)
            yield number, None if np.array_equal(steps, before) else partial(picture, steps)
            before = steps

    rgb = sitter.photo.rgb
    first = _frame(rgb, 0, Fraction(1, rate), 1)
    with clip_writer(path, None, first, Fraction(rate), overwrite=overwrite, mark=mark, seal=seal) as writer:
        for number, edited in side_by_side(work()):
            rgb = rgb if edited is None else edited
            writer.picture(_frame(rgb, number, Fraction(1, rate), 1))
            advance()


def frames_of(seconds: float, rate: int) -> int:
    """How many frames so long a clip has; MienError for a length or a rate that makes no sense."""
    if not 0.1 <= seconds <= 600:
        raise MienError(f"--seconds {seconds:g}: give a length between 0.1 and 600")
    if not 1 <= rate <= 120:
        raise MienError(f"--rate {rate}: give 1 to 120 frames a second")
    return max(1, round(seconds * rate))


def drive(
    sitter: Sitter,
    by: Path,
    path: Path,
    editor: Editor,
    *,
    parts: tuple[Part, ...] = ("eyes", "brows", "mouth"),
    strength: float = 1.0,
    start: Literal["first", "calmest"] = "first",
    overwrite: bool = False,
    mark: bool = True,
    seal: Seal | None = None,
    advance: Callable[[], None] = lambda: None,
) -> int:
    """Write the photograph moving as a face of the clip ``by`` does (``Leader``), with its sound and clock; -> frames.

    What moves it is the difference of the clip's blendshapes to those of its first frame with a face, or of its
    calmest one, times ``strength``, in ``parts`` only. Where the clip's face is gone, the last expression stays.
    """
    if not 0 < strength <= 3:
        raise MienError(f"--strength {strength:g}: give a number above 0, up to 3")
    if not parts:
        raise MienError("--parts: give at least one of eyes, brows and mouth")
    if "blendshapes" not in editor.model.about["target"]:
        raise MienError(f"model {editor.model.about['name']} edits by expression: it cannot be driven by muscles")
    mask = np.isin(PART_OF, [list(PARTS).index(part) for part in parts]) * strength
    origin = _calmest(by, editor) if start == "calmest" else None
    count, editor = 0, on_one_thread(editor)
    with open_clip(by) as clip:
        native = clip.first.native
        first = _frame(sitter.photo.rgb, native.pts, native.time_base, native.duration)
        rgb, tracker = sitter.photo.rgb, Tracker(editor.finder)

        def work() -> Iterator[tuple[Frame | av.Packet, Callable[[], np.ndarray] | None]]:
            rest, leader = origin, Leader()
            for item in clip:
                scores = leader(tracker, item) if isinstance(item, Frame) and not item.broken else None
                if scores is None:
                    yield item, None
                    continue
                rest = scores if rest is None else rest
                goal = np.clip(sitter.scores + mask * (scores - rest), 0, 1)
                yield item, partial(sitter.edited, editor, Target(scores=goal.astype(np.float32)))

        with clip_writer(path, clip, first, clip.rate, overwrite=overwrite, mark=mark, seal=seal) as writer:
            for item, edited in side_by_side(work()):
                if not isinstance(item, Frame):
                    writer.put(item)
                    continue
                rgb = rgb if edited is None else edited
                writer.picture(_frame(rgb, item.native.pts, item.native.time_base, item.native.duration))
                count += 1
                advance()
            if not tracker.count:
                raise MienError(f"{by}: no face found in {count} frames; give a clip with a clearly visible face")
    return count


class Leader:
    """The one face of a clip that moves the photograph: the largest where faces first show."""

    def __init__(self) -> None:
        self.chosen = Chosen("largest")

    def __call__(self, tracker: Tracker, frame: Frame) -> np.ndarray | None:
        """Its blendshapes (52,) in the clip's next frame; None where it is not there."""
        tracks = tracker.follow(frame.rgb, frame.time)
        numbers = self.chosen(tracks, tracker.cuts)
        return next((track.seen.blendshapes for track in tracks if track.number in numbers), None)


def _calmest(by: Path, editor: Editor) -> np.ndarray | None:
    """The blendshapes of the frame whose face does least, gaze aside; None where there is no face."""
    tracker, leader, calm = Tracker(editor.finder), Leader(), None
    least = np.inf
    resting = np.array([name.startswith("eyeLook") for name in BLENDSHAPES])
    with open_clip(by) as clip:
        for item in _frames(clip):
            scores = leader(tracker, item)
            if scores is not None and (effort := float(scores[~resting].sum())) < least:
                least, calm = effort, scores
    return calm


def _frames(clip: Iterable[Frame | av.Packet]) -> Iterator[Frame]:
    return (item for item in clip if isinstance(item, Frame) and not item.broken)


def _frame(rgb: np.ndarray, pts: int | None, time_base: Fraction | None, duration: int) -> av.VideoFrame:
    native = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), "rgb24")
    native.pts, native.time_base, native.duration = pts, time_base, duration
    return native
